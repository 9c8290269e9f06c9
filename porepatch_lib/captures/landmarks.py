"""A mask of facial skin from the 68 landmarks of 300-W (Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV-W 2013)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import FloatArray

LANDMARKS = 68
_JAW, _BROWS = slice(0, 17), (slice(17, 22), slice(22, 27))
_NOSTRILS, _EYES, _LIPS = slice(31, 36), (slice(36, 42), slice(42, 48)), slice(48, 60)
_NOSE_BASE = 33
# How far features reach beyond their landmarks, in distances of the eyes.
_EYE_RIM, _BROW_RIM, _LIP_RIM, _NOSTRIL_RIM = 0.10, 0.08, 0.05, 0.06
# The forehead is as high as the nose is long (the canon of thirds); the last of it may be hair.
_FOREHEAD = 0.8


def landmark_mask(points: FloatArray, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the mask (H,W) uint8, 255 = bare facial skin, of a face with landmarks (68,2), x and y in pixels.

    The face goes from the jaw to a half ellipse over the brows; eyes, brows, lips and nostrils are left out. There are no
    landmarks above the brows, so hair that hangs into the forehead stays in.
    """
    eyes = np.array([points[eye].mean(axis=0) for eye in _EYES])
    unit_px = float(np.linalg.norm(eyes[1] - eyes[0]))
    mask = _filled(np.concatenate([points[_JAW], _forehead(points)]), 0.0, shape)
    holes = [(points[eye], _EYE_RIM) for eye in _EYES] + [(points[brow], _BROW_RIM) for brow in _BROWS]
    for outline, rim in [*holes, (points[_LIPS], _LIP_RIM), (points[_NOSTRILS], _NOSTRIL_RIM)]:
        mask[_filled(_hull(outline), rim * unit_px, shape) > 0] = 0
    return mask


def _forehead(points: FloatArray) -> FloatArray:
    """The half ellipse (N,2) over the brows, from the jaw's last point back to its first."""
    brows = np.concatenate([points[brow] for brow in _BROWS]).mean(axis=0)
    left, right = points[_JAW][0], points[_JAW][-1]
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    apex = brows + _FOREHEAD * (brows - points[_NOSE_BASE]) - middle
    angles = np.linspace(0.0, np.pi, 32)[:, None]
    return middle + np.cos(angles) * half + np.sin(angles) * apex


def _hull(points: FloatArray) -> FloatArray:
    return cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(np.float64)


def _filled(outline: FloatArray, rim_px: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Fill a polygon (N,2) and what lies within `rim_px` of it."""
    filled = np.zeros(shape, np.uint8)
    corners = np.rint(outline).astype(np.int32)
    cv2.fillPoly(filled, [corners], 255)
    if rim_px >= 1.0:
        cv2.polylines(filled, [corners], True, 255, 2 * round(rim_px) + 1)
    return filled
