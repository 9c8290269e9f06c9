"""The tables of reconstruction for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from porepatch_lib.reconstruction.columns import ETH, Column
from porepatch_lib.reporting.latex import latex_table
from porepatch_lib.reporting.markdown import number
from porepatch_lib.reporting.reconstruction_page import TITLES, TRUTHS, short_title, views_of, with_spread
from porepatch_lib.reporting.reconstruction_results import Result, best_rows, by_subject, known_columns, labels_of

_MOST_ROWS = 40  # that fit on a page
_HEADERS = {  # of the protocol; ten columns fit on a page only so
    "registered": "Reg.",
    "sparse_points": "Sparse",
    "observations": "Obs.",
    "track_length": "Track",
    "observations_per_image": "Obs./image",
    "reprojection_error_px": "Error px",
    "dense_points": "Dense",
    "inlier_pairs": "Pairs",
    "inlier_matches": "Matches",
}
_SHORTER = {"Accuracy": "Acc.", "Completeness": "Comp.", " mm %": ""}
_PROTOCOL = (
    "Reconstruction by the ETH protocol{}. Images, registered images, sparse points, observations, mean track length, "
    "observations per image, reprojection error, dense points, pairs of images with inliers, and inlier matches."
)
_SHARES = " Accuracy, completeness and F in %, at so many mm."
_SPREAD = " Medians over the seeds, ± how far they go from it where they differ; the best of a subject in bold."


def reconstruction_latex(results: Sequence[Result]) -> str:
    r"""Return booktabs tables as those of the ETH benchmark: rows by subject, the best number of a subject and column bold.

    First the protocol, then cameras, sparse and dense points against truth, as far as known. A table of more rows than a page
    holds goes on in another, from subject to subject.
    """
    kinds: list[tuple[str, str, Sequence[Column]]] = [("", _PROTOCOL, ETH)]
    for word, columns in TRUTHS.items():
        kinds.append((word, TITLES[word] + "{}." + (_SHARES if word != "Cameras" else ""), known_columns(results, columns)))
    tables = []
    for word, caption, columns in kinds:
        chosen = {name: members for name, members in by_subject(results).items() if known_columns(members, columns)}
        for page, subjects in enumerate(_pages(chosen), 1):
            label = "-".join(filter(None, ("tab:reconstruction", word.lower(), str(page) if page > 1 else "")))
            title = caption.format(", continued" if page > 1 else "") + _SPREAD
            tables.append(_table(subjects, columns, word, title, label))
    return "\n".join(["% needs \\usepackage{booktabs}", *tables])


def _table(subjects: Mapping[str, Sequence[Result]], columns: Sequence[Column], word: str, caption: str, label: str) -> str:
    rows: list[list[str]] = []
    rules, bold = set(), set()
    for subject, members in subjects.items():
        rules |= {len(rows)} - {0}
        bold.add((len(rows), 0))
        rows.append([f"{subject} ({number(views_of(members))} views)", *("" for _ in columns)])
        bold |= {(len(rows) + row, place) for place, column in enumerate(columns, 1) for row in best_rows(members, column)}
        named = zip(labels_of(members), members, strict=True)
        rows += [[name, *(with_spread(one, column) for column in columns)] for name, one in named]
    return _lowered(
        latex_table(["Descriptor", *(_header(column, word) for column in columns)], rows, caption, label, rules, bold)
    )


def _header(column: Column, word: str) -> str:
    header = _HEADERS.get(column.name, short_title(column, word))
    for long, short in _SHORTER.items():
        header = header.replace(long, short)
    return header


def _lowered(table: str) -> str:
    r"""Return a table with spreads as small indices, so that ten columns fit on a page."""
    small = re.sub(r" ±([\d.,]+)", lambda spread: rf"$_{{\pm {spread[1].replace(',', '{,}')}}}$", table)
    return small.replace("±", r"$\pm$")


def _pages(subjects: Mapping[str, Sequence[Result]]) -> Iterator[dict[str, Sequence[Result]]]:
    """Yield subjects in groups of few enough rows; a subject is never parted."""
    page: dict[str, Sequence[Result]] = {}
    for subject, members in subjects.items():
        if page and sum(len(own) + 1 for own in (*page.values(), members)) > _MOST_ROWS:
            yield page
            page = {}
        page[subject] = members
    if page:
        yield page
