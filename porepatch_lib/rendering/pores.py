"""Pores: a hard-core point process over the face, and their pits in the skin's maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering.head import Landmarks

FloatArray = NDArray[np.float64]
Map = NDArray[np.float32]

_HARD_CORE = 0.75  # least distance between pores over the mean distance density^(-1/2)


@dataclass(frozen=True)
class Pores:
    """Row-aligned pores: uv (N,2) mm; radius, depth in mm, contrast 0..1, elongation >= 1 and its direction, each (N,)."""

    uv: FloatArray
    radius_mm: FloatArray
    depth_mm: FloatArray
    contrast: FloatArray
    elongation: FloatArray
    direction_rad: FloatArray


def pore_strength(marks: Landmarks, uv: FloatArray) -> FloatArray:
    """Return how porous the skin is at face coordinates (N,2): about 1 on nose and inner cheeks, 0.25 at the rim."""
    u, v = np.abs(uv[:, 0]), uv[:, 1]
    regions = [
        (0.0, marks.nose_tip_v + 4.0, 15.0, 18.0, 0.8),
        (27.0, -8.0, 17.0, 17.0, 0.75),
        (0.0, 60.0, 34.0, 15.0, 0.4),
        (0.0, marks.chin_v + 2.0, 20.0, 13.0, 0.5),
    ]
    strength = np.full(len(uv), 0.25)
    for u0, v0, sigma_u, sigma_v, height in regions:
        strength += height * np.exp(-0.5 * (((u - u0) / sigma_u) ** 2 + ((v - v0) / sigma_v) ** 2))
    return np.minimum(strength, 1.0)


def sample_pores(
    marks: Landmarks, low: FloatArray, high: FloatArray, density_per_cm2: float, contrast: float, rng: np.random.Generator
) -> Pores:
    """Draw the pores of one subject between the corners `low` and `high` (2,) mm of the face coordinates.

    `density_per_cm2` holds where the skin is most porous; `contrast` scales darkness and depth.
    """
    area_cm2 = float(np.prod(high - low)) / 100.0
    candidates = rng.uniform(low, high, (int(4.0 * density_per_cm2 * area_cm2), 2))
    strength = pore_strength(marks, candidates)
    density_per_mm2 = 0.01 * density_per_cm2 * (0.45 + 0.55 * strength)
    keep = _hard_core(candidates - low, _HARD_CORE / np.sqrt(density_per_mm2), high - low)
    uv, strength = candidates[keep], strength[keep]
    count = len(uv)
    vigour = rng.gamma(4.0, 0.25, count)
    return Pores(
        uv=uv,
        radius_mm=np.clip((0.11 + 0.10 * strength) * np.exp(0.25 * rng.standard_normal(count)), 0.07, 0.4),
        depth_mm=contrast * np.clip(0.075 * (0.3 + 0.7 * strength) * vigour, 0.0, 0.16),
        contrast=np.clip(contrast * 0.20 * (0.35 + 0.65 * strength) * vigour, 0.0, 0.55),
        elongation=1.0 + rng.gamma(2.0, 0.18, count),
        direction_rad=rng.uniform(0.0, np.pi, count),
    )


def stamp_pores(pores: Pores, low: FloatArray, texel_mm: float, height: Map, darkness: Map) -> None:
    """Press the pores into `height` (mm) and multiply `darkness` (1 = untouched), both (rows, columns), in place."""
    _stamp(
        (pores.uv - low) / texel_mm,
        pores.radius_mm / texel_mm,
        pores.depth_mm,
        pores.contrast,
        pores.elongation,
        pores.direction_rad,
        height,
        darkness,
    )


@njit(cache=True, nogil=True)
def _hard_core(points, least_distance, size):  # type: ignore[no-untyped-def]
    """Accept points in order unless an accepted one lies nearer than their own least distance."""
    cell = least_distance.max()
    columns = int(size[0] / cell) + 1
    rows = int(size[1] / cell) + 1
    newest = np.full((rows, columns), -1, np.int64)
    earlier = np.full(len(points), -1, np.int64)
    keep = np.zeros(len(points), np.bool_)
    for index in range(len(points)):
        x, y = points[index, 0], points[index, 1]
        column, row = int(x / cell), int(y / cell)
        limit = least_distance[index] ** 2
        free = True
        for near_row in range(max(row - 1, 0), min(row + 2, rows)):
            for near_column in range(max(column - 1, 0), min(column + 2, columns)):
                other = newest[near_row, near_column]
                while free and other >= 0:
                    free = (points[other, 0] - x) ** 2 + (points[other, 1] - y) ** 2 >= limit
                    other = earlier[other]
        if free:
            keep[index] = True
            earlier[index] = newest[row, column]
            newest[row, column] = index
    return keep


@njit(cache=True, nogil=True)
def _stamp(centres, radii, depths, contrasts, elongations, directions, height, darkness):  # type: ignore[no-untyped-def]
    rows, columns = height.shape
    for index in range(len(centres)):
        x, y, radius = centres[index, 0], centres[index, 1], radii[index]
        stretch = np.sqrt(elongations[index])
        cosine, sine = np.cos(directions[index]), np.sin(directions[index])
        reach = 2.6 * radius * stretch
        for row in range(max(int(y - reach), 0), min(int(y + reach) + 2, rows)):
            for column in range(max(int(x - reach), 0), min(int(x + reach) + 2, columns)):
                along = ((column - x) * cosine + (row - y) * sine) / (radius * stretch)
                across = ((row - y) * cosine - (column - x) * sine) / (radius / stretch)
                square = along * along + across * across
                pit = np.exp(-0.5 * square * (1.0 + 0.25 * square))
                height[row, column] -= depths[index] * pit
                darkness[row, column] *= 1.0 - contrasts[index] * pit
