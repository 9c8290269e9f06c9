"""Laying a face model out flat: its texture in millimetres, and face coordinates whose features lie where skin is painted.

The plane has the tip of the nose at the origin, u to the right and v up. Face coordinates are the plane, bent smoothly
(thin-plate splines, F. Bookstein, 1989) so that lips, lids, brows and nostrils of the model come to lie on the outlines of
`features`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from porepatch_lib.rendering.features import lash_line, mouth_line, signed_features
from porepatch_lib.rendering.flattening import flatten
from porepatch_lib.rendering.morphable_files import LinearModel
from porepatch_lib.rendering.subdivision import Faces, boundary_loops, fans, triangulate
from porepatch_lib.rendering.surface import Landmarks, Triangles, triangle_areas

FloatArray = NDArray[np.float64]

# Places among the points; the first of a pair lies at u < 0.
CHIN, NOSE_TIP, NOSE_BASE = 8, 30, 33
EYE_OUTER, EYE_INNER = (36, 45), (39, 42)
LIDS = ((37, 38, 40, 41), (43, 44, 46, 47))
MOUTH_CORNERS = (48, 54)
_UPPER_LIP, _LOWER_LIP = (49, 50, 51, 52, 53), (55, 56, 57, 58, 59)
_UPPER_INNER, _LOWER_INNER = (61, 62, 63), (65, 66, 67)
REQUIRED = (CHIN, NOSE_TIP, NOSE_BASE, *EYE_OUTER, *EYE_INNER, *MOUTH_CORNERS, 51, 57, 62, 66)
_MIDLINE = (27, 28, 29, 30, 33, 8)
_BROWS = ((21, 20, 19, 18), (22, 23, 24, 25))  # from the nose outwards
_NOSTRILS = (68, 69)
_JAW = (0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16)

Control = tuple[FloatArray, tuple[float, float]]

_NOSE_TIP_V = -7.0
_BROW_PER_EYE_U = (0.3, 0.66, 1.14, 1.54)  # u of the points along a brow
_BROW_BELOW_POINTS_MM = 5.0  # the points lie on the upper edge
_HALF_EYE_PER_EYE_U = 0.42
_LASHES_BELOW_EYE_MM = 4.5
_NOSTRIL_SIDE_MM = 6.0
_NOSTRIL_TOWARDS_TIP = 0.35
_CHIN_TOWARDS_MOUTH = 0.22  # from the lowest point of the chin to its middle
_BROW_ABOVE_EYE_MM = 16.0
_HAIRLINE_ABOVE_BROW = 0.65  # of the height of the brows above the nostrils
_LIP_GAP_MM = 0.4
_RING_MM, _RING = 150.0, 16
_MOST_STRETCH, _MOST_STRETCHED = 1.7, 0.1
_BORDER_MM, _FLATTENING_STEPS = 200.0, 100


def plane_of_texture(model: LinearModel, front: NDArray[np.bool_], triangles: Triangles) -> tuple[FloatArray, Faces]:
    """Return the plane (T,2) in mm and its faces (F,4): the model's texture, or its own layout if that is missing or bad.

    `triangles` are those of the faces, `front` (M,) which of them count. Texture is bad that has seams or folds in front, or
    stretches more than a tenth of it by over 1.7.
    """
    if model.uv is not None and model.uv_faces is not None:
        uv_triangles = triangulate(model.uv_faces)
        if _is_even(model.mean, triangles[front], model.uv, uv_triangles[front]):
            return _upright(model, front, triangles, model.uv, uv_triangles), model.uv_faces
    plane = _unwrap(model.mean, model.faces)
    return _upright(model, front, triangles, plane, triangles), model.faces


def face_landmarks(solid: FloatArray, flat: FloatArray, known: NDArray[np.bool_], closed: bool) -> Landmarks:
    """Return the landmarks from the points (70,3) of the mean face and (70,2) in the plane; `closed` tells that the lids are.

    Heights are straight ones, as upper lip and chin are much longer when laid out flat.
    """
    u, v = np.abs(flat[:, 0]), _heights(solid)
    corners = [*EYE_OUTER, *EYE_INNER]
    lids = [point for pair in LIDS for point in pair if known[point]] or corners
    brows = [point for pair in _BROWS for point in pair if known[point]]
    eye_v = float(v[lids].mean()) + (_LASHES_BELOW_EYE_MM if closed else 0.0)
    mouth_v = float(v[[62, 66]].mean())
    brow_v = float(v[brows].mean()) - _BROW_BELOW_POINTS_MM - 2.0 if brows else eye_v + _BROW_ABOVE_EYE_MM
    nostril_v = float(v[NOSE_BASE] + _NOSTRIL_TOWARDS_TIP * (v[NOSE_TIP] - v[NOSE_BASE]))
    return Landmarks(
        eye_u=float(u[corners].mean()),
        eye_v=eye_v,
        brow_v=brow_v,
        nose_tip_v=_NOSE_TIP_V,
        nostril_v=nostril_v,
        mouth_v=mouth_v,
        mouth_half_width=float(np.linalg.norm(solid[list(MOUTH_CORNERS)] - solid[62], axis=1).mean()),
        chin_v=float(v[CHIN] + _CHIN_TOWARDS_MOUTH * (mouth_v - v[CHIN])),
        hairline_v=brow_v + _HAIRLINE_ABOVE_BROW * (brow_v - nostril_v),
    )


def to_face(
    plane: FloatArray, solid: FloatArray, flat: FloatArray, known: NDArray[np.bool_], marks: Landmarks, closed: bool
) -> FloatArray:
    """Return the face coordinates (N,2) of places (N,2) in the plane; the other arguments as in `face_landmarks`."""
    sources, targets = _controls(solid, flat, known, marks, closed)
    bend = RBFInterpolator(sources, targets - sources, kernel="thin_plate_spline", degree=1)
    return np.asarray(plane + bend(plane))


def _heights(solid: FloatArray) -> FloatArray:
    return np.asarray(solid[:, 1] - solid[NOSE_TIP, 1] + _NOSE_TIP_V)


def _controls(
    solid: FloatArray, flat: FloatArray, known: NDArray[np.bool_], marks: Landmarks, closed: bool
) -> tuple[FloatArray, FloatArray]:
    """Return places (K,2) in the plane and where they belong in face coordinates (K,2)."""
    pairs = [*_eyes_and_nostrils(flat, known, marks, closed), *_lips(flat, known, marks)]
    v = _heights(solid)
    pairs += [(flat[point], (0.0, v[point])) for point in _MIDLINE if known[point]]
    pairs += [(flat[point], (flat[point, 0], v[point])) for point in _JAW if known[point]]
    angles = 2.0 * np.pi * np.arange(_RING) / _RING
    ring = _RING_MM * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pairs += [(place, (place[0], place[1] + _NOSE_TIP_V)) for place in ring]
    return np.array([source for source, _ in pairs]), np.array([target for _, target in pairs])


def _eyes_and_nostrils(flat: FloatArray, known: NDArray[np.bool_], marks: Landmarks, closed: bool) -> list[Control]:
    controls: list[Control] = []
    half_eye = _HALF_EYE_PER_EYE_U * marks.eye_u
    for side, sign in enumerate((-1.0, 1.0)):
        for point, u in ((EYE_OUTER[side], marks.eye_u + half_eye), (EYE_INNER[side], marks.eye_u - half_eye)):
            controls.append((flat[point], (sign * u, float(lash_line(marks, np.array(u))) if closed else marks.eye_v)))
        lids = [point for point in LIDS[side] if known[point]]
        if lids:
            lid_v = float(lash_line(marks, np.array(marks.eye_u))) if closed else marks.eye_v
            controls.append((flat[lids].mean(axis=0), (sign * marks.eye_u, lid_v)))
        for point, share in zip(_BROWS[side], _BROW_PER_EYE_U, strict=True):
            if known[point]:
                u = share * marks.eye_u
                controls.append((flat[point] - [0.0, _BROW_BELOW_POINTS_MM], (sign * u, _brow_middle(marks, u))))
        if known[_NOSTRILS[side]]:
            controls.append((flat[_NOSTRILS[side]], (sign * _NOSTRIL_SIDE_MM, marks.nostril_v)))
    return controls


def _lips(flat: FloatArray, known: NDArray[np.bool_], marks: Landmarks) -> list[Control]:
    left, right = MOUTH_CORNERS
    controls: list[Control] = [
        (flat[point], (sign * marks.mouth_half_width, marks.mouth_v)) for point, sign in ((left, -1.0), (right, 1.0))
    ]
    share = 2.0 / (flat[right, 0] - flat[left, 0])
    for line, up, is_outer in (
        (_UPPER_LIP, 1.0, True),
        (_UPPER_INNER, 1.0, False),
        (_LOWER_INNER, -1.0, False),
        (_LOWER_LIP, -1.0, True),
    ):
        for point in line:
            if known[point]:
                u = marks.mouth_half_width * float(np.clip(share * flat[point, 0], -0.9, 0.9))
                inner = float(mouth_line(marks, np.array(u))) + up * _LIP_GAP_MM
                controls.append((flat[point], (u, _lip_edge(marks, u, up) if is_outer else inner)))
    return controls


def _lip_edge(marks: Landmarks, u: float, up: float) -> float:
    """Return v of the upper (`up` 1) or lower (-1) outline of the lips."""
    v = marks.mouth_v + up * np.arange(0.0, 20.0, 0.05)
    inside = signed_features(marks, np.full_like(v, u), v)["lips"] <= 0.0
    return float(v[inside][-1]) if inside.any() else marks.mouth_v


def _brow_middle(marks: Landmarks, side: float) -> float:
    v = marks.brow_v + np.arange(-12.0, 12.0, 0.05)
    return float(v[np.argmin(signed_features(marks, np.full_like(v, side), v)["brows"])])


def _is_even(vertices: FloatArray, triangles: Triangles, uv: FloatArray, uv_triangles: Triangles) -> bool:
    """Return whether a texture keeps areas well enough, without folds and seams."""
    pairs = np.unique(np.stack([triangles.ravel(), uv_triangles.ravel()], axis=1), axis=0)
    flat = _signed_areas(uv, uv_triangles)
    if len(pairs) > len(np.unique(triangles)) or np.any(flat * np.sign(np.median(flat)) <= 0.0):
        return False
    stretch = np.sqrt(triangle_areas(vertices, triangles) / np.abs(flat))
    stretch /= np.median(stretch)
    return bool(np.mean((stretch > _MOST_STRETCH) | (stretch < 1.0 / _MOST_STRETCH)) < _MOST_STRETCHED)


def _signed_areas(plane: FloatArray, triangles: Triangles) -> FloatArray:
    (ax, ay), (bx, by) = ((plane[triangles[:, k]] - plane[triangles[:, 0]]).T for k in (1, 2))
    return np.asarray(0.5 * (ax * by - ay * bx))


def _upright(
    model: LinearModel, front: NDArray[np.bool_], triangles: Triangles, plane: FloatArray, plane_triangles: Triangles
) -> FloatArray:
    """Turn (and mirror, if need be) and scale a plane so that u is right, v up, a unit about 1 mm, the nose tip the origin."""
    place = np.zeros(len(model.mean), np.int64)
    place[triangles] = plane_triangles
    seen = model.landmarks[model.landmarks >= 0]
    flat, straight = plane[place[seen]], model.mean[seen, :2]
    first, _, last = np.linalg.svd((flat - flat.mean(axis=0)).T @ (straight - straight.mean(axis=0)))
    solid = triangle_areas(model.mean, triangles[front])
    scale = np.sqrt(np.median(solid / np.abs(_signed_areas(plane, plane_triangles[front]))))
    turned = scale * plane @ (first @ last)
    return np.asarray(turned - turned[place[model.landmarks[NOSE_TIP]]])


def _unwrap(vertices: FloatArray, faces: Faces) -> FloatArray:
    """Return plane coordinates (N,2) with little stretch on the front; the border must be open, holes are closed for this.

    The start has no folds: W. Tutte, "How to draw a graph", 1963, with the border on a circle.
    """
    count = len(vertices)
    border, *holes = boundary_loops(faces)
    close, lids = fans(holes, count)
    solid, triangles = close @ vertices, np.concatenate([triangulate(faces), lids])
    i, j = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    graph = sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(len(solid), len(solid))).tocsr()
    graph = ((graph + graph.T) > 0).astype(np.float64)
    part = connected_components(graph, directed=False)[1]
    elsewhere = part != part[border[0]]

    along = np.cumsum(np.linalg.norm(np.diff(vertices[border], axis=0, append=vertices[border[:1]]), axis=1))
    angle = -2.0 * np.pi * along / along[-1]  # clockwise: the missing face is seen from behind
    start = np.zeros((len(solid), 2))
    start[border] = _BORDER_MM * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    fixed = elsewhere.copy()
    fixed[border] = True
    laplacian = sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph
    start[~fixed] = splu(laplacian[~fixed][:, ~fixed].tocsc()).solve(-(laplacian[~fixed][:, fixed] @ start[fixed]))

    fixed = elsewhere.copy()
    fixed[border[0]] = True
    ahead = np.arctan2(np.hypot(solid[:, 0], solid[:, 1]), solid[:, 2])
    weight = np.clip(1.0 - (ahead[triangles].mean(axis=1) - 1.35) / 0.4, 0.03, 1.0)
    return flatten(solid, triangles, start, fixed, weight, _FLATTENING_STEPS)[:count]
