"""The compiled inner loops of the PSIFT descriptor: gradients of a window voted into space x space x orientation.

The window is upright, so the spatial weight is a product of a row weight and a column weight: rows are summed into their bins
first (long contiguous additions), columns after. With bins every 45 degrees a gradient lies between one axis (E, N, W, S) and one
diagonal; how far is atan(smaller/larger component), so that no full atan2 is needed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

ORIENTATION_BINS = 8

_HALF = np.float32(0.5)
_ZERO = np.float32(0)
_TINY = np.float32(1e-30)
# 4/pi atan(t) on 0..1 is t * polynomial(t^2), minimax fit, error below 2e-7 in float32.
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7 = (
    np.float32(c)
    for c in (1.2732387, -0.424368968, 0.25396756, -0.177090161, 0.122768244, -0.0711897521, 0.02783676, -0.00516242925)
)


@njit(cache=True, nogil=True)
def describe_chunk(
    level: NDArray[Any],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    bin_width: NDArray[np.float64],
    bins: int,
    out: NDArray[np.float32],
) -> None:
    """Fill `out` (N, bins*bins*8) with raw histograms of `level` (H,W) float32 at x, y (N,), all in pixels.

    Layout (row bin * bins + column bin) * 8 + orientation, orientation = -atan2(Dy, Dx). Bins are `bin_width` (N,) wide, the
    standard deviation of the Gaussian window is bins/2 bins. Only pixels with all four neighbours inside the image vote.
    """
    height, width = level.shape
    if height < 3 or width < 3:
        return
    widest = min(width, int(bin_width.max() * (bins + 1)) + 3)
    gradient = np.empty((4, widest), np.float32)
    votes = np.empty(ORIENTATION_BINS * widest, np.float32)
    rows = np.empty((bins, ORIENTATION_BINS * widest), np.float32)
    weights = np.empty(widest, np.float32)
    for k in range(len(x)):
        reach = 0.5 * (bins + 1) * bin_width[k]
        left, right = max(1, math.ceil(x[k] - reach)), min(width - 2, math.floor(x[k] + reach))
        top, bottom = max(1, math.ceil(y[k] - reach)), min(height - 2, math.floor(y[k] + reach))
        n = right - left + 1
        if n <= 0 or bottom < top:
            continue
        rows[:, : ORIENTATION_BINS * n] = _ZERO
        for row in range(top, bottom + 1):
            _vote_orientations(level[row - 1], level[row], level[row + 1], left, n, gradient, votes)
            offset = (row - y[k]) / bin_width[k]
            position = offset + 0.5 * (bins - 1)
            lower = math.floor(position)
            gauss = math.exp(-2.0 * (offset / bins) ** 2)
            upper_weight = gauss * (position - lower)
            if 0 <= lower < bins:
                _add_scaled(rows[lower], votes, np.float32(gauss - upper_weight), ORIENTATION_BINS * n)
            if 0 <= lower + 1 < bins:
                _add_scaled(rows[lower + 1], votes, np.float32(upper_weight), ORIENTATION_BINS * n)
        for column_bin in range(bins):
            centre = x[k] + (column_bin - 0.5 * (bins - 1)) * bin_width[k]
            first, last = max(left, math.ceil(centre - bin_width[k])), min(right, math.floor(centre + bin_width[k]))
            for column in range(first, last + 1):
                offset = (column - x[k]) / bin_width[k]
                triangle = 1.0 - abs(column - centre) / bin_width[k]
                weights[column - first] = np.float32(triangle * math.exp(-2.0 * (offset / bins) ** 2))
            for row_bin in range(bins):
                for orientation in range(ORIENTATION_BINS):
                    start = orientation * n + first - left
                    cell = (row_bin * bins + column_bin) * ORIENTATION_BINS + orientation
                    out[k, cell] = _dot(rows[row_bin], start, weights, last - first + 1)


@njit(nogil=True, error_model="numpy")
def _vote_orientations(
    above: NDArray[Any],
    here: NDArray[Any],
    below: NDArray[Any],
    left: int,
    n: int,
    gradient: NDArray[np.float32],
    votes: NDArray[np.float32],
) -> None:
    """Fill votes[o * n + i] with the share of pixel left + i in orientation o; `gradient` (4, >= n) is scratch.

    Every loop writes few streams and has no branch, so that the compiler turns it into vector instructions.
    """
    dx, dy, axis, diagonal = gradient[0], gradient[1], gradient[2], gradient[3]
    for i in range(n):
        dx[i] = _HALF * (here[left + i + 1] - here[left + i - 1])
    for i in range(n):
        dy[i] = _HALF * (above[left + i] - below[left + i])
    for i in range(n):
        across, up = abs(dx[i]), abs(dy[i])
        t = min(across, up) / (max(across, up) + _TINY)
        u = t * t
        share = t * (_C0 + u * (_C1 + u * (_C2 + u * (_C3 + u * (_C4 + u * (_C5 + u * (_C6 + u * _C7)))))))
        magnitude = np.sqrt(across * across + up * up)
        diagonal[i] = magnitude * share
        axis[i] = magnitude - magnitude * share
    for i in range(n):
        steep = abs(dy[i]) > abs(dx[i])
        votes[i] = axis[i] if (not steep) & (dx[i] > _ZERO) else _ZERO
        votes[4 * n + i] = axis[i] if (not steep) & (dx[i] <= _ZERO) else _ZERO
    for i in range(n):
        steep = abs(dy[i]) > abs(dx[i])
        votes[2 * n + i] = axis[i] if steep & (dy[i] > _ZERO) else _ZERO
        votes[6 * n + i] = axis[i] if steep & (dy[i] <= _ZERO) else _ZERO
    for i in range(n):
        votes[n + i] = diagonal[i] if (dx[i] > _ZERO) & (dy[i] > _ZERO) else _ZERO
        votes[3 * n + i] = diagonal[i] if (dx[i] <= _ZERO) & (dy[i] > _ZERO) else _ZERO
    for i in range(n):
        votes[5 * n + i] = diagonal[i] if (dx[i] <= _ZERO) & (dy[i] <= _ZERO) else _ZERO
        votes[7 * n + i] = diagonal[i] if (dx[i] > _ZERO) & (dy[i] <= _ZERO) else _ZERO


@njit(nogil=True)
def _add_scaled(target: NDArray[np.float32], values: NDArray[np.float32], factor: np.float32, n: int) -> None:
    for i in range(n):
        target[i] += factor * values[i]


@njit(nogil=True, fastmath={"reassoc", "nsz", "contract"})
def _dot(values: NDArray[np.float32], start: int, weights: NDArray[np.float32], n: int) -> np.float32:
    total = _ZERO
    for i in range(n):
        total += values[start + i] * weights[i]
    return total
