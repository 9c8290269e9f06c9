"""Normals of the sparse surface and how its planes appear in the views."""

from __future__ import annotations

import numpy as np

from porepatch_lib.geometry import Camera, FloatArray, Pose, project
from porepatch_lib.refinement.frames import fit_planes, observed_frames, surface_normals
from porepatch_lib.sfm.model import SparseModel

CAMERA = Camera("SIMPLE_RADIAL", 400, 300, (800.0, 199.5, 149.5, -0.1))


def _turned(angle: float, distance: float = 500.0) -> Pose:
    """Return a camera that looks at the origin from `angle` (rad) to the side."""
    c, s = np.cos(angle), np.sin(angle)
    return Pose(np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]]), np.array([0.0, 0.0, distance]))


def _model(xyz: FloatArray) -> SparseModel:
    count = len(xyz)
    return SparseModel(
        cameras={0: CAMERA, 1: CAMERA},
        poses={0: _turned(-0.3), 1: _turned(0.3)},
        point_ids=np.arange(count),
        xyz=xyz,
        observed_point=np.repeat(np.arange(count), 2),
        image_id=np.tile(np.array([0, 1], np.int32), count),
        keypoint_id=np.repeat(np.arange(count, dtype=np.int32), 2),
    )


def _plane(count: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Return points of the plane z = 0.3 x - 0.2 y and its normal towards the cameras at negative z."""
    xy = np.random.default_rng(seed).uniform(-20.0, 20.0, (count, 2))
    normal = np.array([0.3, -0.2, -1.0])
    return np.column_stack([xy, 0.3 * xy[:, 0] - 0.2 * xy[:, 1]]), normal / np.linalg.norm(normal)


def test_normals_of_a_plane_with_outliers_point_to_the_cameras() -> None:
    xyz, normal = _plane(120)
    xyz[::10, 2] += 6.0
    inlier = np.arange(120) % 10 != 0
    found = surface_normals(_model(xyz), 24)
    angles = np.degrees(np.arccos(np.clip(found[inlier] @ normal, -1.0, 1.0)))
    assert np.median(angles) < 0.01
    assert (angles < 1.0).mean() > 0.9


def test_few_or_collinear_points_are_seen_fronto_parallel() -> None:
    two, _ = _plane(2)
    line = np.outer(np.linspace(-20.0, 20.0, 12), [1.0, 0.2, 0.1])
    for xyz in (two, line):
        found = surface_normals(_model(xyz), 24)
        assert (found[:, 2] < -0.99).all()
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)


def test_a_plane_that_a_view_sees_from_behind_is_not_believed() -> None:
    rng = np.random.default_rng(1)
    along = rng.uniform(-10.0, 10.0, (60, 2))
    xyz = np.column_stack([0.05 * along[:, 0], along[:, 1], along[:, 0]])
    assert (surface_normals(_model(xyz), 12)[:, 2] < -0.9).all()


def test_a_cloud_without_a_surface_is_no_plane() -> None:
    _, is_plane = fit_planes(np.random.default_rng(2).normal(size=(50, 12, 3)) * [1.0, 1.0, 3.0])
    assert is_plane.mean() < 0.5
    _, is_plane = fit_planes(np.random.default_rng(2).normal(size=(50, 12, 3)) * [1.0, 1.0, 0.01])
    assert is_plane.all()


def test_frames_map_a_neighbourhood_from_view_to_view() -> None:
    xyz, normal = _plane(40, seed=4)
    model = _model(xyz)
    frames = observed_frames(model, np.broadcast_to(normal, xyz.shape))
    tangent = np.cross(normal, [0.0, 1.0, 0.0])
    tangent /= np.linalg.norm(tangent)
    moved = [project(CAMERA, model.poses[i], xyz + 0.2 * tangent)[0] - project(CAMERA, model.poses[i], xyz)[0] for i in (0, 1)]
    mapped = np.einsum("nij,njk,nk->ni", frames[1::2], np.linalg.inv(frames[0::2]), moved[0])
    np.testing.assert_allclose(mapped, moved[1], atol=2e-4)


def test_an_empty_model_has_no_normals() -> None:
    model = _model(np.empty((0, 3)))
    assert observed_frames(model, surface_normals(model, 24)).shape == (0, 2, 2)
