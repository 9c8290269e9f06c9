"""The stage that lays out reconstruction: every subject, variant and descriptor in one table (CSV, Markdown, LaTeX), figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from porepatch_lib.files import atomic_folder, atomic_path, write_text
from porepatch_lib.reporting.reconstruction_figures import write_reconstruction_figures
from porepatch_lib.reporting.reconstruction_latex import reconstruction_latex
from porepatch_lib.reporting.reconstruction_page import reconstruction_page
from porepatch_lib.reporting.reconstruction_ratios import ratios
from porepatch_lib.reporting.reconstruction_results import read_results, results_frame

_LOG = logging.getLogger(__name__)


def write_reconstruction_table(
    metrics: Sequence[Path], csv: Path, markdown: Path, latex: Path, figures: Path, reference: str
) -> None:
    """Write the table of reconstruction in three forms, and the figures.

    Args:
        metrics: `metrics.json` of the evaluation, one per subject, descriptor and variant; may be none.
        csv: the columns of `RECONSTRUCTIONS`, in order of subjects.
        markdown: the page to read, with the figures.
        latex: booktabs tables.
        figures: folder for points, accuracy and camera errors, PNG and SVG.
        reference: descriptor that the others are compared with over several subjects.

    Raises:
        PorePatchError: if a file lacks a key or a column, or two are of one subject, variant and descriptor.
    """
    results = read_results(metrics)
    table = results_frame(results, csv)
    with atomic_folder(figures) as folder:
        names = write_reconstruction_figures(results, folder)
    beside = os.path.relpath(figures, markdown.parent)
    links = {Path(name).stem: f"{beside}/{name}" for name in names}
    write_text(markdown, reconstruction_page(results, reference, ratios(results, reference), links))
    write_text(latex, reconstruction_latex(results))
    with atomic_path(csv) as path:
        table.to_csv(path, index=False, lineterminator="\n")
    _LOG.info("wrote %s: %d rows", csv, len(table))
