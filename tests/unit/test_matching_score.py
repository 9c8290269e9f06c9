"""Matches judged by truth, on a plane that shifts from view to view and a card that hides a part of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_scenes import joined, photographed, quad, write_scene

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.rendering.truth import OCCLUSION_MM, locate
from porepatch_lib.verification.matching_score import (
    MatchingScoreSettings,
    PairScore,
    draw_view_pairs,
    matching_report,
    score_pair,
    score_view_pairs,
    summarise,
    true_places,
    write_matching_score,
)

SIZE, SHIFT_PX = 400, 40.0
PLANE = quad([0, 0, 0], [500, 0, 0], [0, 500, 0])
CARD = quad([0, 0, -100], [10, 0, 0], [0, 10, 0])  # 175 to 225 px in view 0, 50 px to the left in view 1
ALL = MatchingScoreSettings(view_pairs=0)


def view(image_id: int) -> View:
    """A camera that moves parallel to the plane z = 0, which shifts by SHIFT_PX to the left per step; the card by 50 px."""
    camera = Camera("SIMPLE_PINHOLE", SIZE, SIZE, (1000.0, SIZE / 2, SIZE / 2))
    pose = Pose(np.eye(3), np.array([-image_id * 20.0, 0, 500.0]))
    return View(image_id, "", Path("x.png"), None, "", 1, 1, camera, True, pose)


def keypoints(xy) -> Keypoints:
    xy = np.asarray(xy, np.float32).reshape(-1, 2)
    zero = np.zeros(len(xy), np.float32)
    return Keypoints(xy[:, 0], xy[:, 1], zero + 2, zero, zero, zero.astype(np.int8), zero.astype(np.int8))


def grid() -> np.ndarray:
    """64 places 20 px apart that the first three views see."""
    x, y = np.meshgrid(np.arange(8) * 20.0 + 150, np.arange(8) * 20.0 + 100)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def test_a_pair_in_closed_form():
    nowhere = [np.nan, np.nan]
    true = np.array([[10, 10], [20, 10], [30, 10], nowhere, nowhere])
    known = np.array([True, True, True, True, False])
    xy_2 = np.array([[10, 10], [21, 10], [22, 10], [50, 50]])  # two keypoints within 3 px of the second place
    index_1, index_2 = np.arange(5), np.array([0, 2, 3, 1, 1])
    score = score_pair(true, known, xy_2, index_1, index_2, 3.0)
    assert score == PairScore(visible=3, possible=2, judged=4, correct=2)
    assert (score.precision, score.recall, score.matching_score) == (0.5, 1.0, pytest.approx(2 / 3))
    assert score_pair(true, known, xy_2, index_1, index_2, 1.5) == PairScore(3, 2, 4, 1)
    # The tolerance itself is within.
    assert score_pair(true, known, xy_2, index_1, index_2, 2.0).correct == 2
    assert score_pair(true, known, xy_2, index_1, index_2, 1.0).possible == 2
    only_wrong = score_pair(true, known, xy_2, index_1[2:], index_2[2:], 3.0)
    assert (only_wrong.judged, only_wrong.correct) == (2, 0)


def test_nothing_to_divide_by_is_nan():
    none = np.empty(0, np.int64)
    score = score_pair(np.full((2, 2), np.nan), np.ones(2, bool), np.empty((0, 2)), none, none, 3.0)
    assert score == PairScore(0, 0, 0, 0)
    assert np.isnan([score.precision, score.recall, score.matching_score]).all()
    assert score_pair(np.ones((2, 2)), np.ones(2, bool), np.empty((0, 2)), none, none, 3.0).matching_score == 0.0


def test_what_the_truth_knows():
    truth = photographed([view(0), view(1)], joined(PLANE, CARD))
    # Seen; on the card; behind the card in view 1; beside its edge there; outside view 1; beside the card's edge in view 0.
    xy = np.array([[300, 200], [200, 200], [170, 200], [164, 200], [20, 200], [174, 200]], float)
    found = true_places(truth, 0, 1, locate(truth, 0, xy), OCCLUSION_MM)
    assert found.known.tolist() == [True, True, True, False, True, False]
    assert np.isfinite(found.xy[:, 0]).tolist() == [True, True, False, False, False, False]
    np.testing.assert_allclose(found.xy[:2], [[260, 200], [150, 200]], atol=1e-3)
    assert found.angle_deg == pytest.approx(np.rad2deg(np.arctan(20 / 500)), abs=0.1)
    assert np.isnan(true_places(truth, 0, 1, locate(truth, 0, xy[5:]), OCCLUSION_MM).angle_deg)


def scored(descriptors, xy, pairs, shape=PLANE, settings=ALL):
    truth = photographed([view(i) for i in range(len(xy))], shape)
    per_image = {i: keypoints(places) for i, places in enumerate(xy)}
    return [score for _, score in score_view_pairs(truth, per_image, dict(enumerate(descriptors)), pairs, settings)]


def test_identical_and_swapped_descriptors():
    rows = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    xy = [grid(), grid() - [SHIFT_PX, 0]]
    assert scored([rows, rows], xy, [(0, 1), (1, 0)]) == [PairScore(64, 64, 64, 64)] * 2
    swapped = rows.copy()
    swapped[:2] = rows[1::-1]
    assert scored([rows, swapped], xy, [(0, 1)]) == [PairScore(64, 64, 64, 62)]
    assert scored([rows, np.roll(rows, 1, axis=0)], xy, [(0, 1)]) == [PairScore(64, 64, 64, 0)]


def test_both_directions_use_their_own_keypoints():
    rows = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    found = np.random.default_rng(1).permutation(64)[:40]  # fewer in view 1, in another order, 2.9 px off
    xy, described = [grid(), grid()[found] - [SHIFT_PX - 2.9, 0]], [rows, rows[found]]
    expected = [PairScore(64, 40, 40, 40), PairScore(40, 40, 40, 40)]
    assert scored(described, xy, [(0, 1), (1, 0)]) == expected
    assert scored(described, xy, [(1, 0)]) == expected[1:]
    assert scored(described, xy, [(0, 1)], settings=MatchingScoreSettings(2.8))[0] == PairScore(64, 0, 40, 0)


def test_a_match_of_a_hidden_place_is_wrong_and_of_an_unknown_one_not_judged():
    rows = np.eye(4, dtype=np.float32)
    # In view 1: seen, hidden behind the card, beside the edge of the card, outside. All four are matched to something.
    one = np.array([[300, 200], [170, 200], [164, 200], [20, 200]], float)
    two = np.array([[260, 200], [300, 50], [300, 300], [100, 50]], float)
    assert scored([rows, rows], [one, two], [(0, 1)], joined(PLANE, CARD)) == [
        PairScore(visible=1, possible=1, judged=3, correct=1)
    ]


def test_a_pair_of_which_nothing_is_known_is_left_out():
    rows = np.eye(1, dtype=np.float32)
    edge, middle = [[174, 200]], [[300, 200]]
    assert scored([rows, rows], [edge, middle], [(0, 1)], joined(PLANE, CARD)) == []


def test_view_pairs_are_drawn_with_the_seed():
    every = draw_view_pairs([3, 5, 9], 0, 0)
    assert every == [(3, 5), (3, 9), (5, 3), (5, 9), (9, 3), (9, 5)]
    assert draw_view_pairs([3, 5, 9], 6, 0) == draw_view_pairs([3, 5, 9], 60, 0) == every
    some = draw_view_pairs(list(range(10)), 20, 1)
    assert len(set(some)) == 20
    assert some == draw_view_pairs(list(range(10)), 20, 1) == sorted(some)
    assert some != draw_view_pairs(list(range(10)), 20, 2)
    assert draw_view_pairs([3], 60, 0) == []


def test_summary_is_the_mean_over_view_pairs():
    scores = [(5.0, PairScore(10, 5, 4, 2)), (10.0, PairScore(20, 10, 10, 10)), (180.0, PairScore(0, 0, 2, 0))]
    found = summarise(scores)
    assert (found["view_pairs"], found["keypoints"], found["matches"]) == (3, 10.0, pytest.approx(16 / 3))
    assert found["precision"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["recall"] == pytest.approx((0.4 + 1) / 2)
    assert found["matching_score"] == pytest.approx((0.2 + 0.5) / 2)
    assert found["by_angle"] == {
        "0-10": {"view_pairs": 1, "precision": 0.5, "recall": 0.4},
        "10-20": {"view_pairs": 1, "precision": 1.0, "recall": 1.0},
        "90-180": {"view_pairs": 1, "precision": 0.0, "recall": None},
    }


@pytest.fixture
def subject(tmp_path) -> Path:
    """Three views of the plane, of which two have keypoints; a folder with all files but the descriptors."""
    write_scene(tmp_path, photographed([view(i) for i in range(3)], PLANE))
    write_keypoints(tmp_path / "keypoints.parquet", {0: keypoints(grid()), 2: keypoints(grid() - [2 * SHIFT_PX, 0])})
    return tmp_path


def files(folder: Path) -> list[Path]:
    return [folder / name for name in ("images.parquet", "keypoints.parquet", "truth")]


def test_report_of_a_subject(subject):
    rows = np.random.default_rng(0).normal(size=(64, 32))
    expected = {"view_pairs": 2, "keypoints": 64.0, "matches": 64.0, "precision": 1.0, "recall": 1.0, "matching_score": 1.0}
    expected["by_angle"] = {"0-10": {"view_pairs": 2, "precision": 1.0, "recall": 1.0}}
    for dtype in (np.float16, np.float32):
        assert matching_report(*files(subject), dict.fromkeys((0, 2), rows.astype(dtype)), ALL, 0, 1) == expected
    swapped = {0: rows.astype(np.float32), 2: rows[::-1].astype(np.float32)}
    assert matching_report(*files(subject), swapped, ALL, 0, 2)["precision"] == 0.0


def test_stage_describes_and_writes_a_report(subject):
    cv2.imwrite(str(subject / "x.png"), np.random.default_rng(0).integers(256, size=(SIZE, SIZE), dtype=np.uint8))
    write_matching_score("head", *files(subject), "ncc", None, subject / "report.json", ALL, 12.0, seed=0, threads=1)
    report = read_json(subject / "report.json")
    assert (report["descriptor"], report["subject"], report["tolerance_px"]) == ("ncc", "head", 3.0)
    assert report["view_pairs"] == 2


def test_a_subject_without_keypoints_has_no_numbers(subject):
    write_keypoints(subject / "keypoints.parquet", {})
    report = matching_report(*files(subject), {}, ALL, 0, 1)
    assert report["view_pairs"] == 0
    assert report["by_angle"] == {}
    assert all(report[name] is None for name in ("keypoints", "matches", "precision", "recall", "matching_score"))


def test_errors_are_one_sentence(subject):
    with pytest.raises(PorePatchError, match="finite"):
        matching_report(*files(subject), dict.fromkeys((0, 2), np.full((64, 32), np.nan, np.float32)), ALL, 0, 1)
    for wrong in ({"tolerance_px": 0.0}, {"view_pairs": -1}, {"occlusion_mm": 0.0}):
        with pytest.raises(PorePatchError, match=next(iter(wrong))):
            MatchingScoreSettings(**wrong)
