"""One record per output of a job, at `<results>/provenance/<output>.json`: from what, by what, where and how long."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porepatch_lib.files import read_json, write_json
from porepatch_lib.provenance.fingerprints import Look, digest_of, look_at

FOLDER = "provenance"
RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class FileRecord:
    """One file or folder that a job read or wrote: its name among the job's, a look at it, and its SHA-256 ("": not taken).

    `path` is relative to the results for what lies in them, so that they may be moved.
    """

    name: str
    path: str
    sha256: str
    look: Look


@dataclass(frozen=True)
class Record:
    """What is known of one job.

    `settings`: the slice of the configuration it was given, its stage version as `version`. `seed`: None where nothing is drawn.
    `code`: see `code_version`. `versions`: of the libraries it used. `device`: "cpu", or the GPU by kind
    and, where it is known, name ("cuda: NVIDIA H200", "cuda", "mps").
    `started`: when its process began, UTC, ISO 8601. `seconds`: from then on; `starting_seconds` of them went into the
    interpreter and imports. `peak_memory_mb`: of the process, or its largest child.
    `outcome`: "running" (or killed), "done", or "failed" with its sentence in `error`. `log`: its log file.
    """

    rule: str
    wildcards: dict[str, str]
    outcome: str
    error: str
    log: str
    settings: dict[str, Any]
    seed: int | None
    inputs: list[FileRecord]
    outputs: list[FileRecord]
    code: dict[str, Any]
    versions: dict[str, str]
    device: str
    threads: int
    memory_mb: int
    started: str
    starting_seconds: float
    seconds: float
    peak_memory_mb: float

    @property
    def span(self) -> tuple[float, float]:
        """When its process began and when this was written, in seconds since 1970."""
        began = datetime.datetime.fromisoformat(self.started).timestamp()
        return began, began + self.seconds


def record_path(results: Path, output: Path) -> Path | None:
    """Return where the record of an output lies; None for a file outside the results."""
    relative = _inside(results, output)
    return None if relative is None else results / FOLDER / relative.parent / f"{relative.name}.json"


def write_records(results: Path, outputs: Iterable[Path], record: Record) -> None:
    """Write the record beside the results, once per output."""
    document = dataclasses.asdict(record)
    for output in outputs:
        path = record_path(results, output)
        if path is not None:
            write_json(path, document)


def read_record(results: Path, output: Path) -> Record | None:
    """Return the record of an output; None where there is none, or one that is damaged or of another version of PorePatch."""
    path = record_path(results, output)
    if path is None or not path.is_file():
        return None
    try:
        document: dict[str, Any] = read_json(path)
        files = {key: [_file_record(entry) for entry in document[key]] for key in ("inputs", "outputs")}
        return Record(**(document | files))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def recorded(results: Path) -> Iterator[tuple[Path, Record]]:
    """Yield every output that has a record, with the record."""
    folder = results / FOLDER
    for path in sorted(folder.rglob("*.json")):
        output = results / path.relative_to(folder).with_suffix("")
        if (record := read_record(results, output)) is not None:
            yield output, record


def describe_files(results: Path, files: Iterable[tuple[str, Path]]) -> list[FileRecord]:
    """Return the records of named files that are there.

    The digest of a file that an earlier job wrote, and that looks untouched since, is taken from that job's record. Folders that
    no job wrote are the user's, may hold much that nobody reads, and get none.
    """
    return [_look_into(results, name, path) for name, path in files if path.exists()]


def utc(timestamp: float) -> str:
    """Return seconds since 1970 as UTC, ISO 8601."""
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).isoformat(timespec="milliseconds")


def _inside(results: Path, path: Path) -> Path | None:
    """The path relative to the results; None for one outside."""
    absolute, folder = path.absolute(), results.absolute()
    return absolute.relative_to(folder) if absolute.is_relative_to(folder) else None


def _look_into(results: Path, name: str, path: Path) -> FileRecord:
    relative, look = _inside(results, path), look_at(path)
    if relative is None:
        return FileRecord(name, str(path.absolute()), "" if path.is_dir() else digest_of(path), look)
    record = read_record(results, path)
    known = [one.sha256 for one in record.outputs if one.path == str(relative) and one.look == look] if record else []
    return FileRecord(name, str(relative), known[0] if known else digest_of(path), look)


def _file_record(entry: Mapping[str, Any]) -> FileRecord:
    return FileRecord(entry["name"], entry["path"], entry["sha256"], Look(**entry["look"]))
