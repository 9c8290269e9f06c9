"""Accuracy, completeness and normals of clouds around a sphere and a plane, in closed form; refinement on a face-like surface."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from truth_scenes import joined, looking_view, photographed, quad, sphere

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import project
from porepatch_lib.reconstruction.alignment import IDENTITY, Similarity
from porepatch_lib.reconstruction.surface import (
    ReconstructionTruthSettings,
    cloud_figures,
    draw_places,
    nearest_on,
    normal_error_deg,
    smooth_normals,
    visible_surface,
)
from porepatch_lib.reconstruction.surface_alignment import refine_on_surface
from porepatch_lib.rendering.truth import Mesh, positions

RADIUS_MM = 80.0
SETTINGS = ReconstructionTruthSettings(samples=20_000)


def mesh_of(shape: tuple[np.ndarray, np.ndarray]) -> Mesh:
    return Mesh(shape[0].astype(np.float32), shape[1])


@pytest.fixture(scope="module")
def ball() -> Mesh:
    return mesh_of(sphere(RADIUS_MM))


def directions(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_points_at_known_distances_of_a_sphere(ball):
    offset = np.repeat([0.05, -0.2, 0.4, -3.0], [10, 20, 30, 40])
    points = directions(100) * (RADIUS_MM + offset)[:, None]
    nearest = nearest_on(ball, points, 1)
    np.testing.assert_allclose(nearest.distance_mm, np.abs(offset), atol=7e-3)
    np.testing.assert_allclose(np.linalg.norm(nearest.point, axis=1), RADIUS_MM, atol=7e-3)
    figures = cloud_figures("sparse", points, nearest.distance_mm, np.empty((0, 3)), 1)
    assert [figures[f"sparse_accuracy_{d}mm"] for d in ("0.1", "0.25", "0.5")] == [0.1, 0.3, 0.6]
    assert figures["sparse_error_mm"] == pytest.approx(0.4, abs=7e-3)
    assert figures["sparse_completeness_0.1mm"] is None
    assert figures["sparse_f_0.1mm"] is None


def test_completeness_counts_the_surface_near_the_cloud():
    surface = np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]])
    points = np.array([[0.1, 0, 0], [0.2, 0, 1], [0, 0.5, 2]])
    figures = cloud_figures("dense", points, np.array([0.1, 0.2, 0.5]), surface, 1)
    assert [figures[f"dense_completeness_{d}mm"] for d in ("0.1", "0.25", "0.5")] == [0.25, 0.5, 0.75]
    assert figures["dense_f_0.25mm"] == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))


def test_a_perfect_cloud_is_complete_and_exact(ball):
    surface = positions(ball, draw_places(ball, 3000, 1))
    nearest = nearest_on(ball, surface, 1)
    figures = cloud_figures("dense", surface, nearest.distance_mm, surface, 1)
    assert figures.pop("dense_error_mm") == pytest.approx(0.0, abs=1e-4)
    assert set(figures.values()) == {1.0}


def test_no_points_have_no_accuracy_and_no_completeness(ball):
    nowhere = np.empty((0, 3))
    nearest = nearest_on(ball, nowhere, 1)
    figures = cloud_figures("sparse", nowhere, nearest.distance_mm, directions(10) * RADIUS_MM, 1)
    for name, value in figures.items():
        assert value is None if "accuracy" in name or "error" in name else value == 0.0, name
    assert normal_error_deg(ball, nearest, nowhere) is None


def test_a_far_cloud_has_an_f_score_of_zero(ball):
    points = directions(10) * 2 * RADIUS_MM
    figures = cloud_figures("sparse", points, nearest_on(ball, points, 1).distance_mm, directions(10) * RADIUS_MM, 1)
    assert figures["sparse_f_0.5mm"] == 0.0
    assert figures["sparse_error_mm"] == pytest.approx(RADIUS_MM, abs=7e-3)


def test_normals_are_smooth_and_those_of_far_points_do_not_count(ball):
    unit = directions(500)
    points = unit * RADIUS_MM
    nearest = nearest_on(ball, points, 1)
    np.testing.assert_allclose(np.einsum("ij,ij->i", smooth_normals(ball, nearest.place), unit), 1.0, atol=1e-4)
    # Turned by 10 degrees about an axis at right angles to each normal.
    axis = np.cross(unit, [0.0, 0.0, 1.0])
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    tilted = Rotation.from_rotvec(np.deg2rad(10.0) * axis).apply(unit)
    assert normal_error_deg(ball, nearest, tilted) == pytest.approx(10.0, abs=0.5)
    points[250:] *= 1.1
    tilted[250:] *= -1.0
    assert normal_error_deg(ball, nearest_on(ball, points, 1), tilted) == pytest.approx(10.0, abs=0.5)
    assert normal_error_deg(ball, nearest_on(ball, points[:250], 1), -tilted[:250]) == pytest.approx(170.0, abs=0.5)


def test_places_are_drawn_by_area():
    small, large = quad([0, 0, 0], [1, 0, 0], [0, 1, 0]), quad([50, 0, 0], [3, 0, 0], [0, 1, 0])
    mesh = mesh_of(joined(small, large))
    drawn = positions(mesh, draw_places(mesh, 40_000, 0))
    assert np.mean(drawn[:, 0] > 10) == pytest.approx(0.75, abs=0.01)
    on_small = drawn[drawn[:, 0] < 10]
    np.testing.assert_allclose(on_small.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(on_small[:, :2].var(axis=0), 1 / 3, atol=0.01)
    np.testing.assert_array_equal(drawn, positions(mesh, draw_places(mesh, 40_000, 0)))
    assert not np.array_equal(drawn, positions(mesh, draw_places(mesh, 40_000, 1)))


def test_the_visible_surface_is_what_two_views_see(tmp_path):
    views = [looking_view(0, [-250, 0, 860]), looking_view(1, [250, 0, 860])]
    truth = photographed(views, sphere(40.0, 120))
    points = visible_surface(truth, SETTINGS, 0, 1)
    # Both see a place where the normal has at least a cosine of 0.2 to both directions; the front always, never the back.
    cosine = np.stack([np.einsum("ij,ij->i", view.pose.centre - points, points) for view in views])
    cosine /= 40.0 * np.stack([np.linalg.norm(view.pose.centre - points, axis=1) for view in views])
    assert cosine.min() > 0.18
    every = positions(truth.reference, draw_places(truth.reference, SETTINGS.samples, 0))
    front = every[every[:, 2] > 35.0]
    assert len(front) == np.sum(points[:, 2] > 35.0) > 500
    one = visible_surface(truth, replace(SETTINGS, min_views=1), 0, 1)
    assert len(one) > 1.2 * len(points)
    assert len(visible_surface(truth, replace(SETTINGS, min_views=3), 0, 1)) == 0
    np.testing.assert_array_equal(points, visible_surface(truth, SETTINGS, 0, 2))

    mask = np.zeros((200, 240), np.uint8)
    mask[:100] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    masked = photographed([replace(views[0], mask_path=tmp_path / "mask.png"), views[1]], sphere(40.0, 120))
    upper = visible_surface(masked, SETTINGS, 0, 1)
    assert 0.4 * len(points) < len(upper) < 0.6 * len(points)
    assert project(views[0].camera, views[0].pose, upper)[0][:, 1].max() <= 99.5


def test_skin_seen_too_grazingly_does_not_count():
    views = [looking_view(0, [0, -30, 900]), looking_view(1, [0, 30, 900])]
    for degrees, expected in ((70.0, SETTINGS.samples), (83.0, 0)):
        angle = np.deg2rad(degrees)
        plane = quad([0, 0, 0], [40 * np.cos(angle), 0, -40 * np.sin(angle)], [0, 40, 0])
        assert len(visible_surface(photographed(views, plane), SETTINGS, 0, 1)) == pytest.approx(expected, rel=0.15)


def bumpy() -> Mesh:
    """The front of a head in the rough: an ellipsoid with waves, so that no direction is left open."""
    vertices, triangles = sphere(1.0, 120)
    waves = 1.0 + 0.04 * np.sin(6 * vertices[:, 0]) * np.cos(5 * vertices[:, 1] + 1.0)
    return mesh_of((vertices * [80.0, 110.0, 95.0] * waves[:, None], triangles[(vertices[triangles].mean(axis=1)[:, 2] > 0)]))


def test_refinement_finds_the_frame_of_a_cloud_and_is_not_pulled_by_outliers():
    mesh = bumpy()
    true = positions(mesh, draw_places(mesh, 1500, 2))
    truth = Similarity(40.0, Rotation.from_rotvec([0.3, 2.0, -0.4]).as_matrix(), np.array([100.0, -50.0, 800.0]))
    points = (true - truth.translation) @ truth.rotation / truth.scale
    points[:200] += np.random.default_rng(0).normal(size=(200, 3))  # 40 mm
    near = Similarity(1.015, Rotation.from_rotvec([0.01, -0.02, 0.015]).as_matrix(), np.array([4.0, -3.0, 5.0]))
    start = near.after(truth)
    assert np.linalg.norm(start.apply(points[200:]) - true[200:], axis=1).min() > 1.0
    found = refine_on_surface(mesh, points, start, 1)
    assert np.linalg.norm(found.apply(points[200:]) - true[200:], axis=1).max() < 0.01
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-9)


def test_refinement_leaves_alone_what_it_cannot_better(ball):
    """A perfect cloud of a sphere, which may turn freely, hardly does; a cloud that would have to shrink to a point stays."""
    points = directions(500) * RADIUS_MM
    found = refine_on_surface(ball, points, IDENTITY, 1)
    assert np.linalg.norm(found.apply(points) - points, axis=1).max() < 0.2
    flat = mesh_of(quad([0, 0, 0], [1, 0, 0], [0, 1, 0]))
    rubbish = directions(500, 4) * 400.0
    assert refine_on_surface(flat, rubbish, IDENTITY, 1) is IDENTITY


@pytest.mark.parametrize("bad", [{"samples": 0}, {"min_views": 0}, {"min_alignment_points": 7}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(PorePatchError, match=next(iter(bad))):
        ReconstructionTruthSettings(**bad)
