"""Our conventions to COLMAP's and back: the one place that knows its half-pixel origin and its identifiers.

COLMAP puts the centre of the first pixel at (0.5, 0.5), we put it at (0, 0). COLMAP counts identifiers from 1, we from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose

_HALF_PIXEL = 0.5
_FIRST_ID = 1
_WARNING = 1
_ERROR = 2


def set_quiet(quiet: bool) -> None:
    """Keep COLMAP's log to errors, or to warnings."""
    pycolmap.logging.minloglevel = _ERROR if quiet else _WARNING


def to_colmap_id(own_id: int) -> int:
    """Return COLMAP's identifier of one of our images or cameras."""
    return int(own_id) + _FIRST_ID


def from_colmap_id(colmap_id: int) -> int:
    """Return our identifier of one of COLMAP's images or cameras."""
    return int(colmap_id) - _FIRST_ID


def to_colmap_pixels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Move pixel positions (N,2) to COLMAP's origin."""
    return pixels + pixels.dtype.type(_HALF_PIXEL)


def from_colmap_pixels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Move pixel positions (N,2) from COLMAP's origin to ours."""
    return pixels - pixels.dtype.type(_HALF_PIXEL)


def to_colmap_camera(camera: Camera, camera_id: int, focal_is_prior: bool) -> pycolmap.Camera:
    """Convert a camera; `camera_id` is ours."""
    converted = pycolmap.Camera(
        model=camera.model,
        width=camera.width,
        height=camera.height,
        params=camera.params,
        camera_id=to_colmap_id(camera_id),
        has_prior_focal_length=focal_is_prior,
    )
    converted.params = _moved(converted, _HALF_PIXEL).tolist()
    return converted


def from_colmap_camera(camera: pycolmap.Camera) -> Camera:
    """Convert a camera back."""
    params = tuple(float(value) for value in _moved(camera, -_HALF_PIXEL))
    return Camera(camera.model.name, camera.width, camera.height, params)


def to_colmap_pose(pose: Pose) -> pycolmap.Rigid3d:
    """Convert a world-to-camera pose."""
    return pycolmap.Rigid3d(pycolmap.Rotation3d(pose.rotation), pose.translation)


def from_colmap_pose(pose: pycolmap.Rigid3d) -> Pose:
    """Convert a world-to-camera pose back."""
    matrix = np.asarray(pose.matrix(), np.float64)
    return Pose(matrix[:, :3].copy(), matrix[:, 3].copy())


def posed_model(views: Sequence[View]) -> pycolmap.Reconstruction:
    """Return a model of posed views without points: a camera is its own rig, an image its own frame, called by the view's name.

    Raises:
        PorePatchError: if a view has no pose.
    """
    model = pycolmap.Reconstruction()
    for view in {view.camera_id: view for view in views}.values():
        model.add_camera_with_trivial_rig(to_colmap_camera(view.camera, view.camera_id, view.focal_is_prior))
    for view in views:
        if view.pose is None:
            raise PorePatchError(f"The view {view.name} has no pose; give the cameras of a calibrated rig.")
        image = pycolmap.Image(name=view.name, camera_id=to_colmap_id(view.camera_id), image_id=to_colmap_id(view.image_id))
        model.add_image_with_trivial_frame(image, to_colmap_pose(view.pose))
    return model


def _moved(camera: pycolmap.Camera, offset_px: float) -> NDArray[np.float64]:
    """Return the camera's parameters with the principal point moved by `offset_px` in x and y."""
    params = np.array(camera.params, np.float64)
    params[list(camera.principal_point_idxs())] += offset_px
    return params
