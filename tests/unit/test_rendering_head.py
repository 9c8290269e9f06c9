"""Tests of the parametric head: the mesh, its flat map, identities and expressions."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.rendering.flattening import flatten, grid_triangles, invert
from porepatch_lib.rendering.head import FACE_HIGH_MM, FACE_LOW_MM, ParametricHead
from porepatch_lib.rendering.surface import DARK, HAIR, OTHER_SKIN, SKIN, triangle_areas, vertex_normals


@pytest.fixture(scope="module")
def model() -> ParametricHead:
    return ParametricHead(2.0)


@pytest.fixture(scope="module")
def average(model: ParametricHead) -> np.ndarray:
    return model.vertices(_zeros(model.identity_names), _zeros(model.expression_names))


def _zeros(names: tuple[str, ...]) -> np.ndarray:
    return np.zeros(len(names))


def _one(names: tuple[str, ...], name: str, amount: float = 1.0) -> np.ndarray:
    return amount * (np.array(names) == name)


def _skin_triangles(model: ParametricHead) -> np.ndarray:
    return model.triangles[(model.part[model.triangles] == SKIN).all(axis=1)]


def _flat_areas(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[triangles[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    return 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def test_flattening_a_plane_gives_the_plane_back_and_inverts() -> None:
    a, b = np.linspace(0.0, 1.0, 9), np.linspace(0.0, 2.0, 13)
    plane = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    tilted = np.column_stack([plane[:, 0], 0.6 * plane[:, 1], 0.8 * plane[:, 1]])
    triangles = grid_triangles(len(b), len(a))
    border = (plane[:, 0] == 0.0) | (plane[:, 0] == 1.0) | (plane[:, 1] == 0.0) | (plane[:, 1] == 2.0)
    start = plane + np.where(border[:, None], 0.0, 0.03)
    flat = flatten(tilted, triangles, start, border, np.ones(len(triangles)))
    np.testing.assert_allclose(flat, plane, atol=1e-4)

    bent = plane + 0.05 * np.sin(3.0 * plane[:, ::-1])
    sampled = bent.reshape(len(b), len(a), 2).transpose(1, 0, 2)
    wanted = np.array([[0.31, 0.77], [0.5, 1.2]])
    targets = wanted + 0.05 * np.sin(3.0 * wanted[:, ::-1])
    np.testing.assert_allclose(invert(a, b, sampled, targets), wanted, atol=1e-4)


def test_mesh_has_no_degenerate_triangles_and_faces_outwards(model: ParametricHead, average: np.ndarray) -> None:
    assert triangle_areas(average, model.triangles).min() > 1e-4
    skull = model.triangles[model.triangles.max(axis=1) < np.argmax(np.abs(model.texture_coordinates(np.zeros(1))[:, 0]) > 250.0)]
    normals = vertex_normals(average, model.triangles, model.welded)
    outwards = np.einsum("nd,nd->n", normals, average)[np.unique(skull)]
    assert np.mean(outwards > 0.0) > 0.995
    for sign in (-1.0, 1.0):  # each ear encloses a volume
        ear = model.triangles[(sign * model.texture_coordinates(np.zeros(1))[model.triangles[:, 0], 0]) > 250.0]
        a, b, c = (average[ear[:, corner]] - average[ear].mean(axis=(0, 1)) for corner in range(3))
        assert np.einsum("nd,nd->n", a, np.cross(b, c)).sum() > 0.0


def test_every_part_is_there_and_bare_skin_lies_in_its_box(model: ParametricHead) -> None:
    uv = model.texture_coordinates(_zeros(model.identity_names))
    assert set(np.unique(model.part)) == {SKIN, HAIR, OTHER_SKIN, DARK}
    skin = uv[model.part == SKIN]
    assert (skin >= FACE_LOW_MM).all() and (skin <= FACE_HIGH_MM).all()
    assert len(_skin_triangles(model)) * (2.0 / 0.6) ** 2 > 200_000


def test_flat_map_is_single_valued_and_keeps_areas(model: ParametricHead, average: np.ndarray) -> None:
    uv = model.texture_coordinates(_zeros(model.identity_names))
    assert _flat_areas(uv, model.triangles).min() > 0.0
    skin = _skin_triangles(model)
    ratio = triangle_areas(average, skin) / _flat_areas(uv, skin)
    assert np.mean((ratio > 0.6) & (ratio < 1.7)) > 0.99
    assert 0.9 < np.median(ratio) < 1.1


def test_the_average_face_is_symmetric(model: ParametricHead, average: np.ndarray) -> None:
    uv = model.texture_coordinates(_zeros(model.identity_names))
    columns = np.unique(np.round(uv[model.part == HAIR, 0], 6)).size
    rows = np.flatnonzero(np.abs(uv[:, 0]) > 250.0)[0] // columns
    grid = average[: rows * columns].reshape(rows, columns, 3)
    skin = model.part[: rows * columns].reshape(rows, columns) == SKIN
    assert np.abs(grid[:, ::-1] * [-1.0, 1.0, 1.0] - grid)[skin].max() < 0.05


def test_landmarks_lie_where_the_face_has_them(model: ParametricHead, average: np.ndarray) -> None:
    place, marks = model.face_coordinates(_zeros(model.identity_names))
    tip = np.argmax(np.where(model.part == SKIN, average[:, 2], -np.inf))
    assert np.hypot(place[tip, 0], place[tip, 1] - marks.nose_tip_v) < 3.0

    def near(u: float, v: float) -> np.ndarray:
        return average[np.argmin(np.hypot(place[:, 0] - u, place[:, 1] - v))]

    mouth, above, below = (near(0.0, marks.mouth_v + shift)[2] for shift in (0.0, 4.0, -4.0))
    assert mouth < above - 0.5 and mouth < below - 0.5
    pupil = near(marks.eye_u, marks.eye_v)
    assert 60.0 < 2.0 * pupil[0] < 68.0
    assert near(0.0, marks.hairline_v)[1] - near(0.0, marks.chin_v - 17.0)[1] == pytest.approx(180.0, abs=8.0)
    order = (marks.nose_tip_v, marks.nostril_v, marks.mouth_v, marks.chin_v)
    assert list(order) == sorted(order, reverse=True) and marks.eye_v < marks.brow_v < marks.hairline_v


def test_identities_differ_and_repeat(model: ParametricHead) -> None:
    neutral = _zeros(model.expression_names)
    first, again, other = (model.sample_identity(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert model.vertices(first, neutral).tobytes() == model.vertices(again, neutral).tobytes()
    difference = np.linalg.norm(model.vertices(first, neutral) - model.vertices(other, neutral), axis=1)
    assert 1.0 < difference[model.part == SKIN].mean() < 12.0
    assert ParametricHead(2.0).vertices(first, neutral).tobytes() == model.vertices(first, neutral).tobytes()


def test_a_wider_nose_is_wider_and_leaves_the_rest(model: ParametricHead, average: np.ndarray) -> None:
    moved = model.vertices(_one(model.identity_names, "nose_width"), _zeros(model.expression_names)) - average
    wing = np.argmin(np.linalg.norm(average - [17.0, -17.0, 94.0], axis=1))
    assert moved[wing, 0] > 0.8 and abs(moved[wing, 1]) < 1e-9
    assert np.abs(moved[average[:, 1] > 60.0]).max() < 1e-3


def test_expressions_start_at_the_neutral_face(model: ParametricHead) -> None:
    identity = model.sample_identity(np.random.default_rng(3))
    neutral = model.vertices(identity, _zeros(model.expression_names))
    none = model.vertices(identity, model.sample_expression(np.random.default_rng(4), 0.0))
    np.testing.assert_array_equal(none, neutral)
    coefficients = model.sample_expression(np.random.default_rng(4), 1.0)
    clear, faint = (np.abs(model.vertices(identity, share * coefficients) - neutral).max() for share in (1.0, 0.1))
    assert 0.5 < clear < 8.0
    assert faint == pytest.approx(0.1 * clear, rel=1e-6)


def test_the_jaw_opens_the_mouth(model: ParametricHead, average: np.ndarray) -> None:
    place, marks = model.face_coordinates(_zeros(model.identity_names))
    opened = model.vertices(_zeros(model.identity_names), _one(model.expression_names, "jaw_open")) - average
    above, below = (np.argmin(np.hypot(place[:, 0], place[:, 1] - marks.mouth_v - shift)) for shift in (4.0, -4.0))
    assert opened[above, 1] > 0.0 and opened[below, 1] < -2.5
    assert np.abs(opened[average[:, 1] > 10.0]).max() < 0.2
