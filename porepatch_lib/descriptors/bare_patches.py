"""Hand-made descriptors of bare patches: what they see where the photograph around the patch is not given.

The paper compares PSIFT on bare patches at the best of many sigmas (arXiv 2512.00381). As in its code the patch is neither
enlarged nor extended: blurs repeat its edge pixels, and only pixels inside it vote.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.descriptors.psift import SUPPORT_SIGMAS, nearest_scale, normalise, scale_levels
from porepatch_lib.descriptors.psift_kernel import ORIENTATION_BINS, describe_chunk
from porepatch_lib.evaluation.metrics import fpr95
from porepatch_lib.threads import map_threads

_BLOCK = 256
_NORM_EPSILON = np.float32(1e-7)


def describe_bare_psift(
    patches: NDArray[np.uint8], sigma_px: float, spatial_bins: int = 8, threads: int = 1, centre_px: float | None = None
) -> NDArray[np.float32]:
    """Describe square patches (N,S,S) by PSIFT at their centre with a `sigma_px` in pixels of the patch.

    The Gaussian level is the one nearest in sigma, the bins are 48 sigma_px / spatial_bins wide. `centre_px` (both axes) is the
    middle of the patch unless given. Returns unit rows float32 (N, spatial_bins^2 * 8), zeros where flat.
    """
    side = patches.shape[1]
    octave, level = (int(index[0]) for index in nearest_scale(np.array([sigma_px])))
    operator = _level_operator(side, octave, level)
    scale = 2.0**-octave
    centre = ((side - 1) / 2 if centre_px is None else centre_px) * scale
    bin_width = sigma_px * scale * SUPPORT_SIGMAS / spatial_bins
    histograms = np.zeros((len(patches), spatial_bins * spatial_bins * ORIENTATION_BINS), np.float32)

    def work(start: int) -> None:
        rows = slice(start, start + _BLOCK)
        pixels = patches[rows].astype(np.float32) / np.float32(255)
        pixels -= pixels[:, :1, :1]  # gradients do not see it, and a flat patch has none, exactly
        levels = operator @ pixels @ operator.T
        _describe_centres(levels, centre, bin_width, spatial_bins, histograms[rows])

    map_threads(work, range(0, len(patches), _BLOCK), threads)
    return normalise(histograms)


def ncc_descriptors(patches: NDArray[np.uint8], side: int = 32) -> NDArray[np.float32]:
    """Return patches (N,S,S) averaged to side x side, less their mean, as unit rows float32 (N, side^2), zeros where flat.

    Their inner product is the normalised cross-correlation. `side` divides S.
    """
    count, size, _ = patches.shape
    small = patches.reshape(count, side, size // side, side, size // side).mean(axis=(2, 4), dtype=np.float32)
    rows = small.reshape(count, side * side)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + _NORM_EPSILON)


def sweep_bare_psift(
    patches: NDArray[np.uint8],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    is_match: NDArray[np.bool_],
    sigmas: Iterable[float],
    spatial_bins: int = 8,
    threads: int = 1,
) -> dict[float, float]:
    """Return FPR95 (0..1) of PSIFT on bare patches (N,S,S) for every sigma (px), over pairs of rows first[i], second[i]."""
    rates = {}
    for sigma in sigmas:
        rows = describe_bare_psift(patches, sigma, spatial_bins, threads)
        similarity = np.einsum("ij,ij->i", rows[first], rows[second])  # of unit rows: falls as the distance rises
        rates[sigma] = fpr95(-similarity, is_match)
    return rates


def _level_operator(side: int, octave: int, level: int) -> NDArray[np.float32]:
    """Return the matrix M (side / 2^octave, side) that takes a patch P to its Gaussian level M P M^T.

    Blurring, repeating the border and taking every second pixel are linear and separable: a column of M is the level of an
    image one pixel wide.
    """
    columns = []
    for pixel in range(side):
        unit = np.zeros((side, 1))
        unit[pixel] = 1.0
        _, _, image = next(scale_levels(unit, {(octave, level)}, np.float64, 1))
        columns.append(image[:, 0])
    return np.stack(columns, axis=1).astype(np.float32)


@njit(cache=True, nogil=True)
def _describe_centres(
    levels: NDArray[np.float32], centre: float, bin_width: float, bins: int, histograms: NDArray[np.float32]
) -> None:
    """Fill `histograms` (N, bins*bins*8) with the raw PSIFT of every level image (N,H,W) at (centre, centre)."""
    position, width = np.full(1, centre), np.full(1, bin_width)
    for index in range(len(levels)):
        describe_chunk(levels[index], position, position, width, bins, histograms[index : index + 1])
