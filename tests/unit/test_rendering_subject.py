"""Rendered subjects: determinism, variations of one person, masks, and photographs that agree with their ground truth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_scenes import assert_depth_agrees_with_mesh

from porepatch_lib.captures.views import View, load_colour, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, sha256_of
from porepatch_lib.geometry import project
from porepatch_lib.rendering.presets import PRESETS, render_settings
from porepatch_lib.rendering.render import prepare_sitter, render_subject, take_photograph
from porepatch_lib.rendering.rig import build_rig
from porepatch_lib.rendering.settings import RenderSettings, generator
from porepatch_lib.rendering.shading import vertex_attributes
from porepatch_lib.rendering.sitting import Sitting, draw_moments, draw_shape, face_model, head_rotation
from porepatch_lib.rendering.truth_files import PORES, read_truth
from porepatch_lib.tables import read_table

SMALL = RenderSettings(
    views=3,
    width=160,
    height=220,
    texel_mm=0.4,
    mesh_step_mm=4.0,
    pore_density_per_cm2=20.0,
    azimuth_deg=30.0,
    supersampling=1,
    image_format="png",
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render_subject(Sitting("ann"), folder / "images.parquet", SMALL, seed=5, threads=2)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_gives_the_same_bytes_on_any_number_of_threads(rendered: Path, tmp_path: Path) -> None:
    render_subject(Sitting("ann"), tmp_path / "images.parquet", SMALL, seed=5, threads=1)
    assert digests(tmp_path) == digests(rendered)


def test_another_subject_has_another_face_before_the_same_rig(rendered: Path, tmp_path: Path) -> None:
    render_subject(Sitting("bob"), tmp_path / "images.parquet", replace(SMALL, image_format="jpg"), seed=5, threads=2)
    ours, theirs = read_views(rendered / "images.parquet"), read_views(tmp_path / "images.parquet")
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.camera == other.camera
        assert mine.pose is not None and other.pose is not None
        np.testing.assert_array_equal(mine.pose.rotation, other.pose.rotation)
        assert other.path.suffix == ".jpg"
    ann, bob = (read_truth(folder / "images.parquet", folder / "truth") for folder in (rendered, tmp_path))
    assert np.nanmax(np.abs(np.asarray(ann.depths[1]) - np.asarray(bob.depths[1]))) > 1.0
    tables = [read_table(folder / "truth" / "pores.parquet", PORES) for folder in (rendered, tmp_path)]
    assert len(tables[0]) != len(tables[1]) or not np.allclose(tables[0]["x"], tables[1]["x"])


def test_views_are_readable_and_complete(rendered: Path) -> None:
    truth = read_truth(rendered / "images.parquet", rendered / "truth")
    assert list(truth.views) == [0, 1, 2]
    for view in truth.views.values():
        assert view.focal_is_prior and view.orientation == 1
        assert view.sha256 == sha256_of(view.path)
        image, mask = load_colour(view), load_mask(view)
        depth = truth.depths[view.image_id]
        assert image.shape == (220, 160, 3) and depth.shape == (220, 160) and depth.dtype == np.float32
        assert mask is not None and set(np.unique(mask)) == {0, 255}
        assert 0.15 < np.mean(mask > 0) < 0.8
        assert np.isfinite(depth[mask > 0]).all()
        assert 40 < image[mask > 0].mean() < 220


def test_depth_and_transfer_agree_with_the_mesh(rendered: Path) -> None:
    assert_depth_agrees_with_mesh(read_truth(rendered / "images.parquet", rendered / "truth"), least=200)


def test_mask_keeps_cheeks_and_leaves_out_eyes_lips_and_background(rendered: Path) -> None:
    head = draw_shape(model := face_model(SMALL), Sitting("ann"), SMALL, 5).at(model, 0.0)
    marks = head.landmarks
    view = read_views(rendered / "images.parquet")[1]
    mask, depth = load_mask(view), read_truth(rendered / "images.parquet", rendered / "truth").depths[1]
    assert mask is not None

    def value(u: float, v: float) -> int:
        return int(mask[pixel_of(view, head.vertices[np.argmin(np.linalg.norm(head.place - [u, v], axis=1))])])

    assert [value(side * marks.eye_u, marks.eye_v) for side in (-1, 1)] == [0, 0]
    assert value(0.0, marks.mouth_v) == 0
    assert value(30.0, marks.brow_v + 3.0) == 0
    assert [value(side * 35.0, -15.0) for side in (-1, 1)] == [255, 255]
    assert value(0.0, 0.5 * (marks.brow_v + marks.hairline_v)) == 255
    assert not mask[np.isnan(depth)].any()


def pixel_of(view: View, point: np.ndarray) -> tuple[int, int]:
    assert view.pose is not None
    x, y = project(view.camera, view.pose, point[None])[0][0]
    return round(y), round(x)


def test_pores_are_dark_where_the_truth_says() -> None:
    """Mean patch around projected pores: a dark blob whose centre of mass is the true centre, so pixel centres agree."""
    settings = replace(
        SMALL,
        views=1,
        width=360,
        height=360,
        field_height_mm=60.0,
        texel_mm=0.1,
        mesh_step_mm=2.0,
        supersampling=2,
        pore_density_per_cm2=60.0,
        pore_contrast=2.0,
        noise=0.0,
        specular=0.0,
        relief=0.0,
        mosaic=False,
    )
    model = face_model(settings)
    head = draw_shape(model, Sitting("ann"), settings, 2).at(model, 0.0)
    sitter = prepare_sitter(head, settings, generator(2, "ann", "skin"), generator(2, "lights"), 2)
    station = build_rig(settings, generator(2, "rig"))[0]
    attributes = vertex_attributes(head, sitter.light)
    photograph = take_photograph(sitter, head, attributes, station, settings, generator(0), 2)
    pores = sitter.skin.pores
    centres = pores.places.on(head.vertices, head.triangles)
    xy, depth = project(station.camera, station.pose, centres)
    inside = np.all((xy > 12.0) & (xy < 347.0), axis=1)
    xy, depth = xy[inside], depth[inside]
    column, row = np.rint(xy).astype(int).T
    seen = (photograph.mask[row, column] > 0) & (np.abs(photograph.depth[row, column] - depth) < 0.5)
    assert seen.sum() > 300
    grey = photograph.image[..., 1].astype(np.float32)
    grey -= cv2.GaussianBlur(grey, (0, 0), 5.0)
    patches = np.array([cv2.getRectSubPix(grey, (15, 15), (float(x), float(y))) for x, y in xy[seen]])
    dip = -patches.mean(axis=0)
    depth_of_dip = dip.max()
    dip = np.maximum(dip - 0.4 * depth_of_dip, 0.0)
    offsets = np.arange(-7, 8)
    centre = np.array([(dip * offsets[None, :]).sum(), (dip * offsets[:, None]).sum()]) / dip.sum()
    assert depth_of_dip > 2.0
    np.testing.assert_allclose(centre, 0.0, atol=0.08)


def test_coarse_set_keeps_head_and_skin_but_not_the_expression() -> None:
    model = face_model(SMALL)
    neutral = draw_shape(model, Sitting("ann"), SMALL, 5)
    smile = draw_shape(model, Sitting("ann2", identity="ann", expression="smile"), SMALL, 5)
    np.testing.assert_array_equal(smile.identity, neutral.identity)
    assert not neutral.expression.any() and smile.expression.any()
    np.testing.assert_array_equal(neutral.rotation, np.eye(3))
    assert not np.allclose(smile.rotation, np.eye(3), atol=1e-3)
    assert Sitting("ann2", identity="ann").skin_of == "ann"
    moved = smile.at(model, 0.0)
    np.testing.assert_array_equal(moved.neutral, neutral.at(model, 0.0).neutral)
    assert np.abs(moved.vertices @ smile.rotation - moved.neutral).max() > 1.0


def test_fine_set_keeps_the_head_under_another_skin(rendered: Path, tmp_path: Path) -> None:
    sitting = Sitting("ann3", identity="ann", skin="bob")
    render_subject(sitting, tmp_path / "images.parquet", SMALL, seed=5, threads=2)
    ours, theirs = digests(rendered), digests(tmp_path)
    for name in ("truth/depth_1.npy", "truth/vertices.npy"):
        assert ours[name] == theirs[name]
    for name in ("images/camera_01.png", "truth/pores.parquet"):
        assert ours[name] != theirs[name]
    assert read_json(tmp_path / "truth/parameters.json")["sitting"]["skin"] == "bob"


def test_parameters_say_what_was_drawn(rendered: Path) -> None:
    drawn = read_json(rendered / "truth/parameters.json")
    assert drawn["seed"] == 5 and drawn["settings"]["texel_mm"] == 0.4 and drawn["moments"] == [0.0, 0.0, 0.0]
    assert set(drawn["expression"].values()) == {0.0} and len(drawn["identity"]) >= 20
    assert drawn["skin_drawn"]["tone"] > 0


def test_time_offset_moves_the_face_between_views(tmp_path: Path) -> None:
    settings = replace(SMALL, time_offset=0.3)
    moments = draw_moments(Sitting("ann"), settings, 5)
    assert moments[0] == 0.0 and (moments[1:] > 0.0).all() and (moments < 1.0).all()
    render_subject(Sitting("ann"), tmp_path / "images.parquet", settings, seed=5, threads=2)
    truth = read_truth(tmp_path / "images.parquet", tmp_path / "truth")
    assert sorted(truth.moved) == [1, 2]
    step = np.linalg.norm(truth.moved[1].vertices - truth.reference.vertices, axis=1)
    assert 0.05 < step.max() < 5.0


def test_head_rotation_is_a_rotation_about_its_axes() -> None:
    rotation = head_rotation(np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(head_rotation(np.array([0.0, 0.1, 0.0])) @ [0, 0, 1], [np.sin(0.1), 0, np.cos(0.1)])


def test_presets_and_single_values() -> None:
    assert render_settings({"preset": "hard"}) == PRESETS["hard"]
    assert render_settings({"preset": "hard", "views": 3}) == replace(PRESETS["hard"], views=3)
    with pytest.raises(PorePatchError, match="preset 'brutal'"):
        render_settings({"preset": "brutal"})
    with pytest.raises(PorePatchError, match="'view'"):
        render_settings({"preset": "easy", "view": 3})


def test_settings_and_seeds() -> None:
    with pytest.raises(PorePatchError, match="texel_mm"):
        RenderSettings(texel_mm=0.0)
    with pytest.raises(PorePatchError, match="image_format"):
        RenderSettings(image_format="tif")
    with pytest.raises(PorePatchError, match="stubble"):
        RenderSettings(stubble=1.5)
    first = generator(1, "ann", "skin").integers(0, 2**31)
    assert first == generator(1, "ann", "skin").integers(0, 2**31)
    others = [(2, "ann", "skin"), (1, "bob", "skin"), (1, "ann", "head")]
    assert len({first, *(generator(*names).integers(0, 2**31) for names in others)}) == 4
