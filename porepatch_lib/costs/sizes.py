"""How large the captures of a subject are: read where they are there already, else expected from the configuration.

A dry run, and a group of jobs that is submitted as one, ask before the files exist; nothing here fails on a missing
or damaged one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from porepatch_lib.captures.headers import read_header
from porepatch_lib.costs.work import PATCH_BYTES, Size
from porepatch_lib.errors import PorePatchError
from porepatch_lib.rendering.presets import render_settings

NERSEMBLE_VIEWS, NERSEMBLE_SIZE = 16, (2200, 3208)  # of photographs nobody has looked at too
_HEADER_BYTES = 1 << 21
_CACHED = 1 << 12


def capture_sizes(images: Path, expected: tuple[Size, ...]) -> tuple[Size, ...]:
    """Return the sizes of the views of an images table; `expected` while there is none."""
    try:
        return _table_sizes(images, images.stat().st_mtime_ns)
    except (OSError, pa.ArrowException):
        return expected


def expected_sizes(source: str, path: str, config: Mapping[str, Any]) -> tuple[Size, ...]:
    """Return the sizes of the views that a subject of the sheet is expected to give, by its `source` and its `path` there."""
    if source == "rendered":
        settings = render_settings(config["rendering"])
        return ((settings.width, settings.height),) * settings.views
    if source == "nersemble":
        return (NERSEMBLE_SIZE,) * (len(config["nersemble"]["cameras"]) or NERSEMBLE_VIEWS)
    return _folder_sizes(Path(path))


def row_count(table: str | Path, expected: int) -> int:
    """Return the rows of a Parquet file; `expected` while there is none."""
    try:
        return int(pq.read_metadata(table).num_rows)
    except (OSError, pa.ArrowException):
        return expected


def patch_count(store: str | Path, expected: int) -> int:
    """Return the patches of a store `.npy` (N,64,64) uint8, or the rows of its index; `expected` while there is none."""
    if Path(store).suffix == ".parquet":
        return row_count(store, expected)
    return file_bytes(store, expected * PATCH_BYTES) // PATCH_BYTES


def file_bytes(path: str | Path, expected: int = 0) -> int:
    """Return the bytes of a file; `expected` while there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return expected


@lru_cache(maxsize=_CACHED)
def _table_sizes(images: Path, _mtime_ns: int) -> tuple[Size, ...]:
    columns = pq.read_table(images, columns=["width", "height"])
    return tuple((int(row["width"]), int(row["height"])) for row in columns.to_pylist())


@lru_cache(maxsize=_CACHED)
def _folder_sizes(folder: Path) -> tuple[Size, ...]:
    """As many as a folder of photographs has files, all of the size of the one with the most bytes."""
    try:
        place = folder / "images" if (folder / "images").is_dir() else folder
        files = [path for path in place.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError:
        files = []
    largest = max(files, key=file_bytes, default=None)
    return (NERSEMBLE_SIZE if largest is None else _photograph_size(largest),) * (len(files) or NERSEMBLE_VIEWS)


def _photograph_size(path: Path) -> Size:
    try:
        with path.open("rb") as stream:
            return read_header(stream.read(_HEADER_BYTES), path).size
    except (OSError, PorePatchError):  # camera raw, or a directory at the end of the file
        return NERSEMBLE_SIZE
