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
Counts = NDArray[np.int64]

RECALL_PERCENT = 95


def fpr95(distances: Distances, is_match: Labels) -> float:
    """Return FPR95 (0..1): the share of non-matches at or below the ceil(.95 P)-th smallest of the P matching distances."""
    return false_positive_rate(distances, is_match, RECALL_PERCENT)


def false_positive_rate(distances: Distances, is_match: Labels, recall_percent: int) -> float:
    """Return the false positive rate (0..1) at a recall of `recall_percent` (1..100), by the definition of `fpr95`."""
    if not 1 <= recall_percent <= 100:
        raise PorePatchError(f"The recall must be 1 to 100 percent, not {recall_percent}.")
    positive, negative = split(distances, is_match)
    return float(np.mean(negative <= threshold_at(positive, recall_percent)))


def fpr95_hynet(distances: Distances, is_match: Labels) -> float:
    """Return FPR95 as HyNet's code computes it: the threshold is one positive too far, the (ceil(.95 P) + 1)-th smallest.

    Raises PorePatchError for fewer than 20 matching pairs, where that positive does not exist.
    """
    positive, negative = split(distances, is_match)
    rank = needed(len(positive), RECALL_PERCENT)
    if rank == len(positive):
        raise PorePatchError(f"HyNet's variant of FPR95 needs at least 20 matching pairs, not {rank}; use fpr95.")
    return float(np.mean(negative <= np.partition(positive, rank)[rank]))


def fpr95_hardnet(distances: Distances, is_match: Labels) -> float:
    """Return FPR95 as HardNet's code computes it: only non-matches sorted before the pair that reaches 95 % recall count.

    Its order of ties is arbitrary; here matches come first, so that this is the lower end of what it can return and `fpr95`
    is the upper end. Without ties between matches and non-matches all three are equal.
    """
    positive, negative = split(distances, is_match)
    return float(np.mean(negative < threshold_at(positive, RECALL_PERCENT)))


def fdr95(distances: Distances, is_match: Labels) -> float:
    """Return the false discovery rate (0..1) that old code calls FPR95: non-matches among all pairs accepted at 95 % recall."""
    positive, negative = split(distances, is_match)
    threshold = threshold_at(positive, RECALL_PERCENT)
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
    return average_precision_of_counts(false, true)


def auc(distances: Distances, is_match: Labels) -> float:
    """Return the area under the ROC curve (0..1): how often a match is nearer than a non-match, over all couples of the two.

    Equal distances count half. It is the Mann-Whitney statistic over P N (Hanley and McNeil, Radiology 1982), and the area under
    the points of `roc_curve` joined by straight lines.
    """
    false, true, _ = _accepted(distances, is_match)
    return auc_of_counts(false, true)


def average_precision_of_counts(false: Counts, true: Counts) -> float:
    """Return `average_precision` of the non-matches and matches (K,) int64 accepted at each distinct distance, ascending."""
    gained = np.diff(true, prepend=0)
    return float(np.sum(gained * (true / (true + false))) / true[-1])


def auc_of_counts(false: Counts, true: Counts) -> float:
    """Return `auc` of the same counts; exact but for one rounding."""
    before = np.concatenate([[0], true[:-1]])
    return float(np.sum(np.diff(false, prepend=0) * (before + true)) / (2 * false[-1] * true[-1]))


def needed(count: int, recall_percent: int) -> int:
    """Return ceil(recall_percent / 100 * count) in integer arithmetic."""
    return (recall_percent * count + 99) // 100


def threshold_at(positive: Distances, recall_percent: int) -> Any:
    """Return the smallest of the matching distances (P,) that accepts `recall_percent` of them, at least one."""
    rank = needed(len(positive), recall_percent)
    return np.partition(positive, rank - 1)[rank - 1]


def split(distances: Distances, is_match: Labels) -> tuple[Distances, Distances]:
    """Return the distances of the matching and of the non-matching pairs, in order of the pairs, checked."""
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


def _accepted(distances: Distances, is_match: Labels) -> tuple[Counts, Counts, FloatArray]:
    """Return non-matches and matches accepted at each distinct distance, ascending, and those distances."""
    split(distances, is_match)
    order = np.argsort(distances, kind="stable")
    ordered, true = distances[order], np.cumsum(np.asarray(is_match, bool)[order], dtype=np.int64)
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # last of each run of equal distances
    return last + 1 - true[last], true[last], ordered[last].astype(np.float64)
