"""The 8-bit image that enters the scale space of the reference PSIFT: doubled in size, masked and saturated."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

EROSION_RADIUS = 80
DILATION_RADIUS = 20

# Keys' cubic (a = -1/2) at the two phases of a doubling with half-pixel centres, in 1/256; taps at -2..2.
_EVEN_TAPS = np.array([-6, 58, 222, -18, 0], np.float32) / 256
_ODD_TAPS = _EVEN_TAPS[::-1].copy()
# OpenCV rounds halves to even, the reference rounds them up; all sums are multiples of 1/256.
_ROUND_HALF_UP = 1 / 1024


def double_uint8(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Double an image (H,W) to (2H,2W): bicubic, mirrored border, columns first, rounded half up to 8 bits after each pass.

    Pixel x of the result lies at x/2 - 1/4 of the image.
    """
    tall = _double_rows(image)
    return np.ascontiguousarray(_double_rows(np.ascontiguousarray(tall.T)).T)


def doubled_masked_image(grey: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return the uint8 image (2H,2W) the reference detects on: doubled, mask shrunk, outside and saturated pixels black.

    `grey` and `mask` (255 = keep) are (H,W). The doubled mask is eroded by an L1 ball of radius 80 and dilated by one of radius
    20; 255 counts as 1 and the product saturates, so that partly masked pixels become 255 and, like saturated skin, turn black.
    """
    doubled = double_uint8(grey)
    if mask is not None and mask.min() < 255:
        keep = dilate_diamond(erode_diamond(double_uint8(mask), EROSION_RADIUS), DILATION_RADIUS)
        keep[keep == 255] = 1
        doubled = np.asarray(cv2.multiply(doubled, keep), np.uint8)
    doubled[doubled == 255] = 0
    return doubled


def erode_diamond(image: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Minimum over the L1 ball of `radius` >= 1 pixels around every pixel; pixels outside the image do not count."""
    return ~dilate_diamond(~image, radius)


def dilate_diamond(image: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Maximum over the L1 ball of `radius` >= 1 pixels around every pixel; pixels outside the image do not count.

    The ball of radius n moved to its four neighbours at distance k <= n covers the ball of radius n + k
    (van den Boomgaard's logarithmic decomposition).
    """
    padded = np.pad(image, radius)
    reached = 1
    padded = np.maximum(padded, _four_neighbours(padded, 1))
    while reached < radius:
        step = min(reached, radius - reached)
        padded = _four_neighbours(padded, step)
        reached += step
    return np.ascontiguousarray(padded[radius:-radius, radius:-radius])


def _four_neighbours(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    result = np.zeros_like(image)
    np.maximum(result[step:], image[:-step], out=result[step:])
    np.maximum(result[:-step], image[step:], out=result[:-step])
    np.maximum(result[:, step:], image[:, :-step], out=result[:, step:])
    np.maximum(result[:, :-step], image[:, step:], out=result[:, :-step])
    return result


def _double_rows(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    result = np.empty((2 * image.shape[0], image.shape[1]), np.uint8)
    for phase, taps in enumerate((_EVEN_TAPS, _ODD_TAPS)):
        result[phase::2] = cv2.filter2D(
            image, cv2.CV_8U, taps[:, np.newaxis], delta=_ROUND_HALF_UP, borderType=cv2.BORDER_REFLECT
        )
    return result
