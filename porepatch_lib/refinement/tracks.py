"""All observations of a track brought onto one place of the surface (numba)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.refinement.align import correlation, find_shift, gaussian_window, normalise, sample, steepest_descent

_ROUNDING = 1e-9  # of an NCC
_REACH = 2.5  # half side of the grid in sigmas of the window
_LEAST_SIGMA, _MOST_SIGMA = 2.0, 10.0  # of the window, in grid steps: enough samples, and not too many


@njit(cache=True, nogil=True)
def align_tracks(
    pixels: NDArray[Any],
    starts: NDArray[Any],
    sizes: NDArray[Any],
    image: NDArray[Any],
    xy: NDArray[Any],
    frames: NDArray[Any],
    sigma: NDArray[Any],
    first: NDArray[Any],
    window_sigmas: float,
    max_shift_px: float,
    min_ncc: float,
    shifts: NDArray[Any],
) -> None:
    """Fill `shifts` (M,2), in pixels, of the observations of tracks; 0 where an observation keeps its place.

    Args:
        pixels: all images one after the other, flat; image i is `sizes[i]` (height, width) from `starts[i]` on.
        image, xy, frames: index of the image (M,), keypoint (M,2) and tangent plane (M,2,2) in pixels per world unit.
        sigma: of the keypoints of every track on the surface, (T,) in world units.
        first: (T+1,) row of the first observation of every track, and M.

    The finest view gives the grid its step. The template is the observation most like the others (largest sum of NCC): a
    keypoint of a wrong match, or one under a highlight, is never it. Every other one is aligned with it, and those that arrive
    move so that their mean stays where it was: the track does not drift to one view's error.
    """
    for track in range(len(first) - 1):
        begin, count = first[track], first[track + 1] - first[track]
        finest = 0.0
        for row in range(begin, begin + count):
            finest = max(finest, abs(frames[row, 0, 0] * frames[row, 1, 1] - frames[row, 0, 1] * frames[row, 1, 0]))
        if count < 2 or not finest > 0.0:
            continue
        step = 1.0 / math.sqrt(finest)
        spread = min(max(window_sigmas * sigma[track] / step, _LEAST_SIGMA), _MOST_SIGMA)
        half = math.ceil(_REACH * spread)
        window = gaussian_window(spread, half)
        maps = frames[begin : begin + count] * step
        patches = np.empty((count, 2 * half + 1, 2 * half + 1))
        usable = np.zeros(count, np.bool_)
        for own in range(count):
            row = begin + own
            whole = _image(pixels, starts, sizes, image[row])
            usable[own] = sample(whole, xy[row, 0], xy[row, 1], maps[own], half, patches[own])
            usable[own] = usable[own] and normalise(patches[own], window)
        if usable.sum() < 2:
            continue
        template = patches[_most_typical(patches, usable, window)].copy()
        descent = np.empty((2, 2 * half + 1, 2 * half + 1))
        matrix = steepest_descent(template, window, descent)
        found = np.zeros((count, 2))
        arrived = np.zeros(count, np.bool_)
        for own in range(count):
            row = begin + own
            if usable[own]:
                whole = _image(pixels, starts, sizes, image[row])
                u, v, before, after, converged = find_shift(
                    whole, xy[row, 0], xy[row, 1], maps[own], template, descent, matrix, window, max_shift_px, patches[own]
                )
                arrived[own] = converged and after >= min_ncc and after >= before - _ROUNDING
                found[own, 0], found[own, 1] = u, v
        if arrived.sum() < 2:
            continue
        mean_u, mean_v = found[arrived, 0].mean(), found[arrived, 1].mean()
        for own in range(count):
            if arrived[own]:
                u, v = found[own, 0] - mean_u, found[own, 1] - mean_v
                shifts[begin + own, 0] = maps[own, 0, 0] * u + maps[own, 0, 1] * v
                shifts[begin + own, 1] = maps[own, 1, 0] * u + maps[own, 1, 1] * v


@njit(cache=True, nogil=True)
def _image(pixels: NDArray[Any], starts: NDArray[Any], sizes: NDArray[Any], index: int) -> NDArray[Any]:
    height, width = sizes[index, 0], sizes[index, 1]
    return pixels[starts[index] : starts[index] + height * width].reshape((height, width))


@njit(cache=True, nogil=True)
def _most_typical(patches: NDArray[Any], usable: NDArray[Any], window: NDArray[Any]) -> int:
    """Return the usable patch with the largest sum of correlations with the other usable ones, the first of equals."""
    likeness = np.where(usable, 0.0, -np.inf)
    for one in range(len(patches)):
        for two in range(one):
            if usable[one] and usable[two]:
                ncc = correlation(patches[one], patches[two], window)
                likeness[one] += ncc
                likeness[two] += ncc
    return int(np.argmax(likeness))
