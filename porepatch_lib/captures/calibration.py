"""Known cameras of a rig, read from the user's files.

Three forms, told apart by name; each describes the *upright* images:

* `cameras.json`: `{"a.jpg": {"model": "PINHOLE", "width": 640, "height": 480, "params": [fx, fy, cx, cy],
  "rotation": [[..], [..], [..]], "translation": [x, y, z]}}`. Models and parameter order are COLMAP's.
  `rotation` and `translation` take world to camera; leave out both, for every image, where no pose is known.
* a folder of Strecha's `<image>.camera` files: K (3x3), distortion (3 zeros), camera-to-world rotation
  (3x3), camera centre, width and height (Strecha et al., CVPR 2008).
* `K.txt`: one 3x3 matrix for all images, no poses.

In all of them the centre of the first pixel is (0, 0), as in OpenCV. Strecha's files do not state theirs; they are taken as
they stand, as openMVG, which distributes them, does. The photographs cannot tell: mean epipolar errors
of Fountain-P11 under both readings differ by 1 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.config import SCHEMAS, validate
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose

Size = tuple[int, int]

# Texts with six digits are orthonormal to 1e-5; a wrong matrix is far off.
_ORTHONORMAL = 1e-3
_STRECHA_NUMBERS = 26


@dataclass(frozen=True)
class Calibration:
    """A given camera, and its pose where the file has one."""

    camera: Camera
    pose: Pose | None


def read_calibration(path: str | Path, sizes: Mapping[str, Size]) -> dict[str, Calibration]:
    """Read the cameras of the images named in `sizes`, upright (width, height) in pixels.

    Raises:
        PorePatchError: if an image has no camera or another size, a file is malformed, a rotation is none,
            or only some images have a pose.
    """
    file = _calibration_file(Path(path))
    if file.is_dir():
        calibrations = {name: _read_strecha(file / f"{name}.camera") for name in sizes}
    elif file.suffix == ".json":
        calibrations = _read_json(file, sizes)
    else:
        calibrations = _read_matrix(file, sizes)
    for name, size in sizes.items():
        camera = calibrations[name].camera
        if (camera.width, camera.height) != size:
            raise PorePatchError(
                f"The camera of {name} in {file} is for {camera.width}x{camera.height} pixels, the upright image has "
                f"{size[0]}x{size[1]}; give the calibration of these images."
            )
    posed = [name for name in sizes if calibrations[name].pose is not None]
    if posed and len(posed) < len(sizes):
        bare = next(name for name in sizes if calibrations[name].pose is None)
        raise PorePatchError(f"{file} has a pose for {posed[0]} but none for {bare}; give all poses or none.")
    return calibrations


def _calibration_file(path: Path) -> Path:
    """The file to read, or the folder itself if it holds Strecha's files."""
    if not path.exists():
        raise PorePatchError(f"The cameras {path} do not exist; correct the path in the subject sheet.")
    if path.is_dir():
        if any(path.glob("*.camera")):
            return path
        path = next((path / name for name in ("cameras.json", "K.txt") if (path / name).is_file()), path)
    if path.suffix not in (".json", ".txt"):
        raise PorePatchError(f"{path} holds no known cameras; give cameras.json, K.txt or a folder of .camera files.")
    return path


def _read_json(file: Path, sizes: Mapping[str, Size]) -> dict[str, Calibration]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PorePatchError(f"Cannot read {file} ({error}); mend its JSON.") from error
    validate(document, SCHEMAS / "cameras.schema.yaml", str(file), "key")
    for name in sizes:
        if name not in document:
            raise PorePatchError(f"{file} has no camera for the image {name}; add one.")
    return {name: _from_json(document[name], f"{name} in {file}") for name in sizes}


def _from_json(entry: dict[str, Any], where: str) -> Calibration:
    try:
        camera = Camera(entry["model"], int(entry["width"]), int(entry["height"]), tuple(float(p) for p in entry["params"]))
    except PorePatchError as error:
        raise PorePatchError(f"{where}: {error}") from error
    pose = None
    if "rotation" in entry:
        pose = Pose(_rotation(np.array(entry["rotation"], np.float64), where), np.array(entry["translation"], np.float64))
    return Calibration(camera, pose)


def _read_strecha(file: Path) -> Calibration:
    numbers = _numbers(file, _STRECHA_NUMBERS)
    camera_to_world, centre = numbers[12:21].reshape(3, 3), numbers[21:24]
    if np.any(numbers[9:12]):
        raise PorePatchError(f"{file} has lens distortion, which is not supported in this form; give cameras.json.")
    rotation = _rotation(camera_to_world.T, str(file))
    camera = _pinhole(numbers[:9].reshape(3, 3), (int(numbers[24]), int(numbers[25])), file)
    return Calibration(camera, Pose(rotation, -rotation @ centre))


def _read_matrix(file: Path, sizes: Mapping[str, Size]) -> dict[str, Calibration]:
    matrix = _numbers(file, 9).reshape(3, 3)
    calibrations = {}
    for name, (width, height) in sizes.items():
        # K.txt names no size; a principal point far from the centre gives another size or orientation away.
        if np.any(np.abs(matrix[:2, 2] / (width, height) - 0.5) > 0.25):
            raise PorePatchError(
                f"The principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) of {file} is not near the centre of {name} "
                f"({width}x{height} pixels upright); give the calibration of these images."
            )
        calibrations[name] = Calibration(_pinhole(matrix, (width, height), file), None)
    return calibrations


def _numbers(file: Path, count: int) -> NDArray[np.float64]:
    try:
        numbers = np.array(file.read_text(encoding="utf-8").split(), np.float64)
    except FileNotFoundError:
        raise PorePatchError(f"The camera file {file} is missing; add it or take its image away.") from None
    except (OSError, ValueError) as error:
        raise PorePatchError(f"Cannot read the camera file {file} ({error}); it must hold {count} numbers.") from error
    if len(numbers) != count or not np.all(np.isfinite(numbers)):
        raise PorePatchError(f"The camera file {file} holds {len(numbers)} numbers, not {count} finite ones; restore it.")
    return numbers


def _pinhole(matrix: NDArray[np.float64], size: Size, file: Path) -> Camera:
    (fx, skew, cx), (zero, fy, cy), last = matrix
    if skew or zero or fx <= 0.0 or fy <= 0.0 or last.tolist() != [0.0, 0.0, 1.0]:
        raise PorePatchError(f"The first matrix of {file} is not (fx 0 cx; 0 fy cy; 0 0 1) with positive fx, fy; mend it.")
    return Camera("PINHOLE", size[0], size[1], (float(fx), float(fy), float(cx), float(cy)))


def _rotation(matrix: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """The rotation nearest to a matrix printed with few digits."""
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > _ORTHONORMAL or np.linalg.det(matrix) < 0.0:
        raise PorePatchError(f"The rotation of {where} is no rotation matrix; give world to camera, row by row.")
    left, _, right = np.linalg.svd(matrix)
    return left @ right
