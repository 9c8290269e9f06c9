"""Statistics that say whether rendered skin looks like photographed skin: pure functions of a grey crop of bare skin.

They depend on the resolution, so crops are compared at one number of pixels per millimetre.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.pore import PoreSettings, detect_pores
from porepatch_lib.keypoints.psift_reference import ReferenceSettings, detect_psift_reference

Grey = NDArray[np.integer] | NDArray[np.floating]

SHORTEST_PERIOD_PX = 2.0
LONGEST_PERIOD_PX = 30.0
LEAST_SIDE_PX = 112
SIGMA_EDGES_PX = 0.5 * 2.0 ** (np.arange(8) / 2)
"""Edges of the histogram of sigmas: half octaves over the range of the reference detector."""
PORE_RATIO = 0.02
"""Pore ratio of the fixed reference detector, the highest its search tries: blobs of 5 grey levels, well above 8-bit rounding."""

_BINS_PER_OCTAVE = 4
_REFERENCE_MARGIN_SIGMAS = 12.0
_PORES = PoreSettings(target_count=10**6, min_contrast=5.0, border_margin=4.0)
_AREA_PX = 100.0**2
_LEAST_SHARE = 0.25  # of a side: keypoints found in a smaller part would outweigh all others
_FULL_RANGE = 255.0


@dataclass(frozen=True)
class KeypointStatistics:
    """Keypoints of a crop.

    density: keypoints per 100x100 px.
    sigma_quartiles_px: 25, 50 and 75 % of the keypoints are smaller; NaN where there are none.
    sigma_histogram: (7,) share of the keypoints between SIGMA_EDGES_PX.
    """

    density: float
    sigma_quartiles_px: tuple[float, float, float]
    sigma_histogram: FloatArray


@dataclass(frozen=True)
class SkinStatistics:
    """Slope of the power spectrum, contrast in per cent, and keypoints of the reference and of the pore detector."""

    slope: float
    contrast_percent: float
    psift: KeypointStatistics
    pore: KeypointStatistics


def skin_statistics(grey: NDArray[np.uint8], threads: int = 1) -> SkinStatistics:
    """Return all statistics of a crop of bare skin (H,W).

    Raises:
        PorePatchError: if the crop is smaller than 112x112.
    """
    if min(grey.shape) < LEAST_SIDE_PX:
        raise PorePatchError(f"A crop of skin of {grey.shape[1]}x{grey.shape[0]} pixels is too small; give 112x112 at least.")
    reference = detect_psift_reference(grey, None, ReferenceSettings(pore_ratio=PORE_RATIO), threads)
    pores = detect_pores(grey, None, _PORES, threads)
    return SkinStatistics(
        power_spectrum_slope(grey),
        contrast_percent(grey),
        keypoint_statistics(reference, grey.shape, _REFERENCE_MARGIN_SIGMAS),
        keypoint_statistics(pores, grey.shape, _PORES.border_margin),
    )


def power_spectrum_slope(grey: Grey, low_px: float = SHORTEST_PERIOD_PX, high_px: float = LONGEST_PERIOD_PX) -> float:
    """Return the slope of log power over log frequency, -a where the power falls as f^-a, for periods low_px..high_px.

    Every octave weighs the same. Natural images have a = 2 (Field, 1987).
    """
    frequency, power = radial_power(grey, low_px, high_px)
    return float(np.polyfit(np.log(frequency), np.log(power), 1)[0])


def radial_power(
    grey: Grey, low_px: float = SHORTEST_PERIOD_PX, high_px: float = LONGEST_PERIOD_PX
) -> tuple[FloatArray, FloatArray]:
    """Return frequencies (K,) in cycles per pixel and the mean power (K,) in rings of a quarter octave around them.

    Of the crop (H,W) less its mean, under a Hann window. Rings that hold no frequency are left out.
    """
    height, width = grey.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((grey - np.mean(grey)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    inside = (radius >= 1 / high_px) & (radius <= 1 / low_px)
    octaves = np.log2(radius[inside] * high_px)
    ring = np.unique((octaves * _BINS_PER_OCTAVE).astype(np.int64), return_inverse=True)[1]
    count = np.bincount(ring)
    mean_octave = np.bincount(ring, weights=octaves) / count
    return 2.0**mean_octave / high_px, np.bincount(ring, weights=power[inside]) / count


def contrast_percent(grey: NDArray[np.uint8], high_px: float = LONGEST_PERIOD_PX) -> float:
    """Return the standard deviation of log luminance in per cent, of periods below `high_px`, where half the amplitude passes.

    `grey` (H,W) is sRGB-coded. A rim of half the longest period, where the blur looks beyond the crop, does not count.
    """
    coded = np.maximum(grey, 1) / _FULL_RANGE
    luminance = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    logarithm = np.log(luminance)
    sigma = high_px * np.sqrt(np.log(2) / 2) / np.pi
    fine = logarithm - cv2.GaussianBlur(logarithm, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    rim = int(high_px / 2)
    return float(100 * fine[rim:-rim, rim:-rim].std())


def keypoint_statistics(keypoints: Keypoints, shape: tuple[int, ...], margin_sigmas: float) -> KeypointStatistics:
    """Return the statistics of keypoints that a detector finds no nearer than `margin_sigmas` sigmas to the border of a crop.

    Each counts in inverse proportion to the area where its size can be found, so that large ones are not under-represented.
    """
    sigma = keypoints.sigma.astype(np.float64)
    height, width = (np.maximum(side - 2 * margin_sigmas * sigma, _LEAST_SHARE * side) for side in shape)
    weight = _AREA_PX / (height * width)
    total = float(weight.sum())
    if total == 0:
        return KeypointStatistics(0.0, (np.nan, np.nan, np.nan), np.zeros(len(SIGMA_EDGES_PX) - 1))
    order = np.argsort(sigma)
    share = np.cumsum(weight[order]) / total
    lower, middle, upper = (float(sigma[order][np.searchsorted(share, level)]) for level in (0.25, 0.5, 0.75))
    histogram = np.histogram(sigma, SIGMA_EDGES_PX, weights=weight)[0] / total
    return KeypointStatistics(total, (lower, middle, upper), histogram)


def square_crops(
    mask: NDArray[np.uint8], most: int, largest_px: int, smallest_px: int = LEAST_SIDE_PX
) -> list[tuple[int, int, int]]:
    """Return up to `most` disjoint squares (left, top, side) inside a mask (H,W, 255 = skin), the largest first.

    Sides lie between `smallest_px` and `largest_px`; a larger place gives a square of `largest_px` in its middle.
    """
    free = np.pad((mask == 255).astype(np.uint8), 1)
    squares: list[tuple[int, int, int]] = []
    while len(squares) < most:
        # In the chessboard metric a distance of d is a free square of side 2 d - 1 around the pixel.
        distance = cv2.distanceTransform(free, cv2.DIST_C, 3)
        row, column = np.unravel_index(np.argmax(distance), distance.shape)
        side = min(2 * int(distance[row, column]) - 1, largest_px)
        if side < smallest_px:
            break
        top, left = int(row) - side // 2, int(column) - side // 2
        free[top : top + side, left : left + side] = 0
        squares.append((left - 1, top - 1, side))
    return squares
