"""A parametric head: an ellipsoid displaced by identity-seeded Gaussian bumps, in millimetres.

World axes: x to the right of the picture, y up, z out of the face; the origin is the middle of the head. The surface is
a function of face coordinates (u, v) in mm that are arc lengths near the middle of the face (u to the right, v up).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_EXTENT_RAD = (2.15, 1.85)  # how far the mesh reaches from the middle of the face, along u and v


@dataclass(frozen=True)
class Landmarks:
    """Places on the face in face coordinates, mm. Paired ones are mirrored at u = 0."""

    eye_u: float
    eye_v: float
    brow_v: float
    nose_tip_v: float
    nostril_v: float
    mouth_v: float
    mouth_half_width: float
    chin_v: float
    hairline_v: float


@dataclass(frozen=True)
class Identity:
    """The shape of one head: ellipsoid semi-axes (3,) mm, landmarks, bumps (N,6) = u, v, sigma_u, sigma_v, tilt_rad, height."""

    semi_axes: FloatArray
    landmarks: Landmarks
    bumps: FloatArray


@dataclass(frozen=True)
class Head:
    """The triangle mesh of a head on a regular grid of face coordinates.

    vertices, normals, and the reciprocal tangents (N,3) float64; uv (N,2); triangles (M,3) int32, outward by the right hand.
    A height h(u, v) over the surface turns the normal n into n - h_u * reciprocal_u - h_v * reciprocal_v.
    """

    identity: Identity
    vertices: FloatArray
    normals: FloatArray
    reciprocal_u: FloatArray
    reciprocal_v: FloatArray
    uv: FloatArray
    triangles: NDArray[np.int32]
    grid_origin: FloatArray
    grid_step: float
    grid_shape: tuple[int, int]


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw the shape of a new head."""

    def near(mean: float, spread: float) -> float:
        return mean + spread * float(np.clip(rng.standard_normal(), -2.0, 2.0))

    semi_axes = np.array([near(75.0, 2.5), near(112.0, 3.0), near(92.0, 3.0)])
    eye_v = near(26.0, 1.5)
    nose_tip_v = near(-12.0, 1.5)
    mouth_v = nose_tip_v - near(31.0, 1.2)
    landmarks = Landmarks(
        eye_u=near(31.5, 1.5),
        eye_v=eye_v,
        brow_v=eye_v + near(17.0, 1.0),
        nose_tip_v=nose_tip_v,
        nostril_v=nose_tip_v - near(11.5, 0.6),
        mouth_v=mouth_v,
        mouth_half_width=near(24.0, 1.5),
        chin_v=mouth_v - near(35.0, 2.0),
        hairline_v=near(82.0, 4.0),
    )
    return Identity(semi_axes, landmarks, _sample_bumps(landmarks, rng))


def surface(identity: Identity, uv: FloatArray) -> FloatArray:
    """Return the world points (N,3) of face coordinates (N,2)."""
    base, normal = _ellipsoid(identity.semi_axes, uv)
    height = np.zeros(len(uv))
    for u, v, sigma_u, sigma_v, tilt, amplitude in identity.bumps:
        du, dv = uv[:, 0] - u, uv[:, 1] - v
        along = (np.cos(tilt) * du + np.sin(tilt) * dv) / sigma_u
        across = (np.cos(tilt) * dv - np.sin(tilt) * du) / sigma_v
        height += amplitude * np.exp(-0.5 * (along * along + across * across))
    return base + height[:, None] * normal


def build_head(identity: Identity, step_mm: float) -> Head:
    """Triangulate the head on a grid of face coordinates with `step_mm` between vertices."""
    half = np.array(_EXTENT_RAD) * identity.semi_axes[:2]
    columns, rows = (np.ceil(2.0 * half / step_mm).astype(int) + 1).tolist()
    origin = -0.5 * step_mm * np.array([columns - 1, rows - 1], np.float64)
    grid_u, grid_v = np.meshgrid(origin[0] + step_mm * np.arange(columns), origin[1] + step_mm * np.arange(rows))
    uv = np.stack([grid_u.ravel(), grid_v.ravel()], axis=1)
    tangent_u, tangent_v = _tangents(identity, uv)
    cross = np.cross(tangent_u, tangent_v)
    area = np.linalg.norm(cross, axis=1, keepdims=True)
    normals = cross / area
    return Head(
        identity=identity,
        vertices=surface(identity, uv),
        normals=normals,
        reciprocal_u=np.cross(tangent_v, normals) / area,
        reciprocal_v=np.cross(normals, tangent_u) / area,
        uv=uv,
        triangles=_grid_triangles(rows, columns),
        grid_origin=origin,
        grid_step=step_mm,
        grid_shape=(rows, columns),
    )


def points_on_mesh(head: Head, uv: FloatArray) -> FloatArray:
    """Return the points (N,3) of the triangle mesh at face coordinates (N,2) inside its grid."""
    rows, columns = head.grid_shape
    scaled = (uv - head.grid_origin) / head.grid_step
    cell = np.clip(np.floor(scaled).astype(int), 0, [columns - 2, rows - 2])
    a, b = (scaled - cell).T
    first = cell[:, 1] * columns + cell[:, 0]
    low, right, up, far = (head.vertices[first + offset] for offset in (0, 1, columns, columns + 1))
    lower_right = low + a[:, None] * (right - low) + b[:, None] * (far - right)
    upper_left = low + b[:, None] * (up - low) + a[:, None] * (far - up)
    return np.where((a >= b)[:, None], lower_right, upper_left)


def _ellipsoid(semi_axes: FloatArray, uv: FloatArray) -> tuple[FloatArray, FloatArray]:
    angles = uv / semi_axes[:2]
    radius = np.hypot(angles[:, 0], angles[:, 1])
    direction = np.column_stack([angles * np.sinc(radius / np.pi)[:, None], np.cos(radius)])
    normal = direction / semi_axes
    return direction * semi_axes, normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _tangents(identity: Identity, uv: FloatArray, delta_mm: float = 0.02) -> tuple[FloatArray, FloatArray]:
    tangents = []
    for axis in np.eye(2):
        shift = delta_mm * axis
        tangents.append((surface(identity, uv + shift) - surface(identity, uv - shift)) / (2.0 * delta_mm))
    return tangents[0], tangents[1]


def _grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None, :]).ravel()
    lower_right = np.stack([first, first + 1, first + columns + 1], axis=1)
    upper_left = np.stack([first, first + columns + 1, first + columns], axis=1)
    return np.stack([lower_right, upper_left], axis=1).reshape(-1, 3).astype(np.int32)


def _sample_bumps(marks: Landmarks, rng: np.random.Generator) -> FloatArray:
    single = [
        (0.0, 0.5 * (marks.eye_v + marks.nose_tip_v), 6.0, 17.0, 0.0, 12.0),  # bridge of the nose
        (0.0, marks.nose_tip_v, 8.5, 8.5, 0.0, 15.5),  # tip of the nose
        (0.0, marks.mouth_v + 1.0, 26.0, 16.0, 0.0, 5.0),  # mound of the mouth
        (0.0, marks.mouth_v + 5.0, 17.0, 3.2, 0.0, 2.6),  # upper lip
        (0.0, marks.mouth_v - 5.5, 14.0, 4.0, 0.0, 3.4),  # lower lip
        (0.0, marks.mouth_v, 19.0, 1.8, 0.0, -2.2),  # between the lips
        (0.0, marks.mouth_v + 13.0, 3.0, 5.0, 0.0, -1.2),  # philtrum
        (0.0, marks.mouth_v - 15.0, 15.0, 5.0, 0.0, -3.0),  # fold above the chin
        (0.0, marks.chin_v, 16.0, 12.0, 0.0, 7.0),  # chin
        (0.0, 62.0, 45.0, 22.0, 0.0, 3.0),  # forehead
    ]
    paired = [
        (11.0, marks.nose_tip_v - 3.0, 5.0, 5.5, 0.0, 7.0),  # wings of the nose
        (6.0, marks.nostril_v, 3.2, 2.4, 0.0, -3.0),  # nostrils
        (19.0, marks.brow_v - 1.0, 17.0, 6.0, 0.12, 4.5),  # brow ridge
        (marks.eye_u - 1.0, marks.eye_v, 14.0, 8.5, 0.0, -9.0),  # eye sockets
        (marks.eye_u, marks.eye_v, 9.5, 7.0, 0.0, 5.5),  # eyeballs
        (42.0, 2.0, 18.0, 14.0, -0.3, 5.0),  # cheekbones
        (24.0, -14.0, 12.0, 14.0, 0.0, 2.5),  # inner cheeks
        (26.0, -30.0, 2.6, 14.0, 0.45, -1.5),  # nasolabial folds
        (45.0, -42.0, 17.0, 18.0, 0.0, -3.0),  # hollow of the cheeks
        (64.0, 42.0, 14.0, 20.0, 0.0, -4.0),  # temples
        (58.0, -62.0, 16.0, 16.0, 0.0, 4.0),  # jaw
    ]
    bumps = [_vary(bump, rng) for bump in single]
    for bump in paired:
        u, v, sigma_u, sigma_v, tilt, height = _vary(bump, rng)
        for side in (1.0, -1.0):
            asymmetry = 1.0 + 0.04 * rng.standard_normal()
            bumps.append((side * u, v + 0.3 * rng.standard_normal(), sigma_u, sigma_v, side * tilt, height * asymmetry))
    return np.array(bumps)


def _vary(bump: tuple[float, ...], rng: np.random.Generator) -> tuple[float, ...]:
    u, v, sigma_u, sigma_v, tilt, height = bump
    shift, width, factor = rng.standard_normal(3)
    scale = 1.0 + 0.06 * np.clip(width, -2.0, 2.0)
    return u, v + 0.6 * shift, sigma_u * scale, sigma_v * scale, tilt, height * (1.0 + 0.12 * np.clip(factor, -2.0, 2.0))
