"""The bootstrap over surface points: against repeating the pairs, against closed forms, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porepatch_lib.errors import PorePatchError
from porepatch_lib.verification.bootstrap import bootstrap, percentile_interval
from porepatch_lib.verification.metrics import auc, average_precision, fpr95

NAMES = ("fpr95", "average_precision", "auc")


def pairs(positive, negative):
    """Distances and labels of matching and non-matching pairs."""
    distances = np.array([*positive, *negative], np.float64)
    return distances, np.arange(len(distances)) < len(positive)


def noisy_set(rng, count):
    return pairs(rng.normal(0, 1, count), rng.normal(3, 1, count))


def crossed_set(rng, count, points):
    """Pairs of which each match is of one point and each non-match of any two."""
    distances, is_match = noisy_set(rng, count)
    one = rng.integers(points, size=2 * count)
    return distances, is_match, one, np.where(is_match, one, rng.integers(points, size=2 * count))


def check_same(one, other):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def interval(distances, is_match, one, two=None, seed=0, repeats=200, level=0.95):
    drawn = bootstrap(distances, is_match, one, one if two is None else two, seed=seed, repeats=repeats)
    negatives = int(np.count_nonzero(~is_match))
    return percentile_interval(drawn.fpr95, fpr95(distances, is_match), level, negatives)


def by_repeating(distances, is_match, one, two, seed, repeats):
    """The replicates by their definition: every pair repeated as often as it was drawn, then the metrics."""
    points, numbers = np.unique([one, two], return_inverse=True)
    one, two = numbers.reshape(2, -1)
    rates = np.full((3, repeats), np.nan)
    for rate, stream in zip(rates.T, np.random.SeedSequence(seed).spawn(repeats), strict=True):
        times = np.bincount(np.random.default_rng(stream).integers(len(points), size=len(points)), minlength=len(points))
        copies = np.where(one == two, times[one], times[one] * times[two])
        repeated, labels = np.repeat(distances, copies), np.repeat(is_match, copies)
        if labels.any() and not labels.all():
            rate[:] = [metric(repeated, labels) for metric in (fpr95, average_precision, auc)]
    return rates


@st.composite
def crossed_sets(draw):
    """Small integer distances, hence many ties, and few points, so that repeats lose matches or non-matches."""
    count = draw(st.integers(2, 40))
    distances = np.array(draw(st.lists(st.integers(0, 12), min_size=count, max_size=count)), np.float32)
    positives = draw(st.integers(1, count - 1))
    one, two = (np.array(draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))) for _ in range(2))
    return distances, np.arange(count) < positives, one, two


@settings(max_examples=60, deadline=None)
@given(crossed_sets(), st.integers(0, 9))
def test_replicates_equal_repeating_the_pairs(case, seed):
    drawn = bootstrap(*case, seed=seed, repeats=8)
    np.testing.assert_allclose([getattr(drawn, name) for name in NAMES], by_repeating(*case, seed, 8), rtol=1e-12, atol=1e-15)


def test_replicates_of_many_pairs_equal_repeating_them():
    case = crossed_set(np.random.default_rng(5), 2000, 300)
    drawn = bootstrap(*case, seed=9, repeats=20)
    np.testing.assert_allclose([getattr(drawn, name) for name in NAMES], by_repeating(*case, 9, 20), rtol=1e-12)


def test_same_seed_same_replicates_on_any_threads():
    case = crossed_set(np.random.default_rng(0), 500, 100)
    drawn = bootstrap(*case, seed=3, repeats=41)
    check_same(bootstrap(*case, seed=3, repeats=41), drawn)
    check_same(bootstrap(*case, seed=3, repeats=41, threads=3), drawn)
    np.testing.assert_array_equal(bootstrap(*case, seed=3, repeats=10).fpr95, drawn.fpr95[:10])
    assert (bootstrap(*case, seed=4, repeats=41).auc != drawn.auc).all()


def test_only_the_order_of_distances_matters():
    rng = np.random.default_rng(1)
    distances, is_match, one, two = crossed_set(rng, 500, 100)
    distances = np.round(distances, 1)  # ties
    drawn = bootstrap(distances, is_match, one, two, seed=3, repeats=20)
    check_same(bootstrap(np.exp(distances) + 5, is_match, one, two, seed=3, repeats=20), drawn)
    check_same(bootstrap(distances, is_match, 7 * one + 5, 7 * two + 5, seed=3, repeats=20), drawn)
    order = rng.permutation(len(distances))
    shuffled = bootstrap(distances[order], is_match[order], one[order], two[order], seed=3, repeats=20)
    for name in NAMES:
        np.testing.assert_allclose(getattr(shuffled, name), getattr(drawn, name), rtol=1e-12)


def test_other_descriptors_see_the_same_resamples():
    # FPR95 of 0-1 distances with all matches at 0 is the drawn share of the chosen non-matches: shares of complements add to 1.
    rng = np.random.default_rng(2)
    _, is_match, one, two = crossed_set(rng, 500, 100)
    near = rng.random(1000) < 0.3
    first = bootstrap(np.where(is_match | near, 0.0, 1.0), is_match, one, two, seed=3, repeats=20)
    second = bootstrap(np.where(is_match | ~near, 0.0, 1.0), is_match, one, two, seed=3, repeats=20)
    np.testing.assert_allclose(first.fpr95 + second.fpr95, 1.0)


def test_doubling_the_pairs_of_every_point_changes_no_replicate():
    case = crossed_set(np.random.default_rng(3), 200, 50)
    once = bootstrap(*case, seed=0, repeats=30)
    twice = bootstrap(*(np.tile(array, 2) for array in case), seed=0, repeats=30)
    for name in NAMES:
        np.testing.assert_allclose(getattr(twice, name), getattr(once, name), rtol=1e-12)


def test_one_point_per_pair_is_the_ordinary_bootstrap():
    # All matches lie at 0 and a tenth of the independent non-matches too: the rate is a plain binomial proportion.
    distances, is_match = pairs(np.zeros(1000), np.repeat([0.0, 1.0], [100, 900]))
    rates = bootstrap(distances, is_match, np.arange(2000), np.arange(2000), seed=0, repeats=2000).fpr95
    spread = np.sqrt(0.1 * 0.9 / 1000)
    assert np.mean(rates) == pytest.approx(0.1, abs=4 * spread / np.sqrt(2000))
    assert np.std(rates) == pytest.approx(spread, rel=0.07)
    low, high = interval(distances, is_match, np.arange(2000), repeats=2000)
    assert (low, high) == pytest.approx((0.1 - 1.96 * spread, 0.1 + 1.96 * spread), abs=0.003)


def test_spread_of_auc_is_that_of_hanley_and_mcneil():
    rng = np.random.default_rng(4)
    distances, is_match = noisy_set(rng, 300)
    rates = bootstrap(distances, is_match, np.arange(600), np.arange(600), seed=0, repeats=800).auc
    nearer = distances[is_match][:, None] < distances[~is_match]
    variance = (np.var(nearer.mean(axis=0)) + np.var(nearer.mean(axis=1))) / 300  # DeLong, Biometrics 1988
    assert np.std(rates) == pytest.approx(np.sqrt(variance), rel=0.12)


def test_second_point_widens_and_its_weights_are_products():
    distances, is_match, one, two = crossed_set(np.random.default_rng(2), 400, 40)
    single, both = interval(distances, is_match, one), interval(distances, is_match, one, two)
    assert both[1] - both[0] > single[1] - single[0]


def check_coverage(draw, points, trials, least):
    """`draw(points)` returns distances, labels and both points; resampling points covers the truth, resampling pairs does not."""
    metrics = (fpr95, average_precision, auc)
    many = draw(10_000)[:2]
    truth = [metric(*many) for metric in metrics]
    covered = np.zeros((2, 3))
    for trial in range(trials):
        distances, is_match, one, two = draw(points)
        alone = np.arange(len(distances))
        for resampled, clusters in enumerate([(one, two), (alone, alone)]):
            drawn = bootstrap(distances, is_match, *clusters, seed=trial, repeats=100)
            for column, (name, metric) in enumerate(zip(NAMES, metrics, strict=True)):
                low, high = percentile_interval(getattr(drawn, name), metric(distances, is_match), 0.95)
                covered[resampled, column] += low <= truth[column] <= high
    by_points, by_pairs = covered / trials
    assert (by_points >= least).all(), by_points
    assert (by_pairs < 0.8).all(), by_pairs


def test_interval_covers_the_truth_of_pairs_of_one_point():
    """Ten matches and ten non-matches of every point; what is hard about a point is so in all of them."""
    rng = np.random.default_rng(0)

    def draw(points):
        is_match = np.tile(np.arange(20) < 10, points)
        hardness = np.repeat(rng.normal(0, 0.7, points), 20)
        distances = np.where(is_match, hardness, 1.5 - hardness) + rng.normal(0, 0.5, 20 * points)
        return distances, is_match, *np.repeat(np.arange(points), 20)[None].repeat(2, axis=0)

    check_coverage(draw, points=60, trials=100, least=0.86)


def test_interval_covers_the_truth_of_pairs_of_two_points():
    """The same with non-matches of two points, both of which count: the pigeonhole bootstrap covers, and is conservative."""
    rng = np.random.default_rng(0)

    def draw(points):
        is_match = np.tile(np.arange(20) < 10, points)
        one = np.repeat(np.arange(points), 20)
        two = np.where(is_match, one, (one + rng.integers(1, points, size=20 * points)) % points)
        hardness = rng.normal(0, 0.7, points)
        distances = np.where(is_match, hardness[one], 1.5 - (hardness[one] + hardness[two]) / 2)
        return distances + rng.normal(0, 0.5, 20 * points), is_match, one, two

    check_coverage(draw, points=60, trials=100, least=0.9)


def test_interval_without_errors_keeps_the_binomial_bound():
    distances, is_match = pairs(np.zeros(50), np.ones(50))
    assert interval(distances, is_match, np.arange(100)) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))
    assert interval(distances, is_match, np.zeros(100, int))[1] < 0.08


def test_interval_holds_the_estimate():
    replicates = np.linspace(0.2, 0.4, 101)
    assert percentile_interval(replicates, 0.3, 0.9) == pytest.approx((0.21, 0.39))
    assert percentile_interval(replicates, 0.5, 0.9) == pytest.approx((0.21, 0.5))
    assert percentile_interval(replicates, 0.1, 0.9, negatives=50) == pytest.approx((0.1, 0.39))


def test_repeats_that_lose_a_class_are_nan_and_left_out():
    distances, is_match = pairs([1.0, 2.0], [1.5, 3.0])
    clusters = np.array([0, 0, 1, 1])
    drawn = bootstrap(distances, is_match, clusters, clusters, seed=0, repeats=50)
    lost = np.isnan(drawn.fpr95)
    assert 10 < np.count_nonzero(lost) < 40
    assert (np.isnan(drawn.auc) == lost).all()
    assert percentile_interval(drawn.fpr95, 0.5, 0.95) == (0.5, 0.5)
    assert percentile_interval(np.full(5, np.nan), 0.5, 0.95) == (0.0, 1.0)


def test_bad_input_is_refused():
    distances, is_match = pairs([1.0], [2.0])
    with pytest.raises(PorePatchError, match="two points per pair"):
        bootstrap(distances, is_match, np.arange(2), np.arange(3), seed=0, repeats=5)
    with pytest.raises(PorePatchError, match="matching and non-matching"):
        bootstrap(distances, np.array([True, True]), np.arange(2), np.arange(2), seed=0, repeats=5)
