"""Is one descriptor better than another? The difference of their FPR95 on the same pairs, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray
from porepatch_lib.tables import Table
from porepatch_lib.verification.bootstrap import percentile_interval

Report = Mapping[str, Any]

# One row per two descriptors of a test set. `difference` is FPR95 of `descriptor` less FPR95 of `other` (-1..1), `low` and `high`
# its interval. `verdict` is on `descriptor`: "better", "worse", or "undecided".
_COLUMNS: list[tuple[str, pa.DataType]] = [(name, pa.string()) for name in ("test_set", "descriptor", "other")]
_COLUMNS += [(name, pa.float64()) for name in ("difference", "low", "high")] + [("verdict", pa.string())]
COMPARISONS = Table("comparisons", pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS]))

_SAME = ("test_set", "positives", "negatives", "seed", "confidence")


@dataclass(frozen=True)
class Comparison:
    """Two descriptors on one test set.

    difference: FPR95 of `first` less FPR95 of `second`; low, high: its interval.
    verdict: `first` is "better" or "worse" where the interval leaves out 0, else "undecided".
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    verdict: str


def compare(report_a: Report, report_b: Report) -> Comparison:
    """Compare two descriptors by the reports of the verify stage.

    Both were resampled alike, so the difference of their FPR95 is taken repeat by repeat: what makes a resample hard for both
    cancels. The interval is the percentile interval of the differences at the reports' confidence, widened to hold the estimate.

    Where a descriptor accepts no non-match its replicates are all 0 and know no error. The interval then holds at least that of
    two descriptors taken as independent, from the limits of each, low = d - sqrt((a - low_a)^2 + (high_b - b)^2) (Zou and Donner,
    Statistics in Medicine 2008), the exact binomial bound being among them.

    It is an interval for these two alone: of twenty comparisons at 95 %, one is decided by chance.

    Raises:
        PorePatchError: if the reports are of different pairs, seeds, confidences or numbers of repeats.
    """
    _check_alike(report_a, report_b)
    a, b = float(report_a["fpr95"]), float(report_b["fpr95"])
    estimate, level = a - b, float(report_a["confidence"])
    differences = _replicates(report_a) - _replicates(report_b)
    known = np.isfinite(differences).any()
    low, high = percentile_interval(differences, estimate, level) if known else (-1.0, 1.0)
    if a == 0.0 or b == 0.0:
        low = min(low, estimate - np.hypot(a - report_a["fpr95_low"], report_b["fpr95_high"] - b))
        high = max(high, estimate + np.hypot(report_a["fpr95_high"] - a, b - report_b["fpr95_low"]))
    verdict = "better" if high < 0 else "worse" if low > 0 else "undecided"
    return Comparison(report_a["descriptor"], report_b["descriptor"], estimate, float(low), float(high), verdict)


def comparison_frame(reports: Sequence[Report]) -> pd.DataFrame:
    """Return the columns of COMPARISONS, one row for every two reports of one test set, in the order of `reports`.

    Raises PorePatchError as `compare`.
    """
    rows = []
    for one, other in combinations(reports, 2):
        if one["test_set"] == other["test_set"]:
            found = compare(one, other)
            numbers = (found.difference, found.low, found.high)
            rows.append((one["test_set"], found.first, found.second, *numbers, found.verdict))
    frame = pd.DataFrame(rows, columns=COMPARISONS.schema.names)
    return frame.sort_values("test_set", kind="stable", ignore_index=True)


def _replicates(report: Report) -> FloatArray:
    """Return FPR95 of every repeat (R,), NaN where it was lost."""
    return np.array(report["bootstrap"]["fpr95"], np.float64)


def _check_alike(report_a: Report, report_b: Report) -> None:
    facts_a, facts_b = (
        {name: report[name] for name in _SAME} | {"repeats": len(report["bootstrap"]["fpr95"])} for report in (report_a, report_b)
    )
    unlike = next((name for name in facts_a if facts_a[name] != facts_b[name]), None)
    if unlike is not None:
        raise PorePatchError(
            f"The reports of {report_a['descriptor']} and {report_b['descriptor']} cannot be compared: {unlike} is "
            f"{facts_a[unlike]} in one and {facts_b[unlike]} in the other; verify both on one test set with one configuration."
        )
