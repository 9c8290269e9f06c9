"""Track filters in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, largest_angles
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.sfm.model import SparseModel
from porepatch_lib.sfm.tracks import Observations, TrackSettings, filter_tracks, observe, track_lengths

_SETTINGS = TrackSettings(max_reprojection_error_px=2.0, min_track_length=3, min_triangulation_angle_deg=5.0, max_scale_ratio=2.0)


def _ray(angle_deg: float) -> list[float]:
    angle = np.deg2rad(angle_deg)
    return [7.0 * np.sin(angle), 0.0, 7.0 * np.cos(angle)]


def _three_points() -> Observations:
    """Three good tracks of 4, 3 and 3 views, rays 10 degrees apart."""
    point = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    image_id = np.array([0, 1, 2, 3, 0, 1, 2, 1, 2, 3], np.int32)
    return Observations(
        point=point,
        image_id=image_id,
        keypoint_id=np.arange(10, dtype=np.int32),
        reprojection_error_px=np.full(10, 0.5),
        size=np.full(10, 0.1),
        ray=np.array([_ray(10.0 * image) for image in image_id]),
    )


def _changed(values: np.ndarray, **rows: float) -> np.ndarray:
    changed = values.astype(np.float64)
    for row, value in rows.items():
        changed[int(row[1:])] = value
    return changed


def test_good_tracks_are_all_kept():
    assert filter_tracks(_three_points(), _SETTINGS).all()


def test_an_observation_with_a_large_error_leaves_its_track():
    observations = _three_points()
    kept = filter_tracks(replace(observations, reprojection_error_px=_changed(np.full(10, 0.5), _0=2.1, _1=2.0)), _SETTINGS)
    assert np.flatnonzero(~kept).tolist() == [0]


def test_a_track_that_became_too_short_goes_whole():
    observations = _three_points()
    kept = filter_tracks(replace(observations, reprojection_error_px=_changed(np.full(10, 0.5), _5=3.0)), _SETTINGS)
    assert np.flatnonzero(~kept).tolist() == [4, 5, 6]
    shorter = replace(_SETTINGS, min_track_length=2)
    kept = filter_tracks(replace(observations, reprojection_error_px=_changed(np.full(10, 0.5), _5=3.0)), shorter)
    assert np.flatnonzero(~kept).tolist() == [5]


def test_a_point_behind_a_camera_is_not_observed():
    observations = _three_points()
    kept = filter_tracks(replace(observations, reprojection_error_px=_changed(np.full(10, 0.5), _0=np.nan)), _SETTINGS)
    assert np.flatnonzero(~kept).tolist() == [0]


@pytest.mark.parametrize(("factor", "dropped"), [(1.9, []), (2.1, [0]), (1 / 2.1, [0]), (1 / 1.9, [])])
def test_size_must_agree_with_the_median_of_the_track(factor, dropped):
    observations = _three_points()
    kept = filter_tracks(replace(observations, size=_changed(observations.size, _0=0.1 * factor)), _SETTINGS)
    assert np.flatnonzero(~kept).tolist() == dropped


def test_observations_already_dropped_do_not_move_the_median():
    # Median of (0.1, 0.1, 0.3, 0.3) is 0.2; 1.5 times off; without the two bad ones it is 0.3.
    observations = replace(
        _three_points(),
        size=_changed(np.full(10, 0.1), _2=0.3, _3=0.3),
        reprojection_error_px=_changed(np.full(10, 0.5), _0=9.0, _1=9.0),
    )
    kept = filter_tracks(observations, replace(_SETTINGS, min_track_length=2, max_scale_ratio=1.4))
    assert kept[:4].tolist() == [False, False, True, True]


def test_one_observation_of_a_point_in_an_image_that_of_least_error():
    observations = replace(
        _three_points(),
        image_id=np.array([0, 1, 2, 2, 0, 1, 2, 1, 2, 3], np.int32),
        reprojection_error_px=_changed(np.full(10, 0.5), _2=0.9, _3=0.4),
    )
    assert np.flatnonzero(~filter_tracks(observations, _SETTINGS)).tolist() == [2]
    tied = replace(observations, reprojection_error_px=np.full(10, 0.5))
    assert np.flatnonzero(~filter_tracks(tied, _SETTINGS)).tolist() == [3]


def test_rays_must_meet_at_an_angle():
    observations = _three_points()
    ray = observations.ray.copy()
    ray[4:7] = [_ray(angle) for angle in (0.0, 4.9, 2.0)]
    ray[7:10] = [_ray(angle) for angle in (0.0, 2.0, 5.1)]
    kept = filter_tracks(replace(observations, ray=ray), _SETTINGS)
    assert np.flatnonzero(~kept).tolist() == [4, 5, 6]


def test_largest_angle_is_over_all_pairs_and_kept_rays_only():
    point = np.array([0, 0, 0, 4, 4, 7])
    ray = np.array([_ray(20.0), _ray(-30.0), _ray(5.0), _ray(0.0), [0.0, 0.0, -2.0], _ray(1.0)])
    np.testing.assert_allclose(np.rad2deg(largest_angles(point, ray, np.ones(6, bool))), [50, 50, 50, 180, 180, 0], atol=1e-9)
    kept = np.array([True, False, True, True, True, True])
    np.testing.assert_allclose(np.rad2deg(largest_angles(point, ray, kept)), [15, 15, 15, 180, 180, 0], atol=1e-9)


def test_small_angles_keep_their_digits():
    ray = np.array([[0.0, 0.0, 1.0], [1e-9, 0.0, 1.0]])
    np.testing.assert_allclose(largest_angles(np.zeros(2, int), ray, np.ones(2, bool)), 1e-9, rtol=1e-6)


def test_lengths_count_kept_observations():
    lengths = track_lengths(np.array([3, 3, 3, 8]), np.array([True, False, True, True]))
    assert lengths.tolist() == [2, 2, 2, 1]


def test_no_observations():
    empty = _three_points()
    none = Observations(*(getattr(empty, name)[:0] for name in empty.__dataclass_fields__))
    assert filter_tracks(none, _SETTINGS).shape == (0,)


def test_measures_of_one_observation():
    # A point at depth 500 on the axis of a camera 1000 away from the origin; the keypoint is (3, 4) px off.
    camera = Camera("PINHOLE", 100, 80, (200.0, 200.0, 50.0, 40.0))
    model = SparseModel(
        cameras={6: camera},
        poses={6: Pose(np.eye(3), np.array([0.0, 0.0, 1000.0]))},
        point_ids=np.array([11]),
        xyz=np.array([[0.0, 0.0, -500.0]]),
        observed_point=np.array([0]),
        image_id=np.array([6], np.int32),
        keypoint_id=np.array([1], np.int32),
    )
    x, y, sigma = (np.array([0.0, value], np.float32) for value in (53.0, 44.0, 2.0))
    keypoints = Keypoints(x, y, sigma, x, x, x.astype(np.int8), x.astype(np.int8))

    found = observe(model, {6: keypoints})

    np.testing.assert_allclose(found.reprojection_error_px, [5.0])
    np.testing.assert_allclose(found.size, [2.0 * 500.0 / 200.0])
    np.testing.assert_allclose(found.ray, [[0.0, 0.0, -500.0]])


@pytest.mark.parametrize("bad", [{"max_reprojection_error_px": 0.0}, {"min_track_length": 1}, {"max_scale_ratio": 0.5}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(PorePatchError, match=next(iter(bad))):
        TrackSettings(**bad)
