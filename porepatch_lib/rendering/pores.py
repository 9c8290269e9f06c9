"""Points that keep their distance on the surface of a head, and the pores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering.features import line_direction, pore_strength
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.stamps import HEIGHT, PIT, SHADOW, Stamps, directions, make_stamps
from porepatch_lib.rendering.surface import Head, triangle_areas

FloatArray = NDArray[np.float64]

_HARD_CORE = 0.75  # least distance between points over the mean distance density^(-1/2)
_CANDIDATES = 4.0  # per wanted point
_BUCKETS = 2**18


@dataclass(frozen=True)
class Pores:
    """Row-aligned pores (N,).

    radius_mm: standard deviation of the pit, the geometric mean of both axes. depth_mm. contrast: 0..1, darkening at the middle.
    elongation: ratio of the axes, >= 1. direction (N,3): unit tangent of the neutral face along the long axis.
    """

    places: Places
    radius_mm: FloatArray
    depth_mm: FloatArray
    contrast: FloatArray
    elongation: FloatArray
    direction: FloatArray


def scatter(head: Head, density_per_mm2: FloatArray, rng: np.random.Generator, hard_core: float = _HARD_CORE) -> Places:
    """Draw points on the neutral face with a density per triangle (M,), none nearer than `hard_core` density^(-1/2) to another.

    Distances are in space. With the standard hard core about 0.9 of the density is reached.
    """
    weight = triangle_areas(head.neutral, head.triangles) * density_per_mm2
    total = float(weight.sum())
    if total <= 0.0:
        return Places(np.zeros(0, np.int64), np.zeros((0, 2)))
    count = int(total * (_CANDIDATES if hard_core > 0.0 else 1.0))
    # `count` points spread evenly over the cumulative area, in random order.
    triangle = np.searchsorted(np.cumsum(weight) / total, rng.uniform(0.0, 1.0, count), side="right")
    triangle = np.minimum(triangle, len(weight) - 1)
    root, share = np.sqrt(rng.uniform(0.0, 1.0, count)), rng.uniform(0.0, 1.0, count)
    places = Places(triangle, np.column_stack([root * (1.0 - share), root * share]))
    if hard_core == 0.0:
        return places
    least = hard_core / np.sqrt(density_per_mm2[triangle])
    return places[_hard_core(places.on(head.neutral, head.triangles), np.minimum(least, 10.0))]


def sample_pores(
    head: Head, bare: FloatArray, density_per_cm2: float, contrast: float, size: float, rng: np.random.Generator
) -> Pores:
    """Draw the pores of one subject.

    `bare` (M,) is 1 for triangles of bare skin and 0 for others; `density_per_cm2` holds where skin is most porous; `contrast`
    scales darkness and depth, `size` the radii.
    """
    middle = head.place[head.triangles].mean(axis=1)
    density = 0.01 * density_per_cm2 * (0.4 + 0.6 * pore_strength(head.landmarks, middle[:, 0], middle[:, 1]))
    places = scatter(head, density * bare, rng)
    u, v = places.on(head.place, head.triangles).T
    strength = pore_strength(head.landmarks, u, v)
    count = len(places)
    vigour = rng.gamma(3.5, 0.2857, count)
    # One pore in six is filled: flat and pale, or dark.
    filled = rng.uniform(0.0, 1.0, count) < 0.16 * strength
    dark = filled & (rng.uniform(0.0, 1.0, count) < 0.3)
    angle = line_direction(head.landmarks, u, v) + 0.35 * rng.standard_normal(count)
    return Pores(
        places=places,
        radius_mm=size * np.clip((0.08 + 0.085 * strength) * np.exp(0.25 * rng.standard_normal(count)), 0.05, 0.3),
        depth_mm=contrast * np.clip(0.06 * (0.2 + 0.8 * strength) * vigour, 0.0, 0.15) * np.where(filled, 0.35, 1.0),
        contrast=np.clip(
            contrast * 0.075 * (0.25 + 0.75 * strength) * vigour * np.where(dark, 2.2, np.where(filled, 0.3, 1.0)), 0.0, 0.6
        ),
        elongation=1.0 + rng.gamma(2.0, 0.15, count) * (0.5 + strength),
        direction=directions(head, places.triangle, angle),
    )


def pore_stamps(head: Head, pores: Pores) -> Stamps:
    """Return the pits and the darkness of pores."""
    stretch = np.sqrt(pores.elongation)
    return make_stamps(
        head,
        pores.places,
        pores.direction,
        PIT,
        pores.radius_mm * stretch,
        pores.radius_mm / stretch,
        {HEIGHT: -pores.depth_mm, SHADOW: -np.log(1.0 - pores.contrast)},
    )


@njit(cache=True, nogil=True)
def _hard_core(points, least_distance):  # type: ignore[no-untyped-def]
    """Accept points (N,3) in order unless an accepted one lies nearer than their own least distance (N,)."""
    cell = least_distance.max()
    # Buckets of cubic cells; strangers that share a bucket by chance are only compared in vain.
    newest = np.full(_BUCKETS, -1, np.int64)
    earlier = np.full(len(points), -1, np.int64)
    keep = np.zeros(len(points), np.bool_)
    for index in range(len(points)):
        x, y, z = points[index, 0], points[index, 1], points[index, 2]
        i, j, k = int(np.floor(x / cell)), int(np.floor(y / cell)), int(np.floor(z / cell))
        limit = least_distance[index] ** 2
        free = True
        for near in range(27):
            other = newest[_bucket(i + near % 3 - 1, j + near // 3 % 3 - 1, k + near // 9 - 1)]
            while free and other >= 0:
                gap = (points[other, 0] - x) ** 2 + (points[other, 1] - y) ** 2 + (points[other, 2] - z) ** 2
                free = gap >= limit
                other = earlier[other]
        if free:
            keep[index] = True
            bucket = _bucket(i, j, k)
            earlier[index] = newest[bucket]
            newest[bucket] = index
    return keep


@njit(cache=True, nogil=True)
def _bucket(i, j, k):  # type: ignore[no-untyped-def]
    return ((i * 73856093) ^ (j * 19349663) ^ (k * 83492791)) & (_BUCKETS - 1)
