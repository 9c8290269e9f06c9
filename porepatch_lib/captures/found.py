"""What folders of a user hold: whose photographs, how large, with which masks and cameras."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from porepatch_lib.captures.calibration import read_calibration
from porepatch_lib.captures.decode import RAW_SUFFIXES, read_image_bytes
from porepatch_lib.captures.develop import develop
from porepatch_lib.captures.exif import read_exif
from porepatch_lib.captures.faces import find_face
from porepatch_lib.captures.headers import read_header
from porepatch_lib.captures.masks import find_masks, upright
from porepatch_lib.captures.nersemble import CALIBRATION, NersembleSettings
from porepatch_lib.captures.photographs import PhotographSettings, exif_camera, list_photographs, natural_key
from porepatch_lib.captures.sheet import MADE_MASKS
from porepatch_lib.errors import PorePatchError

logger = logging.getLogger(__name__)

Size = tuple[int, int]

NERSEMBLE, PHOTOGRAPHS = "nersemble", "photographs"
_REDUCED_ABOVE_BYTES = 1_000_000  # larger files are read at half their size to search for a face


@dataclass(frozen=True)
class FoundSubject:
    """One person's captures.

    Attributes:
        folder: of the photographs, or of the NeRSemble participant.
        source: as in the sheet.
        sizes: upright (width, height) in pixels of every view that was looked at.
        views: how many photographs or cameras there are.
        focals: how many photographs tell their focal length in EXIF.
        masks: a folder, `auto` or "".
        cameras: known cameras, or None.
        sequences: names of a participant's sequences.
    """

    folder: Path
    source: str
    views: int
    sizes: Sequence[Size]
    focals: int = 0
    masks: Path | str = ""
    cameras: Path | None = None
    sequences: frozenset[str] = frozenset()


class _Look(NamedTuple):
    """Upright (width, height) of a photograph, its EXIF orientation, and whether EXIF tells its focal length."""

    size: Size
    orientation: int
    tells_focal: bool


def find_subjects(folders: Sequence[Path]) -> list[FoundSubject]:
    """Look at every folder: the captures of one person, or one folder per person, in natural order."""
    places = [place for folder in folders for place in _capture_folders(folder)]
    for index, place in enumerate(places):
        if place.resolve() in [earlier.resolve() for earlier in places[:index]]:
            raise PorePatchError(f"The folder {place} is named twice; name every folder of photographs once.")
    return [_look_at_participant(place) if _is_participant(place) else _look_at_photographs(place) for place in places]


def _capture_folders(folder: Path) -> list[Path]:
    """The folders of single persons' captures that a folder named by the user stands for."""
    if not folder.is_dir():
        raise PorePatchError(f"The folder {folder} does not exist; correct --images.")
    own = _own_captures(folder)
    if own:
        return [own]
    inner = sorted((path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")), key=natural_key)
    masks = {name for path in inner for name in _mask_names(path)}
    found = [captures for path in inner if path.name not in masks and (captures := _own_captures(path))]
    if not found:
        raise PorePatchError(
            f"{folder} holds no two photographs (JPEG, PNG, TIFF or camera raw), no folders of photographs and no NeRSemble "
            "participant; correct --images."
        )
    return found


def _own_captures(folder: Path) -> Path | None:
    """The folder itself if it holds one person's captures, or the folder `images` in it."""
    if _is_participant(folder):
        return folder
    for place in (folder, folder / "images"):
        count = len(list_photographs(place)) if place.is_dir() else 0
        if count >= 2:
            return place
        if count:
            logger.warning("%s holds one photograph and is left out; a subject needs two views at least.", place)
    return None


def _is_participant(folder: Path) -> bool:
    return (folder / CALIBRATION).is_file() or (folder / "sequences").is_dir()


def _look_at_photographs(folder: Path) -> FoundSubject:
    files = list_photographs(folder)
    looks = {file.name: _look(file) for file in files}
    sizes = [look.size for look in looks.values()]
    masks: Path | str = _given_masks(files) or (MADE_MASKS if _shows_a_face(files) else "")
    focals = sum(look.tells_focal for look in looks.values())
    return FoundSubject(folder, PHOTOGRAPHS, len(files), sizes, focals, masks, _given_cameras(folder, looks))


def _look(file: Path) -> _Look:
    """Read the header; only camera raw must be developed for that."""
    if file.suffix.lower() in RAW_SUFFIXES:
        developed = develop(file, math.inf)
        stored, exif = developed.size, developed.exif
    else:
        data = read_image_bytes(file)
        stored, exif = read_header(data, file).size, read_exif(data, file)
    size = upright(stored, exif.orientation)
    return _Look(size, exif.orientation, exif_camera(exif, size, PhotographSettings())[1])


def _shows_a_face(files: Sequence[Path]) -> bool:
    """Look at the middle photograph and at two beside it."""
    middle = len(files) // 2
    return any(_face_in(files[index]) for index in dict.fromkeys([middle, middle // 2, (middle + len(files)) // 2]))


def _face_in(file: Path) -> bool:
    if file.suffix.lower() in RAW_SUFFIXES:
        pixels = develop(file, math.inf).pixels
        grey = None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    else:
        reduce = file.stat().st_size > _REDUCED_ABOVE_BYTES
        grey = cv2.imread(str(file), cv2.IMREAD_REDUCED_GRAYSCALE_2 if reduce else cv2.IMREAD_GRAYSCALE)
    return grey is not None and find_face(np.asarray(grey, np.uint8)) is not None


def _mask_names(folder: Path) -> list[str]:
    """Names beside a folder of photographs that tell its masks."""
    return [f"{folder.name}-masks", f"{folder.name}_masks", *(["masks"] if folder.name == "images" else [])]


def _given_masks(files: Sequence[Path]) -> Path | None:
    folder = files[0].parent
    for place in (folder.parent / name for name in _mask_names(folder)):
        if place.is_dir():
            try:
                find_masks(list(files), place)
            except PorePatchError as error:
                logger.warning("The masks in %s are left out: %s", place, error)
            else:
                return place
    return None


def _given_cameras(folder: Path, looks: Mapping[str, _Look]) -> Path | None:
    """Known cameras in or beside a folder of photographs that fit them, those with poses first."""
    sizes = {name: look.size for name, look in looks.items()}
    orientations = {name: look.orientation for name, look in looks.items()}
    candidates = [path for path in _camera_places(folder) if path.exists()]
    for index, path in enumerate(candidates):
        try:
            read_calibration(path, sizes, orientations)
        except PorePatchError as error:
            if index == len(candidates) - 1:
                logger.warning("The cameras %s are left out: %s", path, error)
        else:
            return path
    return None


def _camera_places(folder: Path) -> Iterator[Path]:
    """Where known cameras may be, those that tell poses first; a folder's own before those beside it."""
    beside = folder.parent
    yield from (folder / "cameras.json", *(beside / f"{folder.name}{join}cameras.json" for join in "-_"), beside / "cameras.json")
    for place in (folder, *(path for parent in (folder, beside) for path in sorted(parent.iterdir()) if path.is_dir())):
        if any(place.glob("*.camera")):
            yield place
    names = ("cameras.npz", "cameras_sphere.npz", "sparse/0", "sparse")
    yield from (place / name for name in names for place in (folder, beside))
    yield from (folder / "K.txt", *(beside / f"{folder.name}{join}K.txt" for join in "-_"), beside / "K.txt")


def _look_at_participant(folder: Path) -> FoundSubject:
    videos: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("sequences/*/images/cam_*.mp4")):
        videos.setdefault(path.parents[1].name, []).append(path)
    chosen = videos.get(NersembleSettings().sequence) or next(iter(videos.values()), [])
    sizes = [_video_size(chosen[0])] * len(chosen) if chosen else []
    return FoundSubject(folder, NERSEMBLE, len(chosen), sizes, masks=MADE_MASKS, sequences=frozenset(videos))


def _video_size(path: Path) -> Size:
    video = cv2.VideoCapture(str(path))
    size = (int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    video.release()
    return size
