"""The verify stage: how well one descriptor tells matching from non-matching patches of a fixed test set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array, read_json, write_json
from porepatch_lib.patches.store import point_numbers
from porepatch_lib.tables import HARD, PATCHES, TEST_PAIRS, read_table
from porepatch_lib.verification.bootstrap import bootstrap, percentile_interval
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.hpatches import HPatchesSettings, hpatches_tasks
from porepatch_lib.verification.metrics import fpr95
from porepatch_lib.verification.scores import PairScores, score_pairs
from porepatch_lib.verification.strata import strata

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Report = dict[str, Any]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerificationSettings:
    """How a descriptor is verified.

    bootstrap_repeats: resamples of the surface points behind the intervals and the comparisons of two descriptors.
    strata_repeats: the same for every stratum.
    confidence: coverage of the intervals.
    roc_points: most points kept of the ROC curve.
    recalls_percent: recalls at which the false positive rate is given, beside 95.
    """

    bootstrap_repeats: int = 1000
    strata_repeats: int = 200
    confidence: float = 0.95
    roc_points: int = 200
    recalls_percent: tuple[int, ...] = (80, 90, 95, 99)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recalls_percent", tuple(self.recalls_percent))
        least = min(self.bootstrap_repeats, self.strata_repeats, self.roc_points - 1)
        recalls = all(1 <= recall <= 100 for recall in self.recalls_percent)
        if least < 1 or not 0 < self.confidence < 1 or not recalls:
            raise PorePatchError(
                f"The verification settings {asdict(self)} are out of range; give at least 1 repeat, a confidence between 0 and "
                "1, at least 2 roc_points and recalls of 1 to 100 percent."
            )


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of patches: is_match (N,) bool, and the surface points of both patches, point_1 and point_2 (N,)."""

    is_match: NDArray[np.bool_]
    point_1: IntArray
    point_2: IntArray

    def select(self, rows: NDArray[Any]) -> LabelledPairs:
        """Return the pairs of some rows."""
        return LabelledPairs(self.is_match[rows], self.point_1[rows], self.point_2[rows])


def verify(
    test_set: str,
    labels: str,
    subjects: Sequence[str],
    index: Path,
    pairs: Path,
    descriptors: Path,
    card: Path,
    output: Path,
    settings: VerificationSettings,
    hpatches: HPatchesSettings,
    seed: int,
    threads: int,
) -> None:
    """Verify one descriptor and write its report as JSON; docs/verification.md explains the numbers.

    Args:
        test_set, labels: names for the report; `labels` says who labelled the pairs: "truth", "tracks of <descriptor>", "given".
        subjects: of the test set, those without patches too.
        index, pairs: tables `patches` and `test pairs`.
        descriptors, card: float32 (N,D), row i = row i of the index, and what is known of the descriptor.
        output: JSON; rates are 0..1.
        settings, hpatches: what is measured.
        seed: of the resamples and of what HPatches' tasks draw. With one seed, all descriptors of a test set see the same.

    Raises:
        PorePatchError: if the files do not belong together, a descriptor is broken, or there are no matches or no non-matches.
    """
    frame, labelled, rows = read_table(index, PATCHES), read_table(pairs, TEST_PAIRS), read_array(descriptors)
    if rows.ndim != 2 or len(rows) != len(frame):
        raise PorePatchError(
            f"The descriptors {descriptors} have shape {rows.shape} but {index} has {len(frame)} rows; delete them and run again."
        )
    if labelled["is_match"].all() or not labelled["is_match"].any():
        raise PorePatchError(
            f"The test pairs {pairs} need both matching and non-matching pairs; "
            "give the verification split more subjects or photographs, or another pair list."
        )
    first, second = (labelled[name].to_numpy(np.int64) for name in ("patch_1", "patch_2"))
    distances = pair_distances(rows, first, second, threads)
    points = point_numbers(frame)
    known = LabelledPairs(labelled["is_match"].to_numpy(bool), points[first], points[second])
    headline = np.flatnonzero((labelled["kind"] != HARD).to_numpy())
    report = read_json(card) | {"test_set": test_set, "labels": labels, "seed": seed}
    report |= {"patches": len(frame), "subjects": sorted(subjects)}
    report |= headline_report(distances[headline], known.select(headline), settings, seed, threads)
    report["strata"] = strata_report(distances, labelled, known, settings, seed, threads)
    report["hpatches"] = hpatches_tasks(rows, frame, labelled, distances, hpatches, seed, threads)
    write_json(output, report)
    _LOG.info(
        "%s on %s: FPR95 %.2f %% (%.2f .. %.2f)",
        report["descriptor"],
        test_set,
        *(100 * report[key] for key in ("fpr95", "fpr95_low", "fpr95_high")),
    )


def headline_report(
    distances: NDArray[np.float32], pairs: LabelledPairs, settings: VerificationSettings, seed: int, threads: int
) -> Report:
    """Return all numbers of the headline pairs with their intervals; rates 0..1."""
    scores = score_pairs(distances, pairs.is_match, settings.recalls_percent, threads)
    drawn = bootstrap(
        distances,
        pairs.is_match,
        pairs.point_1,
        pairs.point_2,
        seed=seed,
        repeats=settings.bootstrap_repeats,
        threads=threads,
    )
    positives = int(np.count_nonzero(pairs.is_match))
    negatives = len(pairs.is_match) - positives
    report: Report = {"positives": positives, "negatives": negatives, "confidence": settings.confidence}
    report |= _with_interval("fpr95", scores.fpr95, drawn.fpr95, settings, negatives)
    report |= _with_interval("average_precision", scores.average_precision, drawn.average_precision, settings)
    report |= _with_interval("auc", scores.auc, drawn.auc, settings)
    report |= {
        "fpr": {str(recall): rate for recall, rate in scores.fpr.items()},
        "variants": {name: getattr(scores, name) for name in ("fpr95_hynet", "fpr95_hardnet", "fdr95")},
        "roc": _roc(scores, settings.roc_points),
        "bootstrap": {"fpr95": _numbers(drawn.fpr95)},
    }
    return report


def strata_report(
    distances: NDArray[np.float32],
    labelled: pd.DataFrame,
    known: LabelledPairs,
    settings: VerificationSettings,
    seed: int,
    threads: int,
) -> list[Report]:
    """Return FPR95 with its interval for every stratum of the pairs (columns of `test pairs`) that has enough of them."""
    reports = []
    for stratum in strata(labelled):
        chosen, pairs = distances[stratum.rows], known.select(stratum.rows)
        drawn = bootstrap(
            chosen, pairs.is_match, pairs.point_1, pairs.point_2, seed=seed, repeats=settings.strata_repeats, threads=threads
        )
        positives = int(np.count_nonzero(pairs.is_match))
        negatives = len(chosen) - positives
        rates = _with_interval("fpr95", fpr95(chosen, pairs.is_match), drawn.fpr95, settings, negatives)
        reports.append({"kind": stratum.kind, "group": stratum.group, "positives": positives, "negatives": negatives} | rates)
    return reports


def thinned(false: FloatArray, true: FloatArray, most: int) -> IntArray:
    """Return the indices of at most `most` points of a ROC curve, ends included.

    They are spread evenly over recall plus the logarithm of the false positive rate, the axes on which the curve is looked at.
    """
    if len(false) <= most:
        return np.arange(len(false))
    first = false[false > 0][0]
    along = true + np.log1p(false / first) / np.log1p(1.0 / first)  # rises from 0 to 2
    return np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], most)))


def _roc(scores: PairScores, most: int) -> dict[str, list[float]]:
    kept = thinned(scores.false_positive_rate, scores.recall, most)
    return {"false_positive_rate": scores.false_positive_rate[kept].tolist(), "recall": scores.recall[kept].tolist()}


def _with_interval(
    name: str, estimate: float, drawn: FloatArray, settings: VerificationSettings, negatives: int | None = None
) -> dict[str, float]:
    low, high = percentile_interval(drawn, estimate, settings.confidence, negatives)
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def _numbers(values: FloatArray) -> list[float | None]:
    """Return numbers for JSON, None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]
