"""How good a view is: sharpness, exposure, near copies, pixels per millimetre. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, FloatArray, Pose, nearest_to_rays, rays

Grey = NDArray[np.uint8]
Mask = NDArray[np.uint8]

NEARLY_BLACK = 5
SATURATED = 250

_DARKEST_MEAN, _LIGHTEST_MEAN = 40.0, 220.0
_DARKEST_LIGHT, _LIGHTEST_DARK = 50, 235
_MOST_DARK, _MOST_SATURATED = 0.2, 0.05

_FINE_STEPS_PX = (2, 4)
_COARSE_STEPS_PX = (8, 16)
_FAINT_GREY2 = 1.0  # a fine contrast below this, in squared grey levels, is rounding: it does not count as sharp

_REDUCED_PX = 128  # longer side of a reduced image
_REDUCED_BLUR_PX = 1.5
_SHADING_PX = 10.0  # what is coarser is shading and background, alike in views from all around
_LARGEST_SHIFT = 0.05  # of the longer side, between near copies
_LEAST_CONTRAST = 0.1  # grey levels of a reduced image that has anything to compare

_PUPILS_MM = 63.0


@dataclass(frozen=True)
class Exposure:
    """Grey levels 0..255 inside the mask.

    Attributes:
        mean_grey: their mean.
        low_grey, high_grey: a tenth of the pixels is not above the one, a tenth not below the other.
        dark_share, saturated_share: shares 0..1 of nearly black (<= 5) and of saturated (>= 250) pixels.
    """

    mean_grey: float
    low_grey: int
    high_grey: int
    dark_share: float
    saturated_share: float


def sharpness(grey: Grey, mask: Mask | None) -> float:
    """Compare the fine with the coarse contrast of an image (H,W) uint8 inside its mask (H,W) uint8, 0 = leave out.

    With S(h) the mean square of the second difference I(x-h) - 2 I(x) + I(x+h), a direction has (S(4) - S(2)) / (S(16) - S(8));
    the value is the harmonic mean of rows and columns, so that motion shows. Blur takes fine contrast away and leaves the
    coarse: the value falls steadily with it, to about a third at sigma 2 px. Light and gain change both alike. Noise that is
    independent between pixels adds the same to every S and cancels, as the nugget of a variogram does (Matheron, "Principles of
    geostatistics", 1963); strong noise that a camera smoothed over two pixels or more does not, and only such views can look
    sharper than they are. All pixels of a difference lie inside the mask, so its rim adds nothing. 0 where nothing is left to
    compare.
    """
    grey, mask = _inside_box(grey, mask)
    columns, rows = _fine_over_coarse(grey, mask), _fine_over_coarse(grey.T, None if mask is None else mask.T)
    return 2.0 * columns * rows / (columns + rows) if columns + rows > 0.0 else 0.0


def exposure(grey: Grey, mask: Mask | None) -> Exposure:
    """Measure the exposure of an image (H,W) uint8 inside its mask; zeros where the mask is empty."""
    histogram = cv2.calcHist([grey], [0], mask, [256], [0, 256]).ravel().astype(float)
    total = histogram.sum()
    if total == 0.0:
        return Exposure(0.0, 0, 0, 0.0, 0.0)
    share = histogram / total
    return Exposure(
        mean_grey=float(share @ np.arange(256)),
        low_grey=int(np.searchsorted(np.cumsum(histogram), 0.1 * total)),
        high_grey=255 - int(np.searchsorted(np.cumsum(histogram[::-1]), 0.1 * total)),
        dark_share=float(share[: NEARLY_BLACK + 1].sum()),
        saturated_share=float(share[SATURATED:].sum()),
    )


def exposure_fault(measured: Exposure, is_masked: bool) -> str:
    """Return "too dark", "too bright" or "".

    Well exposed skin of any colour has a mean grey of some 60 to 200. Where a fifth of the skin is black, or a twentieth burnt
    out, pores are lost there. Without a mask a black or white background is as good as any other, so that only an image without
    lighter, or without darker, tones is at fault.
    """
    if measured.high_grey < _DARKEST_LIGHT or (is_masked and _is_dark(measured)):
        return "too dark"
    if measured.low_grey > _LIGHTEST_DARK or (is_masked and _is_bright(measured)):
        return "too bright"
    return ""


def reduce_for_comparison(grey: Grey) -> NDArray[np.float32]:
    """Reduce an image (H,W) uint8 to 128 px on its longer side, slightly blurred, without shading: float32 (h,w)."""
    scale = _REDUCED_PX / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = cv2.GaussianBlur(small, (0, 0), _REDUCED_BLUR_PX)
    return np.asarray(blurred - cv2.GaussianBlur(blurred, (0, 0), _SHADING_PX), np.float32)


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Normalised correlation -1..1 of two reduced images, the best over shifts of up to 5 % of the longer side.

    The shift makes up for a hand that moved. 0 for images of different shape or without contrast.
    """
    margin = round(_LARGEST_SHIFT * max(first.shape))
    if first.shape != second.shape or min(first.shape) <= 2 * margin + 1:
        return 0.0
    inner = second[margin:-margin, margin:-margin]
    if min(float(first.std()), float(inner.std())) < _LEAST_CONTRAST:
        return 0.0
    return float(cv2.matchTemplate(first, inner, cv2.TM_CCOEFF_NORMED).max())


def near_copies(reduced: Sequence[NDArray[np.float32]], above: float) -> list[int]:
    """Return for every reduced image the index of the earliest one it is similar to by more than `above`, or -1."""
    return [
        next((earlier for earlier in range(index) if similarity(reduced[earlier], image) > above), -1)
        for index, image in enumerate(reduced)
    ]


def centroid(mask: Mask) -> FloatArray | None:
    """Centre of mass (2,) of a mask (H,W) as x, y in pixels, or None where it is empty."""
    moments = cv2.moments(mask, binaryImage=True)
    if moments["m00"] == 0.0:
        return None
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]


def face_place(cameras: Sequence[Camera], poses: Sequence[Pose], pixels: Sequence[FloatArray]) -> FloatArray | None:
    """Return the world point (3,) nearest to the viewing rays through one pixel (2,) of every view, or None."""
    directions = [
        rays(camera, pixel[None])[0] @ pose.rotation for camera, pose, pixel in zip(cameras, poses, pixels, strict=True)
    ]
    return nearest_to_rays(np.array([pose.centre for pose in poses]).reshape(-1, 3), np.array(directions).reshape(-1, 3))


def pixels_per_mm_at(camera: Camera, pose: Pose, point_mm: FloatArray) -> float:
    """Pixels per millimetre of a surface that faces the camera at a world point (3,) in mm; 0 behind the camera."""
    depth = float(pose.to_camera(point_mm[None])[0, 2])
    return float(np.sqrt(np.prod(camera.focal_px))) / depth if depth > 0.0 else 0.0


def pixels_per_mm_between(eyes: tuple[tuple[float, float], tuple[float, float]]) -> float:
    """Pixels per millimetre of a face from its pupils in pixels: adults have theirs 63 mm apart.

    The mean of Dodgson, "Variation and extrema of human interpupillary distance", SPIE 5291, 2004; its standard deviation of
    3.6 mm makes this good to some 6 %. A turned head has its pupils nearer to each other: the value is then too small.
    """
    return float(np.hypot(*np.subtract(*eyes))) / _PUPILS_MM


def _is_dark(measured: Exposure) -> bool:
    return measured.mean_grey < _DARKEST_MEAN or measured.dark_share > _MOST_DARK


def _is_bright(measured: Exposure) -> bool:
    return measured.mean_grey > _LIGHTEST_MEAN or measured.saturated_share > _MOST_SATURATED


def _inside_box(grey: Grey, mask: Mask | None) -> tuple[Grey, Mask | None]:
    if mask is None:
        return grey, None
    left, top, width, height = cv2.boundingRect(mask)
    box = np.s_[top : top + height, left : left + width]
    return grey[box], mask[box]


def _fine_over_coarse(grey: Grey, mask: Mask | None) -> float:
    """The sharpness along columns."""
    steps = (*_FINE_STEPS_PX, *_COARSE_STEPS_PX)
    if grey.shape[0] <= 2 * max(steps) or grey.shape[1] == 0:
        return 0.0
    energies = [_second_difference(np.ascontiguousarray(grey), mask, step) for step in steps]
    fine, _, coarse = (max(0.0, larger - smaller) for smaller, larger in pairwise(energies))
    return fine / (coarse + _FAINT_GREY2)


def _second_difference(grey: Grey, mask: Mask | None, step: int) -> float:
    """Mean square of I(y-step) - 2 I(y) + I(y+step) along columns over triples inside the mask, 0 where there are none."""
    above, middle, below = _triple(grey, step)
    difference = cv2.addWeighted(above, 1.0, below, 1.0, 0.0, dtype=cv2.CV_16S)
    difference = cv2.addWeighted(difference, 1.0, middle, -2.0, 0.0, dtype=cv2.CV_16S)
    if mask is None:
        return float(cv2.norm(difference, cv2.NORM_L2SQR)) / difference.size
    inside = cv2.bitwise_and(*_triple(np.ascontiguousarray(mask), step)[:2])
    inside = cv2.bitwise_and(inside, np.ascontiguousarray(mask)[2 * step :])
    count = cv2.countNonZero(inside)
    return float(cv2.norm(difference, cv2.NORM_L2SQR, inside)) / count if count else 0.0


def _triple(image: NDArray[np.uint8], step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    rows = image.shape[0]
    return image[: rows - 2 * step], image[step : rows - step], image[2 * step :]
