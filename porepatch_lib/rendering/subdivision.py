"""Catmull-Clark subdivision of a mesh of triangles and quadrilaterals, as one sparse matrix from coarse to fine vertices.

E. Catmull, J. Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978; borders are cubic
B-splines of their own. Meshes that share their faces, such as a surface and its texture, stay in step: face i of one is face i
of the other at every level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

Faces = NDArray[np.int32]


def subdivide(faces: Faces, count: int, levels: int) -> tuple[sparse.csr_matrix, Faces]:
    """Return the matrix (N', count) from coarse vertices to fine ones and the fine faces (F',4), all of four corners.

    faces (F,4) int32: corners in order around each face; -1 in the last column for a triangle. The first `count` fine
    vertices are the coarse ones, smoothed; a vertex that no face uses stays where it is. `levels` 0 keeps a mesh as it is.
    """
    matrix = sparse.identity(count, format="csr")
    for _ in range(levels):
        step, faces = _subdivide_once(faces, matrix.shape[0])
        matrix = (step @ matrix).tocsr()
    return matrix, faces


def triangulate(faces: Faces) -> NDArray[np.int32]:
    """Return the triangles (M,3) of faces (F,4); those with four corners are halved between their first and third."""
    halves = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    return halves[halves[:, 2] >= 0]


def boundary_loops(faces: Faces) -> list[NDArray[np.int32]]:
    """Return the borders of a mesh, the longest first: the vertices of each in the order of the missing face's corners."""
    tails, heads = _half_edges(faces)
    count = int(faces.max()) + 1
    edge, index = np.unique(_undirected(tails, heads, count), return_inverse=True)
    single = np.bincount(index, minlength=len(edge))[index] == 1
    after = np.full(count, -1, np.int32)
    after[heads[single]] = tails[single]  # the missing face runs along its border the other way round
    border = np.flatnonzero(after >= 0)
    graph = sparse.coo_matrix((np.ones(len(border)), (border, after[border])), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    loops = [_follow(after, int(start)) for start in border[np.unique(label[border], return_index=True)[1]]]
    return sorted(loops, key=len, reverse=True)


def fans(loops: Sequence[NDArray[np.integer]], count: int) -> tuple[sparse.csr_matrix, NDArray[np.int32]]:
    """Return what closes loops of borders: the matrix (count + loops, count) that appends their middles, and triangles (M,3)."""
    rows = [_matrix(np.zeros_like(loop), loop, 1.0 / len(loop), (1, count)) for loop in loops]
    triangles = [
        np.stack([loop, np.roll(loop, -1), np.full(len(loop), count + index)], axis=1).astype(np.int32)
        for index, loop in enumerate(loops)
    ]
    matrix = sparse.vstack([sparse.identity(count, format="csr"), *rows]).tocsr()
    return matrix, np.concatenate([np.empty((0, 3), np.int32), *triangles])


def _follow(after: NDArray[np.int32], start: int) -> NDArray[np.int32]:
    loop = [start]
    while after[loop[-1]] >= 0 and after[loop[-1]] != start and len(loop) < len(after):
        loop.append(int(after[loop[-1]]))
    return np.array(loop, np.int32)


def _half_edges(faces: Faces) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return tails and heads of all edges, face by face."""
    following = np.roll(faces, -1, axis=1)
    triangle = faces[:, 3] < 0
    following[triangle, 2] = faces[triangle, 0]
    used = faces >= 0
    return faces[used], following[used]


def _undirected(tails: NDArray[np.int32], heads: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    low, high = np.minimum(tails, heads).astype(np.int64), np.maximum(tails, heads).astype(np.int64)
    return np.asarray(low * count + high)


def _subdivide_once(faces: Faces, count: int) -> tuple[sparse.csr_matrix, Faces]:
    """Return the matrix (count + edges + faces, count) and the new faces, one per old corner."""
    tails, heads = _half_edges(faces)
    corners = (faces >= 0).sum(axis=1)
    face_of = np.repeat(np.arange(len(faces)), corners)
    keys, edge_of = np.unique(_undirected(tails, heads, count), return_inverse=True)
    ends = np.stack([keys // count, keys % count], axis=1)
    uses = np.bincount(edge_of, minlength=len(keys))

    face_points = _matrix(face_of, tails, 1.0 / corners[face_of], (len(faces), count))
    midpoints = _matrix(np.repeat(np.arange(len(keys)), 2), ends.ravel(), 0.5, (len(keys), count))
    beside = _matrix(edge_of, face_of, 0.5, (len(keys), len(faces))) @ face_points
    inside = uses == 2
    edge_points = _scaled(midpoints, np.where(inside, 0.5, 1.0)) + _scaled(beside, np.where(inside, 0.5, 0.0))
    vertex_points = _vertex_points(ends, uses, tails, face_of, face_points, midpoints)

    before = _edge_before(face_of, edge_of)
    children = np.stack([tails, count + edge_of, count + len(keys) + face_of, count + before], axis=1)
    return sparse.vstack([vertex_points, edge_points, face_points]).tocsr(), children.astype(np.int32)


def _vertex_points(
    ends: NDArray[np.int64],
    uses: NDArray[np.int64],
    tails: NDArray[np.int32],
    face_of: NDArray[np.int64],
    face_points: sparse.csr_matrix,
    midpoints: sparse.csr_matrix,
) -> sparse.csr_matrix:
    """Return the matrix (count, count) that moves the old vertices."""
    count = face_points.shape[1]
    edge = np.repeat(np.arange(len(ends)), 2)
    valence = np.bincount(ends.ravel(), minlength=count)
    n = np.maximum(valence, 1)
    around_faces = _matrix(tails, face_of, 1.0, (count, len(face_points.indptr) - 1)) @ face_points
    around_edges = _matrix(ends.ravel(), edge, 1.0, (count, len(ends))) @ midpoints
    border_edges = np.flatnonzero(uses != 2)
    on_border = np.bincount(ends[border_edges].ravel(), minlength=count)
    along_border = _matrix(ends[border_edges].ravel(), np.repeat(border_edges, 2), 0.5, (count, len(ends))) @ midpoints
    smooth = (on_border == 0) & (valence > 2)
    curve = on_border == 2
    keep = np.where(smooth, (n - 3.0) / n, np.where(curve, 0.5, 1.0))
    return (
        sparse.diags(keep)
        + _scaled(around_faces, np.where(smooth, 1.0 / n**2, 0.0))
        + _scaled(around_edges, np.where(smooth, 2.0 / n**2, 0.0))
        + _scaled(along_border, np.where(curve, 0.5, 0.0))
    )


def _edge_before(face_of: NDArray[np.int64], edge_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for every corner the edge that ends there."""
    before = np.roll(edge_of, 1)
    first = np.flatnonzero(np.diff(face_of, prepend=-1))
    before[first] = edge_of[np.append(first[1:], len(face_of)) - 1]
    return before


def _matrix(row: NDArray[np.integer], column: NDArray[np.integer], value: object, shape: tuple[int, int]) -> sparse.csr_matrix:
    values = np.broadcast_to(np.asarray(value, np.float64), row.shape)
    return sparse.coo_matrix((values, (row, column)), shape=shape).tocsr()


def _scaled(matrix: sparse.csr_matrix, rows: NDArray[np.float64]) -> sparse.csr_matrix:
    return sparse.diags(rows) @ matrix
