"""A surface through the dense cloud (Kazhdan and Hoppe, Screened Poisson Surface Reconstruction, 2013), and its texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.decode import write_png
from porepatch_lib.dense.scene import DenseView
from porepatch_lib.files import atomic_path, write_text
from porepatch_lib.geometry import FloatArray, project
from porepatch_lib.rendering.visibility import build_scene

MESH, TEXTURED, TEXTURE = "mesh.ply", "mesh.obj", "mesh.png"

_DEPTH = 9  # of the octree; cells are the cloud's extent over 2 to that power
_MOST_TRIANGLES = 60_000  # of the textured mesh
_LEAST_POINTS = 100  # fewer have no surface, and nothing is written
_LEAST_DENSITY = 0.05  # this share of the vertices, those with the fewest points around, is trimmed
_MOST_POINTS_AWAY = 4.0  # times the median distance of neighbouring points
_LEAST_COSINE = 0.2  # views that see the surface more grazingly give no colour
_SHARPNESS = 8.0  # power of the cosine; the most frontal views give most of the colour
_LIFT = 2e-3  # of the extent, by which a ray starts above the surface


def mesh_cloud(cloud: Path, views: Sequence[DenseView], folder: Path, texture_px: int = 2048) -> None:
    """Write the trimmed Poisson mesh of a cloud (PLY with normals and colours) into `folder`, in the cloud's coordinates.

    `mesh.ply` has vertex normals and colours; `mesh.obj` with `mesh.mtl` and `mesh.png` is the mesh simplified to
    60,000 triangles with a texture of the photographs, `texture_px` to a side.

    Raises:
        PorePatchError: if the texture cannot be written.
    """
    import open3d as o3d

    points = o3d.io.read_point_cloud(cloud)
    if len(points.points) < _LEAST_POINTS:
        return
    mesh, densities = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(points, depth=_DEPTH, n_threads=1)
    away = np.asarray(o3d.geometry.PointCloud(mesh.vertices).compute_point_cloud_distance(points))
    spacing = np.median(np.asarray(points.compute_nearest_neighbor_distance()))
    density = np.asarray(densities)
    sparse = density < np.quantile(density, _LEAST_DENSITY)
    mesh.remove_vertices_by_mask(sparse & (away > spacing) | (away > _MOST_POINTS_AWAY * spacing))
    mesh.remove_unreferenced_vertices()
    mesh.compute_vertex_normals()
    with atomic_path(folder / MESH) as path:
        o3d.io.write_triangle_mesh(path, mesh)
    if len(mesh.triangles) == 0:
        return
    if len(mesh.triangles) > _MOST_TRIANGLES:
        mesh = mesh.simplify_quadric_decimation(_MOST_TRIANGLES)
    _write_textured(mesh, views, folder, texture_px)


def _write_textured(mesh: Any, views: Sequence[DenseView], folder: Path, texture_px: int) -> None:
    mesh.remove_degenerate_triangles()
    mesh.remove_unreferenced_vertices()
    mesh.compute_vertex_normals()
    vertices, triangles = np.asarray(mesh.vertices), np.asarray(mesh.triangles)
    layout = cells(len(triangles), texture_px)
    weights = _view_weights(vertices, np.asarray(mesh.vertex_normals), triangles, views)
    with atomic_path(folder / TEXTURE) as path:
        write_png(path, _texture(layout, vertices, triangles, weights, views))
    write_text(folder / "mesh.mtl", f"newmtl skin\nKd 1 1 1\nmap_Kd {TEXTURE}\n")
    write_text(folder / TEXTURED, _obj(vertices, layout.uv(len(triangles)), triangles))


@dataclass(frozen=True)
class Cells:
    """A texture of square cells of `side` pixels, `across` in a row, with two triangles in each, one in either corner.

    Every triangle is a right-angled one of equal legs, with a rim of at least a pixel, so that nothing bleeds over.
    """

    texture_px: int
    across: int
    side: int

    @property
    def leg(self) -> int:
        """Legs of the triangles in pixels."""
        return self.side - 5

    def uv(self, count: int) -> FloatArray:
        """Texture coordinates (T,3,2) of the corners of `count` triangles, from the lower left of the picture."""
        number = np.arange(count)
        corner = np.stack([number // 2 % self.across, number // 2 // self.across], axis=1)[:, None] * self.side
        legs = self.leg * np.array([[0, 0], [1, 0], [0, 1]])
        local = np.where((number % 2 == 0)[:, None, None], 1 + legs, self.side - 2 - legs)
        x, y = np.moveaxis((corner + local + 0.5) / self.texture_px, -1, 0)
        return np.stack([x, 1.0 - y], axis=-1)

    def texels(self, count: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Triangle (H,W) of each texel, -1 for none, and its weights of the corners (H,W,3), beyond 0..1 on the rims."""
        row, column = np.indices((self.texture_px, self.texture_px))
        y, x = row % self.side, column % self.side
        second = x + y >= self.side - 1
        triangle = 2 * (row // self.side * self.across + column // self.side) + second
        outside = (triangle >= count) | (column >= self.across * self.side)
        one, two = (np.where(second, self.side - 2 - place, place - 1) / self.leg for place in (x, y))
        return np.where(outside, -1, triangle), np.stack([1.0 - one - two, one, two], axis=-1)


def cells(count: int, texture_px: int) -> Cells:
    """Lay out `count` triangles in a square texture."""
    across = int(np.ceil(np.sqrt(np.ceil(count / 2))))
    return Cells(texture_px, across, texture_px // across)


def _view_weights(
    vertices: FloatArray, normals: FloatArray, triangles: NDArray[np.int32], views: Sequence[DenseView]
) -> FloatArray:
    """How much of the colour of each vertex comes from each view, (S,N): 0 where hidden, most where seen frontally."""
    import open3d as o3d

    scene = build_scene(vertices, triangles, threads=1)
    lift = _LIFT * float(np.ptp(vertices, axis=0).max()) * normals
    weights = np.zeros((len(views), len(vertices)))
    for weight, view in zip(weights, views, strict=True):
        towards = view.pose.centre - vertices
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        cosine = np.einsum("ij,ij->i", towards, normals).clip(0.0, 1.0)
        beams = np.concatenate([vertices + lift, towards], axis=1).astype(np.float32)
        hidden = np.isfinite(scene.cast_rays(o3d.core.Tensor.from_numpy(beams), nthreads=1)["t_hit"].numpy())
        weight[:] = np.where(hidden | (cosine < _LEAST_COSINE), 0.0, cosine**_SHARPNESS)
    return weights


def _texture(
    layout: Cells, vertices: FloatArray, triangles: NDArray[np.int32], weights: FloatArray, views: Sequence[DenseView]
) -> NDArray[np.uint8]:
    """Blend the photographs at the places of the texels, (H,W,3) BGR."""
    triangle, share = layout.texels(len(triangles))
    known = triangle >= 0
    corners, share = triangles[triangle[known]], share[known]
    xyz = np.einsum("nk,nkc->nc", share, vertices[corners])
    total, sums = np.zeros((len(xyz), 3)), np.full(len(xyz), 1e-9)
    for weight, view in zip(weights, views, strict=True):
        pixels, _ = project(view.camera, view.pose, xyz)
        colours, inside = _sample(view, pixels)
        blended = np.where(inside, np.einsum("nk,nk->n", share, weight[corners]).clip(0.0), 0.0)
        total += blended[:, None] * colours
        sums += blended
    picture = np.zeros((*known.shape, 3), np.uint8)
    picture[known] = np.rint(total / sums[:, None]).clip(0, 255)
    return picture


def _sample(view: DenseView, pixels: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Colours (N,3) of a view at pixels (N,2), and which lie in it."""
    x, y = pixels.astype(np.float32).T[:, None, :]
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (y >= 0) & (x <= view.camera.width - 1) & (y <= view.camera.height - 1)
    columns, rows = (np.where(inside, plane, 0.0).astype(np.float32) for plane in (x, y))
    side = 32_000  # longer rows are more than remap takes
    parts = [
        cv2.remap(view.image, columns[:, start : start + side], rows[:, start : start + side], cv2.INTER_LINEAR)
        for start in range(0, columns.shape[1], side)
    ]
    colours = np.concatenate([part[0] for part in parts]) if parts else np.zeros((0, 3))
    return colours.astype(np.float64), inside[0]


def _obj(vertices: NDArray[Any], uv: NDArray[Any], triangles: NDArray[Any]) -> str:
    """A mesh with a texture place (T,3,2) per corner, as Wavefront text."""
    lines = ["mtllib mesh.mtl", "usemtl skin"]
    lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv.reshape(-1, 2)]
    for number, (a, b, c) in enumerate(triangles + 1):
        corner = 3 * number + 1
        lines.append(f"f {a}/{corner} {b}/{corner + 1} {c}/{corner + 2}")
    return "\n".join(lines) + "\n"
