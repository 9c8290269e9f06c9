"""Mutual nearest neighbours: closed form, brute force, OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.matching.nearest import Matches, mutual_nearest


def _brute_force(
    one: NDArray[np.floating], two: NDArray[np.floating], ratio: float | None
) -> list[tuple[int, int, float, float]]:
    """The definition, from all distances in float64."""
    differences = one[:, None].astype(np.float64) - two[None].astype(np.float64)
    distances = np.sqrt((differences**2).sum(axis=2))
    found = []
    for i, row in enumerate(distances):
        j = int(np.argmin(row))
        if int(np.argmin(distances[:, j])) != i:
            continue
        others = np.delete(row, j)
        second = others.min() if len(others) else np.inf
        share = 1.0 if second == 0 else row[j] / second
        if ratio is None or share <= ratio:
            found.append((i, j, row[j], share))
    return found


def _assert_same(matches: Matches, expected: list[tuple[int, int, float, float]]) -> None:
    assert list(zip(matches.index_1.tolist(), matches.index_2.tolist(), strict=True)) == [row[:2] for row in expected]
    np.testing.assert_allclose(matches.distance, [row[2] for row in expected], rtol=1e-6)
    np.testing.assert_allclose(matches.ratio, [row[3] for row in expected], rtol=1e-6)


def test_three_points_on_a_line():
    one = np.array([[0.0], [10.0], [11.0]], np.float32)
    two = np.array([[1.0], [10.0]], np.float32)

    matches = mutual_nearest(one, two, None, threads=1)

    assert matches.index_1.tolist() == [0, 1]
    assert matches.index_2.tolist() == [0, 1]
    np.testing.assert_allclose(matches.distance, [1.0, 0.0])
    np.testing.assert_allclose(matches.ratio, [0.1, 0.0], rtol=1e-6)


def test_ratio_is_inclusive_and_seen_from_image_1():
    one = np.array([[0.0]], np.float32)
    two = np.array([[1.0], [-2.0]], np.float32)
    assert len(mutual_nearest(one, two, 0.5, threads=1)) == 1
    assert len(mutual_nearest(one, two, 0.499, threads=1)) == 0
    # Seen from the other side there is no second candidate, and nothing to be ambiguous with.
    swapped = mutual_nearest(two, one, 0.1, threads=1)
    assert swapped.index_1.tolist() == [0]
    assert swapped.ratio.tolist() == [0.0]


def test_ties_go_to_the_lowest_index():
    one = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]], np.float32)
    two = np.array([[5.0, 1.0], [0.0, 0.0], [5.0, 1.0], [0.0, 0.0]], np.float32)
    matches = mutual_nearest(one, two, None, threads=2)
    assert matches.index_1.tolist() == [0, 2]
    assert matches.index_2.tolist() == [1, 0]
    assert matches.ratio.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (5, 0), (0, 0)])
def test_empty_images_have_no_matches(rows, columns):
    matches = mutual_nearest(np.zeros((rows, 8), np.float16), np.zeros((columns, 8), np.float16), 0.8, threads=1)
    assert len(matches) == 0
    assert matches.distance.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_descriptors_that_are_not_finite_are_refused(bad):
    one = np.ones((20, 4), np.float32)
    one[7, 2] = bad
    with pytest.raises(PorePatchError, match="finite"):
        mutual_nearest(one, np.ones((3, 4), np.float32), 0.8, threads=1)


def test_descriptors_of_two_widths_are_refused():
    with pytest.raises(PorePatchError, match="dimensions"):
        mutual_nearest(np.ones((2, 4), np.float32), np.ones((2, 5), np.float32), 0.8, threads=1)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    width=st.integers(1, 6),
    ratio=st.sampled_from([None, 0.6, 0.8, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_small_integers_full_of_ties_equal_brute_force(rows, columns, width, ratio, seed):
    rng = np.random.default_rng(seed)
    one, two = (rng.integers(-2, 3, (size, width)).astype(np.float32) for size in (rows, columns))
    _assert_same(mutual_nearest(one, two, ratio, threads=1), _brute_force(one, two, ratio))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_several_blocks_of_half_precision_equal_brute_force(threads):
    rng = np.random.default_rng(1)
    one = rng.standard_normal((701, 13)).astype(np.float16)
    two = np.concatenate([one[::2] + 0.3 * rng.standard_normal((351, 13)), rng.standard_normal((800, 13))]).astype(np.float16)
    _assert_same(mutual_nearest(one, two, 0.9, threads), _brute_force(one, two, 0.9))


def test_near_duplicates_far_from_the_origin_equal_brute_force():
    # The distances are 1e-4 of the lengths: a.b - |a|^2/2 - |b|^2/2 in float32 cannot tell them apart.
    rng = np.random.default_rng(2)
    centre = rng.standard_normal(32)
    one = (centre + 1e-4 * rng.standard_normal((300, 32))).astype(np.float32)
    two = (one[rng.permutation(300)] + 1e-5 * rng.standard_normal((300, 32))).astype(np.float32)
    expected = _brute_force(one, two, None)
    assert len(expected) > 290
    _assert_same(mutual_nearest(one, two, None, threads=2), expected)


@pytest.mark.parametrize("kind", ["random", "clustered", "unnormalised"])
def test_ten_thousand_descriptors_match_as_in_opencv(kind):
    rng = np.random.default_rng(3)
    size = 10_000 if kind == "random" else 3_000
    one = rng.standard_normal((size, 128))
    if kind == "clustered":
        one = rng.standard_normal((20, 128))[rng.integers(0, 20, size)] + 0.1 * one
    two = one[rng.permutation(size)] + 0.5 * one.std(axis=0).min() * rng.standard_normal((size, 128))
    if kind == "unnormalised":
        one, two = np.rint(100 * one), np.rint(100 * two)
    else:
        one, two = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (one, two))
    one, two = one.astype(np.float32), two.astype(np.float32)

    matches = mutual_nearest(one, two, None, threads=2)

    theirs = sorted(cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(one, two), key=lambda match: match.queryIdx)
    assert matches.index_1.tolist() == [match.queryIdx for match in theirs]
    assert matches.index_2.tolist() == [match.trainIdx for match in theirs]
    np.testing.assert_allclose(matches.distance, [match.distance for match in theirs], rtol=1e-4)
