"""Time the plan of the workflow and what it adds to the stages; print what every stage costs.

bench_plan.py                   a dry run of 266 subjects x 16 photographs x 4 rounds; a run that has nothing to do
bench_plan.py --results FOLDER  also: the share of a finished run's wall time during which no stage was at work
bench_plan.py --costs           the table of costs, and what it says of the scale of the paper
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from timing import Row, table

from porepatch_lib.costs.cost import TIME_FACTOR, TIME_SPARE_SECONDS, expected_cpu_seconds, expected_megabytes, expected_seconds
from porepatch_lib.costs.table import COSTS
from porepatch_lib.costs.work import Person, work_of
from porepatch_lib.files import write_json
from porepatch_lib.provenance.records import Record, recorded

_PROJECT = Path(__file__).resolve().parents[2]
_SPLITS = {"train": 200, "validation": 26, "verification": 20, "reconstruction": 20}
_ROUNDS, _VIEWS, _THREADS = 4, 16, 8
_PERSON = Person(((2200, 3208),) * _VIEWS, _VIEWS * 10_000)
_STEPS, _BATCH = 50_000, 2048  # config/paper.yaml; two patches of every point

Interval = tuple[float, float]


def main() -> None:
    arguments = _arguments()
    rows = _costs() if arguments.costs else [*_plan(), *(_overhead(arguments.results) if arguments.results else [])]
    print(table(rows))
    if arguments.output:
        write_json(arguments.output, {"plan": rows})


def covered(intervals: Iterable[Interval]) -> float:
    """Return the length of the union of intervals (start, end)."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(intervals):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


def at_work(record: Record) -> Interval:
    """Return when a job was at work, in seconds since 1970: from after the imports to the end."""
    began, ended = record.span
    return began + record.starting_seconds, ended


def _overhead(results: Path) -> list[Row]:
    """Every job has one record per output; jobs of an earlier run in the same folder would count as idle time between."""
    records = [record for _, record in recorded(results)]
    lives, works = {record.span for record in records}, {at_work(record) for record in records}
    wall = max(end for _, end in lives) - min(start for start, _ in lives)
    idle, waiting = wall - covered(lives), wall - covered(works)
    return [
        _row(f"{len(lives)} jobs: no job's process there, {idle / wall:.1%} of the run", idle, wall_seconds=wall),
        _row(f"{len(works)} jobs: no stage at work, imports left out, {waiting / wall:.1%}", waiting, wall_seconds=wall),
    ]


def _plan() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sheet = _sheet(folder)
        settings = ["--configfile", "config/paper.yaml", "--config", f"subjects={sheet}"]
        settings.append(f"pathvars={{'results': '{folder / 'results'}'}}".replace("'", '"'))
        plan = _timed(["all", "--dry-run", "--quiet", *settings], folder)
        nothing = _timed(["all", "--rerun-triggers", "mtime", "--configfile", str(_finished_run(folder))], folder)
    return [_row("dry run, 266 x 16 x 4", **plan), _row("the default run with nothing to do", **nothing)]


def _finished_run(folder: Path) -> Path:
    """Make what looks like a finished default run, of empty files; return its configuration."""
    config = folder / "finished.json"
    write_json(config, {"pathvars": {"results": str(folder / "finished")}})
    script = _PROJECT / "tests/workflow/planned_jobs.py"
    printed = subprocess.run([sys.executable, script, config], cwd=_PROJECT, capture_output=True, text=True, check=True).stdout
    paths = [Path(path) for job in json.loads(printed) for path in job["output"]]
    began = (_PROJECT / "config/subjects.tsv").stat().st_mtime + 1.0
    for age, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (began + age / 1e3, began + age / 1e3))
    return config


def _timed(arguments: list[str], folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", "--nolock"]
    began = time.perf_counter()
    with (folder / "printed.txt").open("w") as stream:
        process = subprocess.Popen(command, cwd=_PROJECT, stdout=stream, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / unit,
        "status": process.returncode,
    }


def _row(
    what: str,
    seconds: float,
    cpu_seconds: float | None = None,
    peak_mb: float | None = None,
    wall_seconds: float | None = None,
    status: int | None = None,
) -> Row:
    return {
        "what": what,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak_mb,
        "wall_seconds": wall_seconds,
        "status": status,
    }


def _sheet(folder: Path) -> Path:
    """Write a sheet of subjects whose photographs are empty files."""
    lines = ["subject\tsplit\tsource\tpath\tmasks\tcameras"]
    for split, count in _SPLITS.items():
        for number in range(count):
            photographs = folder / "photographs" / f"{split}{number:03d}"
            photographs.mkdir(parents=True)
            for view in range(_VIEWS):
                (photographs / f"v{view:02d}.jpg").touch()
            lines.append(f"{split}{number:03d}\t{split}\tphotographs\t{photographs}\tauto\t")
    sheet = folder / "subjects.tsv"
    sheet.write_text("\n".join(lines) + "\n")
    return sheet


def _costs() -> list[Row]:
    """Jobs of each stage at the scale of the paper, what one needs, and all of them together; nothing to spare in it."""
    people, used = sum(_SPLITS.values()), _SPLITS["train"] + _SPLITS["validation"]
    described = people - _SPLITS["verification"]  # in later rounds; the test set is described by every network on its own
    one, train = work_of([_PERSON]), work_of([_PERSON] * _SPLITS["train"], steps=_STEPS, batch=_BATCH)
    jobs = [
        ("capture", people, one),
        ("survey", people, one),
        ("detect", people, one),
        ("describe", people, one),
        ("describe_network", (_ROUNDS - 1) * described, one),
        ("match", people + (_ROUNDS - 1) * described, one),
        ("reconstruct", people + (_ROUNDS - 1) * described, one),
        ("tracks", _SPLITS["verification"] + _ROUNDS * used, one),
        ("extract", _SPLITS["verification"] + _ROUNDS * used, one),
        ("merge", _ROUNDS, train),
        ("train", _ROUNDS, train),
    ]
    return [_stage(stage, count, work) for stage, count, work in jobs]


def _stage(stage: str, count: int, work: Any) -> Row:
    cost = COSTS[stage]
    gpus = int(cost.gpu_gain > 1)
    cpu_seconds, seconds = expected_cpu_seconds(cost, work), expected_seconds(cost, work, _THREADS, gpus)
    return {
        "stage": stage,
        "per unit": ", ".join(f"{unit.seconds:g} s and {unit.megabytes:g} MB / {name}" for name, unit in cost.per.items()),
        "jobs": count,
        "CPU s of one": cpu_seconds,
        "MB of one": expected_megabytes(cost, work, _THREADS),
        "on": "1 GPU" if gpus else f"{_THREADS} threads" if cost.parallel else "1 core",
        "s of one": seconds,
        "asked, min": (TIME_FACTOR * seconds + TIME_SPARE_SECONDS) / 60,
        "CPU h of all": count * cpu_seconds / 3600,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the rows as JSON too")
    parser.add_argument("--results", type=Path, help="a finished run with its provenance records")
    parser.add_argument("--costs", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
