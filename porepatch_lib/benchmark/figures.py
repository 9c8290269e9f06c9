"""ROC curves of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from porepatch_lib.reporting.roc import plot_roc
from porepatch_lib.reporting.styles import line_styles, save_figures


def write_roc_figures(reports: Sequence[Mapping[str, Any]], learned: set[str], folder: Path) -> list[str]:
    """Draw the ROC curves of every test set into an existing folder; return the names of the PNG files.

    `reports` are those of the verify stage, `learned` the names of the networks among their descriptors.
    """
    styles = line_styles([report["descriptor"] for report in reports], learned)
    drawings = {}
    for test_set in dict.fromkeys(report["test_set"] for report in reports):
        chosen = [report for report in reports if report["test_set"] == test_set]
        drawings[f"roc_{test_set}"] = partial(plot_roc, chosen, styles, f"ROC, test set {test_set}")
    return save_figures(drawings, folder)
