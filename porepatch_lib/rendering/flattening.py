"""A map of a curved surface to the plane that keeps lengths as well as it can, and its inverse.

As-rigid-as-possible parametrisation: L. Liu et al., "A local/global approach to mesh parameterization", SGP 2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import RectBivariateSpline
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]


def grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Return the triangles (M,3) of a grid whose vertices are counted along rows, rows upwards: counter-clockwise."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None, :]).ravel()
    lower_right = np.stack([first, first + 1, first + columns + 1], axis=1)
    upper_left = np.stack([first, first + columns + 1, first + columns], axis=1)
    return np.stack([lower_right, upper_left], axis=1).reshape(-1, 3).astype(np.int32)


def flatten(
    vertices: FloatArray,
    triangles: NDArray[np.int32],
    start: FloatArray,
    fixed: NDArray[np.bool_],
    weight: FloatArray,
    iterations: int = 30,
) -> FloatArray:
    """Return plane coordinates (N,2) of vertices (N,3) that keep lengths best where `weight` (M,) of the triangles is large.

    `start` (N,2) is the first guess; vertices where `fixed` (N,) stay at it. At least one vertex must be fixed.
    """
    edges, cotangents = _edges_in_plane(vertices, triangles)
    cotangents = np.maximum(cotangents, 0.05) * weight[:, None]
    tails, heads = triangles, np.roll(triangles, -1, axis=1)
    count = len(vertices)
    laplacian = _symmetric(tails, heads, cotangents, count)
    free = ~fixed
    solve = splu(laplacian[free][:, free].tocsc()).solve
    from_fixed = laplacian[free][:, fixed] @ start[fixed]
    plane = start.copy()
    for _ in range(iterations):
        turned = np.einsum("mij,mej->mei", _rotations(plane[heads] - plane[tails], edges, cotangents), edges)
        flow = (cotangents[..., None] * turned).reshape(-1, 2)
        right = np.stack(
            [np.bincount(heads.ravel(), column, count) - np.bincount(tails.ravel(), column, count) for column in flow.T], axis=1
        )
        plane[free] = solve(right[free] - from_fixed)
    return plane


def invert(a: FloatArray, b: FloatArray, plane: FloatArray, targets: FloatArray, iterations: int = 12) -> FloatArray:
    """Return the parameters (K,2) that a smooth map takes to `targets` (K,2); `plane` (len(a), len(b), 2) samples the map."""
    splines = [RectBivariateSpline(a, b, plane[..., axis]) for axis in range(2)]
    nearest = cKDTree(plane.reshape(-1, 2)).query(targets)[1]
    found = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)[nearest]
    for _ in range(iterations):
        error = targets - np.stack([spline.ev(*found.T) for spline in splines], axis=1)
        jacobian = np.stack([[spline.ev(*found.T, dx=1), spline.ev(*found.T, dy=1)] for spline in splines])
        step = np.linalg.solve(jacobian.transpose(2, 0, 1), error[..., None])[..., 0]
        found += np.clip(step, -0.02, 0.02)
        found = np.clip(found, [a[0], b[0]], [a[-1], b[-1]])
    return found


def _edges_in_plane(vertices: FloatArray, triangles: NDArray[np.int32]) -> tuple[FloatArray, FloatArray]:
    """Return each triangle's edges 0-1, 1-2, 2-0 laid in its plane (M,3,2), and the cotangents of the angles opposite (M,3)."""
    corner = vertices[triangles]
    edge = np.roll(corner, -1, axis=1) - corner
    normal = np.cross(edge[:, 0], -edge[:, 2])
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    first = edge[:, 0] / np.linalg.norm(edge[:, 0], axis=1, keepdims=True)
    second = np.cross(normal / area, first)
    plane = np.stack([np.einsum("mej,mj->me", edge, axis) for axis in (first, second)], axis=-1)
    cotangents = np.stack([-np.einsum("mj,mj->m", edge[:, (e + 1) % 3], edge[:, (e + 2) % 3]) for e in range(3)], axis=1) / area
    return plane, cotangents


def _rotations(flat: FloatArray, edges: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the rotation (M,2,2) per triangle that turns its own edges best into the flattened ones."""
    covariance = np.einsum("me,mei,mej->mij", weights, flat, edges)
    cosine = covariance[:, 0, 0] + covariance[:, 1, 1]
    sine = covariance[:, 1, 0] - covariance[:, 0, 1]
    length = np.maximum(np.hypot(cosine, sine), 1e-12)
    cosine, sine = cosine / length, sine / length
    return np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)


def _symmetric(tails: NDArray[np.int32], heads: NDArray[np.int32], weights: FloatArray, count: int) -> sparse.csr_matrix:
    """Return the graph Laplacian (count, count)."""
    i, j, w = tails.ravel(), heads.ravel(), weights.ravel()
    adjacency = sparse.coo_matrix((np.tile(w, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(count, count)).tocsr()
    return sparse.diags(np.asarray(adjacency.sum(axis=1)).ravel()).tocsr() - adjacency
