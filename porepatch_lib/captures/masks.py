"""Mask files beside photographs: found by name, turned upright, made 0 or 255."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.decode import decode, read_image_bytes
from porepatch_lib.captures.views import orient
from porepatch_lib.errors import PorePatchError

MaskOrder = Literal["auto", "stored", "upright"]

_SUFFIXES = (".png", ".jpg", ".jpeg")


def find_masks(images: list[Path], folder: Path) -> list[Path]:
    """Return the mask file of every image: for `a.jpg`, one of `a.jpg.png`, `a.png` or `a_mask.png` (or JPEG).

    Raises:
        PorePatchError: if the folder is missing, an image has no mask or several, or two images share one.
    """
    if not folder.is_dir():
        raise PorePatchError(f"The mask folder {folder} does not exist; correct the path in the subject sheet.")
    if folder.resolve() == images[0].parent.resolve():
        raise PorePatchError(f"The masks lie among the photographs in {folder}; move them into a folder of their own.")
    files = {path.name.lower(): path for path in sorted(folder.iterdir())}
    masks = [_find_mask(image, files, folder) for image in images]
    for index, mask in enumerate(masks):
        first = masks.index(mask)
        if first != index:
            raise PorePatchError(
                f"{images[first].name} and {images[index].name} both take the mask {mask}; "
                f"name the masks {images[first].name}.png and {images[index].name}.png."
            )
    return masks


def read_mask(
    path: Path, image: Path, stored_size: tuple[int, int], orientation: int, order: MaskOrder = "auto"
) -> NDArray[np.uint8]:
    """Read a mask as upright (H,W) uint8, 255 = keep where it is above half of its brightest value.

    Args:
        path: the mask file.
        image: its photograph, for the error sentence.
        stored_size: (width, height) of the photograph as stored.
        orientation: EXIF code of the photograph.
        order: pixel order of the mask; "auto" goes by its size, and takes it as stored where both agree.

    Raises:
        PorePatchError: if the mask is unreadable or of another size than its photograph.
    """
    mask = decode(read_image_bytes(path), path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    size = (mask.shape[1], mask.shape[0])
    upright_size = upright(stored_size, orientation)
    fitting = [kind for kind, wanted in (("stored", stored_size), ("upright", upright_size)) if size == wanted]
    if not fitting or order not in ("auto", *fitting):
        raise PorePatchError(
            f"The mask {path} has {size[0]}x{size[1]} pixels but its photograph {image} has {stored_size[0]}x{stored_size[1]} "
            f"as stored and {upright_size[0]}x{upright_size[1]} upright; make the mask again from this photograph."
        )
    binary = np.where(mask > mask.max() / 2.0, np.uint8(255), np.uint8(0))
    taken = fitting[0] if order == "auto" else order
    return orient(binary, orientation) if taken == "stored" else binary


def upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(width, height) after an EXIF orientation is applied."""
    return (size[1], size[0]) if orientation >= 5 else size


def _find_mask(image: Path, files: dict[str, Path], folder: Path) -> Path:
    stems = (image.name, image.stem, f"{image.stem}_mask", f"{image.name}_mask")
    found = [files[name] for stem in stems for suffix in _SUFFIXES if (name := f"{stem}{suffix}".lower()) in files]
    if not found:
        raise PorePatchError(f"{folder} has no mask for the image {image.name}; add {image.stem}.png or empty the masks cell.")
    if len(found) > 1:
        raise PorePatchError(f"The image {image.name} has two masks, {found[0]} and {found[1]}; remove one.")
    return found[0]
