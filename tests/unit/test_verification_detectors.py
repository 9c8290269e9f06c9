"""Detectors judged against truth, on a plane where every transfer is a known shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from truth_scenes import photographed, quad, write_scene

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.detectors import DetectorSettings, PairScore, evaluate_detector, score_pair, score_pairs, summarise
from porepatch_lib.files import read_json
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints

SIZE, SHIFT_PX = 400, 40.0
PLANE = quad([0, 0, 0], [500, 0, 0], [0, 500, 0])


def view(image_id: int) -> View:
    """A camera that moves parallel to the plane z = 0, which shifts in the image by SHIFT_PX per step."""
    camera = Camera("SIMPLE_PINHOLE", SIZE, SIZE, (1000.0, SIZE / 2, SIZE / 2))
    return View(
        image_id, "", Path("x.png"), None, "", 1, 1, camera, True, Pose(np.eye(3), np.array([-image_id * 20.0, 0, 500.0]))
    )


def keypoints(xy, sigma=2.0) -> Keypoints:
    xy = np.asarray(xy, np.float32)
    zero = np.zeros(len(xy), np.float32)
    return Keypoints(xy[:, 0], xy[:, 1], zero + np.float32(sigma), zero, zero, zero.astype(np.int8), zero.astype(np.int8))


def grid():
    """64 places 20 px apart that both views see."""
    x, y = np.meshgrid(np.arange(8) * 20.0 + 100, np.arange(8) * 20.0 + 100)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def test_score_of_a_pair_in_closed_form():
    moved = grid()
    moved[:4] = np.nan  # 60 visible
    found = grid()[:34] + np.array([1.0, 0])  # 30 of them found, 1 px off
    settings = DetectorSettings(tolerance_px=1.5, tolerance_sigma=0.5)
    score = score_pair(moved, keypoints(found), 30, 1e5, settings)
    assert (score.visible, score.found, score.repeatability) == (60, 30, 0.5)
    assert score.repeatability_sigma == 0.5
    assert score.median_error_px == score.p90_error_px == pytest.approx(1.0)
    assert score.chance == pytest.approx(30 * np.pi * 1.5**2 / 1e5, rel=0.01)
    finer = score_pair(moved, keypoints(found, 1.9), 30, 1e5, settings)
    assert (finer.repeatability, finer.repeatability_sigma) == (0.5, 0.0)
    stricter = score_pair(moved, keypoints(found), 30, 1e5, DetectorSettings(tolerance_px=0.9))
    assert stricter.found == 0
    assert np.isnan(stricter.median_error_px)


def test_pairs_of_views_are_ordered_and_shared_area_is_measured():
    truth = photographed([view(0), view(1)], PLANE)
    per_image = {0: keypoints(grid()), 1: keypoints(grid()[:32] - [SHIFT_PX, 0])}
    scores = score_pairs(truth, per_image, DetectorSettings())
    assert [(score.visible, score.found) for score in scores] == [(64, 32), (32, 32)]
    common_px = (SIZE - SHIFT_PX) * SIZE
    expected = 32 / 96 * (1 - np.exp(-96 / common_px * np.pi * 1.5**2))
    assert scores[0].chance == pytest.approx(expected, rel=0.03)
    assert score_pairs(truth, per_image, DetectorSettings(least_visible=33))[0].visible == 64
    assert len(score_pairs(truth, per_image, DetectorSettings(least_visible=33))) == 1


def test_summary_is_the_mean_over_pairs():
    scores = [PairScore(10, 5, 0.5, 0.25, 0.0, 1.0, 2.0), PairScore(20, 0, 0.0, 0.0, 0.1, np.nan, np.nan)]
    summary = summarise(scores)
    assert (summary["view_pairs"], summary["visible"], summary["repeatability"]) == (2, 15.0, 0.25)
    assert summary["median_error_px"] == 1.0
    assert summarise([])["repeatability"] is None


def test_stage_writes_a_report(tmp_path):
    write_scene(tmp_path, photographed([view(i) for i in range(3)], PLANE))
    write_keypoints(tmp_path / "keypoints.parquet", {i: keypoints(grid() - [SHIFT_PX * i, 0]) for i in range(2)})
    arguments = (tmp_path / "images.parquet", tmp_path / "keypoints.parquet", tmp_path / "truth", tmp_path / "report.json")
    evaluate_detector(*arguments, DetectorSettings())
    report = read_json(tmp_path / "report.json")
    assert (report["repeatability"], report["view_pairs"], report["images"]) == (1.0, 2, 3)
    assert report["keypoints_per_image"] == pytest.approx(128 / 3)
    assert report["median_error_px"] < 1e-3
    write_views(tmp_path / "images.parquet", [view(0)])
    with pytest.raises(PorePatchError, match=r"images \[1\]"):
        evaluate_detector(*arguments, DetectorSettings())


def test_settings_are_checked():
    with pytest.raises(PorePatchError, match="tolerance_px"):
        DetectorSettings(tolerance_px=0)
