"""Reading patch sets in the UBC PhotoTour layout (Winder and Brown, 2007), whatever the shape and format of their sheets.

Sheets are mosaics of 64x64 cells, row-major, any whole number of rows and columns; only the last sheet may have cells to spare.
UBC has 16x16 cells in `patches0000.bmp`...; PorePatch (arXiv 2512.00381) 60 rows of any width, in nested folders. `info.txt` has
a row per patch, point id first; `interest.txt`, optional, the photograph, x, y, orientation and log2 scale of each patch;
`*m50_*.txt` pairs: patch, point, -, patch, point, -.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.progress import progress

# HyNet's loader opens this name whatever the number of pairs.
HYNET_PAIR_FILE = "m50_100000_100000_0.txt"
_PAIR_FILES = "*m50_*.txt"
_NO_IMAGES = {".txt", ".json", ".md"}
_MAX_OCTAVES = 32.0


@dataclass(frozen=True)
class Interest:
    """`interest.txt`: photograph (N,) int64; x, y (N,) float64, pixels of it; log2_scale (N,) float64, log2 of sigma in px."""

    photograph: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    log2_scale: NDArray[np.float64]


def sheet_of_cells(cells: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay out cells (R*C,S,S), row-major, as a sheet (R*S,C*S) of `columns` = C columns."""
    size = cells.shape[1]
    rows = len(cells) // columns
    return cells.reshape(rows, columns, size, size).swapaxes(1, 2).reshape(rows * size, columns * size)


def cells_of_sheet(sheet: NDArray[np.uint8], size: int = PATCH_SIZE) -> NDArray[np.uint8]:
    """Cut a sheet (R*S,C*S) into its cells (R*C,S,S), row-major; `size` = S."""
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    return sheet.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(rows * columns, size, size)


def find_sheets(folder: Path) -> list[Path]:
    """Return the sheets of a set in the order of their cells.

    They are the images patches* of the folder itself, else all images in and below it. Relative paths are sorted as text, folder
    by folder and then name (10 before 9), as the loaders of UBC and PorePatch do: their numbers have a fixed width.

    Raises:
        PorePatchError: if there is none.
    """
    paths = list_sheets(folder)
    if not paths:
        raise PorePatchError(f"The patch set {folder} has no sheets, neither patches* nor any image below it; unpack all of it.")
    return paths


def list_sheets(folder: Path) -> list[Path]:
    """Return what `find_sheets` does, an empty list where there is none."""
    own = [path for path in folder.glob("patches*") if _is_image(path, folder)]
    paths = own or [path for path in folder.rglob("*") if _is_image(path, folder)]
    return sorted(paths, key=lambda path: path.relative_to(folder).parts)


def read_cells(folder: Path, count: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read the `count` patches of a set sheet by sheet, so that one sheet is in memory at a time.

    Yields:
        The number of the first patch of the sheet, and its patches (n,64,64) uint8 without the padding of the last sheet. Colour
        and deeper images become 8-bit grey as OpenCV converts them.

    Raises:
        PorePatchError: if there is no sheet, one cannot be decoded or not cut into whole cells, or there are too few or too many.
    """
    sheets = find_sheets(folder)
    first = 0
    for path in progress(sheets, "PhotoTour sheets", "sheet", total=len(sheets)):
        if first >= count:
            raise PorePatchError(
                f"The sheet {path} comes after the {count} patches of info.txt, and only the last sheet may have cells to spare; "
                "restore the set, or take foreign images out of it."
            )
        cells = cells_of_sheet(_read_sheet(path))[: count - first]
        yield first, cells
        first += len(cells)
    if first < count:
        raise PorePatchError(
            f"The sheets of {folder}, {len(sheets)} in all, have {first} cells for the {count} patches of info.txt; "
            "restore those that are missing."
        )


def read_point_ids(folder: Path) -> NDArray[np.int64]:
    """Read the surface points (N,) int64 of the patches from `info.txt`; what follows in a row is ignored.

    Raises:
        PorePatchError: if the file is missing, or a row does not start with a whole number.
    """
    return _read_columns(folder / "info.txt", (0,), np.int64, "restore the set")[:, 0]


def read_interest(folder: Path, count: int) -> Interest | None:
    """Read `interest.txt` of a set of `count` patches, or return None where the set has none.

    Raises:
        PorePatchError: if it has another number of rows, or a row is not photograph (whole), x, y, orientation, log2 scale.
    """
    path = folder / "interest.txt"
    if not path.exists():
        return None
    mend = "restore the file, or remove it: a set may lack it"
    values = _read_columns(path, (0, 1, 2, 4), np.float64, mend)
    if len(values) != count:
        raise PorePatchError(f"{path} has {len(values)} rows for the {count} patches of info.txt; {mend}.")
    int32 = np.iinfo(np.int32)
    photograph, scale = values[:, 0], values[:, 3]
    valid = np.isfinite(values).all(axis=1) & (np.abs(scale) <= _MAX_OCTAVES)
    valid &= (photograph == np.rint(photograph)) & (photograph >= int32.min) & (photograph <= int32.max)
    if not valid.all():
        line = int(np.argmin(valid)) + 1
        raise PorePatchError(f"Row {line} of {path} is not photograph, x, y, orientation, log2 scale; {mend}.")
    return Interest(photograph.astype(np.int64), values[:, 1], values[:, 2], scale)


def find_pair_list(folder: Path, name: str | None = None) -> Path:
    """Return the named pair list of a set; without a name m50_100000_100000_0.txt, else the only file *m50_*.txt.

    Raises:
        PorePatchError: if the named list is missing, or there is none to choose, or several.
    """
    found = sorted(path.name for path in folder.glob(_PAIR_FILES))
    if name is None and HYNET_PAIR_FILE in found:
        name = HYNET_PAIR_FILE
    if name is None and len(found) == 1:
        name = found[0]
    lists = f"has the pair lists {', '.join(found)}" if found else f"has no pair list {_PAIR_FILES}"
    if name is None:
        raise PorePatchError(f"The patch set {folder} {lists}; name the one to evaluate on in the setting pairs.")
    if not (folder / name).is_file():
        raise PorePatchError(f"There is no pair list {folder / name}, and the patch set {lists}; mend the setting pairs.")
    return folder / name


def read_pair_list(path: Path, point_ids: NDArray[np.int64]) -> pd.DataFrame:
    """Read a pair list of a set with point_ids (N,): a frame with the columns of the `patch pairs` table, in the list's order.

    Raises:
        PorePatchError: if a row is not patch, point, any, patch, point; or a patch is not in the set, of another point, or paired
            with itself.
    """
    columns = _read_columns(path, (0, 1, 3, 4), np.int64, "restore the set")
    rows, points = columns[:, [0, 2]], columns[:, [1, 3]]
    outside = ((rows < 0) | (rows >= len(point_ids))).any(axis=1)
    if outside.any():
        pair = int(np.argmax(outside))
        raise PorePatchError(
            f"Pair {pair + 1} of {path} names the patches {rows[pair, 0]} and {rows[pair, 1]} of a set of {len(point_ids)}; "
            "restore the set, or name a pair list of its own."
        )
    other = (point_ids[rows] != points).any(axis=1)
    if other.any():
        raise PorePatchError(
            f"Pair {int(np.argmax(other)) + 1} of {path} does not agree with info.txt beside it on the surface points; "
            "restore the set, or name a pair list of its own."
        )
    alone = rows[:, 0] == rows[:, 1]
    if alone.any():
        raise PorePatchError(
            f"Pair {int(np.argmax(alone)) + 1} of {path} is a patch with itself; restore the set, or name a pair list of its own."
        )
    return pd.DataFrame({"patch_1": rows[:, 0], "patch_2": rows[:, 1], "is_match": points[:, 0] == points[:, 1]})


def _is_image(path: Path, folder: Path) -> bool:
    # What archives of other systems leave behind bears the names of true sheets.
    foreign = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    return not foreign and path.suffix.lower() not in _NO_IMAGES and path.is_file() and cv2.haveImageReader(str(path))


def _read_sheet(path: Path) -> NDArray[np.uint8]:
    try:
        sheet = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        sheet = None
    if sheet is None:
        raise PorePatchError(f"The sheet {path} cannot be decoded; restore it from the archive of the set.")
    height, width = sheet.shape
    if height % PATCH_SIZE or width % PATCH_SIZE:
        raise PorePatchError(
            f"The sheet {path} is {width}x{height} pixels, not whole cells of {PATCH_SIZE}x{PATCH_SIZE}; restore it, or take it "
            "out if it is no sheet."
        )
    return np.asarray(sheet, np.uint8)


def _read_columns(path: Path, columns: tuple[int, ...], dtype: DTypeLike, mend: str) -> NDArray[Any]:
    """Read numbers from some columns of a text table whose rows may go on with text; (rows, columns)."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            return np.loadtxt(stream, dtype=dtype, comments=None, usecols=columns, ndmin=2).reshape(-1, len(columns))
    except (OSError, ValueError) as error:
        raise PorePatchError(f"Cannot read {path} ({str(error).rstrip('.')}); {mend}.") from error
