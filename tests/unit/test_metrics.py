"""Verification metrics on sets small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.metrics import (
    average_precision,
    false_positive_rate,
    fdr95,
    fpr95,
    fpr95_hardnet,
    fpr95_hynet,
    fpr95_interval,
    needed,
    roc_curve,
)

METRICS = [fpr95, fpr95_hardnet, fdr95, average_precision, roc_curve]


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
    for metric in (fpr95, fpr95_hardnet, fdr95, average_precision):
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


def noisy_set(rng, count):
    distances, is_match = pairs(rng.normal(0, 1, count), rng.normal(3, 1, count))
    return distances.astype(np.float64), is_match


def test_interval_is_reproducible_and_holds_the_estimate():
    distances, is_match = noisy_set(np.random.default_rng(0), 500)
    clusters = np.arange(1000)
    low, high = fpr95_interval(distances, is_match, clusters, seed=3)
    assert (low, high) == fpr95_interval(distances, is_match, clusters, seed=3)
    assert (low, high) != fpr95_interval(distances, is_match, clusters, seed=4)
    assert 0 < low < fpr95(distances, is_match) < high < 0.3
    scaled = fpr95_interval(np.exp(distances), is_match, clusters * 7 + 5, seed=3)
    assert scaled == (low, high)


def test_interval_matches_the_binomial_where_the_threshold_is_known():
    # All matches lie at 0 and a tenth of the independent non-matches too: the rate is a plain binomial proportion.
    negative = np.repeat([0.0, 1.0], [100, 900])
    distances, is_match = pairs(np.zeros(1000), negative)
    low, high = fpr95_interval(distances, is_match, np.arange(2000), seed=0, repeats=2000)
    half = 1.96 * np.sqrt(0.1 * 0.9 / 1000)
    assert low == pytest.approx(0.1 - half, abs=0.003)
    assert high == pytest.approx(0.1 + half, abs=0.003)


def test_interval_grows_with_the_size_of_clusters():
    distances, is_match = noisy_set(np.random.default_rng(1), 400)
    copies, labels = np.repeat(distances, 9), np.repeat(is_match, 9)
    low, high = fpr95_interval(distances, is_match, np.arange(800), seed=0)
    clustered = fpr95_interval(copies, labels, np.repeat(np.arange(800), 9), seed=0)
    careless = fpr95_interval(copies, labels, np.arange(7200), seed=0)
    assert clustered == pytest.approx((low, high), abs=0.01)
    assert careless[1] - careless[0] < 0.6 * (high - low)


def test_second_cluster_widens_and_weights_are_products():
    rng = np.random.default_rng(2)
    distances, is_match = noisy_set(rng, 400)
    one = rng.integers(40, size=800)
    two = np.where(is_match, one, rng.integers(40, size=800))
    single = fpr95_interval(distances, is_match, one, seed=0)
    same = fpr95_interval(distances, is_match, one, one, seed=0)
    both = fpr95_interval(distances, is_match, one, two, seed=0)
    assert same == single
    assert both[1] - both[0] > single[1] - single[0]


def test_interval_equals_repeating_the_pairs():
    rng = np.random.default_rng(5)
    distances, is_match = noisy_set(rng, 30)
    one = rng.integers(12, size=60)
    two = np.where(is_match, one, rng.integers(12, size=60))
    draws = np.random.default_rng(9)
    rates = []
    for _ in range(50):
        weights = np.bincount(draws.integers(12, size=12), minlength=12)
        copies = np.where(one == two, weights[one], weights[one] * weights[two])
        rates.append(fpr95(np.repeat(distances, copies), np.repeat(is_match, copies)))
    expected = np.quantile(rates, [0.1, 0.9])
    np.testing.assert_allclose(fpr95_interval(distances, is_match, one, two, seed=9, repeats=50, level=0.8), expected)


def test_interval_without_errors_keeps_the_binomial_bound():
    distances, is_match = pairs(np.zeros(50), np.ones(50))
    assert fpr95_interval(distances, is_match, np.arange(100), seed=0) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))
    assert fpr95_interval(distances, is_match, np.zeros(100, int), seed=0)[1] < 0.08


def test_interval_survives_repeats_that_lose_a_class():
    distances, is_match = pairs([1.0, 2.0], [1.5, 3.0])
    low, high = fpr95_interval(distances, is_match, np.array([0, 0, 1, 1]), seed=0)
    assert low <= 0.5 <= high
