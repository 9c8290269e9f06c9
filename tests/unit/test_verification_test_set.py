"""True correspondences of keypoints, on a plane seen by cameras that move parallel to it: a transfer is a known shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from truth_scenes import joined, photographed, quad, write_scene

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.correspondence import Features, correspond, group, keep_points, possible_duplicates
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.tables import TRACKS, read_table
from porepatch_lib.verification.truth_tracks import TruthSettings, build_truth_tracks, write_truth_tracks

WIDTH, HEIGHT, FOCAL, DEPTH_MM = 400, 300, 1000.0, 500.0
SHIFT_PX = 20.0  # between neighbouring cameras
PIXEL_MM = DEPTH_MM / FOCAL
PLANE = quad([0, 0, 0], [500, 0, 0], [0, 500, 0])


def view(image_id: int, depth_mm: float = DEPTH_MM) -> View:
    """Camera `image_id` steps along x, looking at the plane z = 0 from a distance."""
    camera = Camera("SIMPLE_PINHOLE", WIDTH, HEIGHT, (FOCAL, WIDTH / 2, HEIGHT / 2))
    pose = Pose(np.eye(3), np.array([-image_id * SHIFT_PX * PIXEL_MM, 0.0, depth_mm]))
    return View(image_id, f"{image_id}.png", Path(f"{image_id}.png"), None, "", 1, 1, camera, True, pose)


def keypoints(xy, sigma=2.0) -> Keypoints:
    xy = np.asarray(xy, np.float32).reshape(-1, 2)
    count = len(xy)
    zero, scale = np.zeros(count, np.float32), np.broadcast_to(np.float32(sigma), count).copy()
    return Keypoints(xy[:, 0], xy[:, 1], scale, zero, zero, np.zeros(count, np.int8), np.zeros(count, np.int8))


def tracks_of(per_image, settings=None, shape=PLANE):
    return build_truth_tracks(photographed([view(i) for i in per_image], shape), per_image, settings or TruthSettings())


def shifted(xy, image_id):
    return np.asarray(xy, float).reshape(-1, 2) - [SHIFT_PX * image_id, 0]


def features(xy, moved, size=1.0):
    xy, moved = np.asarray(xy, float).reshape(-1, 2), np.asarray(moved, float).reshape(-1, 2)
    return Features(xy, moved, np.broadcast_to(np.asarray(size, float), len(xy)))


def test_correspond_needs_both_ways():
    one = features([[0, 0], [1, 0], [50, 50]], [[0, 0], [1, 0], [np.nan, np.nan]])
    two = features([[0.4, 0], [50, 50]], [[0.4, 0], [50, 50]])
    first, second = correspond(one, two, 1.5, 0.25)
    assert (first.tolist(), second.tolist()) == ([0], [0])  # keypoint 1 is nearer to its neighbour; 2 is hidden in view 2
    assert len(correspond(one, two, 0.3, 0.25)[0]) == 0
    assert len(correspond(one, features(np.empty((0, 2)), np.empty((0, 2))), 1.5, 0.25)[0]) == 0


def test_correspond_takes_the_nearest_of_the_right_size():
    one = features([[10, 10]], [[10, 10]], 1.0)
    two = features([[10, 10], [10.8, 10]], [[10, 10], [10.8, 10]], [2.0, 1.1])
    first, second = correspond(one, two, 1.5, 0.25)
    assert (first.tolist(), second.tolist()) == ([0], [1])
    assert correspond(one, two, 1.5, 1.0)[1].tolist() == [0]


def test_group_joins_chains_and_drops_contradictions():
    images = np.array([1, 1, 2, 2, 3, 3, 1])
    links = [(np.array([0, 1]), np.array([2, 3])), (np.array([2]), np.array([4])), (np.array([3]), np.array([6]))]
    # 0-2-4 is one point of images 1, 2, 3; 1-3-6 holds image 1 twice; 5 is alone.
    np.testing.assert_array_equal(group(images, links), [0, -1, 0, -1, 0, -1, -1])
    assert len(group(np.empty(0, np.int64), [])) == 0
    np.testing.assert_array_equal(group(images, []), np.full(7, -1))


def test_keep_points_renumbers():
    point = np.array([0, 1, 2, -1, 2, 0])
    np.testing.assert_array_equal(keep_points(point, np.array([False, True, True])), [-1, 0, 1, -1, 1, -1])
    np.testing.assert_array_equal(keep_points(np.array([-1, -1]), np.empty(0, bool)), [-1, -1])


def test_possible_duplicates_share_no_image():
    xyz = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [50, 0, 0]], float)
    images = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]], bool)
    # 0 and 1 are told apart in images 0 and 1; 2 meets neither in any image and is seen less than 0, as often as 1 but later.
    np.testing.assert_array_equal(possible_duplicates(xyz, images, 2.0), [False, False, True, False])
    assert not possible_duplicates(xyz, images, 0.5).any()


def test_tracks_of_a_plane_in_closed_form():
    xy = np.array([[150.0, 100.0], [200.0, 150.0]])
    per_image = {0: keypoints(xy), 1: keypoints(shifted(xy, 1)[::-1]), 3: keypoints(shifted(xy[:1] + np.array([0.6, 0]), 3))}
    tracks = tracks_of(per_image)
    assert tracks["point_id"].tolist() == [0, 0, 0, 1, 1]
    assert tracks["image_id"].tolist() == [0, 1, 3, 0, 1]
    assert tracks["keypoint_id"].tolist() == [0, 1, 0, 1, 0]
    assert tracks["track_length"].tolist() == [3, 3, 3, 2, 2]
    point = tracks.iloc[0]
    # The third keypoint is .6 px to the right: the mean is .2 px right of the first two.
    np.testing.assert_allclose(point[["x", "y", "z"]].astype(float), [(150.2 - 200) * 0.5, (100 - 150) * 0.5, 0], atol=1e-4)
    np.testing.assert_allclose(tracks["reprojection_error_px"], [0.2, 0.2, 0.4, 0, 0], atol=1e-3)
    centre = np.array([view(0).pose.centre, view(3).pose.centre]) - point[["x", "y", "z"]].to_numpy(float)
    cosine = centre[0] @ centre[1] / np.prod(np.linalg.norm(centre, axis=1))
    assert point["triangulation_angle_rad"] == pytest.approx(np.arccos(cosine), abs=1e-5)


def test_size_is_compared_on_the_surface():
    xy = np.array([[200.0, 150.0]])
    truth = photographed([view(0), view(1, 2 * DEPTH_MM)], PLANE)
    moved = np.array([[200.0 - SHIFT_PX / 2, 150.0]])  # twice as far: half the shift, half the size in pixels

    def build(sigma):
        return build_truth_tracks(truth, {0: keypoints(xy, 4.0), 1: keypoints(moved, sigma)}, TruthSettings())

    assert len(build(2.0)) == 2
    assert len(build(2.0 * 2**0.24)) == 2
    assert len(build(2.0 * 2**0.26)) == 0
    assert len(build(4.0)) == 0


def test_drifting_chains_are_dropped():
    drift = [keypoints(shifted([[150.0 + 1.4 * i, 100.0]], i)) for i in range(5)]
    per_image = dict(enumerate(drift))
    assert len(tracks_of(per_image)) == 0
    assert len(tracks_of({0: drift[0], 1: drift[1]})) == 2


def test_hidden_places_do_not_correspond():
    xy = np.array([[200.0, 150.0]])
    per_image = {0: keypoints(xy), 1: keypoints(shifted(xy, 1))}
    plate = quad([5, 0, -250], [2, 0, 0], [0, 500, 0])  # before the place for view 1, beside it for view 0
    assert len(tracks_of(per_image)) == 2
    assert len(tracks_of(per_image, shape=joined(PLANE, plate))) == 0


def test_a_moving_face_is_followed():
    """The plane shifts by 6 px between the views: so do the keypoints, and the point lies where it was for the first view."""
    xy = np.array([[150.0, 100.0], [200.0, 150.0]])
    later = PLANE[0] + [6 * PIXEL_MM, 0, 0]
    truth = photographed([view(0), view(1)], PLANE, {1: later})
    per_image = {0: keypoints(xy), 1: keypoints(shifted(xy, 1) + np.array([6.4, 0]))}
    tracks = build_truth_tracks(truth, per_image, TruthSettings())
    assert tracks["point_id"].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(tracks["x"], (np.repeat([150.2, 200.2], 2) - 200) * PIXEL_MM, atol=1e-3)
    np.testing.assert_allclose(tracks["reprojection_error_px"], 0.2, atol=2e-3)
    assert len(tracks_of(per_image)) == 0


def test_one_point_found_twice_is_kept_once():
    place = np.array([[200.0, 150.0]])
    beside = np.array([[204.0, 150.0]])
    per_image = {i: keypoints(shifted(place if i < 3 else beside, i)) for i in range(5)}
    tracks = tracks_of(per_image)
    assert tracks["image_id"].tolist() == [0, 1, 2]
    assert len(tracks_of(per_image, TruthSettings(duplicate_distance_px=3.0))) == 5


def test_no_keypoints_at_all():
    assert len(tracks_of({})) == 0
    assert len(tracks_of({0: keypoints([[150, 100]]), 1: keypoints([[50, 200]])})) == 0


def test_stage_writes_the_tracks_table(tmp_path):
    xy = np.random.default_rng(0).uniform([120, 20], [380, 280], (40, 2))
    xy = xy[np.linalg.norm(xy[:, None] - xy[None], axis=2).min(axis=1, initial=99, where=~np.eye(40, dtype=bool)) > 5]
    write_scene(tmp_path, photographed([view(i) for i in range(3)], PLANE))
    write_keypoints(tmp_path / "keypoints.parquet", {i: keypoints(shifted(xy, i)) for i in range(3)})
    arguments = (tmp_path / "images.parquet", tmp_path / "keypoints.parquet", tmp_path / "truth", tmp_path / "tracks.parquet")
    write_truth_tracks(*arguments, TruthSettings())
    tracks = read_table(tmp_path / "tracks.parquet", TRACKS)
    assert len(tracks) == 3 * len(xy)
    assert tracks["reprojection_error_px"].max() < 1e-3
    (tmp_path / "truth" / "depth_1.npy").unlink()
    with pytest.raises(PorePatchError, match="no truth file"):
        write_truth_tracks(*arguments, TruthSettings())


def test_settings_are_checked():
    with pytest.raises(PorePatchError, match="match_octaves"):
        TruthSettings(match_octaves=0.0)
    with pytest.raises(TypeError):
        TruthSettings(**{"match_distance": 1.0})
