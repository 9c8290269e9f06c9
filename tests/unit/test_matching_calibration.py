"""The calibrated ratio test: made-up curves, and subjects whose right and wrong matches are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import truth_scenes as scenes

from porepatch_lib.captures.views import write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_array, write_json
from porepatch_lib.geometry import project
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.matching.calibration import (
    CalibrationSettings,
    calibrate_ratio,
    choose_ratio,
    precision_curve,
    weights_along,
)
from porepatch_lib.matching.guides import guide_of_poses
from porepatch_lib.matching.match import MatchSettings, calibrated_ratio, match_subject
from porepatch_lib.matching.pairs import drawn_pairs, write_view_pairs
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.tables import MATCHES, read_table

_EASY = CalibrationSettings(min_matches=1)


def _row(curve: list[dict[str, Any]], ratio: float) -> dict[str, Any]:
    return next(row for row in curve if row["ratio"] == ratio)


def test_the_curve_counts_what_lies_below_each_ratio():
    ratio = np.array([0.9, 0.6, 0.7, 0.7, 1.0], np.float32).astype(float)
    curve = precision_curve(ratio, np.array([0.0, 1.0, 1.0, 0.0, 1.0]))
    assert [row["ratio"] for row in curve][::10] == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert _row(curve, 0.5) == {"ratio": 0.5, "precision": None, "recall": 0.0, "matches": 0}
    assert _row(curve, 0.6) == {"ratio": 0.6, "precision": 1.0, "recall": 1 / 3, "matches": 1}
    assert _row(curve, 0.7) == {"ratio": 0.7, "precision": 2 / 3, "recall": 2 / 3, "matches": 3}
    assert _row(curve, 0.89) == {"ratio": 0.89, "precision": 2 / 3, "recall": 2 / 3, "matches": 3}
    assert _row(curve, 0.9) == {"ratio": 0.9, "precision": 0.5, "recall": 2 / 3, "matches": 4}
    assert _row(curve, 1.0) == {"ratio": 1.0, "precision": 0.6, "recall": 1.0, "matches": 5}


def test_the_largest_ratio_that_is_precise_enough_is_chosen():
    # Nine right at 0.6 and one wrong there, then right ones up to 0.8, then wrong ones.
    ratio = np.concatenate([np.full(10, 0.6), np.full(10, 0.8), np.full(2, 0.85), np.full(20, 0.95)])
    weight = np.concatenate([np.ones(9), [0.0], np.ones(10), [0.0, 0.0], np.zeros(20)])
    curve = precision_curve(ratio, weight)
    chosen = choose_ratio(curve, replace(_EASY, min_precision=0.9))
    assert chosen == {"ratio": 0.84, "precision": 0.95, "recall": 1.0, "reason": ""}
    assert choose_ratio(curve, replace(_EASY, min_precision=0.86))["ratio"] == 0.94
    assert choose_ratio(curve, replace(_EASY, min_precision=0.4))["ratio"] == 1.0


def test_without_enough_matches_or_precision_the_fallback_says_why():
    few = precision_curve(np.full(99, 0.6), np.ones(99))
    chosen = choose_ratio(few, CalibrationSettings(fallback=0.75))
    assert (chosen["ratio"], chosen["precision"]) == (0.75, None)
    assert "too few matches" in chosen["reason"]
    wrong = precision_curve(np.full(200, 0.6), np.zeros(200))
    assert "no ratio reaches a precision of 0.98" in choose_ratio(wrong, CalibrationSettings())["reason"]
    assert "too few matches" in choose_ratio(precision_curve(np.zeros(0), np.zeros(0)), _EASY)["reason"]


class Subject:
    """Two views of a sphere. Half of the matches are right; those have ratios below 0.7, the wrong ones above."""

    def __init__(self, folder: Path, points: int = 400, wrong: float = 0.5) -> None:
        rng = np.random.default_rng(2)
        views = [
            scenes.looking_view(i, centre, k1=0.1, size=(480, 480)) for i, centre in ((0, (-150, 0, 900)), (1, (150, 40, 900)))
        ]
        truth = scenes.photographed(views, scenes.sphere(180.0))
        self.folder = folder
        scenes.write_scene(folder, truth)
        self.views = [replace(view, path=folder / view.path) for view in views]
        direction = rng.standard_normal((4 * points, 3)) * [0.5, 0.5, 0.0] + [0.0, 0.0, 1.0]
        xyz = 180.0 * (direction / np.linalg.norm(direction, axis=1, keepdims=True))[:points]
        one, two = (project(view.camera, view.pose, xyz)[0] for view in views)
        self.wrong = np.arange(points) < wrong * points
        two[self.wrong] = rng.permutation(two[self.wrong])
        write_keypoints(folder / "keypoints.parquet", {0: _keypoints(one), 1: _keypoints(two)})
        write_array(folder / "descriptors.npy", self._descriptors(points).astype(np.float32))
        write_view_pairs(folder / "images.parquet", folder / "pairs.parquet")

    def _descriptors(self, points: int) -> np.ndarray:
        """Rows of two images on a line: point k at 10 k, its partner 1 (right) or 4 (wrong) further, so ratios of 1/9 and 4/6."""
        place = 10.0 * np.arange(points)
        return np.concatenate([place, place + np.where(self.wrong, 4.0, 1.0)])[:, None] * [1.0, 0.0]

    def without_poses(self) -> None:
        write_views(self.folder / "images.parquet", [replace(view, pose=None) for view in self.views])

    def calibrate(self, truth: bool = False, seed: int = 0, threads: int = 1, **settings: Any) -> dict[str, Any]:
        names = ("images.parquet", "keypoints.parquet", "descriptors.npy", "pairs.parquet")
        files = [[self.folder / name] for name in names]
        output = self.folder / "calibration.json"
        known = [self.folder / "truth" if truth else None]
        calibrate_ratio(["anna"], *files, known, output, CalibrationSettings(**settings), SfmSettings(), seed, threads, "hynet")
        return read_json(output)


def _keypoints(xy: np.ndarray) -> Keypoints:
    x, y = np.asarray(xy, np.float32).T
    zeros, levels = np.zeros(len(x), np.float32), np.zeros(len(x), np.int8)
    return Keypoints(x, y, zeros + 2, zeros, zeros, levels, levels)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("anna"))


@pytest.fixture
def unposed(tmp_path: Path) -> Subject:
    subject = Subject(tmp_path)
    subject.without_poses()
    return subject


def test_judged_by_truth(subject):
    report = subject.calibrate(truth=True)
    assert (report["judged_by"], report["descriptor"], report["subjects"], report["reason"]) == ("truth", "hynet", ["anna"], "")
    assert report["ratio"] == 0.66
    assert report["precision"] > 0.99  # a wrong one at the end of the line of descriptors has neighbours on one side only
    assert report["recall"] > 0.9
    assert _row(report["curve"], 1.0)["precision"] == pytest.approx(0.5, abs=0.04)
    assert calibrated_ratio(subject.folder / "calibration.json") == 0.66


def test_judged_by_poses_chance_is_taken_away(subject):
    report = subject.calibrate(line_px=20.0)
    assert report["judged_by"] == "poses"
    assert report["ratio"] == 0.66
    # A tenth and more of the wrong ones lie within 20 px of their line.
    assert _row(report["curve"], 1.0)["precision"] == pytest.approx(0.5, abs=0.06)
    assert _row(report["curve"], 0.6)["precision"] > 0.99


def test_judged_by_verified_geometry(unposed):
    report = unposed.calibrate()
    assert (report["judged_by"], report["ratio"]) == ("verified", 0.66)
    assert _row(report["curve"], 1.0)["precision"] == pytest.approx(0.5, abs=0.04)


def test_nothing_to_judge_by_is_the_fallback(tmp_path):
    subject = Subject(tmp_path, points=40, wrong=1.0)
    subject.without_poses()
    report = subject.calibrate(fallback=0.85)
    assert (report["ratio"], report["judged_by"], report["precision"]) == (0.85, "", None)
    assert "too few matches" in report["reason"]


def test_shuffled_matches_weigh_nothing_on_average(subject):
    one, two = subject.views
    rng = np.random.default_rng(1)
    xy_1, xy_2 = rng.uniform(0.0, 480.0, (2, 3000, 2))
    guide = guide_of_poses(one, two, xy_1, xy_2)
    index = np.arange(3000)
    weights = weights_along(guide, index, index, 12.0)
    assert np.count_nonzero(weights == 1.0) > 60
    assert abs(weights.mean()) < 0.01
    assert (weights_along(guide, index[:1], index[:1], 12.0) >= 0.0).all()
    assert len(weights_along(guide, index[:0], index[:0], 12.0)) == 0


def test_threads_and_seeds(subject):
    assert subject.calibrate(threads=1) == subject.calibrate(threads=3)
    assert subject.calibrate(seed=1) == subject.calibrate(seed=2)


def test_pairs_of_views_are_drawn_with_the_seed():
    pairs = [(one, two) for one in range(12) for two in range(one + 1, 12)]
    drawn = drawn_pairs(pairs, 10, 3)
    assert len(set(drawn)) == len(drawn) == 10
    assert set(drawn) <= set(pairs) and drawn == sorted(drawn)
    assert drawn_pairs(pairs, 10, 3) == drawn
    assert drawn_pairs(pairs, 10, 4) != drawn
    assert drawn_pairs(pairs, 0, 3) == drawn_pairs(pairs, 66, 3) == drawn_pairs(pairs, 67, 3) == pairs


def test_a_calibration_replaces_the_ratio_of_matching(subject, tmp_path):
    write_json(tmp_path / "calibration.json", {"ratio": 0.9})
    files = {name: subject.folder / f"{name}.parquet" for name in ("images", "keypoints", "pairs")}
    files |= {"descriptors": subject.folder / "descriptors.npy", "output": tmp_path / "matches.parquet"}
    match_subject(**files, settings=MatchSettings(ratio=0.5), threads=1, calibration=tmp_path / "calibration.json")
    assert len(read_table(files["output"], MATCHES)) == 400
    write_json(tmp_path / "calibration.json", {"curve": []})
    with pytest.raises(PorePatchError, match="no ratio above 0"):
        match_subject(**files, settings=MatchSettings(), threads=1, calibration=tmp_path / "calibration.json")


def test_lists_of_unequal_length_are_refused(tmp_path):
    with pytest.raises(PorePatchError, match="one of each per subject"):
        calibrate_ratio(["a", "b"], [tmp_path], [], [], [], [], tmp_path / "c.json", _EASY, SfmSettings(), 0, 1, "hynet")


@pytest.mark.parametrize(
    "bad", [{"min_precision": 0.0}, {"fallback": 1.5}, {"line_px": 0.0}, {"min_matches": 0}, {"view_pairs": -1}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(PorePatchError, match=next(iter(bad))):
        CalibrationSettings(**bad)
