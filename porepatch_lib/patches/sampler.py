"""Upright square patches around keypoints, band-limited to the patch's own sampling rate.

The filter is bilinear interpolation averaged under a tent of half-width `w` pixels (tent(1) convolved with tent(w)).
Its weights sum to one and reproduce linear ramps exactly. `w` is chosen so that the whole blur has variance
step^2 / 6, that of the triangle filter of half-width `step` (the usual anti-aliased bilinear resize), whatever the
pyramid level the samples come from. Up to a step of one pixel it is plain bilinear interpolation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.threads import map_threads

PATCH_SIZE = 64
# A pyramid level is blurred by itself: below this step, in its own pixels, it would be too blurred for the patch.
_MIN_LEVEL_STEP = np.sqrt(3.0)
_SMALLEST_LEVEL_PX = 8
_CHUNK = 512


def sample_patches(
    grey: NDArray[np.uint8],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    sigma: NDArray[np.float32],
    crop_factor: float,
    size: int = PATCH_SIZE,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Cut squares of side crop_factor * sigma centred at (x, y) and resample them to size x size.

    Sample i lies at centre + ((i + 0.5) / size - 0.5) * side, along both axes. Outside the image the edge pixels
    are repeated. Values are rounded half up. The result does not depend on `threads`.

    Args:
        grey: image (H,W) uint8.
        x, y, sigma: keypoints (N,) in pixels, pixel centre = integer.
        crop_factor: patch side over sigma.
        size: samples per side.
        threads: number of threads.

    Returns:
        Patches (N,size,size) uint8.

    Raises:
        ValueError: if a position is not finite or a sigma not positive.
    """
    step = np.asarray(sigma, np.float64) * (crop_factor / size)
    centre_x, centre_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not (np.isfinite(centre_x).all() and np.isfinite(centre_y).all() and np.isfinite(step).all() and (step > 0).all()):
        raise ValueError("keypoints need finite positions and a positive, finite sigma times crop factor")
    patches = np.empty((len(step), size, size), np.uint8)
    levels = _levels_of(step, grey.shape[:2])
    pyramid = _pyramid(grey, int(levels.max(initial=0)))
    jobs = [
        (level, rows[start : start + _CHUNK])
        for level in range(len(pyramid))
        for rows in [np.flatnonzero(levels == level)]
        for start in range(0, len(rows), _CHUNK)
    ]

    def cut(job: tuple[int, NDArray[np.intp]]) -> None:
        level, rows = job
        shrink = 0.5**level
        widths = _averaging_width(step[rows] * shrink, level)
        _cut_patches(pyramid[level], centre_x[rows] * shrink, centre_y[rows] * shrink, step[rows] * shrink, widths, rows, patches)

    map_threads(cut, jobs, threads)
    return patches


def _levels_of(step: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Coarsest pyramid level per patch whose own blur still fits in the patch's filter."""
    deepest = max(0, int(np.log2(min(shape) / _SMALLEST_LEVEL_PX))) if min(shape) >= _SMALLEST_LEVEL_PX else 0
    return np.clip(np.floor(np.log2(step / _MIN_LEVEL_STEP)), 0, deepest).astype(np.int64)


def _pyramid(grey: NDArray[np.uint8], deepest: int) -> list[NDArray[np.uint8] | NDArray[np.float32]]:
    """Gaussian pyramid; pixel i of level l lies at pixel i * 2^l of the image. Coarser levels are not rounded."""
    levels: list[NDArray[np.uint8] | NDArray[np.float32]] = [np.ascontiguousarray(grey)]
    for level in range(deepest):
        finer = np.asarray(levels[level], np.float32)
        levels.append(np.asarray(cv2.pyrDown(finer, borderType=cv2.BORDER_REPLICATE), np.float32))
    return levels


def _averaging_width(step: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """Half-width of the averaging tent, in level pixels, that brings the total variance to step^2 / 6.

    Interpolation brings 1/6 and the level itself (1 - 4^-level) / 3: each binomial halving adds variance 1 in its pixels.
    """
    return np.sqrt(np.maximum(0.0, step**2 - 1.0 - 2.0 * (1.0 - 0.25**level)))


@njit(cache=True, nogil=True)
def _twice_integrated_tent(distance: float) -> float:
    """The unit tent integrated twice from minus infinity."""
    if distance <= -1.0:
        return 0.0
    if distance >= 1.0:
        return distance
    if distance < 0.0:
        return (1.0 + distance) ** 3 / 6.0
    return distance + (1.0 - distance) ** 3 / 6.0


@njit(cache=True, nogil=True)
def _filter(distance: float, width: float) -> float:
    """tent(1) convolved with tent(width), of integral one."""
    if width < 1e-3:
        return max(0.0, 1.0 - abs(distance))
    ends = _twice_integrated_tent(distance + width) + _twice_integrated_tent(distance - width)
    return (ends - 2.0 * _twice_integrated_tent(distance)) / (width * width)


@njit(cache=True, nogil=True)
def _axis_weights(
    centre: float, step: float, width: float, length: int, indices: np.ndarray, weights: np.ndarray
) -> tuple[int, int, int]:
    """Fill indices and weights (taps,size) along one axis of `length` pixels, clamped to it.

    Returns the number of taps in use and the half-open range of pixels read.
    """
    size = weights.shape[1]
    reach = 1.0 + width
    taps = int(np.ceil(2.0 * reach))
    for i in range(size):
        position = centre + (i + 0.5 - 0.5 * size) * step
        first = int(np.floor(position - reach)) + 1
        for k in range(taps):
            weights[k, i] = _filter(first + k - position, width)
            indices[k, i] = min(max(first + k, 0), length - 1)
    return taps, int(indices[0, 0]), int(indices[taps - 1, size - 1]) + 1


@njit(cache=True, nogil=True)
def _cut_patches(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    step: np.ndarray,
    width: np.ndarray,
    rows: np.ndarray,
    patches: np.ndarray,
) -> None:
    """Separable resampling of one level into patches[rows]: blend image rows, then samples along the blended row."""
    size = patches.shape[1]
    most_taps = int(np.ceil(2.0 + 2.0 * width.max()))
    weights_x, weights_y = np.empty((most_taps, size), np.float32), np.empty((most_taps, size), np.float32)
    # Unsigned, so that no negative index has to be looked for in the inner loop.
    indices_x, indices_y = np.empty((most_taps, size), np.uint32), np.empty((most_taps, size), np.uint32)
    blended = np.empty(image.shape[1], np.float32)
    line = np.empty(size, np.float32)
    for n in range(len(rows)):
        taps, left, right = _axis_weights(x[n], step[n], width[n], image.shape[1], indices_x, weights_x)
        _axis_weights(y[n], step[n], width[n], image.shape[0], indices_y, weights_y)
        patch = patches[rows[n]]
        for i in range(size):
            blended[left:right] = 0.0
            for k in range(taps):
                weight = weights_y[k, i]
                source = image[indices_y[k, i]]
                for column in range(left, right):
                    blended[column] += weight * np.float32(source[column])
            line[:] = np.float32(0.5)
            for k in range(taps):
                for j in range(size):
                    line[j] += weights_x[k, j] * blended[indices_x[k, j]]
            for j in range(size):
                patch[i, j] = np.uint8(line[j])
