"""Morphable models: subdivision, files, layout and drawing, on a small made-up face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.rendering.features import signed_features
from porepatch_lib.rendering.morphable import MorphableModel, load_morphable_model
from porepatch_lib.rendering.morphable_files import BASEL_LANDMARKS, read_linear_model
from porepatch_lib.rendering.subdivision import boundary_loops, fans, subdivide, triangulate
from porepatch_lib.rendering.surface import DARK, EYE, HAIR, OTHER_SKIN, SKIN, build_head, triangle_areas

Arrays = dict[str, NDArray[Any]]

CUBE = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]], np.int32)
CORNERS = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float)

POINTS = {  # x, y in mm of a few of the 68 points
    8: (0, -76), 30: (0, 4), 33: (0, -12), 36: (-44, 32), 39: (-18, 32), 42: (18, 32), 45: (44, 32), 37: (-32, 36), 38: (-26, 36),
    40: (-26, 28), 41: (-32, 28), 43: (26, 36), 44: (32, 36), 46: (32, 28), 47: (26, 28), 48: (-26, -34), 54: (26, -34),
    51: (0, -24), 57: (0, -44), 62: (0, -32), 66: (0, -36), 19: (-40, 60), 21: (-12, 58), 22: (12, 58), 24: (40, 60),
}  # fmt: skip
STEP = 2.0  # mm between vertices of the made-up face
MOUTH = (22.0, 1.5)  # half width and height of its open mouth


def height(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """A dome with a nose."""
    return 90.0 - 0.006 * x**2 - 0.003 * y**2 + 20.0 * np.exp(-0.5 * ((x / 9.0) ** 2 + ((y - 4.0) / 11.0) ** 2))


def made_up_face(**changes: Any) -> Arrays:
    """A grid over the front of a face whose mouth is a hole; a change to None leaves a key out."""
    x, y = np.meshgrid(np.arange(-100.0, 101.0, STEP), np.arange(-110.0, 121.0, STEP))
    rows, columns = x.shape
    vertices = np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3)
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    quads = np.stack([first, first + 1, first + columns + 1, first + columns], axis=1)
    middle = vertices[quads].mean(axis=1)
    quads = quads[(np.abs(middle[:, 0]) > MOUTH[0]) | (np.abs(middle[:, 1] + 34.0) > MOUTH[1])]
    landmarks = np.full(68, -1)
    for point, place in POINTS.items():
        landmarks[point] = np.argmin(np.hypot(x.ravel() - place[0], y.ravel() - place[1]))
    wide, long = vertices * [0.04, 0.0, 0.0], vertices * [0.0, 0.03, 0.0]
    smile = np.zeros((2, *vertices.shape))
    smile[0, vertices[:, 0] < 0.0, 1], smile[1, vertices[:, 0] > 0.0, 1] = 3.0, 3.0
    arrays: dict[str, Any] = {
        "vertices": vertices,
        "quads": quads,
        "identity": np.stack([wide, long]),
        "expression": smile,
        "expression_names": np.array(["mouthSmile_L", "mouthSmile_R"]),
        "uv": vertices[:, :2] / 200.0 + 0.5,
        "uv_quads": quads,
        "landmarks": landmarks,
        "units_mm": np.array(1.0),
    }
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


def with_blink() -> Arrays:
    arrays = made_up_face()
    blink = np.zeros((2, *arrays["vertices"].shape))
    x, y = arrays["vertices"][:, 0], arrays["vertices"][:, 1]
    blink[0, (x > 0.0) & (np.abs(y - 36.0) < 1.0), 1] = -7.0
    blink[1, (x < 0.0) & (np.abs(y - 36.0) < 1.0), 1] = -7.0
    return arrays | {"expression": blink, "expression_names": np.array(["eyeBlink_L", "eyeBlink_R"])}


def with_seam() -> Arrays:
    """The right cheek's texture is cut off and put elsewhere."""
    arrays = made_up_face()
    beyond = arrays["vertices"][arrays["quads"]].mean(axis=1)[:, 0] > 80.0
    uv_quads = arrays["quads"].copy()
    uv_quads[beyond] += len(arrays["uv"])
    return arrays | {"uv": np.concatenate([arrays["uv"], arrays["uv"] + [1.5, 0.0]]), "uv_quads": uv_quads}


def load(folder: Path, arrays: Arrays, step_mm: float = STEP) -> MorphableModel:
    np.savez(folder / "face.npz", **arrays)
    return load_morphable_model(folder / "face.npz", step_mm)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> MorphableModel:
    return load(tmp_path_factory.mktemp("face"), made_up_face())


def test_first_step_of_a_cube_is_the_textbook_one() -> None:
    matrix, faces = subdivide(CUBE, 8, 1)
    fine = matrix @ CORNERS
    assert matrix.shape == (8 + 12 + 6, 8)
    assert faces.shape == (24, 4)
    np.testing.assert_allclose(fine[:8], CORNERS * 5.0 / 9.0)
    np.testing.assert_allclose(np.abs(fine[8:20]).sum(axis=1), 1.5)
    np.testing.assert_allclose(np.abs(fine[20:]).sum(axis=1), 1.0)


def test_corners_of_a_cube_come_to_rest_half_way() -> None:
    matrix, _ = subdivide(CUBE, 8, 6)
    np.testing.assert_allclose((matrix @ CORNERS)[:8], CORNERS / 2.0, atol=1e-4)


def test_weights_sum_to_one_and_a_plane_stays_flat() -> None:
    x, y = np.meshgrid(np.arange(4.0), np.arange(3.0))
    plane = np.stack([x, y, 2.0 * x - 3.0 * y + 1.0], axis=-1).reshape(-1, 3)
    plane[5, :2] += 0.3
    plane[5, 2] = 2.0 * plane[5, 0] - 3.0 * plane[5, 1] + 1.0
    first = np.array([0, 1, 2, 4, 5, 6])
    faces = np.stack([first, first + 1, first + 5, first + 4], axis=1).astype(np.int32)
    faces[0, 3] = -1  # one triangle among the quads
    matrix, fine_faces = subdivide(faces, 12, 3)
    fine = matrix @ plane
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(fine[:, 2], 2.0 * fine[:, 0] - 3.0 * fine[:, 1] + 1.0, atol=1e-12)
    assert len(fine_faces) == (3 + 5 * 4) * 16
    assert np.all(np.cross(*np.moveaxis(np.diff(fine[triangulate(fine_faces)], axis=1), 1, 0))[:, 2] > 0.0)


def test_borders_are_splines_of_their_own() -> None:
    matrix, _ = subdivide(np.array([[0, 1, 2, 3]], np.int32), 4, 1)
    np.testing.assert_allclose(matrix.toarray()[0], [0.75, 0.125, 0.0, 0.125])
    np.testing.assert_allclose(matrix.toarray()[4], [0.5, 0.5, 0.0, 0.0])


def test_loops_run_as_the_missing_face_would_and_fans_close_them() -> None:
    assert boundary_loops(CUBE) == []
    (loop,) = boundary_loops(CUBE[1:])
    turns = {tuple(np.roll(CUBE[0], k)) for k in range(4)}
    assert tuple(loop) in turns
    matrix, triangles = fans([loop], 8)
    closed = np.concatenate([triangulate(CUBE[1:]), triangles])
    a, b, c = np.moveaxis((matrix @ CORNERS)[closed], 1, 0)
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0 == pytest.approx(8.0)


def test_face_sits_like_the_parametric_head(face: MorphableModel) -> None:
    head = build_head(face, np.zeros(2), np.zeros(2), np.eye(3))
    tip = head.vertices[np.argmax(head.vertices[:, 2])]
    assert abs(tip[0]) < 1.0
    assert -20.0 < tip[1] < 0.0
    assert 85.0 < tip[2] < 120.0
    assert np.mean(head.normals[:, 2] > 0.0) > 0.98
    assert np.all(np.isin(face.part, [SKIN, HAIR, OTHER_SKIN, EYE, DARK]))


def test_units_and_coefficients_are_linear(tmp_path: Path, face: MorphableModel) -> None:
    arrays = made_up_face()
    centimetres = {name: arrays[name] / 10.0 for name in ("vertices", "identity", "expression")}
    other = load(tmp_path, arrays | centimetres | {"units_mm": np.array(10.0)})
    person, smile = np.array([1.0, -0.5]), np.array([0.2, 0.7])
    mean = face.vertices(np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(other.vertices(person, smile), face.vertices(person, smile), atol=1e-4)
    apart = face.vertices(person, np.zeros(2)) + face.vertices(np.zeros(2), smile) - mean
    np.testing.assert_allclose(face.vertices(person, smile), apart, atol=1e-9)


def test_smaller_steps_give_finer_meshes(tmp_path: Path, face: MorphableModel) -> None:
    fine = load(tmp_path, made_up_face(), step_mm=0.8)
    for model, most in ((face, 1.3 * STEP), (fine, 1.3 * 0.8)):
        areas = triangle_areas(model.vertices(np.zeros(2), np.zeros(2)), model.triangles)
        assert np.sqrt(2.0 * np.median(areas)) < most
    assert len(fine.triangles) > 3.9 * len(face.triangles)


def test_texture_is_in_millimetres(face: MorphableModel) -> None:
    vertices, uv = face.vertices(np.zeros(2), np.zeros(2)), face.texture_coordinates(np.zeros(2))
    skin = face.triangles[np.all(face.part[face.triangles] == SKIN, axis=1)]
    flat = np.pad(uv, ((0, 0), (0, 1)))
    assert np.median(triangle_areas(vertices, skin) / triangle_areas(flat, skin)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("change", [{"uv": None, "uv_quads": None}, {"uv": np.zeros((11716, 2))}])
def test_missing_or_bad_texture_is_replaced(tmp_path: Path, face: MorphableModel, change: Arrays) -> None:
    other = load(tmp_path, made_up_face(**change))
    np.testing.assert_array_equal(other.triangles, face.triangles)
    flat = np.pad(other.texture_coordinates(np.zeros(2)), ((0, 0), (0, 1)))
    skin = face.triangles[np.all(face.part[face.triangles] == SKIN, axis=1)]
    turned = np.cross(flat[skin[:, 1]] - flat[skin[:, 0]], flat[skin[:, 2]] - flat[skin[:, 0]])[:, 2]
    assert np.mean(turned > 0.0) > 0.999
    areas = triangle_areas(other.vertices(np.zeros(2), np.zeros(2)), skin) / triangle_areas(flat, skin)
    assert np.quantile(areas, [0.05, 0.95]) == pytest.approx([1.0, 1.0], abs=0.35)


def test_turned_and_mirrored_texture_is_set_upright(tmp_path: Path, face: MorphableModel) -> None:
    arrays = made_up_face()
    other = load(tmp_path, arrays | {"uv": 3.0 - arrays["uv"][:, ::-1]})
    np.testing.assert_allclose(other.texture_coordinates(np.zeros(2)), face.texture_coordinates(np.zeros(2)), atol=1e-6)


def test_features_lie_where_skin_is_painted(face: MorphableModel) -> None:
    place, marks = face.face_coordinates(np.zeros(2))
    mean = face.vertices(np.zeros(2), np.zeros(2))
    offset = mean[np.argmax(mean[:, 2]), :2] - [0.0, 4.0]

    def at(point: int) -> NDArray[Any]:
        return place[np.argmin(np.hypot(*(mean[:, :2] - offset - POINTS[point]).T) + 1e3 * (face.part == DARK))]

    np.testing.assert_allclose(at(30), [0.0, marks.nose_tip_v], atol=1.5)
    np.testing.assert_allclose(at(54), [marks.mouth_half_width, marks.mouth_v], atol=1.5)
    np.testing.assert_allclose(at(48), [-marks.mouth_half_width, marks.mouth_v], atol=1.5)
    for point in (51, 57):
        assert abs(signed_features(marks, *at(point)[:, None])["lips"][0]) < 1.5
    assert signed_features(marks, *at(19)[:, None])["brows"][0] < 4.0
    np.testing.assert_allclose((at(42) + at(45)) / 2.0, [marks.eye_u, marks.eye_v], atol=1.5)


def test_open_mouth_is_closed_by_a_dark_hollow(face: MorphableModel) -> None:
    mean = face.vertices(np.zeros(2), np.zeros(2))
    fan = face.triangles[face.triangles[:, 2] == len(mean) - 1]
    rim, middle = mean[fan[:, 0]], mean[-1]
    assert np.all(face.part[fan] == DARK)
    np.testing.assert_allclose(middle, rim.mean(axis=0) - [0.0, 0.0, 8.0], atol=1e-6)
    assert len(boundary_loops(np.pad(face.triangles, ((0, 0), (0, 1)), constant_values=-1))) == 3  # outside, lips, hollow


def test_normals_do_not_see_seams(tmp_path: Path) -> None:
    model = load(tmp_path, with_seam())
    head = build_head(model, np.zeros(2), np.zeros(2), np.eye(3))
    twins = np.flatnonzero(model.welded != np.arange(len(model.welded)))
    assert len(twins) == 116
    first = model.welded[twins]
    assert np.all(first < twins)
    np.testing.assert_array_equal(head.vertices[twins], head.vertices[first])
    np.testing.assert_array_equal(head.normals[twins], head.normals[first])
    assert np.all(head.uv[twins, 0] - head.uv[first, 0] > 100.0)


def test_lids_close_for_every_identity(tmp_path: Path) -> None:
    arrays = with_blink()
    model = load(tmp_path, arrays, step_mm=4.0)
    open_eyes = made_up_face()["vertices"]
    upper, lower = arrays["landmarks"][[37, 38, 43, 44]], arrays["landmarks"][[41, 40, 47, 46]]
    used = np.unique(arrays["quads"])
    for person in (np.zeros(2), np.array([0.0, 2.0])):
        y = model.vertices(person, np.zeros(2))[:, 1]
        gap = y[np.searchsorted(used, upper)] - y[np.searchsorted(used, lower)]
        assert np.all(open_eyes[upper, 1] - open_eyes[lower, 1] == 8.0)
        np.testing.assert_allclose(gap, 0.0, atol=1e-6)
    assert not np.any(model.part == EYE)


def test_draws_are_bounded_sparse_and_nearly_symmetric(face: MorphableModel) -> None:
    draws = np.array([face.sample_identity(np.random.default_rng(seed)) for seed in range(50)])
    assert draws.shape == (50, 2)
    assert np.abs(draws).max() <= 2.0
    smiles = np.array([face.sample_expression(np.random.default_rng(seed), 1.0) for seed in range(50)])
    smiling = smiles[smiles[:, 0] > 0.0]
    assert 5 < len(smiling) <= 50
    assert np.all(np.abs(smiling[:, 0] / smiling[:, 1] - 1.0) < 0.4)
    assert not face.sample_expression(np.random.default_rng(0), 0.0).any()
    np.testing.assert_array_equal(smiles[7], face.sample_expression(np.random.default_rng(7), 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units_mm": None}, "no `units_mm`"),
        ({"units_mm": np.array(0.0)}, "millimetres of one unit"),
        ({"units_mm": np.array(10.0)}, "must look along"),
        ({"identity": None}, "no `identity`"),
        ({"identity": np.zeros((2, 5, 3))}, "expected numbers"),
        ({"expression_names": np.array(["smile"])}, "2 expressions but 1"),
        ({"vertices": np.full((11716, 3), np.nan)}, "not finite"),
        ({"landmarks": None}, "no `landmarks`"),
        ({"landmarks": np.full(68, -1)}, "no vertex for landmark 8"),
        ({"landmarks": np.full(68, 10**6)}, "must be indices"),
        ({"quads": np.full((4, 4), 0.5)}, "must be indices"),
        ({"quads": CUBE, "uv": None}, "no border"),
        ({"quads": CUBE[1:], "uv": None}, "No face of the face model"),
        ({"quads": np.array([[0, -1, 2, 3]])}, "last column only"),
        ({"uv_quads": np.array([[0, 1, 2, 3]])}, "do not match"),
        ({"vertices": made_up_face()["vertices"] * [-1.0, 1.0, -1.0]}, "must look along"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, change: Arrays, message: str) -> None:
    with pytest.raises(PorePatchError, match=message) as error:
        load(tmp_path, made_up_face(**change))
    assert "face.npz" in str(error.value)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(PorePatchError, match="no face model at"):
        load_morphable_model(tmp_path / "face.npz", 1.0)
    with pytest.raises(PorePatchError, match="generic_neutral_mesh"):
        load_morphable_model(tmp_path, 1.0)
    (tmp_path / "face.npz").write_text("nothing")
    with pytest.raises(PorePatchError, match="cannot be read"):
        load_morphable_model(tmp_path / "face.npz", 1.0)
    (tmp_path / "model.h5").write_bytes(b"nothing")
    with pytest.raises(PorePatchError, match="cannot be read"):
        load_morphable_model(tmp_path / "model.h5", 1.0)


def test_basel_file_reads_like_the_same_arrays(tmp_path: Path) -> None:
    import h5py

    arrays = made_up_face(quads=None, uv=None, uv_quads=None, triangles=triangulate(made_up_face()["quads"]))
    nostrils = np.array([np.argmin(np.hypot(*(arrays["vertices"][:, :2] - place).T)) for place in ((-8, -6), (8, -6))])
    points = np.concatenate([arrays["landmarks"], nostrils])
    marks = [{"id": name, "coordinates": arrays["vertices"][points[place]].tolist()} for place, name in BASEL_LANDMARKS.items()]
    count = len(arrays["vertices"])
    with h5py.File(tmp_path / "model.h5", "w") as file:
        for name, modes in (("shape", arrays["identity"]), ("expression", arrays["expression"])):
            mean = arrays["vertices"] if name == "shape" else np.zeros((count, 3))
            file[f"{name}/model/mean"] = mean.ravel()
            file[f"{name}/model/pcaBasis"] = modes.reshape(2, -1).T / [2.0, 3.0]
            file[f"{name}/model/pcaVariance"] = np.array([4.0, 9.0])
        file["shape/representer/cells"] = arrays["triangles"].T
        file["metadata/landmarks/json"] = [json.dumps(marks)]
    read = read_linear_model(tmp_path / "model.h5")
    np.testing.assert_allclose(read.mean, arrays["vertices"])
    np.testing.assert_allclose(read.identity, arrays["identity"], atol=1e-5)
    np.testing.assert_allclose(read.expression, arrays["expression"], atol=1e-5)
    np.testing.assert_array_equal(read.faces[:, :3], arrays["triangles"])
    for place in BASEL_LANDMARKS:
        np.testing.assert_allclose(read.mean[read.landmarks[place]], arrays["vertices"][points[place]])
    load_morphable_model(tmp_path / "model.h5", STEP)
