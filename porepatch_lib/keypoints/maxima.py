"""Strict local maxima of a difference-of-Gaussians stack, and the quadratic fit around them (numba kernels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SINGULAR_PIVOT = 1e-10
_FIRST_CAPACITY = 4096


@njit(cache=True, nogil=True)
def strict_maxima(dog: NDArray[Any], threshold: float, first_row: int, last_row: int) -> NDArray[np.int32]:
    """Find pixels of `dog` (levels, rows, cols) at or above `threshold` and strictly above their 26 neighbours.

    Rows first_row <= y < last_row of all inner levels are searched, the outermost rows and columns never. Returns int32 (N,3):
    level index, y, x, ordered by level, then row, then column.
    """
    levels, rows, cols = dog.shape
    found = np.empty((_FIRST_CAPACITY, 3), np.int32)
    count = 0
    flags = np.zeros(cols, np.uint8)
    for level in range(1, levels - 1):
        for y in range(max(first_row, 1), min(last_row, rows - 1)):
            _flag_plane_maxima(dog[level, y - 1], dog[level, y], dog[level, y + 1], threshold, flags)
            for x in range(1, cols - 1):
                if flags[x] and _is_strict_maximum(dog, level, y, x):
                    if count == found.shape[0]:
                        larger = np.empty((2 * count, 3), np.int32)
                        larger[:count] = found
                        found = larger
                    found[count, 0] = level
                    found[count, 1] = y
                    found[count, 2] = x
                    count += 1
    return found[:count].copy()


@njit(cache=True, nogil=True)
def _flag_plane_maxima(
    above: NDArray[Any], row: NDArray[Any], below: NDArray[Any], threshold: float, flags: NDArray[np.uint8]
) -> None:
    """Flag pixels above their four neighbours: a branch-free loop the compiler turns into vector instructions."""
    for x in range(1, row.shape[0] - 1):
        value = row[x]
        flags[x] = (
            (value >= threshold) & (value > row[x - 1]) & (value > row[x + 1]) & (value > above[x]) & (value > below[x])
        )


@njit(cache=True, nogil=True)
def _is_strict_maximum(dog: NDArray[Any], level: int, y: int, x: int) -> bool:
    value = dog[level, y, x]
    for ds in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if (ds != 0 or dy != 0 or dx != 0) and dog[level + ds, y + dy, x + dx] >= value:
                    return False
    return True


@njit(cache=True, nogil=True)
def gradient_and_hessian(dog: NDArray[Any], level: int, y: int, x: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central differences of `dog` at one pixel: gradient (3,) and Hessian (3,3) in the order x, y, level."""
    centre = float(dog[level, y, x])
    gradient = np.empty(3)
    hessian = np.empty((3, 3))
    gradient[0] = 0.5 * (float(dog[level, y, x + 1]) - float(dog[level, y, x - 1]))
    gradient[1] = 0.5 * (float(dog[level, y + 1, x]) - float(dog[level, y - 1, x]))
    gradient[2] = 0.5 * (float(dog[level + 1, y, x]) - float(dog[level - 1, y, x]))
    hessian[0, 0] = float(dog[level, y, x + 1]) + float(dog[level, y, x - 1]) - 2.0 * centre
    hessian[1, 1] = float(dog[level, y + 1, x]) + float(dog[level, y - 1, x]) - 2.0 * centre
    hessian[2, 2] = float(dog[level + 1, y, x]) + float(dog[level - 1, y, x]) - 2.0 * centre
    hessian[0, 1] = 0.25 * (
        float(dog[level, y + 1, x + 1]) + float(dog[level, y - 1, x - 1]) - float(dog[level, y + 1, x - 1]) - float(dog[level, y - 1, x + 1])
    )
    hessian[0, 2] = 0.25 * (
        float(dog[level + 1, y, x + 1]) + float(dog[level - 1, y, x - 1]) - float(dog[level + 1, y, x - 1]) - float(dog[level - 1, y, x + 1])
    )
    hessian[1, 2] = 0.25 * (
        float(dog[level + 1, y + 1, x]) + float(dog[level - 1, y - 1, x]) - float(dog[level + 1, y - 1, x]) - float(dog[level - 1, y + 1, x])
    )
    hessian[1, 0] = hessian[0, 1]
    hessian[2, 0] = hessian[0, 2]
    hessian[2, 1] = hessian[1, 2]
    return gradient, hessian


@njit(cache=True, nogil=True)
def newton_offset(gradient: NDArray[np.float64], hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve hessian @ offset = -gradient (3,) by elimination with row pivots; zero where a pivot is below 1e-10."""
    a = hessian.copy()
    b = -gradient
    for column in range(3):
        pivot = column
        for row in range(column + 1, 3):
            if abs(a[row, column]) > abs(a[pivot, column]):
                pivot = row
        if abs(a[pivot, column]) < _SINGULAR_PIVOT:
            return np.zeros(3)
        for k in range(3):
            a[column, k], a[pivot, k] = a[pivot, k], a[column, k]
        b[column], b[pivot] = b[pivot], b[column]
        for row in range(column + 1, 3):
            factor = a[row, column] / a[column, column]
            for k in range(column, 3):
                a[row, k] -= factor * a[column, k]
            b[row] -= factor * b[column]
    for row in range(2, -1, -1):
        for k in range(row + 1, 3):
            b[row] -= a[row, k] * b[k]
        b[row] /= a[row, row]
    return b
