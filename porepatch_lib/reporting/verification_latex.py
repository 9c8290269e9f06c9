"""The tables of patch verification for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from porepatch_lib.reporting.latex import latex_table
from porepatch_lib.reporting.markdown import percent
from porepatch_lib.reporting.verification_page import MEANS, TASKS, headline, known_columns, label_of
from porepatch_lib.reporting.verification_results import Result, SetResults


def verification_latex(test_sets: Sequence[SetResults]) -> str:
    r"""Return two booktabs tables per test set, of FPR95 and of the tasks like those of HPatches.

    Hand-made descriptors come first, then a rule, then networks, the best FPR95 first in each part. The best number of a column
    is bold, whatever its interval, and so is what looks the same when rounded.
    """
    tables = [table for test_set in test_sets for table in (_main_table(test_set), _tasks_table(test_set)) if table]
    return "\n".join(["% needs \\usepackage{booktabs}", *tables])


def _main_table(test_set: SetResults) -> str:
    results, columns = _in_order(test_set), known_columns(test_set, MEANS)
    compared = [f"less {test_set.reference}"] if test_set.reference else []
    headers = ["Descriptor", "Sees", "Dim.", "FPR95", "interval", *compared, *_short(columns)]
    rows = []
    for result in results:
        row = result.row
        cells = [label_of(result.report), row["sees"], str(row["dimension"]), percent(row["fpr95"])]
        cells.append(f"[{percent(row['fpr95_low'])}, {percent(row['fpr95_high'])}]")
        rows.append([*cells, *(_difference(result) for _ in compared), *(percent(row.get(name)) for name in columns.values())])
    caption = (
        f"Patch verification on the test set {test_set.name}: {headline(test_set)} All numbers in %. FPR95, lower is better,"
    )
    caption += f" with its {100 * results[0].report['confidence']:g} % bootstrap interval by surface point"
    caption += f", and its difference to {test_set.reference}, decided where the interval leaves out 0." if compared else "."
    bold = {(row, 3) for row in _best([-result.row["fpr95"] for result in results])}
    bold |= _best_of(results, columns, len(headers) - len(columns))
    return latex_table(headers, rows, caption, f"tab:verification-{test_set.name}", _rules(results), bold)


def _tasks_table(test_set: SetResults) -> str:
    columns = known_columns(test_set, TASKS)
    if not columns:
        return ""
    results = _in_order(test_set)
    rows = [[label_of(result.report), *(percent(result.row.get(name)) for name in columns.values())] for result in results]
    caption = f"Mean average precision in % of tasks like those of HPatches on the test set {test_set.name}: verification among"
    caption += " non-matches of the same and of another subject, matching, and retrieval."
    bold = _best_of(results, columns, 1)
    return latex_table(["Descriptor", *_short(columns)], rows, caption, f"tab:tasks-{test_set.name}", _rules(results), bold)


def _in_order(test_set: SetResults) -> list[Result]:
    """Return hand-made descriptors before networks, each in the order of the results."""
    return sorted(test_set.results, key=lambda result: bool(result.report["learned"]))


def _rules(results: Sequence[Result]) -> set[int]:
    hand_made = sum(not result.report["learned"] for result in results)
    return {hand_made} - {0, len(results)}


def _best_of(results: Sequence[Result], columns: Mapping[str, str], first: int) -> set[tuple[int, int]]:
    """Return the cells with the highest number of each column, the columns beginning at `first`."""
    numbered = enumerate(columns.values(), first)
    return {(row, column) for column, name in numbered for row in _best([result.row.get(name) for result in results])}


def _best(values: Sequence[Any]) -> list[int]:
    shown = [None if value is None else round(100 * value, 2) for value in values]
    highest = max(value for value in shown if value is not None)
    return [row for row, value in enumerate(shown) if value == highest]


def _short(columns: Mapping[str, str]) -> list[str]:
    return [header.removesuffix(" %") for header in columns]


def _difference(result: Result) -> str:
    if result.against is None:
        return ""
    value, low, high = (f"{100 * rate:.2f}" for rate in (result.against.difference, result.against.low, result.against.high))
    return f"{value} [{low}, {high}]"
