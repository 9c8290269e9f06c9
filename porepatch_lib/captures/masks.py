"""Masks of views: given beside the photographs or made from them; upright, 0 or 255, shrunk as asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.decode import decode, read_image_bytes, write_png
from porepatch_lib.captures.face_masks import MaskSettings, make_masks
from porepatch_lib.captures.headers import read_header
from porepatch_lib.captures.sheet import MADE_MASKS
from porepatch_lib.captures.views import View, orient
from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints.psift_image import dilate_diamond, erode_diamond
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)

MaskOrder = Literal["auto", "stored", "upright"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class Origin:
    """The user's file behind a view: where it lies, its stored (width, height) and its EXIF orientation (1..8)."""

    path: Path
    size: tuple[int, int]
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after the EXIF orientation."""
        return upright(self.size, self.orientation)


def write_masks(
    folder: Path,
    views: Sequence[View],
    origins: Sequence[Origin],
    source: str | Path | None,
    order: MaskOrder,
    settings: MaskSettings,
    threads: int,
) -> list[Path | None]:
    """Write the mask of every view as `<view.name>.png`: upright (H,W) uint8, 0 or 255, shrunk by `settings`.

    Args:
        folder: an existing folder to write into.
        views: the views; made masks are made from the pixels at their paths.
        origins: the user's files, in step with `views`; given masks are found by their names.
        source: None or "" for no masks, "auto" for made ones, or the folder of given ones.
        order: pixel order of given masks (see `read_mask`).
        settings: how masks are made, and how much every mask is shrunk.
        threads: masks worked on at once.

    Returns:
        File names relative to `folder`, in step with `views`; None where there is no mask.

    Raises:
        PorePatchError: as `find_masks`, `read_mask` and `make_masks`.
    """
    if not source:
        return [None] * len(views)
    names = [Path(f"{view.name}.png") for view in views]
    targets = [folder / name for name in names]
    if str(source) == MADE_MASKS:
        made = make_masks(views, settings, threads)
        map_threads(partial(_write_mask, settings=settings), list(zip(targets, made, strict=True)), threads)
    else:
        given = find_masks([origin.path for origin in origins], Path(source))
        _warn_of_ambiguous_order(origins, order)
        copy = partial(_copy_mask, order=order, settings=settings)
        map_threads(copy, list(zip(targets, given, origins, strict=True)), threads)
    return list(names)


def shrink_mask(mask: NDArray[np.uint8], erosion_px: int, dilation_px: int) -> NDArray[np.uint8]:
    """Erode, then dilate a mask (H,W) uint8 by balls of the L1 distance; outside the image nothing is eroded from."""
    eroded = erode_diamond(mask, erosion_px) if erosion_px else mask
    return dilate_diamond(eroded, dilation_px) if dilation_px else eroded


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

    JPEG, PNG or TIFF of 1 to 16 bits, grey, colour (its luminance counts) or palette. An alpha channel that is not opaque all
    over is the mask itself, as in a cut-out.

    Args:
        path: the mask file.
        image: its photograph, for the error sentence.
        stored_size: (width, height) of the photograph as stored.
        orientation: EXIF code of the photograph.
        order: pixel order of the mask; "auto" goes by its size, and takes it as stored where both agree.

    Raises:
        PorePatchError: if the mask is unreadable or of another size than its photograph.
    """
    data = read_image_bytes(path)
    header = read_header(data, path)
    if header.unreadable:
        raise PorePatchError(f"The mask {path} {header.unreadable}.")
    size = header.size
    upright_size = upright(stored_size, orientation)
    fitting = [kind for kind, wanted in (("stored", stored_size), ("upright", upright_size)) if size == wanted]
    if not fitting or order not in ("auto", *fitting):
        raise PorePatchError(
            f"The mask {path} has {size[0]}x{size[1]} pixels but its photograph {image} has {stored_size[0]}x{stored_size[1]} "
            f"as stored and {upright_size[0]}x{upright_size[1]} upright; make the mask again from this photograph."
        )
    mask = _one_channel(decode(data, path, cv2.IMREAD_UNCHANGED))
    binary = np.where(mask > mask.max() / 2.0, np.uint8(255), np.uint8(0))
    taken = fitting[0] if order == "auto" else order
    return orient(binary, orientation) if taken == "stored" else binary


def upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(width, height) after an EXIF orientation is applied."""
    return (size[1], size[0]) if orientation >= 5 else size


def _one_channel(image: NDArray[np.generic]) -> NDArray[Any]:
    """(H,W), (H,W,3) BGR or (H,W,4) BGRA -> (H,W)."""
    values = np.asarray(image)
    if values.ndim == 2:
        return values
    if values.shape[2] == 4 and values[..., 3].min() < np.iinfo(values.dtype).max:
        return values[..., 3]
    return np.asarray(cv2.cvtColor(values[..., :3], cv2.COLOR_BGR2GRAY))


def _find_mask(image: Path, files: dict[str, Path], folder: Path) -> Path:
    stems = (image.name, image.stem, f"{image.stem}_mask", f"{image.name}_mask")
    found = [files[name] for stem in stems for suffix in _SUFFIXES if (name := f"{stem}{suffix}".lower()) in files]
    if not found:
        raise PorePatchError(
            f"{folder} has no mask for the image {image.name}; add {image.stem}.png, or write nothing or auto in the masks cell."
        )
    if len(found) > 1:
        raise PorePatchError(f"The image {image.name} has two masks, {found[0]} and {found[1]}; remove one.")
    return found[0]


def _copy_mask(item: tuple[Path, Path, Origin], order: MaskOrder, settings: MaskSettings) -> None:
    target, path, origin = item
    _write_mask((target, read_mask(path, origin.path, origin.size, origin.orientation, order)), settings)


def _write_mask(item: tuple[Path, NDArray[np.uint8]], settings: MaskSettings) -> None:
    target, mask = item
    shrunk = shrink_mask(mask, settings.erosion_px, settings.dilation_px)
    if not shrunk.any():
        logger.warning("The mask of %s keeps nothing of its image.", target.stem)
    write_png(target, shrunk)


def _warn_of_ambiguous_order(origins: Sequence[Origin], order: MaskOrder) -> None:
    turned = [origin for origin in origins if origin.orientation != 1 and origin.size == origin.upright_size]
    if order == "auto" and turned:
        logger.warning(
            "EXIF turns %d images (%s ...) without changing their size; their masks are taken to be in stored pixel "
            "order. If not, set photographs.mask_order to upright.",
            len(turned),
            turned[0].path.name,
        )
