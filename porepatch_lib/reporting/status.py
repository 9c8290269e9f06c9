"""Where a run stands, from its files alone: what is done of every stage and round, how fast, how long still, and what failed."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porepatch_lib.files import read_json
from porepatch_lib.provenance.records import DONE, FAILED, RUNNING, Record, read_record, recorded
from porepatch_lib.reporting.markdown import markdown_table

_RECENT = 50  # jobs that tell the present pace
_HEADERS = ["stage", "round", "done", "running", "failed", "seconds each", "MB at most", "rate", "work left"]


@dataclass(frozen=True)
class Planned:
    """Files that a stage is to write, one per job; `round` is "" outside the rounds; `unit` is a row of its arrays."""

    stage: str
    round: str
    unit: str
    files: Sequence[str]


@dataclass(frozen=True)
class Standing:
    """Where one stage of one round stands: `done` jobs, the records of those, and of running (or killed) and failed ones by file.

    `per_second` is in units of the stage, over all its jobs once they had started; 0 where it is not known.
    """

    planned: Planned
    done: int
    records: Sequence[Record]
    open: Mapping[str, Record]
    per_second: float

    @property
    def left(self) -> int:
        return len(self.planned.files) - self.done


def status_page(results: Path, planned: Iterable[Planned], reconstructions: Mapping[str, Sequence[str]]) -> str:
    """Return the table of stages and rounds, what failed, and the time left, as text.

    Args:
        results: folder of the run.
        planned: what every stage is to write, in order.
        reconstructions: per round the folders of structure from motion, whose `status.json` tells subjects that failed.
    """
    standings = [standing_of(results, one) for one in planned]
    each = mean_seconds(standings)
    table = markdown_table(_HEADERS, [_row(one, each.get(one.planned.stage)) for one in standings])
    lines = [f"{results}", "", table, *_closing(standings, each)]
    lost = [line for round_, folders in reconstructions.items() for line in _lost_subjects(round_, folders)]
    running = [line for one in standings for line in _jobs(one, RUNNING)]
    broken = [line for one in standings for line in _jobs(one, FAILED)]
    broken += _failed_elsewhere(results, {record.log for one in standings for record in one.open.values()})
    if running:
        lines += ["", "At work (or killed), with the last line of the log:", *running]
    if lost:
        lines += ["", "Subjects that could not be reconstructed; they are rows of the tables, with their reason:", *lost]
    if broken:
        lines += ["", "Jobs that failed; the next `snakemake` tries them again:", *broken]
    return "\n".join(lines)


def standing_of(results: Path, planned: Planned) -> Standing:
    """Look at the files of one stage and at their records."""
    records, still_open, done, rows = [], {}, 0, 0.0
    for name in planned.files:
        path = Path(name)
        record = read_record(results, path)
        if record and record.outcome != DONE:
            still_open[name] = record
        elif path.exists():
            done += 1
            if record:
                records.append(record)
                rows += _rows(path)
    seconds = sum(record.seconds - record.starting_seconds for record in records)
    return Standing(planned, done, records, still_open, rows / seconds if seconds else 0.0)


def mean_seconds(standings: Iterable[Standing]) -> dict[str, float]:
    """Return the mean seconds of a job of every stage of which any has finished, over all rounds."""
    seconds: dict[str, list[float]] = {}
    for one in standings:
        seconds.setdefault(one.planned.stage, []).extend(record.seconds for record in one.records)
    return {stage: float(np.mean(found)) for stage, found in seconds.items() if found}


def pace(records: Iterable[Record]) -> float:
    """Return how many jobs ran at once, over the last that finished: their seconds together per second of time, at least 1."""
    spans = sorted((record.span for record in records), key=lambda span: span[::-1])[-_RECENT:]
    if not spans:
        return 1.0
    busy = sum(ended - began for began, ended in spans)
    return max(busy / max(spans[-1][1] - min(began for began, _ in spans), 1e-9), 1.0)


def duration(seconds: float) -> str:
    """Return seconds for people: 45 s, 12 min, 3.5 h, 2.1 days."""
    for unit, length, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def _row(one: Standing, each: float | None) -> list[str]:
    """One stage of one round; `each` is the mean seconds of its jobs, None where none has finished."""
    seconds = sum(record.seconds for record in one.records)
    left = "" if one.left == 0 else "?" if each is None else duration(one.left * each)
    return [
        one.planned.stage,
        one.planned.round,
        f"{one.done} / {len(one.planned.files)}",
        *(str(sum(record.outcome == outcome for record in one.open.values()) or "") for outcome in (RUNNING, FAILED)),
        f"{seconds / len(one.records):.1f}" if one.records else "",
        f"{max(record.peak_memory_mb for record in one.records):.0f}" if one.records else "",
        f"{one.per_second:,.0f} {one.planned.unit}/s" if one.per_second else "",
        left,
    ]


def _closing(standings: Sequence[Standing], each: Mapping[str, float]) -> list[str]:
    done, total = sum(one.done for one in standings), sum(len(one.planned.files) for one in standings)
    lines = [f"{done} of {total} jobs of these stages done ({100 * done / max(total, 1):.0f} %)."]
    records = [record for one in standings for record in one.records]
    if done < total and records:
        known = sum(one.left * each.get(one.planned.stage, 0.0) for one in standings)
        unknown = sum(one.left for one in standings if one.planned.stage not in each)
        at_once = pace(records)
        last = datetime.datetime.fromtimestamp(max(record.span[1] for record in records)).astimezone()
        lines.append(
            f"About {duration(known / at_once)} left with {at_once:.1f} jobs at once as of late"
            + (f", and {unknown} jobs of stages of which none has finished" if unknown else "")
            + f"; the last job ended {last:%Y-%m-%d %H:%M}."
        )
    return lines


def _lost_subjects(round_: str, folders: Sequence[str]) -> list[str]:
    states: list[dict[str, Any]] = [
        read_json(Path(folder) / "status.json") for folder in folders if (Path(folder) / "status.json").is_file()
    ]
    return [f"  round {round_}  {state['subject']}: {state['reason']}" for state in states if state["status"] == "failed"]


def _jobs(one: Standing, outcome: str) -> list[str]:
    where = f" of round {one.planned.round}" if one.planned.round else ""
    found = {name: record for name, record in one.open.items() if record.outcome == outcome}
    return [f"  {one.planned.stage}{where}  {name}: {record.error or _last_line(record)}" for name, record in found.items()]


def _failed_elsewhere(results: Path, told: Collection[str]) -> list[str]:
    """Failed jobs of stages that the table does not list, once each; `told`: the logs of those it does."""
    jobs = {record.log: (output, record) for output, record in recorded(results) if record.outcome == FAILED}
    return [f"  {record.rule}  {output}: {record.error}" for log, (output, record) in jobs.items() if log not in told]


def _last_line(record: Record) -> str:
    log = Path(record.log)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), f"since {record.started}")


def _rows(path: Path) -> float:
    """Rows of an array file, patches that went through a training; 0 for any other file."""
    if path.suffix == ".npy":
        return len(np.load(path, mmap_mode="r", allow_pickle=False))
    card = path.with_suffix(".json")
    if path.suffix == ".safetensors" and card.is_file():
        trained: dict[str, Any] = read_json(card)
        return 2 * trained["points_per_batch"] * trained["steps"]
    return 0
