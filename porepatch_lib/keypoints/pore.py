"""The pore detector: dark blobs as maxima of differences of Gaussians over place and scale, at full precision.

The idea is that of PSIFT (fine steps of scale, dark blobs only, as many keypoints as asked for) without its artefacts: the image
keeps float precision, positions have no offset, and neither the mask nor saturated pixels enter the scale space, where they would
make edges; keypoints near them are dropped instead. All scales are sampled at every pixel of the image: pores are small enough
for that to be affordable, and at the seams between octaves a pyramid finds one blob in ten twice. Every blur is accurate below a
pixel too, so that a Gaussian blob is found with its own sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints import scale_space
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.maxima import gradient_and_hessian, local_maxima, newton_offset
from porepatch_lib.keypoints.strips import Strip, map_strips

_CANDIDATE_SHARE = 0.8
_MAX_MOVES = 4
_MOVE_LIMIT = 0.6
_OFFSET_LIMIT = 1.0
_HIGHEST_GREY = 255
_NARROW_VARIANCE = 0.6


@dataclass(frozen=True)
class PoreSettings:
    """Settings of the pore detector.

    target_count: keypoints kept per image, the strongest ones.
    min_contrast: least contrast of a keypoint in grey levels (of 255): that of the Gaussian blob that would respond as strongly.
    min_sigma_px, max_sigma_px: range of blob sigmas, in pixels.
    levels: scale levels per octave.
    max_edge_ratio: largest ratio of the two principal curvatures; lines and creases have a larger one.
    mask_margin, saturation_margin, border_margin: least distance to the mask's rim, to a saturated (255) pixel and to the image
        border, in units of the keypoint's sigma.
    tile_rows: rows worked on at a time; has no influence on the result.
    """

    target_count: int = 10_000
    min_contrast: float = 1.0
    min_sigma_px: float = 0.8
    max_sigma_px: float = 4.0
    levels: int = 4
    max_edge_ratio: float = 6.0
    mask_margin: float = 6.0
    saturation_margin: float = 4.0
    border_margin: float = 12.0
    tile_rows: int = 256

    def __post_init__(self) -> None:
        if not 0.4 <= self.min_sigma_px < self.max_sigma_px:
            raise PorePatchError(
                f"The pore detector's range of sigmas {self.min_sigma_px} to {self.max_sigma_px} px is empty or starts "
                "below 0.4 px; mend min_sigma_px and max_sigma_px in the configuration."
            )


def detect_pores(grey: NDArray[np.uint8], mask: NDArray[np.uint8] | None, settings: PoreSettings, threads: int) -> Keypoints:
    """Detect dark blobs in `grey` (H,W) inside `mask` (H,W, 255 = keep), strongest first.

    `response` is the contrast in grey levels. The result does not depend on `threads` or `settings.tile_rows`.
    """
    found = _find_blobs(grey, settings, threads)
    found = found[_far_from_border(found, grey.shape, settings.border_margin)]
    if mask is not None:
        found = found[_far_from(mask != _HIGHEST_GREY, found, settings.mask_margin)]
    found = found[_far_from(grey == _HIGHEST_GREY, found, settings.saturation_margin)]
    return _keypoints(found[_strongest(found, settings.target_count)])


def octave_and_level(sigma_px: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Octave (0..2) and Gaussian level (-1..8) of PSIFT nearest to keypoints of `sigma_px` (N,), both int8 (N,).

    Inverts sigma = 2^(1/8) * 2^(octave + level/8) / 2, sigma of the image before doubling.
    """
    steps = np.log2(2 * np.asarray(sigma_px, np.float64)) * scale_space.LEVELS - 1
    nearest = np.floor(steps + 0.5).astype(np.int64)
    octave = np.clip(nearest // scale_space.LEVELS, 0, scale_space.OCTAVES - 1)
    level = np.clip(nearest - scale_space.LEVELS * octave, scale_space.FIRST_LEVEL, scale_space.LAST_LEVEL - 1)
    return octave.astype(np.int8), level.astype(np.int8)


def pore_kernel(variance: float) -> NDArray[np.float64]:
    """Kernel of a blur by `variance` (pixels squared) that is as accurate for less than a pixel as for many.

    A sampled Gaussian narrower than 0.77 px has too small a variance; below that, the seven taps with the Gaussian's moments
    0, 2, 4 and 6 (1, t, 3 t^2, 15 t^3) follow its frequency response better.
    """
    if variance >= _NARROW_VARIANCE:
        return scale_space.gaussian_kernel(float(np.sqrt(variance)))
    offsets = np.arange(4.0)
    moments = variance ** np.arange(4) * np.array([1.0, 1.0, 3.0, 15.0])
    powers = 2 * offsets ** (2 * np.arange(4)[:, np.newaxis])
    powers[0, 0] = 1
    half = np.linalg.solve(powers, moments)
    return np.concatenate([half[:0:-1], half])


# Columns of the arrays of blobs below: position and sigma in pixels of the image, contrast in grey levels.
_X, _Y, _SIGMA, _CONTRAST = range(4)


def _find_blobs(grey: NDArray[np.uint8], settings: PoreSettings, threads: int) -> NDArray[np.float64]:
    """All blobs (N,4) of the image in the range of sigmas and contrasts, ordered by tile."""
    step = 2 ** (1 / settings.levels)
    unit = (step - 1) / (step + 1)
    threshold = _CANDIDATE_SHARE * settings.min_contrast * unit
    edge_limit = (settings.max_edge_ratio + 1) ** 2 / settings.max_edge_ratio
    sigmas = _gaussian_sigmas(settings)
    kernels = [pore_kernel(variance) for variance in np.diff(sigmas**2, prepend=0)]
    halo = sum(len(kernel) // 2 for kernel in kernels) + _MAX_MOVES + 1

    def blobs_of(strip: Strip, dog: NDArray[np.float32]) -> NDArray[np.float64]:
        _fill_differences(grey[strip.low : strip.high].astype(np.float32), kernels, dog)
        maxima = local_maxima(dog, threshold, strip.start - strip.low, strip.stop - strip.low, strict=False)
        found = _refine(dog, maxima, edge_limit)
        found[:, _Y] += strip.low
        return found

    differences = len(kernels) - 1
    found = np.concatenate(map_strips(blobs_of, grey.shape, settings.tile_rows, halo, differences, np.float32, threads))
    # A blob of sigma s answers most to the difference of Gaussians whose geometric mean is s.
    found[:, _SIGMA] = sigmas[0] * step ** (found[:, _SIGMA] + 0.5)
    found[:, _CONTRAST] /= unit
    in_range = (found[:, _SIGMA] >= settings.min_sigma_px) & (found[:, _SIGMA] <= settings.max_sigma_px)
    return found[in_range & (found[:, _CONTRAST] >= settings.min_contrast)]


def _gaussian_sigmas(settings: PoreSettings) -> NDArray[np.float64]:
    """Sigmas (L,) of the Gaussians whose differences have the range of sigmas among their inner ones, in pixels."""
    inner = int(np.ceil(settings.levels * np.log2(settings.max_sigma_px / settings.min_sigma_px)))
    return settings.min_sigma_px * 2 ** (np.arange(-1, inner + 2) / settings.levels)


def _fill_differences(image: NDArray[np.float32], kernels: list[NDArray[np.float64]], dog: NDArray[np.float32]) -> None:
    """Fill `dog` (L-1,H,W) with the differences of the L Gaussians that the L `kernels` make of `image` one after the other."""
    lower = _blur(image, kernels[0])
    for difference, kernel in zip(dog, kernels[1:], strict=True):
        upper = _blur(lower, kernel)
        np.subtract(upper, lower, out=difference)
        lower = upper


def _blur(image: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


@njit(cache=True, nogil=True)
def _refine(dog: NDArray[np.float32], maxima: NDArray[np.int32], edge_limit: float) -> NDArray[np.float64]:
    """Fit a quadratic around every maximum (N,3); return (K,4) refined x, y, level and value of those that are blobs."""
    levels, rows, cols = dog.shape
    result = np.empty((maxima.shape[0], 4))
    count = 0
    for index in range(maxima.shape[0]):
        level, y, x = maxima[index]
        moves = 0
        while True:
            gradient, hessian = gradient_and_hessian(dog, level, y, x)
            offset = newton_offset(gradient, hessian)
            dx = int(offset[0] > _MOVE_LIMIT) - int(offset[0] < -_MOVE_LIMIT)
            dy = int(offset[1] > _MOVE_LIMIT) - int(offset[1] < -_MOVE_LIMIT)
            ds = int(offset[2] > _MOVE_LIMIT) - int(offset[2] < -_MOVE_LIMIT)
            dx = min(max(x + dx, 1), cols - 2) - x
            dy = min(max(y + dy, 1), rows - 2) - y
            ds = min(max(level + ds, 1), levels - 2) - level
            if (dx == 0 and dy == 0 and ds == 0) or moves == _MAX_MOVES:
                break
            x += dx
            y += dy
            level += ds
            moves += 1
        trace = hessian[0, 0] + hessian[1, 1]
        determinant = hessian[0, 0] * hessian[1, 1] - hessian[0, 1] ** 2
        is_edge = not (determinant > 0 and trace * trace < edge_limit * determinant)
        if is_edge or np.abs(offset).max() >= _OFFSET_LIMIT:
            continue
        result[count, 0] = x + offset[0]
        result[count, 1] = y + offset[1]
        result[count, 2] = level + offset[2]
        result[count, 3] = dog[level, y, x] + 0.5 * (gradient * offset).sum()
        count += 1
    return result[:count].copy()


def _far_from_border(found: NDArray[np.float64], shape: tuple[int, ...], margin: float) -> NDArray[np.bool_]:
    reach = margin * found[:, _SIGMA]
    x, y = found[:, _X], found[:, _Y]
    return (x >= reach) & (y >= reach) & (x <= shape[1] - 1 - reach) & (y <= shape[0] - 1 - reach)


def _far_from(forbidden: NDArray[np.bool_], found: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    """Which blobs (N,) lie at least `margin` sigmas from every pixel of `forbidden` (H,W)."""
    if not forbidden.any():
        return np.ones(len(found), bool)
    distance = cv2.distanceTransform((~forbidden).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    columns, rows = np.rint(found[:, [_X, _Y]]).astype(np.int64).T
    return distance[rows, columns] >= margin * found[:, _SIGMA]


def _strongest(found: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Rows of the `count` strongest blobs, strongest first; a blob found twice (from two start pixels) is kept once."""
    order = np.lexsort((found[:, _X], found[:, _Y], -found[:, _CONTRAST]))
    ranked = found[order]
    repeated = np.zeros(len(found), bool)
    repeated[1:] = (ranked[1:] == ranked[:-1]).all(axis=1)
    return order[~repeated][:count]


def _keypoints(found: NDArray[np.float64]) -> Keypoints:
    octave, level = octave_and_level(found[:, _SIGMA])
    x, y, sigma, contrast = found.T.astype(np.float32)
    return Keypoints(x=x, y=y, sigma=sigma, angle=np.zeros_like(x), response=contrast, octave=octave, level=level)
