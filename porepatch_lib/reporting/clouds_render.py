"""Pictures of point clouds: orthographic, points drawn as discs, in every pixel the point nearest to the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.geometry import FloatArray

FINE = 3  # the grid of points is so many times as fine as the picture, which smooths the edges

_CELL = 12  # pixels over which the density of points is measured
_COVER = 1.4  # radius of a disc over the spacing of the points around
_LEAST_RADIUS = 0.75  # a disc has at least its own pixel
_FACING_AWAY = 0.15  # cosine of normal and direction of view from which a point is seen from behind
_LIGHT = (-0.4, -0.5, -0.77)  # to the light, at the upper left behind the viewer; x to the right, y down, z into the picture
_AMBIENT = 0.3
_BACKGROUND = 255
_MOST_MEASURED = 100_000  # points that tell the extent of a cloud

Colours = NDArray[np.uint8]


@dataclass(frozen=True)
class Points:
    """N points: `xyz` (N,3) float32, `rgb` (N,3) uint8, unit `normals` (N,3) float32 and `error_mm` (N,) float32 where known."""

    xyz: NDArray[np.float32]
    rgb: Colours
    normals: NDArray[np.float32] | None = None
    error_mm: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True)
class Window:
    """What a panel shows: world point `centre` (3,) in its middle, `scale` pixels per world unit, `width` by `height` pixels."""

    centre: FloatArray
    scale: float
    width: int
    height: int


def turned(front: FloatArray, angle_deg: float) -> FloatArray:
    """Return the view (3,3) of a viewer who walks to the left by an angle, around the vertical of the view `front` (3,3).

    The rows of a view are its directions to the right, down, and into the picture, in world coordinates.
    """
    sine, cosine = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    return np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]]) @ front


def front_view(direction: FloatArray, up: FloatArray) -> FloatArray:
    """Return the view (3,3) that looks along `direction` (3,) with `up` (3,) towards the top; neither need be a unit vector."""
    into = direction / np.linalg.norm(direction)
    right = np.cross(into, up)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(into, right), into])


def extent(xyz: NDArray[np.float32], view: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """Return the corners (3,), (3,) of the box along the axes of a view that leaves out `share` of the points at either end."""
    some = xyz[:: max(1, len(xyz) // _MOST_MEASURED)]
    low, high = np.quantile(some @ view.T.astype(np.float32), [share, 1.0 - share], axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def render(points: Points, view: FloatArray, window: Window, colourings: Sequence[Colours], largest_dot: float) -> list[Colours]:
    """Return one picture (height, width, 3) per colouring (N,3) of the points, on white.

    Discs are as large as it takes to close the gaps between neighbours, but of at most `largest_dot` pixels in radius: dense
    clouds look like surfaces, sparse ones like dots. Points with a normal that faces away from the viewer are left out.
    """
    width, height = FINE * window.width, FINE * window.height
    facing = None if points.normals is None else np.flatnonzero(points.normals @ view[2].astype(np.float32) < _FACING_AWAY)
    xyz = points.xyz if facing is None else points.xyz[facing]
    offset = np.array([(width - 1) / 2, (height - 1) / 2, 0.0]) - FINE * window.scale * (view @ window.centre)
    x, y, depth = (FINE * window.scale * view).astype(np.float32) @ xyz.T + offset.astype(np.float32)[:, None]
    nearest = splat(x, y, depth, disc_radii(x, y, width, height, FINE * largest_dot), width, height)
    if facing is not None:
        nearest = np.append(facing, -1)[nearest]
    return [painted(nearest, colours) for colours in colourings]


def splat(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    depth: NDArray[np.float32],
    radius: NDArray[np.float32],
    width: int,
    height: int,
) -> NDArray[np.int32]:
    """Return per pixel (height, width) the index of the nearest point whose disc covers it, -1 where there is none.

    Args:
        x, y, depth, radius: (N,) in pixels, pixel centre = integer. A disc covers the pixel at its centre however small it is.
            It is a bowl, its rim as much further away as its radius: of neighbours on a surface each keeps its surroundings.
    """
    index = np.full((height, width), -1, np.int32)
    _splat(x, y, depth, radius, np.full((height, width), np.inf, np.float32), index)
    return index


def disc_radii(x: NDArray[np.float32], y: NDArray[np.float32], width: int, height: int, most: float) -> NDArray[np.float32]:
    """Return per point (N,) the radius that closes the gaps to its neighbours, by the density around it, at most `most`."""
    columns, rows = width // _CELL + 3, height // _CELL + 3  # a cell more on every side, for what is outside
    column, row = (np.clip(place / _CELL + 1.0, 0, cells - 1).astype(np.int32) for place, cells in ((x, columns), (y, rows)))
    cell = row * columns + column
    count = np.bincount(cell, minlength=rows * columns).reshape(rows, columns).astype(np.float32)
    density = np.asarray(cv2.blur(count, (3, 3), borderType=cv2.BORDER_REPLICATE), np.float32).ravel()[cell]
    return np.clip(_COVER * _CELL / np.sqrt(density), _LEAST_RADIUS, most).astype(np.float32)


def painted(nearest: NDArray[np.integer], colours: Colours) -> Colours:
    """Return the picture of points (N,3) by index (FINE height, FINE width), the mean over blocks of FINE x FINE pixels."""
    table = np.full((len(colours) + 1, 4), _BACKGROUND, np.uint8)  # four bytes are looked up as one number; index -1 is the last
    table[:-1, :3] = colours
    fine = table.view(np.uint32)[nearest, 0].view(np.uint8).reshape(*nearest.shape, 4)
    size = (nearest.shape[1] // FINE, nearest.shape[0] // FINE)
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA)[:, :, :3], np.uint8)


def brightness(normals: NDArray[np.float32], view: FloatArray) -> NDArray[np.float32]:
    """Return the light 0.3..1 on points (N,) with unit normals (N,3): a lamp at the upper left behind the viewer, matt points."""
    light = np.array(_LIGHT) / np.linalg.norm(_LIGHT)
    cosine = normals @ (light @ view).astype(np.float32)
    return np.asarray(_AMBIENT + (1.0 - _AMBIENT) * np.clip(cosine, 0.0, 1.0), np.float32)


@njit(cache=True, nogil=True)
def _splat(x, y, depth, radius, nearest, index):  # type: ignore[no-untyped-def]
    height, width = index.shape
    for point in range(len(x)):
        reach = radius[point]
        square = max(reach * reach, np.float32(0.5))  # half a pixel's diagonal: no disc falls between pixels
        step = np.sqrt(square)
        for row in range(max(0, int(np.ceil(y[point] - step))), min(height - 1, int(np.floor(y[point] + step))) + 1):
            for column in range(max(0, int(np.ceil(x[point] - step))), min(width - 1, int(np.floor(x[point] + step))) + 1):
                apart = (column - x[point]) ** 2 + (row - y[point]) ** 2
                behind = depth[point] + apart / reach
                if apart <= square and behind < nearest[row, column]:
                    nearest[row, column] = behind
                    index[row, column] = point
