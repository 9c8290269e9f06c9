"""The average head laid out flat: the map between directions from within the head and face coordinates, both ways."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, RectBivariateSpline

from porepatch_lib.rendering.flattening import flatten, grid_triangles, invert
from porepatch_lib.rendering.sculpture import EXTENT_RAD, SOURCE, Point, Sculpture
from porepatch_lib.rendering.surface import triangle_areas

FloatArray = NDArray[np.float64]

_MM_PER_RAD = np.array([98.0, 110.0])  # the border of the map
_RISE_MM = 7.0  # puts the eyes, nose and mouth at their customary v
LIMIT_LOW_MM = -_MM_PER_RAD * EXTENT_RAD + [0.0, _RISE_MM]  # corners of the map
LIMIT_HIGH_MM = _MM_PER_RAD * EXTENT_RAD + [0.0, _RISE_MM]
_FLATTENING_STEP_RAD = 0.026
_INVERSE_STEP_MM = 2.5
_FACE_RAD = (1.5, 1.9)  # lengths matter up to the first angle from straight ahead, and hardly beyond the second
_BEHIND = 0.03  # weight of lengths there
_NECK_BALL_MM = 134.0
_POINTS_PER_PIECE = 12


class Layout:
    """The map as splines in both directions. Lengths are kept as well as possible on the face, nostrils filled."""

    def __init__(self) -> None:
        a, b = (np.linspace(-limit, limit, 2 * int(limit / _FLATTENING_STEP_RAD) + 1) for limit in EXTENT_RAD)
        angles = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
        surface = _shortened(Sculpture(with_nostrils=False).surface(angles))
        triangles = grid_triangles(len(b), len(a))
        rim = np.hypot(*(angles / (np.array(EXTENT_RAD) - 0.03)).T) >= 1.0
        towards = np.hypot(*angles.T)[triangles].mean(axis=1)
        weight = np.interp(towards, _FACE_RAD, [1.0, _BEHIND])
        plane = flatten(surface, triangles, angles * _MM_PER_RAD, rim, weight)
        # What came out too small counts more the second time.
        shrunk = triangle_areas(surface, triangles) / triangle_areas(np.column_stack([plane, np.zeros(len(plane))]), triangles)
        plane = flatten(surface, triangles, plane, rim, weight * np.clip(shrunk, 1.0, 3.0) ** 4)
        plane = plane.reshape(len(b), len(a), 2).transpose(1, 0, 2)
        plane = 0.5 * (plane + plane[::-1] * [-1.0, 1.0]) + [0.0, _RISE_MM]
        self._forward = [RectBivariateSpline(a, b, plane[..., axis]) for axis in range(2)]
        counts = 2 * (LIMIT_HIGH_MM / _INVERSE_STEP_MM).astype(int) + 1
        u, v = (np.linspace(low, high, n) for low, high, n in zip(LIMIT_LOW_MM, LIMIT_HIGH_MM, counts.tolist(), strict=True))
        targets = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
        found = invert(a, b, plane, targets).reshape(len(u), len(v), 2)
        self._backward = [RectBivariateSpline(u, v, found[..., axis]) for axis in range(2)]

    def angles(self, uv: FloatArray) -> FloatArray:
        """Return the angles (N,2) of face coordinates (N,2), see `sculpture.directions`."""
        return np.stack([spline.ev(uv[:, 0], uv[:, 1]) for spline in self._backward], axis=1)

    def place(self, point: Point) -> tuple[float, float]:
        """Return the face coordinates of a point of the average head."""
        x, y, z = np.array(point) - SOURCE
        angle = np.arctan2(np.hypot(x, y), z) / max(np.hypot(x, y), 1e-12)
        u, v = (float(spline.ev(angle * x, angle * y)) for spline in self._forward)
        return u, v

    def curve(self, points: tuple[Point, ...], u: FloatArray) -> FloatArray:
        """Return v at `u` (N,) of a smooth curve through points of the average head, left to right; level beyond its ends."""
        places = np.array([self.place(point) for point in points])
        return np.asarray(CubicSpline(*places.T)(np.clip(u, places[0, 0], places[-1, 0])))

    def outline(self, points: tuple[Point, ...], beyond: tuple[tuple[float, float], ...] = ()) -> FloatArray:
        """Return a closed, symmetric outline (M,2) in face coordinates.

        Its right half runs smoothly through `points` of the average head, the first in the middle, and then on to the face
        coordinates `beyond`.
        """
        places = np.array([self.place(point) for point in points])
        knots = np.arange(len(places))
        smooth = CubicSpline(knots, places)(np.linspace(0, len(places) - 1, _POINTS_PER_PIECE * len(places)))
        half = np.concatenate([smooth, np.array(beyond).reshape(-1, 2)])
        return np.concatenate([half, half[::-1] * [-1.0, 1.0]])


@cache
def layout() -> Layout:
    """Return the layout, which is the same for all models and takes seconds to find."""
    return Layout()


def signed_distance(points: FloatArray, outline: FloatArray) -> FloatArray:
    """Return the distance (N,) of points (N,2) to a closed outline (M,2), negative inside."""
    square = np.full(len(points), np.inf)
    inside = np.zeros(len(points), np.bool_)
    x, y = points.T
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        dx, dy = bx - ax, by - ay
        if dx == dy == 0.0:
            continue
        share = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        square = np.minimum(square, (x - ax - share * dx) ** 2 + (y - ay - share * dy) ** 2)
        if dy != 0.0:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) / dy * dx)
    return np.where(inside, -1.0, 1.0) * np.sqrt(square)


def _shortened(points: FloatArray) -> FloatArray:
    """Return the points drawn in to a ball that holds the face but not the length of the neck."""
    arm = points - SOURCE
    length = np.linalg.norm(arm, axis=1, keepdims=True)
    return np.asarray(SOURCE + arm * np.minimum(1.0, _NECK_BALL_MM / length))
