"""A face located in space by its views, and where other views show its rim and its features."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from porepatch_lib.captures.face_in_space import FaceInSpace, SeenFace, intersect, locate_face
from porepatch_lib.geometry import Camera, Pose, project
from porepatch_lib.rendering.rig import look_at

UNIT_MM = 62.0
FACE_MM = np.array([[-31.0, 27.0, 80.0], [31.0, 27.0, 80.0], [0.0, -40.0, 80.0]])
MIDDLE_MM = np.array([0.0, 0.0, 60.0])
CAMERA = Camera("SIMPLE_RADIAL", 1200, 1200, (3300.0, 590.0, 605.0, -0.1))
FloatArray = NDArray[np.float64]


def pose_at(azimuth_deg: float, elevation_deg: float = 0.0, roll_deg: float = 0.0) -> Pose:
    azimuth, elevation, roll = np.radians([azimuth_deg, elevation_deg, roll_deg])
    away = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    return look_at(MIDDLE_MM + 900.0 * away, MIDDLE_MM, roll)


def seen_from(pose: Pose, face: FloatArray = FACE_MM) -> SeenFace:
    return SeenFace(CAMERA, pose, project(CAMERA, pose, face)[0])


def moved(face: SeenFace, index: int, by_px: tuple[float, float]) -> SeenFace:
    landmarks = face.landmarks.copy()
    landmarks[index] += by_px
    return SeenFace(face.camera, face.pose, landmarks)


def shifted(index: int, *by_mm: float) -> FloatArray:
    face = FACE_MM.copy()
    face[index] += by_mm
    return face


FRONTAL = [seen_from(pose_at(azimuth, elevation)) for azimuth, elevation in ((-25, 8), (-12, -8), (1, 0), (14, 9), (26, -6))]


def test_rays_meet_where_the_landmarks_are() -> None:
    for index in range(3):
        np.testing.assert_allclose(intersect(FRONTAL, index), FACE_MM[index], atol=1e-6)


def test_the_frame_is_upright_in_the_face() -> None:
    face = locate_face(FRONTAL)
    assert face is not None and face.agrees.all()
    np.testing.assert_allclose(face.landmarks, FACE_MM, atol=1e-6)
    np.testing.assert_allclose(face.axes, np.diag([1.0, -1.0, -1.0]), atol=1e-8)
    np.testing.assert_allclose(face.mouth, [0.0, 67.0 / UNIT_MM, 0.0], atol=1e-8)
    np.testing.assert_allclose(face.to_world(np.array([[0.5, 0.0, 0.0]])), FACE_MM[1:2], atol=1e-6)
    assert face.turned_rad(pose_at(40.0)) == pytest.approx(np.radians(40.0), abs=0.04)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_misplaced_landmark_is_left_out(index: int) -> None:
    views = [*FRONTAL[:2], moved(FRONTAL[2], index, (6.0, -45.0)), *FRONTAL[3:]]
    face = locate_face(views)
    assert face is not None
    np.testing.assert_allclose(face.landmarks, FACE_MM, atol=1e-6)
    assert np.argwhere(~face.agrees).tolist() == [[2, index]]


WRONG = {
    "two views": FRONTAL[1:3],
    "one place": [FRONTAL[2], seen_from(pose_at(2.0)), seen_from(pose_at(3.0))],
    "no agreement": [moved(face, 2, (0.0, 60.0 * step)) for step, face in enumerate(FRONTAL)],
    "mouth too high": [seen_from(face.pose, shifted(2, 0.0, 35.0, 0.0)) for face in FRONTAL],
    "mouth aside": [seen_from(face.pose, shifted(2, 20.0, 0.0, 0.0)) for face in FRONTAL],
    "looks elsewhere": [seen_from(face.pose, shifted(0, 0.0, 0.0, -60.0)) for face in FRONTAL],
}


@pytest.mark.parametrize("views", WRONG.values(), ids=WRONG)
def test_what_is_not_sure_is_not_located(views: list[SeenFace]) -> None:
    assert locate_face(views) is None


def located() -> FaceInSpace:
    face = locate_face(FRONTAL)
    assert face is not None
    return face


def at(mask: NDArray[np.bool_], pose: Pose, points: FloatArray) -> list[bool]:
    """A mask at world points (N,3)."""
    column, row = np.rint(project(CAMERA, pose, points)[0]).astype(int).T
    return mask[row, column].tolist()


@pytest.mark.parametrize("roll_deg", [0.0, 90.0])
def test_from_the_front_the_rim_ends_below_the_chin(roll_deg: float) -> None:
    """Chin: 1.68 mouth distances below the pupils; at the mouth's height the jaw is some 0.95 units to the side."""
    pose = pose_at(0.0, roll_deg=roll_deg)
    rim = located().within_rim(CAMERA, pose)
    chin_mm = 27.0 - 1.68 * 67.0
    assert at(rim, pose, np.array([[0.0, chin_mm + 2.0, 77.0], [0.0, chin_mm - 3.0, 77.0]])) == [True, False]
    beside_mm = np.array([0.9, 1.25]) * UNIT_MM
    for side in (-1.0, 1.0):
        assert at(rim, pose, np.column_stack([side * beside_mm, [-40.0, -40.0], [15.0, 15.0]])) == [True, False]


@pytest.mark.parametrize("azimuth_deg", [-60.0, -30.0, 0.0, 45.0, 60.0])
def test_ears_and_neck_lie_beyond_the_rim(azimuth_deg: float) -> None:
    pose, near = pose_at(azimuth_deg), np.sign(azimuth_deg) or 1.0
    rim = located().within_rim(CAMERA, pose)
    neck, ear, cheek = [near * 30.0, -125.0, 30.0], [near * 80.0, 0.0, -25.0], [near * 45.0, -5.0, 60.0]
    assert at(rim, pose, np.array([cheek, neck, ear])) == [True, False, False]


@pytest.mark.parametrize("azimuth_deg", [-60.0, -30.0, 0.0, 45.0, 60.0])
def test_features_cover_what_they_are_of(azimuth_deg: float) -> None:
    pose, near = pose_at(azimuth_deg), int(azimuth_deg > 0.0)
    features = located().features(CAMERA, pose)
    brow = FACE_MM[near] + [0.0, 0.3 * UNIT_MM, 8.0]
    assert at(features, pose, np.stack([FACE_MM[near], FACE_MM[2], brow])) == [True] * 3
    cheek = FACE_MM[near] + [0.0, -0.6 * UNIT_MM, 0.0]
    forehead = FACE_MM[near] + [0.0, 0.8 * UNIT_MM, 0.0]
    assert at(features, pose, np.stack([cheek, forehead])) == [False] * 2


def test_the_far_eye_is_hidden() -> None:
    pose = pose_at(68.0)
    assert at(located().features(CAMERA, pose), pose, FACE_MM[:2]) == [False, True]
