"""Every verification metric of a set of pairs out of one sort; `metrics` holds the definitions they equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from porepatch_lib.errors import PorePatchError
from porepatch_lib.threads import map_threads
from porepatch_lib.verification.metrics import (
    RECALL_PERCENT,
    Counts,
    Distances,
    FloatArray,
    Labels,
    auc_of_counts,
    average_precision_of_counts,
    needed,
    split,
)


@dataclass(frozen=True)
class PairScores:
    """The metrics of `porepatch_lib.verification.metrics`, rates 0..1.

    fpr95_hynet: None for fewer than 20 matches, where it does not exist.
    fpr: recall in percent -> false positive rate.
    false_positive_rate, recall: (K + 1,) the ROC curve, (0, 0) and then one point per distinct distance.
    """

    fpr95: float
    fpr95_hynet: float | None
    fpr95_hardnet: float
    fdr95: float
    fpr: dict[int, float]
    auc: float
    average_precision: float
    false_positive_rate: FloatArray
    recall: FloatArray


def score_pairs(
    distances: Distances, is_match: Labels, recalls_percent: Sequence[int] = (80, 90, 95, 99), threads: int = 1
) -> PairScores:
    """Return all metrics of pairs with `distances` (N,), any real dtype, and labels `is_match` (N,).

    The numbers are those of `metrics`, to the last bit, and depend neither on the order of the pairs nor on `threads`.

    Raises:
        PorePatchError: for a NaN distance, unequal lengths, a set without both kinds of pairs, or a recall outside 1..100.
    """
    wrong = [recall for recall in recalls_percent if not 1 <= recall <= 100]
    if wrong:
        raise PorePatchError(f"The recall must be 1 to 100 percent, not {wrong[0]}.")
    if distances.dtype != np.float32:
        distances = distances.astype(np.float64)
    positive, negative = map_threads(np.sort, split(distances, is_match), threads)
    false, true = _staircase(positive, negative)
    rank = needed(len(positive), RECALL_PERCENT)
    threshold = positive[rank - 1]
    wrongly, rightly = _count_up_to(negative, threshold), _count_up_to(positive, threshold)
    return PairScores(
        fpr95=wrongly / len(negative),
        fpr95_hynet=_count_up_to(negative, positive[rank]) / len(negative) if rank < len(positive) else None,
        fpr95_hardnet=int(np.searchsorted(negative, threshold, side="left")) / len(negative),
        fdr95=wrongly / (wrongly + rightly),
        fpr={
            recall: _count_up_to(negative, positive[needed(len(positive), recall) - 1]) / len(negative)
            for recall in recalls_percent
        },
        auc=auc_of_counts(false, true),
        average_precision=average_precision_of_counts(false, true),
        false_positive_rate=_from_zero(false),
        recall=_from_zero(true),
    )


def _count_up_to(ordered: Distances, threshold: Any) -> int:
    return int(np.searchsorted(ordered, threshold, side="right"))


def _from_zero(counts: Counts) -> FloatArray:
    """Return counts as shares of the last one, with a zero before."""
    shares = np.zeros(len(counts) + 1)
    np.divide(counts, counts[-1], out=shares[1:])
    return shares


def _staircase(positive: Distances, negative: Distances) -> tuple[Counts, Counts]:
    """Return non-matches and matches accepted at each distinct distance (K,), ascending; both inputs are sorted."""
    false, true = np.empty((2, len(positive) + len(negative)), np.int64)
    steps = _merge(positive, negative, false, true)
    return false[:steps], true[:steps]


@njit(cache=True, nogil=True)
def _merge(positive, negative, false, true):  # type: ignore[no-untyped-def]
    i, j, step = 0, 0, 0
    while i < len(positive) or j < len(negative):
        distance = positive[i] if j == len(negative) or (i < len(positive) and positive[i] <= negative[j]) else negative[j]
        while i < len(positive) and positive[i] == distance:
            i += 1
        while j < len(negative) and negative[j] == distance:
            j += 1
        false[step], true[step] = j, i
        step += 1
    return step
