"""Exact ground truth of rendered captures: which place of the skin a pixel shows, and where other views show it.

The true surface is the base mesh: fine relief and pores change the shading only, never the depth. A place of the skin is a
point of a triangle; it keeps its triangle and its weights when the face moves between two views. Pixels are looked up by
casting their ray on the mesh of their view. (Bilinear interpolation of the stored inverse depth misses the mesh by more than
0.01 mm at 0.1 to 0.4 % of the skin's pixels, and by up to 0.6 mm at creases; rays miss it by less than 0.001 mm.)

Pixels next to an edge of the surface (outline, wing of the nose, lips) have no place: a keypoint found there may belong to
either side. For the files see `porepatch_lib.rendering.truth_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray, Pose, project, rays
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.visibility import build_scene

Depth = NDArray[np.float32]

OCCLUSION_MM = 0.05  # far above the rays' error, far below the thinnest fold of a face

_WINDOW = 4  # pixel centres to a side around a pixel that are searched for an edge
_LARGEST_BEND_PX = 1.0  # steps of depth up to a pixel's width are no edge


@dataclass(frozen=True)
class Mesh:
    """The head at one moment: vertices (N,3) float32 world mm, triangles (M,3) int32."""

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]

    @cached_property
    def scene(self) -> Any:
        """The mesh as an `open3d.t.geometry.RaycastingScene`."""
        return build_scene(np.asarray(self.vertices, np.float64), self.triangles, threads=1)


@dataclass(frozen=True)
class SubjectTruth:
    """The truth of one rendered subject.

    views: by image_id, all with poses. depths: (H,W) float32 z-depth in mm along the optical axis at pixel centres, NaN on the
    background. reference: the mesh at the moment of the first view; moved: the meshes of views taken at another moment.
    regions: (N,) uint8 of each vertex, an index of `porepatch_lib.rendering.features.REGIONS`.
    """

    views: Mapping[int, View]
    depths: Mapping[int, Depth]
    reference: Mesh
    moved: Mapping[int, Mesh]
    regions: NDArray[np.uint8]

    def mesh(self, image_id: int) -> Mesh:
        """Return the mesh at the moment of a view."""
        return self.moved.get(image_id, self.reference)

    def pose(self, image_id: int) -> Pose:
        """Return the pose of a view.

        Raises:
            PorePatchError: if it has none.
        """
        view = self.views[image_id]
        if view.pose is None:
            raise PorePatchError(f"The view {view.name} has no pose, so it has no ground truth; use rendered captures.")
        return view.pose


def locate(truth: SubjectTruth, image_id: int, xy: FloatArray) -> Places:
    """Return the places that a view shows at pixels xy (N,2).

    There is none outside the image, on the background and next to an edge of the surface.
    """
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    triangle = np.full(len(xy), -1, np.int64)
    barycentric = np.zeros((len(xy), 2))
    smooth = np.flatnonzero(_is_smooth(truth, image_id, xy))
    direction = rays(truth.views[image_id].camera, xy[smooth]) @ truth.pose(image_id).rotation
    hits = _cast(truth, image_id, direction)
    hit = np.isfinite(hits["t_hit"].numpy())
    triangle[smooth[hit]] = hits["primitive_ids"].numpy()[hit]
    barycentric[smooth[hit]] = hits["primitive_uvs"].numpy()[hit]
    return Places(triangle, barycentric)


def positions(mesh: Mesh, places: Places) -> FloatArray:
    """Return where places lie on a mesh, (N,3) world mm, NaN for none."""
    return places.on(mesh.vertices, mesh.triangles)


def appear(truth: SubjectTruth, image_id: int, places: Places, tolerance_mm: float = OCCLUSION_MM) -> FloatArray:
    """Return the pixels (N,2) at which a view shows places; NaN where hidden, outside or next to an edge of the surface.

    A place is hidden when the surface is more than `tolerance_mm` nearer along its ray.
    """
    points = positions(truth.mesh(image_id), places)
    seen, _ = project(truth.views[image_id].camera, truth.pose(image_id), points)
    shown = _is_smooth(truth, image_id, seen) & ~hidden(truth, image_id, points, tolerance_mm)
    return np.where(shown[:, None], seen, np.nan)


def hidden(truth: SubjectTruth, image_id: int, points: FloatArray, tolerance_mm: float = OCCLUSION_MM) -> NDArray[np.bool_]:
    """Return whether a view's surface hides points (N,3) by lying more than `tolerance_mm` before them; False for NaN."""
    result = np.zeros(len(points), bool)
    known = np.isfinite(points).all(axis=1)
    direction = points[known] - truth.pose(image_id).centre
    before = 1.0 - _cast(truth, image_id, direction)["t_hit"].numpy().astype(np.float64)
    result[known] = before * np.linalg.norm(direction, axis=1) > tolerance_mm
    return result


def surface_points(truth: SubjectTruth, image_id: int, xy: FloatArray) -> FloatArray:
    """Return the points (N,3) in world mm that a view shows at pixels xy (N,2), at its moment; NaN as in `locate`."""
    return positions(truth.mesh(image_id), locate(truth, image_id, xy))


def reference_points(truth: SubjectTruth, image_id: int, xy: FloatArray) -> FloatArray:
    """Return where the skin at pixels xy (N,2) of a view lies at the reference moment, (N,3) mm; NaN as in `locate`."""
    return positions(truth.reference, locate(truth, image_id, xy))


def transfer(truth: SubjectTruth, image_1: int, image_2: int, xy: FloatArray, tolerance_mm: float = OCCLUSION_MM) -> FloatArray:
    """Return where the skin at pixels xy (N,2) of view 1 appears in view 2, (N,2); NaN as in `locate` and `appear`."""
    return appear(truth, image_2, locate(truth, image_1, xy), tolerance_mm)


def patch_distance_mm(truth: SubjectTruth, image_1: int, xy_1: FloatArray, image_2: int, xy_2: FloatArray) -> NDArray[np.float64]:
    """Return how far (N,) apart the skin under two patches lies, whose centres are xy_1, xy_2 (N,2); NaN as in `locate`.

    Straight distance at the reference moment, so that a moving face changes nothing.
    """
    return np.linalg.norm(reference_points(truth, image_1, xy_1) - reference_points(truth, image_2, xy_2), axis=1)


def pixel_scale_mm(truth: SubjectTruth, image_id: int, places: Places) -> FloatArray:
    """Return the millimetres (N,) that one pixel of a view spans at places, at right angles to its axis; NaN for none."""
    depth = truth.pose(image_id).to_camera(positions(truth.mesh(image_id), places))[:, 2]
    return depth / np.mean(truth.views[image_id].camera.focal_px)


def viewing_angle_rad(truth: SubjectTruth, image_id: int, places: Places) -> FloatArray:
    """Return the angle (N,) between the normal at places and the direction to the camera of a view; NaN for none."""
    return np.arccos(viewing_cosine(truth, image_id, places))


def viewing_cosine(truth: SubjectTruth, image_id: int, places: Places) -> FloatArray:
    """Return the cosine of `viewing_angle_rad` (N,): below 0 from behind."""
    mesh = truth.mesh(image_id)
    a, b, c = np.moveaxis(mesh.vertices[mesh.triangles[places.triangle]].astype(np.float64), 1, 0)
    normal = np.cross(b - a, c - a)
    to_camera = truth.pose(image_id).centre - positions(mesh, places)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(to_camera, axis=1)
    return np.clip(np.einsum("ij,ij->i", normal, to_camera) / length, -1.0, 1.0)


def regions_of(truth: SubjectTruth, places: Places) -> NDArray[np.uint8]:
    """Return the region (N,) of places, an index of REGIONS: that of the vertex of most weight; 0, "other", for none."""
    vertex = truth.reference.triangles[places.triangle, places.weights.argmax(axis=1)]
    return np.where(places.known, truth.regions[vertex], np.uint8(0))


def _cast(truth: SubjectTruth, image_id: int, direction: FloatArray) -> Any:
    """Cast rays from the camera of a view along world directions (N,3); returns Open3D's first hits."""
    import open3d as o3d

    starts = np.broadcast_to(truth.pose(image_id).centre, direction.shape)
    beams = np.concatenate([starts, direction], axis=1).astype(np.float32)
    return truth.mesh(image_id).scene.cast_rays(o3d.core.Tensor.from_numpy(beams), nthreads=1)


def _is_smooth(truth: SubjectTruth, image_id: int, xy: FloatArray) -> NDArray[np.bool_]:
    """Return whether the depth around pixels xy (N,2) is that of one surface, (N,); False outside the image.

    Inverse depth is linear in the image of a plane. Its second differences over the 4 by 4 pixel centres around, times depth
    squared, are steps of depth or changes of slope; more than a pixel's width is an edge.
    """
    depth, camera = truth.depths[image_id], truth.views[image_id].camera
    height, width = depth.shape
    x, y = xy.T
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    column = np.clip(np.floor(np.where(inside, x, 0.0)).astype(int) - 1, 0, width - _WINDOW)
    row = np.clip(np.floor(np.where(inside, y, 0.0)).astype(int) - 1, 0, height - _WINDOW)
    step = np.arange(_WINDOW)
    around = depth[row[:, None, None] + step[:, None], column[:, None, None] + step].astype(np.float64)
    down, across = (np.abs(np.diff(1.0 / around, 2, axis)).max(axis=(1, 2)) for axis in (1, 2))  # NaN beside the background
    bend_px = np.maximum(down, across) * around[:, 1, 1] * np.mean(camera.focal_px)  # bend * depth^2 / (depth / focal length)
    return inside & (bend_px <= _LARGEST_BEND_PX)
