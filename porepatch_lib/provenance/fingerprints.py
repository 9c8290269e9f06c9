"""What a file or folder holds, by content (SHA-256) and by a quick look (files, bytes, time of the last change)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from porepatch_lib.files import sha256_of

_NOT_CONTENT = ".snakemake_timestamp"  # Snakemake's own mark in folders that a rule writes


@dataclass(frozen=True)
class Look:
    """A quick look at a file or folder: number of files, bytes in all, latest time of change in nanoseconds."""

    files: int
    bytes: int
    changed_ns: int


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or every file of a folder, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != _NOT_CONTENT)


def look_at(path: Path) -> Look:
    """Look at a file or folder.

    Raises:
        FileNotFoundError: if it is not there.
    """
    states = [file.stat() for file in files_of(path)]
    return Look(len(states), sum(state.st_size for state in states), max((state.st_mtime_ns for state in states), default=0))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder that of its files' relative names and digests, in order.

    Raises:
        FileNotFoundError: if it is not there.
    """
    if not path.is_dir():
        return sha256_of(path)
    lines = [f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files_of(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
