"""Verification metrics on sets small enough to count by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from porepatch_lib.errors import PorePatchError
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.metrics import (
    auc,
    average_precision,
    false_positive_rate,
    fdr95,
    fpr95,
    fpr95_hardnet,
    fpr95_hynet,
    needed,
    roc_curve,
)
from porepatch_lib.verification.scores import score_pairs

METRICS = [fpr95, fpr95_hardnet, fdr95, average_precision, auc, roc_curve, score_pairs]


def pairs(positive, negative):
    """Distances and labels of matching and non-matching pairs."""
    distances = np.array([*positive, *negative], np.float32)
    return distances, np.arange(len(distances)) < len(positive)


@st.composite
def verification_sets(draw):
    """Small integer distances, hence many ties, with both kinds of pairs."""
    values = st.lists(st.integers(0, 30), min_size=1, max_size=60)
    return pairs(draw(values), draw(values))


def test_twenty_positives_use_the_nineteenth():
    distances, is_match = pairs(range(1, 21), [18.5, 19, 19.5, 20, 20.5])
    assert fpr95(distances, is_match) == 2 / 5
    assert fpr95_hardnet(distances, is_match) == 1 / 5
    assert fpr95_hynet(distances, is_match) == 4 / 5
    assert fdr95(distances, is_match) == 2 / 21


def test_nineteen_and_twenty_one_positives_use_the_last_and_the_twentieth():
    assert fpr95(*pairs(range(1, 20), [18.5, 19, 19.5])) == 2 / 3
    assert fpr95(*pairs(range(1, 22), [19.5, 20, 20.5])) == 2 / 3


def test_needed_is_exact_where_floats_are_not():
    assert [needed(count, 95) for count in (1, 7, 19, 20, 21, 40, 100)] == [1, 7, 19, 19, 20, 38, 95]
    assert needed(10**9, 95) == 95 * 10**7


def test_one_pair_of_each():
    assert fpr95(*pairs([1], [2])) == 0.0
    assert fpr95(*pairs([2], [1])) == 1.0
    assert fpr95(*pairs([1], [1])) == 1.0


def test_other_recalls():
    distances, is_match = pairs(range(1, 11), [0.5, 5, 5.5, 20])
    assert false_positive_rate(distances, is_match, 50) == 2 / 4
    assert false_positive_rate(distances, is_match, 51) == 3 / 4
    assert false_positive_rate(distances, is_match, 100) == 3 / 4
    with pytest.raises(PorePatchError, match="1 to 100"):
        false_positive_rate(distances, is_match, 0)


def test_hynet_needs_twenty_matches():
    with pytest.raises(PorePatchError, match="20 matching pairs"):
        fpr95_hynet(*pairs(range(19), [1]))


def test_roc_has_one_step_per_distinct_distance():
    false, true, threshold = roc_curve(*pairs([1, 2, 2, 4], [2, 3]))
    np.testing.assert_array_equal(false, [0, 0, 0.5, 1, 1])
    np.testing.assert_array_equal(true, [0, 0.25, 0.75, 0.75, 1])
    np.testing.assert_array_equal(threshold, [-np.inf, 1, 2, 3, 4])


def test_average_precision():
    # Precisions at the matches of the order + - + +: 1, 2/3, 3/4.
    assert average_precision(*pairs([1, 3, 4], [2])) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # At distance 2 two matches and one non-match come together: precision 3/4 for a recall gain of 2/3.
    assert average_precision(*pairs([1, 2, 2], [2, 5])) == pytest.approx(1 / 3 + 2 / 3 * 3 / 4)
    assert average_precision(*pairs([1, 2], [3])) == 1.0
    assert average_precision(*pairs([5, 5, 5], [5])) == 0.75


def test_auc():
    assert auc(*pairs([1, 2], [3, 4])) == 1.0
    assert auc(*pairs([3, 4], [1, 2])) == 0.0
    assert auc(*pairs([5, 5], [5, 5, 5])) == 0.5
    # 1 is nearer than both, 2 than one and level with the other, 4 than none: 2 + 1.5 + 0 of 6 couples.
    assert auc(*pairs([1, 2, 4], [2, 3])) == 3.5 / 6


@settings(max_examples=60, deadline=None)
@given(verification_sets())
def test_auc_is_the_mann_whitney_statistic_and_the_area_under_the_curve(case):
    distances, is_match = case
    positive, negative = distances[is_match], distances[~is_match]
    statistic = mannwhitneyu(negative, positive, method="asymptotic").statistic
    assert auc(distances, is_match) == pytest.approx(statistic / (len(positive) * len(negative)), abs=1e-12)
    false, true, _ = roc_curve(distances, is_match)
    assert auc(distances, is_match) == pytest.approx(np.trapezoid(true, false), abs=1e-12)
    assert auc(-distances, is_match) == pytest.approx(1 - auc(distances, is_match), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_sets_that_allow_no_metric_are_refused(metric):
    for distances, is_match in [pairs([], [1]), pairs([1], []), pairs([], []), pairs([np.nan], [1]), pairs([1], [np.nan])]:
        with pytest.raises(PorePatchError):
            metric(distances, is_match)
    with pytest.raises(PorePatchError, match="one label per distance"):
        metric(np.zeros(3), np.array([True, False]))


@settings(max_examples=60, deadline=None)
@given(verification_sets(), st.randoms(use_true_random=False))
def test_only_the_order_of_distances_matters(case, random):
    distances, is_match = case
    order = np.array(random.sample(range(len(distances)), len(distances)))
    moved = (np.exp(distances / 10.0) + 3.0)[order]
    for metric in (fpr95, fpr95_hardnet, fdr95, average_precision, auc):
        assert metric(moved, is_match[order]) == pytest.approx(metric(distances, is_match), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(verification_sets())
def test_definitions_agree(case):
    distances, is_match = case
    positive, negative = np.sort(distances[is_match]), distances[~is_match]
    threshold = positive[int(np.ceil(len(positive) * 95 / 100)) - 1]
    assert fpr95(distances, is_match) == np.mean(negative <= threshold)
    assert fpr95_hardnet(distances, is_match) <= fpr95(distances, is_match)
    false, true, thresholds = roc_curve(distances, is_match)
    first = np.argmax(true >= needed(len(positive), 95) / len(positive) - 1e-12)
    assert thresholds[first] == threshold
    assert false[first] == fpr95(distances, is_match)
    precision = [np.mean(is_match[distances <= t]) for t in thresholds[1:]]
    assert average_precision(distances, is_match) == pytest.approx(np.sum(np.diff(true) * precision))


def check_scores(distances, is_match, threads=1):
    """Every score equals its definition to the last bit."""
    scores = score_pairs(distances, is_match, (1, 50, 80, 95, 100), threads)
    for name, metric in (("fpr95", fpr95), ("fpr95_hardnet", fpr95_hardnet), ("fdr95", fdr95), ("auc", auc)):
        assert getattr(scores, name) == metric(distances, is_match)
    assert scores.average_precision == average_precision(distances, is_match)
    assert scores.fpr == {recall: false_positive_rate(distances, is_match, recall) for recall in (1, 50, 80, 95, 100)}
    hynet = fpr95_hynet(distances, is_match) if np.count_nonzero(is_match) >= 20 else None
    assert scores.fpr95_hynet == hynet
    false, true, _ = roc_curve(distances, is_match)
    np.testing.assert_array_equal(scores.false_positive_rate, false)
    np.testing.assert_array_equal(scores.recall, true)


@settings(max_examples=150, deadline=None)
@given(verification_sets(), st.sampled_from([np.float32, np.float64, np.float16, np.int64]), st.randoms(use_true_random=False))
def test_scores_equal_the_definitions(case, dtype, random):
    distances, is_match = case
    order = np.array(random.sample(range(len(distances)), len(distances)))
    check_scores(distances.astype(dtype)[order], is_match[order])


@pytest.mark.parametrize(
    "case",
    [
        ([1], [2]),
        ([2], [1]),
        ([1], [1]),
        ([3] * 30, [3] * 30),
        (range(19), [5]),
        (range(20), [5]),
        ([0.0, -0.0, np.inf], [np.inf]),
    ],
)
def test_scores_of_tiny_and_tied_sets(case):
    check_scores(*pairs(*case))


def test_scores_of_many_pairs_on_two_threads():
    rng = np.random.default_rng(0)
    is_match = rng.random(30_000) < 0.4
    check_scores(rng.normal(np.where(is_match, 1.0, 2.0)).astype(np.float32), is_match, threads=2)


def test_scores_refuse_impossible_recalls():
    with pytest.raises(PorePatchError, match="1 to 100 percent, not 101"):
        score_pairs(*pairs([1], [2]), recalls_percent=(95, 101))


def test_scores_leave_their_input_alone():
    distances, is_match = pairs([3, 1, 2], [2, 0])
    before = distances.copy()
    score_pairs(distances, is_match)
    np.testing.assert_array_equal(distances, before)


def processor_seconds(function):
    """The least of three turns, in time of this thread alone, which other processes on the core do not count into."""
    function()
    spent = []
    for _ in range(3):
        started = time.thread_time()
        function()
        spent.append(time.thread_time() - started)
    return min(spent)


def test_scoring_a_hundred_thousand_pairs_is_much_faster_than_gathering_their_rows():
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((30_000, 128), np.float32)
    first, second = rng.integers(30_000, size=(2, 100_000))
    is_match = rng.random(100_000) < 0.5
    ours = processor_seconds(lambda: score_pairs(pair_distances(descriptors, first, second), is_match))
    plain = processor_seconds(lambda: np.linalg.norm(descriptors[first] - descriptors[second], axis=1))
    assert plain > 1.7 * ours  # about 4
