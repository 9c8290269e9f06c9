"""The PSIFT descriptor: 8 x 8 x 8 = 512 numbers, or the 4 x 4 x 8 = 128 variant, upright.

Source: arXiv 2512.00381 and its published code (facts 6 of the reference vectors), a SIFT descriptor (Lowe 2004) with a wider
support: 48 sigma in all, 8 bins of 6 sigma, Gaussian window of 4 bins. The sources at hand do not give the bin width of the 128-D
variant; here it keeps the support and the window in pixels (bins of 12 sigma, window of 2 bins): only the resolution differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from porepatch_lib.descriptors.psift_kernel import ORIENTATION_BINS, describe_chunk
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.psift_image import doubled_masked_image
from porepatch_lib.keypoints.scale_space import FIRST_LEVEL, LAST_LEVEL, LEVELS, blur_of_level, blur_threaded, first_blur
from porepatch_lib.threads import map_threads

SUPPORT_SIGMAS = 48.0
"""Side of the square of bins in units of the keypoint's sigma."""

_NORM_EPSILON = np.float32(1.19e-7)
_LARGEST_ENTRY = np.float32(0.2)
_CHUNK = 64

Level = tuple[int, int, NDArray[Any]]
"""Octave, level and the Gaussian image (H,W) of that level, in pixels of the octave."""


def describe_psift(grey: NDArray[np.uint8], keypoints: Keypoints, spatial_bins: int, threads: int) -> NDArray[np.float32]:
    """Describe `keypoints` of `grey` (H,W) in full precision. Returns unit rows, float32 (N, spatial_bins^2 * 8).

    The keypoints' octave and level choose the Gaussian level where they agree with sigma (keypoints of our PSIFT-like detectors);
    otherwise the level nearest in sigma is taken.
    """
    return _describe(
        double_float(grey),
        2.0 * keypoints.x.astype(np.float64) + 0.5,
        2.0 * keypoints.y.astype(np.float64) + 0.5,
        keypoints,
        spatial_bins,
        threads,
    )


def describe_psift_reference(
    grey: NDArray[np.uint8], mask: NDArray[np.uint8] | None, keypoints: Keypoints, spatial_bins: int, threads: int
) -> NDArray[np.float32]:
    """Describe as the authors do: on the doubled 8-bit image, masked, at positions a quarter of a pixel too large.

    For keypoints of the reference detector, whose x and y carry that offset. `mask` (H,W) keeps 255. Returns as `describe_psift`.
    """
    image = doubled_masked_image(grey, mask) / 255.0
    x, y = 2.0 * keypoints.x.astype(np.float64), 2.0 * keypoints.y.astype(np.float64)
    return _describe(image, x, y, keypoints, spatial_bins, threads)


def psift_descriptors(
    levels: Iterable[Level],
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    sigma: NDArray[np.floating],
    octave: NDArray[np.integer],
    level: NDArray[np.integer],
    spatial_bins: int = 8,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Describe keypoints given in pixels of the doubled image (x, y, sigma, each (N,)), sigma real-valued.

    `levels` yields every (octave, level) that occurs, each once and in any order; only one is held at a time. Returns
    unit rows, float32 (N, spatial_bins^2 * 8), index (row bin * spatial_bins + column bin) * 8 + orientation; zeros where flat.

    Raises:
        ValueError: if a keypoint's level is not among `levels`.
    """
    descriptors = np.zeros((len(x), spatial_bins * spatial_bins * ORIENTATION_BINS), np.float32)
    described = np.zeros(len(x), bool)
    for level_octave, level_index, image in levels:
        chosen = np.flatnonzero((octave == level_octave) & (level == level_index))
        if len(chosen) == 0:
            continue
        described[chosen] = True
        scale = 2.0**-level_octave
        x_octave, y_octave, sigma_octave = (np.asarray(value[chosen], np.float64) * scale for value in (x, y, sigma))
        descriptors[chosen] = describe_level(image, x_octave, y_octave, sigma_octave, spatial_bins, threads)
    if not described.all():
        raise ValueError("a keypoint's octave and level are not in the scale space given")
    return descriptors


def describe_level(
    image: NDArray[np.floating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigma: NDArray[np.float64],
    spatial_bins: int,
    threads: int,
) -> NDArray[np.float32]:
    """Describe keypoints (x, y, sigma (N,) in its pixels) on one Gaussian level `image` (H,W). Returns as `psift_descriptors`."""
    image = np.ascontiguousarray(image, np.float32)
    descriptors = np.zeros((len(x), spatial_bins * spatial_bins * ORIENTATION_BINS), np.float32)
    bin_width = sigma * (SUPPORT_SIGMAS / spatial_bins)
    by_row = np.argsort(y, kind="stable")  # neighbours in the image share cache lines

    def work(start: int) -> None:
        rows = by_row[start : start + _CHUNK]
        histograms = np.zeros((len(rows), descriptors.shape[1]), np.float32)
        describe_chunk(image, x[rows], y[rows], bin_width[rows], spatial_bins, histograms)
        descriptors[rows] = normalise(histograms)

    map_threads(work, range(0, len(x), _CHUNK), threads)
    return descriptors


def normalise(histograms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows (N,D) to unit length, clip at 0.2, scale again (Lowe 2004); a zero row stays zero."""
    clipped = np.minimum(_divided_by_norm(histograms), _LARGEST_ENTRY)
    return _divided_by_norm(clipped)


def double_float(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Double an image (H,W) to (2H,2W) float32 in 0..1, bicubic, without rounding; pixel x moves to 2 x + 1/2."""
    scaled = grey.astype(np.float32)
    scaled /= np.float32(255)
    return np.asarray(cv2.resize(scaled, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.float32)


def scale_levels(image: NDArray[Any], wanted: set[tuple[int, int]], dtype: DTypeLike, threads: int) -> Iterator[Level]:
    """Yield the (octave, level) images in `wanted` of the doubled image (2H,2W), in ascending order, holding few at a time."""
    if not wanted:
        return
    last_octave = max(octave for octave, _ in wanted)
    base = blur_threaded(np.ascontiguousarray(image, dtype), first_blur(), threads)
    for octave in range(last_octave + 1):
        current = following = base
        needed = max((level for o, level in wanted if o == octave), default=FIRST_LEVEL)
        last_level = needed if octave == last_octave else max(needed, LEVELS - 1)
        for level in range(FIRST_LEVEL, last_level + 1):
            if level > FIRST_LEVEL:
                current = blur_threaded(current, blur_of_level(level), threads)
            if (octave, level) in wanted:
                yield octave, level, current
            if level == LEVELS - 1:
                following = current[::2, ::2]
        base = np.ascontiguousarray(following)


def nearest_scale(sigma: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return the octave and level (N,) whose nominal sigma is nearest, in ratio, to `sigma` (N,), pixels of the doubled image.

    Of two octaves with the same nominal sigma the finer is taken.
    """
    steps = np.rint(LEVELS * np.log2(np.asarray(sigma, np.float64)) - 1).astype(np.int64)
    octave = np.maximum(-((LAST_LEVEL - steps) // LEVELS), 0)
    return octave.astype(np.int8), np.clip(steps - LEVELS * octave, FIRST_LEVEL, LAST_LEVEL).astype(np.int8)


def _describe(
    image: NDArray[Any],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    keypoints: Keypoints,
    spatial_bins: int,
    threads: int,
) -> NDArray[np.float32]:
    sigma = 2.0 * keypoints.sigma.astype(np.float64)
    octave, level = _scale_of(sigma, keypoints.octave, keypoints.level)
    wanted = set(zip(octave.tolist(), level.tolist(), strict=True))
    return psift_descriptors(scale_levels(image, wanted, image.dtype, threads), x, y, sigma, octave, level, spatial_bins, threads)


def _scale_of(
    sigma: NDArray[np.float64], octave: NDArray[np.int8], level: NDArray[np.int8]
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Keep octave and level where sigma rounds to them, otherwise take the nearest."""
    real_level = LEVELS * (np.log2(sigma) - octave) - 1
    given = (octave >= 0) & (level >= FIRST_LEVEL) & (level <= LAST_LEVEL) & (np.abs(real_level - level) < 0.51)
    near_octave, near_level = nearest_scale(sigma)
    return np.where(given, octave, near_octave), np.where(given, level, near_level)


def _divided_by_norm(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / (np.sqrt(np.einsum("ij,ij->i", rows, rows)) + _NORM_EPSILON)[:, None]
