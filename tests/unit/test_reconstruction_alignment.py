"""Similarity alignment and camera errors in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from porepatch_lib.geometry import FloatArray, Pose
from porepatch_lib.reconstruction.alignment import Similarity, align_points, are_given, camera_errors, rotation_angle
from porepatch_lib.rendering.rig import look_at

SIMILARITY = Similarity(37.0, Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix(), np.array([5.0, -300.0, 12.0]))
CENTRES = np.array(
    [[-600.0, 200.0, 700.0], [-300.0, -250.0, 900.0], [10.0, 40.0, 950.0], [300.0, 260.0, 900.0], [620, -200, 680.0]]
)


def inverse(similarity: Similarity) -> Similarity:
    rotation = similarity.rotation.T
    return Similarity(1.0 / similarity.scale, rotation, -rotation @ similarity.translation / similarity.scale)


def turned(degrees: float, axis: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> FloatArray:
    return Rotation.from_rotvec(np.deg2rad(degrees) * np.array(axis)).as_matrix()


def rig(centres: FloatArray = CENTRES) -> dict[int, Pose]:
    return {3 * i: look_at(centre, np.zeros(3), 0.1 * i) for i, centre in enumerate(centres)}


def in_frame_of(similarity: Similarity, poses: dict[int, Pose]) -> dict[int, Pose]:
    """The poses as a model in another world sees them, which `similarity` takes to the true one."""
    result = {}
    for image_id, pose in poses.items():
        rotation = pose.rotation @ similarity.rotation
        centre = inverse(similarity).apply(pose.centre[None])[0]
        result[image_id] = Pose(rotation, -rotation @ centre)
    return result


def assert_same(found: Similarity | None, expected: Similarity) -> None:
    assert found is not None
    assert found.scale == pytest.approx(expected.scale, rel=1e-9)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, expected.translation, atol=1e-6)


@pytest.mark.parametrize("count", [3, 4, 200])
def test_a_known_similarity_is_recovered(count):
    points = np.random.default_rng(0).normal(size=(count, 3))
    assert_same(align_points(points, SIMILARITY.apply(points)), SIMILARITY)


def test_similarities_compose_and_turn():
    points = np.random.default_rng(1).normal(size=(5, 3))
    other = Similarity(0.5, turned(70.0, (0.0, 1.0, 0.0)), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(other.after(SIMILARITY).apply(points), other.apply(SIMILARITY.apply(points)))
    np.testing.assert_allclose(inverse(SIMILARITY).apply(SIMILARITY.apply(points)), points, atol=1e-9)
    np.testing.assert_allclose(SIMILARITY.turn(points), (SIMILARITY.apply(points) - SIMILARITY.translation) / SIMILARITY.scale)


def test_the_alignment_has_the_least_squares():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(30, 3))
    goal = SIMILARITY.apply(points) + 5.0 * rng.normal(size=(30, 3))
    best = align_points(points, goal)
    assert best is not None

    def cost(similarity: Similarity) -> float:
        return float(np.sum((similarity.apply(points) - goal) ** 2))

    for _ in range(50):
        step = Similarity(
            1.0 + 1e-3 * rng.normal(), Rotation.from_rotvec(1e-3 * rng.normal(size=3)).as_matrix(), rng.normal(size=3)
        )
        assert cost(step.after(best)) > cost(best)


def test_a_mirrored_set_is_turned_and_never_mirrored():
    points = np.random.default_rng(3).normal(size=(20, 3)) * [3.0, 2.0, 0.2]
    found = align_points(points, points * [1.0, 1.0, -1.0])
    assert found is not None
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)
    least, *others = np.linalg.eigvalsh(np.cov(points.T))
    assert found.scale == pytest.approx((sum(others) - least) / (sum(others) + least))  # the thinnest axis is given up


def test_cameras_in_a_plane_are_enough_and_on_a_line_are_not():
    plane = CENTRES * [1.0, 1.0, 0.0]
    assert_same(align_points(plane, SIMILARITY.apply(plane)), SIMILARITY)
    line = np.outer(np.arange(5.0), [1.0, 2.0, 3.0])
    assert align_points(line, SIMILARITY.apply(line)) is None
    assert align_points(CENTRES, line) is None
    assert align_points(CENTRES[:2], SIMILARITY.apply(CENTRES[:2])) is None
    assert align_points(np.empty((0, 3)), np.empty((0, 3))) is None
    assert align_points(np.ones((4, 3)), CENTRES[:4]) is None


@pytest.mark.parametrize("count", [3, 5])
def test_a_perfect_model_in_another_world_has_no_errors(count):
    true = rig(CENTRES[:count])
    errors = camera_errors(in_frame_of(SIMILARITY, true), true)
    assert errors is not None
    assert_same(errors.similarity, SIMILARITY)
    np.testing.assert_allclose(errors.position, np.zeros(count), atol=1e-8)
    np.testing.assert_allclose(errors.rotation_deg, np.zeros(count), atol=1e-8)


def test_a_turned_camera_has_its_angle_and_the_others_none():
    true = rig()
    wrong = dict(true)
    wrong[6] = Pose(turned(2.0) @ true[6].rotation, turned(2.0) @ true[6].translation)  # about its own axis: the centre stays
    errors = camera_errors(in_frame_of(SIMILARITY, wrong), true)
    assert errors is not None
    np.testing.assert_allclose(errors.rotation_deg, [0, 0, 2.0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(errors.position, np.zeros(5), atol=1e-8)


def test_position_errors_are_those_of_the_best_alignment():
    """A square whose corners go up and down by turns: no similarity helps, so each is off by the step."""
    square = np.array([[100.0, 100, 0], [-100, 100, 0], [-100, -100, 0], [100, -100, 0]])
    bent = np.array([[100.0, 100, 3], [-100, 100, -3], [-100, -100, 3], [100, -100, -3]])
    true = {i: Pose(np.eye(3), -centre) for i, centre in enumerate(square)}
    errors = camera_errors(in_frame_of(SIMILARITY, {i: Pose(np.eye(3), -centre) for i, centre in enumerate(bent)}), true)
    assert errors is not None
    scale = 20000.0 / 20009.0  # sum of products over sum of squares
    assert errors.similarity.scale == pytest.approx(SIMILARITY.scale * scale)
    np.testing.assert_allclose(errors.position, np.linalg.norm(scale * bent - square, axis=1), atol=1e-8)
    np.testing.assert_allclose(errors.rotation_deg, np.zeros(4), atol=1e-8)


def test_views_without_both_poses_are_left_out():
    true = rig()
    partial = {i: pose for i, pose in in_frame_of(SIMILARITY, true).items() if i != 3}
    errors = camera_errors(partial, {i: pose for i, pose in true.items() if i != 12})
    assert errors is not None
    assert len(errors.position) == 3
    assert camera_errors(in_frame_of(SIMILARITY, rig(CENTRES[:2])), true) is None
    assert camera_errors({}, true) is None
    assert camera_errors(true, {}) is None


def test_given_poses_keep_their_frame_however_the_cameras_stand():
    row = rig(np.array([[100.0, 0, 920], [200, 0, 940], [300, 0, 960]]))
    rounded = {i: Pose(pose.rotation + 1e-13, pose.translation * (1 + 1e-13)) for i, pose in row.items()}
    assert are_given(rounded, row)
    errors = camera_errors(rounded, row)
    assert errors is not None
    assert errors.similarity.scale == 1.0
    assert not errors.position.any()
    assert camera_errors(in_frame_of(SIMILARITY, row), row) is None
    moved = row | {0: Pose(row[0].rotation, row[0].translation + 1e-3)}
    assert not are_given(moved, row)
    assert not are_given(row, {0: row[0]})


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.3, 90.0, 179.9])
def test_angles_of_rotations(degrees):
    assert np.rad2deg(rotation_angle(turned(degrees, (0.6, 0.0, 0.8)))) == pytest.approx(degrees, abs=1e-9)
