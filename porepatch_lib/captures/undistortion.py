"""Undistorting frames of a calibrated camera, so that no pixel from outside the frame comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, FloatArray, Pose

Size = tuple[int, int]

# A lens that takes a longer focal length than this to fill the frame is no lens of this model.
_MOST_GROWTH = 2.0
_GROWTH_STEPS = 40
# Maps are float32, and remap rounds places to 1/32 px.
_RIM_TOLERANCE_PX = 1e-2


@dataclass(frozen=True)
class RigCamera:
    """A calibrated camera: K (3,3), OpenCV's distortion (k1 k2 p1 p2 [k3]), frame (width, height) if told, pose in mm."""

    matrix: FloatArray
    distortion: FloatArray
    size: Size | None
    pose: Pose


@dataclass(frozen=True)
class Undistortion:
    """An undistorted frame's camera, and where its pixels lie in the distorted one: columns and rows, each (H,W) float32."""

    camera: Camera
    columns: NDArray[np.float32]
    rows: NDArray[np.float32]

    def apply(self, image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
        """Undistort an image (H,W) or (H,W,3)."""
        return np.asarray(cv2.remap(image, self.columns, self.rows, interpolation, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def pinhole(camera: RigCamera, size: Size) -> Camera:
    """Return the camera without its distortion, for images of (width, height)."""
    k = camera.matrix
    return Camera("PINHOLE", size[0], size[1], (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])))


def undistortion(rig: RigCamera, size: Size, where: str) -> Undistortion:
    """Find the pinhole camera that fills a frame of `size`, and the place of each of its pixels in the distorted frame.

    The focal lengths are the calibration's, or longer by the least factor with which every pixel comes from inside the frame.

    Raises:
        PorePatchError: if no factor up to 2 does, or the distortion folds the frame.
    """
    growth = _least_growth(rig, size)
    grown = replace(rig, matrix=_grown(rig.matrix, growth))
    columns, rows = cv2.initUndistortRectifyMap(rig.matrix, rig.distortion, np.eye(3), grown.matrix, size, cv2.CV_32FC1)
    inside = _is_inside(columns, size[0]) and _is_inside(rows, size[1])
    if not inside or np.any(np.diff(columns, axis=1) <= 0.0) or np.any(np.diff(rows, axis=0) <= 0.0):
        raise PorePatchError(f"The distortion {rig.distortion.tolist()} of {where} does not map its frame; correct it.")
    return Undistortion(pinhole(grown, size), np.asarray(columns, np.float32), np.asarray(rows, np.float32))


def _grown(matrix: FloatArray, growth: float) -> FloatArray:
    return np.array(matrix * [[growth, 1.0, 1.0], [1.0, growth, 1.0], [1.0, 1.0, 1.0]])


def _least_growth(rig: RigCamera, size: Size) -> float:
    """The least factor from 1 on, up to 2, that brings the rim of the undistorted frame inside the distorted one."""
    low, high = 1.0, _MOST_GROWTH
    if _rim_is_inside(rig, low, size):
        return low
    for _ in range(_GROWTH_STEPS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _rim_is_inside(rig, middle, size) else (middle, high)
    return high


def _rim_is_inside(rig: RigCamera, growth: float, size: Size) -> bool:
    columns, rows = np.arange(size[0], dtype=np.float64), np.arange(size[1], dtype=np.float64)
    sides = [(columns, 0.0 * columns), (columns, 0.0 * columns + rows[-1]), (0.0 * rows, rows), (0.0 * rows + columns[-1], rows)]
    pixels = np.concatenate([np.stack(side, axis=1) for side in sides])
    normalised = (pixels - rig.matrix[:2, 2]) / np.diag(_grown(rig.matrix, growth))[:2]
    rays = np.concatenate([normalised, np.ones((len(pixels), 1))], axis=1)
    places = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), rig.matrix, rig.distortion)[0].reshape(-1, 2)
    return _is_inside(places[:, 0], size[0]) and _is_inside(places[:, 1], size[1])


def _is_inside(places: NDArray[Any], length: int) -> bool:
    return bool(np.all((places >= -_RIM_TOLERANCE_PX) & (places <= length - 1.0 + _RIM_TOLERANCE_PX)))
