"""Skin from photographs: their fine detail, quilted over a texture map without using any piece of skin twice.

Image quilting after Efros and Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.captures.develop import load_photograph
from porepatch_lib.captures.masks import read_mask
from porepatch_lib.captures.photographs import PhotographSettings, list_photographs
from porepatch_lib.errors import PorePatchError

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

UNIT = 16384  # stored value of detail 1: 16 bits hold 0..4, finer than any photograph, in half the memory of float32

_GAMMA = 2.2
_MASK_SUFFIX = ".mask.png"
_ILLUMINATION_MM = 8.0  # sigma of what counts as illumination and tone, not as detail
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)

# Usable skin, judged on a grid of this step.
_JUDGED_STEP_MM = 0.25
_SATURATED = 250  # of 255, brightest channel
_BLACK = 20  # of 255, brightest channel
_LEAST_REDNESS = 0.1  # ln(red / green), linear; grey things have 0, skin of every tone more than this
_OUTLIER = 3.0  # of redness, in standard deviations from the median absolute deviation
_STEEPEST = 4.0  # shading, as a multiple of the lower quartile
_ROUGHEST = 2.5  # contrast, likewise

_CANDIDATES = 64
_FEATHER_PX = 2
_KEPT = 0.8  # of the blocks, if that is enough
_COMMON_CONTRAST = 1.5  # measured on faces: with less rough skin is laid first, with more smooth skin
_BAND_MM = (0.1, 1.5)  # wavelengths that count as relief


@dataclass(frozen=True)
class Exemplar:
    """The fine detail of one photograph.

    detail: (H,W,3) uint16, linear red, green, blue over their surroundings, in units of 1/UNIT (UNIT = no detail).
    usable: (H,W) bool, True on bare, evenly lit skin. texel_mm: size of a texel.
    """

    detail: NDArray[np.uint16]
    usable: Mask
    texel_mm: float


def read_exemplars(folder: Path, texel_mm: float, mm_per_px: float) -> list[Exemplar]:
    """Read all photographs of a folder, `mm_per_px` on the skin, as detail at `texel_mm`.

    What is usable skin is judged by `judge_skin`, unless `<name>.mask.png` lies beside the photograph `<name>.jpg`.

    Raises:
        PorePatchError: if the folder has no photograph, or one is unreadable or shows no usable skin.
    """
    paths = [path for path in list_photographs(folder) if not path.name.endswith(_MASK_SUFFIX)]
    if not paths:
        raise PorePatchError(f"The folder of skin photographs {folder} has no JPEG or PNG image, TIFF or camera raw; add some.")
    return [_read_exemplar(path, texel_mm, mm_per_px) for path in paths]


def judge_skin(image: NDArray[np.uint8], mm_per_px: float) -> Mask:
    """Return (H,W) bool: where the photograph (H,W,3) BGR shows bare, evenly lit skin.

    Excluded are saturated and black pixels, what is not reddish, and what differs from most of the rest in redness (lips),
    in contrast (hair, eyes) or in the steepness of its shading.
    """
    scale = min(mm_per_px / _JUDGED_STEP_MM, 1.0)
    step_mm = mm_per_px / scale
    brightest = image.max(axis=2)
    clipped = ((brightest >= _SATURATED) | (brightest < _BLACK)).astype(np.float32)
    usable = _resample(clipped, scale, cv2.INTER_AREA) < 0.05
    log = np.log(np.maximum(_linear(_resample(image, scale, cv2.INTER_AREA)), 1e-4))
    redness = _blur(log[..., 2] - log[..., 1], 1.0 / step_mm)
    usable &= redness > _LEAST_REDNESS
    shading = _blur(log[..., 1], 1.0 / step_mm)
    steepness = _blur(np.hypot(*np.gradient(shading, step_mm)), 1.0 / step_mm)
    contrast = np.sqrt(_blur((log[..., 1] - shading) ** 2, 1.0 / step_mm))
    for _ in range(2):  # the second time without what distorted the first statistics
        usable &= (
            (np.abs(_deviation(redness, usable)) < _OUTLIER)
            & (_over_smooth_part(steepness, usable) < _STEEPEST)
            & (_over_smooth_part(contrast, usable) < _ROUGHEST)
        )
    # Thin bridges and specks are what just passed, not skin.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * math.ceil(1.5 / step_mm) + 1,) * 2)
    opened = cv2.morphologyEx(usable.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return cv2.resize(opened, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST) > 0


def flatten(linear: Map, usable: Mask, texel_mm: float) -> NDArray[np.uint16]:
    """Return one linear channel (H,W) over its mean in about 8 mm of usable skin, in units of 1/UNIT; UNIT elsewhere."""
    step = max(round(0.125 * _ILLUMINATION_MM / texel_mm), 1)
    size = (-(-usable.shape[1] // step), -(-usable.shape[0] // step))
    sigma = _ILLUMINATION_MM / texel_mm / step
    weight = cv2.resize(usable.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    covered = np.maximum(_blur(weight, sigma), 1e-6)
    coarse = cv2.resize(linear * usable, size, interpolation=cv2.INTER_AREA)
    light = _blur(coarse, sigma) / covered
    # A second time: at the edge of the skin the mean is one-sided and the shading's slope remains.
    light *= _blur(coarse / np.maximum(light, 1e-6), sigma) / covered
    low = np.maximum(cv2.resize(light, usable.shape[::-1], interpolation=cv2.INTER_LINEAR), 1e-6)
    ratio = np.divide(linear, low, out=np.ones_like(low), where=usable)
    return np.rint(np.clip(ratio * UNIT, 0.0, 65535.0)).astype(np.uint16)


def quilt(
    exemplars: list[Exemplar],
    shape: tuple[int, int],
    block_px: int,
    overlap_px: int,
    rng: np.random.Generator,
    needed: Mask | None = None,
) -> Map:
    """Fill a map with square blocks of the exemplars, no block twice; return the detail (rows, columns, 3) float32, 1 = none.

    The blocks are cut from the exemplars side by side or, if there is too little skin, so that they share `overlap_px` texels at
    their edges. Every block is laid at most once, mirrored or not, but not turned by 90 degrees, which would mix the directions
    of the skin's fine lines. Of random free blocks the one that fits best is laid; neighbours in the map share `overlap_px`
    texels and are joined along the path of least difference. The map takes 12 bytes per texel.

    Args:
        exemplars: skin of one texel size.
        shape: (rows, columns) of the map.
        block_px: side of a block in texels.
        overlap_px: texels that neighbouring blocks share; more than 4, at most half a block.
        rng: source of the choice.
        needed: (rows, columns) bool; blocks without any such texel are left out and remain 1.

    Raises:
        PorePatchError: if the exemplars have too little skin.
    """
    if not 2 * _FEATHER_PX < overlap_px <= block_px // 2:
        raise ValueError(f"overlap_px must be more than {2 * _FEATHER_PX} and at most half of block_px={block_px}")
    step = block_px - overlap_px
    laid = _blocks_to_lay(shape, block_px, step, needed)
    wanted = int(laid.sum())
    free = _cut_windows(exemplars, block_px, apart_px=block_px)
    if len(free) < wanted:
        free = _cut_windows(exemplars, block_px, apart_px=step)
    _require_enough(len(free), wanted, step * exemplars[0].texel_mm)
    free, contrast = _without_the_unusual(free, wanted)
    result = np.ones((*shape, 3), np.float32)
    for i, j in np.argwhere(laid).tolist():
        place = result[i * step : i * step + block_px, j * step : j * step + block_px]
        top, left = i > 0 and bool(laid[i - 1, j]), j > 0 and bool(laid[i, j - 1])
        choices = rng.integers(0, [[len(free)], [4]], (2, _CANDIDATES)).T.tolist()
        best, chosen, least = None, -1, np.inf
        for index, mirrored in choices:
            block = _mirror(free[index], mirrored)
            error = _overlap_error(place, block, top, left, overlap_px, least * contrast[index]) / contrast[index]
            if error < least:
                best, chosen, least = block, index, error
        _lay(place, best, top, left, overlap_px)
        free[chosen], contrast[chosen] = free[-1], contrast[-1]
        free.pop()
        contrast.pop()
    return result


def height_from_detail(detail: Map, texel_mm: float, relief_mm: float) -> Map:
    """Return a plausible height (H,W) float32 mm of skin detail (H,W,3): darker is deeper.

    It is the logarithm of the luminance at wavelengths of 0.1 to 1.5 mm, with standard deviation `relief_mm` where there is
    detail.
    """
    log = np.log(np.maximum(detail @ _LUMINANCE, 1e-3))
    # A Gaussian of sigma s halves the wavelength 2 pi s / sqrt(2 ln 2).
    fine, coarse = (wavelength / 5.336 / texel_mm for wavelength in _BAND_MM)
    height = _blur(log, fine) - _blur(log, coarse)
    present = (detail != 1.0).any(axis=2)
    spread = float(height[present].std()) if present.any() else 0.0
    return np.asarray(height * np.float32(relief_mm / spread) if spread > 0.0 else height, np.float32)


@njit(cache=True, nogil=True)
def boundary_cut(error):  # type: ignore[no-untyped-def]
    """Return for every row of `error` (L,W) the column of the connected path of least sum, as (L,) int64.

    The columns of neighbouring rows differ by at most 1 (Efros and Freeman, section 2.1).
    """
    length, width = error.shape
    total = error.astype(np.float64)
    for row in range(1, length):
        for column in range(width):
            least = total[row - 1, column]
            if column > 0:
                least = min(least, total[row - 1, column - 1])
            if column < width - 1:
                least = min(least, total[row - 1, column + 1])
            total[row, column] += least
    cut = np.empty(length, np.int64)
    cut[-1] = np.argmin(total[-1])
    for row in range(length - 2, -1, -1):
        first = max(cut[row + 1] - 1, 0)
        cut[row] = first + np.argmin(total[row, first : cut[row + 1] + 2])
    return cut


def _read_exemplar(path: Path, texel_mm: float, mm_per_px: float) -> Exemplar:
    good, image = load_photograph(path, PhotographSettings.max_megapixels)
    mask_path = path.with_name(path.stem + _MASK_SUFFIX)
    if mask_path.exists():
        usable = read_mask(mask_path, path, good.size, good.exif.orientation) > 0
    else:
        usable = judge_skin(image, mm_per_px)
    rows, columns = np.flatnonzero(usable.any(axis=1)), np.flatnonzero(usable.any(axis=0))
    if not rows.size:
        raise PorePatchError(
            f"No usable skin was found in {path}; take it out, correct its scale of {mm_per_px} mm per pixel, "
            f"or mark the skin white in {mask_path.name} beside it."
        )
    crop = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    scale = mm_per_px / texel_mm
    # A texel that mixes in unusable pixels is not usable.
    whole = _resample(usable[crop].astype(np.float32), scale, cv2.INTER_LINEAR) > 0.999
    detail = np.empty((*whole.shape, 3), np.uint16)
    for channel in range(3):
        linear = _resample(_linear(image[crop][..., 2 - channel]), scale, cv2.INTER_CUBIC)
        detail[..., channel] = flatten(linear, whole, texel_mm)
    return Exemplar(detail, whole, texel_mm)


def _resample(image: NDArray[Any], scale: float, enlarging: int) -> NDArray[Any]:
    """Resize by `scale`: a mean over areas when shrinking, the given interpolation of OpenCV when enlarging."""
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1.0 else enlarging))


def _linear(image: NDArray[np.uint8]) -> Map:
    """Return 8-bit pixel values as linear light in 0..1."""
    table = ((np.arange(256) / 255.0) ** _GAMMA).astype(np.float32)
    return table[image]


def _blur(image: NDArray[Any], sigma_px: float) -> Map:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _deviation(values: Map, where: Mask) -> Map:
    """Return how many robust standard deviations `values` lie above their median over `where`."""
    if not where.any():
        return np.zeros_like(values)
    middle = np.median(values[where])
    spread = 1.4826 * np.median(np.abs(values[where] - middle))
    return np.asarray((values - middle) / max(spread, 1e-6), np.float32)


def _over_smooth_part(values: Map, where: Mask) -> Map:
    """Return values >= 0 over their lower quartile in `where`: much hair shifts that less than their median."""
    if not where.any():
        return np.zeros_like(values)
    return np.asarray(values / max(float(np.percentile(values[where], 25.0)), 1e-6), np.float32)


def _cut_windows(exemplars: list[Exemplar], block_px: int, apart_px: int) -> list[NDArray[np.uint16]]:
    """Return views (block,block,3) of usable skin, in each exemplar at least `apart_px` from all others in row or column."""
    windows = []
    for exemplar in exemplars:
        kernel = np.ones((block_px, block_px), np.uint8)
        # The border counts as unusable: True where a whole window may start.
        fits = cv2.erode(exemplar.usable.astype(np.uint8), kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        for row, column in _pack(fits, apart_px):
            windows.append(exemplar.detail[row : row + block_px, column : column + block_px])
    return windows


def _without_the_unusual(blocks: list[NDArray[np.uint16]], wanted: int) -> tuple[list[NDArray[np.uint16]], list[float]]:
    """Leave out up to a fifth of the blocks, those of the most unusual variance (stray hairs, blur), if enough remain.

    Also return what differences at the edge of each block are measured by: its own and the common variance. Without this,
    smooth skin always fits best and all rough skin ends at the bottom of the map.
    """
    variance = np.array([block.var(axis=(0, 1)).sum() for block in blocks]) / UNIT**2 + 1e-9
    unusual = np.abs(np.log(variance / np.median(variance)))
    kept = np.sort(np.argsort(unusual, kind="stable")[: max(wanted, round(_KEPT * len(blocks)))])
    contrast = variance[kept] + _COMMON_CONTRAST * variance[kept].mean()
    return [blocks[index] for index in kept], contrast.tolist()


@njit(cache=True, nogil=True)
def _pack(fits, apart):  # type: ignore[no-untyped-def]
    """Return corners where `fits` (H,W) is not 0, each `apart` or more from all others in row or column; clears `fits`."""
    corners = []
    for row in range(fits.shape[0]):
        for column in range(fits.shape[1]):
            if fits[row, column]:
                corners.append((row, column))
                fits[row : row + apart, max(column - apart + 1, 0) : column + apart] = 0
    return corners


def _blocks_to_lay(shape: tuple[int, int], block_px: int, step: int, needed: Mask | None) -> Mask:
    """Return (block rows, block columns) bool: which blocks of the map have a needed texel."""
    counts = [max(-(-(length - block_px) // step), 0) + 1 for length in shape]
    if needed is None:
        return np.ones(counts, np.bool_)
    starts = [step * np.arange(count) for count in counts]
    sums = cv2.integral(needed.astype(np.uint8))
    low_row, low_column = starts[0][:, None], starts[1][None, :]
    high_row, high_column = np.minimum(low_row + block_px, shape[0]), np.minimum(low_column + block_px, shape[1])
    inside = sums[high_row, high_column] - sums[low_row, high_column] - sums[high_row, low_column] + sums[low_row, low_column]
    return np.asarray(inside > 0)


def _require_enough(free: int, wanted: int, step_mm: float) -> None:
    if free < wanted:
        area_cm2 = (step_mm / 10.0) ** 2
        raise PorePatchError(
            f"The skin photographs give {free * area_cm2:.1f} cm2 of usable skin in blocks but {wanted * area_cm2:.1f} cm2 are "
            "needed, and no skin is used twice; add photographs that show more bare skin in even light."
        )


def _mirror(block: NDArray[np.uint16], mirrored: int) -> NDArray[np.uint16]:
    """Return a view of a block mirrored in its rows (bit 0 of `mirrored`) and its columns (bit 1)."""
    return block[:: -1 if mirrored & 1 else 1, :: -1 if mirrored & 2 else 1]


@njit(cache=True, nogil=True)
def _overlap_error(place, block, top, left, overlap, limit):  # type: ignore[no-untyped-def]
    """Return the sum of squared differences over the overlaps, or something above `limit` as soon as it exceeds that."""
    rows, columns, _ = place.shape
    total = 0.0
    for row in range(rows):
        width = columns if top and row < overlap else overlap if left else 0
        for column in range(width):
            total += _difference(place, block, row, column)
        if total > limit:
            break
    return total


@njit(cache=True, nogil=True)
def _difference(place, block, row, column):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for channel in range(3):
        total += (place[row, column, channel] - block[row, column, channel] * np.float32(1.0 / UNIT)) ** 2
    return total


@njit(cache=True, nogil=True)
def _lay(place, block, top, left, overlap):  # type: ignore[no-untyped-def]
    """Put `block` over `place` (in place), along the best cuts where there are neighbours at the top and left."""
    rows, columns, _ = place.shape
    left_cut, top_cut = np.full(rows, -overlap), np.full(columns, -overlap)  # so far out that all is new
    if left:
        left_cut = _cut(place, block, overlap)
    if top:
        top_cut = _cut(place.transpose(1, 0, 2), block.transpose(1, 0, 2), overlap)
    for row in range(rows):
        for column in range(columns):
            new = _share(column - left_cut[row]) * _share(row - top_cut[column])
            for channel in range(3):
                value = block[row, column, channel] * np.float32(1.0 / UNIT)
                place[row, column, channel] += new * (value - place[row, column, channel])


@njit(cache=True, nogil=True)
def _cut(place, block, overlap):  # type: ignore[no-untyped-def]
    """Return the best cut through the left overlap, far enough from its edges for the feather."""
    error = np.empty((place.shape[0], overlap - 2 * _FEATHER_PX))
    for row in range(error.shape[0]):
        for column in range(error.shape[1]):
            error[row, column] = _difference(place, block, row, column + _FEATHER_PX)
    return boundary_cut(error) + _FEATHER_PX


@njit(cache=True, nogil=True)
def _share(distance):  # type: ignore[no-untyped-def]
    """Return the share of the new block so many texels behind the cut."""
    return np.float32(min(max((distance + _FEATHER_PX) / (2.0 * _FEATHER_PX), 0.0), 1.0))
