"""Repeatability and its chance rate, against hand-made and random point sets."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.keypoints.repeatability import chance_share, repeatability

NAN = float("nan")


def test_share_counts_visible_points_only() -> None:
    transferred = np.array([[0.0, 0.0], [10.0, 0.0], [NAN, NAN], [20.0, 0.0]])
    xy_2 = np.array([[20.0, 3.0], [0.3, 0.4], [50.0, 50.0]])
    result = repeatability(transferred, xy_2, 1.0)
    assert (result.count, result.visible) == (1, 3)
    assert result.share == pytest.approx(1 / 3)
    assert (list(result.index_1), list(result.index_2)) == ([0], [1])
    np.testing.assert_allclose(result.error_px, [0.5])
    wider = repeatability(transferred, xy_2, 3.0)
    assert (list(wider.index_1), list(wider.index_2)) == ([0, 3], [1, 0])


def test_a_keypoint_is_used_once() -> None:
    transferred = np.array([[0.0, 0.0], [0.5, 0.0], [0.9, 0.0]])
    result = repeatability(transferred, np.array([[0.6, 0.0]]), 2.0)
    assert (result.count, list(result.index_1)) == (1, [1])


def test_nothing_visible_is_not_a_number_and_nothing_found_is_zero() -> None:
    assert np.isnan(repeatability(np.full((2, 2), NAN), np.zeros((1, 2)), 1.0).share)
    assert repeatability(np.zeros((2, 2)), np.empty((0, 2)), 1.0).share == 0.0


def test_same_points_repeat_wholly() -> None:
    xy = np.random.default_rng(0).uniform(0, 100, (50, 2)).astype(np.float32)
    result = repeatability(xy, xy, 0.1)
    assert result.share == 1.0 and (result.error_px == 0).all()


@pytest.mark.parametrize(("visible", "count_2", "tolerance_px"), [(4000, 4000, 2.0), (2000, 6000, 1.5), (3000, 500, 5.0)])
def test_chance_share_is_that_of_random_points(visible: int, count_2: int, tolerance_px: float) -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(3):
        first, second = rng.uniform(0, 300, (visible, 2)), rng.uniform(0, 300, (count_2, 2))
        shares.append(repeatability(first, second, tolerance_px).share)
    assert np.mean(shares) == pytest.approx(chance_share(visible, count_2, 300.0**2, tolerance_px), abs=0.015)


def test_chance_share_of_nothing_is_zero() -> None:
    assert chance_share(0, 10, 100.0, 1.0) == chance_share(10, 0, 100.0, 1.0) == 0.0
