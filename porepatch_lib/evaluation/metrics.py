"""Patch verification metrics: pure functions of descriptor distances and labels.

A pair is accepted when its distance is at or below a threshold. FPR95 is the share of non-matching pairs accepted at the smallest
threshold that accepts 95 % of the matching ones (Brown, Hua and Winder, PAMI 2011). Pairs at one distance are accepted together,
so no result depends on the order of ties.

Every function takes `distances` (N,), any real dtype, none NaN, and `is_match` bool (N,), and raises PorePatchError for a NaN
distance, unequal lengths, or a set without both matching and non-matching pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

FloatArray = NDArray[np.float64]
Distances = NDArray[np.floating]
Labels = NDArray[np.bool_]

RECALL_PERCENT = 95


def fpr95(distances: Distances, is_match: Labels) -> float:
    """Return FPR95 (0..1): the share of non-matches at or below the ceil(.95 P)-th smallest of the P matching distances."""
    return false_positive_rate(distances, is_match, RECALL_PERCENT)


def false_positive_rate(distances: Distances, is_match: Labels, recall_percent: int) -> float:
    """Return the false positive rate (0..1) at a recall of `recall_percent` (1..100), by the definition of `fpr95`."""
    if not 1 <= recall_percent <= 100:
        raise PorePatchError(f"The recall must be 1 to 100 percent, not {recall_percent}.")
    positive, negative = _split(distances, is_match)
    return float(np.mean(negative <= _threshold(positive, recall_percent)))


def fpr95_hynet(distances: Distances, is_match: Labels) -> float:
    """Return FPR95 as HyNet's code computes it: the threshold is one positive too far, the (ceil(.95 P) + 1)-th smallest.

    Raises PorePatchError for fewer than 20 matching pairs, where that positive does not exist.
    """
    positive, negative = _split(distances, is_match)
    rank = needed(len(positive), RECALL_PERCENT)
    if rank == len(positive):
        raise PorePatchError(f"HyNet's variant of FPR95 needs at least 20 matching pairs, not {rank}; use fpr95.")
    return float(np.mean(negative <= np.partition(positive, rank)[rank]))


def fpr95_hardnet(distances: Distances, is_match: Labels) -> float:
    """Return FPR95 as HardNet's code computes it: only non-matches sorted before the pair that reaches 95 % recall count.

    Its order of ties is arbitrary; here matches come first, so that this is the lower end of what it can return and `fpr95`
    is the upper end. Without ties between matches and non-matches all three are equal.
    """
    positive, negative = _split(distances, is_match)
    return float(np.mean(negative < _threshold(positive, RECALL_PERCENT)))


def fdr95(distances: Distances, is_match: Labels) -> float:
    """Return the false discovery rate (0..1) that old code calls FPR95: non-matches among all pairs accepted at 95 % recall."""
    positive, negative = _split(distances, is_match)
    threshold = _threshold(positive, RECALL_PERCENT)
    false, true = np.count_nonzero(negative <= threshold), np.count_nonzero(positive <= threshold)
    return false / (false + true)


def roc_curve(distances: Distances, is_match: Labels) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return false positive rates, recalls and thresholds (K + 1,): (0, 0, -inf), then one per distinct distance, ascending."""
    false, true, thresholds = _accepted(distances, is_match)
    return (
        np.concatenate([[0.0], false / false[-1]]),
        np.concatenate([[0.0], true / true[-1]]),
        np.concatenate([[-np.inf], thresholds]),
    )


def average_precision(distances: Distances, is_match: Labels) -> float:
    """Return the average precision (0..1): sum over the distinct distances k of (recall_k - recall_{k-1}) precision_k.

    No interpolation. Without ties it is the mean, over the matching pairs, of the precision at each one's distance.
    """
    false, true, _ = _accepted(distances, is_match)
    gained = np.diff(true, prepend=0)
    return float(np.sum(gained * (true / (true + false))) / true[-1])


def needed(count: int, recall_percent: int) -> int:
    """Return ceil(recall_percent / 100 * count) in integer arithmetic."""
    return (recall_percent * count + 99) // 100


def fpr95_interval(
    distances: Distances,
    is_match: Labels,
    cluster_1: NDArray[np.integer],
    cluster_2: NDArray[np.integer] | None = None,
    *,
    seed: int,
    repeats: int = 200,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a percentile bootstrap interval (low, high) of FPR95 that resamples surface points instead of pairs.

    Pairs that share a point are not independent. Each repeat draws as many clusters as there are, with replacement; a pair
    counts as often as its cluster was drawn. With `cluster_2` a pair of two different clusters counts w1 * w2 times (Owen,
    "The pigeonhole bootstrap", 2007): it covers the dependence through either point, and is conservative, at most sqrt(3)
    times too wide where pairs are in truth independent.

    The interval is widened to hold the estimate. Where no non-match is accepted the bootstrap knows no error, so `high` is
    at least the exact binomial bound 1 - ((1 - level) / 2)^(1 / non-matches).

    Args:
        cluster_1: (N,) number of the surface point of each pair's first patch.
        cluster_2: (N,) the same for the second patch, from the same numbering.
        seed: same seed, same interval.
        repeats: resamples; 200 gives the ends to about a tenth of the interval's width.
        level: coverage, in (0, 1).
    """
    estimate = fpr95(distances, is_match)
    is_match = np.asarray(is_match, bool)
    numbers = _cluster_numbers(cluster_1, cluster_2)
    matches, others = _ascending(distances, is_match), _ascending(distances, ~is_match)
    # Non-matches at or below each match, so that a repeat needs no search for its threshold among them.
    accepted = np.searchsorted(distances[others], distances[matches], side="right")
    numbers_matches, numbers_others = numbers[:, matches], numbers[:, others]
    rng = np.random.default_rng(seed)
    clusters = int(numbers.max()) + 1
    rates = np.full(repeats, np.nan)
    for repeat in range(repeats):
        weights = np.bincount(rng.integers(clusters, size=clusters), minlength=clusters)
        true = np.cumsum(_pair_weights(weights, numbers_matches))
        false = np.cumsum(_pair_weights(weights, numbers_others), dtype=np.float64)
        if true[-1] and false[-1]:
            last = np.searchsorted(true, needed(int(true[-1]), RECALL_PERCENT))
            rates[repeat] = false[accepted[last] - 1] / false[-1] if accepted[last] else 0.0
    return _percentile_interval(rates[np.isfinite(rates)], estimate, len(others), level)


def _percentile_interval(rates: FloatArray, estimate: float, negatives: int, level: float) -> tuple[float, float]:
    tail = (1.0 - level) / 2.0
    if len(rates) == 0:  # every repeat lost all matches or all non-matches
        return 0.0, 1.0
    low, high = np.quantile(rates, [tail, 1.0 - tail])
    if estimate == 0.0:
        high = max(high, 1.0 - tail ** (1.0 / negatives))
    return float(min(low, estimate)), float(max(high, estimate))


def _cluster_numbers(cluster_1: NDArray[np.integer], cluster_2: NDArray[np.integer] | None) -> NDArray[np.int64]:
    """Return clusters (1 or 2, N) renumbered 0, 1, 2... without gaps."""
    stacked = np.stack([cluster_1] if cluster_2 is None else [cluster_1, cluster_2])
    return np.unique(stacked, return_inverse=True)[1].reshape(stacked.shape).astype(np.int64)


def _pair_weights(weights: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each pair was drawn: once per draw of its cluster, or of both its clusters where they differ."""
    first = weights[numbers[0]]
    if len(numbers) == 1:
        return first
    return np.where(numbers[0] == numbers[1], first, first * weights[numbers[1]])


def _ascending(distances: Distances, chosen: Labels) -> NDArray[np.intp]:
    """Return the indices of the chosen pairs in order of distance."""
    index = np.flatnonzero(chosen)
    return index[np.argsort(distances[index], kind="stable")]


def _threshold(positive: Distances, recall_percent: int) -> Any:
    rank = needed(len(positive), recall_percent)
    return np.partition(positive, rank - 1)[rank - 1]


def _accepted(distances: Distances, is_match: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return non-matches and matches accepted at each distinct distance, ascending, and those distances."""
    _split(distances, is_match)
    order = np.argsort(distances, kind="stable")
    ordered, true = distances[order], np.cumsum(np.asarray(is_match, bool)[order], dtype=np.int64)
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # last of each run of equal distances
    return last + 1 - true[last], true[last], ordered[last].astype(np.float64)


def _split(distances: Distances, is_match: Labels) -> tuple[Distances, Distances]:
    """Return the distances of the matching and of the non-matching pairs, checked."""
    labels = np.asarray(is_match, bool)
    if distances.shape != labels.shape or distances.ndim != 1:
        raise PorePatchError(f"Verification needs one label per distance, got {labels.shape} for {distances.shape}.")
    if np.isnan(distances).any():
        raise PorePatchError("Some descriptor distances are NaN: a descriptor is broken; describe the patches again.")
    positive, negative = distances[labels], distances[~labels]
    if len(positive) == 0 or len(negative) == 0:
        raise PorePatchError(
            f"Verification needs matching and non-matching pairs, got {len(positive)} and {len(negative)}; "
            "add subjects or photographs."
        )
    return positive, negative
