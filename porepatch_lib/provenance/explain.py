"""`python -m porepatch_lib explain FILE`: where a file of the results comes from, for people."""

from __future__ import annotations

from pathlib import Path

import yaml

from porepatch_lib.errors import PorePatchError
from porepatch_lib.provenance.fingerprints import digest_of, look_at
from porepatch_lib.provenance.records import DONE, FileRecord, Record, read_record

_DIGITS = 12  # of a SHA-256, enough to tell files apart by eye


def find_record(path: Path) -> tuple[Path, Record]:
    """Return the folder of the results and the record of a file in it, or of the folder around it that a rule wrote as a whole.

    Raises:
        PorePatchError: if there is none.
    """
    path = path.absolute()
    # The folder of the results is any of those above; what was written as one may be a folder around the file.
    for inside in (path, *path.parents):
        for results in inside.parents:
            record = read_record(results, inside)
            if record is not None:
                return results, record
    raise PorePatchError(
        f"Nothing is recorded of {path}: give a file that a run wrote below its results folder, or run its stage again."
    )


def explain(path: Path) -> str:
    """Return the record of a file as text: code, configuration, inputs and whether they changed since, device, time and memory.

    Raises:
        PorePatchError: if nothing is recorded of it.
    """
    results, record = find_record(path)
    rows = [
        ("made by", _maker(record)),
        ("when", f"{record.started}, {_effort(record)}"),
        ("device", f"{record.device}, {record.threads} thread(s)"),
        ("log", record.log),
        ("code", _code(record)),
        ("libraries", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("seed", "nothing is drawn" if record.seed is None else str(record.seed)),
    ]
    if record.outcome != DONE:
        rows.insert(0, (record.outcome.upper(), record.error or "now, or killed"))
    lines = [str(path), *(f"  {name:<10} {text}" for name, text in rows)]
    lines += ["  files", *(f"    {_file(results, one)}" for one in record.outputs)]
    lines += ["  inputs", *(f"    {_file(results, one)}{_origin(results, one)}" for one in record.inputs)]
    settings = yaml.safe_dump(record.settings, sort_keys=True, allow_unicode=True)
    lines += ["  settings", *(f"    {line}" for line in settings.splitlines())]
    return "\n".join(lines)


def _maker(record: Record) -> str:
    wildcards = ", ".join(f"{name} {value}" for name, value in record.wildcards.items())
    return f"rule {record.rule}" + (f" for {wildcards}" if wildcards else "")


def _effort(record: Record) -> str:
    return (
        f"{record.seconds:.1f} s ({record.starting_seconds:.1f} s of it to start), "
        f"{record.peak_memory_mb:.0f} MB at most (of {record.memory_mb} MB asked for)"
    )


def _code(record: Record) -> str:
    commit = str(record.code.get("commit", ""))[:_DIGITS]
    state = " with changes" if record.code.get("modified") else ""
    checkout = f", commit {commit}{state}" if commit else ""
    return f"PorePatch {record.code['porepatch']}{checkout}, sources {str(record.code['sources'])[:_DIGITS]}"


def _file(results: Path, one: FileRecord) -> str:
    digest = f"SHA-256 {one.sha256[:_DIGITS]}" if one.sha256 else f"{one.look.files:,} files, not read for a SHA-256"
    return f"{one.name}: {one.path}, {digest}, {one.look.bytes:,} bytes{_change(results / one.path, one)}"


def _change(path: Path, one: FileRecord) -> str:
    if not path.exists():
        return "; NOT HERE any more"
    unchanged = look_at(path) == one.look or (one.sha256 and digest_of(path) == one.sha256)
    return "" if unchanged else "; CHANGED since"


def _origin(results: Path, one: FileRecord) -> str:
    try:
        return f" <- {_maker(find_record(results / one.path)[1])}"
    except PorePatchError:
        return ""
