"""First planes of patch match, from the sparse points of a view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError, cKDTree

from porepatch_lib.geometry import FloatArray

Planes = NDArray[np.float32]

_NEIGHBOURS = 8
_OUTLIER = 4.0  # times the median deviation of a point's neighbours
_LEAST_POINTS = 4


def initial_planes(pixels: FloatArray, depth: FloatArray, shape: tuple[int, int]) -> Planes:
    """Return planes (H,W,3): inverse depth and its derivatives in x and y per pixel, through sparse points.

    The inverse depth of a plane is linear in the image, so a triangulation of the points in the image is a surface of planes.
    Beyond their hull every pixel takes the inverse depth of the nearest point.

    Args:
        pixels: (N,2) of the points, N >= 1.
        depth: (N,) their z-depth.
        shape: (H, W).
    """
    kept = _not_outlying(pixels, 1.0 / depth)
    pixels, inverse = pixels[kept], 1.0 / depth[kept]
    rows, columns = np.indices(shape)
    places = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
    planes = np.zeros((len(places), 3))
    planes[:, 0] = inverse[cKDTree(pixels).query(places)[1]]
    triangulation = _triangulate(pixels)
    if triangulation is not None:
        triangle = triangulation.find_simplex(places)
        inside = triangle >= 0
        planes[inside] = _on_triangles(triangulation.simplices, pixels, inverse, triangle[inside], places[inside])
    return planes.reshape(*shape, 3).astype(np.float32)


def _triangulate(pixels: FloatArray) -> Delaunay | None:
    if len(pixels) < _LEAST_POINTS:
        return None
    try:
        return Delaunay(pixels)
    except QhullError:  # all on one line
        return None


def _on_triangles(
    simplices: NDArray[np.int32], pixels: FloatArray, inverse: FloatArray, triangle: NDArray[np.int32], places: FloatArray
) -> FloatArray:
    corners = pixels[simplices]  # (T,3,2)
    edges = corners[:, 1:] - corners[:, :1]
    rise = inverse[simplices[:, 1:]] - inverse[simplices[:, :1]]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    area = np.where(np.abs(area) < 1e-9, np.inf, area)
    slope = np.stack(
        [
            (rise[:, 0] * edges[:, 1, 1] - rise[:, 1] * edges[:, 0, 1]) / area,
            (rise[:, 1] * edges[:, 0, 0] - rise[:, 0] * edges[:, 1, 0]) / area,
        ],
        axis=1,
    )
    offset = places - corners[triangle, 0]
    height = inverse[simplices[triangle, 0]] + np.einsum("ij,ij->i", slope[triangle], offset)
    return np.concatenate([height[:, None], slope[triangle]], axis=1)


def _not_outlying(pixels: FloatArray, inverse: FloatArray) -> NDArray[np.bool_]:
    """Mark points whose inverse depth is near the median of their neighbours in the image."""
    if len(pixels) <= _NEIGHBOURS:
        return np.ones(len(pixels), bool)
    around = cKDTree(pixels).query(pixels, k=_NEIGHBOURS + 1)[1][:, 1:]
    middle = np.median(inverse[around], axis=1)
    spread = np.median(np.abs(inverse[around] - middle[:, None]), axis=1)
    return np.abs(inverse - middle) <= _OUTLIER * np.maximum(spread, np.median(spread))
