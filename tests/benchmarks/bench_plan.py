"""Time the plan of the workflow and what it adds to the stages; print what every stage costs.

bench_plan.py                   a dry run of 266 subjects x 16 photographs x 4 rounds; a run that has nothing to do
bench_plan.py --results FOLDER  also: the share of a finished run's wall time during which no stage was at work
bench_plan.py --costs           the table of costs, and what it says of the scale of the paper
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plans import PAPER_SPLITS, PROJECT, VIEWS, Ran, jobs_of, run_all, touch_in_turn, write_workplace
from timing import Row, table

from porepatch_lib.costs.cost import TIME_FACTOR, TIME_SPARE_SECONDS, expected_cpu_seconds, expected_megabytes, expected_seconds
from porepatch_lib.costs.table import COSTS
from porepatch_lib.costs.work import Person, work_of
from porepatch_lib.files import write_json
from porepatch_lib.provenance.records import Record, recorded

_ROUNDS, _THREADS = 4, 8
_PERSON = Person(((2200, 3208),) * VIEWS, VIEWS * 10_000)
_STEPS, _BATCH = 50_000, 2048  # config/paper.yaml; two patches of every point

Interval = tuple[float, float]


def main() -> None:
    arguments = _arguments()
    tables = {"costs": _costs()} if arguments.costs else {"plan": _plan()}
    if arguments.results:
        tables["overhead"] = _overhead(arguments.results)
    print("\n\n".join(table(rows) for rows in tables.values()))
    if arguments.output:
        write_json(arguments.output, tables)


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
    jobs = len({record.log for record in records})
    lives, works = {record.span for record in records}, {at_work(record) for record in records}
    wall = max(end for _, end in lives) - min(start for start, _ in lives)
    return [
        _share(f"{jobs} jobs: no job's process there", wall - covered(lives), wall),
        _share(f"{jobs} jobs: no stage at work, interpreter and imports left out", wall - covered(works), wall),
    ]


def _plan() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = run_all(write_workplace(folder, PAPER_SPLITS, _ROUNDS), "--dry-run", "--quiet")
        nothing = run_all(_finished_run(folder))
    return [_ran("dry run, 266 x 16 x 4", plan), _ran("the default run with nothing to do", nothing)]


def _finished_run(folder: Path) -> Path:
    """Make what looks like a finished default run, of empty files; return its configuration."""
    config = folder / "finished.json"
    write_json(config, {"pathvars": {"results": str(folder / "finished")}})
    outputs = [Path(path) for job in jobs_of(config) for path in job["output"]]
    touch_in_turn(outputs, began=(PROJECT / "config/subjects.tsv").stat().st_mtime + 1.0)
    return config


def _ran(what: str, ran: Ran) -> Row:
    return {"what": what, "seconds": ran.seconds, "cpu_seconds": ran.cpu_seconds, "peak_mb": ran.peak_mb}


def _share(what: str, seconds: float, wall_seconds: float) -> Row:
    return {"what": what, "seconds": seconds, "wall_seconds": wall_seconds, "share": f"{seconds / wall_seconds:.1%}"}


def _costs() -> list[Row]:
    """Jobs of each stage at the scale of the paper, what one needs, and all of them together; nothing to spare in it."""
    people, used = sum(PAPER_SPLITS.values()), PAPER_SPLITS["train"] + PAPER_SPLITS["validation"]
    described = people - PAPER_SPLITS["verification"]  # in later rounds; the test set is described by every network on its own
    one, train = work_of([_PERSON]), work_of([_PERSON] * PAPER_SPLITS["train"], steps=_STEPS, batch=_BATCH)
    jobs = [
        ("capture", people, one),
        ("survey", people, one),
        ("detect", people, one),
        ("describe", people, one),
        ("describe_network", (_ROUNDS - 1) * described, one),
        ("match", people + (_ROUNDS - 1) * described, one),
        ("reconstruct", people + (_ROUNDS - 1) * described, one),
        ("tracks", PAPER_SPLITS["verification"] + _ROUNDS * used, one),
        ("extract", PAPER_SPLITS["verification"] + _ROUNDS * used, one),
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
