"""What the rays of a camera hit: exact ray casting of one mesh by rasterising its triangles strip by strip.

A ray (x, y, 1) in the camera's frame lies inside a triangle with corners A, B, C when (x, y, 1) . (B x C), . (C x A) and
. (A x B) have one sign; the three products are its barycentric weights up to their sum, and the z-depth of the hit is
A . (B x C) over that sum. Rays keep the lens distortion; all of it is float64, so that depth is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, Pose, distort

FloatArray = NDArray[np.float64]
Triangles = NDArray[np.int32]

_NEAREST_MM = 1.0  # triangles nearer than this, or behind the camera, are left out
_MOST_STEPS = 30  # of the fixed-point iteration that undoes the distortion
_TOLERANCE = 1e-13  # of normalised coordinates: below 1e-9 px


def build_scene(vertices: FloatArray, triangles: Triangles, threads: int) -> Any:
    """Return an `open3d.t.geometry.RaycastingScene` of one mesh: vertices (N,3) mm, triangles (M,3)."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
    from_numpy = o3d.core.Tensor.from_numpy
    scene.add_triangles(from_numpy(vertices.astype(np.float32)), from_numpy(triangles.astype(np.uint32)))
    return scene


def lens_parameters(camera: Camera) -> FloatArray:
    """Return fx, fy, cx, cy, k1, k2, p1, p2 (8,) for `cast_strip`."""
    return np.array([*camera.focal_px, *camera.principal_point_px, *camera.distortion])


def triangles_of_strips(
    camera: Camera, pose: Pose, vertices: FloatArray, triangles: Triangles, strip_rows: int
) -> tuple[FloatArray, NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """Sort the triangles into strips of `strip_rows` image rows.

    Returns the vertices in the camera's frame (N,3), the pixels (M,4) int32 that bound each triangle (first and last column,
    first and last row), and the triangles of strip s as order[start[s] : start[s + 1]].
    """
    local = pose.to_camera(vertices)
    lens = lens_parameters(camera)
    depth = np.maximum(local[:, 2:], _NEAREST_MM)
    pixels = distort(camera, local[:, :2] / depth) * lens[:2] + lens[2:4]
    bounds = _bounds(local, pixels, triangles, lens, camera.width, camera.height)
    start, order = _sort_into_strips(bounds, strip_rows, -(-camera.height // strip_rows))
    return local, bounds, start, order


@njit(cache=True, nogil=True)
def cast_strip(  # type: ignore[no-untyped-def]
    first_row, samples, lens, local, triangles, bounds, order, x, y, nearness, triangle
):
    """Cast samples x samples rays per pixel of a strip whose first image row is `first_row`.

    order: the strip's triangles. Filled, all (rows * samples, columns * samples): x, y float64 the rays (x, y, 1) in the
    camera's frame, nearness float64 the reciprocal z-depth (0 where nothing is hit), triangle int32 (-1 where nothing is hit).
    """
    rows, columns = triangle.shape
    for row in range(rows):
        for column in range(columns):
            x[row, column], y[row, column] = _ray(lens, (column + 0.5) / samples - 0.5, first_row + (row + 0.5) / samples - 0.5)
            nearness[row, column] = 0.0
            triangle[row, column] = -1
    for index in order:
        a, b, c = triangles[index]
        ax, ay, az = cross(local, b, c)
        bx, by, bz = cross(local, c, a)
        cx, cy, cz = cross(local, a, b)
        volume = ax * local[a, 0] + ay * local[a, 1] + az * local[a, 2]
        if volume == 0.0:
            continue
        sign = 1.0 if volume > 0.0 else -1.0
        low_column, high_column = max(bounds[index, 0] * samples, 0), min((bounds[index, 1] + 1) * samples, columns)
        low_row = max((bounds[index, 2] - first_row) * samples, 0)
        high_row = min((bounds[index, 3] + 1 - first_row) * samples, rows)
        for row in range(low_row, high_row):
            for column in range(low_column, high_column):
                ray_x, ray_y = x[row, column], y[row, column]
                first = sign * (ray_x * ax + ray_y * ay + az)
                second = sign * (ray_x * bx + ray_y * by + bz)
                third = sign * (ray_x * cx + ray_y * cy + cz)
                if first < 0.0 or second < 0.0 or third < 0.0:
                    continue
                near = (first + second + third) / (sign * volume)
                if near > nearness[row, column]:
                    nearness[row, column] = near
                    triangle[row, column] = index


@njit(cache=True, nogil=True)
def cross(local, i, j):  # type: ignore[no-untyped-def]
    """Return the cross product of vertices i and j; exactly its negative with i and j swapped, so edges have no gaps."""
    return (
        local[i, 1] * local[j, 2] - local[i, 2] * local[j, 1],
        local[i, 2] * local[j, 0] - local[i, 0] * local[j, 2],
        local[i, 0] * local[j, 1] - local[i, 1] * local[j, 0],
    )


@njit(cache=True, nogil=True)
def _ray(lens, column, row):  # type: ignore[no-untyped-def]
    """Return x, y of the ray (x, y, 1) through a pixel, by the iteration of `porepatch_lib.geometry.undistort`."""
    goal_x, goal_y = (column - lens[2]) / lens[0], (row - lens[3]) / lens[1]
    x, y = goal_x, goal_y
    if lens[4] == 0.0 and lens[5] == 0.0 and lens[6] == 0.0 and lens[7] == 0.0:
        return x, y
    for _ in range(_MOST_STEPS):
        distorted_x, distorted_y = _distort(lens, x, y)
        step_x, step_y = goal_x - distorted_x, goal_y - distorted_y
        x, y = x + step_x, y + step_y
        if abs(step_x) + abs(step_y) < _TOLERANCE:
            break
    return x, y


@njit(cache=True, nogil=True)
def _distort(lens, x, y):  # type: ignore[no-untyped-def]
    square = x * x + y * y
    radial = 1.0 + square * (lens[4] + lens[5] * square)
    return (
        x * radial + 2.0 * lens[6] * x * y + lens[7] * (square + 2.0 * x * x),
        y * radial + lens[6] * (square + 2.0 * y * y) + 2.0 * lens[7] * x * y,
    )


@njit(cache=True, nogil=True)
def _bounds(local, pixels, triangles, lens, width, height):  # type: ignore[no-untyped-def]
    """Return the pixels (M,4) that a triangle may cover: first and last column, first and last row; empty where none."""
    bounds = np.empty((len(triangles), 4), np.int32)
    for index in range(len(triangles)):
        bounds[index] = 0, -1, 0, -1
        a, b, c = triangles[index]
        if min(local[a, 2], local[b, 2], local[c, 2]) <= _NEAREST_MM:
            continue
        # Distortion bends edges: as far as their middles move away from the straight line.
        margin = 0.0
        for i, j in ((a, b), (b, c), (c, a)):
            x = 0.5 * (local[i, 0] / local[i, 2] + local[j, 0] / local[j, 2])
            y = 0.5 * (local[i, 1] / local[i, 2] + local[j, 1] / local[j, 2])
            x, y = _distort(lens, x, y)
            margin = max(margin, abs(x * lens[0] + lens[2] - 0.5 * (pixels[i, 0] + pixels[j, 0])))
            margin = max(margin, abs(y * lens[1] + lens[3] - 0.5 * (pixels[i, 1] + pixels[j, 1])))
        margin = 0.5 + 2.0 * margin
        for axis, size in ((0, width), (1, height)):
            low = min(pixels[a, axis], pixels[b, axis], pixels[c, axis]) - margin
            high = max(pixels[a, axis], pixels[b, axis], pixels[c, axis]) + margin
            bounds[index, 2 * axis] = np.int32(max(np.ceil(low), 0.0))
            bounds[index, 2 * axis + 1] = np.int32(min(np.floor(high), size - 1.0))
    return bounds


@njit(cache=True, nogil=True)
def _sort_into_strips(bounds, strip_rows, strips):  # type: ignore[no-untyped-def]
    start = np.zeros(strips + 1, np.int64)
    for index in range(len(bounds)):
        if bounds[index, 0] <= bounds[index, 1] and bounds[index, 2] <= bounds[index, 3]:
            for strip in range(bounds[index, 2] // strip_rows, bounds[index, 3] // strip_rows + 1):
                start[strip + 1] += 1
    start = np.cumsum(start)
    order = np.empty(start[-1], np.int32)
    place = start.copy()
    for index in range(len(bounds)):
        if bounds[index, 0] <= bounds[index, 1] and bounds[index, 2] <= bounds[index, 3]:
            for strip in range(bounds[index, 2] // strip_rows, bounds[index, 3] // strip_rows + 1):
                order[place[strip]] = index
                place[strip] += 1
    return start, order
