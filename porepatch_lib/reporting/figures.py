"""Figures of a run, as PNG for looking and SVG for printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = dict[str, Any]

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "porepatch",  # the same drawing gives the same file
}
_HAND_MADE = "#777777"
_DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_DPI = 150
_LEAST_PERCENT = 0.01  # logarithmic axes end here; zero is drawn here


def write_figures(reports: Sequence[Report], curves: Mapping[int, Path], audits: Sequence[Report], folder: Path) -> list[str]:
    """Draw every figure the run has data for; return the names of the PNG files.

    Args:
        reports: reports of the verify stage.
        curves: CSV of the training per round, with columns step, loss, validation_fpr95.
        audits: reports of the audit stage.
        folder: existing folder to write into.
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figures = {}
        for test_set in dict.fromkeys(report["test_set"] for report in reports):
            chosen = in_order([report for report in reports if report["test_set"] == test_set])
            figures[f"fpr95_{test_set}"] = plot_fpr95(chosen, test_set)
            figures[f"roc_{test_set}"] = plot_roc(chosen, test_set)
        if curves:
            figures["training"] = plot_training({r: pd.read_csv(curves[r]) for r in sorted(curves)})
        for split in dict.fromkeys(audit["split"] for audit in audits):
            figures[f"audit_{split}"] = plot_audit([audit for audit in audits if audit["split"] == split])
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [f"{name}.png" for name in figures]


def in_order(reports: Sequence[Report]) -> list[Report]:
    """Return hand-made descriptors, worst first, then the networks round by round."""
    return sorted(reports, key=lambda report: (_round(report), -report["fpr95"] if _round(report) < 0 else 0.0))


def plot_fpr95(reports: Sequence[Report], test_set: str) -> Figure:
    """Draw FPR95 with its interval, one row per descriptor in the given order."""
    figure, axes = _figure(6.0, 1.1 + 0.3 * len(reports))
    for row, (report, (colour, _)) in enumerate(zip(reports, _styles(reports), strict=True)):
        value, low, high = (100 * report[key] for key in ("fpr95", "fpr95_low", "fpr95_high"))
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot(value, row, "o", color=colour, markersize=6)
        axes.annotate(f"{value:.2f}", (high, row), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(reports)), [report["descriptor"] for report in reports])
    axes.set_ylim(len(reports) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"FPR95 in %, with {100 * reports[0]['confidence']:g} % interval")
    axes.set_title(f"Patch verification, test set {test_set}", loc="left")
    return figure


def plot_roc(reports: Sequence[Report], test_set: str) -> Figure:
    """Draw the ROC curves, false positive rate on a logarithmic axis."""
    figure, axes = _figure(6.0, 4.2)
    least = 100.0 / max(report["negatives"] for report in reports)
    for report, (colour, dashes) in zip(reports, _styles(reports), strict=True):
        false = 100 * np.array(report["roc"]["false_positive_rate"])
        recall = 100 * np.array(report["roc"]["recall"])
        label = f"{report['descriptor']} ({100 * report['fpr95']:.2f} %)"
        axes.plot(np.maximum(false, least), recall, color=colour, linestyle=dashes, label=label)
    axes.axhline(95, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(max(least, _LEAST_PERCENT), 100)
    axes.set_ylim(60, 100)
    axes.set_xlabel("false positive rate in %")
    axes.set_ylabel("recall in %")
    axes.legend(title="descriptor (FPR95)", loc="lower right")
    axes.set_title(f"ROC, test set {test_set}", loc="left")
    return figure


def plot_training(curves: Mapping[int, pd.DataFrame]) -> Figure:
    """Draw training loss (running mean) and validation FPR95 over steps, one line per round."""
    figure, (left, right) = _panels(8.0, 3.4)
    for r, colour in zip(curves, _round_colours(len(curves)), strict=True):
        curve = curves[r]
        loss = curve.dropna(subset="loss")
        left.plot(loss["step"], smoothed(loss["loss"].to_numpy(np.float64)), color=colour, label=f"round {r}")
        validated = curve.dropna(subset="validation_fpr95")
        rate = np.maximum(100 * validated["validation_fpr95"], _LEAST_PERCENT)
        right.plot(validated["step"], rate, "o-", color=colour, markersize=3, label=f"round {r}")
    left.set_ylabel("training loss, running mean")
    right.set_ylabel("validation FPR95 in %")
    right.set_yscale("log", subs=[2, 5])
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    for axes in (left, right):
        axes.set_xlabel("step")
    right.legend()
    return figure


def plot_audit(audits: Sequence[Report]) -> Figure:
    """Draw the share of wrong matches over the angle between the two views, a line per round; `audits` are of one split."""
    ordered = sorted(audits, key=lambda audit: audit["round"])
    angles = sorted({angle for audit in ordered for angle in audit["angle"]}, key=lambda angle: int(angle.split("-")[0]))
    figure, axes = _figure(5.0, 3.4)
    for audit, colour in zip(ordered, _round_colours(len(ordered)), strict=True):
        matches = [audit["angle"].get(angle, {}).get("matches") for angle in angles]
        wrong = [100 * found["wrong_mm"] if found else np.nan for found in matches]
        axes.plot(range(len(angles)), wrong, "o-", color=colour, markersize=4, label=f"round {audit['round']}")
    axes.set_xticks(range(len(angles)), angles)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("angle between the two viewing directions in degrees")
    axes.set_ylabel("wrong matches in %")
    axes.legend()
    axes.set_title(f"Matching pairs more than {ordered[0]['tolerance_mm']:g} mm apart ({ordered[0]['split']})", loc="left")
    return figure


def smoothed(values: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float64]:
    """Return the centred running mean over `share` of the values, over fewer at the ends."""
    half = max(1, int(len(values) * share / 2))
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _panels(width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, 2)


def _round(report: Report) -> int:
    """Return the round of a network named round{r}-{architecture}, -1 for hand-made descriptors."""
    name = report["descriptor"]
    digits = name.removeprefix("round").split("-")[0]
    return int(digits) if name.startswith("round") and digits.isdigit() else -1


def _styles(reports: Sequence[Report]) -> list[tuple[Any, Any]]:
    """Return colour and dashes per report: grey dashes for hand-made descriptors, solid colours for networks."""
    networks = [report for report in reports if _round(report) >= 0]
    colours = iter(_round_colours(len(networks)))
    dashes = iter(_DASHES * len(reports))
    return [(next(colours), "-") if _round(report) >= 0 else (_HAND_MADE, next(dashes)) for report in reports]


def _round_colours(count: int) -> NDArray[np.float64]:
    """Return colours (count, 4) from dark blue to yellow-green, in order of rounds."""
    import matplotlib

    return np.asarray(matplotlib.colormaps["viridis"](np.linspace(0.1, 0.8, count)))
