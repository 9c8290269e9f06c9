"""The stage that lays out patch verification: all test sets and descriptors in one table (CSV, Markdown, LaTeX), and figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from porepatch_lib.files import atomic_folder, atomic_path, read_json, write_text
from porepatch_lib.reporting.verification_figures import write_verification_figures
from porepatch_lib.reporting.verification_latex import verification_latex
from porepatch_lib.reporting.verification_page import verification_page
from porepatch_lib.reporting.verification_results import gather, read_report, verification_frame
from porepatch_lib.tables import to_arrow
from porepatch_lib.verification.compare import COMPARISONS, comparison_frame

_LOG = logging.getLogger(__name__)


def write_verification_table(
    reports: Sequence[Path],
    matching: Sequence[Path],
    table_csv: Path,
    table_markdown: Path,
    table_latex: Path,
    comparisons_csv: Path,
    figures: Path,
    reference: str,
) -> None:
    """Write the table of patch verification in three forms, the comparisons of every two descriptors, and the figures.

    Args:
        reports: `{test_set}/{descriptor}.json` of the verify stage.
        matching: `{subject}/{descriptor}.json`, scores of matching whole photographs; may be none.
        table_csv: the columns of `VERIFICATION`, best FPR95 first within each test set.
        table_markdown: the page to read, with the figures.
        table_latex: booktabs tables, one per test set.
        comparisons_csv: the columns of `COMPARISONS`, every two descriptors of a test set, the better one first.
        figures: folder for FPR95, ROC curves and strata, PNG and SVG.
        reference: descriptor that the others are compared with; where a test set lacks it, `{reference}-bare`.

    Raises:
        PorePatchError: if a report lacks a key, or two of one test set are not of the same pairs and resamples.
    """
    read = [read_report(path) for path in reports]
    scores = [read_json(path) for path in matching]
    test_sets = gather(read, scores, reference)
    ordered = [result.report for test_set in test_sets for result in test_set.results]
    table = verification_frame(test_sets, table_csv)
    comparisons = to_arrow(comparison_frame(ordered), COMPARISONS, comparisons_csv).to_pandas()
    references = {test_set.name: test_set.reference for test_set in test_sets if test_set.reference}
    with atomic_folder(figures) as folder:
        names = write_verification_figures(ordered, references, folder)
    beside = os.path.relpath(figures, Path(table_markdown).parent)
    links = {Path(name).stem: f"{beside}/{name}" for name in names}
    tolerances = sorted({score["tolerance_px"] for score in scores})
    write_text(table_markdown, verification_page(test_sets, reference, tolerances, links))
    write_text(table_latex, verification_latex(test_sets))
    _write_csv(table_csv, table)
    _write_csv(comparisons_csv, comparisons)
    _LOG.info("wrote %s: %d rows of %d test sets", table_csv, len(table), len(test_sets))


def _write_csv(target: Path, frame: pd.DataFrame) -> None:
    with atomic_path(target) as path:
        frame.to_csv(path, index=False, lineterminator="\n")
