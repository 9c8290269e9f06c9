"""What was found about every descriptor on every test set, gathered from the reports of the verify and matching stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.tables import Table, to_arrow
from porepatch_lib.verification.compare import Comparison, compare

Report = Mapping[str, Any]

# One row per test set and descriptor, best FPR95 first within a test set. `labels` is "truth", "tracks of <descriptor>" or
# "given"; `sees` is "photograph" or "patch"; `sigma_px` is that of a hand-made descriptor on the bare 64 px patch. Rates
# are 0..1, `fprNN` at NN % recall; intervals are bootstrap intervals by surface point. `hpatches_*` are mean average precisions.
# `matching_*` are means over ordered view pairs of the test set's subjects. What is unknown is an empty cell.
_KNOWN: dict[str, pa.DataType] = {
    "test_set": pa.string(),
    "descriptor": pa.string(),
    "labels": pa.string(),
    "sees": pa.string(),
    "learned": pa.bool_(),
    "dimension": pa.int32(),
    "positives": pa.int64(),
    "negatives": pa.int64(),
    **dict.fromkeys(
        ("fpr95", "fpr95_low", "fpr95_high", "fpr95_hardnet", "fdr95", "auc", "average_precision"),
        pa.float64(),
    ),
    **dict.fromkeys(("auc_low", "auc_high", "average_precision_low", "average_precision_high"), pa.float64()),
}
_MATCHING = ("precision", "recall", "matching_score")
_MEANS = ["hpatches_verification_same", "hpatches_verification_cross", "hpatches_matching"]
_MEANS += ["hpatches_retrieval", "matching_precision", "matching_recall", "matching_score"]
_UNKNOWN = ["sigma_px", "fpr95_hynet", "fpr80", "fpr90", "fpr99", *_MEANS]
_ORDER = ["test_set", "descriptor", "labels", "sees", "learned", "dimension", "sigma_px", "positives", "negatives"]
_ORDER += ["fpr95", "fpr95_low", "fpr95_high", "fpr95_hynet", "fpr95_hardnet", "fdr95", "fpr80", "fpr90", "fpr99"]
_ORDER += ["auc", "auc_low", "auc_high", "average_precision", "average_precision_low", "average_precision_high", *_MEANS]
VERIFICATION = Table(
    "verification",
    pa.schema([pa.field(name, _KNOWN.get(name, pa.float64()), nullable=name in _UNKNOWN) for name in _ORDER]),
)

_REQUIRED = ["descriptor", "test_set", "labels", "sees", "learned", "dimension", "sigma_px", "sweep", "patches", "subjects"]
_REQUIRED += ["seed", "confidence", "positives", "negatives", "fpr95", "fpr95_low", "fpr95_high", "average_precision"]
_REQUIRED += ["average_precision_low", "average_precision_high", "auc", "fpr", "variants", "roc", "bootstrap", "strata"]
_REQUIRED += ["hpatches"]


@dataclass(frozen=True)
class Result:
    """One descriptor on one test set.

    report: of the verify stage; row: its columns of `VERIFICATION`, None where unknown; against: its comparison with the
    reference, None for the reference itself and where the test set has none.
    """

    report: Report
    row: Mapping[str, Any]
    against: Comparison | None

    @property
    def name(self) -> str:
        return str(self.report["descriptor"])


@dataclass(frozen=True)
class SetResults:
    """The results on one test set, best FPR95 first; `reference` is what they are compared with, None where it is not there."""

    name: str
    results: Sequence[Result]
    reference: str | None


def read_report(path: Path) -> Report:
    """Read a report of the verify stage.

    Raises:
        PorePatchError: if another version wrote it.
    """
    report: Report = read_json(path)
    missing = [key for key in _REQUIRED if key not in report]
    if missing:
        raise PorePatchError(f"The report {path} has no '{missing[0]}': another version wrote it; delete it and run again.")
    return report


def gather(reports: Sequence[Report], matching: Sequence[Report], reference: str) -> list[SetResults]:
    """Return the results by test set, in order of their first report.

    Args:
        reports, matching: of the verify and of the matching stage.
        reference: descriptor to compare with. Where a test set has no photographs, and so lacks it, `{reference}-bare` stands in.
    """
    scores = {(score["subject"], score["descriptor"]): score for score in matching}
    return [
        _test_set(name, [report for report in reports if report["test_set"] == name], scores, reference)
        for name in dict.fromkeys(report["test_set"] for report in reports)
    ]


def verification_frame(test_sets: Iterable[SetResults], origin: Path) -> pd.DataFrame:
    """Return the columns of `VERIFICATION`, NaN where unknown; `origin` names the table in errors.

    Raises:
        PorePatchError: if a report lacks a number that every report has, or gives a text for it.
    """
    rows = [result.row for test_set in test_sets for result in test_set.results]
    frame = pd.DataFrame(rows, columns=VERIFICATION.schema.names)
    known = Table(VERIFICATION.name, pa.schema([field for field in VERIFICATION.schema if not field.nullable]))
    to_arrow(frame[known.schema.names], known, origin)
    return frame.astype(dict.fromkeys(_UNKNOWN, np.float64))


def _test_set(name: str, reports: Sequence[Report], scores: Mapping[tuple[str, str], Report], reference: str) -> SetResults:
    ordered = sorted(reports, key=lambda report: (report["fpr95"], -report["average_precision"], report["descriptor"]))
    names = [report["descriptor"] for report in ordered]
    chosen = next((candidate for candidate in (reference, f"{reference}-bare") if candidate in names), None)
    base = ordered[names.index(chosen)] if chosen else None
    results = [
        Result(report, _row(report, scores), compare(report, base) if base is not None and report is not base else None)
        for report in ordered
    ]
    return SetResults(name, results, chosen)


def _row(report: Report, scores: Mapping[tuple[str, str], Report]) -> dict[str, Any]:
    row = {name: report[name] for name in _KNOWN if name in report} | {"sigma_px": report["sigma_px"]}
    row |= dict(report["variants"]) | {f"fpr{recall}": report["fpr"].get(recall) for recall in ("80", "90", "99")}
    verification = report["hpatches"]["verification"]
    row |= {f"hpatches_verification_{name.split('_')[0]}": verification[name] for name in verification}
    row |= {f"hpatches_{name}": report["hpatches"][name] for name in ("matching", "retrieval")}
    found = [scores[key] for subject in report["subjects"] if (key := (subject, report["descriptor"])) in scores]
    return row | {f"matching_{name.removeprefix('matching_')}": _mean(found, name) for name in _MATCHING}


def _mean(scores: Sequence[Report], name: str) -> float | None:
    """Return the mean of a number over the view pairs of several subjects."""
    known = [score for score in scores if score[name] is not None]
    pairs = sum(score["view_pairs"] for score in known)
    return sum(score[name] * score["view_pairs"] for score in known) / pairs if pairs else None
