"""A sparse COLMAP model read into our own conventions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.failures import disk_full
from porepatch_lib.files import read_json
from porepatch_lib.geometry import Camera, FloatArray, Pose
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.sfm.colmap import from_colmap_camera, from_colmap_id, from_colmap_pose


@dataclass(frozen=True)
class SparseModel:
    """Registered views and triangulated points, pixel centre = integer, identifiers ours.

    `cameras`, `poses`: by image_id. `point_ids` (P,) int64 ascending and `xyz` (P,3) float64 in world units. Observations,
    M rows sorted by point then image_id then keypoint_id: `observed_point` (M,) int64 is a row of `xyz`, `image_id`,
    `keypoint_id` (M,) int32.
    """

    cameras: dict[int, Camera]
    poses: dict[int, Pose]
    point_ids: NDArray[np.int64]
    xyz: FloatArray
    observed_point: NDArray[np.int64]
    image_id: NDArray[np.int32]
    keypoint_id: NDArray[np.int32]


def read_model(folder: Path) -> SparseModel:
    """Read a binary COLMAP model.

    Raises:
        PorePatchError: if the folder holds no readable model.
    """
    try:
        return model_of(pycolmap.Reconstruction(folder))
    except (RuntimeError, ValueError, OSError) as error:
        raise PorePatchError(f"Cannot read the COLMAP model {folder} ({error}); delete its folder and run again.") from error


def write_model(model: pycolmap.Reconstruction, folder: Path) -> None:
    """Write a binary COLMAP model into `folder`, made where it is not there.

    Raises:
        OSError: ENOSPC where files are too short for what is in the model: COLMAP does not see that the disk is full.
    """
    folder.mkdir(exist_ok=True)
    model.write_binary(folder)
    images = [model.images[image_id] for image_id in model.reg_image_ids()]
    least = {  # bytes, a little less than COLMAP's present layout
        "rigs.bin": 16 * len(model.rigs),
        "cameras.bin": 40 * len(model.cameras),
        "frames.bin": 80 * len(images),
        "images.bin": sum(64 + 24 * image.num_points2D() for image in images),
        "points3D.bin": 51 * model.num_points3D() + 8 * model.compute_num_observations(),
    }
    if any((folder / name).stat().st_size < size for name, size in least.items()):
        raise disk_full(folder)


def read_sfm_folder(folder: str | Path, image_ids: Collection[int]) -> tuple[dict[str, Any], SparseModel | None]:
    """Read `status.json` and the model of a folder of the sfm stage; None where that reconstruction failed.

    Raises:
        PorePatchError: if the model cannot be read, or has views that are not among `image_ids`.
    """
    status = read_json(Path(folder) / "status.json")
    if status["status"] != "ok":
        return status, None
    model = read_model(Path(folder) / "model")
    if not set(model.poses) <= set(image_ids):
        raise PorePatchError(f"The model in {folder} is of other views than now; delete it and run again.")
    return status, model


def require_known_keypoints(model: SparseModel, keypoints: Mapping[int, Keypoints], folder: str | Path) -> None:
    """Check that the model of the sfm folder `folder` observes keypoints (by image_id) that exist.

    Raises:
        PorePatchError: if it does not.
    """
    counts = np.array([len(keypoints.get(image_id, ())) for image_id in model.image_id.tolist()])
    if (model.keypoint_id >= counts).any():
        raise PorePatchError(f"The model in {folder} is of other views or keypoints than now; delete it and run again.")


def viewing_directions(model: SparseModel) -> FloatArray:
    """Return for every observation (M,3) the unit vector from its point to its camera."""
    ray = np.empty((len(model.image_id), 3))
    for image_id, pose in model.poses.items():
        seen = model.image_id == image_id
        ray[seen] = pose.centre - model.xyz[model.observed_point[seen]]
    return np.asarray(ray / np.linalg.norm(ray, axis=1, keepdims=True), np.float64)


def model_of(reconstruction: pycolmap.Reconstruction) -> SparseModel:
    """Convert a COLMAP reconstruction."""
    images = [reconstruction.images[image_id] for image_id in sorted(reconstruction.reg_image_ids())]
    own = [from_colmap_id(image.image_id) for image in images]
    point_ids = np.array(sorted(reconstruction.points3D), np.int64)
    points = [reconstruction.points3D[point_id] for point_id in point_ids.tolist()]
    rows = np.array(
        [
            (row, from_colmap_id(element.image_id), element.point2D_idx)
            for row, point in enumerate(points)
            for element in point.track.elements
        ],
        np.int64,
    ).reshape(-1, 3)
    rows = rows[np.lexsort(rows.T[::-1])]
    return SparseModel(
        cameras=dict(zip(own, (from_colmap_camera(reconstruction.cameras[image.camera_id]) for image in images), strict=True)),
        poses=dict(zip(own, (from_colmap_pose(image.cam_from_world()) for image in images), strict=True)),
        point_ids=point_ids,
        xyz=np.array([point.xyz for point in points], np.float64).reshape(-1, 3),
        observed_point=rows[:, 0],
        image_id=rows[:, 1].astype(np.int32),
        keypoint_id=rows[:, 2].astype(np.int32),
    )
