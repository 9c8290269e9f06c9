"""Exact ground truth of rendered captures: depth per view, mesh and pores, and what follows from them.

The true surface is the base mesh: fine relief and pores change the shading only, never the depth.

Files below `truth/`: `depth_{image_id}.npy` (H,W) float32, z-depth in mm along the optical axis at pixel centres, NaN on
the background; `vertices.npy` (N,3) float32 mm; `triangles.npy` (M,3) int32; `pores.parquet` (see PORES).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array, write_array
from porepatch_lib.geometry import Pose, project, unproject
from porepatch_lib.rendering.head import Head, points_on_mesh
from porepatch_lib.rendering.pores import Pores
from porepatch_lib.tables import Table, write_table

FloatArray = NDArray[np.float64]
Depth = NDArray[np.float32]

_MOST_DEPTH_STEP_MM = 2.0  # a larger step between neighbouring pixels is an edge of the surface

# One row per pore: its centre on the mesh in world mm, radius (sigma of the pit) and depth in mm, darkness 0..1.
PORES = Table(
    "pores",
    pa.schema(
        [pa.field(name, pa.float32(), nullable=False) for name in ("x", "y", "z", "radius_mm", "depth_mm", "contrast")],
    ),
)


def surface_points(view: View, depth: Depth, xy: FloatArray) -> FloatArray:
    """Return the surface points (N,3) float64 in world mm seen at pixels xy (N,2) of a view with pose.

    Inverse depth (H,W) is interpolated bilinearly, exact on planes. NaN outside the image, on the background and where
    the four pixels around do not lie on one surface.
    """
    return unproject(view.camera, _pose(view), np.asarray(xy, np.float64), depth_at(depth, xy))


def depth_at(depth: Depth, xy: FloatArray) -> FloatArray:
    """Return the z-depth (N,) mm at pixels xy (N,2), NaN as in `surface_points`."""
    height, width = depth.shape
    x, y = np.asarray(xy, np.float64).T
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
    column = np.minimum(np.floor(x).astype(int), width - 2)
    row = np.minimum(np.floor(y).astype(int), height - 2)
    a, b = x - column, y - row
    corners = np.stack([depth[row + j, column + i] for j in (0, 1) for i in (0, 1)]).astype(np.float64)
    weights = np.stack([(1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a])
    smooth = corners.max(axis=0) - corners.min(axis=0) <= _MOST_DEPTH_STEP_MM  # False where a corner is NaN
    return np.where(inside & smooth, 1.0 / np.sum(weights / corners, axis=0), np.nan)


def transfer(view_1: View, depth_1: Depth, view_2: View, depth_2: Depth, xy: FloatArray, tolerance_mm: float = 1.0) -> FloatArray:
    """Return where pixels xy (N,2) of view 1 appear in view 2, (N,2); NaN where hidden, outside or not on the surface.

    A point is hidden when view 2 sees a surface more than `tolerance_mm` nearer or farther there.
    """
    seen, distance = project(view_2.camera, _pose(view_2), surface_points(view_1, depth_1, xy))
    with np.errstate(invalid="ignore"):
        visible = np.abs(depth_at(depth_2, seen) - distance) <= tolerance_mm
    return np.where(visible[:, None], seen, np.nan)


def pixel_scale_mm(view: View, depth: Depth, xy: FloatArray) -> FloatArray:
    """Return the millimetres (N,) that one pixel spans at the surface, at right angles to the optical axis."""
    return depth_at(depth, xy) / np.mean(view.camera.focal_px)


def viewing_angle_rad(view: View, depth: Depth, xy: FloatArray) -> FloatArray:
    """Return the angle (N,) between the surface normal, from depths half a pixel around, and the direction to the camera."""
    xy = np.asarray(xy, np.float64)
    points = surface_points(view, depth, xy)
    step = np.array([0.5, 0.0])
    along_x = surface_points(view, depth, xy + step) - surface_points(view, depth, xy - step)
    along_y = surface_points(view, depth, xy + step[::-1]) - surface_points(view, depth, xy - step[::-1])
    normal = np.cross(along_x, along_y)
    to_camera = _pose(view).centre - points
    cosine = np.abs(np.sum(normal * to_camera, axis=1))
    cosine /= np.linalg.norm(normal, axis=1) * np.linalg.norm(to_camera, axis=1)
    return np.arccos(np.clip(cosine, 0.0, 1.0))


def depth_path(folder: str | Path, image_id: int) -> Path:
    """Return the path of a view's depth in the `truth` folder."""
    return Path(folder) / f"depth_{image_id}.npy"


def read_depth(folder: str | Path, image_id: int) -> Depth:
    """Read a view's depth (H,W) from the `truth` folder, memory-mapped.

    Raises:
        PorePatchError: if the file is missing.
    """
    path = depth_path(folder, image_id)
    if not path.exists():
        raise PorePatchError(f"There is no true depth {path}: only rendered captures have it; render the subject again.")
    return read_array(path)


def write_surface(folder: str | Path, head: Head, pores: Pores) -> None:
    """Write the mesh and the pores of one head into the `truth` folder."""
    folder = Path(folder)
    write_array(folder / "vertices.npy", head.vertices.astype(np.float32))
    write_array(folder / "triangles.npy", head.triangles)
    values = np.column_stack([points_on_mesh(head, pores.uv), pores.radius_mm, pores.depth_mm, pores.contrast])
    write_table(folder / "pores.parquet", pd.DataFrame(values.astype(np.float32), columns=PORES.schema.names), PORES)


def _pose(view: View) -> Pose:
    if view.pose is None:
        raise PorePatchError(f"The view {view.name} has no pose, so it has no ground truth; use rendered captures.")
    return view.pose
