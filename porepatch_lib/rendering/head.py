"""A parametric family of heads: one sculpted average head, moved by named fields of identity and expression.

Texture and face coordinates are the same map: the average head laid out flat with as little stretching as possible. Features
stay at their place in it, whatever the identity and the expression.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.rendering.ears import ear
from porepatch_lib.rendering.expressions import EXPRESSION_FIELDS, IDENTITY_FIELDS, displaced
from porepatch_lib.rendering.flattening import grid_triangles
from porepatch_lib.rendering.layout import LIMIT_HIGH_MM, LIMIT_LOW_MM, Layout, layout, signed_distance
from porepatch_lib.rendering.sculpture import MOUTH_LINE, Sculpture, directions
from porepatch_lib.rendering.surface import DARK, HAIR, OTHER_SKIN, SKIN, Landmarks, Triangles

FloatArray = NDArray[np.float64]

FACE_LOW_MM = np.array([-123.0, -103.0])  # corners of the box of face coordinates in which bare skin lies
FACE_HIGH_MM = np.array([123.0, 81.0])
_HAIR_MM = 7.0
_HAIR_RIM_MM = 13.0
_EAR_STEP = 1.5  # the ears' mesh is coarser
_EAR_U_MM = 300.0  # where the ears' charts lie beside the head's
_BELOW_NECK = (190.0, -400.0)
_NEAR_NOSTRILS_MM = 25.0
_HOLLOW_MM = 1.0  # nostrils are dark where they are deeper
_MOUTH_GROOVE_STEPS = 0.6  # half width of the dark line between the lips
_MOUTH_REACH_MM = 9.0  # rows of vertices follow the mouth line so far above and below it
_COARSEST = 3.0  # the mesh outside the face's box grows up to so many times coarser
_GROWTH = 1.05

# Points on the average head, right half.
_HAIRLINE = (
    (0, 87, 85), (25, 85, 82), (45, 79, 69), (55, 70, 58), (59, 56, 55), (66, 44, 34), (69, 25, 18), (70.5, 2, 10), (71.5, 2, 3),
    (73, 25, 1), (74, 44, -8), (75, 42, -25), (73, 10, -38),
)  # fmt: skip
_BARE_SKIN = (
    (0, 100, 70), (30, 98, 70), (55, 85, 50), (66, 50, 30), (70, 25, 12), (70, 0, 10), (65, -30, 8), (59, -57, 8), (49, -71, 12),
    (42, -80, 26), (34, -86, 42), (24, -90, 54), (0, -95, 66),
)  # fmt: skip


class ParametricHead:
    """A `FaceModel` on one mesh, about `step_mm` between vertices of the face and coarser behind it."""

    def __init__(self, step_mm: float) -> None:
        flat = layout()
        self._landmarks = _landmarks(flat)
        grid = _grid(flat, step_mm)
        uv = grid.reshape(-1, 2)
        skull, skull_part = _skull(flat, grid, self._landmarks)
        ear_points, ear_plane, ear_triangles = ear(_EAR_STEP * step_mm)
        right, left = ear_triangles + len(uv), ear_triangles[:, ::-1] + len(uv) + len(ear_points)
        beside = [_EAR_U_MM, 0.0]
        self._average = np.concatenate([skull, ear_points, ear_points * [-1.0, 1.0, 1.0]])
        self._uv = np.concatenate([uv, beside + ear_plane * [-1.0, 1.0], ear_plane - beside])
        self.triangles: Triangles = np.concatenate([grid_triangles(*grid.shape[:2]), right, left]).astype(np.int32)
        self.welded = np.arange(len(self._uv), dtype=np.int32)
        self.part = np.full(len(self._uv), OTHER_SKIN, np.uint8)
        self.part[: len(uv)] = skull_part
        side, v = np.abs(self._uv[:, 0]), self._uv[:, 1]
        above_mouth = v - flat.curve(MOUTH_LINE, self._uv[:, 0])
        groove = _MOUTH_GROOVE_STEPS * step_mm
        self._lip = np.tanh(above_mouth / (groove + np.maximum(side - self._landmarks.mouth_half_width, 0.0)))
        self.part[(np.abs(above_mouth) < groove) & (side < 0.9 * self._landmarks.mouth_half_width)] = DARK
        self.identity_names = tuple(IDENTITY_FIELDS)
        self.expression_names = tuple(EXPRESSION_FIELDS)

    def sample_identity(self, rng: np.random.Generator) -> FloatArray:
        """Draw the identity coefficients (K,) of a new head: standard normal, cut off at 2."""
        return np.clip(rng.standard_normal(len(self.identity_names)), -2.0, 2.0)

    def sample_expression(self, rng: np.random.Generator, strength: float) -> FloatArray:
        """Draw expression coefficients (E,): up to three expressions at a time, together of about `strength`."""
        coefficients = np.zeros(len(self.expression_names))
        chosen = rng.choice(len(coefficients), 3, replace=False)
        coefficients[chosen] = strength * rng.dirichlet(np.ones(3)) * rng.uniform(0.7, 1.2)
        sideways = self.expression_names.index("mouth_side")
        coefficients[sideways] *= rng.choice([-1.0, 1.0])
        return coefficients

    def vertices(self, identity: FloatArray, expression: FloatArray) -> FloatArray:
        """Return the vertices (N,3) in mm."""
        person = displaced(self._average, self._lip, IDENTITY_FIELDS, identity)
        face = displaced(self._average, self._lip, EXPRESSION_FIELDS, expression)
        return np.asarray(person + (face - self._average))

    def texture_coordinates(self, identity: FloatArray) -> FloatArray:
        """Return the texture coordinates (N,2) in mm; the same for all identities."""
        return self._uv.copy()

    def face_coordinates(self, identity: FloatArray) -> tuple[FloatArray, Landmarks]:
        """Return the face coordinates (N,2) in mm, which are the texture coordinates, and the landmarks."""
        return self._uv.copy(), self._landmarks


def _grid(flat: Layout, step_mm: float) -> FloatArray:
    """Return face coordinates (rows, columns, 2), bent so that one row follows the mouth line."""
    u, v = (_graded(FACE_LOW_MM[i], FACE_HIGH_MM[i], LIMIT_LOW_MM[i], LIMIT_HIGH_MM[i], step_mm) for i in range(2))
    curve = flat.curve(MOUTH_LINE, u)
    nearest = v[np.argmin(np.abs(v - curve.mean()))]
    grid = np.stack(np.meshgrid(u, v), axis=-1)
    grid[..., 1] += (curve - nearest) * np.exp(-(((v - nearest) / _MOUTH_REACH_MM) ** 2))[:, None]
    return grid


def _skull(flat: Layout, grid: FloatArray, marks: Landmarks) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Return the average head without ears, with hair, at a grid (rows, columns, 2) of face coordinates, and the parts (N,)."""
    uv = grid.reshape(-1, 2)
    angles = flat.angles(uv)
    points = Sculpture().surface(angles).reshape(*grid.shape[:2], 3)
    # Shapes are joined one after the other, the right one first; the mean with the mirror image is symmetric.
    points = (0.5 * (points + points[:, ::-1] * [-1.0, 1.0, 1.0])).reshape(-1, 3)
    near = np.flatnonzero(np.hypot(uv[:, 0], uv[:, 1] - marks.nostril_v) < _NEAR_NOSTRILS_MM)
    depth = np.linalg.norm(Sculpture(with_nostrils=False).surface(angles[near]) - points[near], axis=1)
    hair = -signed_distance(uv, flat.outline(_HAIRLINE, beyond=(_BELOW_NECK,)))
    points += (_hair_height(hair) * _locks(uv))[:, None] * directions(angles)
    part = np.full(len(uv), OTHER_SKIN, np.uint8)
    part[signed_distance(uv, flat.outline(_BARE_SKIN)) < 0.0] = SKIN
    part[hair < 0.0] = HAIR
    part[near[depth > _HOLLOW_MM]] = DARK
    return points, part


def _graded(low: float, high: float, first: float, last: float, step: float) -> FloatArray:
    """Return coordinates from `first` to `last`: `step` apart between low and high, growing to coarser steps outside."""
    inside = np.linspace(low, high, round((high - low) / step) + 1)
    return np.concatenate([low - _growing(low - first, step)[::-1], inside, high + _growing(last - high, step)])


def _growing(length: float, step: float) -> FloatArray:
    steps = np.minimum(step * _GROWTH ** np.arange(1, int(length / step) + 2), _COARSEST * step)
    ends = np.cumsum(steps)
    ends = ends[: int(np.searchsorted(ends, length)) + 1]
    return np.asarray(ends * (length / ends[-1]))


def _landmarks(flat: Layout) -> Landmarks:
    eye_u, eye_v = flat.place((32.5, 26, 80))
    corner = flat.place((25, -43.6, 84))
    return Landmarks(
        eye_u=eye_u,
        eye_v=eye_v,
        brow_v=flat.place((27, 43, 91))[1],
        nose_tip_v=flat.place((0, -13, 112.5))[1],
        nostril_v=flat.place((6.4, -22, 100))[1],
        mouth_v=flat.place((0, -43.9, 94))[1],
        mouth_half_width=corner[0],
        chin_v=flat.place((0, -77, 92))[1],
        hairline_v=flat.place((0, 87, 85))[1],
    )


def _hair_height(hair: FloatArray) -> FloatArray:
    """Return how far hair stands off the head, mm, with a soft rim."""
    share = np.clip(-hair / _HAIR_RIM_MM, 0.0, 1.0)
    return np.asarray(_HAIR_MM * share * share * (3.0 - 2.0 * share))


def _locks(uv: FloatArray) -> FloatArray:
    """Return the relief of locks that run back from the face, around 1."""
    radius, around = np.hypot(*uv.T), np.arctan2(uv[:, 1], np.abs(uv[:, 0]))
    fine = np.sin(46.0 * around + 2.0 * np.sin(radius / 17.0) + 1.3 * np.sin(uv[:, 0] / 13.0))
    broad = np.sin(17.0 * around + 1.5 * np.sin(radius / 23.0 + 2.0) + 0.9 * np.sin(uv[:, 0] / 19.0))
    return np.asarray(1.0 + 0.06 * fine + 0.08 * broad)
