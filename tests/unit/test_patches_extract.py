"""Patches of one subject: which observations become patches, and what lies in the files."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.patches.extract import PatchSettings, extract_subject_patches, select_observations
from porepatch_lib.patches.sampler import sample_patches
from porepatch_lib.patches.store import open_store
from porepatch_lib.tables import TRACKS, empty_frame, write_table

WIDTH, HEIGHT = 220, 180


def view(folder, image_id):
    camera = Camera("SIMPLE_PINHOLE", WIDTH, HEIGHT, (300.0, 110.0, 90.0))
    return View(image_id, f"{image_id}.png", folder / f"{image_id}.png", None, "", 1, image_id, camera, True, None)


def track_rows(observations):
    frame = pd.DataFrame(observations, columns=["point_id", "image_id", "keypoint_id", "reprojection_error_px"])
    zeros = dict.fromkeys(["x", "y", "z", "triangulation_angle_rad"], 0.0)
    return frame.assign(**zeros, track_length=2)


@pytest.fixture
def subject(tmp_path):
    """Three photographs of noise with five keypoints each; keypoint 4 sits at the border."""
    rng = np.random.default_rng(0)
    views = [view(tmp_path, image_id) for image_id in (1, 4, 9)]
    keypoints = {}
    for each in views:
        cv2.imwrite(str(each.path), rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8))
        x = np.array([60, 90, 120, 150, 3], np.float32) + rng.uniform(0, 1, 5).astype(np.float32)
        blank = np.zeros(5, np.float32)
        scales = np.arange(5, dtype=np.int8)
        keypoints[each.image_id] = Keypoints(x, x * 0 + 90, blank + 1.5, blank, blank, scales, scales[::-1].copy())
    write_views(tmp_path / "images.parquet", views)
    write_keypoints(tmp_path / "keypoints.parquet", keypoints)
    return tmp_path


def run(folder, tracks, threads=1, **settings):
    write_table(folder / "tracks.parquet", tracks, TRACKS)
    paths = [
        folder / name
        for name in ("images.parquet", "keypoints.parquet", "tracks.parquet", "out/patches.npy", "out/index.parquet")
    ]
    extract_subject_patches("anna", *paths, PatchSettings(**settings), threads)
    return open_store(*paths[3:])


def test_rows_are_sorted_and_patches_are_the_sampled_squares(subject):
    tracks = track_rows([(7, 9, 0, 0.1), (7, 1, 1, 0.1), (3, 4, 2, 0.1), (3, 1, 3, 0.1), (3, 9, 2, 0.1)])
    patches, index = run(subject, tracks, crop_factor=24.0)
    assert list(zip(index["point_id"], index["image_id"], index["keypoint_id"], strict=True)) == [
        (3, 1, 3),
        (3, 4, 2),
        (3, 9, 2),
        (7, 1, 1),
        (7, 9, 0),
    ]
    assert set(index["subject"]) == {"anna"} and set(index["crop_factor"]) == {24.0}
    assert index["octave"].tolist() == [3, 2, 2, 1, 0] and index["level"].tolist() == [1, 2, 2, 3, 4]
    for row, patch in zip(index.itertuples(), patches, strict=True):
        grey = cv2.imread(str(subject / f"{row.image_id}.png"), cv2.IMREAD_GRAYSCALE)
        place = [np.array([value], np.float32) for value in (row.x, row.y, row.sigma)]
        np.testing.assert_array_equal(patch, sample_patches(grey, *place, 24.0)[0])


def test_same_files_with_two_threads(subject):
    tracks = track_rows([(point, image, point, 0.1) for point in range(4) for image in (1, 4, 9)])
    run(subject, tracks)
    first = [(subject / "out" / name).read_bytes() for name in ("patches.npy", "index.parquet")]
    run(subject, tracks, threads=2)
    assert first == [(subject / "out" / name).read_bytes() for name in ("patches.npy", "index.parquet")]


def test_squares_leaving_the_image_and_lonely_patches_are_dropped(subject):
    tracks = track_rows([(1, 1, 4, 0.1), (1, 4, 0, 0.1), (1, 9, 0, 0.1), (2, 1, 4, 0.1), (2, 4, 1, 0.1)])
    _, index = run(subject, tracks)
    assert list(zip(index["point_id"], index["image_id"], strict=True)) == [(1, 4), (1, 9)]
    _, index = run(subject, tracks, allow_border=True)
    assert len(index) == 5


def test_square_may_touch_the_rim_of_the_image_but_not_pass_it(tmp_path):
    views = {0: view(tmp_path, 0), 1: view(tmp_path, 1)}
    observations = pd.DataFrame(
        {
            "point_id": [0, 0, 1, 1],
            "image_id": [0, 1, 0, 1],
            "reprojection_error_px": 0.0,
            "x": [9.5, WIDTH - 10.5, 9.5, WIDTH - 10.25],
            "y": [9.5, HEIGHT - 10.5, 9.5, 50.0],
            "sigma": 2.0,
        }
    )
    kept = select_observations(observations, views, PatchSettings(crop_factor=10.0))
    assert kept["point_id"].tolist() == [0, 0]


def test_of_two_observations_in_one_image_the_better_stays(subject):
    tracks = track_rows([(1, 1, 0, 0.9), (1, 1, 1, 0.2), (1, 4, 0, 0.1), (2, 4, 2, 0.1), (2, 4, 3, 0.1)])
    _, index = run(subject, tracks)
    assert list(zip(index["point_id"], index["image_id"], index["keypoint_id"], strict=True)) == [(1, 1, 1), (1, 4, 0)]


@pytest.mark.parametrize(
    ("most", "expected"), [(0, list(range(7))), (2, [3, 6]), (3, [2, 4, 6]), (7, list(range(7))), (9, list(range(7)))]
)
def test_long_tracks_are_thinned_evenly(tmp_path, most, expected):
    observations = pd.DataFrame(
        {"point_id": 5, "image_id": range(7), "reprojection_error_px": 0.1, "x": 100.0, "y": 90.0, "sigma": 1.0}
    )
    views = {image_id: view(tmp_path, image_id) for image_id in range(7)}
    kept = select_observations(observations, views, PatchSettings(max_track_patches=most))
    assert kept["image_id"].tolist() == expected


def test_subject_without_tracks_gives_empty_files(subject):
    patches, index = run(subject, empty_frame(TRACKS))
    assert patches.shape == (0, 64, 64) and len(index) == 0


def test_subject_without_keypoints_gives_empty_files(subject):
    write_keypoints(subject / "keypoints.parquet", {})
    patches, _ = run(subject, empty_frame(TRACKS))
    assert patches.shape == (0, 64, 64)


@pytest.mark.parametrize("row", [(1, 1, 77, 0.1), (1, 5, 0, 0.1)])
def test_tracks_of_unknown_keypoints_are_refused(subject, row):
    with pytest.raises(PorePatchError, match=r"tracks\.parquet"):
        run(subject, track_rows([row, (1, 4, 0, 0.1)]))
    assert not (subject / "out/patches.npy").exists()


def test_damaged_photograph_leaves_no_file(subject):
    (subject / "4.png").write_bytes(b"not an image")
    with pytest.raises(PorePatchError, match=r"4\.png"):
        run(subject, track_rows([(1, 1, 0, 0.1), (1, 4, 0, 0.1)]))
    assert list((subject / "out").iterdir()) == []


@pytest.mark.parametrize("settings", [{"crop_factor": 0.0}, {"max_track_patches": 1}, {"max_track_patches": -1}])
def test_senseless_settings_are_refused(settings):
    with pytest.raises(PorePatchError, match="setting"):
        PatchSettings(**settings)
