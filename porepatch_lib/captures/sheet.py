"""The subject sheet: who is captured, from where, and what for."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from porepatch_lib.config import SCHEMAS, suggestion, validate
from porepatch_lib.errors import PorePatchError

COLUMNS = ("subject", "split", "source", "path", "masks", "cameras")
# Variations of rendered subjects: whose head, whose skin, which expression. A sheet may leave these columns out.
VARIATIONS = ("identity", "skin", "expression")
# What a subject agreed to, under which licence its photographs stand, and whether patches of it may leave the house
# ("true", "false", or empty, which is true). A sheet may leave these columns out too.
CARE = ("consent", "licence", "release")
# In the `masks` column: the masks are made from the photographs. A folder of that name is given as ./auto.
MADE_MASKS = "auto"

_OPTIONAL = (*VARIATIONS, *CARE)
# What a source is called in messages, and the columns that mean nothing to it.
_SOURCES = {
    "rendered": ("is rendered", ("path", "masks", "cameras")),
    "photographs": ("is photographed", VARIATIONS),
    "nersemble": ("is from NeRSemble", ("cameras", *VARIATIONS)),
    "eth": ("is an ETH dataset", ("cameras", *VARIATIONS)),
}
# What may mend a path; beside `masks`, which may be made.
_MENDS = {"masks": f"correct it, or write {MADE_MASKS} to have masks made"}


def read_subjects(path: str | Path | None) -> pd.DataFrame:
    """Read and check the subject sheet, a tab-separated file: the columns of `COLUMNS`, maybe some of `VARIATIONS` and `CARE`.

    Empty cells and columns that were left out are "". Relative paths in the sheet are relative to the current folder, as
    everywhere in Snakemake. Blank lines and lines that begin with `#` are skipped. Without a sheet there are no subjects.

    Raises:
        PorePatchError: naming the sheet and the line, for unknown or missing columns, values outside
            `workflow/schemas/subjects.schema.yaml`, a name or a folder used twice, a path that cannot be read, a person in
            two splits, or a person held back in one row and worn in another.
    """
    if path is None:
        return pd.DataFrame(columns=[*COLUMNS, *_OPTIONAL], dtype=str)
    sheet = Path(path)
    lines = list(_lines(sheet))
    if len(lines) < 2:
        raise PorePatchError(f"The subject sheet {sheet} lists no subject; add one line per subject below its header.")
    (header_line, header), *body = lines
    _check_header(header, f"{sheet}, line {header_line}")
    rows = [(f"{sheet}, line {number}", _row(cells, header, f"{sheet}, line {number}")) for number, cells in body]
    for where, row in rows:
        validate(row, SCHEMAS / "subjects.schema.yaml", where, "column")
        _check_source(row, where)
    _check_unique(rows)
    _check_people(rows)
    _check_release(rows)
    return pd.DataFrame([row for _, row in rows], columns=[*COLUMNS, *_OPTIONAL])


def released(row: Mapping[Any, str]) -> bool:
    """Whether patches of the subject of a row may be exported."""
    return row["release"] != "false"


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
    row = dict.fromkeys(_OPTIONAL, "") | dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
    return row | {"release": row["release"].lower()}  # spreadsheets write TRUE and FALSE


def _check_header(header: list[str], where: str) -> None:
    columns = ", ".join(COLUMNS)
    if len(header) == 1:
        raise PorePatchError(f"{where} has one column only; separate the columns {columns} by tabs.")
    for name in header:
        if name not in COLUMNS + _OPTIONAL:
            mend = suggestion(name, COLUMNS + _OPTIONAL) or f"; the columns are {columns}, {', '.join(_OPTIONAL)}."
            raise PorePatchError(f"{where}: unknown column '{name}'{mend}")
        if header.count(name) > 1:
            raise PorePatchError(f"{where} names the column '{name}' twice; keep one.")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise PorePatchError(f"{where}: the column '{missing[0]}' is missing; add it (the columns are {columns}).")


def _check_source(row: dict[str, str], where: str) -> None:
    subject = row["subject"]
    what, refused = _SOURCES[row["source"]]
    for name in refused:
        if row[name]:
            raise PorePatchError(f"{where}: subject '{subject}' {what} and takes no {name}; empty that cell.")
    if row["source"] == "rendered":
        return
    if not row["path"]:
        raise PorePatchError(f"{where}: subject '{subject}' has no path; name the folder of its photographs.")
    for name, kind in (("path", "folder"), ("masks", "folder"), ("cameras", "path")):
        made = name == "masks" and row[name] == MADE_MASKS
        trouble = _trouble(Path(row[name]), kind == "folder") if row[name] and not made else ""
        if trouble:
            mend = _MENDS.get(name, "correct it")
            raise PorePatchError(f"{where}: the {name} {kind} {row[name]} of subject '{subject}' {trouble}; {mend}.")


def _trouble(path: Path, folder_only: bool) -> str:
    """Return what keeps a file or folder from being read, as the end of a sentence; "" for nothing."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)
            return ""
        if folder_only or not stat.S_ISREG(mode):
            return "is no folder" if folder_only else "is neither a file nor a folder"
        path.open("rb").close()
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as error:  # links in a circle, missing rights, names too long or with a null character
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    return ""


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


def _check_release(rows: list[tuple[str, dict[str, str]]]) -> None:
    """Nobody who is held back may leave the house as the head or skin of another row."""
    held_back = {row["subject"]: where for where, row in rows if not released(row)}
    for where, row in rows:
        for person in filter(held_back.__contains__, (row["identity"], row["skin"])):
            if released(row):
                raise PorePatchError(
                    f"{where}: subject '{row['subject']}' wears the head or skin of '{person}', whose release is false on "
                    f"{held_back[person]}; write false here too."
                )
