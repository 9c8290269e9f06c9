"""Depth and normals by patch match against spheres and planes in closed form."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from dense_scenes import plane, sphere, write_scene

from porepatch_lib.dense.consistency import confirmations
from porepatch_lib.dense.depth_maps import find_depth_maps, normals_of
from porepatch_lib.dense.initial import initial_planes
from porepatch_lib.dense.kernels import hashed
from porepatch_lib.dense.patch_match import displacement, transform
from porepatch_lib.dense.scene import scaled_camera, shrunk_size, undistorted_view
from porepatch_lib.dense.settings import DenseSettings
from porepatch_lib.dense.sources import angle_weight, choose_sources
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, project, unproject
from porepatch_lib.sfm.model import read_model

QUICK = DenseSettings(coarse_iterations=2, fine_iterations=1, sources=3)
LENS = (540.0, 74.3, 66.1, -0.4)


def load(scene, max_px=1200):
    model = read_model(scene.sfm / "model")
    views = {
        view.image_id: undistorted_view(view, model.cameras[view.image_id], model.poses[view.image_id], max_px)
        for view in scene.views
        if view.image_id in model.cameras
    }
    sources = choose_sources(model.poses, model.xyz, model.observed_point, model.image_id, 3)
    return model, views, sources


@pytest.mark.parametrize(("surface", "covered"), [(sphere, 0.75), (plane, 0.6)])
def test_depth_and_normals_are_those_of_the_surface(tmp_path, surface, covered):
    scene = write_scene(tmp_path, surface, params=LENS)
    model, views, sources = load(scene)
    maps = find_depth_maps(views, sources, model, QUICK, 1, 1)
    for image_id in (1, 2):
        view, found = views[image_id], maps[image_id]
        truth = scene.depth(view.camera, view.pose)
        known = found.depth > 0.0
        assert known.sum() > covered * view.mask.sum()
        assert not known[~view.mask].any()
        error = np.abs(found.depth - truth)[known & np.isfinite(truth)]
        # A pixel is 0.7 mm here, and views are 10 to 20 degrees apart: a tenth of a pixel is 0.2 to 0.4 mm of depth.
        assert np.median(error) < 0.25
        assert np.percentile(error, 90) < 1.5
        rows, columns = np.nonzero(known)
        points = unproject(view.camera, view.pose, np.stack([columns, rows], 1).astype(float), truth[known])
        outward = points / 40.0 if surface is sphere else np.tile(np.array([-0.5, 0.0, 1.0]) / np.sqrt(1.25), (len(points), 1))
        cosine = np.einsum("ij,ij->i", found.normals[known] @ view.pose.rotation, outward)
        assert np.rad2deg(np.median(np.arccos(cosine.clip(-1.0, 1.0)))) < 8.0
        np.testing.assert_allclose(np.linalg.norm(found.normals[known], axis=1), 1.0, atol=1e-5)


def test_threads_change_nothing_but_the_seed_does(tmp_path):
    model, views, sources = load(write_scene(tmp_path, sphere, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0)))
    one, two, other = (find_depth_maps(views, sources, model, QUICK, seed, threads) for seed, threads in [(1, 1), (1, 3), (2, 1)])
    for image_id in views:
        np.testing.assert_array_equal(one[image_id].depth, two[image_id].depth)
        np.testing.assert_array_equal(one[image_id].normals, two[image_id].normals)
    assert any((one[image_id].depth != other[image_id].depth).any() for image_id in views)


def test_a_view_without_sources_or_mask_gets_an_empty_map(tmp_path):
    model, views, sources = load(write_scene(tmp_path, sphere, views=6, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0)))
    views[1] = replace(views[1], mask=np.zeros_like(views[1].mask))
    maps = find_depth_maps(views, {**sources, 0: []}, model, QUICK, 1, 1)
    assert not maps[0].depth.any()
    assert not maps[1].depth.any()
    assert maps[4].depth.any()


def test_normals_of_a_plane_given_by_inverse_depth():
    matrix = np.array([[500.0, 0.0, 9.5], [0.0, 450.0, 7.0], [0.0, 0.0, 1.0]])
    normal, point = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8]), np.array([1.0, 2.0, 300.0])
    plane_of = normal / (normal @ point)
    rows, columns = np.indices((12, 20))
    inverse = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(matrix).T @ plane_of
    planes = np.stack([inverse, np.full(rows.shape, plane_of[0] / 500.0), np.full(rows.shape, plane_of[1] / 450.0)], axis=-1)
    np.testing.assert_allclose(normals_of(planes, matrix), np.broadcast_to(normal, (12, 20, 3)), atol=1e-6)


def test_a_transform_takes_pixels_where_projection_takes_their_points(tmp_path):
    _, views, _ = load(write_scene(tmp_path, plane))
    one, two = views[0], views[3]
    pixels, depth = np.array([[10.0, 20.0], [100.5, 3.25]]), np.array([390.0, 415.0])
    row = transform(one, one.matrix, two, two.matrix).astype(float)
    moved = np.c_[pixels, np.ones(2)] @ row[:9].reshape(3, 3).T + row[9:] / depth[:, None]
    there, there_depth = project(two.camera, two.pose, unproject(one.camera, one.pose, pixels, depth))
    np.testing.assert_allclose(moved[:, :2] / moved[:, 2:], there, atol=1e-3)
    np.testing.assert_allclose(moved[:, 2] * depth, there_depth, rtol=1e-6)
    nearer = unproject(one.camera, one.pose, pixels[:1], depth[:1] * 1.0001)
    shift = np.linalg.norm(project(two.camera, two.pose, nearer)[0] - there[:1]) / 1e-4
    assert displacement(one, [two], unproject(one.camera, one.pose, pixels[:1], depth[:1])[0]) == pytest.approx(shift, rel=0.01)


def test_first_planes_go_through_the_points_of_a_plane_and_leave_out_a_stray_one():
    rng = np.random.default_rng(1)
    pixels = rng.uniform(0.0, 40.0, (60, 2))
    inverse = 2e-3 + 1e-5 * pixels[:, 0] - 2e-5 * pixels[:, 1]
    inverse[7] *= 2.0
    planes = initial_planes(pixels, 1.0 / inverse, (40, 40))
    np.testing.assert_allclose(planes[20, 15], [2e-3 + 1e-5 * 15 - 2e-5 * 20, 1e-5, -2e-5], rtol=1e-4)
    line = np.stack([np.arange(6.0), np.arange(6.0)], axis=1)
    np.testing.assert_allclose(initial_planes(line, np.full(6, 5.0), (8, 8))[..., 0], 0.2)
    np.testing.assert_allclose(initial_planes(line[:1], np.full(1, 5.0), (8, 8))[7, 7], [0.2, 0.0, 0.0])


def test_a_depth_is_confirmed_only_where_it_comes_back():
    there = np.array([[1, 0, 0, 0, 1, 0, 0, 0, 1, -100.0, 0, 0]], np.float32)
    back = there * np.array([1] * 9 + [-1] * 3, np.float32)
    own = np.full((6, 30), 0.05, np.float32)
    other = own.copy()
    other[:, 10] = 0.0  # unknown
    other[:, 12] = 0.0504  # within a percent, comes back 0.04 px off
    other[:, 14] = 0.055
    count = confirmations(own, (other,), there, back, 0.03)
    expected = np.zeros((6, 30), bool)
    expected[:, 5:] = True  # 100 * 0.05 = 5 px of parallax; the rest is outside
    expected[:, [15, 17, 19]] = False
    np.testing.assert_array_equal(count > 0, expected)
    assert (confirmations(own, (other,), there, back, 0.06)[:, 17] == 1).all()


def test_sources_share_points_at_a_good_angle():
    poses = {i: Pose(np.eye(3), -np.array([x, 0.0, -100.0])) for i, x in zip((3, 5, 8, 9), (0.0, 1.0, 20.0, 25.0), strict=True)}
    xyz = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    point, image = np.array([0, 0, 0, 1, 1, 1]), np.array([3, 5, 8, 3, 5, 8], np.int32)
    sources = choose_sources(poses, xyz, point, image, 2)
    assert sources[3] == [8, 9]  # view 5 is at half a degree; view 9 shares no point but has an angle
    assert sources[8] == [3, 5]
    assert angle_weight(np.array([1.0, 12.0, 70.0])).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("max_px", [64, 75, 1200])
def test_an_undistorted_view_shows_points_where_its_camera_says(tmp_path, max_px):
    """A dot drawn at the projection of a point is found by the undistorted camera, whatever the size."""
    camera = Camera("OPENCV", 200, 150, (260.0, 255.0, 104.2, 70.6, -0.3, 0.1, 0.004, -0.003))
    scene = write_scene(tmp_path, plane, views=2)
    pose = scene.views[0].pose
    for pixel in ([40.0, 30.0], [160.0, 120.0]):
        point = unproject(camera, pose, np.array([pixel]), np.array([400.0]))
        rows, columns = np.indices((150, 200))
        dot = 255.0 * np.exp(-((columns - pixel[0]) ** 2 + (rows - pixel[1]) ** 2) / (2 * 5.0**2))
        path = tmp_path / "dot.png"
        cv2.imwrite(str(path), np.repeat(dot.round().astype(np.uint8)[..., None], 3, axis=2))
        view = replace(scene.views[0], path=path, mask_path=None, camera=camera)
        found = undistorted_view(view, camera, pose, max_px)
        assert max(found.image.shape[:2]) == min(max_px, 200)
        assert found.camera.model == "PINHOLE"
        grey = found.grey.astype(float)
        rows, columns = np.indices(grey.shape)
        centre = np.array([(grey * columns).sum(), (grey * rows).sum()]) / grey.sum()
        expected = project(found.camera, pose, point)[0][0]
        assert np.abs(centre - expected).max() < 0.12  # half a pixel of the wrong origin would show


def test_scaled_cameras_keep_pixel_borders_in_place():
    camera = Camera("SIMPLE_RADIAL", 400, 300, (500.0, 199.5, 149.5, 0.1))
    half = scaled_camera(camera, (200, 150))
    assert half.params == (250.0, 250.0, 99.5, 74.5)
    assert shrunk_size(camera, 200) == (200, 150)
    assert shrunk_size(camera, 1200) == (400, 300)


def test_hashed_numbers_are_uniform_and_repeatable():
    numbers = np.array([hashed(7, counter) for counter in range(4000)])
    assert 0.0 <= numbers.min() < 0.002 and 0.998 < numbers.max() < 1.0
    assert abs(numbers.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.05
    assert hashed(7, 5) == hashed(7, 5) != hashed(8, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "sgm"},
        {"sources": 0},
        {"max_image_px": 10},
        {"max_error_px": 0.0},
        {"min_fused_pixels": -1},
        {"fusion_error_px": 0},
    ],
)
def test_wrong_settings_are_told(wrong):
    with pytest.raises(PorePatchError):
        DenseSettings(**wrong)


def test_fused_pixels_follow_the_number_of_views():
    assert [DenseSettings().fused_pixels(views) for views in (2, 4, 8, 11, 16)] == [2, 2, 3, 5, 5]
    assert DenseSettings(min_fused_pixels=7).fused_pixels(3) == 7
