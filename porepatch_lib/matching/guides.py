"""Where the keypoints of two views may have their partners: by known poses, by a first model, or by the matches of the pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.geometry import Camera, FloatArray, Pose, project
from porepatch_lib.matching.epipolar import (
    distances_to_lines,
    epipolar_lines,
    essential_matrix,
    fundamental_matrix,
    ideal_pixels,
    transferred,
)
from porepatch_lib.sfm.model import SparseModel
from porepatch_lib.sfm.two_view import TwoViewGeometry


@dataclass(frozen=True)
class Guide:
    """What is known of a pair of views, for its keypoints (N) and (M): `xy`, lines and places in the other view, of `Side`.

    place_px: largest distance from the place.
    """

    xy: tuple[FloatArray, FloatArray]
    line: tuple[FloatArray, FloatArray]
    place: tuple[FloatArray, FloatArray]
    place_px: float


def guide_of_poses(view_1: View, view_2: View, xy_1: FloatArray, xy_2: FloatArray) -> Guide | None:
    """Return the guide of two posed views; None where a view has no pose or both stand at one place."""
    if view_1.pose is None or view_2.pose is None:
        return None
    essential = essential_matrix(view_1.pose, view_2.pose)
    return _of_essential(essential, view_1.camera, view_2.camera, xy_1, xy_2) if essential.any() else None


def guide_of_model(
    model: SparseModel,
    pair: tuple[int, int],
    xy: tuple[FloatArray, FloatArray],
    points: tuple[FloatArray, FloatArray],
    place_px: float,
) -> Guide | None:
    """Return the guide of two registered views, whose keypoints `xy` show the surface at `points` (N,3), NaN where unknown.

    Where the surface is unknown a keypoint has no partner: along its line alone it would find wrong ones, which then lie on
    their lines and are never found out. None where a view is not registered or both stand at one place.
    """
    if not all(image_id in model.poses for image_id in pair):
        return None
    camera: tuple[Camera, Camera] = (model.cameras[pair[0]], model.cameras[pair[1]])
    pose: tuple[Pose, Pose] = (model.poses[pair[0]], model.poses[pair[1]])
    essential = essential_matrix(*pose)
    if not essential.any():
        return None
    lines = _of_essential(essential, *camera, *xy)
    place = tuple(ideal_pixels(camera[other], project(camera[other], pose[other], points[1 - other])[0]) for other in (1, 0))
    line = tuple(
        np.where(np.isnan(there).any(axis=1, keepdims=True), np.nan, rows) for there, rows in zip(place, lines.line, strict=True)
    )
    return Guide(lines.xy, (line[0], line[1]), (place[0], place[1]), place_px)


def guide_of_two_view(
    geometry: TwoViewGeometry, camera_1: Camera, camera_2: Camera, xy_1: FloatArray, xy_2: FloatArray, max_error_px: float
) -> Guide:
    """Return the guide of an estimated geometry; a homography says where, within `max_error_px`, the others along which line."""
    if geometry.kind == "essential":
        return _of_essential(geometry.matrix, camera_1, camera_2, xy_1, xy_2)
    if geometry.kind == "fundamental":
        return _of_fundamental(geometry.matrix, xy_1, xy_2)
    there, back = transferred(geometry.matrix, xy_1), transferred(np.asarray(np.linalg.inv(geometry.matrix), np.float64), xy_2)
    return Guide((xy_1, xy_2), (np.zeros((len(xy_1), 3)), np.zeros((len(xy_2), 3))), (there, back), max_error_px)


def near_guide(guide: Guide, index_1: NDArray[np.int64], index_2: NDArray[np.int64], line_px: float) -> NDArray[np.bool_]:
    """Return which pairs (M,) of keypoints lie within reach of each other's line, and of each other's place where it is known."""
    near = np.ones(len(index_1), bool)
    for here, there, of_here, of_there in ((0, 1, index_1, index_2), (1, 0, index_2, index_1)):
        near &= distances_to_lines(guide.line[here][of_here], guide.xy[there][of_there]) <= line_px
        near &= ~(np.linalg.norm(guide.place[here][of_here] - guide.xy[there][of_there], axis=1) > guide.place_px)
    return near


def _of_essential(essential: FloatArray, camera_1: Camera, camera_2: Camera, xy_1: FloatArray, xy_2: FloatArray) -> Guide:
    fundamental = fundamental_matrix(essential, camera_1, camera_2)
    return _of_fundamental(fundamental, ideal_pixels(camera_1, xy_1), ideal_pixels(camera_2, xy_2))


def _of_fundamental(fundamental: FloatArray, xy_1: FloatArray, xy_2: FloatArray) -> Guide:
    line = (epipolar_lines(fundamental, xy_1), epipolar_lines(fundamental.T, xy_2))
    return Guide((xy_1, xy_2), line, (np.full(xy_1.shape, np.nan), np.full(xy_2.shape, np.nan)), np.inf)
