"""A folder of photographs of one subject -> `images.parquet` and masks. The photographs stay where they are."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from porepatch_lib.captures.calibration import Calibration, read_calibration
from porepatch_lib.captures.decode import decode, read_image_bytes
from porepatch_lib.captures.exif import Exif, focal_length_px, read_exif
from porepatch_lib.captures.masks import MaskOrder, find_masks, read_mask, upright
from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder
from porepatch_lib.geometry import Camera
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png")
_MASK_ORDERS = ("auto", "stored", "upright")


@dataclass(frozen=True)
class PhotographSettings:
    """How photographs are read.

    Attributes:
        default_focal_ratio: focal length over the longer side, where neither EXIF nor a camera file tells it.
        mask_order: pixel order of mask files beside EXIF-rotated photographs: "stored", "upright", or "auto",
            which goes by the mask's size and takes it as stored where both have one size.
    """

    default_focal_ratio: float = 1.2
    mask_order: MaskOrder = "auto"

    def __post_init__(self) -> None:
        if self.default_focal_ratio <= 0.0:
            raise PorePatchError(f"photographs.default_focal_ratio must be more than 0, not {self.default_focal_ratio}.")
        if self.mask_order not in _MASK_ORDERS:
            raise PorePatchError(f"photographs.mask_order must be one of {', '.join(_MASK_ORDERS)}, not '{self.mask_order}'.")


@dataclass(frozen=True)
class Photograph:
    """One image file: stored (width, height), content hash and EXIF."""

    path: Path
    sha256: str
    size: tuple[int, int]
    exif: Exif

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after the EXIF orientation."""
        return upright(self.size, self.exif.orientation)


def ingest_photographs(
    subject: str,
    folder: str | Path,
    masks: str | Path | None,
    cameras: str | Path | None,
    output: str | Path,
    settings: PhotographSettings,
    threads: int = 1,
) -> None:
    """Read and check one subject's photographs and write `output` (images.parquet) and `masks/` beside it.

    Images are ordered by name, numbers by value; a second file of the same content is skipped with a warning.
    Every image is decoded once. Nothing is written unless all of it is good.

    Args:
        subject: name, for messages.
        folder: the photographs, JPEG or PNG.
        masks: folder of masks, one per image (see `masks.find_masks`), or None.
        cameras: known cameras (see `calibration`), or None: EXIF, or a guess, gives the focal length.
        output: the table to write.
        settings: how to read.
        threads: images decoded at once.

    Raises:
        PorePatchError: for fewer than two views, an unreadable or truncated file, a mask that is missing or of
            another size, or a camera file that does not fit.
    """
    files = list_photographs(folder)
    logger.info("Reading %d photographs of %s from %s", len(files), subject, folder)
    photographs = _without_copies(map_threads(read_photograph, files, threads))
    if len(photographs) < 2:
        raise PorePatchError(
            f"Subject '{subject}' has {len(photographs)} different JPEG or PNG images in {folder}; put at least two views there."
        )
    mask_files = find_masks([photograph.path for photograph in photographs], Path(masks)) if masks else None
    names = [photograph.path.name for photograph in photographs]
    sizes = {photograph.path.name: photograph.upright_size for photograph in photographs}
    calibrations = read_calibration(cameras, sizes) if cameras else None
    _warn_of_ambiguous_masks(photographs, mask_files, settings)
    mask_folder = Path(output).parent / "masks"
    with atomic_folder(mask_folder) as temporary:
        if mask_files is not None:
            write = partial(_write_mask, folder=temporary, order=settings.mask_order)
            map_threads(write, zip(photographs, mask_files, strict=True), threads)
    mask_paths = [mask_folder / f"{name}.png" if mask_files else None for name in names]
    write_views(output, make_views(photographs, mask_paths, calibrations, settings))


def list_photographs(folder: str | Path) -> list[Path]:
    """The JPEG and PNG files of a folder (not of folders inside), img2 before img10; hidden files are skipped."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PorePatchError(f"The folder of photographs {folder} does not exist; correct the path in the subject sheet.")
    files = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")]
    return sorted(files, key=_natural_key)


def read_photograph(path: Path) -> Photograph:
    """Read one file and prove that it decodes. Raises PorePatchError as `read_image_bytes` and `decode`."""
    data = read_image_bytes(path)
    height, width = decode(data, path, cv2.IMREAD_GRAYSCALE).shape[:2]
    return Photograph(path, hashlib.sha256(data).hexdigest(), (width, height), read_exif(data))


def make_views(
    photographs: Sequence[Photograph],
    mask_paths: Sequence[Path | None],
    calibrations: dict[str, Calibration] | None,
    settings: PhotographSettings,
) -> list[View]:
    """Views with ids 0..n-1; images with the same camera, make and model share a camera_id."""
    camera_ids: dict[tuple[Camera, str, str], int] = {}
    views = []
    for image_id, (photograph, mask_path) in enumerate(zip(photographs, mask_paths, strict=True)):
        exif, name = photograph.exif, photograph.path.name
        if calibrations is None:
            camera, is_prior = exif_camera(exif, photograph.upright_size, settings.default_focal_ratio)
            pose, key = None, (camera, exif.make, exif.model)
        else:
            camera, is_prior, pose = calibrations[name].camera, True, calibrations[name].pose
            key = (camera, "", "")
        views.append(
            View(
                image_id=image_id,
                name=name,
                path=photograph.path,
                mask_path=mask_path,
                sha256=photograph.sha256,
                orientation=exif.orientation,
                camera_id=camera_ids.setdefault(key, len(camera_ids)),
                camera=camera,
                focal_is_prior=is_prior,
                pose=pose,
            )
        )
    guesses = sum(not view.focal_is_prior for view in views)
    if guesses:
        logger.warning("%d of %d images tell no focal length; a guess is used.", guesses, len(views))
    return views


def exif_camera(exif: Exif, upright_size: tuple[int, int], default_focal_ratio: float) -> tuple[Camera, bool]:
    """A SIMPLE_RADIAL camera centred in the image, and whether EXIF gave its focal length."""
    width, height = upright_size
    focal_px = focal_length_px(exif, width, height)
    params = (focal_px or default_focal_ratio * max(width, height), (width - 1) / 2.0, (height - 1) / 2.0, 0.0)
    return Camera("SIMPLE_RADIAL", width, height, params), focal_px is not None


def _without_copies(photographs: Sequence[Photograph]) -> list[Photograph]:
    kept: dict[str, Photograph] = {}
    for photograph in photographs:
        first = kept.setdefault(photograph.sha256, photograph)
        if first is not photograph:
            logger.warning("%s has the content of %s and is skipped.", photograph.path, first.path.name)
    return list(kept.values())


def _warn_of_ambiguous_masks(
    photographs: Sequence[Photograph], mask_files: Sequence[Path] | None, settings: PhotographSettings
) -> None:
    turned = [p for p in photographs if p.exif.orientation != 1 and p.size == p.upright_size]
    if mask_files is not None and settings.mask_order == "auto" and turned:
        logger.warning(
            "EXIF turns %d images (%s ...) without changing their size; their masks are taken to be in stored pixel "
            "order. If not, set photographs.mask_order to upright.",
            len(turned),
            turned[0].path.name,
        )


def _write_mask(item: tuple[Photograph, Path], folder: Path, order: MaskOrder) -> None:
    photograph, path = item
    mask = read_mask(path, photograph.path, photograph.size, photograph.exif.orientation, order)
    if not mask.any():
        logger.warning("The mask %s keeps nothing of its image.", path)
    target = folder / f"{photograph.path.name}.png"
    if not cv2.imwrite(str(target), mask):
        raise PorePatchError(f"Cannot write the mask {target}; free disk space and run again.")


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Digits by value, the rest by letter; upper case beside lower."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in parts], path.name
