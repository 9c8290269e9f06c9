"""The geometry of one pair of views, as COLMAP estimates it from putative matches, in our conventions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.geometry import FloatArray
from porepatch_lib.sfm.colmap import to_colmap_camera, to_colmap_pixels
from porepatch_lib.sfm.settings import SfmSettings

Kind = Literal["essential", "fundamental", "homography"]

_PLANAR = (
    pycolmap.TwoViewGeometryConfiguration.PLANAR,
    pycolmap.TwoViewGeometryConfiguration.PANORAMIC,
    pycolmap.TwoViewGeometryConfiguration.PLANAR_OR_PANORAMIC,
)


@dataclass(frozen=True)
class TwoViewGeometry:
    """The verified geometry of views 1 and 2.

    `kind` and `matrix` (3,3): "essential", ray_2^T E ray_1 = 0 for undistorted rays with z = 1; "fundamental",
    (x_2, y_2, 1) F (x_1, y_1, 1)^T = 0, or "homography", (x_2, y_2, 1) ~ H (x_1, y_1, 1), for pixels as photographed, pixel
    centre = integer. `inliers` (M,) bool: which putative matches agree with it.
    """

    kind: Kind
    matrix: FloatArray
    inliers: NDArray[np.bool_]


def estimate_two_view(
    view_1: View, view_2: View, xy_1: NDArray[Any], xy_2: NDArray[Any], settings: SfmSettings, seed: int
) -> TwoViewGeometry | None:
    """Estimate the geometry of two views from putative matches (RANSAC on E, F and H, as the sfm stage verifies them).

    E where both focal lengths are more than a guess, F where not, H where the matches lie on one plane or the camera only turned.
    The same seed gives the same geometry.

    Args:
        view_1, view_2: the views with their cameras.
        xy_1, xy_2: (M,2) pixels of the two keypoints of every match, pixel centre = integer.
        settings: thresholds of the verification.
        seed: of RANSAC.

    Returns None where fewer than `settings.min_inliers` matches agree.
    """
    if len(xy_1) < settings.min_inliers:
        return None
    cameras = [to_colmap_camera(view.camera, view.camera_id, view.focal_is_prior) for view in (view_1, view_2)]
    pixels = [to_colmap_pixels(np.asarray(xy, np.float64)) for xy in (xy_1, xy_2)]
    pairs = np.repeat(np.arange(len(xy_1), dtype=np.uint32)[:, None], 2, axis=1)
    found = pycolmap.estimate_two_view_geometry(
        cameras[0], pixels[0], cameras[1], pixels[1], pairs, two_view_options(settings, seed)
    )
    inliers = np.zeros(len(xy_1), bool)
    inliers[np.asarray(found.inlier_matches, np.int64).reshape(-1, 2)[:, 0]] = True
    if np.count_nonzero(inliers) < settings.min_inliers:
        return None
    return _converted(found, inliers)


def two_view_options(settings: SfmSettings, seed: int) -> pycolmap.TwoViewGeometryOptions:
    """Return COLMAP's options of geometric verification; `seed` is that of RANSAC."""
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = settings.min_inliers
    options.ransac.max_error = settings.max_error_px
    options.ransac.confidence = settings.confidence
    options.ransac.random_seed = seed
    return options


def _converted(found: pycolmap.TwoViewGeometry, inliers: NDArray[np.bool_]) -> TwoViewGeometry | None:
    """Return COLMAP's geometry for pixels with our origin; None where it is of another kind (as a watermark)."""
    kind = pycolmap.TwoViewGeometryConfiguration(found.config)
    shift = np.eye(3)
    shift[:2, 2] = to_colmap_pixels(np.zeros((1, 2)))[0]
    if kind in _PLANAR:
        return TwoViewGeometry("homography", np.linalg.inv(shift) @ np.asarray(found.H, np.float64) @ shift, inliers)
    if kind == pycolmap.TwoViewGeometryConfiguration.CALIBRATED:
        return TwoViewGeometry("essential", np.asarray(found.E, np.float64), inliers)
    if kind == pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED:
        return TwoViewGeometry("fundamental", shift.T @ np.asarray(found.F, np.float64) @ shift, inliers)
    return None
