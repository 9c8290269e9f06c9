"""Frontal faces and their eyes, by the Haar cascades of OpenCV (Viola and Jones, CVPR 2001; Lienhart and Maydt, ICIP 2002)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Box = tuple[int, int, int, int]

_CASCADES = Path(__file__).parent / "cascades"
_FACE_CASCADE = "haarcascade_frontalface_alt2.xml"
_EYE_CASCADE = "haarcascade_eye.xml"

_SEARCH_PX = 480  # longer side of the reduced image that faces are searched in
_SMALLEST_FACE = 0.12  # of the shorter side
_FACE_PX = 240  # width of the face that eyes are searched in
_EYE_ROWS = (0.18, 0.58)  # of the face box: where the middle of an eye may lie
_EYE_COLUMNS = (0.14, 0.46)  # of the face box, mirrored for the other eye
_EYE_DISTANCE = (0.28, 0.58)  # of the box's width
_IRIS_PX = 8  # radius in that face; irises are alike, 12 mm across
_STEEPEST_ROLL = 0.35  # height difference of the eyes over their distance


@dataclass(frozen=True)
class Face:
    """A face in pixels of the upright image: box (x, y, width, height); eyes: the pupils, image-left first, where found."""

    box: Box
    eyes: tuple[Point, Point] | None


def find_face(grey: NDArray[np.uint8]) -> Face | None:
    """Return the largest near-frontal face (within about 30 degrees) of an upright image (H,W) uint8, or None.

    Classifiers are loaded anew by every call, so calls may run on several threads.
    """
    scale = min(1.0, _SEARCH_PX / max(grey.shape))
    small = cv2.equalizeHist(_resized(grey, scale))
    least = max(24, round(_SMALLEST_FACE * min(small.shape)))
    found = _classifier(_FACE_CASCADE).detectMultiScale(small, 1.05, 4, minSize=(least, least))
    if len(found) == 0:
        return None
    box = _inside(np.asarray(max(found, key=lambda one: (one[2], one[0], one[1])), float) / scale, grey.shape)
    return Face(box, _find_eyes(grey, box))


def _find_eyes(grey: NDArray[np.uint8], box: Box) -> tuple[Point, Point] | None:
    """The most face-like pair of eye detections in the upper half of a face box, refined to their pupils."""
    left, top, width, height = box
    scale = _FACE_PX / width
    face = _resized(grey[top : top + height, left : left + width], scale)
    upper = cv2.equalizeHist(face[: round(0.7 * face.shape[0])])
    boxes, _, weights = _classifier(_EYE_CASCADE).detectMultiScale3(
        upper, 1.05, 3, minSize=(24, 24), maxSize=(110, 110), outputRejectLevels=True
    )
    eyes = [(x + w / 2.0, y + h / 2.0, float(w), float(weight)) for (x, y, w, h), weight in zip(boxes, weights, strict=True)]
    pairs = [pair for pair in product(eyes, eyes) if _is_pair(*pair)]
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: (pair[0][3] + pair[1][3] - 10.0 * abs(np.log(pair[0][2] / pair[1][2])), pair[0][0]))
    pupils = [_pupil(face, x, y) for x, y, _, _ in best]
    first, second = ((x / scale + left, y / scale + top) for x, y in pupils)
    return first, second


def _is_pair(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    x1, y1, size1, _ = (value / _FACE_PX for value in one)
    x2, y2, size2, _ = (value / _FACE_PX for value in other)
    low, high = _EYE_COLUMNS
    placed = low <= x1 <= high and low <= 1.0 - x2 <= high and all(_EYE_ROWS[0] <= y <= _EYE_ROWS[1] for y in (y1, y2))
    distance = x2 - x1
    return (
        placed
        and _EYE_DISTANCE[0] <= distance <= _EYE_DISTANCE[1]
        and abs(y2 - y1) <= _STEEPEST_ROLL * distance
        and 0.5 <= size1 / size2 <= 2.0
    )


def _pupil(face: NDArray[np.uint8], x: float, y: float) -> Point:
    """Centre of the iris near an eye's middle: where most image gradients point away from, and dark.

    Timm and Barth, Accurate eye centre localisation by means of gradients, VISAPP 2011.
    """
    left, top = max(0, round(x) - 2 * _IRIS_PX), max(0, round(y) - 2 * _IRIS_PX)
    smooth = cv2.GaussianBlur(face, (0, 0), 1.5).astype(np.float64)
    window = slice(top, round(y) + 2 * _IRIS_PX + 1), slice(left, round(x) + 2 * _IRIS_PX + 1)
    slope_x, slope_y = (cv2.Sobel(smooth, cv2.CV_64F, *order)[window] for order in ((1, 0), (0, 1)))
    steepness = np.hypot(slope_x, slope_y)
    steep = steepness > np.percentile(steepness, 70.0)
    edge_y, edge_x = np.nonzero(steep)
    row, column = np.mgrid[: steep.shape[0], : steep.shape[1]]
    away_x, away_y = edge_x - column[..., None], edge_y - row[..., None]
    length = np.hypot(away_x, away_y) + 1e-9
    outward = np.maximum((away_x * slope_x[steep] + away_y * slope_y[steep]) / (length * steepness[steep]), 0.0)
    votes = (outward**2 * ((length > 0.5 * _IRIS_PX) & (length < 1.6 * _IRIS_PX))).sum(axis=-1)
    votes *= 255.0 - smooth[window]
    votes *= np.exp(-0.5 * (((column + left - x) / 6.0) ** 2 + ((row + top - y) / 4.0) ** 2))
    best_row, best_column = np.unravel_index(int(np.argmax(votes)), votes.shape)
    return float(left + best_column), float(top + best_row)


def _inside(box: NDArray[np.floating], shape: tuple[int, ...]) -> Box:
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(shape[1], round(box[0] + box[2])), min(shape[0], round(box[1] + box[3]))
    return left, top, right - left, bottom - top


def _resized(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    kind = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=kind), np.uint8)


def _classifier(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(_CASCADES / name))
