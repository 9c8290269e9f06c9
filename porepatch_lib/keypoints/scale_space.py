"""The Gaussian scale space of PSIFT: 3 octaves of 8 levels on an image doubled in size.

Level s = -1..9 of octave o has sigma 2^(1/8) * 2^(o + s/8) pixels of the doubled image; the lowest is 1.0. The first pixel of
every octave is the first pixel of the doubled image, so a position in octave o times 2^o is a position in the doubled image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from porepatch_lib.threads import map_threads

OCTAVES = 3
LEVELS = 8
FIRST_LEVEL = -1
LAST_LEVEL = 9
INPUT_SIGMA = 0.5
"""Blur the doubled image is taken to have already, in its pixels."""

_STRIP_ROWS = 512


def sigma_of(octave: float, level: float) -> float:
    """Sigma of a (real-valued) level in pixels of the doubled image."""
    return 2.0 ** (1 / LEVELS + octave + level / LEVELS)


def first_blur() -> float:
    """Sigma that takes the doubled image (INPUT_SIGMA) to level -1 of octave 0 (sigma 1)."""
    return float(np.sqrt(sigma_of(0, FIRST_LEVEL) ** 2 - INPUT_SIGMA**2))


def blur_of_level(level: int) -> float:
    """Sigma that takes level s-1 to level s, in pixels of the octave."""
    return float(sigma_of(0, level) * np.sqrt(1 - 2.0 ** (-2 / LEVELS)))


def gaussian_kernel(sigma: float) -> NDArray[np.float64]:
    """Sampled Gaussian, normalised to sum 1, of length 2*ceil(4 sigma)+1."""
    radius = int(np.ceil(4 * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def blur(image: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Blur a floating-point image (H,W) with a sampled Gaussian; the border pixels are repeated outwards."""
    kernel = gaussian_kernel(sigma)
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def blur_threaded(image: NDArray[Any], sigma: float, threads: int) -> NDArray[Any]:
    """As `blur`, in strips on `threads` threads; the result does not depend on the number of threads."""
    rows = image.shape[0]
    if threads <= 1 or rows <= _STRIP_ROWS:
        return blur(image, sigma)
    halo = int(np.ceil(4 * sigma))
    result = np.empty_like(image)

    def work(start: int) -> None:
        stop = min(start + _STRIP_ROWS, rows)
        low, high = max(start - halo, 0), min(stop + halo, rows)
        result[start:stop] = blur(image[low:high], sigma)[start - low : stop - low]

    map_threads(work, range(0, rows, _STRIP_ROWS), threads)
    return result


def octave_levels(base: NDArray[Any], dtype: DTypeLike, threads: int = 1) -> list[NDArray[Any]]:
    """Return the 11 levels s = -1..9 of an octave (list index s + 1) from its level -1, `base` (H,W)."""
    levels = [np.ascontiguousarray(base, dtype)]
    for level in range(FIRST_LEVEL + 1, LAST_LEVEL + 1):
        levels.append(blur_threaded(levels[-1], blur_of_level(level), threads))
    return levels


def next_base(levels: list[NDArray[Any]]) -> NDArray[Any]:
    """Level -1 of the next octave: every second pixel of level 7 (sigma 2)."""
    return np.ascontiguousarray(levels[LEVELS - 1 - FIRST_LEVEL][::2, ::2])


def gaussian_pyramid(image: NDArray[Any], octaves: int, dtype: DTypeLike, threads: int = 1) -> list[list[NDArray[Any]]]:
    """Return `octaves` lists of 11 levels of the doubled image (2H,2W), given as floats (0..1 by convention).

    Source: facts 2 of PSIFT (Lowe 2004 with 8 levels an octave). Every level is kept: for large images work in tiles.
    """
    base = blur_threaded(np.ascontiguousarray(image, dtype), first_blur(), threads)
    pyramid: list[list[NDArray[Any]]] = []
    for octave in range(octaves):
        if octave:
            base = next_base(pyramid[-1])
        pyramid.append(octave_levels(base, dtype, threads))
    return pyramid
