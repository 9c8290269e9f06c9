"""A folder of photographs of one subject -> `images.parquet`, developed images and masks.

Photographs stay where they are and are never changed; `develop` says which of them are developed into a file of our own.
Of their EXIF only the orientation and the camera that follows from it enter the table.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from porepatch_lib.captures.calibration import Calibration, read_calibration
from porepatch_lib.captures.decode import RAW_SUFFIXES, hash_file, write_png
from porepatch_lib.captures.develop import develop
from porepatch_lib.captures.exif import Exif, focal_length_px
from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.masks import MaskOrder, Origin, upright, write_masks
from porepatch_lib.captures.sensors import known_widths_mm, sensor_width_mm
from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder
from porepatch_lib.geometry import Camera
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", *RAW_SUFFIXES)
# Photographs all the same; leaving them out in silence would lose views.
_FOREIGN = (".avif", ".bmp", ".exr", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".psd", ".webp")
_MASK_ORDERS = ("auto", "stored", "upright")
_OPENCV_MEGAPIXELS = 1000.0


@dataclass(frozen=True)
class PhotographSettings:
    """How photographs are read.

    Attributes:
        default_focal_ratio: focal length over the longer side, where neither EXIF nor a camera file tells it.
        mask_order: pixel order of mask files beside EXIF-rotated photographs: "stored", "upright", or "auto",
            which goes by the mask's size and takes it as stored where both have one size.
        sensors: sensor width in mm by "Maker Model"; decides over all that EXIF and the library's table say.
        max_megapixels: a larger image is refused before it is decoded; OpenCV decodes up to 1000.
        world_unit_mm: millimetres per unit of known poses, or None where unknown.
    """

    default_focal_ratio: float = 1.2
    mask_order: MaskOrder = "auto"
    sensors: Mapping[str, float] = field(default_factory=dict)
    max_megapixels: float = 300.0
    world_unit_mm: float | None = None

    def __post_init__(self) -> None:
        if self.default_focal_ratio <= 0.0:
            raise PorePatchError(f"photographs.default_focal_ratio must be more than 0, not {self.default_focal_ratio}.")
        if self.mask_order not in _MASK_ORDERS:
            raise PorePatchError(f"photographs.mask_order must be one of {', '.join(_MASK_ORDERS)}, not '{self.mask_order}'.")
        for name, width in self.sensors.items():
            if width <= 0.0:
                raise PorePatchError(f"photographs.sensors must give '{name}' a width of more than 0 mm, not {width}.")
        if not 0.0 < self.max_megapixels <= _OPENCV_MEGAPIXELS:
            raise PorePatchError(f"photographs.max_megapixels must be above 0 and at most 1000, not {self.max_megapixels}.")
        if self.world_unit_mm is not None and self.world_unit_mm <= 0.0:
            raise PorePatchError(f"photographs.world_unit_mm must be more than 0 or null, not {self.world_unit_mm}.")


@dataclass(frozen=True)
class Photograph:
    """One image file: stored (width, height), content hash, EXIF, and the file it was developed into, if it was."""

    path: Path
    sha256: str
    size: tuple[int, int]
    exif: Exif
    developed: Path | None

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
    mask_settings: MaskSettings | None = None,
    threads: int = 1,
) -> None:
    """Read and check one subject's photographs and write `output` (images.parquet), `images/` and `masks/` beside it.

    Images are ordered by name, numbers by value; a second file of the same content is skipped with a warning.
    Every image is decoded once. Nothing is written unless all of it is good.

    Args:
        subject: name, for messages.
        folder: the photographs: JPEG, PNG, TIFF or camera raw.
        masks: folder of masks, one per image (see `masks.find_masks`), "auto" to make them, or None or "" for none.
        cameras: known cameras (see `calibration`), or None: EXIF, or a guess, gives the focal length.
        output: the table to write.
        settings: how to read.
        mask_settings: how masks are made, and how much every mask is shrunk.
        threads: images decoded at once.

    Raises:
        PorePatchError: for fewer than two views, an unreadable or truncated file, one that is no photograph, a mask that is
            missing or of another size, or a camera file that does not fit.
    """
    files = list_photographs(folder)
    _check_names(Path(folder))
    logger.info("Reading %d photographs of %s from %s", len(files), subject, folder)
    hashes = _without_copies(_without_raw_twins(files), threads)
    if len(hashes) < 2:
        noun = "image" if len(hashes) == 1 else "images"
        raise PorePatchError(
            f"Subject '{subject}' has {len(hashes)} different {noun} (JPEG, PNG, TIFF or camera raw) in {folder}; put at least "
            "two views there."
        )
    images, mask_folder = Path(output).parent / "images", Path(output).parent / "masks"
    with atomic_folder(images) as new_images, atomic_folder(mask_folder) as new_masks:
        read = partial(read_photograph, folder=new_images, max_megapixels=settings.max_megapixels)
        photographs = map_threads(read, hashes.items(), threads)
        views = make_views(photographs, _calibrations(photographs, cameras, settings), settings)
        origins = [Origin(photograph.path, photograph.size, photograph.exif.orientation) for photograph in photographs]
        names = write_masks(new_masks, views, origins, masks, settings.mask_order, mask_settings or MaskSettings(), threads)
        final = [
            replace(view, path=moved_path(view.path, new_images, images), mask_path=mask_folder / name if name else None)
            for view, name in zip(views, names, strict=True)
        ]
        write_views(output, final)


def list_photographs(folder: str | Path) -> list[Path]:
    """The JPEG, PNG, TIFF and raw files of a folder (not of folders inside), img2 before img10; hidden files are skipped."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PorePatchError(f"The folder of photographs {folder} does not exist; correct the path in the subject sheet.")
    files = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")]
    return sorted(files, key=natural_key)


def read_photograph(item: tuple[Path, str], folder: Path, max_megapixels: float) -> Photograph:
    """Read one file with its hash, prove that it decodes, and write it to `folder` if it has to be developed.

    Raises PorePatchError as `develop`.
    """
    path, sha256 = item
    good = develop(path, max_megapixels)
    target = None if good.pixels is None else folder / f"{path.name}.png"
    if good.pixels is not None and target is not None:
        write_png(target, good.pixels)
    return Photograph(path, sha256, good.size, good.exif, target)


def moved_path(path: Path, old: Path, new: Path) -> Path:
    """Where a file lies after its folder `old` was renamed to `new`; files of other folders stay where they are."""
    return new / path.name if path.parent == old else path


def make_views(
    photographs: Sequence[Photograph], calibrations: Mapping[str, Calibration] | None, settings: PhotographSettings
) -> list[View]:
    """Give every photograph an id and a camera; images that share a camera (model, parameters, maker) share its id."""
    camera_ids: dict[tuple[Camera, str, str], int] = {}
    views = []
    for image_id, photograph in enumerate(photographs):
        name, exif = photograph.path.name, photograph.exif
        if calibrations is None:
            camera, is_prior = exif_camera(exif, photograph.upright_size, settings)
            pose, key = None, (camera, exif.make, exif.model)
        else:
            camera, is_prior, pose = calibrations[name].camera, True, calibrations[name].pose
            key = (camera, "", "")
        views.append(
            View(
                image_id=image_id,
                name=name,
                path=photograph.developed or photograph.path,
                mask_path=None,
                sha256=photograph.sha256,
                orientation=1 if photograph.developed else exif.orientation,
                camera_id=camera_ids.setdefault(key, len(camera_ids)),
                camera=camera,
                focal_is_prior=is_prior,
                pose=pose,
                metric=pose is not None and settings.world_unit_mm is not None,
            )
        )
    _warn_of_guesses(photographs, views)
    return views


def exif_camera(exif: Exif, upright_size: tuple[int, int], settings: PhotographSettings) -> tuple[Camera, bool]:
    """A SIMPLE_RADIAL camera centred in the image, and whether EXIF gave its focal length."""
    width, height = upright_size
    given = sensor_width_mm(exif.make, exif.model, settings.sensors)
    known = sensor_width_mm(exif.make, exif.model, known_widths_mm())
    focal_px = focal_length_px(exif, width, height, given, known)
    params = (focal_px or settings.default_focal_ratio * max(width, height), (width - 1) / 2.0, (height - 1) / 2.0, 0.0)
    return Camera("SIMPLE_RADIAL", width, height, params), focal_px is not None


def _calibrations(
    photographs: Sequence[Photograph], cameras: str | Path | None, settings: PhotographSettings
) -> dict[str, Calibration] | None:
    if not cameras:
        return None
    sizes = {photograph.path.name: photograph.upright_size for photograph in photographs}
    orientations = {photograph.path.name: photograph.exif.orientation for photograph in photographs}
    return read_calibration(cameras, sizes, orientations, settings.world_unit_mm)


def _check_names(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _FOREIGN and not path.name.startswith("."):
            raise PorePatchError(
                f"The image {path} is of a format that is not read ({path.suffix[1:].upper()}); convert it to JPEG, PNG or TIFF, "
                "or take it out of its folder."
            )
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):  # bytes that are no text
            raise PorePatchError(f"The name of {path.name!a} in {folder} is not UTF-8; rename that file.")


def _without_raw_twins(files: Sequence[Path]) -> list[Path]:
    """Leave out camera raw beside a developed image of the same name: that is one picture twice."""
    developed = {path.stem.lower() for path in files if path.suffix.lower() not in RAW_SUFFIXES}
    twins = [path for path in files if path.suffix.lower() in RAW_SUFFIXES and path.stem.lower() in developed]
    if twins:
        logger.warning(
            "%d camera raw files (%s ...) have images of the same name beside them and are skipped; to read them instead, take "
            "those images out of the folder.",
            len(twins),
            twins[0].name,
        )
    return [path for path in files if path not in twins]


def _without_copies(files: Sequence[Path], threads: int) -> dict[Path, str]:
    """Every file of new content, with its hash."""
    first_of: dict[str, Path] = {}
    for path, sha256 in zip(files, map_threads(hash_file, files, threads), strict=True):
        first = first_of.setdefault(sha256, path)
        if first != path:
            logger.warning("%s has the content of %s and is skipped.", path, first.name)
    return {path: sha256 for sha256, path in first_of.items()}


def _warn_of_guesses(photographs: Sequence[Photograph], views: Sequence[View]) -> None:
    guessed = [photograph.exif for photograph, view in zip(photographs, views, strict=True) if not view.focal_is_prior]
    if not guessed:
        return
    logger.warning("%d of %d images tell no focal length; a guess is used.", len(guessed), len(views))
    unknown = sorted({f"{exif.make} {exif.model}".strip() for exif in guessed if exif.focal_mm and exif.model})
    if unknown:
        logger.warning("Give the sensor width in mm of %s in photographs.sensors to do better.", ", ".join(unknown))


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Digits by value, the rest by letter; upper case beside lower."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in parts], path.name
