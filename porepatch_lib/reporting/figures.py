"""Figures of a run, as PNG for looking and SVG for printing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.reporting.styles import LEAST_PERCENT, round_colours, save_figures
from porepatch_lib.reporting.verification_figures import drawings_of_test_set

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = dict[str, Any]


def write_figures(reports: Sequence[Report], curves: Mapping[int, Path], audits: Sequence[Report], folder: Path) -> list[str]:
    """Draw every figure the run has data for; return the names of the PNG files.

    Args:
        reports: reports of the verify stage.
        curves: CSV of the training per round, with columns step, loss, validation_fpr95.
        audits: reports of the audit stage.
        folder: existing folder to write into.
    """
    drawings: dict[str, Callable[[], Figure]] = {}
    for test_set in dict.fromkeys(report["test_set"] for report in reports):
        drawings |= drawings_of_test_set([report for report in reports if report["test_set"] == test_set], test_set)
    if curves:
        drawings["training"] = partial(plot_training, {r: pd.read_csv(curves[r]) for r in sorted(curves)})
    for split in dict.fromkeys(audit["split"] for audit in audits):
        drawings[f"audit_{split}"] = partial(plot_audit, [audit for audit in audits if audit["split"] == split])
    return save_figures(drawings, folder)


def plot_training(curves: Mapping[int, pd.DataFrame]) -> Figure:
    """Draw training loss (running mean) and validation FPR95 over steps, one line per round."""
    figure, (left, right) = _panels(8.0, 3.4)
    for r, colour in zip(curves, round_colours(len(curves)), strict=True):
        curve = curves[r]
        loss = curve.dropna(subset="loss")
        left.plot(loss["step"], smoothed(loss["loss"].to_numpy(np.float64)), color=colour, label=f"round {r}")
        validated = curve.dropna(subset="validation_fpr95")
        rate = np.maximum(100 * validated["validation_fpr95"], LEAST_PERCENT)
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
    for audit, colour in zip(ordered, round_colours(len(ordered)), strict=True):
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
