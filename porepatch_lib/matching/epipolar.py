"""Where a keypoint may appear in another view, and the nearest descriptor among those there.

Hartley and Zisserman, Multiple View Geometry (2004), chapter 9: a point x_1 of view 1 lies in view 2 on the line F x_1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, FloatArray, Pose, rays
from porepatch_lib.matching.nearest import squared_distance
from porepatch_lib.threads import map_threads

_ONE_PLACE = 1e-6  # baseline over distance from the origin; rounding leaves less


@dataclass(frozen=True)
class Side:
    """Keypoints (N) of one of two views, and what they say of their partner in the other view.

    descriptors: (N,D) float32. xy: (N,2) pixels, in the coordinates that the lines and places of the other side are in.
    line: (N,3) the line a, b, c with a^2 + b^2 = 1 on which the other view shows them; zeros for no such line, NaN for a keypoint
    without partner. place: (N,2) the place near which the other view shows them, NaN where unknown. log_sigma: (N,) log2 of the
    size, in a unit in which partners are equal.
    """

    descriptors: NDArray[np.float32]
    xy: FloatArray
    line: FloatArray
    place: FloatArray
    log_sigma: FloatArray


@dataclass(frozen=True)
class Reach:
    """How far a partner may be from where it is expected.

    line_px: from the line, in both views. place_px: from the place, in both views, where they are known. octaves: difference
    of size, infinite for any. distinct_px: the second-nearest descriptor counts only beyond this distance from the nearest.
    """

    line_px: float
    place_px: float
    octaves: float
    distinct_px: float


@dataclass(frozen=True)
class Found:
    """For every keypoint (N): index int64 of the nearest candidate, -1 for none, and float64 distances (L2) to it and to the
    second nearest, infinite where there is none."""

    index: NDArray[np.int64]
    first: FloatArray
    second: FloatArray


def essential_matrix(pose_1: Pose, pose_2: Pose) -> FloatArray:
    """Return E (3,3), of norm 1, with ray_2^T E ray_1 = 0; all zeros (no lines) for two cameras at one place."""
    rotation = pose_2.rotation @ pose_1.rotation.T
    baseline = pose_2.translation - rotation @ pose_1.translation
    if np.linalg.norm(baseline) <= _ONE_PLACE * (np.linalg.norm(pose_1.translation) + np.linalg.norm(pose_2.translation)):
        return np.zeros((3, 3))
    x, y, z = baseline
    essential = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ rotation
    return np.asarray(essential / np.linalg.norm(essential))


def ideal_pixels(camera: Camera, xy: FloatArray) -> FloatArray:
    """Return pixels (N,2) without distortion, counted from the principal point."""
    return rays(camera, xy)[:, :2] * np.array(camera.focal_px)


def fundamental_matrix(essential: FloatArray, camera_1: Camera, camera_2: Camera) -> FloatArray:
    """Return F (3,3) for `ideal_pixels` of two cameras from E for their rays."""
    return np.diag([*(1.0 / np.array(camera_2.focal_px)), 1.0]) @ essential @ np.diag([*(1.0 / np.array(camera_1.focal_px)), 1.0])


def epipolar_lines(fundamental: FloatArray, xy: FloatArray) -> FloatArray:
    """Return the lines (N,3) in view 2 of points (N,2) in view 1, with unit normal; NaN for a point on the epipole."""
    lines = np.column_stack([xy, np.ones(len(xy))]) @ fundamental.T
    length = np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    return lines / np.where(length > 0.0, length, np.nan)


def transferred(homography: FloatArray, xy: FloatArray) -> FloatArray:
    """Return points (N,2) under a homography (3,3); infinite, so far from everything, where they go to infinity."""
    moved = np.column_stack([xy, np.ones(len(xy))]) @ homography.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moved[:, 2:] != 0.0, moved[:, :2] / moved[:, 2:], np.inf)


def distances_to_lines(lines: FloatArray, xy: FloatArray) -> FloatArray:
    """Return the distances (N,) of points (N,2) to lines (N,3) with unit normal."""
    return np.abs(np.einsum("ij,ij->i", lines[:, :2], xy) + lines[:, 2])


def nearest_candidates(queries: Side, targets: Side, reach: Reach, threads: int) -> Found:
    """Return for every keypoint of `queries` the nearest descriptors among its candidates in `targets`.

    j is a candidate of i where each lies within reach of the other's line, of the other's place and of the other's size, so i
    is then one of j. Ties go to the lowest index. The result does not depend on `threads`.
    """
    count = len(queries.xy)
    index, first, second = np.full(count, -1, np.int64), np.full(count, np.inf), np.full(count, np.inf)
    if len(targets.xy):
        limits = np.array([reach.line_px, reach.place_px**2, reach.octaves, reach.distinct_px**2])
        one, two = _numbers(queries), _numbers(targets)
        rows_1, rows_2 = queries.descriptors, targets.descriptors
        parts = np.array_split(np.arange(count), max(1, threads))
        map_threads(lambda part: _search(part, rows_1, one, rows_2, two, limits, index, first, second), parts, threads)
    return Found(index, np.sqrt(first), np.sqrt(second))


def _numbers(side: Side) -> FloatArray:
    """All but the descriptors in rows (8,N): x, y, the line a, b, c, the place x, y, log2 of the size."""
    return np.ascontiguousarray(np.column_stack([side.xy, side.line, side.place, side.log_sigma]).T, np.float64)


@njit(cache=True, nogil=True)
def _search(part, rows_1, one, rows_2, two, limits, index, first, second):  # type: ignore[no-untyped-def]
    """Write nearest index and squared distances of the queries `part`; one, two: `_numbers`; limits: as of `Reach`, squared."""
    line_px, place_px2, octaves, distinct_px2 = limits
    x_2, y_2 = two[0], two[1]
    residual = np.empty(len(x_2))
    candidate, squared = np.empty(len(x_2), np.int64), np.empty(len(x_2))
    for i in part:
        x, y, a, b, c, u, v, size = one[:, i]
        for j in range(len(residual)):  # in vector registers: nearly all are outside the band
            residual[j] = abs(a * x_2[j] + b * y_2[j] + c)
        count = 0
        for j in range(len(residual)):
            if (
                residual[j] <= line_px  # False for NaN: without a line there is no candidate
                and abs(two[2, j] * x + two[3, j] * y + two[4, j]) <= line_px
                and abs(size - two[7, j]) <= octaves
                and not (u - x_2[j]) ** 2 + (v - y_2[j]) ** 2 > place_px2  # True for NaN: an unknown place forbids nothing
                and not (two[5, j] - x) ** 2 + (two[6, j] - y) ** 2 > place_px2
            ):
                candidate[count], squared[count] = j, squared_distance(rows_1[i], rows_2[j])
                count += 1
        if count == 0:
            continue
        best = np.argmin(squared[:count])
        index[i], first[i] = candidate[best], squared[best]
        x_best, y_best = x_2[candidate[best]], y_2[candidate[best]]
        for k in range(count):
            apart = (x_2[candidate[k]] - x_best) ** 2 + (y_2[candidate[k]] - y_best) ** 2
            if apart > distinct_px2 and squared[k] < second[i]:
                second[i] = squared[k]
