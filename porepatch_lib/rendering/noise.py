"""Seeded random fields over the face: band-limited noise, and the cells between the fine lines of the skin."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Map = NDArray[np.float32]


def smooth_noise(shape: tuple[int, int], wavelength_px: tuple[float, float], rng: np.random.Generator) -> Map:
    """Return noise (rows, columns) float32 of about unit variance with the given wavelengths along x and y in texels."""
    rows, columns = shape
    step_x, step_y = max(wavelength_px[0] / 2.0, 1.0), max(wavelength_px[1] / 2.0, 1.0)
    knots = rng.standard_normal((int(rows / step_y) + 4, int(columns / step_x) + 4), dtype=np.float32)
    to_knots = np.array([[1.0 / step_x, 0.0, 1.5], [0.0, 1.0 / step_y, 1.5]])
    field = cv2.warpAffine(knots, to_knots, (columns, rows), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return np.asarray(field, np.float32) * np.float32(1.3)


def cell_borders(shape: tuple[int, int], cell_px: float, width_px: float, rng: np.random.Generator) -> Map:
    """Return the borders (rows, columns) float32 in 0..1 of random cells of `cell_px`, Gaussian across with sigma `width_px`.

    The cells are those of a Voronoi diagram of a jittered grid, like the polygons between the fine lines of skin.
    """
    rows, columns = shape
    seeds = rng.uniform(0.0, 1.0, (int(rows / cell_px) + 4, int(columns / cell_px) + 4, 2))
    borders = np.empty(shape, np.float32)
    _borders(seeds, cell_px, width_px, borders)
    return borders


@njit(cache=True, nogil=True)
def _borders(seeds, cell_px, width_px, borders):  # type: ignore[no-untyped-def]
    rows, columns = borders.shape
    for row in range(rows):
        y = row / cell_px + 1.0
        cell_row = int(y)
        for column in range(columns):
            x = column / cell_px + 1.0
            cell_column = int(x)
            nearest, second = 1e9, 1e9
            for j in range(cell_row - 1, cell_row + 2):
                for i in range(cell_column - 1, cell_column + 2):
                    distance = (i + seeds[j, i, 0] - x) ** 2 + (j + seeds[j, i, 1] - y) ** 2
                    if distance < nearest:
                        nearest, second = distance, nearest
                    elif distance < second:
                        second = distance
            gap = (np.sqrt(second) - np.sqrt(nearest)) * cell_px / (2.0 * width_px)
            borders[row, column] = np.exp(-0.5 * gap * gap) if gap < 5.0 else 0.0
