"""Known cameras of a rig, read from the user's files and made to fit the upright images.

Five forms, told apart by what is there: a COLMAP model (text or binary), `cameras.json`, a folder of Strecha's `.camera` files,
IDR's `cameras.npz`, and `K.txt`, one matrix for all images. `camera_files` and `sfm.colmap_files` read them; their conventions
are in docs/captures.md. In what comes out the centre of the first pixel is (0, 0) and poses take world to camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from porepatch_lib.captures.camera_files import (
    CameraAndPose,
    Size,
    Sizes,
    read_idr,
    read_json_cameras,
    read_matrix,
    read_strecha,
)
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, turn_camera, turn_pose

_UPRIGHT = 1
# EXIF codes of photographs taken on their side: clockwise quarter turns from the stored to the upright image.
_QUARTERS = {6: 1, 8: 3}
_MIRRORED = (2, 4, 5, 7)
_JSON_FILE, _MATRIX_FILE = "cameras.json", "K.txt"
_COLMAP_FILES = ("cameras.bin", "images.bin", "cameras.txt", "images.txt")
_COLMAP_PLACES = (".", "sparse/0", "sparse")
_IDR_FILES = ("cameras.npz", "cameras_sphere.npz")


class Source(NamedTuple):
    """Cameras that were found: their kind, in words, what reads them, and the file or folder to read."""

    kind: str
    read: Callable[[Path, Sizes], dict[str, CameraAndPose]]
    path: Path


@dataclass(frozen=True)
class Calibration:
    """A given camera, and its pose where the file has one."""

    camera: Camera
    pose: Pose | None


def read_calibration(
    path: str | Path,
    sizes: Mapping[str, Size],
    orientations: Mapping[str, int] | None = None,
    world_unit_mm: float | None = None,
) -> dict[str, Calibration]:
    """Read the cameras of images.

    Args:
        path: a file, or a folder with one (see `find_cameras`).
        sizes: upright (width, height) in pixels by image name, in the natural order of the names.
        orientations: EXIF codes by image name, 1 where absent. The camera of a photograph on its side (6 or 8) may describe
            the upright or the stored pixels; which, its size tells.
        world_unit_mm: millimetres per unit of the file's poses; None leaves their unit.

    Raises:
        PorePatchError: if there are no cameras or two kinds, an image has no camera, one of another size, or is stored
            mirrored, a file is malformed, a focal length is not positive, a number is not finite, a rotation is none, or only
            some images have a pose.
    """
    source = find_cameras(Path(path))
    codes = {name: (orientations or {}).get(name, _UPRIGHT) for name in sizes}
    mirrored = next((name for name in sizes if codes[name] in _MIRRORED), None)
    if mirrored is not None:
        raise PorePatchError(
            f"{mirrored} is stored mirrored (EXIF orientation {codes[mirrored]}), so the cameras {source.path} cannot be applied "
            "to it; save the photograph unmirrored and calibrate it as it is."
        )
    possible = {name: [size, size[::-1]] if codes[name] in _QUARTERS else [size] for name, size in sizes.items()}
    given = source.read(source.path, possible)
    _check_all_posed(given, source.path)
    return {name: _calibration(*given[name], name, size, codes[name], source.path, world_unit_mm) for name, size in sizes.items()}


def find_cameras(path: Path) -> Source:
    """Find the cameras at `path`: a file, or a folder.

    In a folder: a COLMAP model (there, in `sparse/0` or in `sparse`), `*.camera`, `cameras.json`, `cameras.npz` or
    `cameras_sphere.npz`; `K.txt` only where nothing else is, as it has no poses.

    Raises:
        PorePatchError: if there are none, or more than one.
    """
    if not path.exists():
        raise PorePatchError(f"The cameras {path} do not exist; correct the path in the subject sheet.")
    found = _in_folder(path) if path.is_dir() else _of_file(path)
    if not found:
        raise PorePatchError(
            f"{path} holds no known cameras; give a COLMAP model, cameras.json, cameras.npz, K.txt or a folder of .camera files."
        )
    if len(found) > 1:
        raise PorePatchError(
            f"{path} holds {found[0].kind} and {found[1].kind}; remove one, or name the file to read in the subject sheet."
        )
    return found[0]


def _in_folder(folder: Path) -> list[Source]:
    models = [place for place in _COLMAP_PLACES if any((folder / place / name).is_file() for name in _COLMAP_FILES)]
    found = [Source("a COLMAP model", _read_colmap, folder / models[0])] if models else []
    if any(folder.glob("*.camera")):
        found.append(Source("Strecha's .camera files", read_strecha, folder))
    for name in (_JSON_FILE, *_IDR_FILES):
        found += _of_file(folder / name) if (folder / name).is_file() else []
    return found or (_of_file(folder / _MATRIX_FILE) if (folder / _MATRIX_FILE).is_file() else [])


def _of_file(file: Path) -> list[Source]:
    if file.name in _COLMAP_FILES:
        return [Source("a COLMAP model", _read_colmap, file.parent)]
    if file.suffix == ".camera":
        return [Source("Strecha's .camera files", read_strecha, file.parent)]
    readers = {".json": read_json_cameras, ".npz": read_idr, ".txt": read_matrix}
    return [Source(file.name, readers[file.suffix], file)] if file.suffix in readers else []


def _read_colmap(folder: Path, sizes: Sizes) -> dict[str, CameraAndPose]:
    from porepatch_lib.sfm.colmap_files import read_posed_images  # pycolmap only where it is needed

    return {**read_posed_images(folder, list(sizes))}


def _check_all_posed(given: Mapping[str, CameraAndPose], file: Path) -> None:
    posed = [name for name, (_, pose) in given.items() if pose is not None]
    bare = [name for name, (_, pose) in given.items() if pose is None]
    if posed and bare:
        raise PorePatchError(f"{file} has a pose for {posed[0]} but none for {bare[0]}; give all poses or none.")


def _calibration(
    camera: Camera, pose: Pose | None, name: str, size: Size, orientation: int, file: Path, world_unit_mm: float | None
) -> Calibration:
    """Check one camera and its pose, and make them fit the upright image of `size` and the unit."""
    _check_numbers(camera, pose, f"{name} in {file}")
    given = (camera.width, camera.height)
    if given != size and given == size[::-1] and orientation in _QUARTERS:
        quarters = _QUARTERS[orientation]
        camera, pose = turn_camera(camera, quarters), turn_pose(pose, quarters) if pose is not None else None
    elif given != size:
        raise PorePatchError(
            f"The camera of {name} in {file} is for {given[0]}x{given[1]} pixels, the upright image has "
            f"{size[0]}x{size[1]}; give the calibration of these images."
        )
    if pose is not None and world_unit_mm is not None:
        pose = Pose(pose.rotation, pose.translation * world_unit_mm)
    return Calibration(camera, pose)


def _check_numbers(camera: Camera, pose: Pose | None, where: str) -> None:
    if not np.isfinite(camera.params).all():
        raise PorePatchError(f"The camera of {where} has a parameter that is not finite; calibrate it again.")
    if min(camera.focal_px) <= 0.0:
        raise PorePatchError(f"The camera of {where} has the focal length {min(camera.focal_px):g}; it must be more than 0.")
    if pose is not None and not np.isfinite(pose.translation).all():
        raise PorePatchError(f"The translation of {where} is not finite; give three numbers.")
