"""What a camera sees of the mesh, pixel by pixel, and how much light reaches each vertex (Open3D ray casting)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, Pose, undistort
from porepatch_lib.rendering.head import Head
from porepatch_lib.rendering.rig import Lights

FloatArray = NDArray[np.float64]

_UNDISTORTION_STEPS = 8  # enough for 1e-9 px at this rig's distortion
_STRIP_ROWS = 64
_SURFACE_OFFSET_MM = 0.4  # shadow rays start this far above the surface
_SAMPLES_PER_LIGHT = 12
_SAMPLES_OF_SKY = 48


@dataclass(frozen=True)
class Hits:
    """First hits of one ray per pixel centre.

    direction (H,W,3) float32, world, with z = 1 in the camera's frame; depth (H,W) float32 z-depth in mm, NaN where
    nothing is hit; triangle (H,W) uint32; barycentric (H,W,2) float32, the weights of the triangle's second and third vertex.
    """

    direction: NDArray[np.float32]
    depth: NDArray[np.float32]
    triangle: NDArray[np.uint32]
    barycentric: NDArray[np.float32]


def build_scene(vertices: FloatArray, triangles: NDArray[np.int32], threads: int) -> Any:
    """Return an `open3d.t.geometry.RaycastingScene` of one mesh: vertices (N,3) mm, triangles (M,3)."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
    from_numpy = o3d.core.Tensor.from_numpy
    scene.add_triangles(from_numpy(vertices.astype(np.float32)), from_numpy(triangles.astype(np.uint32)))
    return scene


def cast_view(scene: Any, camera: Camera, pose: Pose, threads: int) -> Hits:
    """Cast a ray through every pixel centre."""
    import open3d as o3d

    height, width = camera.height, camera.width
    direction = np.empty((height, width, 3), np.float32)
    depth = np.empty((height, width), np.float32)
    triangle = np.empty((height, width), np.uint32)
    barycentric = np.empty((height, width, 2), np.float32)
    for first in range(0, height, _STRIP_ROWS):
        rows = np.s_[first : min(first + _STRIP_ROWS, height)]
        direction[rows] = _directions(camera, pose, np.arange(height)[rows])
        rays = np.empty((*direction[rows].shape[:2], 6), np.float32)
        rays[..., :3] = pose.centre
        rays[..., 3:] = direction[rows]
        hits = scene.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=threads)
        distance = hits["t_hit"].numpy()
        depth[rows] = np.where(np.isfinite(distance), distance, np.nan)
        triangle[rows] = hits["primitive_ids"].numpy()
        barycentric[rows] = hits["primitive_uvs"].numpy()
    return Hits(direction, depth, triangle, barycentric)


def light_on_vertices(scene: Any, head: Head, lights: Lights, rng: np.random.Generator, threads: int) -> FloatArray:
    """Return for every vertex (N, L+1) the visible share of each soft light and, last, of the sky above the surface."""
    starts = head.vertices + _SURFACE_OFFSET_MM * head.normals
    light = np.empty((len(starts), len(lights.positions) + 1))
    for index, (position, radius) in enumerate(zip(lights.positions, lights.radii, strict=True)):
        offsets = rng.standard_normal((_SAMPLES_PER_LIGHT, 3))
        offsets *= radius / np.linalg.norm(offsets, axis=1, keepdims=True)
        open_way = [_is_free(scene, starts, position + offset - starts, threads) for offset in offsets]
        light[:, index] = np.mean(open_way, axis=0)
    total, reached = np.zeros(len(starts)), np.zeros(len(starts))
    for direction in _fibonacci_sphere(_SAMPLES_OF_SKY):
        weight = np.maximum(head.normals @ direction, 0.0)
        total += weight
        above = np.flatnonzero(weight)
        reached[above] += weight[above] * _is_free(scene, starts[above], np.broadcast_to(direction, (len(above), 3)), threads)
    light[:, -1] = reached / total
    return light


def _is_free(scene: Any, starts: FloatArray, directions: FloatArray, threads: int) -> NDArray[np.bool_]:
    import open3d as o3d

    rays = np.concatenate([starts, directions], axis=1).astype(np.float32)
    occluded = scene.test_occlusions(o3d.core.Tensor.from_numpy(rays), nthreads=threads).numpy()
    return np.asarray(~occluded)


def _directions(camera: Camera, pose: Pose, rows: NDArray[np.int_]) -> NDArray[np.float32]:
    grid = np.stack(np.meshgrid(np.arange(camera.width), rows), axis=-1).reshape(-1, 2)
    centred = (grid - np.array(camera.principal_point_px)) / np.array(camera.focal_px)
    normalised = undistort(camera, centred, _UNDISTORTION_STEPS)
    world = normalised @ pose.rotation[:2] + pose.rotation[2]
    return world.reshape(len(rows), camera.width, 3).astype(np.float32)


def _fibonacci_sphere(count: int) -> FloatArray:
    index = np.arange(count) + 0.5
    z, angle = 1.0 - 2.0 * index / count, np.pi * (1.0 + 5.0**0.5) * index
    radius = np.sqrt(1.0 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
