"""Local maxima of a difference-of-Gaussians stack, and the quadratic fit around them (numba kernels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SINGULAR_PIVOT = 1e-10
_PIXELS_PER_MAXIMUM = 128


def local_maxima(dog: NDArray[Any], threshold: float, first_row: int, last_row: int, strict: bool) -> NDArray[np.int32]:
    """Find pixels of `dog` (levels, rows, cols) at or above `threshold` and above their 26 neighbours.

    Of equal neighbours none is a maximum if `strict`; otherwise the first is, so that a blob halfway between pixels is found.
    Rows first_row <= y < last_row of all inner levels are searched, the outermost rows and columns never. Returns int32 (N,3):
    level index, y, x, ordered by level, then row, then column.
    """
    # A second scan, seldom needed, is faster than a kernel that makes its array longer as it goes.
    found = np.empty((dog.size // _PIXELS_PER_MAXIMUM, 3), np.int32)
    count = _scan(dog, threshold, first_row, last_row, strict, found)
    if count > len(found):
        found = np.empty((count, 3), np.int32)
        _scan(dog, threshold, first_row, last_row, strict, found)
    return found[:count]


@njit(cache=True, nogil=True)
def _scan(dog: NDArray[Any], threshold: float, first_row: int, last_row: int, strict: bool, found: NDArray[np.int32]) -> int:
    """Count the maxima; write as many of them to `found` as it has rows for."""
    levels, rows, cols = dog.shape
    count = 0
    flags = np.zeros(max(cols - 2, 0), np.uint8)
    for level in range(1, levels - 1):
        for y in range(max(first_row, 1), min(last_row, rows - 1)):
            _flag_likely_maxima(dog, level, y, threshold, flags)
            for inner in range(flags.shape[0]):
                if flags[inner] and _is_maximum(dog, level, y, inner + 1, strict):
                    if count < found.shape[0]:
                        found[count, 0] = level
                        found[count, 1] = y
                        found[count, 2] = inner + 1
                    count += 1
    return count


@njit(cache=True, nogil=True)
def _flag_likely_maxima(dog: NDArray[Any], level: int, y: int, threshold: float, flags: NDArray[np.uint8]) -> None:
    """Flag the inner pixels of a row that their six nearest neighbours allow: without branches, the compiler vectorises it."""
    row, left, right = dog[level, y, 1:-1], dog[level, y, :-2], dog[level, y, 2:]
    above, below = dog[level, y - 1, 1:-1], dog[level, y + 1, 1:-1]
    finer, coarser = dog[level - 1, y, 1:-1], dog[level + 1, y, 1:-1]
    for x in range(flags.shape[0]):
        value = row[x]
        in_row = (value >= threshold) & (value > left[x]) & (value >= right[x])
        flags[x] = in_row & (value > above[x]) & (value >= below[x]) & (value > finer[x]) & (value >= coarser[x])


@njit(cache=True, nogil=True)
def _is_maximum(dog: NDArray[Any], level: int, y: int, x: int, strict: bool) -> bool:
    value = dog[level, y, x]
    for ds in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                order = 9 * ds + 3 * dy + dx
                other = dog[level + ds, y + dy, x + dx]
                if other > value or (other == value and (order < 0 or (strict and order > 0))):
                    return False
    return True


@njit(cache=True, nogil=True)
def gradient_and_hessian(dog: NDArray[Any], level: int, y: int, x: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central differences of `dog` at one pixel: gradient (3,) and Hessian (3,3) in the order x, y, level."""
    # float() keeps the sums in double precision where the stack is float32.
    centre = float(dog[level, y, x])
    left, right = float(dog[level, y, x - 1]), float(dog[level, y, x + 1])
    above, below = float(dog[level, y - 1, x]), float(dog[level, y + 1, x])
    finer, coarser = float(dog[level - 1, y, x]), float(dog[level + 1, y, x])
    gradient = 0.5 * np.array([right - left, below - above, coarser - finer])
    hessian = np.empty((3, 3))
    hessian[0, 0] = right + left - 2.0 * centre
    hessian[1, 1] = below + above - 2.0 * centre
    hessian[2, 2] = coarser + finer - 2.0 * centre
    hessian[0, 1] = 0.25 * (
        float(dog[level, y + 1, x + 1])
        + float(dog[level, y - 1, x - 1])
        - float(dog[level, y + 1, x - 1])
        - float(dog[level, y - 1, x + 1])
    )
    hessian[0, 2] = 0.25 * (
        float(dog[level + 1, y, x + 1])
        + float(dog[level - 1, y, x - 1])
        - float(dog[level + 1, y, x - 1])
        - float(dog[level - 1, y, x + 1])
    )
    hessian[1, 2] = 0.25 * (
        float(dog[level + 1, y + 1, x])
        + float(dog[level - 1, y - 1, x])
        - float(dog[level + 1, y - 1, x])
        - float(dog[level - 1, y + 1, x])
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
