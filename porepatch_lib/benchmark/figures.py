"""ROC curves of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GREYS = ("#000000", "#666666", "#999999", "#bbbbbb")
_COLOURS = tuple(f"C{number}" for number in range(10))
_DPI = 150
_LEAST_MISSED_PERCENT = 0.1  # the axis ends here


def write_roc_figures(reports: Sequence[Mapping[str, Any]], learned: set[str], folder: Path) -> list[str]:
    """Draw the ROC curves of every test set into an existing folder; return the names of the PNG files.

    `reports` are those of the verify stage, `learned` the names of the networks among their descriptors.
    """
    import matplotlib

    names = []
    with matplotlib.rc_context({"font.size": 9, "legend.frameon": False, "svg.hashsalt": "porepatch"}):
        for test_set in dict.fromkeys(report["test_set"] for report in reports):
            figure = plot_roc([report for report in reports if report["test_set"] == test_set], learned, f"test set {test_set}")
            figure.savefig(folder / f"roc_{test_set}.png", dpi=_DPI, metadata={"Software": None})
            figure.savefig(folder / f"roc_{test_set}.svg", metadata={"Date": None})
            names.append(f"roc_{test_set}.png")
    return names


def plot_roc(reports: Sequence[Mapping[str, Any]], learned: set[str], title: str) -> Figure:
    """Draw the share of missed matches over the false positive rate, both logarithmic; the legend is ordered by FPR95.

    Networks have colours, hand-made descriptors dashes of grey.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    axes = figure.add_subplot()
    colours, greys = iter(_COLOURS * len(reports)), iter(_GREYS * len(reports))
    least = 100.0 / max(report["negatives"] for report in reports)
    for report in sorted(reports, key=lambda report: (report["fpr95"], report["descriptor"])):
        name = report["descriptor"]
        axes.plot(
            np.maximum(100 * np.array(report["roc"]["false_positive_rate"]), least),
            np.maximum(100 * (1 - np.array(report["roc"]["recall"])), _LEAST_MISSED_PERCENT),
            color=next(colours) if name in learned else next(greys),
            linestyle="-" if name in learned else "--",
            linewidth=1.2,
            label=f"{name} ({100 * report['fpr95']:.2f} %)",
        )
    axes.axhline(5, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlim=(least, 100), ylim=(_LEAST_MISSED_PERCENT, 100))
    axes.set(xlabel="false positive rate in %", ylabel="matching pairs missed in %")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(title="descriptor (FPR95)", loc="lower left", fontsize=8)
    axes.set_title(f"ROC, {title}", loc="left")
    return figure
