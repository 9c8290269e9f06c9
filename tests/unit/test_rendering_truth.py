"""Ground truth of rendered captures against closed forms: planes, a sphere, occluders, faces that move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from truth_scenes import assert_depth_agrees_with_mesh, joined, looking_view, photographed, quad, sphere, write_scene

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Pose, project, rays
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.rendering.places import Places, join_places
from porepatch_lib.rendering.rig import look_at
from porepatch_lib.rendering.truth import (
    SubjectTruth,
    appear,
    hidden,
    locate,
    patch_distance_mm,
    pixel_scale_mm,
    reference_points,
    regions_of,
    surface_points,
    transfer,
    viewing_angle_rad,
)
from porepatch_lib.rendering.truth_files import PORES, read_truth, seeing_views, write_cameras, write_pores
from porepatch_lib.sfm.model import read_model
from porepatch_lib.tables import read_table

RADIUS_MM = 80.0
UPRIGHT = quad([0, 0, 0], [300, 0, 0], [0, 300, 0])  # the plane z = 0, towards the cameras
FRONT, SIDE = looking_view(0, [0, 0, 900]), looking_view(1, [300, 0, 850])


def random_pixels(count: int = 500) -> np.ndarray:
    return np.random.default_rng(3).uniform([0.0, 0.0], [239.0, 199.0], (count, 2))


def on_plane(view, xy: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """Where the pixels' rays meet the plane normal . x = offset."""
    direction = rays(view.camera, xy) @ view.pose.rotation
    reach = (offset - normal @ view.pose.centre) / (direction @ normal)
    return view.pose.centre + reach[:, None] * direction


@pytest.fixture(scope="module")
def ball() -> SubjectTruth:
    """A sphere seen from three sides, one with strong distortion."""
    views = [
        looking_view(0, [200, -100, 850], k1=0.15),
        looking_view(1, [-600, 50, 650], k1=-0.1),
        looking_view(2, [0, 400, 800]),
    ]
    return photographed(views, sphere(RADIUS_MM))


@pytest.mark.parametrize("grazing_deg", [0.0, 40.0, 78.0])
def test_a_plane_in_closed_form(grazing_deg):
    angle = np.deg2rad(grazing_deg)
    along, normal = np.array([np.cos(angle), 0, -np.sin(angle)]), np.array([np.sin(angle), 0, np.cos(angle)])
    truth = photographed([FRONT, SIDE], quad([0, 0, 0], 2000 * along, [0, 500, 0]))
    xy = random_pixels()
    exact = on_plane(FRONT, xy, normal, 0.0)
    np.testing.assert_allclose(surface_points(truth, 0, xy), exact, atol=2e-3)
    seen, distance = project(SIDE.camera, SIDE.pose, exact)
    found = transfer(truth, 0, 1, xy)
    shown = np.isfinite(found[:, 0])
    inside = (seen > 3).all(axis=1) & (seen < [236, 196]).all(axis=1) & (distance > 0)
    assert shown.sum() > 100
    assert not np.any(inside & ~shown)
    np.testing.assert_allclose(found[shown], seen[shown], atol=2e-3)
    places = locate(truth, 0, xy)
    to_camera = FRONT.pose.centre - exact
    cosine = to_camera @ normal / np.linalg.norm(to_camera, axis=1)
    np.testing.assert_allclose(viewing_angle_rad(truth, 0, places), np.arccos(cosine), atol=1e-5)
    depth = FRONT.pose.to_camera(exact)[:, 2]
    np.testing.assert_allclose(pixel_scale_mm(truth, 0, places), depth / 1000.0, rtol=1e-5)
    other, _ = project(SIDE.camera, SIDE.pose, exact + 1.5 * along)
    near = shown & (other > 3).all(axis=1) & (other < [236, 196]).all(axis=1)
    np.testing.assert_allclose(patch_distance_mm(truth, 0, xy[near], 1, other[near]), 1.5, atol=5e-3)


def test_points_and_angles_on_a_sphere(ball):
    xy = random_pixels()
    points, places = surface_points(ball, 0, xy), locate(ball, 0, xy)
    to_camera = ball.pose(0).centre - points
    cosine = np.sum(points * to_camera, axis=1) / np.linalg.norm(points, axis=1) / np.linalg.norm(to_camera, axis=1)
    known = places.known
    assert known.sum() > 100
    np.testing.assert_array_equal(np.isnan(points).any(axis=1), ~known)
    np.testing.assert_allclose(np.linalg.norm(points[known], axis=1), RADIUS_MM, atol=0.01)
    np.testing.assert_allclose(project(ball.views[0].camera, ball.pose(0), points[known])[0], xy[known], atol=2e-3)
    np.testing.assert_allclose(np.cos(viewing_angle_rad(ball, 0, places)[known]), cosine[known], atol=0.02)


def test_the_far_side_of_a_sphere_is_hidden(ball):
    xy = random_pixels()
    points, found = surface_points(ball, 0, xy), transfer(ball, 0, 1, xy)
    exact, _ = project(ball.views[1].camera, ball.pose(1), points)
    shown = np.isfinite(found[:, 0])
    facing = np.sum(points * (ball.pose(1).centre - points), axis=1)
    assert shown.sum() > 50 and np.sum(facing < 0) > 5
    assert not np.any(shown & (facing < 0))
    np.testing.assert_array_equal(hidden(ball, 1, points)[facing < 0], True)
    np.testing.assert_allclose(found[shown], exact[shown], atol=1e-9)
    back = transfer(ball, 1, 0, found[shown])
    np.testing.assert_allclose(back[np.isfinite(back[:, 0])], xy[shown][np.isfinite(back[:, 0])], atol=2e-3)


@pytest.mark.parametrize("height_mm", [30.0, 0.5])
def test_an_occluder_hides_what_is_behind_it(height_mm):
    """For the side view the plate covers what lies at x > 10 mm."""
    views = [FRONT, looking_view(1, [-850, 0, 300])]
    edge = 10.0 - (850.0 + 10.0) * height_mm / 300.0
    plate = quad([edge + 150, 0, height_mm], [150, 0, 0], [0, 300, 0])
    free, covered = photographed(views, UPRIGHT), photographed(views, joined(UPRIGHT, plate))
    xy = np.stack([np.linspace(80, 200, 400), np.full(400, 90.0)], axis=1)
    points = on_plane(FRONT, xy, np.array([0.0, 0.0, 1.0]), 0.0)
    places = locate(free, 0, xy)  # both meshes begin with the same two triangles
    across = points + (views[1].pose.centre - points) * (height_mm / views[1].pose.centre[2])
    behind = across[:, 0] > edge
    beside = np.abs(project(views[1].camera, views[1].pose, across)[0][:, 0] - _column(views[1], edge, height_mm)) < 3.0
    np.testing.assert_array_equal(hidden(covered, 1, points), behind)
    shown = np.isfinite(appear(covered, 1, places)[:, 0])
    assert behind.sum() > 50 and shown.sum() > 50
    assert not np.any(shown & behind)
    np.testing.assert_array_equal(shown[~beside], ~behind[~beside])
    assert np.isfinite(appear(free, 1, places)).all()
    assert np.isfinite(appear(covered, 1, places, tolerance_mm=height_mm * 4)[~beside]).all()


def _column(view, edge: float, height_mm: float) -> float:
    """The image column of the plate's edge in the row of the tested pixels, nearly upright there."""
    return float(project(view.camera, view.pose, np.array([[edge, 10.0, height_mm]]))[0][0, 0])


def test_no_place_outside_on_the_background_and_beside_edges():
    truth = photographed([FRONT], joined(quad([0, 0, 0], [80, 0, 0], [0, 300, 0]), quad([60, 0, 5], [40, 0, 0], [0, 300, 0])))
    depth = truth.depths[0]
    edge = float(np.flatnonzero(np.diff(depth[100]) < -4.0)[0])
    row = np.array([-0.01, 199.01, 100, 100, 100, 100, 100, np.nan, 100])
    column = np.array([edge - 20, edge - 20, 3.0, edge + 0.5, edge - 0.5, edge - 2.5, edge + 3.5, edge, 239.01])
    known = locate(truth, 0, np.stack([column, row], axis=1)).known
    assert np.isnan(depth[100, 3])
    np.testing.assert_array_equal(known, [False, False, False, False, False, True, True, False, False])
    points = surface_points(truth, 0, np.array([[edge - 2.5, 100.0], [edge + 3.5, 100.0]]))
    np.testing.assert_allclose(points[:, 2], [0.0, 5.0], atol=1e-3)
    assert len(locate(truth, 0, np.empty((0, 2))).known) == 0


def test_a_moving_face_is_followed():
    """Between the views the sphere grows, turns and shifts, and in the second one a plate comes before its left half."""
    ball, plate = sphere(RADIUS_MM), quad([-200, 0, 95], [200, 0, 0], [0, 300, 0])
    turn = look_at(np.array([0.2, 0.1, 1.0]), np.zeros(3), 0.1).rotation
    away = plate[0] - [0, 0, 2000]
    vertices, triangles = joined(ball, (away, plate[1]))
    move = lambda points: 1.02 * points @ turn.T @ np.diag([1.0, -1.0, -1.0]) + [3.0, -2.0, 1.0]  # noqa: E731
    later = np.concatenate([move(ball[0]), plate[0]])
    views = [looking_view(0, [0, 0, 900]), looking_view(1, [150, 50, 880])]
    truth = photographed(views, (vertices, triangles), {1: later})
    xy = random_pixels()
    points = surface_points(truth, 0, xy)
    known = np.isfinite(points).all(axis=1) & (np.linalg.norm(points, axis=1) < RADIUS_MM + 1)
    np.testing.assert_allclose(reference_points(truth, 0, xy), points)
    exact, _ = project(views[1].camera, views[1].pose, move(points))
    found = transfer(truth, 0, 1, xy)
    shown = known & np.isfinite(found[:, 0])
    assert shown.sum() > 50
    np.testing.assert_allclose(found[shown], exact[shown], atol=1e-3)
    assert np.all(move(points)[shown, 0] > -10)  # the left half is behind the plate
    assert np.abs(found - transfer(photographed(views, (vertices, triangles)), 0, 1, xy))[shown].max() > 3.0
    np.testing.assert_allclose(patch_distance_mm(truth, 0, xy[shown], 1, found[shown]), 0.0, atol=0.005)
    np.testing.assert_allclose(reference_points(truth, 1, found[shown]), points[shown], atol=0.005)
    np.testing.assert_allclose(surface_points(truth, 1, found[shown]), move(points)[shown], atol=0.005)


def test_depth_agrees_with_the_mesh_between_all_pairs_of_views(ball):
    assert_depth_agrees_with_mesh(ball, least=1000)


def test_regions_are_those_of_the_nearest_vertex():
    truth = photographed([FRONT], quad([0, 0, 0], [60, 0, 0], [0, 60, 0]), regions=np.arange(1, 5))
    corners = np.array([[62.0, 158.0], [174.0, 158.0], [174.0, 45.0], [62.0, 45.0], [2.0, 2.0]])  # of the picture: y is down
    np.testing.assert_array_equal(regions_of(truth, locate(truth, 0, corners)), [1, 2, 3, 4, 0])


def test_places_are_joined_and_chosen():
    places = Places(np.array([4, -1, 7]), np.array([[0.1, 0.2], [0.0, 0.0], [0.3, 0.3]]))
    both = join_places([places, places[1:]])
    np.testing.assert_array_equal(both.triangle, [4, -1, 7, -1, 7])
    np.testing.assert_array_equal(both.known, [True, False, True, False, True])
    np.testing.assert_array_equal(both[np.array([0, 4])].barycentric, [[0.1, 0.2], [0.3, 0.3]])
    assert len(join_places([]).triangle) == 0


def test_which_views_see_a_pore():
    """A front view, one that looks along the plane (79 deg) and one behind a plate."""
    views = [FRONT, looking_view(1, [0, -900, 175]), looking_view(2, [500, 0, 750])]
    plate = quad([400, 0, 600], [60, 0, 0], [0, 60, 0])  # on the way from the third camera to the middle
    truth = photographed(views, joined(UPRIGHT, plate))
    middle, corner = np.array([0, 0]), np.array([[0.0, 0.5], [0.5, 0.0]])
    assert seeing_views(truth, Places(middle, corner)) == [[0], []]  # the second pore is outside of all pictures
    lifted = photographed([FRONT, looking_view(1, [0, -850, 300]), views[2]], UPRIGHT)
    assert seeing_views(lifted, Places(middle[:1], corner[:1])) == [[0, 1, 2]]


def test_files_are_written_and_read_back(tmp_path):
    moved = {1: UPRIGHT[0] + [0.0, 1.0, 0.0]}
    truth = photographed([FRONT, SIDE, looking_view(2, [-300, 0, 850])], UPRIGHT, moved, np.full(4, 2))
    write_scene(tmp_path, truth)
    assert (tmp_path / "truth" / "vertices_1.npy").exists()
    assert not (tmp_path / "truth" / "vertices_2.npy").exists()
    again = read_truth(tmp_path / "images.parquet", tmp_path / "truth")
    xy = random_pixels(50)
    np.testing.assert_array_equal(transfer(again, 0, 1, xy), transfer(truth, 0, 1, xy))
    assert list(again.moved) == [1]
    places = Places(np.zeros(2, np.int64), np.array([[0.0, 0.5], [0.02, 0.49]]))
    write_pores(tmp_path / "truth", again, places, np.full(2, 0.2), np.full(2, 0.05), np.full(2, 0.3))
    pores = read_table(tmp_path / "truth" / "pores.parquet", PORES)
    np.testing.assert_allclose(pores[["x", "y", "z"]], [[0, 0, 0], [6, -6, 0]], atol=1e-4)
    assert [list(views) for views in pores["views"]] == [[0, 1, 2], [0, 1, 2]]
    assert set(pores["region"]) == {REGIONS[2]}
    (tmp_path / "truth" / "depth_2.npy").unlink()
    with pytest.raises(PorePatchError, match="depth_2"):
        read_truth(tmp_path / "images.parquet", tmp_path / "truth")


def test_truth_needs_a_pose(tmp_path):
    truth = photographed([FRONT, replace(SIDE, pose=None)], UPRIGHT)
    with pytest.raises(PorePatchError, match="no pose"):
        transfer(truth, 0, 1, random_pixels(3))
    with pytest.raises(PorePatchError, match="no pose"):
        write_cameras(tmp_path, list(truth.views.values()))


def test_cameras_are_a_colmap_model(tmp_path, ball):
    write_cameras(tmp_path, list(ball.views.values()))
    model = read_model(tmp_path / "cameras")
    assert len(model.xyz) == 0
    for image_id, view in ball.views.items():
        camera = model.cameras[image_id]
        assert (camera.model, camera.width, camera.height) == (view.camera.model, view.camera.width, view.camera.height)
        np.testing.assert_allclose(camera.params, view.camera.params)
        np.testing.assert_allclose(model.poses[image_id].rotation, view.pose.rotation, atol=1e-12)
        np.testing.assert_allclose(model.poses[image_id].translation, view.pose.translation)
    lines = [line.split() for line in (tmp_path / "cameras" / "cameras.txt").read_text().splitlines() if line[0] != "#"]
    # COLMAP: the centre of the first pixel is (0.5, 0.5).
    assert [float(value) for value in lines[0][4:7]] == pytest.approx([1000.0, 118.5, 102.0])


def test_look_at_centres_the_target_and_keeps_up_upright() -> None:
    pose: Pose = look_at(np.array([300.0, 100.0, 800.0]), np.array([0.0, 0.0, 60.0]), 0.0)
    target = pose.to_camera(np.array([[0.0, 0.0, 60.0], [0.0, 10.0, 60.0]]))
    np.testing.assert_allclose(target[0], [0.0, 0.0, np.linalg.norm([300.0, 100.0, 740.0])], atol=1e-9)
    assert target[1, 1] < 0.0 and abs(target[1, 0]) < 1e-9
    np.testing.assert_allclose(np.linalg.det(pose.rotation), 1.0)
    np.testing.assert_allclose(pose.centre, [300.0, 100.0, 800.0])
