"""Patches of one surface place brought onto each other by translation: inverse-compositional Gauss-Newton (numba).

All samples of a track lie on one square grid in the tangent plane of its point. View o sees the grid through an affine map,
pixel = centre_o + map_o @ (grid + shift_o); a shift therefore means the same on the surface in every view, and shifts add.
A patch is compared after its weighted mean and contrast are taken away, which is the least-squares fit of gain and offset.
Source: S. Baker, I. Matthews, Lucas-Kanade 20 Years On, IJCV 2004 (the inverse compositional algorithm).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FLAT = 1e-6  # weighted variance of grey values (0..255) below which a patch shows nothing
_UNSTABLE = 1e-3  # determinant over squared trace below which a patch can slide along an edge
_MOST_ITERATIONS = 20
_LONGEST_STEP = 1.0  # grid steps: beyond, the linear model says nothing
_SMALL_STEP = 0.005  # grid steps: far below the error of any keypoint


@njit(cache=True, nogil=True)
def sample(image: NDArray[Any], x: float, y: float, map_px: NDArray[Any], half: int, out: NDArray[Any]) -> bool:
    """Sample a grid (2 half + 1, 2 half + 1) whose middle is at pixel x, y by cubic convolution (Keys 1981, a = -1/2).

    `map_px` (2,2): pixels per grid step. Returns False, with `out` unfinished, where the grid leaves the image.
    """
    height, width = image.shape
    a, b, c, d = map_px[0, 0], map_px[0, 1], map_px[1, 0], map_px[1, 1]
    reach_x, reach_y = half * (abs(a) + abs(b)), half * (abs(c) + abs(d))
    if not (x - reach_x >= 1.0 and y - reach_y >= 1.0 and x + reach_x < width - 2.0 and y + reach_y < height - 2.0):
        return False
    for row in range(2 * half + 1):
        v = row - half
        for column in range(2 * half + 1):
            u = column - half
            px, py = x + a * u + b * v, y + c * u + d * v
            left, top = int(px), int(py)
            s, t = px - left, py - top
            w0, w1, w2, w3 = _cubic(s)
            total = 0.0
            v0, v1, v2, v3 = _cubic(t)
            for k in range(4):
                line = image[top + k - 1]
                value = w0 * line[left - 1] + w1 * line[left] + w2 * line[left + 1] + w3 * line[left + 2]
                total += (v0 if k == 0 else v1 if k == 1 else v2 if k == 2 else v3) * value
            out[row, column] = total
    return True


@njit(cache=True, nogil=True, inline="always")
def _cubic(s: float) -> tuple[float, float, float, float]:
    """Return the weights of the pixels at -1, 0, 1, 2 for a position s in [0, 1)."""
    r = 1.0 - s
    return (-0.5 * s * r * r, 1.0 + s * s * (1.5 * s - 2.5), 1.0 + r * r * (1.5 * r - 2.5), -0.5 * r * s * s)


@njit(cache=True, nogil=True)
def gaussian_window(sigma: float, half: int) -> NDArray[Any]:
    """Return weights (2 half + 1, 2 half + 1) of sum 1."""
    window = np.empty((2 * half + 1, 2 * half + 1))
    for row in range(2 * half + 1):
        for column in range(2 * half + 1):
            window[row, column] = math.exp(-0.5 * ((row - half) ** 2 + (column - half) ** 2) / (sigma * sigma))
    return window / window.sum()


@njit(cache=True, nogil=True)
def centre(patch: NDArray[Any], window: NDArray[Any]) -> None:
    """Take the weighted mean out of a patch, in place."""
    mean = 0.0
    for row in range(patch.shape[0]):
        for column in range(patch.shape[1]):
            mean += window[row, column] * patch[row, column]
    patch -= mean


@njit(cache=True, nogil=True)
def normalise(patch: NDArray[Any], window: NDArray[Any]) -> bool:
    """Bring a patch to weighted mean 0 and variance 1, in place; False for a flat one."""
    centre(patch, window)
    variance = correlation(patch, patch, window)
    if variance < _FLAT:
        return False
    patch /= math.sqrt(variance)
    return True


@njit(cache=True, nogil=True)
def correlation(one: NDArray[Any], two: NDArray[Any], window: NDArray[Any]) -> float:
    """Return the weighted correlation (NCC) of two normalised patches."""
    total = 0.0
    for row in range(one.shape[0]):
        for column in range(one.shape[1]):
            total += window[row, column] * one[row, column] * two[row, column]
    return total


@njit(cache=True, nogil=True)
def steepest_descent(template: NDArray[Any], window: NDArray[Any], descent: NDArray[Any]) -> tuple[float, float, float]:
    """Fill `descent` (2,N,N), the change of a normalised patch with a shift, and return its Gauss-Newton matrix.

    The derivative of a normalised patch has no mean and no part along the patch itself; at the rim it is taken as 0. The
    matrix [[xx, xy], [xy, yy]] is the weighted sum of products.
    """
    size = template.shape[0]
    descent[:] = 0.0
    for row in range(1, size - 1):
        for column in range(1, size - 1):
            descent[0, row, column] = 0.5 * (template[row, column + 1] - template[row, column - 1])
            descent[1, row, column] = 0.5 * (template[row + 1, column] - template[row - 1, column])
    for axis in range(2):
        centre(descent[axis], window)
        descent[axis] -= correlation(descent[axis], template, window) * template
    xx, yy = (correlation(descent[0], descent[0], window), correlation(descent[1], descent[1], window))
    return xx, correlation(descent[0], descent[1], window), yy


@njit(cache=True, nogil=True)
def find_shift(
    image: NDArray[Any],
    x: float,
    y: float,
    map_px: NDArray[Any],
    template: NDArray[Any],
    descent: NDArray[Any],
    matrix: tuple[float, float, float],
    window: NDArray[Any],
    limit_px: float,
    patch: NDArray[Any],
) -> tuple[float, float, float, float, bool]:
    """Shift the grid at pixel x, y until its patch is the template. Returns the shift (u, v) in grid steps and the NCC
    before and after, and whether it converged.

    It fails where the patch leaves the image, is flat, moves more than `limit_px`, or still moves after 20 iterations.
    `template`, `descent`, `matrix`: see `steepest_descent`. `patch` (N,N) is room to work in.
    """
    half = window.shape[0] // 2
    xx, xy, yy = matrix
    determinant = xx * yy - xy * xy
    u, v, before = 0.0, 0.0, -1.0
    if determinant < _UNSTABLE * (xx + yy) ** 2:
        return u, v, before, before, False
    converged = False
    for iteration in range(_MOST_ITERATIONS + 1):
        moved_x, moved_y = map_px[0, 0] * u + map_px[0, 1] * v, map_px[1, 0] * u + map_px[1, 1] * v
        if math.hypot(moved_x, moved_y) > limit_px:
            break
        if not (sample(image, x + moved_x, y + moved_y, map_px, half, patch) and normalise(patch, window)):
            break
        if iteration == 0:
            before = correlation(patch, template, window)
        if converged:
            return u, v, before, correlation(patch, template, window), True
        right_u, right_v = 0.0, 0.0
        for row in range(patch.shape[0]):
            for column in range(patch.shape[1]):
                residual = window[row, column] * (patch[row, column] - template[row, column])
                right_u += residual * descent[0, row, column]
                right_v += residual * descent[1, row, column]
        step_u, step_v = (yy * right_u - xy * right_v) / determinant, (xx * right_v - xy * right_u) / determinant
        length = math.hypot(step_u, step_v)
        shorten = min(1.0, _LONGEST_STEP / length) if length > 0.0 else 1.0
        u, v = u - shorten * step_u, v - shorten * step_v
        converged = length < _SMALL_STEP
    return u, v, before, before, False
