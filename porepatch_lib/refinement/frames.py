"""What the surface around a triangulated point looks like to the views: its normal, and its tangent plane in their pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from porepatch_lib.geometry import FloatArray, project
from porepatch_lib.robust import MAD_TO_SIGMA, TUKEY, tukey_weights
from porepatch_lib.sfm.model import SparseModel, viewing_directions

_SWEEPS = 12  # of reweighting; more change nothing
_EXACT = 1e-9  # spread of points on one plane, in world units: only rounding
_FLATTEST = 0.1  # a patch of surface reaches at least this far across its second direction, as a share of its first
_MOST_TILT_COSINE = 0.15  # a view that sees a plane more grazingly than this (81 degrees) does not see it
_STEP_PX = 1.0  # of the central difference that measures how a plane appears in a view


def surface_normals(model: SparseModel, neighbours: int) -> FloatArray:
    """Return unit normals (P,3) at the points of a model, towards the cameras that see them.

    A plane is fitted to every point's nearest `neighbours` points by total least squares, reweighted by Tukey's biweight of the
    distance to the plane, so that mistriangulated neighbours do not tilt it. Where there are too few neighbours, they lie along
    a line, or a view of the point would see the plane from behind or nearly along it, the normal is the mean direction to the
    views that see the point (fronto-parallel).
    """
    towards = _mean_directions(model)
    count = min(neighbours + 1, len(model.xyz))
    if count < 4:
        return towards
    _, near = cKDTree(model.xyz).query(model.xyz, count)
    normal, is_plane = fit_planes(model.xyz[near])
    normal *= np.where(np.einsum("ij,ij->i", normal, towards) < 0.0, -1.0, 1.0)[:, None]
    steepest = np.full(len(normal), np.inf)
    np.minimum.at(steepest, model.observed_point, np.einsum("ij,ij->i", normal[model.observed_point], viewing_directions(model)))
    return np.where((is_plane & (steepest > _MOST_TILT_COSINE))[:, None], normal, towards)


def fit_planes(points: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Fit planes to sets of points (N,K,3). Returns unit normals (N,3) of either sign, and whether a plane is determined (N,)."""
    weight = np.ones(points.shape[:2])
    for _ in range(_SWEEPS):
        total = weight.sum(axis=1)[:, None]
        centre = np.einsum("nk,nki->ni", weight, points) / total
        centred = points - centre[:, None]
        scatter = np.einsum("nk,nki,nkj->nij", weight, centred, centred) / total[:, :, None]
        variance, axes = np.linalg.eigh(scatter)
        normal = axes[:, :, 0]
        distance = np.abs(np.einsum("nki,ni->nk", centred, normal))
        cut_off = TUKEY * MAD_TO_SIGMA * np.median(distance, axis=1, keepdims=True)
        weight = tukey_weights(distance, np.maximum(cut_off, _EXACT))
    is_plane = (variance[:, 1] > _FLATTEST**2 * variance[:, 2]) & (variance[:, 0] < 0.25 * variance[:, 1])
    return normal, is_plane


def observed_frames(model: SparseModel, normals: FloatArray) -> FloatArray:
    """Return how every observation (M,2,2) sees its point's tangent plane: pixels per world unit, columns two tangents.

    The tangents are the same for all observations of a point, so `frames[j] @ inv(frames[i])` is the affine map from the
    neighbourhood in view i to that in view j which the plane induces. Central differences, so lens distortion is in it.
    """
    first, second = _tangents(normals)
    frames = np.zeros((len(model.image_id), 2, 2))
    for image_id, camera in model.cameras.items():
        rows = np.flatnonzero(model.image_id == image_id)
        point, pose = model.observed_point[rows], model.poses[image_id]
        xyz = model.xyz[point]
        step = (_STEP_PX * pose.to_camera(xyz)[:, 2] / np.mean(camera.focal_px))[:, None]
        for column, tangent in enumerate((first[point], second[point])):
            ahead, _ = project(camera, pose, xyz + step * tangent)
            behind, _ = project(camera, pose, xyz - step * tangent)
            frames[rows, :, column] = (ahead - behind) / (2.0 * step)
    return frames


def _tangents(normals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two unit vectors (P,3) that make a right-handed frame with unit normals (P,3)."""
    helper = np.zeros_like(normals)
    helper[np.arange(len(normals)), np.abs(normals).argmin(axis=1)] = 1.0
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(normals, first)


def _mean_directions(model: SparseModel) -> FloatArray:
    total = np.zeros_like(model.xyz)
    np.add.at(total, model.observed_point, viewing_directions(model))
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), np.float64)
