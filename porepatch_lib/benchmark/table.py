"""The benchmark stage: what was found about every descriptor, in one table, one page and its ROC curves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from porepatch_lib.benchmark.figures import write_roc_figures
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, atomic_path, read_json, write_text
from porepatch_lib.reporting.markdown import markdown_table, number, percent
from porepatch_lib.tables import Table, to_arrow

_LOG = logging.getLogger(__name__)

_FLOAT_BYTES = 4
_OWN = "benchmark-"
_COLUMNS = {
    "descriptor": pa.string(),
    "kind": pa.string(),
    "test_set": pa.string(),
    "status": pa.string(),
    "fpr95": pa.float64(),
    "fpr95_low": pa.float64(),
    "fpr95_high": pa.float64(),
    "average_precision": pa.float64(),
    "dimension": pa.int32(),
    "descriptor_bytes": pa.int32(),
    "parameters": pa.int64(),
    "weights_bytes": pa.int64(),
    "patches_per_second": pa.float64(),
    "training_patches_per_second": pa.float64(),
    "training_seconds": pa.float64(),
    "steps": pa.int64(),
    "points_per_batch": pa.int64(),
    "patch_side": pa.int32(),
    "normalisation": pa.string(),
}

# One row per test set and descriptor. `kind` is "learned" or "hand-made"; `status` is "trained", "stopped early", "collapsed"
# (the validation stayed at chance) or "hand-made". Rates 0..1, the interval that of the verification. `descriptor_bytes` is
# one descriptor as float32, `weights_bytes` the file. `patches_per_second` is description, `training_patches_per_second` two
# patches per point and step. `steps` were taken, an early stop has fewer than were allowed. `patch_side` in pixels. Hand-made
# descriptors have 0 parameters, weights and training, and 0 as `patch_side` because they see the photograph.
BENCHMARK = Table("benchmark", pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()]))
_UNTRAINED = {"status": "hand-made", "parameters": 0, "patch_side": 0, "normalisation": "", "steps": 0, "points_per_batch": 0}
_UNTRAINED |= {"patches_per_second": 0.0, "seconds": 0.0}


@dataclass(frozen=True)
class Report:
    """A JSON report that names its file where it lacks a key."""

    path: Path
    content: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        if key not in self.content:
            raise PorePatchError(f"The report {self.path} has no '{key}': another version wrote it; delete it and run again.")
        return self.content[key]


def write_benchmark(
    verification: Sequence[Path], speeds: Sequence[Path], cards: Sequence[Path], table: Path, page: Path, figures: Path
) -> None:
    """Write the table of the benchmark as CSV, as a page and as ROC curves.

    Args:
        verification: JSON reports of the verify stage; their order is that of the rows. Networks of the benchmark are named
            benchmark-<architecture> there, and <architecture> in the table.
        speeds: JSON reports of the speed stage, one per descriptor.
        cards: model cards (JSON) of the networks among them.
        table: CSV with the columns of `BENCHMARK`.
        page, figures: Markdown, best descriptor first, and the folder of its figures, PNG and SVG.

    Raises:
        PorePatchError: if a descriptor has no speed report, a network no card, or a report lacks a key.
    """
    reports = [_plainly_named(_read(path)) for path in verification]
    frame = benchmark_frame(reports, [_read(path) for path in speeds], [_read(path) for path in cards])
    arrow = to_arrow(frame, BENCHMARK, table)
    learned = set(frame["descriptor"][frame["kind"] == "learned"])
    with atomic_folder(figures) as folder:
        names = write_roc_figures([report.content for report in reports], learned, folder)
    write_text(page, benchmark_page(frame, float(reports[0]["confidence"]), [f"{figures.name}/{name}" for name in names]))
    with atomic_path(table) as path:
        arrow.to_pandas().to_csv(path, index=False, lineterminator="\n")
    _LOG.info("wrote %s: %d rows", table, len(frame))


def benchmark_frame(verification: Sequence[Report], speeds: Sequence[Report], cards: Sequence[Report]) -> pd.DataFrame:
    """Return one row per report of the verification, in their order, with the columns of `BENCHMARK`.

    Raises:
        PorePatchError: as `write_benchmark` does.
    """
    speed_of = {speed["descriptor"]: speed for speed in speeds}
    card_of = {card["architecture"]: card for card in cards}
    rows = []
    for report in verification:
        speed = _found(report, speed_of, "speed report")
        card = _found(report, card_of, "model card") if speed["kind"] == "learned" else Report(speed.path, _UNTRAINED)
        rows.append(_row(report, speed, card))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def benchmark_page(frame: pd.DataFrame, confidence: float, figures: Sequence[str]) -> str:
    """Return the table as Markdown, a section per test set, best descriptor first; `confidence` is that of the intervals."""
    cells: dict[str, Callable[[Any], str]] = {
        "descriptor": lambda row: row.descriptor,
        "status": lambda row: row.status,
        "FPR95 %": lambda row: percent(row.fpr95),
        f"{100 * confidence:g} % interval": lambda row: f"{percent(row.fpr95_low)} .. {percent(row.fpr95_high)}",
        "dimension": lambda row: str(row.dimension),
        "bytes": lambda row: number(row.descriptor_bytes),
        "parameters": lambda row: _known(row.parameters),
        "weights MB": lambda row: _known(row.weights_bytes / 1e6, 1),
        "patches/s": lambda row: number(row.patches_per_second),
        "training patches/s": lambda row: _known(row.training_patches_per_second),
        "training s": lambda row: _known(row.training_seconds),
        "steps": lambda row: _known(row.steps),
        "points": lambda row: _known(row.points_per_batch),
    }
    parts = [
        "# Descriptors, trained alike\n\n"
        "FPR95: share of non-matching pairs accepted at the threshold that accepts 95 % of the matching ones; lower is better.\n"
        "Bytes: of one descriptor as float32. Patches/s: described; what sees patches has them in memory, what sees photographs\n"
        "reads and blurs them. Points: per step, two patches each. How to read the table: docs/descriptors.md.\n"
    ]
    for test_set, group in frame.groupby("test_set", sort=False):
        ordered = group.sort_values(["fpr95", "average_precision", "descriptor"], ascending=[True, False, True])
        rows = [[cell(row) for cell in cells.values()] for row in ordered.itertuples(index=False)]
        parts += [f"## Test set {test_set}\n", markdown_table(list(cells), rows)]
    parts += [f"![{Path(path).stem}]({path})\n" for path in figures]
    return "\n".join(parts)


def _row(report: Report, speed: Report, card: Report) -> dict[str, Any]:
    row = {name: report[name] for name in ("descriptor", "test_set", "fpr95", "fpr95_low", "fpr95_high", "average_precision")}
    row |= {"dimension": report["dimension"], "descriptor_bytes": _FLOAT_BYTES * report["dimension"]}
    row |= {name: speed[name] for name in ("kind", "weights_bytes", "patches_per_second")}
    row |= {name: card[name] for name in _UNTRAINED if name not in ("patches_per_second", "seconds")}
    return row | {"training_patches_per_second": card["patches_per_second"], "training_seconds": card["seconds"]}


def _found(report: Report, others: Mapping[str, Report], what: str) -> Report:
    if report["descriptor"] not in others:
        raise PorePatchError(f"The benchmark has {report.path} but no {what} of '{report['descriptor']}'; run its rule again.")
    return others[report["descriptor"]]


def _plainly_named(report: Report) -> Report:
    name = report["descriptor"].removeprefix(_OWN)
    return Report(report.path, {**report.content, "descriptor": name})


def _known(value: float, decimals: int = 0) -> str:
    """Return a number, "-" for the 0 of what a hand-made descriptor has not."""
    return number(value or None, decimals)


def _read(path: Path) -> Report:
    return Report(Path(path), read_json(path))
