"""The subject sheet: who is captured, from where, and what for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from porepatch_lib.config import SCHEMAS, validate
from porepatch_lib.errors import PorePatchError

COLUMNS = ("subject", "split", "source", "path", "masks", "cameras")


def read_subjects(path: str | Path) -> pd.DataFrame:
    """Read and check the subject sheet, a tab-separated file with the columns of `COLUMNS`.

    Empty cells are "". Relative paths in the sheet are relative to the current folder, as everywhere in
    Snakemake. Blank lines and lines that begin with `#` are skipped.

    Raises:
        PorePatchError: naming the sheet and the line, for unknown or missing columns, values outside
            `workflow/schemas/subjects.schema.yaml`, a name or a folder used twice, or a missing path.
    """
    sheet = Path(path)
    lines = list(_lines(sheet))
    if len(lines) < 2:
        raise PorePatchError(f"The subject sheet {sheet} lists no subject; add one line per subject below its header.")
    (header_line, header), *body = lines
    _check_header(header, f"{sheet}, line {header_line}")
    rows = [(f"{sheet}, line {number}", _row(cells, header, f"{sheet}, line {number}")) for number, cells in body]
    for where, row in rows:
        validate(row, SCHEMAS / "subjects.schema.yaml", where, "column")
        _check_paths(row, where)
    _check_unique(rows)
    return pd.DataFrame([row for _, row in rows], columns=list(COLUMNS))


def _lines(sheet: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and stripped cells of every line that says something."""
    try:
        text = sheet.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PorePatchError(f"The subject sheet {sheet} does not exist; correct `subjects` in the config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PorePatchError(f"Cannot read the subject sheet {sheet} ({error}); save it as UTF-8 text.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.split("\t")]
        if any(cells) and not cells[0].startswith("#"):
            yield number, cells


def _row(cells: list[str], header: list[str], where: str) -> dict[str, str]:
    """Name the cells; editors drop trailing tabs, so a short line is filled up."""
    if len(cells) > len(header):
        raise PorePatchError(f"{where} has {len(cells)} cells under {len(header)} columns; remove the extra tabs.")
    return dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _check_header(header: list[str], where: str) -> None:
    columns = ", ".join(COLUMNS)
    if len(header) == 1:
        raise PorePatchError(f"{where} has one column only; separate the columns {columns} by tabs.")
    for name in header:
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, n=1)
            mend = f"did you mean '{close[0]}'?" if close else f"the columns are {columns}."
            raise PorePatchError(f"{where}: unknown column '{name}'; {mend}")
        if header.count(name) > 1:
            raise PorePatchError(f"{where} names the column '{name}' twice; keep one.")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise PorePatchError(f"{where}: the column '{missing[0]}' is missing; add it (the columns are {columns}).")


def _check_paths(row: dict[str, str], where: str) -> None:
    subject = row["subject"]
    if row["source"] == "rendered":
        given = [name for name in ("path", "masks", "cameras") if row[name]]
        if given:
            raise PorePatchError(f"{where}: subject '{subject}' is rendered and takes no {given[0]}; empty that cell.")
        return
    if not row["path"]:
        raise PorePatchError(f"{where}: subject '{subject}' has no path; name the folder of its photographs.")
    for name in ("path", "masks"):
        if row[name] and not Path(row[name]).is_dir():
            raise PorePatchError(f"{where}: the {name} folder {row[name]} of subject '{subject}' does not exist; correct it.")
    if row["cameras"] and not Path(row["cameras"]).exists():
        raise PorePatchError(f"{where}: the cameras {row['cameras']} of subject '{subject}' do not exist; correct the path.")


def _check_unique(rows: list[tuple[str, dict[str, str]]]) -> None:
    names: dict[str, str] = {}
    folders: dict[Path, str] = {}
    for where, row in rows:
        # Two names that differ only in case are one folder on some file systems.
        name = row["subject"].casefold()
        if name in names:
            raise PorePatchError(f"{where}: the subject '{row['subject']}' is already on {names[name]}; rename one of them.")
        names[name] = where
        if row["path"]:
            folder = Path(row["path"]).resolve()
            if folder in folders:
                raise PorePatchError(f"{where}: the folder {row['path']} is already on {folders[folder]}; remove one of them.")
            folders[folder] = where
