"""A frame upright in the face: origin between the pupils, x to image-right, y to the chin, unit the distance of the pupils.

The proportions are averages of the four photographs whose outlines lie in `tests/parity/face_outlines`: the face is 2.2 pupil
distances wide, and the chin 1.7 times as far below the eyes as the mouth. Four people are few, so all are but starting points.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.faces import Face, Point
from porepatch_lib.geometry import FloatArray

UNIT_PX = 120.0  # pupil distance in the frame
_LEFT, _TOP = 2.0, 2.1  # extent of the frame, in units
_WIDTH, _HEIGHT = 4.0, 4.8

_EYES_IN_BOX = ((0.30, 0.39), (0.69, 0.39))  # of the Haar face box, where eyes were not found

_HALF_WIDTH = 1.10
_FOREHEAD = 1.75
_JAW_POWER = 2.4
_BROW_POWER = 2.3
_CHIN_OVER_MOUTH = 1.70  # distances below the eyes
_TURNED, _NEAR_GAIN = 0.2, 1.5


@dataclass(frozen=True)
class Frame:
    """Where the face frame lies: `to_image` (2,3) takes frame pixels to image pixels."""

    to_image: FloatArray

    def take(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image as the frame sees it, (H,W,3)."""
        scale = float(np.sqrt(abs(np.linalg.det(self.to_image[:, :2]))))
        if scale > 1.0:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 * float(np.sqrt(scale**2 - 1.0)) + 1e-3), np.uint8)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(image, self.to_image, frame_size(), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
        )

    def put(self, mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return a mask of the frame in an image of `shape` (H,W), with smooth rims; outside the frame it is False."""
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
        placed = cv2.warpAffine(soft, self.to_image, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
        return np.asarray(placed > 0.5)

    def place(self, point: Point) -> FloatArray:
        """Pixel (2,) of the image where a point of the frame, in units, lies."""
        return np.asarray(self.to_image @ [*to_pixels(*np.array(point)), 1.0])

    def find(self, pixel: FloatArray) -> Point:
        """Coordinates in units of a pixel (2,) of the image."""
        x, y = np.linalg.solve(self.to_image[:, :2], pixel - self.to_image[:, 2]) / UNIT_PX
        return float(x) - _LEFT, float(y) - _TOP


def frame_size() -> tuple[int, int]:
    """(width, height) of the frame in pixels."""
    return round(_WIDTH * UNIT_PX), round(_HEIGHT * UNIT_PX)


def coordinates() -> tuple[FloatArray, FloatArray]:
    """Frame coordinates x, y (H,W) of every pixel of the frame, in units."""
    width, height = frame_size()
    y, x = np.mgrid[:height, :width] / UNIT_PX
    return x - _LEFT, y - _TOP


def to_pixels(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Frame coordinates in units as pixels of the frame."""
    return (x + _LEFT) * UNIT_PX, (y + _TOP) * UNIT_PX


def frame_of(face: Face) -> Frame:
    """The frame of a face, by its eyes, or by the box alone where they were not found."""
    left, right = face.eyes or eyes_of_box(face.box)
    unit = np.subtract(right, left) / UNIT_PX
    turn = np.array([[unit[0], -unit[1]], [unit[1], unit[0]]])
    origin = np.add(left, right) / 2.0 - turn @ np.array([_LEFT, _TOP]) * UNIT_PX
    return Frame(np.column_stack([turn, origin]))


def eyes_of_box(box: tuple[int, int, int, int]) -> tuple[Point, Point]:
    """Where the pupils of a Haar face box lie as a rule."""
    first, second = ((box[0] + u * box[2], box[1] + v * box[3]) for u, v in _EYES_IN_BOX)
    return first, second


@dataclass(frozen=True)
class Outline:
    """The average face: its middle's x, half widths to the left and right of it, and the chin's y, in units."""

    x: float
    left: float
    right: float
    chin: float

    @property
    def centre(self) -> Point:
        """A point amid the face, that rays to the outline start from."""
        return self.x, 0.3 * self.chin

    def contains(self, x: FloatArray, y: FloatArray, scale: float = 1.0) -> NDArray[np.bool_]:
        """Whether points lie inside the outline, scaled about its centre.

        Below the eyes the outline is a superellipse to the chin, above them one that a high forehead fits into.
        """
        beside, below = (x - self.x) / scale, self.centre[1] + (y - self.centre[1]) / scale
        width = np.where(beside < 0.0, self.left, self.right)
        width = np.where(below > 0.0, width, np.maximum(width, _HALF_WIDTH))
        height = np.where(below > 0.0, self.chin, _FOREHEAD)
        power = np.where(below > 0.0, _JAW_POWER, _BROW_POWER)
        return np.asarray((np.abs(beside) / width) ** power + (np.abs(below) / height) ** power < 1.0)

    def radius(self, angles_rad: FloatArray) -> FloatArray:
        """Distance from the centre to the outline for every angle (from +x towards the chin), by bisection."""
        low, high = np.zeros_like(angles_rad), np.full_like(angles_rad, 5.0)
        for _ in range(30):
            middle = 0.5 * (low + high)
            inside = self.contains(self.x + middle * np.cos(angles_rad), self.centre[1] + middle * np.sin(angles_rad))
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return low


def usual_outline(mouth: Point) -> Outline:
    """The outline of a face seen from the front, by the middle of its mouth."""
    return Outline(mouth[0], _HALF_WIDTH, _HALF_WIDTH, _CHIN_OVER_MOUTH * mouth[1])


def turned_outline(outline: Outline, left: float, right: float) -> Outline:
    """The outline of a head turned to one side, if skin ends nearer than usual, `left` or `right` of the middle.

    What the far side lacks, the near side shows more of, down to the jaw before the ear.
    """
    lack = [float(np.clip(_HALF_WIDTH - extent, 0.0, 0.55)) for extent in (left, right)]
    if max(lack) < _TURNED:
        return outline
    near = _HALF_WIDTH + _NEAR_GAIN * max(lack)
    widths = (_HALF_WIDTH - lack[0], near) if lack[0] > lack[1] else (near, _HALF_WIDTH - lack[1])
    return Outline(outline.x, *widths, outline.chin)
