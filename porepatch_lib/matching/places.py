"""Which place of the surface a keypoint shows, by a sparse model: the surface between the model's points is taken for smooth.

The inverse depth of a plane is linear in undistorted pixels, so a plane is fitted to the inverse depths of the sparse points
around a keypoint, those that disagree counting less (Tukey's weights).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from porepatch_lib.geometry import FloatArray, project, unproject
from porepatch_lib.robust import MAD_TO_SIGMA, TUKEY, tukey_weights
from porepatch_lib.sfm.model import SparseModel

_NEIGHBOURS = 12
_LEAST_NEIGHBOURS = 4
_ROUNDS = 6
_STIFFNESS = 1e-6  # keeps the plane level across neighbours on a line


def surface_points(model: SparseModel, image_id: int, xy: FloatArray, reach_px: float) -> FloatArray:
    """Return the points (N,3) in world units that a registered view shows at pixels xy (N,2).

    NaN where fewer than four of the points that the view observes lie within `reach_px`.
    """
    camera, pose = model.cameras[image_id], model.poses[image_id]
    seen, depth = project(camera, pose, model.xyz[np.unique(model.observed_point[model.image_id == image_id])])
    seen, inverse = seen[depth > 0.0], 1.0 / depth[depth > 0.0]
    if len(seen) < _LEAST_NEIGHBOURS or len(xy) == 0:
        return np.full((len(xy), 3), np.nan)
    distance, row = cKDTree(seen).query(xy, k=min(_NEIGHBOURS, len(seen)), distance_upper_bound=reach_px)
    near = np.isfinite(distance)
    row = np.where(near, row, 0)
    offset = np.where(near[..., None], (seen[row] - xy[:, None]) / reach_px, 0.0)
    weight = 1.0 - np.where(near, distance / reach_px, 1.0) ** 2
    fitted = _values_at_origin(offset, np.where(near, inverse[row], 0.0), weight, near)
    known = (near.sum(axis=1) >= _LEAST_NEIGHBOURS) & (fitted > 0.0)
    return unproject(camera, pose, xy, np.divide(1.0, fitted, out=np.full(len(xy), np.nan), where=known))


def _values_at_origin(offset: FloatArray, values: FloatArray, weight: FloatArray, near: NDArray[np.bool_]) -> FloatArray:
    """Return the values (N,) at the origin of planes fitted to `near` values (N,K) at offsets (N,K,2) by reweighted squares."""
    design = np.concatenate([np.ones((*values.shape, 1)), offset], axis=2)
    plane = np.zeros((len(values), 3))
    plane[:, 0] = _medians(values, near)  # a level plane to start with: strays tilt one by least squares
    for _ in range(_ROUNDS):
        residual = np.abs(values - np.einsum("nki,ni->nk", design, plane))
        cut_off = TUKEY * MAD_TO_SIGMA * _medians(residual, near)[:, None]
        weighted = design * (weight * tukey_weights(residual, cut_off))[..., None]
        normal = np.einsum("nki,nkj->nij", weighted, design) + np.diag([_STIFFNESS**2, _STIFFNESS, _STIFFNESS])
        plane = np.linalg.solve(normal, np.einsum("nki,nk->ni", weighted, values)[..., None])[..., 0]
    return np.asarray(plane[:, 0])


def _medians(values: FloatArray, counted: NDArray[np.bool_]) -> FloatArray:
    """Return the lower medians (N,) of the counted values of every row (N,K); 0 where none counts."""
    ordered = np.sort(np.where(counted, values, np.inf), axis=1)
    middle = np.maximum(counted.sum(axis=1) - 1, 0) // 2
    return np.where(counted.any(axis=1), ordered[np.arange(len(values)), middle], 0.0)
