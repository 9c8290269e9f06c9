"""Markdown tables that are also readable as plain text in a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table: the first column to the left, the others to the right; `|` in cells is escaped."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (headers, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(headers))]
    rule = [_rule(width, column) for column, width in enumerate(widths)]
    return "\n".join(_line(row, widths) for row in (cells[0], rule, *cells[1:])) + "\n"


def percent(rate: float | None, decimals: int = 2) -> str:
    """Return a rate 0..1 in percent without the sign, "-" for None."""
    return number(None if rate is None else 100.0 * rate, decimals)


def number(value: float | None, decimals: int = 0) -> str:
    """Return a number with thousands separated by commas, "-" for None."""
    return "-" if value is None else f"{value:,.{decimals}f}"


def _rule(width: int, column: int) -> str:
    return "-" * width if column == 0 else "-" * (width - 1) + ":"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return f"| {' | '.join(aligned)} |"
