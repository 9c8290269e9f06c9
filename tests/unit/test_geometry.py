"""Cameras and poses in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, distort, project, rays, undistort, unproject

_PINHOLE = Camera("PINHOLE", 640, 480, (500.0, 520.0, 319.5, 239.5))
_IDENTITY = Pose(np.eye(3), np.zeros(3))
# A quarter turn about z, then one unit back: camera x is world y, camera y is world -x.
_TURNED = Pose(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.0, 0.0, 1.0]))


def test_pinhole_by_hand():
    pixels, depth = project(_PINHOLE, _IDENTITY, np.array([[1.0, -2.0, 4.0], [0.0, 0.0, 2.0]]))
    np.testing.assert_allclose(pixels, [[319.5 + 125.0, 239.5 - 260.0], [319.5, 239.5]])
    np.testing.assert_allclose(depth, [4.0, 2.0])


def test_pose_by_hand():
    np.testing.assert_allclose(_TURNED.to_camera(np.array([[1.0, 2.0, 3.0]])), [[2.0, -1.0, 4.0]])
    np.testing.assert_allclose(_TURNED.to_world(np.array([[2.0, -1.0, 4.0]])), [[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(_TURNED.centre, [0.0, 0.0, -1.0])


def test_points_behind_the_camera_have_no_pixel():
    pixels, depth = project(_PINHOLE, _IDENTITY, np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(pixels).all()
    np.testing.assert_allclose(depth, [-1.0, 0.0])


@pytest.mark.parametrize(
    ("model", "params", "expected"),
    [
        # normalised (0.5, 0): r^2 = 0.25
        ("SIMPLE_PINHOLE", (100.0, 0.0, 0.0), (50.0, 0.0)),
        ("SIMPLE_RADIAL", (100.0, 0.0, 0.0, 0.4), (50.0 * 1.1, 0.0)),
        ("RADIAL", (100.0, 0.0, 0.0, 0.4, 0.8), (50.0 * 1.15, 0.0)),
        # tangential: x + p2 (r^2 + 2 x^2), y + p1 (r^2 + 2 y^2)
        ("OPENCV", (100.0, 200.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2), (50.0 + 100 * 0.2 * 0.75, 200 * 0.1 * 0.25)),
    ],
)
def test_distortion_models_by_hand(model, params, expected):
    camera = Camera(model, 100, 100, params)
    pixels, _ = project(camera, _IDENTITY, np.array([[1.0, 0.0, 2.0]]))
    np.testing.assert_allclose(pixels[0], expected)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-0.2, 0.2), st.floats(-0.1, 0.1), st.floats(-0.01, 0.01), st.floats(-0.01, 0.01),
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_undistort_inverts_distort(k1, k2, p1, p2, x, y):
    camera = Camera("OPENCV", 100, 100, (100.0, 100.0, 50.0, 50.0, k1, k2, p1, p2))
    normalised = np.array([[x, y]])
    np.testing.assert_allclose(undistort(camera, distort(camera, normalised)), normalised, atol=1e-6)


def test_unproject_inverts_project():
    camera = Camera("SIMPLE_RADIAL", 640, 480, (500.0, 319.5, 239.5, -0.1))
    points = np.array([[0.3, -0.2, 2.0], [-0.5, 0.4, 3.0]])
    pixels, depth = project(camera, _TURNED, points)
    np.testing.assert_allclose(unproject(camera, _TURNED, pixels, depth), points, atol=1e-9)
    np.testing.assert_allclose(rays(camera, np.array([[319.5, 239.5]])), [[0.0, 0.0, 1.0]])


def test_wrong_cameras_are_refused():
    with pytest.raises(PorePatchError, match="'FISHEYE' is not supported"):
        Camera("FISHEYE", 10, 10, (1.0,))
    with pytest.raises(PorePatchError, match="PINHOLE takes 4 parameters"):
        Camera("PINHOLE", 10, 10, (1.0, 2.0, 3.0))
