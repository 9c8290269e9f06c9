"""The files that tell cameras, one reader for each form (docs/captures.md has the table of their conventions).

Every reader takes the file or folder and the sizes that each image may have, and returns camera and pose by image name as the
file tells them: of the upright or the stored image, in the file's unit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.config import SCHEMAS, validate
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, FloatArray, Pose, checked_rotation

Size = tuple[int, int]
CameraAndPose = tuple[Camera, Pose | None]
# (width, height) upright and, where the photograph was taken on its side, as stored.
Sizes = Mapping[str, Sequence[Size]]

_STRECHA_NUMBERS = 26
_LARGEST_SKEW_PX = 0.1  # at the upper or lower border; what rounding leaves in a projection matrix is far below
_SINGULAR = 1e-9
_OFF_CENTRE = 0.25


def read_json_cameras(file: Path, sizes: Sizes) -> dict[str, CameraAndPose]:
    """Read `cameras.json`, see workflow/schemas/cameras.schema.yaml."""
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise PorePatchError(f"Cannot read {file} ({error}); mend its JSON.") from error
    validate(document, SCHEMAS / "cameras.schema.yaml", str(file), "key")
    for name in sizes:
        if name not in document:
            raise PorePatchError(f"{file} has no camera for the image {name}; add one.")
    return {name: _from_json(document[name], f"{name} in {file}") for name in sizes}


def read_strecha(folder: Path, sizes: Sizes) -> dict[str, CameraAndPose]:
    """Read a folder of Strecha's `<image>.camera` files (Strecha et al., CVPR 2008).

    They hold K (3x3), distortion (3 zeros), the camera-to-world rotation (3x3), the camera centre, width and height.
    """
    return {name: _from_strecha(folder / f"{name}.camera") for name in sizes}


def read_matrix(file: Path, sizes: Sizes) -> dict[str, CameraAndPose]:
    """Read one K (3x3) for all images, without poses. Its size is that of the image whose centre it has."""
    matrix = _numbers(file, 9).reshape(3, 3)
    size_of = {name: _size_by_centre(matrix, possible, name, file) for name, possible in sizes.items()}
    return {name: (_pinhole(matrix, size, file), None) for name, size in size_of.items()}


def read_idr(file: Path, sizes: Sizes) -> dict[str, CameraAndPose]:
    """Read the `world_mat_<i>` of an IDR or NeuS `cameras.npz`, i counting the images in the order of `sizes`.

    The upper 3x4 of each is K[R|t] (github lioryariv/idr, DATA_CONVENTION.md). `scale_mat_<i>`, which moves the unit sphere
    into that world, is not applied.
    """
    matrices = _world_matrices(file)
    if len(matrices) != len(sizes):
        raise PorePatchError(
            f"{file} has {len(matrices)} matrices world_mat_0, world_mat_1, ... but there are {len(sizes)} images; "
            "give one for each image, in the order of the file names."
        )
    found: dict[str, CameraAndPose] = {}
    for (name, possible), matrix in zip(sizes.items(), matrices, strict=True):
        intrinsics, pose = _decomposed(matrix, f"{name} in {file}")
        size = _size_by_centre(intrinsics, possible, name, file)
        if abs(intrinsics[0, 1] / intrinsics[1, 1]) * size[1] / 2.0 > _LARGEST_SKEW_PX:
            raise PorePatchError(f"The camera of {name} in {file} has slanted pixels (skew {intrinsics[0, 1]:g}); undistort it.")
        intrinsics[0, 1] = 0.0
        found[name] = (_pinhole(intrinsics, size, file), pose)
    return found


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twins = [name for name in names if names.count(name) > 1]
    if twins:
        raise ValueError(f"'{twins[0]}' is there twice")
    return dict(pairs)


def _from_json(entry: dict[str, Any], where: str) -> CameraAndPose:
    try:
        camera = Camera(entry["model"], int(entry["width"]), int(entry["height"]), tuple(float(p) for p in entry["params"]))
    except PorePatchError as error:
        raise PorePatchError(f"{where}: {error}") from error
    if "rotation" not in entry:
        return camera, None
    rotation = checked_rotation(np.array(entry["rotation"], np.float64), where)
    return camera, Pose(rotation, np.array(entry["translation"], np.float64))


def _from_strecha(file: Path) -> CameraAndPose:
    numbers = _numbers(file, _STRECHA_NUMBERS)
    camera_to_world, centre = numbers[12:21].reshape(3, 3), numbers[21:24]
    if np.any(numbers[9:12]):
        raise PorePatchError(f"{file} has lens distortion, which is not supported in this form; give cameras.json.")
    rotation = checked_rotation(camera_to_world.T, str(file))
    camera = _pinhole(numbers[:9].reshape(3, 3), (int(numbers[24]), int(numbers[25])), file)
    return camera, Pose(rotation, -rotation @ centre)


def _world_matrices(file: Path) -> list[FloatArray]:
    """The matrices (3,4) of world_mat_0, world_mat_1, ... as far as they are numbered without a gap."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            numbers = [name for name in archive.files if name.startswith("world_mat_") and name[10:].isdecimal()]
            found = [np.asarray(archive[f"world_mat_{i}"], np.float64) for i in range(len(numbers))]
    except KeyError as error:
        raise PorePatchError(f"The matrices of {file} are not numbered 0, 1, 2, ... ({error}); write the file again.") from None
    except Exception as error:  # numpy and zipfile raise whatever a damaged archive makes them stumble over
        raise PorePatchError(
            f"Cannot read {file}: it is no whole archive of numbers; write it again with numpy.savez, without pickle."
        ) from error
    for index, matrix in enumerate(found):
        if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
            raise PorePatchError(f"world_mat_{index} of {file} is not a matrix of 3x4 or 4x4 finite numbers; write it again.")
    return [matrix[:3] for matrix in found]


def _decomposed(matrix: FloatArray, where: str) -> tuple[FloatArray, Pose]:
    """Split P = s K [R|t] (3,4), s > 0, into K (3,3) with K[2,2] = 1 and the pose (Hartley and Zisserman 2004, 6.2.4)."""
    left = matrix[:, :3]
    singular = np.linalg.svd(left, compute_uv=False)
    if singular[2] <= _SINGULAR * singular[0]:
        raise PorePatchError(f"The projection matrix of {where} is singular, so no camera; write K [R|t].")
    if np.linalg.det(left) < 0.0:
        raise PorePatchError(
            f"The projection matrix of {where} mirrors the world (negative determinant); write K [R|t] with a rotation R."
        )
    from scipy.linalg import rq

    upper, rotation = rq(left)
    signs = np.sign(np.diag(upper))
    upper, rotation = upper * signs, rotation * signs[:, None]
    return upper / upper[2, 2], Pose(rotation, np.linalg.solve(upper, matrix[:, 3]))


def _size_by_centre(matrix: FloatArray, possible: Sequence[Size], name: str, file: Path) -> Size:
    """The size of the image, upright or stored, whose centre is next to the principal point: the file names none."""
    offsets = [np.abs(matrix[:2, 2] / size - 0.5).max() for size in possible]
    width, height = possible[int(np.argmin(offsets))]
    if min(offsets) > _OFF_CENTRE:
        width, height = possible[0]
        raise PorePatchError(
            f"The principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) of {file} is not near the centre of {name} "
            f"({width}x{height} pixels upright); give the calibration of these images."
        )
    return (width, height)


def _numbers(file: Path, count: int) -> NDArray[np.float64]:
    try:
        numbers = np.array(file.read_text(encoding="utf-8").split(), np.float64)
    except FileNotFoundError:
        raise PorePatchError(f"The camera file {file} is missing; add it or take its image away.") from None
    except (OSError, ValueError) as error:
        raise PorePatchError(
            f"Cannot read the camera file {file}: it must hold {count} numbers and nothing else; mend it."
        ) from error
    if len(numbers) != count or not np.all(np.isfinite(numbers)):
        raise PorePatchError(f"The camera file {file} holds {len(numbers)} numbers, not {count} finite ones; restore it.")
    return numbers


def _pinhole(matrix: FloatArray, size: Size, file: Path) -> Camera:
    (fx, skew, cx), (zero, fy, cy), last = matrix
    if skew or zero or fx <= 0.0 or fy <= 0.0 or last.tolist() != [0.0, 0.0, 1.0]:
        raise PorePatchError(f"The first matrix of {file} is not (fx 0 cx; 0 fy cy; 0 0 1) with positive fx, fy; mend it.")
    return Camera("PINHOLE", size[0], size[1], (float(fx), float(fy), float(cx), float(cy)))
