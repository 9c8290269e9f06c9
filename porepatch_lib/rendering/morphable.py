"""Heads from a linear morphable face model that the user has, in place of the parametric head.

V. Blanz, T. Vetter, "A Morphable Model for the Synthesis of 3D Faces", 1999: a mean face plus weighted directions of identity
and expression. The coarse mesh is subdivided (see `subdivision`), holes between lids and lips are closed by dark hollows, and
lids are closed where the model can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from porepatch_lib.errors import PorePatchError
from porepatch_lib.rendering.features import signed_features
from porepatch_lib.rendering.morphable_files import LinearModel, read_linear_model
from porepatch_lib.rendering.morphable_layout import (
    EYE_INNER,
    EYE_OUTER,
    MOUTH_CORNERS,
    NOSE_TIP,
    REQUIRED,
    face_landmarks,
    plane_of_texture,
    to_face,
)
from porepatch_lib.rendering.subdivision import Faces, boundary_loops, fans, subdivide, triangulate
from porepatch_lib.rendering.surface import DARK, EYE, HAIR, OTHER_SKIN, SKIN, Landmarks, Triangles, triangle_areas

FloatArray = NDArray[np.float64]

_MOST_SIGMAS = 2.0
_MOST_LEVELS = 4
_EDGE_PER_STEP = 1.3
_EYES_Y_Z_MM = np.array([23.0, 80.0])  # where the parametric head has the corners of its eyes, and the middle of its mouth
_MOUTH_Y_Z_MM = np.array([-43.5, 95.0])
_HALF_EYE_PER_EYE_U, _EYE_HALF_HEIGHT_MM = 0.42, 5.5  # of open eyes
_HOLLOW_MM = 8.0  # how deep the middle of a closed hole lies
_FACE_HALF_MM, _BELOW_CHIN_MM = 92.0, 20.0
_EAR_ABOVE_EYE_MM = 3.0
_NOSTRIL_SIDE_MM, _CAVE_MM, _CAVE_STRETCH = 6.0, 9.0, 1.8
_BLINK, _MOST_BLINK = ("eyeBlink_L", "eyeBlink_R"), 1.5
_UPPER_LIDS, _LOWER_LIDS = (37, 38, 43, 44), (41, 40, 47, 46)  # points above each other
# Everyday expressions as shares of ARKit's blend shapes; a name stands for both sides as well.
_EXPRESSIONS: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.7, "cheekSquint": 0.5, "mouthDimple": 0.2},
    {"mouthFrown": 0.6, "mouthShrugLower": 0.35},
    {"browInnerUp": 0.7, "browOuterUp": 0.6},
    {"browDown": 0.8, "noseSneer": 0.2},
    {"jawOpen": 0.15, "mouthStretch": 0.3},
    {"mouthPucker": 0.5},
    {"mouthPress": 0.5, "mouthRollLower": 0.2},
    {"cheekPuff": 0.4},
    {"noseSneer": 0.5, "mouthUpperUp": 0.2},
)
_AT_ONCE = 3
_PLAIN_EXPRESSION = 0.5  # of a standard deviation, for models whose expressions have other names


def load_morphable_model(path: Path, step_mm: float) -> MorphableModel:
    """Read a model (see `morphable_files.read_linear_model`) for a mesh of about `step_mm` between vertices of the face.

    Raises:
        PorePatchError: if the model is missing, incomplete, damaged, or lies otherwise than upright and looking along +z.
    """
    model = read_linear_model(path)
    missing = [point for point in REQUIRED if model.landmarks[point] < 0]
    if missing:
        raise PorePatchError(
            f"The face model {path} has no vertex for landmark {missing[0]} of the 68; write it into `landmarks`."
        )
    if not boundary_loops(model.faces):
        raise PorePatchError(f"The mesh of the face model {path} has no border; leave its neck open.")
    loose = np.setdiff1d(model.landmarks[model.landmarks >= 0], model.faces)
    if len(loose):
        raise PorePatchError(f"No face of the face model {path} uses vertex {loose[0]} of `landmarks`; choose another.")
    model = _placed(model)
    points = model.mean[model.landmarks]
    wide, tall = points[EYE_OUTER[1], 0] - points[EYE_OUTER[0], 0], points[EYE_INNER[0], 1] - points[MOUTH_CORNERS[0], 1]
    if not (50.0 < wide < 140.0 and 30.0 < tall < 130.0 and points[NOSE_TIP, 2] > points[EYE_INNER[0], 2]):
        raise PorePatchError(
            f"The face model {path} has its eyes {wide:.0f} mm wide and {tall:.0f} mm above the mouth; "
            "it must look along +z with y up and the right landmarks and units_mm."
        )
    return MorphableModel(model, step_mm)


def _sides(names: tuple[str, ...], name: str) -> list[int]:
    """Return where a blend shape, or its left and right halves, stand among the names."""
    return [index for index, whole in enumerate(names) if whole in (name, f"{name}_L", f"{name}_R")]


@dataclass(frozen=True)
class Lids:
    """How a model shuts its eyes. upper, lower (4,): vertices above each other; blink (N,3) mm: the offsets of a whole blink."""

    upper: NDArray[np.int64]
    lower: NDArray[np.int64]
    blink: FloatArray

    def closing(self, vertices: FloatArray) -> FloatArray:
        """Return the offsets (N,3) that just close the lids of coarse vertices (N,3)."""
        gap, shut = (values[self.upper, 1] - values[self.lower, 1] for values in (vertices, self.blink))
        return np.asarray(np.clip(np.max(-gap / shut), 0.0, _MOST_BLINK) * self.blink)


def _lids_of(model: LinearModel) -> Lids | None:
    """Return how the model shuts its eyes, None if it cannot."""
    upper, lower = (model.landmarks[list(points)] for points in (_UPPER_LIDS, _LOWER_LIDS))
    if not set(_BLINK) <= set(model.expression_names) or min(upper.min(), lower.min()) < 0:
        return None
    blink = sum((model.expression[model.expression_names.index(name)] for name in _BLINK), np.zeros_like(model.mean))
    return Lids(upper, lower, blink) if np.all(blink[upper, 1] < blink[lower, 1]) else None


class MorphableModel:
    """A `FaceModel` of a linear model. Coefficients 0 are its mean face, with closed lids if it has ARKit's eyeBlink shapes.

    Lids and lips that hold a hole have their borders twice, so that normals do not turn into the dark hollow behind: there,
    `welded` names a vertex itself.
    """

    def __init__(self, model: LinearModel, step_mm: float) -> None:
        self._lids = _lids_of(model)
        self._mean, self._identity, self._expression = model.mean, model.identity, model.expression
        self.expression_names = model.expression_names
        triangles = triangulate(model.faces)
        front = _front(model.mean, triangles)
        levels = _levels(model.mean, triangles[front], step_mm)
        plane, plane_faces = plane_of_texture(model, front, triangles)
        refine, faces = subdivide(model.faces, len(model.mean), levels)
        refine_plane, plane_faces = subdivide(plane_faces, len(plane), levels)
        corner, flat_corner, split_faces = _split_at_seams(faces, plane_faces)
        rims = [np.searchsorted(corner, loop) for loop in boundary_loops(faces)[1:]]
        hollows, hollow_triangles = _hollows(rims, len(corner))

        self._refine = (hollows @ refine[corner]).tocsr()
        self._uv = hollows @ (refine_plane[flat_corner] @ plane)
        self._depth_mm = np.zeros(len(self._uv))
        self._depth_mm[hollow_triangles[:, 2]] = _HOLLOW_MM
        self.triangles: Triangles = np.concatenate([triangulate(split_faces), hollow_triangles])
        self.welded = np.arange(len(self._uv), dtype=np.int32)
        self.welded[: len(corner)] = np.searchsorted(corner, corner)

        rest, known, closed = self._at_rest(model.mean), model.landmarks >= 0, self._lids is not None
        solid, flat = rest[model.landmarks], self._uv[np.searchsorted(corner, model.landmarks.clip(0))]
        self._landmarks = face_landmarks(solid, flat, known, closed)
        self._place = to_face(self._uv, solid, flat, known, self._landmarks, closed)
        self.part = _parts(self._place, self._landmarks, closed)
        self.part[len(corner) :] = DARK
        self.part[_caves(self._refine @ rest, self._uv, self.triangles, self._place, self._landmarks)] = DARK

    def sample_identity(self, rng: np.random.Generator) -> FloatArray:
        """Draw the identity coefficients (K,) of a new head: standard normal, cut off at 2."""
        return np.clip(rng.standard_normal(len(self._identity)), -_MOST_SIGMAS, _MOST_SIGMAS)

    def sample_expression(self, rng: np.random.Generator, strength: float) -> FloatArray:
        """Draw expression coefficients (E,): up to three everyday expressions, both sides nearly alike.

        Of models without ARKit's names all coefficients are drawn, normally distributed.
        """
        names = self.expression_names
        known = [expression for expression in _EXPRESSIONS if any(_sides(names, name) for name in expression)]
        if not known:
            return strength * _PLAIN_EXPRESSION * np.clip(rng.standard_normal(len(names)), -_MOST_SIGMAS, _MOST_SIGMAS)
        coefficients = np.zeros(len(names))
        at_once = min(_AT_ONCE, len(known))
        shares = rng.dirichlet(np.ones(at_once)) * rng.uniform(0.8, 1.2)
        for index, share in zip(rng.choice(len(known), at_once, replace=False), shares, strict=True):
            for name, weight in known[index].items():
                sides = _sides(names, name)
                coefficients[sides] += strength * share * weight * rng.uniform(0.85, 1.15, len(sides))
        return coefficients

    def vertices(self, identity: FloatArray, expression: FloatArray) -> FloatArray:
        """Return the vertices (N,3) in mm."""
        person = self._mean + np.einsum("k,knj->nj", identity, self._identity)
        coarse = self._at_rest(person) + np.einsum("k,knj->nj", expression, self._expression)
        vertices = np.asarray(self._refine @ coarse)
        vertices[:, 2] -= self._depth_mm
        return vertices

    def _at_rest(self, coarse: FloatArray) -> FloatArray:
        return coarse if self._lids is None else coarse + self._lids.closing(coarse)

    def texture_coordinates(self, identity: FloatArray) -> FloatArray:
        """Return the texture coordinates (N,2) in mm of the mean face; the same for all identities."""
        return self._uv.copy()

    def face_coordinates(self, identity: FloatArray) -> tuple[FloatArray, Landmarks]:
        """Return the face coordinates (N,2) in mm and the landmarks; the same for all identities, as vertices keep their role."""
        return self._place.copy(), self._landmarks


def _placed(model: LinearModel) -> LinearModel:
    """Move the mean face to where the parametric head has its eyes and mouth."""
    eyes = model.mean[model.landmarks[[*EYE_OUTER, *EYE_INNER]]].mean(axis=0)
    mouth = model.mean[model.landmarks[[62, 66]]].mean(axis=0)
    middle_x = model.mean[model.landmarks[[*EYE_OUTER, *MOUTH_CORNERS]], 0].mean()
    shift = np.array([-middle_x, *(0.5 * (_EYES_Y_Z_MM + _MOUTH_Y_Z_MM - eyes[1:] - mouth[1:]))])
    return replace(model, mean=model.mean + shift)


def _front(vertices: FloatArray, triangles: Triangles) -> NDArray[np.bool_]:
    """Return which triangles (M,) lie on the front of the face and look ahead."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normal, middle = np.cross(b - a, c - a), (a + b + c) / 3.0
    ahead = normal[:, 2] > 0.3 * np.linalg.norm(normal, axis=1)
    return np.asarray(ahead & (np.abs(middle[:, 0]) < 60.0) & (np.abs(middle[:, 1]) < 75.0))


def _levels(vertices: FloatArray, triangles: Triangles, step_mm: float) -> int:
    """Return how often to halve the edges so that the usual one is at most 1.3 steps long."""
    edge = np.sqrt(2.0 * np.median(triangle_areas(vertices, triangles)))
    return int(np.clip(np.ceil(np.log2(edge / (_EDGE_PER_STEP * step_mm))), 0, _MOST_LEVELS))


def _split_at_seams(faces: Faces, flat_faces: Faces) -> tuple[NDArray[np.int64], NDArray[np.int64], Faces]:
    """Return the pairs of vertex (N,) and flat vertex (N,) that faces use, sorted, and the faces (F,4) of pairs."""
    used = faces >= 0
    width = int(flat_faces.max()) + 1
    pairs, index = np.unique(faces[used].astype(np.int64) * width + flat_faces[used], return_inverse=True)
    split = np.full(faces.shape, -1, np.int32)
    split[used] = index
    return pairs // width, pairs % width, split


def _hollows(rims: list[NDArray[np.int64]], count: int) -> tuple[sparse.csr_matrix, Triangles]:
    """Return the matrix (N,count) that appends copies of the rims and their middles to `count` vertices, and the triangles."""
    identity = sparse.identity(count, format="csr")
    copies, first = [], count
    for rim in rims:
        copies.append(np.arange(first, first + len(rim)))
        first += len(rim)
    double = sparse.vstack([identity, *(identity[rim] for rim in rims)]).tocsr()
    close, triangles = fans(copies, first)
    return close @ double, triangles


def _parts(place: FloatArray, marks: Landmarks, closed: bool) -> NDArray[np.uint8]:
    side, v = np.abs(place[:, 0]), place[:, 1]
    beside = side > _FACE_HALF_MM
    part = np.full(len(place), SKIN, np.uint8)
    part[beside | (v < marks.chin_v - _BELOW_CHIN_MM)] = OTHER_SKIN
    scalp = v > marks.hairline_v - 0.004 * np.minimum(side, _FACE_HALF_MM) ** 2
    part[scalp | (beside & (v > marks.eye_v + _EAR_ABOVE_EYE_MM))] = HAIR
    part[signed_features(marks, place[:, 0], v)["nostrils"] < 0.0] = DARK
    if not closed:
        part[
            np.hypot((side - marks.eye_u) / (_HALF_EYE_PER_EYE_U * marks.eye_u), (v - marks.eye_v) / _EYE_HALF_HEIGHT_MM) < 1.0
        ] = EYE
    return part


def _caves(
    vertices: FloatArray, plane: FloatArray, triangles: Triangles, place: FloatArray, marks: Landmarks
) -> NDArray[np.bool_]:
    """Return which vertices (N,) are inside the nostrils: there, textures shrink."""
    flat = np.pad(plane, ((0, 0), (0, 1)))
    shrunk = triangle_areas(vertices, triangles) > _CAVE_STRETCH**2 * triangle_areas(flat, triangles)
    inside = np.zeros(len(vertices), bool)
    inside[triangles[shrunk]] = True
    return inside & (np.hypot(np.abs(place[:, 0]) - _NOSTRIL_SIDE_MM, place[:, 1] - marks.nostril_v) < _CAVE_MM)
