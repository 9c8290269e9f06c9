"""ICT-FaceKit's light model, from its arrays and as a checkout of the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from porepatch_lib.rendering.features import is_bare, signed_features
from porepatch_lib.rendering.morphable import MorphableModel, load_morphable_model
from porepatch_lib.rendering.surface import DARK, EYE, SKIN, Head, build_head, triangle_areas

STEP_MM = 0.6


@pytest.fixture(scope="module")
def path(shared: Path) -> Path:
    found = shared / "data" / "ict_face" / "ict_light_face.npz"
    if not found.is_file():
        pytest.skip("the face model is not here")
    return found


@pytest.fixture(scope="module")
def model(path: Path) -> MorphableModel:
    return load_morphable_model(path, STEP_MM)


@pytest.fixture(scope="module")
def head(model: MorphableModel) -> Head:
    return build_head(model, np.zeros(40), np.zeros(57), np.eye(3))


@pytest.fixture(scope="module")
def bare(head: Head) -> NDArray[np.int32]:
    """Triangles of bare skin."""
    u, v = head.place[head.triangles].mean(axis=1).T
    skin = np.all(head.part[head.triangles] == SKIN, axis=1)
    return head.triangles[skin & is_bare(head.landmarks, u, v, np.full(len(u), np.inf))]


def signed_areas(plane: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    (ax, ay), (bx, by) = ((plane[triangles[:, k]] - plane[triangles[:, 0]]).T for k in (1, 2))
    return 0.5 * (ax * by - ay * bx)


def test_mesh_is_fine_enough(head: Head, bare: NDArray[np.int32]) -> None:
    assert len(head.triangles) > 200_000
    assert np.sqrt(2.0 * np.median(triangle_areas(head.neutral, bare))) < 1.3 * STEP_MM


def test_texture_is_in_millimetres_and_fits_the_map(head: Head, bare: NDArray[np.int32]) -> None:
    flat = signed_areas(head.uv, bare)
    stretch = np.sqrt(triangle_areas(head.neutral, bare) / flat)
    assert np.all(flat > 0.0)
    assert np.median(stretch) == pytest.approx(1.0, abs=0.1)
    assert np.quantile(stretch, 0.05) > 0.8
    assert np.quantile(stretch, 0.95) < 1.25
    assert np.all(np.ptp(head.uv[bare].reshape(-1, 2), axis=0) < [190.0, 205.0])


def test_nose_is_most_forward_and_in_place(head: Head) -> None:
    tip = np.argmax(head.neutral[:, 2])
    np.testing.assert_allclose(head.neutral[tip], [0.0, -8.0, 117.0], atol=4.0)
    np.testing.assert_allclose(head.place[tip], [0.0, head.landmarks.nose_tip_v], atol=2.0)


def test_face_coordinates_do_not_fold_on_bare_skin(head: Head, bare: NDArray[np.int32]) -> None:
    assert np.all(signed_areas(head.place, bare) > 0.0)
    mirrored = head.place[np.argsort(head.place[:, 0])][[0, -1]]
    assert mirrored[0, 0] == pytest.approx(-mirrored[1, 0], abs=0.5)


def test_painted_lips_and_lids_are_the_model_s_own(head: Head) -> None:
    features = signed_features(head.landmarks, head.place[:, 0], head.place[:, 1])
    hollows = np.flatnonzero(head.part == DARK)
    rims = hollows[(features["nostrils"][hollows] > 4.0)]
    assert len(rims) > 500
    assert np.mean((features["lips"][rims] < 1.0) | (features["eyes"][rims] < 1.0)) > 0.99
    assert not np.any(head.part == EYE)


def test_no_coefficients_are_the_mean_and_modes_move_it(path: Path, model: MorphableModel) -> None:
    mean = model.vertices(np.zeros(40), np.zeros(57))
    with np.load(path) as arrays:
        coarse = 10.0 * arrays["vertices"].astype(float)
    np.testing.assert_allclose(np.ptp(mean, axis=0), np.ptp(coarse, axis=0), atol=3.0)
    rng = np.random.default_rng(1)
    moved = model.vertices(model.sample_identity(rng), model.sample_expression(rng, 1.0)) - mean
    distance = np.linalg.norm(moved[model.part == SKIN], axis=1)
    assert 0.5 < np.median(distance) < 15.0
    assert distance.max() < 40.0


def test_checkout_of_the_repository_reads_the_same(path: Path, tmp_path: Path) -> None:
    with np.load(path) as arrays:
        mean, names = arrays["vertices"].astype(float), list(arrays["expression_names"])
        shapes = {"identity000": arrays["identity"][0], "identity001": arrays["identity"][1]}
        shapes |= {name: arrays["expression"][names.index(name)] for name in ("eyeBlink_L", "eyeBlink_R", "mouthPucker")}
        quads, uv, uv_quads, all_arrays = arrays["quads"] + 1, arrays["uv"], arrays["uv_quads"] + 1, dict(arrays)
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    texture = [f"vt {u} {v}" for u, v in uv]
    faces = [
        "f " + " ".join(f"{i}/{j}/{i}" for i, j in zip(quad, uv_quad, strict=True))
        for quad, uv_quad in zip(quads, uv_quads, strict=True)
    ]
    write_obj(folder / "generic_neutral_mesh.obj", mean, [*texture, *faces, "f 1/1 2/2 3/3"])
    for name, shape in shapes.items():
        write_obj(folder / f"{name}.obj", mean + shape.astype(float), [])
    kept = [names.index(name) for name in ("eyeBlink_L", "eyeBlink_R", "mouthPucker")]
    few = {"identity": all_arrays["identity"][:2], "expression": all_arrays["expression"][kept]}
    np.savez(tmp_path / "few.npz", **(all_arrays | few | {"expression_names": np.array(names)[kept]}))
    checkout, arrays_only = (load_morphable_model(place, 2.5) for place in (tmp_path, tmp_path / "few.npz"))
    assert checkout.expression_names == ("eyeBlink_L", "eyeBlink_R", "mouthPucker")
    np.testing.assert_array_equal(checkout.triangles, arrays_only.triangles)
    person, pucker = np.array([1.0, -1.0]), np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(checkout.vertices(person, pucker), arrays_only.vertices(person, pucker), atol=1e-3)


def write_obj(path: Path, vertices: NDArray[np.float64], rest: list[str]) -> None:
    rows = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    path.write_text("\n".join(["mtllib none.mtl", *rows, *rest]) + "\n")
