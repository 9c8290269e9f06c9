"""Rendered subjects: determinism, masks, and photographs that agree with their ground truth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.views import load_colour, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import sha256_of
from porepatch_lib.geometry import project
from porepatch_lib.rendering.head import Identity, build_head, points_on_mesh, sample_identity, surface
from porepatch_lib.rendering.noise import cell_borders, smooth_noise
from porepatch_lib.rendering.pores import sample_pores
from porepatch_lib.rendering.render import create_sitter, render_subject, take_photograph
from porepatch_lib.rendering.rig import Lens, build_rig
from porepatch_lib.rendering.sensor import blur_by_depth
from porepatch_lib.rendering.settings import RenderSettings, generator
from porepatch_lib.rendering.truth import PORES, read_depth, surface_points, transfer
from porepatch_lib.rendering.visibility import build_scene
from porepatch_lib.tables import read_table

SMALL = RenderSettings(
    views=3, width=160, height=220, texel_mm=0.4, mesh_step_mm=3.0, pore_density_per_cm2=20.0, azimuth_deg=30.0
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render_subject("ann", folder / "images.parquet", SMALL, seed=5, threads=2)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_gives_the_same_bytes_on_any_number_of_threads(rendered: Path, tmp_path: Path) -> None:
    render_subject("ann", tmp_path / "images.parquet", SMALL, seed=5, threads=1)
    assert digests(tmp_path) == digests(rendered)
    assert len(digests(tmp_path)) == 3 * 3 + 3 + 1


def test_another_subject_has_another_face_before_the_same_rig(rendered: Path, tmp_path: Path) -> None:
    render_subject("bob", tmp_path / "images.parquet", replace(SMALL, image_format="jpg"), seed=5, threads=2)
    ours, theirs = read_views(rendered / "images.parquet"), read_views(tmp_path / "images.parquet")
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.camera == other.camera
        np.testing.assert_array_equal(mine.pose.rotation, other.pose.rotation)
        assert other.path.suffix == ".jpg"
        difference = np.nanmax(
            np.abs(read_depth(rendered / "truth", mine.image_id) - read_depth(tmp_path / "truth", other.image_id))
        )
        assert difference > 1.0
    tables = [read_table(folder / "truth" / "pores.parquet", PORES) for folder in (rendered, tmp_path)]
    assert len(tables[0]) != len(tables[1]) or not np.allclose(tables[0]["x"], tables[1]["x"])


def test_views_are_readable_and_complete(rendered: Path) -> None:
    views = read_views(rendered / "images.parquet")
    assert [view.image_id for view in views] == [0, 1, 2]
    for view in views:
        assert view.focal_is_prior and view.orientation == 1 and view.pose is not None
        assert view.sha256 == sha256_of(view.path)
        image, mask = load_colour(view), load_mask(view)
        depth = read_depth(rendered / "truth", view.image_id)
        assert image.shape == (220, 160, 3) and depth.shape == (220, 160) and depth.dtype == np.float32
        assert mask is not None and set(np.unique(mask)) == {0, 255}
        assert 0.15 < np.mean(mask > 0) < 0.8
        assert np.isfinite(depth[mask > 0]).all()
        assert 40 < image[mask > 0].mean() < 220


def test_mask_keeps_cheeks_and_leaves_out_eyes_lips_and_background(rendered: Path) -> None:
    identity = sample_identity(generator(5, "ann", "head"))
    marks = identity.landmarks
    view = read_views(rendered / "images.parquet")[1]
    mask, depth = load_mask(view), read_depth(rendered / "truth", 1)
    assert mask is not None

    def value(u: float, v: float) -> int:
        point = surface(identity, np.array([[u, v]]))
        x, y = project(view.camera, view.pose, point)[0][0]
        return int(mask[round(y), round(x)])

    assert [value(side * marks.eye_u, marks.eye_v) for side in (-1, 1)] == [0, 0]
    assert value(0.0, marks.mouth_v) == 0
    assert value(30.0, marks.brow_v + 3.0) == 0
    assert [value(side * 35.0, -15.0) for side in (-1, 1)] == [255, 255]
    assert value(0.0, 62.0) == 255
    assert not mask[np.isnan(depth)].any()


def test_transfer_agrees_with_ray_casting(rendered: Path) -> None:
    import open3d as o3d

    views = read_views(rendered / "images.parquet")
    truth = rendered / "truth"
    scene = build_scene(np.load(truth / "vertices.npy").astype(float), np.load(truth / "triangles.npy"), 2)
    xy = np.random.default_rng(0).uniform([20.0, 20.0], [140.0, 200.0], (2000, 2))
    depths = [np.array(read_depth(truth, view.image_id)) for view in views]
    near = surface_points(views[1], depths[1], xy)
    origin = np.broadcast_to(views[1].pose.centre, near.shape)
    hits = scene.cast_rays(o3d.core.Tensor(np.concatenate([origin, near - origin], axis=1).astype(np.float32)))
    exact = origin + (near - origin) * hits["t_hit"].numpy()[:, None]
    for other in (0, 2):
        found = transfer(views[1], depths[1], views[other], depths[other], xy)
        expected, _ = project(views[other].camera, views[other].pose, exact)
        shown = np.isfinite(found[:, 0])
        assert shown.sum() > 400
        error = np.linalg.norm(found[shown] - expected[shown], axis=1)
        assert np.median(error) < 0.01 and np.percentile(error, 95) < 0.05


def test_pores_are_dark_where_the_truth_says() -> None:
    """Mean patch around projected pores: a dark blob whose centre of mass is the true centre, so pixel centres agree."""
    settings = RenderSettings(
        views=1,
        width=360,
        height=360,
        field_height_mm=60.0,
        texel_mm=0.1,
        mesh_step_mm=2.5,
        pore_density_per_cm2=60.0,
        noise=0.0,
        specular=0.0,
        relief=0.0,
    )
    sitter = create_sitter("ann", settings, 2, 2)
    station = build_rig(settings, generator(2, "rig"))[0]
    photograph = take_photograph(sitter, station, settings, generator(0), 2)
    xy, depth = project(station.camera, station.pose, points_on_mesh(sitter.head, sitter.skin.pores.uv))
    inside = np.all((xy > 12.0) & (xy < 347.0), axis=1)
    xy, depth = xy[inside], depth[inside]
    column, row = np.rint(xy).astype(int).T
    seen = (photograph.mask[row, column] > 0) & (np.abs(photograph.depth[row, column] - depth) < 0.5)
    assert seen.sum() > 400
    grey = photograph.image[..., 1].astype(np.float32)
    grey -= cv2.GaussianBlur(grey, (0, 0), 5.0)
    patches = np.array([cv2.getRectSubPix(grey, (15, 15), (float(x), float(y))) for x, y in xy[seen]])
    dip = -patches.mean(axis=0)
    depth_of_dip = dip.max()
    dip = np.maximum(dip - 0.3 * depth_of_dip, 0.0)
    offsets = np.arange(-7, 8)
    centre = np.array([(dip * offsets[None, :]).sum(), (dip * offsets[:, None]).sum()]) / dip.sum()
    assert depth_of_dip > 3.0
    np.testing.assert_allclose(centre, 0.0, atol=0.05)


def test_sphere_without_bumps_has_radial_normals_and_unit_tangents() -> None:
    sphere = Identity(np.full(3, 80.0), sample_identity(np.random.default_rng(0)).landmarks, np.zeros((0, 6)))
    head = build_head(sphere, 4.0)
    np.testing.assert_allclose(np.linalg.norm(head.vertices, axis=1), 80.0, rtol=1e-12)
    near = np.linalg.norm(head.uv, axis=1) < 100.0
    np.testing.assert_allclose(head.normals[near], head.vertices[near] / 80.0, atol=1e-6)
    middle = np.argmin(np.linalg.norm(head.uv, axis=1))
    np.testing.assert_allclose(head.reciprocal_u[middle], [1.0, 0.0, 0.0], atol=0.05)
    np.testing.assert_allclose(head.reciprocal_v[middle], [0.0, 1.0, 0.0], atol=0.05)
    corners = head.vertices[head.triangles]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = corners[:, 0, 2] > 0.0
    assert np.all(np.sum(outward * corners[:, 0], axis=1)[front] > 0.0)


def test_relief_tilts_the_normal_like_the_displaced_surface() -> None:
    identity = sample_identity(np.random.default_rng(1))
    head = build_head(identity, 3.0)
    slope_u, slope_v = 0.02, -0.03
    index = np.argmin(np.linalg.norm(head.uv - [20.0, -30.0], axis=1))
    around = head.uv[index] + 1e-3 * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    lifted = surface(identity, around) + (around - head.uv[index]) @ [[slope_u], [slope_v]] * head.normals[index]
    expected = np.cross(lifted[0] - lifted[1], lifted[2] - lifted[3])
    tilted = head.normals[index] - slope_u * head.reciprocal_u[index] - slope_v * head.reciprocal_v[index]
    np.testing.assert_allclose(tilted / np.linalg.norm(tilted), expected / np.linalg.norm(expected), atol=1e-5)


def test_points_on_mesh_lie_on_its_triangles() -> None:
    import open3d as o3d

    head = build_head(sample_identity(np.random.default_rng(1)), 4.0)
    np.testing.assert_allclose(points_on_mesh(head, head.uv), head.vertices, atol=1e-9)
    uv = np.random.default_rng(2).uniform(-80.0, 80.0, (300, 2))
    points = points_on_mesh(head, uv).astype(np.float32)
    distance = build_scene(head.vertices, head.triangles, 1).compute_distance(o3d.core.Tensor(points)).numpy()
    assert distance.max() < 1e-4


def test_pores_keep_their_distance_and_density() -> None:
    marks = sample_identity(np.random.default_rng(0)).landmarks
    low, high = np.array([-40.0, -40.0]), np.array([40.0, 40.0])
    pores = sample_pores(marks, low, high, 100.0, 1.0, np.random.default_rng(1))
    density = len(pores.uv) / 64.0
    assert 45.0 < density < 100.0
    gaps = np.linalg.norm(pores.uv[:, None] - pores.uv[None, :1500], axis=2)
    gaps[np.arange(1500), np.arange(1500)] = np.inf
    assert gaps.min() >= 0.75  # 0.75 of the mean distance 1 mm at 100 pores per square centimetre
    assert pores.radius_mm.min() >= 0.07 and pores.radius_mm.max() <= 0.4


def test_noise_has_unit_variance_and_cells_have_thin_borders() -> None:
    field = smooth_noise((600, 800), (8.0, 8.0), np.random.default_rng(0))
    assert abs(field.mean()) < 0.05 and 0.8 < field.std() < 1.2
    borders = cell_borders((200, 300), 10.0, 1.0, np.random.default_rng(0))
    assert borders.max() <= 1.0 and borders.max() > 0.99 and borders.min() == 0.0
    assert 0.4 < borders.mean() < 0.6


def test_defocus_grows_with_the_distance_from_the_focus() -> None:
    image = np.zeros((61, 61, 3), np.float32)
    image[30, 30] = 1.0
    lens = Lens(np.ones(3), 0.8, 900.0)

    def spread(depth_mm: float) -> float:
        blurred = blur_by_depth(image, np.full((61, 61), depth_mm, np.float32), lens, 0.02)[..., 0].astype(float)
        offsets = np.arange(-30, 31)
        return float(np.sqrt((blurred * offsets**2).sum() / blurred.sum()))

    assert spread(900.0) == pytest.approx(0.8, rel=0.02)
    assert spread(950.0) == pytest.approx(np.hypot(0.8, 1.0), rel=0.06)
    assert spread(850.0) == pytest.approx(spread(950.0), rel=1e-6)


def test_settings_and_seeds() -> None:
    with pytest.raises(PorePatchError, match="texel_mm"):
        RenderSettings(texel_mm=0.0)
    with pytest.raises(PorePatchError, match="image_format"):
        RenderSettings(image_format="tif")
    with pytest.raises(TypeError):
        RenderSettings(**{"texels": 3})
    first = generator(1, "ann", "skin").integers(0, 2**31)
    assert first == generator(1, "ann", "skin").integers(0, 2**31)
    assert (
        len(
            {
                first,
                *(
                    generator(s, n, p).integers(0, 2**31)
                    for s, n, p in [(2, "ann", "skin"), (1, "bob", "skin"), (1, "ann", "head")]
                ),
            }
        )
        == 4
    )


def test_pore_table_lies_on_the_surface(rendered: Path) -> None:
    pores: pd.DataFrame = read_table(rendered / "truth" / "pores.parquet", PORES)
    view = read_views(rendered / "images.parquet")[1]
    depth = np.array(read_depth(rendered / "truth", 1))
    xyz = pores[["x", "y", "z"]].to_numpy(np.float64)
    xy, distance = project(view.camera, view.pose, xyz)
    points = surface_points(view, depth, xy)
    near = np.isfinite(points[:, 0]) & (np.abs(np.linalg.norm(points - view.pose.centre, axis=1) - distance) < 20.0)
    error = np.linalg.norm(points - xyz, axis=1)[near]
    assert near.sum() > 300 and np.median(error) < 0.02
