"""The subject sheet: who is captured, from where, and what for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from porepatch_lib.config import SCHEMAS, validate
from porepatch_lib.errors import PorePatchError

COLUMNS = ("subject", "split", "source", "path", "masks", "cameras")
# Variations of rendered subjects: whose head, whose skin, which expression. A sheet may leave these columns out.
VARIATIONS = ("identity", "skin", "expression")


def read_subjects(path: str | Path) -> pd.DataFrame:
    """Read and check the subject sheet, a tab-separated file with the columns of `COLUMNS` and maybe some of `VARIATIONS`.

    Empty cells are "". Relative paths in the sheet are relative to the current folder, as everywhere in
    Snakemake. Blank lines and lines that begin with `#` are skipped.

    Raises:
        PorePatchError: naming the sheet and the line, for unknown or missing columns, values outside
            `workflow/schemas/subjects.schema.yaml`, a name or a folder used twice, a missing path, or a person in two splits.
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
    _check_people(rows)
    return pd.DataFrame([row for _, row in rows], columns=[*COLUMNS, *VARIATIONS])


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
    return dict.fromkeys(VARIATIONS, "") | dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _check_header(header: list[str], where: str) -> None:
    columns = ", ".join(COLUMNS)
    if len(header) == 1:
        raise PorePatchError(f"{where} has one column only; separate the columns {columns} by tabs.")
    for name in header:
        if name not in COLUMNS + VARIATIONS:
            close = difflib.get_close_matches(name, COLUMNS + VARIATIONS, n=1)
            mend = f"did you mean '{close[0]}'?" if close else f"the columns are {columns}, {', '.join(VARIATIONS)}."
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
    for name in VARIATIONS:
        if row[name]:
            raise PorePatchError(f"{where}: subject '{subject}' is photographed and takes no {name}; empty that cell.")
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


def _check_people(rows: list[tuple[str, dict[str, str]]]) -> None:
    """Nobody's head or skin may serve two splits."""
    split_of: dict[str, tuple[str, str]] = {}
    for where, row in rows:
        head = row["identity"] or row["subject"]
        for person in {row["subject"], head, row["skin"] or head}:
            split, first = split_of.setdefault(person, (row["split"], where))
            if split != row["split"]:
                raise PorePatchError(
                    f"{where}: the head or skin of '{person}' is in the split '{row['split']}' here and in '{split}' on {first}; "
                    "keep one person in one split."
                )
