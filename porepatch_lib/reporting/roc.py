"""ROC curves, of the verification and of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from porepatch_lib.reporting.styles import LEAST_PERCENT, LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RECALL_TICKS_PERCENT = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.9)
_LEAST_MISSED_PERCENT = 0.1  # the axis ends here


def plot_roc(reports: Sequence[Mapping[str, Any]], styles: Mapping[str, LineStyle], title: str) -> Figure:
    """Draw recall over the false positive rate of every report; the legend stands beside the axes, best FPR95 first.

    Both axes are logarithmic, recall in the share it misses, so that the corner where good descriptors differ is wide.

    Args:
        reports: of the verify stage, on one test set.
        styles: by descriptor.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    least = max(LEAST_PERCENT, 100.0 / max(report["negatives"] for report in reports))
    for report in sorted(reports, key=lambda report: (report["fpr95"], report["descriptor"])):
        style = styles[report["descriptor"]]
        axes.plot(
            np.maximum(100 * np.array(report["roc"]["false_positive_rate"]), least),
            np.maximum(100 * (1 - np.array(report["roc"]["recall"])), _LEAST_MISSED_PERCENT),
            color=style.colour,
            linestyle=style.dashes,
            linewidth=style.width,
            label=f"{report['descriptor']} ({100 * report['fpr95']:.2f} %)",
        )
    axes.axhline(5, color="black", linewidth=0.8, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=(least, 100), ylim=(100, _LEAST_MISSED_PERCENT))
    axes.set_yticks([100 - recall for recall in _RECALL_TICKS_PERCENT], [f"{recall:g}" for recall in _RECALL_TICKS_PERCENT])
    axes.yaxis.set_minor_locator(_no_ticks())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="false positive rate in %", ylabel="recall in %")
    axes.set_title(title, loc="left")
    figure.legend(title="descriptor (FPR95)", loc="outside right upper", fontsize=8, handlelength=3.2)
    return figure


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
