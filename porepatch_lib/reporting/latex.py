"""LaTeX tables with the rules of the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def latex_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    label: str,
    rules: Collection[int] = (),
    bold: Collection[tuple[int, int]] = (),
) -> str:
    r"""Return a `table*` float for `\usepackage{booktabs}`: the first column to the left, the others to the right.

    Texts are escaped, and a minus before a number is set as one.

    Args:
        headers, rows: texts of the cells.
        caption: stands above the table.
        label: for `\ref`; what a label cannot hold becomes a hyphen.
        rules: numbers of the rows above which a `\midrule` stands.
        bold: (row, column) of cells in bold.
    """
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{{re.sub(r'[^A-Za-z0-9:.-]', '-', label)}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(headers) - 1)}@{{}}}}",
        r"\toprule",
        _line([escape(header) for header in headers]),
        r"\midrule",
    ]
    for number, row in enumerate(rows):
        if number in rules:
            lines.append(r"\midrule")
        cells = [escape(cell) for cell in row]
        lines.append(_line([rf"\textbf{{{cell}}}" if (number, column) in bold else cell for column, cell in enumerate(cells)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def escape(text: str) -> str:
    """Return text as LaTeX sets it literally, in one line."""
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return _MINUS.sub("$-$", escaped)


def _line(cells: Sequence[str]) -> str:
    """Return a row; an empty group keeps LaTeX from reading its first character as an argument of the row above."""
    return ("{}" if cells[0].startswith(("[", "*")) else "") + " & ".join(cells) + r" \\"
