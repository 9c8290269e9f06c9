"""The soft lights of the studio, and how much of each reaches every vertex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from porepatch_lib.rendering.surface import Head, Triangles

FloatArray = NDArray[np.float64]

_OFFSET_MM = 0.4  # shadow rays start this far above the surface
# Light wraps round the terminator below the skin, so the horizon of the skin itself must not count as a shadow there:
# rays towards lights low above the surface, or behind it, start this much higher.
_TERMINATOR_OFFSET_MM = 2.5
_TERMINATOR = (0.25, -0.10)  # cosines between which the offset grows
_LEAST_COSINE = -0.45  # lights further behind the surface do not reach it
_RAYS_PER_LIGHT = 2
_RAYS_TO_SKY = 6
_SMOOTHING_STEPS = 14  # each averages a vertex with its neighbours, so a few rays per vertex suffice
_STRATA = 64  # sets of sample points, dealt out over the vertices


@dataclass(frozen=True)
class Lights:
    """Soft lights that fill discs seen from the origin: positions (L,3) mm, radii (L,) mm, and the sky.

    intensity (L,3): linear red, green, blue of a white surface at the origin that faces the light; ambient (3,): of a white
    surface under the whole sky.
    """

    positions: FloatArray
    radii: FloatArray
    intensity: FloatArray
    ambient: FloatArray


def studio_lights() -> Lights:
    """Return soft panels like those of a capture rig: two in front, one above, a low fill and two rims."""
    panels = np.array(
        [
            # x, y, z, radius, red, green, blue
            [-640.0, 260.0, 900.0, 170.0, 0.60, 0.585, 0.565],
            [700.0, 180.0, 860.0, 200.0, 0.36, 0.365, 0.37],
            [40.0, 980.0, 620.0, 200.0, 0.34, 0.34, 0.34],
            [0.0, -820.0, 760.0, 240.0, 0.14, 0.13, 0.12],
            [-1000.0, 240.0, 420.0, 190.0, 0.15, 0.155, 0.16],
            [1020.0, 180.0, 380.0, 190.0, 0.19, 0.19, 0.19],
        ]
    )
    return Lights(panels[:, :3], panels[:, 3], panels[:, 4:], np.array([0.16, 0.165, 0.17]))


def light_on_vertices(scene: Any, head: Head, lights: Lights, rng: np.random.Generator, threads: int) -> NDArray[np.float32]:
    """Return (N, L+1) float32: the visible share of each light and, last, of the sky above the surface.

    `scene` is the head's `porepatch_lib.rendering.visibility.build_scene`; `rng` draws the sample points on the lights.
    """
    kept = np.flatnonzero(head.welded == np.arange(len(head.welded)))
    place = np.empty(len(head.welded), np.int64)
    place[kept] = np.arange(len(kept))
    place = place[head.welded]
    vertices, normals = head.vertices[kept], head.normals[kept]
    light = np.empty((len(kept), len(lights.positions) + 1), np.float32)
    stratum = rng.integers(_STRATA, size=len(kept))
    for index, (position, radius) in enumerate(zip(lights.positions, lights.radii, strict=True)):
        points = position + radius * _disc_points(position, rng)
        light[:, index] = _share_of_light(scene, vertices, normals, position, points, stratum, threads)
    light[:, -1] = _share_of_sky(scene, vertices, normals, rng, stratum, threads)
    mean = _mean_of_neighbours(place[head.triangles].astype(np.int32), len(kept))
    for _ in range(_SMOOTHING_STEPS):
        light = 0.5 * (light + mean @ light)
    return np.asarray(light[place], np.float32)


def mean_curvature(head: Head) -> FloatArray:
    """Return the mean curvature (N,) per mm, positive on bulges, from the turn of the normals along the edges."""
    triangles = head.welded[head.triangles]
    total, count = np.zeros(len(head.vertices)), np.zeros(len(head.vertices))
    for i, j in ((0, 1), (1, 2), (2, 0)):
        a, b = triangles[:, i], triangles[:, j]
        edge = head.vertices[b] - head.vertices[a]
        turn = np.einsum("ij,ij->i", head.normals[b] - head.normals[a], edge)
        bend = turn / np.maximum(np.einsum("ij,ij->i", edge, edge), 1e-12)
        for end in (a, b):
            total += np.bincount(end, bend, len(total))
            count += np.bincount(end, minlength=len(total))
    curvature = total / np.maximum(count, 1.0)
    mean = _mean_of_neighbours(triangles, len(total))
    for _ in range(_SMOOTHING_STEPS):
        curvature = 0.5 * (curvature + mean @ curvature)
    return np.asarray(curvature[head.welded])


def _share_of_light(
    scene: Any,
    vertices: FloatArray,
    normals: FloatArray,
    position: FloatArray,
    points: FloatArray,
    stratum: NDArray[np.int_],
    threads: int,
) -> NDArray[np.float32]:
    to_light = position - vertices
    to_light /= np.linalg.norm(to_light, axis=1, keepdims=True)
    cosine = np.einsum("ij,ij->i", normals, to_light)
    low = np.clip((_TERMINATOR[0] - cosine) / (_TERMINATOR[0] - _TERMINATOR[1]), 0.0, 1.0)
    starts = vertices + (_OFFSET_MM + _TERMINATOR_OFFSET_MM * low)[:, None] * normals
    reached = np.flatnonzero(cosine > _LEAST_COSINE)
    share = np.zeros(len(vertices), np.float32)
    for ray in range(_RAYS_PER_LIGHT):
        goal = points[stratum[reached], ray]
        share[reached] += _is_free(scene, starts[reached], goal - starts[reached], threads)
    return share / np.float32(_RAYS_PER_LIGHT)


def _share_of_sky(
    scene: Any,
    vertices: FloatArray,
    normals: FloatArray,
    rng: np.random.Generator,
    stratum: NDArray[np.int_],
    threads: int,
) -> NDArray[np.float32]:
    # A point on the unit sphere around the tip of the normal is a direction with a density as the cosine (Malley's method).
    sphere = _sphere_points(_STRATA * _RAYS_TO_SKY, rng).reshape(_RAYS_TO_SKY, _STRATA, 3).swapaxes(0, 1)
    starts = vertices + _OFFSET_MM * normals
    share = np.zeros(len(vertices), np.float32)
    for ray in range(_RAYS_TO_SKY):
        share += _is_free(scene, starts, normals + 0.999 * sphere[stratum, ray], threads)
    return share / np.float32(_RAYS_TO_SKY)


def _disc_points(position: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return points (strata, rays, 3) of a unit disc at right angles to the line from `position` to the origin."""
    count = _STRATA * _RAYS_PER_LIGHT
    index = np.arange(count) + 0.5
    radius, angle = np.sqrt(index / count), np.pi * (1.0 + 5.0**0.5) * index + rng.uniform(0.0, 2.0 * np.pi)
    forward = position / np.linalg.norm(position)
    right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right /= np.linalg.norm(right)
    up = np.cross(forward, right)
    disc = (radius * np.cos(angle))[:, None] * right + (radius * np.sin(angle))[:, None] * up
    return np.asarray(rng.permutation(disc).reshape(_STRATA, _RAYS_PER_LIGHT, 3))


def _sphere_points(count: int, rng: np.random.Generator) -> FloatArray:
    """Return well spread points (count,3) of the unit sphere in random order."""
    index = np.arange(count) + 0.5
    z, angle = 1.0 - 2.0 * index / count, np.pi * (1.0 + 5.0**0.5) * index
    radius = np.sqrt(1.0 - z * z)
    return np.asarray(rng.permutation(np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)))


def _is_free(scene: Any, starts: FloatArray, directions: FloatArray, threads: int) -> NDArray[np.bool_]:
    import open3d as o3d

    rays = np.concatenate([starts, directions], axis=1, dtype=np.float32)
    occluded = scene.test_occlusions(o3d.core.Tensor.from_numpy(rays), nthreads=threads).numpy()
    return np.asarray(~occluded)


def _mean_of_neighbours(triangles: Triangles, count: int) -> sparse.csr_matrix:
    """Return the sparse matrix (N,N) that averages over the vertices at the other ends of a vertex's edges."""
    one = np.concatenate([triangles[:, (0, 1, 2)].ravel(), triangles[:, (1, 2, 0)].ravel()])
    other = np.concatenate([triangles[:, (1, 2, 0)].ravel(), triangles[:, (0, 1, 2)].ravel()])
    matrix = sparse.csr_matrix((np.ones(len(one), np.float32), (one, other)), shape=(count, count))
    degree = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    matrix.data /= np.repeat(degree, np.diff(matrix.indptr)).astype(np.float32)
    return matrix
