"""The PSIFT detector exactly as the PorePatch authors run it, their 8-bit rounding and +0.25 px offset included.

Source: facts 1-5 and 7 of the reference vectors (arXiv 2512.00381 and its published code; VLFeat-style refinement). Double
precision, because a float32 pyramid moves or loses several per cent of the points. The image is worked through in strips of full
width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.maxima import gradient_and_hessian, local_maxima, newton_offset
from porepatch_lib.keypoints.psift_image import doubled_masked_image
from porepatch_lib.keypoints.scale_space import (
    FIRST_LEVEL,
    LAST_LEVEL,
    LEVELS,
    OCTAVES,
    blur,
    blur_of_level,
    first_blur,
    sigma_of,
)
from porepatch_lib.keypoints.strips import Strip, map_strips

CONTRAST_UNIT = (2 ** (1 / LEVELS) - 1) / (2 ** (1 / LEVELS) + 1)
"""T: the DoG value of a Gaussian blob of unit contrast."""
LOWEST_PORE_RATIO = 1e-5
HIGHEST_PORE_RATIO = 0.02

_CANDIDATE_SHARE = 0.8
_BORDER_SIGMAS = 12.0
_EDGE_LIMIT = 16 / 3
_MAX_TRIES = 60
_STRIP_ROWS = 256
_MOVES = 4
_HALO = sum(int(np.ceil(4 * blur_of_level(level))) for level in range(FIRST_LEVEL + 1, LAST_LEVEL + 1)) + _MOVES + 1

BaseRows = Callable[[int, int], NDArray[np.float64]]


@dataclass(frozen=True)
class ReferenceSettings:
    """`target_count` keypoints are searched for (within 10 %); a `pore_ratio` > 0 fixes the threshold instead."""

    target_count: int = 10_000
    pore_ratio: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """Refined maxima of one image that pass every test but the contrast, N rows in the authors' order, float64.

    `xys` (N,3) is refined x, y (pixels of the octave) and level; `start_value` the DoG value of the maximum, `value` the one
    interpolated at the optimum; `octave` int8.
    """

    octave: NDArray[np.int8]
    xys: NDArray[np.float64]
    start_value: NDArray[np.float64]
    value: NDArray[np.float64]
    response: NDArray[np.float64]

    def accepted(self, pore_ratio: float) -> NDArray[np.bool_]:
        """Which candidates (N,) the detector returns at a pore ratio."""
        started = self.start_value >= _CANDIDATE_SHARE * pore_ratio * CONTRAST_UNIT
        return started & (np.abs(self.value) > pore_ratio * CONTRAST_UNIT)


def detect_psift_reference(
    grey: NDArray[np.uint8], mask: NDArray[np.uint8] | None, settings: ReferenceSettings, threads: int
) -> Keypoints:
    """Detect dark blobs in `grey` (H,W) with the authors' detector; `mask` (H,W) keeps 255.

    x, y are a quarter of a pixel too large, as theirs are.
    """
    candidates = find_candidates(doubled_masked_image(grey, mask), threads, settings.pore_ratio or LOWEST_PORE_RATIO)
    pore_ratio = settings.pore_ratio or search_pore_ratio(candidates, settings.target_count)[0]
    return halved_keypoints(candidates, candidates.accepted(pore_ratio))


def halved_keypoints(candidates: Candidates, accepted: NDArray[np.bool_]) -> Keypoints:
    """Return the accepted candidates in the authors' pixels: half those of the doubled image."""
    octave, xys = candidates.octave[accepted], candidates.xys[accepted]
    scale = 2.0 ** octave.astype(np.float64) / 2
    return Keypoints(
        x=(xys[:, 0] * scale).astype(np.float32),
        y=(xys[:, 1] * scale).astype(np.float32),
        sigma=(sigma_of(0, 0) * 2.0 ** (xys[:, 2] / LEVELS) * scale).astype(np.float32),
        angle=np.zeros(len(xys), np.float32),
        response=candidates.response[accepted].astype(np.float32),
        octave=octave,
        level=np.floor(xys[:, 2] + 0.5).astype(np.int8),
    )


def search_pore_ratio(candidates: Candidates, target: int) -> tuple[float, list[tuple[float, int]]]:
    """Search the pore ratio whose count is near `target`; return the last ratio tried and all (ratio, count) tries.

    At most 60 tries; the last one is the result, whether it converged or not (facts 7).
    """
    ratio = anchor = HIGHEST_PORE_RATIO
    low, low_count = LOWEST_PORE_RATIO, 100_000
    high, high_count = HIGHEST_PORE_RATIO, -1
    trace: list[tuple[float, int]] = []
    while True:
        count = int(candidates.accepted(ratio).sum())
        trace.append((ratio, count))
        error = (count - target) / target
        if abs(error) <= _tolerance(len(trace)) or len(trace) == _MAX_TRIES:
            return ratio, trace
        if high_count < count < low_count:
            anchor = ratio
            if count > target:
                low, low_count = ratio, count
            else:
                high, high_count = ratio, count
        ratio = max(anchor + 0.005 * error, low) if abs(error) < 0.3 else (low + high) / 2


def _tolerance(tries: int) -> float:
    if tries < 20:
        return 0.1
    return 0.15 if tries < 40 else 0.2


def find_candidates(doubled: NDArray[np.uint8], threads: int, lowest_pore_ratio: float = LOWEST_PORE_RATIO) -> Candidates:
    """Find all candidates of the doubled, masked image (2H,2W) that some pore ratio >= `lowest_pore_ratio` may accept."""
    threshold = _CANDIDATE_SHARE * lowest_pore_ratio * CONTRAST_UNIT
    shape = doubled.shape
    base_rows: BaseRows = _first_base_rows(doubled)
    parts = []
    for octave in range(OCTAVES):
        found, base = _octave_candidates(base_rows, shape, threshold, threads)
        parts.append((np.full(len(found), octave, np.int8), found))
        shape = base.shape
        base_rows = _array_rows(base)
    rows = np.concatenate([part for _, part in parts])
    octaves = np.concatenate([octave for octave, _ in parts])
    return Candidates(octaves, rows[:, 3:6].copy(), rows[:, 6].copy(), rows[:, 7].copy(), rows[:, 8].copy())


def _first_base_rows(doubled: NDArray[np.uint8]) -> BaseRows:
    halo = int(np.ceil(4 * first_blur()))

    def rows(low: int, high: int) -> NDArray[np.float64]:
        start, stop = max(low - halo, 0), min(high + halo, doubled.shape[0])
        return blur(doubled[start:stop] / 255.0, first_blur())[low - start : high - start]

    return rows


def _array_rows(base: NDArray[np.float64]) -> BaseRows:
    return lambda low, high: base[low:high]


def _octave_candidates(
    base_rows: BaseRows, shape: tuple[int, int], threshold: float, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the candidates (N,9) of an octave in the authors' order, and the base of the next octave."""
    rows, cols = shape
    following = np.empty(((rows + 1) // 2, (cols + 1) // 2))

    def candidates_of(strip: Strip, dog: NDArray[np.float64]) -> NDArray[np.float64]:
        own = slice(strip.start - strip.low, strip.stop - strip.low)
        level_7 = _fill_differences(base_rows(strip.low, strip.high), dog)
        following[strip.start // 2 : (strip.stop + 1) // 2] = level_7[own][::2, ::2]
        return _refine(dog, local_maxima(dog, threshold, own.start, own.stop, strict=True), strip.low, rows)

    differences = LAST_LEVEL - FIRST_LEVEL
    found = np.concatenate(map_strips(candidates_of, shape, _STRIP_ROWS, _HALO, differences, np.float64, threads))
    return found[np.lexsort((found[:, 2], found[:, 1], found[:, 0]))], following


def _fill_differences(base: NDArray[np.float64], dog: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill `dog` (10,H,W) with the differences of an octave, from its level -1; return level 7."""
    lower = level_7 = base
    for difference, level in zip(dog, range(FIRST_LEVEL + 1, LAST_LEVEL + 1), strict=True):
        upper = blur(lower, blur_of_level(level))
        np.subtract(upper, lower, out=difference)
        if level == LEVELS - 1:
            level_7 = upper
        lower = upper
    return level_7


@njit(cache=True, nogil=True)
def _refine(dog: NDArray[np.float64], maxima: NDArray[np.int32], first_row: int, rows: int) -> NDArray[np.float64]:
    """Refine maxima (N,3) of a strip that starts at `first_row` of an octave of `rows` rows.

    Returns (K,9): level, x, y of the maximum; refined x, y, level; start value, interpolated value, response.
    """
    cols = dog.shape[2]
    result = np.empty((maxima.shape[0], 9))
    count = 0
    for index in range(maxima.shape[0]):
        level, y, x = maxima[index]
        s = level - 1
        radius = _BORDER_SIGMAS * 2.0 ** ((s + 1) / 8)
        if x - radius < 1 or x + radius > cols or y + first_row - radius < 1 or y + first_row + radius > rows:
            continue
        start_value = dog[level, y, x]
        result[count, 0], result[count, 1], result[count, 2] = s, x, y + first_row
        moves = 0
        while True:
            gradient, hessian = gradient_and_hessian(dog, level, y, x)
            offset = newton_offset(gradient, hessian)
            dx = int(offset[0] > 0.6) - int(offset[0] < -0.6)
            dy = int(offset[1] > 0.6) - int(offset[1] < -0.6)
            if (dx == 0 and dy == 0) or moves == _MOVES:
                break
            x += dx
            y += dy
            moves += 1
        trace = hessian[0, 0] + hessian[1, 1]
        determinant = hessian[0, 0] * hessian[1, 1] - hessian[0, 1] ** 2
        # trace^2/det in [0, limit) without a division by zero; det = 0 fails the limit as its quotient would.
        is_edge = not (determinant > 0 and trace * trace < _EDGE_LIMIT * determinant)
        if is_edge or np.abs(offset).max() >= 1.5 or not -1 <= s + offset[2] <= 8:
            continue
        result[count, 3] = x + offset[0]
        result[count, 4] = y + first_row + offset[1]
        result[count, 5] = s + offset[2]
        result[count, 6] = start_value
        result[count, 7] = dog[level, y, x] + 0.5 * (gradient * offset).sum()
        result[count, 8] = determinant - 0.04 * trace * trace
        count += 1
    return result[:count].copy()
