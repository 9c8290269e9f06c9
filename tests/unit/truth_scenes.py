"""Small scenes with ground truth: meshes in closed form, photographed by casting a ray through every pixel centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import open3d as o3d

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.geometry import Camera, Pose, project, rays, unproject
from porepatch_lib.rendering.rig import look_at
from porepatch_lib.rendering.truth import Mesh, SubjectTruth, appear, locate, positions, viewing_angle_rad
from porepatch_lib.rendering.truth_files import write_depth, write_mesh

Shape = tuple[np.ndarray, np.ndarray]  # vertices (N,3) mm, triangles (M,3)


def camera_view(image_id: int, camera: Camera, pose: Pose | None) -> View:
    name = f"{image_id}.png"
    return View(image_id, name, Path(name), None, "", 1, image_id, camera, True, pose)


def looking_view(image_id: int, centre: Sequence[float], k1: float = 0.0, size: tuple[int, int] = (240, 200)) -> View:
    """A view from `centre` towards the origin; about 0.9 mm a pixel at 900 mm."""
    camera = Camera("SIMPLE_RADIAL", *size, (1000.0, size[0] / 2 - 2.0, size[1] / 2 + 1.5, k1))
    return camera_view(image_id, camera, look_at(np.array(centre, float), np.zeros(3), 0.03))


def quad(origin: Sequence[float], side_1: Sequence[float], side_2: Sequence[float]) -> Shape:
    """A parallelogram around `origin`, with its normal along side_1 x side_2."""
    o, a, b = (np.array(vector, float) for vector in (origin, side_1, side_2))
    return np.array([o - a - b, o + a - b, o + a + b, o - a + b]), np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def sphere(radius_mm: float, steps: int = 360) -> Shape:
    """A sphere around the origin; with 360 steps its triangles lie within 0.004 radii per cent of it."""
    around, up = np.linspace(0.0, 2.0 * np.pi, steps + 1), np.linspace(0.0, np.pi, steps // 2 + 1)
    u, v = (grid.ravel() for grid in np.meshgrid(around, up))
    vertices = radius_mm * np.stack([np.sin(v) * np.sin(u), np.cos(v), np.sin(v) * np.cos(u)], axis=1)
    row, column = (grid.ravel() for grid in np.meshgrid(np.arange(steps // 2), np.arange(steps), indexing="ij"))
    a = row * (steps + 1) + column
    b, c, d = a + 1, a + steps + 1, a + steps + 2
    return vertices, np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)


def joined(*shapes: Shape) -> Shape:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in shapes)])
    triangles = [triangles + start for (_, triangles), start in zip(shapes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in shapes]), np.concatenate(triangles).astype(np.int32)


def photographed(
    views: Sequence[View], shape: Shape, moved: Mapping[int, np.ndarray] | None = None, regions: np.ndarray | None = None
) -> SubjectTruth:
    """The truth of views of a mesh; `moved` has the vertices of views taken at another moment."""
    vertices, triangles = shape
    reference = Mesh(vertices.astype(np.float32), triangles)
    meshes = {i: Mesh(other.astype(np.float32), triangles) for i, other in (moved or {}).items()}
    depths = {view.image_id: _depth(view, meshes.get(view.image_id, reference)) for view in views if view.pose is not None}
    regions = np.zeros(len(vertices), np.uint8) if regions is None else regions.astype(np.uint8)
    return SubjectTruth({view.image_id: view for view in views}, depths, reference, meshes, regions)


def write_scene(folder: Path, truth: SubjectTruth) -> None:
    """Write `images.parquet` and the folder `truth` of a subject."""
    write_views(folder / "images.parquet", [replace(view, path=folder / view.path) for view in truth.views.values()])
    for image_id, depth in truth.depths.items():
        write_depth(folder / "truth", image_id, depth)
    vertices = {image_id: truth.mesh(image_id).vertices for image_id in truth.views}
    uv = truth.reference.vertices[:, :2]
    write_mesh(folder / "truth", vertices, truth.reference.triangles, uv, truth.regions)


def pixel_grid(view: View) -> np.ndarray:
    """All pixel centres (N,2), row by row."""
    return (
        np.stack(np.meshgrid(np.arange(view.camera.width), np.arange(view.camera.height)), axis=-1).reshape(-1, 2).astype(float)
    )


def assert_depth_agrees_with_mesh(truth: SubjectTruth, least: int) -> None:
    """Stored depth at pixel centres lies on the mesh to 0.01 mm and leads to the pixel of every other view to 0.05 px.

    Checked for at least `least` pixels of every pair of views, seen at up to 78 degrees; pixels only between views of one
    moment, as depth says nothing of how the face moves.
    """
    for one, two in permutations(truth.views, 2):
        first, second = truth.views[one], truth.views[two]
        xy = pixel_grid(first)
        places = locate(truth, one, xy)
        found = appear(truth, two, places)
        shown = np.isfinite(found[:, 0]) & (viewing_angle_rad(truth, one, places) < np.deg2rad(78.0))
        assert shown.sum() > least
        through = unproject(first.camera, first.pose, xy, truth.depths[one].ravel().astype(np.float64))
        assert np.linalg.norm(through - positions(truth.mesh(one), places), axis=1)[shown].max() < 0.01
        if truth.mesh(one) is truth.mesh(two):
            assert np.abs(project(second.camera, second.pose, through)[0] - found)[shown].max() < 0.05


def _depth(view: View, mesh: Mesh) -> np.ndarray:
    direction = rays(view.camera, pixel_grid(view)) @ view.pose.rotation
    beams = np.concatenate([np.broadcast_to(view.pose.centre, direction.shape), direction], axis=1).astype(np.float32)
    depth = mesh.scene.cast_rays(o3d.core.Tensor.from_numpy(beams), nthreads=1)["t_hit"].numpy()
    return np.where(np.isfinite(depth), depth, np.nan).reshape(view.camera.height, view.camera.width).astype(np.float32)
