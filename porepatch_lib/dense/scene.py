"""Undistorted views as patch match takes them: pinhole cameras, images of limited size, masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, load_colour, load_mask
from porepatch_lib.geometry import Camera, FloatArray, Pose, distort

Colour = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DenseView:
    """One undistorted view: PINHOLE camera (pixel centre = integer), BGR image (H,W,3) uint8, where to find depth (H,W)."""

    image_id: int
    camera: Camera
    pose: Pose
    image: Colour
    mask: Mask

    @property
    def matrix(self) -> FloatArray:
        """Calibration matrix (3,3)."""
        return calibration(self.camera)

    @property
    def grey(self) -> NDArray[np.float32]:
        """Grey values (H,W), 0..255."""
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_BGR2GRAY), np.float32)


def calibration(camera: Camera) -> FloatArray:
    """Return the calibration matrix (3,3) of a camera, without its distortion."""
    (fx, fy), (cx, cy) = camera.focal_px, camera.principal_point_px
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def shrunk_size(camera: Camera, max_px: int) -> tuple[int, int]:
    """Return (width, height) of an image whose longer side is at most `max_px`; never larger than it was."""
    return scaled_size(camera, min(1.0, max_px / max(camera.width, camera.height)))


def scaled_size(camera: Camera, factor: float) -> tuple[int, int]:
    """Return (width, height) of an image scaled by a factor, at least one pixel."""
    return max(1, round(camera.width * factor)), max(1, round(camera.height * factor))


def scaled_camera(camera: Camera, size: tuple[int, int]) -> Camera:
    """Return the camera, distortion left out, of its image scaled to (width, height) as area averaging does it.

    Pixel borders stay on pixel borders, so a centre x goes to (x + 1/2) s - 1/2.
    """
    sx, sy = size[0] / camera.width, size[1] / camera.height
    (fx, fy), (cx, cy) = camera.focal_px, camera.principal_point_px
    return Camera("PINHOLE", size[0], size[1], (fx * sx, fy * sy, (cx + 0.5) * sx - 0.5, (cy + 0.5) * sy - 0.5))


def undistorted_view(view: View, camera: Camera, pose: Pose, max_px: int) -> DenseView:
    """Load a view and take the distortion of `camera`, as it was reconstructed, out of its image and mask.

    Focal lengths and principal point stay; pixels that come from outside the photograph are masked.

    Raises:
        PorePatchError: if the photograph or its mask cannot be read.
    """
    size = shrunk_size(camera, max_px)
    image: NDArray[Any] = load_colour(view)
    mask = load_mask(view)
    kept: NDArray[Any] = np.full(image.shape[:2], 255, np.uint8) if mask is None else mask
    if size != (camera.width, camera.height):
        image, kept = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (image, kept))
    pinhole = scaled_camera(camera, size)
    if any(camera.distortion):
        columns, rows = _distorted_places(camera, pinhole)
        image = cv2.remap(image, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        kept = cv2.remap(kept, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return DenseView(view.image_id, pinhole, pose, np.asarray(image, np.uint8), np.asarray(kept) > 127)


def _distorted_places(camera: Camera, pinhole: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows, each (H,W), of the distorted image of the same size at which the undistorted pixels lie."""
    (fx, fy), (cx, cy) = pinhole.focal_px, pinhole.principal_point_px
    x, y = np.meshgrid((np.arange(pinhole.width) - cx) / fx, (np.arange(pinhole.height) - cy) / fy)
    places = distort(camera, np.stack([x.ravel(), y.ravel()], axis=1)) * (fx, fy) + (cx, cy)
    columns, rows = np.moveaxis(places.reshape(*x.shape, 2).astype(np.float32), -1, 0)
    return np.ascontiguousarray(columns), np.ascontiguousarray(rows)
