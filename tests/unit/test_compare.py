"""Comparison of two descriptors: closed forms, correlated descriptors, and reports that do not belong together."""

from __future__ import annotations

import json

import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.tables import read_table, to_arrow, write_table
from porepatch_lib.verification.bootstrap import bootstrap, percentile_interval
from porepatch_lib.verification.compare import COMPARISONS, compare, comparison_frame
from porepatch_lib.verification.metrics import fpr95


def report(descriptor, rate, replicates, **changes):
    """The part of a report that a comparison reads, through JSON like the real one."""
    replicates = np.array(replicates, np.float64)
    low, high = percentile_interval(replicates, rate, 0.9, 50)
    numbers = [None if np.isnan(value) else value for value in replicates]
    facts = {"descriptor": descriptor, "test_set": "rendered", "positives": 50, "negatives": 50, "seed": 0, "confidence": 0.9}
    facts |= {"fpr95": rate, "fpr95_low": low, "fpr95_high": high, "bootstrap": {"fpr95": numbers}}
    return json.loads(json.dumps(facts | changes))


def measured(descriptor, distances, is_match, one, two):
    """The report of real distances."""
    drawn = bootstrap(distances, is_match, one, two, seed=0, repeats=300)
    count = int(np.count_nonzero(is_match))
    return report(descriptor, fpr95(distances, is_match), drawn.fpr95, positives=count, negatives=len(distances) - count)


def correlated(rng, points=200, worse=0.0):
    """Distances by two descriptors that find the same points hard, the second a little noisier; and the labels and points."""
    is_match = np.tile(np.arange(20) < 10, points)
    one = np.repeat(np.arange(points), 20)
    two = np.where(is_match, one, (one + 1) % points)
    hardness = rng.normal(0, 0.7, points)
    shared = np.where(is_match, hardness[one], 2.5 - hardness[one]) + rng.normal(0, 0.5, 20 * points)
    return [shared + rng.normal(0, 0.1, 20 * points), shared + rng.normal(0, 0.1 + worse, 20 * points)], (is_match, one, two)


def test_difference_of_replicates():
    tens = np.arange(11) / 100
    found = compare(report("a", 0.1, 0.1 + tens), report("b", 0.3, 0.3 + 2 * tens))
    assert (found.first, found.second, found.verdict) == ("a", "b", "better")
    # The differences are -0.20, -0.21 ... -0.30, of which 5 % are cut off at both ends.
    assert (found.difference, found.low, found.high) == pytest.approx((-0.2, -0.295, -0.2))
    assert compare(report("b", 0.3, 0.3 + 2 * tens), report("a", 0.1, 0.1 + tens)).verdict == "worse"


def test_interval_that_holds_zero_is_undecided():
    around = np.linspace(-0.1, 0.1, 21)
    found = compare(report("a", 0.3, 0.3 + around), report("b", 0.32, np.full(21, 0.32)))
    assert found.low < found.difference < 0 < found.high
    assert found.verdict == "undecided"
    same = compare(report("a", 0.3, 0.3 + around), report("b", 0.3, 0.3 + around))
    assert (same.difference, same.low, same.high, same.verdict) == (0.0, 0.0, 0.0, "undecided")


def test_interval_holds_the_estimate():
    found = compare(report("a", 0.5, [0.2, 0.2]), report("b", 0.3, [0.3, 0.3]))
    assert (found.low, found.high) == pytest.approx((-0.1, 0.2))


def test_no_errors_by_both_is_undecided():
    found = compare(report("a", 0.0, [0.0] * 5), report("b", 0.0, [0.0] * 5))
    bound = 1 - 0.05 ** (1 / 50)
    assert (found.low, found.high, found.verdict) == (pytest.approx(-bound), pytest.approx(bound), "undecided")


@pytest.mark.parametrize(("errors", "verdict"), [(3, "undecided"), (10, "better")])
def test_no_errors_by_one_is_no_proof(errors, verdict):
    """0 against 3 of 50 is no proof: a sign test gives 1/8 on one side."""
    rate = errors / 50
    replicates = np.random.default_rng(0).binomial(50, rate, 2000) / 50
    found = compare(report("a", 0.0, np.zeros(2000)), report("b", rate, replicates))
    assert found.verdict == verdict
    assert found.high > np.quantile(-replicates, 0.95)
    mirrored = compare(report("b", rate, replicates), report("a", 0.0, np.zeros(2000)))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_lost_repeats_are_left_out():
    found = compare(report("a", 0.1, [0.1, np.nan, 0.1]), report("b", 0.3, [0.3, np.nan, 0.4]))
    assert (found.low, found.high) == pytest.approx((-0.295, -0.2))
    lost = compare(report("a", 0.1, [np.nan] * 3), report("b", 0.3, [np.nan] * 3))
    assert (lost.low, lost.high, lost.verdict) == (-1.0, 1.0, "undecided")


def test_correlated_descriptors_are_told_apart_where_their_intervals_overlap():
    (one, other), pairs = correlated(np.random.default_rng(0), worse=0.3)
    a, b = measured("a", one, *pairs), measured("b", other, *pairs)
    found = compare(a, b)
    suggested = np.hypot(a["fpr95_high"] - a["fpr95_low"], b["fpr95_high"] - b["fpr95_low"])
    assert found.high - found.low < 0.5 * suggested
    assert a["fpr95_high"] > b["fpr95_low"]
    assert found.verdict == "better"


def test_equals_are_rarely_told_apart():
    """At 90 % two equal descriptors are told apart once in ten test sets, or less."""
    rng = np.random.default_rng(1)
    told_apart = 0
    for _ in range(40):
        distances, pairs = correlated(rng, points=60)
        found = compare(*(measured(str(i), row, *pairs) for i, row in enumerate(distances)))
        told_apart += found.verdict != "undecided"
    assert told_apart <= 8


def test_frame_has_every_two_descriptors_of_a_test_set(tmp_path):
    rates = {"a": 0.1, "b": 0.3, "c": 0.1}
    reports = [report(name, rate, [rate] * 3) for name, rate in rates.items()]
    reports.insert(1, report("a", 0.2, [0.2] * 3, test_set="faces"))
    reports.append(report("b", 0.1, [0.1] * 3, test_set="faces"))
    frame = comparison_frame(reports)
    assert frame[["test_set", "descriptor", "other", "verdict"]].to_numpy().tolist() == [
        ["faces", "a", "b", "worse"],
        ["rendered", "a", "b", "better"],
        ["rendered", "a", "c", "undecided"],
        ["rendered", "b", "c", "worse"],
    ]
    write_table(tmp_path / "comparisons.parquet", frame, COMPARISONS)
    assert read_table(tmp_path / "comparisons.parquet", COMPARISONS).equals(frame)
    for few in (reports[:1], []):
        assert to_arrow(comparison_frame(few), COMPARISONS, "none").num_rows == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"test_set": "faces"}, "test_set is rendered in one and faces in the other"),
        ({"negatives": 51}, "negatives is 50 in one and 51"),
        ({"seed": 1}, "seed is 0 in one and 1"),
        ({"confidence": 0.95}, "confidence is 0.9 in one and 0.95"),
        ({"bootstrap": {"fpr95": [0.1] * 4}}, "repeats is 3 in one and 4"),
    ],
)
def test_reports_that_do_not_belong_together_are_refused(change, named):
    with pytest.raises(PorePatchError, match=named):
        compare(report("a", 0.1, [0.1] * 3), report("b", 0.2, [0.2] * 3, **change))
