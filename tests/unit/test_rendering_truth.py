"""Ground truth of rendered captures against closed forms: planes, a sphere, an occluder."""

from pathlib import Path

import numpy as np
import pytest

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, project, rays
from porepatch_lib.rendering.rig import look_at
from porepatch_lib.rendering.truth import (
    depth_at,
    pixel_scale_mm,
    read_depth,
    surface_points,
    transfer,
    viewing_angle_rad,
)

WIDTH, HEIGHT = 240, 200
RADIUS_MM = 80.0


def make_view(centre: tuple[float, float, float], k1: float = 0.0, focal: float = 1000.0) -> View:
    camera = Camera("SIMPLE_RADIAL", WIDTH, HEIGHT, (focal, 118.0, 101.5, k1))
    pose = look_at(np.array(centre), np.zeros(3), 0.03)
    return View(0, "test", Path("test.png"), None, "", 1, 0, camera, True, pose)


def grid() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).reshape(-1, 2).astype(np.float64)


def plane_depth(view: View, normal: np.ndarray, offset: float, xy: np.ndarray) -> np.ndarray:
    """z-depth at xy of the plane normal . x = offset."""
    direction = rays(view.camera, xy) @ view.pose.rotation
    return (offset - normal @ view.pose.centre) / (direction @ normal)


def sphere_depth(view: View, xy: np.ndarray) -> np.ndarray:
    """z-depth at xy of the sphere around the origin, NaN beside it."""
    direction = rays(view.camera, xy) @ view.pose.rotation
    a = np.sum(direction**2, axis=1)
    b = direction @ view.pose.centre
    c = view.pose.centre @ view.pose.centre - RADIUS_MM**2
    with np.errstate(invalid="ignore"):
        return (-b - np.sqrt(b * b - a * c)) / a


def as_image(values: np.ndarray) -> np.ndarray:
    return values.reshape(HEIGHT, WIDTH).astype(np.float32)


def random_pixels(count: int = 500) -> np.ndarray:
    return np.random.default_rng(3).uniform([0.0, 0.0], [WIDTH - 1.0, HEIGHT - 1.0], (count, 2))


def test_surface_points_are_exact_on_a_tilted_plane() -> None:
    view, normal = make_view((150.0, 60.0, 880.0)), np.array([0.75, -0.2, 0.63])
    depth = as_image(plane_depth(view, normal, 4.0, grid()))
    points = surface_points(view, depth, random_pixels())
    np.testing.assert_allclose(points @ normal, 4.0, atol=1e-4)
    np.testing.assert_allclose(project(view.camera, view.pose, points)[0], random_pixels(), atol=1e-6)


def test_surface_points_and_angles_on_a_sphere() -> None:
    view = make_view((200.0, -100.0, 850.0), k1=0.15)
    depth = as_image(sphere_depth(view, grid()))
    xy = random_pixels()
    points = surface_points(view, depth, xy)
    true_cosine = np.sum(points * (view.pose.centre - points), axis=1)
    true_cosine /= np.linalg.norm(points, axis=1) * np.linalg.norm(view.pose.centre - points, axis=1)
    facing = true_cosine > 0.5
    assert facing.sum() > 100
    np.testing.assert_allclose(np.linalg.norm(points[facing], axis=1), RADIUS_MM, atol=0.01)
    np.testing.assert_allclose(viewing_angle_rad(view, depth, xy)[facing], np.arccos(true_cosine[facing]), atol=0.02)
    scale = pixel_scale_mm(view, depth, xy)
    np.testing.assert_allclose(scale[facing], project(view.camera, view.pose, points)[1][facing] / 1000.0, rtol=1e-9)


def test_transfer_between_two_views_of_a_sphere() -> None:
    views = make_view((200.0, -100.0, 850.0), k1=0.15), make_view((-600.0, 50.0, 650.0), k1=-0.1)
    depths = [as_image(sphere_depth(view, grid())) for view in views]
    xy = random_pixels()
    found = transfer(views[0], depths[0], views[1], depths[1], xy)
    exact_depth = sphere_depth(views[0], xy)
    points = views[0].pose.to_world(rays(views[0].camera, xy) * exact_depth[:, None])
    exact, _ = project(views[1].camera, views[1].pose, points)
    shown = np.isfinite(found[:, 0])
    to_second = views[1].pose.centre - points
    hidden = np.sum(points * to_second, axis=1) < 0.0
    assert shown.sum() > 100 and hidden.sum() > 5
    assert not np.any(shown & hidden)
    smooth = shown & (np.sum(points * to_second, axis=1) > 0.4 * RADIUS_MM * 900.0)
    np.testing.assert_allclose(found[smooth], exact[smooth], atol=0.05)


def test_an_occluder_hides_what_is_behind_it() -> None:
    first, second = make_view((0.0, 0.0, 900.0)), make_view((300.0, 0.0, 850.0))
    normal = np.array([0.0, 0.0, 1.0])
    depths = [as_image(plane_depth(view, normal, 0.0, grid())) for view in (first, second)]
    xy = random_pixels()
    free = transfer(first, depths[0], second, depths[1], xy)
    exact, _ = project(second.camera, second.pose, surface_points(first, depths[0], xy))
    shown = np.isfinite(free[:, 0])
    assert shown.sum() > 200
    np.testing.assert_allclose(free[shown], exact[shown], atol=1e-6)
    blocked = depths[1].copy()
    blocked[:, 100:] -= 30.0
    covered = transfer(first, depths[0], second, blocked, xy)
    behind = free[:, 0] > 99.0
    assert behind[shown].any() and np.isnan(covered[behind]).all()
    left = free[:, 0] < 99.0
    np.testing.assert_array_equal(covered[left], free[left])


def test_depth_is_missing_outside_and_across_edges() -> None:
    depth = np.full((4, 5), 500.0, np.float32)
    depth[:, 3:] = 520.0
    depth[3, 0] = np.nan
    xy = np.array(
        [[1.0, 1.0], [0.0, 0.0], [4.0, 1.0], [2.5, 1.0], [-0.01, 1.0], [4.01, 1.0], [1.0, 3.01], [0.5, 2.5], [np.nan, 1.0]]
    )
    found = depth_at(depth, xy)
    np.testing.assert_allclose(found[:3], [500.0, 500.0, 520.0])
    assert np.isnan(found[3:]).all()


def test_truth_needs_pose_and_files(tmp_path: Path) -> None:
    view = make_view((0.0, 0.0, 900.0))
    posed_nowhere = View(**{**view.__dict__, "pose": None})
    with pytest.raises(PorePatchError, match="no pose"):
        surface_points(posed_nowhere, np.ones((HEIGHT, WIDTH), np.float32), random_pixels())
    with pytest.raises(PorePatchError, match="depth_7"):
        read_depth(tmp_path, 7)


def test_look_at_centres_the_target_and_keeps_up_upright() -> None:
    pose: Pose = look_at(np.array([300.0, 100.0, 800.0]), np.array([0.0, 0.0, 60.0]), 0.0)
    target = pose.to_camera(np.array([[0.0, 0.0, 60.0], [0.0, 10.0, 60.0]]))
    np.testing.assert_allclose(target[0], [0.0, 0.0, np.linalg.norm([300.0, 100.0, 740.0])], atol=1e-9)
    assert target[1, 1] < 0.0 and abs(target[1, 0]) < 1e-9
    np.testing.assert_allclose(np.linalg.det(pose.rotation), 1.0)
    np.testing.assert_allclose(pose.centre, [300.0, 100.0, 800.0])
