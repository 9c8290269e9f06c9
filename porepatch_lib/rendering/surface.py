"""The surface of a head: what every face model gives, and the mesh that skin is painted on and cameras look at.

World axes: x to the right of the picture, y up, z out of the face; the origin is the middle of the head; millimetres.

Three coordinate systems live on a head. *Texture coordinates* (u, v) in mm are where the skin's maps are stored: one place,
one texel. *Face coordinates* in mm say where on a face a vertex lies (nose tip, left cheek), u to the right and v up, arc
lengths near the middle of the face; they are the same for all heads up to `Landmarks`. The *neutral* positions hold what must
not stretch with an expression: solid noise and the distances between pores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Triangles = NDArray[np.int32]

# What a vertex belongs to. Only SKIN may be bare skin in a mask.
SKIN, HAIR, OTHER_SKIN, EYE, DARK = range(5)  # OTHER_SKIN: ears and neck; DARK: inside of mouth and nostrils


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


class FaceModel(Protocol):
    """A family of heads with one topology: identity and expression coefficients in, vertices out.

    triangles: (M,3) int32, outward by the right hand. welded: (N,) int32, for every vertex the first one at the same position
    (vertices on seams of the texture are there more than once). part: (N,) uint8, one of SKIN, HAIR, OTHER_SKIN, EYE, DARK.
    """

    triangles: Triangles
    welded: NDArray[np.int32]
    part: NDArray[np.uint8]
    expression_names: tuple[str, ...]

    def sample_identity(self, rng: np.random.Generator) -> FloatArray:
        """Draw the identity coefficients (K,) of a new head."""

    def sample_expression(self, rng: np.random.Generator, strength: float) -> FloatArray:
        """Draw expression coefficients (E,), 0 = neutral; `strength` 1 is a clear everyday expression."""

    def vertices(self, identity: FloatArray, expression: FloatArray) -> FloatArray:
        """Return the vertices (N,3) in mm."""

    def texture_coordinates(self, identity: FloatArray) -> FloatArray:
        """Return (N,2) texture coordinates in mm: on bare skin one unit is about one millimetre of the neutral face."""

    def face_coordinates(self, identity: FloatArray) -> tuple[FloatArray, Landmarks]:
        """Return the face coordinates (N,2) in mm of the vertices, and the landmarks in the same coordinates."""


@dataclass(frozen=True)
class Head:
    """One head as it sits before the cameras.

    neutral, vertices, normals, gradient_u, gradient_v (N,3) float64: positions in mm of the neutral face and of the face as it is
    photographed, and of the latter the unit normals and the gradients of the texture coordinates along the surface. A height
    h(u, v) in mm over the surface turns the normal n into n - h_u * gradient_u - h_v * gradient_v.
    uv, place (N,2) float64: texture and face coordinates, mm. triangles, welded, part: see `FaceModel`.
    """

    neutral: FloatArray
    vertices: FloatArray
    normals: FloatArray
    gradient_u: FloatArray
    gradient_v: FloatArray
    uv: FloatArray
    place: FloatArray
    landmarks: Landmarks
    triangles: Triangles
    welded: NDArray[np.int32]
    part: NDArray[np.uint8]


@dataclass(frozen=True)
class Texels:
    """What lies under every texel of a map; row and column i lie at low_mm + i * texel_mm in texture coordinates.

    neutral (H,W,3) float32 mm, place (H,W,2) float32 mm, part (H,W) uint8; covered (H,W) bool is False where no triangle lies,
    and the other arrays are 0 there.
    """

    low_mm: FloatArray
    texel_mm: float
    neutral: NDArray[np.float32]
    place: NDArray[np.float32]
    part: NDArray[np.uint8]
    covered: NDArray[np.bool_]


def build_head(model: FaceModel, identity: FloatArray, expression: FloatArray, pose: FloatArray) -> Head:
    """Return the head of the given coefficients; `pose` (3,3) rotates the photographed face about the origin."""
    neutral = model.vertices(identity, np.zeros(len(model.expression_names)))
    vertices = model.vertices(identity, expression) @ pose.T
    uv = model.texture_coordinates(identity)
    place, landmarks = model.face_coordinates(identity)
    gradient_u, gradient_v = texture_gradients(vertices, model.triangles, uv)
    return Head(
        neutral=neutral,
        vertices=vertices,
        normals=vertex_normals(vertices, model.triangles, model.welded),
        gradient_u=gradient_u,
        gradient_v=gradient_v,
        uv=uv,
        place=place,
        landmarks=landmarks,
        triangles=model.triangles,
        welded=model.welded,
        part=model.part,
    )


def vertex_normals(vertices: FloatArray, triangles: Triangles, welded: NDArray[np.int32]) -> FloatArray:
    """Return unit normals (N,3): the mean of the adjoining triangles' normals, weighted by area, the same across seams."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normals = _sums(np.cross(b - a, c - a), welded[triangles], len(vertices))[welded]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0.0, length, 1.0)


def texture_gradients(vertices: FloatArray, triangles: Triangles, uv: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the gradients (N,3), (N,3) of u and v along the surface, per mm, means over the adjoining triangles by area."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    edge_1, edge_2 = b - a, c - a
    normal = np.cross(edge_1, edge_2)
    square = np.maximum(np.einsum("ij,ij->i", normal, normal), 1e-18)
    dual_1, dual_2 = np.cross(edge_2, normal) / square[:, None], np.cross(normal, edge_1) / square[:, None]
    step = uv[triangles[:, 1:]] - uv[triangles[:, :1]]
    area = np.sqrt(square)
    total = np.maximum(_sums(area[:, None], triangles, len(vertices)), 1e-18)
    gradients = (step[:, 0, axis, None] * dual_1 + step[:, 1, axis, None] * dual_2 for axis in range(2))
    u, v = (_sums(area[:, None] * gradient, triangles, len(vertices)) / total for gradient in gradients)
    return u, v


def triangle_areas(vertices: FloatArray, triangles: Triangles) -> FloatArray:
    """Return the areas (M,) in square millimetres."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    return np.asarray(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1))


def rasterise(head: Head, low_mm: FloatArray, high_mm: FloatArray, texel_mm: float, margin_texels: float = 2.0) -> Texels:
    """Return what lies under the texels between the corners (2,), (2,) of texture coordinates.

    Charts go on by `margin_texels` beyond their borders, so that maps can be sampled up to the border.
    """
    columns, rows = (np.floor((high_mm - low_mm) / texel_mm + 1e-6).astype(int) + 1).tolist()
    neutral = np.zeros((rows, columns, 3), np.float32)
    place = np.zeros((rows, columns, 2), np.float32)
    part = np.zeros((rows, columns), np.uint8)
    covered = np.zeros((rows, columns), np.bool_)
    uv = (head.uv - low_mm) / texel_mm
    for margin in (0.0, margin_texels):
        _rasterise(uv, head.triangles, head.neutral, head.place, head.part, margin, neutral, place, part, covered)
    return Texels(np.asarray(low_mm, np.float64), texel_mm, neutral, place, part, covered)


def _sums(values: FloatArray, corners: NDArray[np.int32], count: int) -> FloatArray:
    """Add a value (M,D) per triangle to each of its corners; returns (N,D)."""
    corner = corners.T.ravel()
    return np.stack([np.bincount(corner, np.tile(column, 3), count) for column in values.T], axis=1)


@njit(cache=True, nogil=True)
def _rasterise(uv, triangles, neutral_of, place_of, part_of, margin, neutral, place, part, covered):  # type: ignore[no-untyped-def]
    """Fill uncovered texels inside triangles, or within `margin` texels of them, by barycentric interpolation."""
    rows, columns = covered.shape
    for index in range(len(triangles)):
        a, b, c = triangles[index]
        ux, uy = uv[b, 0] - uv[a, 0], uv[b, 1] - uv[a, 1]
        vx, vy = uv[c, 0] - uv[a, 0], uv[c, 1] - uv[a, 1]
        area = ux * vy - uy * vx
        if abs(area) < 1e-9:
            continue
        # `margin` texels beyond an edge, as barycentric weight: the height over that edge is |area| / its length.
        slack_a = margin * np.hypot(vx - ux, vy - uy) / abs(area) + 1e-9
        slack_b = margin * np.hypot(vx, vy) / abs(area) + 1e-9
        slack_c = margin * np.hypot(ux, uy) / abs(area) + 1e-9
        first_row = max(int(np.floor(min(uv[a, 1], uv[b, 1], uv[c, 1]) - margin)), 0)
        last_row = min(int(np.ceil(max(uv[a, 1], uv[b, 1], uv[c, 1]) + margin)), rows - 1)
        first_column = max(int(np.floor(min(uv[a, 0], uv[b, 0], uv[c, 0]) - margin)), 0)
        last_column = min(int(np.ceil(max(uv[a, 0], uv[b, 0], uv[c, 0]) + margin)), columns - 1)
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                if covered[row, column]:
                    continue
                x, y = column - uv[a, 0], row - uv[a, 1]
                second = (x * vy - y * vx) / area
                third = (y * ux - x * uy) / area
                first = 1.0 - second - third
                if first < -slack_a or second < -slack_b or third < -slack_c:
                    continue
                for axis in range(3):
                    neutral[row, column, axis] = (
                        first * neutral_of[a, axis] + second * neutral_of[b, axis] + third * neutral_of[c, axis]
                    )
                for axis in range(2):
                    place[row, column, axis] = first * place_of[a, axis] + second * place_of[b, axis] + third * place_of[c, axis]
                nearest = a if first >= second and first >= third else (b if second >= third else c)
                part[row, column] = part_of[nearest]
                covered[row, column] = True
