"""Hand-made descriptors of bare patches: what they see where the photograph around the patch is not given.

The paper compares PSIFT and SIFT on bare patches at the best of many sigmas (arXiv 2512.00381). As in its code the patch is
neither enlarged nor extended: blurs repeat its edge pixels, and only pixels inside it vote.

SIFT here is not OpenCV's but its definition (Lowe 2004) in the loops of PSIFT, which differs from it only in layout: 4 x 4 bins
of 3 sigma instead of 8 x 8 of 6. So the middle of a patch, which lies between pixels, is not rounded to one, nor the rows to 8
bits, and the Gaussian level is the nearest of 8 an octave, not of 3. At a whole pixel and a sigma of both pyramids the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.descriptors.psift import SUPPORT_SIGMAS, nearest_scale, normalise, scale_levels
from porepatch_lib.descriptors.psift_kernel import ORIENTATION_BINS, describe_chunk
from porepatch_lib.descriptors.sift import rooted
from porepatch_lib.threads import map_threads

NCC_SIDE = 32
"""Pixels along a side of the patch that NCC compares."""

_SIFT_SUPPORT_SIGMAS = 12.0
_BLOCK = 256
_NORM_EPSILON = np.float32(1e-7)


@dataclass(frozen=True)
class BareLayout:
    """bins x bins x 8 numbers over a square of `support_sigmas` sigma; `root` takes them as RootSIFT does."""

    bins: int
    support_sigmas: float
    root: bool = False

    @property
    def dimension(self) -> int:
        """Numbers of a row."""
        return self.bins * self.bins * ORIENTATION_BINS


BARE = {
    "psift-bare": BareLayout(8, SUPPORT_SIGMAS),
    "psift128-bare": BareLayout(4, SUPPORT_SIGMAS),
    "sift-bare": BareLayout(4, _SIFT_SUPPORT_SIGMAS),
    "rootsift-bare": BareLayout(4, _SIFT_SUPPORT_SIGMAS, root=True),
}
"""The descriptors of bare patches by name."""


def describe_bare(
    name: str, patches: NDArray[np.uint8], sigma_px: float, threads: int = 1, centre_px: float | None = None
) -> NDArray[np.float32]:
    """Describe square patches (N,S,S) uint8 by a descriptor of `BARE` at their centre, with a `sigma_px` in pixels of the patch.

    The Gaussian level is the one nearest in sigma, at least 1 px. `centre_px` (both axes) is the middle of the patch unless
    given. Returns unit rows float32 (N,D), zeros where flat.
    """
    layout = BARE[name]
    rows = normalise(_histograms(patches, sigma_px, layout.bins, layout.support_sigmas, threads, centre_px))
    return rooted(rows) if layout.root else rows


def describe_bare_psift(
    patches: NDArray[np.uint8], sigma_px: float, spatial_bins: int = 8, threads: int = 1, centre_px: float | None = None
) -> NDArray[np.float32]:
    """Describe as `describe_bare` by PSIFT of `spatial_bins`. Returns unit rows float32 (N, spatial_bins^2 * 8)."""
    return normalise(_histograms(patches, sigma_px, spatial_bins, SUPPORT_SIGMAS, threads, centre_px))


def ncc_descriptors(patches: NDArray[np.uint8], side: int = NCC_SIDE) -> NDArray[np.float32]:
    """Return patches (N,S,S) averaged to side x side, less their mean, as unit rows float32 (N, side^2), zeros where flat.

    Their inner product is the normalised cross-correlation. `side` divides S.
    """
    count, size, _ = patches.shape
    small = patches.reshape(count, side, size // side, side, size // side).mean(axis=(2, 4), dtype=np.float32)
    rows = small.reshape(count, side * side)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + _NORM_EPSILON)


def _histograms(
    patches: NDArray[np.uint8], sigma_px: float, bins: int, support_sigmas: float, threads: int, centre_px: float | None
) -> NDArray[np.float32]:
    """Return the raw histograms (N, bins^2 * 8) of patches (N,S,S) at their centre."""
    side = patches.shape[1]
    octave, level = (int(index[0]) for index in nearest_scale(np.array([sigma_px])))
    operator = _level_operator(side, octave, level)
    scale = 2.0**-octave
    centre = ((side - 1) / 2 if centre_px is None else centre_px) * scale
    bin_width = sigma_px * scale * support_sigmas / bins
    histograms = np.zeros((len(patches), bins * bins * ORIENTATION_BINS), np.float32)

    def work(start: int) -> None:
        rows = slice(start, start + _BLOCK)
        pixels = patches[rows].astype(np.float32) / np.float32(255)
        pixels -= pixels[:, :1, :1]  # gradients do not see it, and a flat patch has none, exactly
        levels = operator @ pixels @ operator.T
        _describe_centres(levels, centre, bin_width, bins, histograms[rows])

    map_threads(work, range(0, len(patches), _BLOCK), threads)
    return histograms


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
