"""Bootstrap of verification metrics that resamples surface points instead of pairs.

Pairs that share a surface point are not independent: a pore that looks like no other, or like all others, does so in all its
pairs. So a repeat draws as many points as there are, with replacement, and a pair counts as often as its point was drawn, a pair
of two different points w1 * w2 times (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007). That covers the
dependence through either point, and is conservative: at most sqrt(3) times too wide where pairs are in truth independent.

What a repeat draws depends on the points and the seed, never on the distances, so that all descriptors see the same resamples of
one test set, and two of them are compared by the differences of their replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.threads import map_threads
from porepatch_lib.verification.metrics import RECALL_PERCENT, Distances, FloatArray, Labels, needed, split

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Replicates:
    """The metrics of every repeat, float64 (R,), 0..1; NaN where a repeat drew no match or no non-match."""

    fpr95: FloatArray
    average_precision: FloatArray
    auc: FloatArray


def bootstrap(
    distances: Distances,
    is_match: Labels,
    cluster_1: NDArray[np.integer],
    cluster_2: NDArray[np.integer],
    *,
    seed: int,
    repeats: int,
    threads: int = 1,
) -> Replicates:
    """Return the metrics of `repeats` resamples of the surface points of pairs, by the definitions of `metrics`.

    The first repeats of a longer run are those of a shorter one. `threads` change nothing, the order of the pairs nothing but the
    rounding of sums.

    Args:
        distances, is_match: (N,) as in `metrics`.
        cluster_1, cluster_2: (N,) numbers of the surface points of each pair's two patches, from one numbering.
        seed: not negative; every repeat draws from a stream of its own.

    Raises:
        PorePatchError: as the functions of `metrics`, and for clusters of another length.
    """
    split(distances, is_match)
    if cluster_1.shape != distances.shape or cluster_2.shape != distances.shape:
        raise PorePatchError(
            f"The bootstrap needs two points per pair, got {cluster_1.shape} and {cluster_2.shape} for {distances.shape}."
        )
    pairs = _order(distances, np.asarray(is_match, bool), cluster_1, cluster_2)
    streams = np.random.SeedSequence(seed).spawn(repeats)
    shares = [streams[repeats * share // threads : repeats * (share + 1) // threads] for share in range(threads)]
    measured = np.concatenate(map_threads(lambda share: _measure_repeats(share, pairs), shares, threads))
    return Replicates(*measured.T.copy())


def percentile_interval(
    replicates: FloatArray, estimate: float, level: float, negatives: int | None = None
) -> tuple[float, float]:
    """Return the percentile interval (low, high) of a rate (0..1) from its replicates (R,), widened to hold the estimate.

    Lost repeats (NaN) are left out; where all are lost the interval is (0, 1).

    Args:
        level: coverage, in (0, 1).
        negatives: for a share of so many non-matches. Where none is accepted the bootstrap knows no error, so `high` is at least
            the exact binomial bound 1 - ((1 - level) / 2)^(1 / negatives) (Clopper and Pearson, Biometrika 1934); likewise `low`
            where all are.
    """
    known = replicates[np.isfinite(replicates)]
    if len(known) == 0:
        return 0.0, 1.0
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    if negatives is not None and estimate == 0.0:
        high = max(high, 1.0 - tail ** (1.0 / negatives))
    if negatives is not None and estimate == 1.0:
        low = min(low, tail ** (1.0 / negatives))
    return float(min(low, estimate)), float(max(high, estimate))


@dataclass(frozen=True)
class _OrderedPairs:
    """The P matches and the Q other pairs, each in order of distance: all a repeat has to know of the distances.

    points: number of surface points.
    matches, others: (2,P), (2,Q) the two points of each pair, 0..points - 1.
    reached: (P,) matches at or below each match. accepted, nearer: (P,) other pairs at or below it, and below it.
    """

    points: int
    matches: IntArray
    others: IntArray
    reached: IntArray
    accepted: IntArray
    nearer: IntArray


def _order(
    distances: Distances, is_match: Labels, cluster_1: NDArray[np.integer], cluster_2: NDArray[np.integer]
) -> _OrderedPairs:
    numbers, names = pd.factorize(np.concatenate([cluster_1, cluster_2]), sort=True)
    points = numbers.astype(np.int32).reshape(2, -1)

    def ascending(chosen: Labels) -> tuple[Distances, IntArray]:
        index = np.flatnonzero(chosen)
        index = index[np.argsort(distances[index])]
        return distances[index], np.take(points, index, axis=1)

    (positive, matches), (negative, others) = ascending(is_match), ascending(~is_match)
    reached = np.searchsorted(positive, positive, side="right").astype(np.int32)
    accepted = np.searchsorted(negative, positive, side="right").astype(np.int32)
    nearer = np.searchsorted(negative, positive, side="left").astype(np.int32)
    return _OrderedPairs(len(names), matches, others, reached, accepted, nearer)


def _measure_repeats(streams: list[np.random.SeedSequence], pairs: _OrderedPairs) -> FloatArray:
    """Return FPR95, average precision and AUC (S,3) of one repeat per stream."""
    true, false = np.zeros(len(pairs.reached) + 1), np.zeros(pairs.others.shape[1] + 1)
    rates = np.full((len(streams), 3), np.nan)
    for rate, stream in zip(rates, streams, strict=True):
        drawn = np.random.default_rng(stream).integers(pairs.points, size=pairs.points)
        times = np.bincount(drawn, minlength=pairs.points).astype(np.int32)
        _count(times, pairs.matches, true)
        _count(times, pairs.others, false)
        if true[-1] and false[-1]:
            first = np.searchsorted(true[1:], needed(int(true[-1]), RECALL_PERCENT))
            precision, couples = _areas(true, false, pairs.reached, pairs.accepted, pairs.nearer)
            rate[:] = false[pairs.accepted[first]] / false[-1], precision / true[-1], couples / (2 * true[-1] * false[-1])
    return rates


@njit(cache=True, nogil=True)
def _count(times, points, counts):  # type: ignore[no-untyped-def]
    """Write how often the nearest 0, 1, 2... pairs were drawn together into `counts` (N + 1,), whole numbers.

    A pair was drawn once per draw of its point, or of both its points where they differ. Without a branch: which pairs a repeat
    draws cannot be foreseen, and a processor that guesses wrong loses more time than it takes to multiply.
    """
    first, second = points[0], points[1]
    total = np.int64(0)
    for i in range(len(first)):
        one, other = np.int64(times[first[i]]), np.int64(times[second[i]])
        total += one * (1 if first[i] == second[i] else other)
        counts[i + 1] = total


@njit(cache=True, nogil=True)
def _areas(true, false, reached, accepted, nearer):  # type: ignore[no-untyped-def]
    """Return two sums over the drawn matches: of the precision at each, and of twice the non-matches farther away, ties once."""
    precision, couples, others = 0.0, 0.0, false[-1]
    for i in range(len(reached)):
        times = true[i + 1] - true[i]
        found, wrong = true[reached[i]], false[accepted[i]]
        precision += times * (found / max(found + wrong, 1.0))
        couples += times * ((others - wrong) + (others - false[nearer[i]]))
    return precision, couples
