"""Cameras and poses: projection and its inverse, pixel centre = integer, world to camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

FloatArray = NDArray[np.float64]

# COLMAP camera models understood here: number of focal lengths and of distortion parameters.
_MODELS = {"SIMPLE_PINHOLE": (1, 0), "PINHOLE": (2, 0), "SIMPLE_RADIAL": (1, 1), "RADIAL": (1, 2), "OPENCV": (2, 4)}

# Rotations printed with six digits are orthonormal to 1e-5; a wrong matrix is far off.
_ORTHONORMAL = 1e-3
_LEAST_PARALLAX = 1e-4  # squared sine of the angle between rays; below about half a degree they do not meet anywhere


@dataclass(frozen=True)
class Camera:
    """Intrinsics in COLMAP's parameter order, with the centre of the first pixel at (0, 0).

    Raises:
        PorePatchError: if the model is not supported or has another number of parameters.
    """

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in _MODELS:
            raise PorePatchError(f"Camera model '{self.model}' is not supported; use one of {', '.join(_MODELS)}.")
        focals, distortions = _MODELS[self.model]
        if len(self.params) != focals + 2 + distortions:
            raise PorePatchError(f"Camera model {self.model} takes {focals + 2 + distortions} parameters, got {self.params}.")

    @property
    def focal_px(self) -> tuple[float, float]:
        """Focal lengths (fx, fy) in pixels."""
        return (self.params[0], self.params[1] if _MODELS[self.model][0] == 2 else self.params[0])

    @property
    def principal_point_px(self) -> tuple[float, float]:
        """Principal point (cx, cy) in pixels, pixel centre = integer."""
        first = _MODELS[self.model][0]
        return (self.params[first], self.params[first + 1])

    @property
    def distortion(self) -> tuple[float, float, float, float]:
        """Distortion (k1, k2, p1, p2) of OpenCV's model, zeros where the model has none."""
        first = _MODELS[self.model][0] + 2
        k1, k2, p1, p2 = (*self.params[first:], 0.0, 0.0, 0.0, 0.0)[:4]
        return (k1, k2, p1, p2)


@dataclass(frozen=True)
class Pose:
    """World to camera: x_camera = rotation (3x3) @ x_world + translation (3,)."""

    rotation: FloatArray
    translation: FloatArray

    @property
    def centre(self) -> FloatArray:
        """Camera centre in world coordinates, (3,)."""
        return -self.rotation.T @ self.translation

    def to_camera(self, points: FloatArray) -> FloatArray:
        """Take world points (N,3) to camera coordinates (N,3)."""
        return points @ self.rotation.T + self.translation

    def to_world(self, points: FloatArray) -> FloatArray:
        """Take camera points (N,3) to world coordinates (N,3)."""
        return (points - self.translation) @ self.rotation


def checked_rotation(matrix: FloatArray, where: str) -> FloatArray:
    """Return the rotation (3,3) nearest to a matrix (3,3) printed with few digits; `where` names it in the error sentence.

    Raises:
        PorePatchError: if the matrix holds NaN or infinity, is not orthonormal to 1e-3, or mirrors (negative determinant).
    """
    orthonormal = np.abs(matrix @ matrix.T - np.eye(3)).max() <= _ORTHONORMAL if np.isfinite(matrix).all() else False
    if not orthonormal or np.linalg.det(matrix) < 0.0:
        raise PorePatchError(f"The rotation of {where} is no rotation matrix; give world to camera, row by row.")
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right, np.float64)


def turn_camera(camera: Camera, quarters: int) -> Camera:
    """Return the camera of an image that was turned clockwise by `quarters` of 90 degrees.

    Pixel (x, y) of an image of height H goes to (H - 1 - y, x); so do the principal point and the normalised coordinates,
    (x, y) -> (-y, x), which exchanges the focal lengths and takes tangential distortion (p1, p2) to (p2, -p1).
    """
    for _ in range(quarters % 4):
        (fx, fy), (cx, cy), (k1, k2, p1, p2) = camera.focal_px, camera.principal_point_px, camera.distortion
        focals, distortions = _MODELS[camera.model]
        params = (*(fy, fx)[:focals], camera.height - 1 - cy, cx, *(k1, k2, p2, -p1)[:distortions])
        camera = Camera(camera.model, camera.height, camera.width, params)
    return camera


def turn_pose(pose: Pose, quarters: int) -> Pose:
    """Return the pose of a camera whose image was turned clockwise by `quarters` of 90 degrees (about its optical axis)."""
    turn = np.linalg.matrix_power(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), quarters % 4)
    return Pose(turn @ pose.rotation, turn @ pose.translation)


def distort(camera: Camera, normalised: FloatArray) -> FloatArray:
    """Apply the camera's distortion to normalised image coordinates (N,2)."""
    k1, k2, p1, p2 = camera.distortion
    x, y = normalised[:, 0], normalised[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + k2 * r2)
    return np.stack(
        [
            x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
            y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
        ],
        axis=1,
    )


def undistort(camera: Camera, distorted: FloatArray, iterations: int = 20) -> FloatArray:
    """Invert `distort` for normalised coordinates (N,2) by fixed-point iteration."""
    if not any(camera.distortion):
        return distorted.copy()
    normalised = distorted.copy()
    for _ in range(iterations):
        normalised += distorted - distort(camera, normalised)
    return normalised


def project(camera: Camera, pose: Pose, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Project world points (N,3). Returns pixels (N,2) and depth along the optical axis (N,).

    Points at or behind the camera get NaN pixels.
    """
    local = pose.to_camera(points)
    depth = local[:, 2]
    in_front = np.where(depth > 0.0, depth, np.nan)
    normalised = distort(camera, local[:, :2] / in_front[:, None])
    return normalised * np.array(camera.focal_px) + np.array(camera.principal_point_px), depth


def rays(camera: Camera, pixels: FloatArray) -> FloatArray:
    """Return camera-frame viewing rays (N,3) with z = 1 through pixels (N,2)."""
    centred = (pixels - np.array(camera.principal_point_px)) / np.array(camera.focal_px)
    return np.concatenate([undistort(camera, centred), np.ones((len(pixels), 1))], axis=1)


def unproject(camera: Camera, pose: Pose, pixels: FloatArray, depth: FloatArray) -> FloatArray:
    """Return the world points (N,3) seen at pixels (N,2) with z-depth (N,)."""
    return pose.to_world(rays(camera, pixels) * depth[:, None])


def nearest_to_rays(origins: FloatArray, directions: FloatArray) -> FloatArray | None:
    """Return the point (3,) with the least sum of squared distances to lines; None where they are nearly parallel or one.

    Args:
        origins: (N,3), a point on every line.
        directions: (N,3), of any length above 0.

    The normal equations are sum (I - d d^T) p = sum (I - d d^T) o with unit directions d.
    """
    if len(origins) < 2:
        return None
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    across = np.eye(3) - units[:, :, None] * units[:, None, :]
    total = across.sum(axis=0)
    if np.linalg.eigvalsh(total)[0] < _LEAST_PARALLAX:
        return None
    return np.asarray(np.linalg.solve(total, np.einsum("nij,nj->i", across, origins)), np.float64)


def angles_between(one: FloatArray, two: FloatArray) -> FloatArray:
    """Return the angles (N,) in radians between vectors (N,3)."""
    # atan2 keeps small angles, which acos of a dot product loses.
    return np.arctan2(np.linalg.norm(np.cross(one, two), axis=1), np.einsum("ij,ij->i", one, two))


def largest_angles(point: NDArray[np.int64], ray: FloatArray, kept: NDArray[np.bool_]) -> FloatArray:
    """Return for every observation (M,) the largest angle (rad) between two kept rays of its point, 0 below two rays."""
    _, group = np.unique(point, return_inverse=True)
    largest = np.zeros(len(point))
    row = np.flatnonzero(kept)
    for step in range(1, len(row)):
        first, second = row[:-step], row[step:]
        same = group[first] == group[second]
        if not same.any():
            break
        first, second = first[same], second[same]
        angle = angles_between(ray[first], ray[second])
        np.maximum.at(largest, group[first], angle)
    return largest[group]
