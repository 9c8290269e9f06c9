"""Tracks of surface points through the views, filtered for trust."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray, largest_angles, project
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints
from porepatch_lib.sfm.model import SparseModel, read_sfm_folder, require_known_keypoints
from porepatch_lib.tables import TRACKS, empty_frame, write_table

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackSettings:
    """Which observations and tracks are trusted.

    `max_scale_ratio`: an observation's physical size (sigma * depth / focal length) may differ from its track's median by
    this factor at most.
    """

    max_reprojection_error_px: float = 2.0
    min_track_length: int = 3
    min_triangulation_angle_deg: float = 1.0
    max_scale_ratio: float = 2.0

    def __post_init__(self) -> None:
        if self.max_reprojection_error_px <= 0 or self.min_track_length < 2 or self.max_scale_ratio < 1:
            raise PorePatchError(
                "The tracks settings need max_reprojection_error_px > 0, min_track_length >= 2 and max_scale_ratio >= 1; "
                "mend the config."
            )


@dataclass(frozen=True)
class Observations:
    """Observations of points, M rows sorted by point, then image_id.

    `point` (M,) int64: equal for one point. `image_id`, `keypoint_id` (M,) int32. `reprojection_error_px` (M,) float64.
    `size` (M,) float64: physical size of the keypoint's sigma in world units. `ray` (M,3) float64: from the point to the
    camera centre, of any length.
    """

    point: NDArray[np.int64]
    image_id: NDArray[np.int32]
    keypoint_id: NDArray[np.int32]
    reprojection_error_px: FloatArray
    size: FloatArray
    ray: FloatArray


def extract_tracks(
    images: str | Path, keypoints: str | Path, sfm_folder: str | Path, output: str | Path, settings: TrackSettings
) -> None:
    """Write the filtered tracks of a reconstructed subject as the `tracks` table; no rows where it failed.

    Raises:
        PorePatchError: if the model cannot be read, or is of other views or keypoints than these.
    """
    status, model = read_sfm_folder(sfm_folder, {view.image_id for view in read_views(images)})
    if model is None:
        _log.warning("No tracks: %s.", status["reason"])
        write_table(output, empty_frame(TRACKS), TRACKS)
        return
    found = read_keypoints(keypoints)
    require_known_keypoints(model, found, sfm_folder)
    observations = observe(model, found)
    kept = filter_tracks(observations, settings)
    _log.info("%d of %d observations kept.", kept.sum(), len(kept))
    write_table(output, _frame(model, observations, kept), TRACKS)


def filter_tracks(observations: Observations, settings: TrackSettings) -> NDArray[np.bool_]:
    """Return which observations (M,) to keep.

    Drops, in this order: observations with too large a reprojection error; of several in one image all but the one with
    the least error; those whose physical size is not the track's; then tracks that became too short or whose rays meet
    at too small an angle.
    """
    kept = observations.reprojection_error_px <= settings.max_reprojection_error_px
    kept &= _best_in_image(observations, kept)
    kept &= _scale_ratio(observations.point, observations.size, kept) <= settings.max_scale_ratio
    kept &= track_lengths(observations.point, kept) >= settings.min_track_length
    return kept & (largest_angles(observations.point, observations.ray, kept) >= np.deg2rad(settings.min_triangulation_angle_deg))


def track_lengths(point: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for every observation (M,) how many observations of its point are kept."""
    _, group = np.unique(point, return_inverse=True)
    return np.bincount(group, weights=kept, minlength=1).astype(np.int64)[group]


def observe(model: SparseModel, keypoints: Mapping[int, Keypoints]) -> Observations:
    """Measure all observations of a model."""
    count = len(model.image_id)
    error, size, ray = np.empty(count), np.empty(count), np.empty((count, 3))
    for image_id, camera in model.cameras.items():
        seen = np.flatnonzero(model.image_id == image_id)
        if len(seen) == 0:
            continue
        points = model.xyz[model.observed_point[seen]]
        pixels, depth = project(camera, model.poses[image_id], points)
        found = keypoints[image_id].select(model.keypoint_id[seen])
        error[seen] = np.linalg.norm(pixels - found.xy, axis=1)
        size[seen] = found.sigma * depth / np.mean(camera.focal_px)
        ray[seen] = model.poses[image_id].centre - points
    return Observations(model.observed_point, model.image_id, model.keypoint_id, error, size, ray)


def _best_in_image(observations: Observations, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the kept observation of least error, then lowest keypoint_id, of every point in every image."""
    row = np.flatnonzero(kept)
    order = row[
        np.lexsort([getattr(observations, key)[row] for key in ("keypoint_id", "reprojection_error_px", "image_id", "point")])
    ]
    place = np.stack([observations.point[order], observations.image_id[order].astype(np.int64)])
    is_first = np.ones(len(order), bool)
    is_first[1:] = (place[:, 1:] != place[:, :-1]).any(axis=0)
    best = np.zeros(len(kept), bool)
    best[order[is_first]] = True
    return best


def _scale_ratio(point: NDArray[np.int64], size: FloatArray, kept: NDArray[np.bool_]) -> FloatArray:
    """Return by which factor (M,), >= 1, every observation's size differs from the median of its point's kept ones."""
    medians = pd.Series(np.where(kept, size, np.nan)).groupby(point).transform("median").to_numpy()
    ratio = np.maximum(size / medians, medians / size)
    return np.where(kept, ratio, np.inf)


def _frame(model: SparseModel, observations: Observations, kept: NDArray[np.bool_]) -> pd.DataFrame:
    xyz = model.xyz[observations.point[kept]]
    angles = largest_angles(observations.point, observations.ray, kept)
    return pd.DataFrame(
        {
            "point_id": model.point_ids[observations.point[kept]],
            "image_id": observations.image_id[kept],
            "keypoint_id": observations.keypoint_id[kept],
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "reprojection_error_px": observations.reprojection_error_px[kept].astype(np.float32),
            "triangulation_angle_rad": angles[kept].astype(np.float32),
            "track_length": track_lengths(observations.point, kept)[kept].astype(np.int32),
        }
    )
