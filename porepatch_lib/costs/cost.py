"""Memory and time of one job as closed formulas of the size of its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from porepatch_lib.costs.work import Work

# Asked for beyond what was measured: faces, libraries and kernels differ, and a Slurm job carries two Snakemakes of 280 MB.
MEMORY_FACTOR, MEMORY_SPARE_MB = 1.5, 800.0
TIME_FACTOR, TIME_SPARE_SECONDS = 3.0, 300.0  # nodes and their disks differ more than memory does; importing may be slow there
_MB_STEP = 100


@dataclass(frozen=True)
class Unit:
    """What one unit of work costs: `megabytes`, held at once, and CPU `seconds`."""

    megabytes: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Cost:
    """What a job of a stage was measured to need.

    megabytes, seconds: of any job, however small; interpreter and imports are in them.
    per: what a unit adds, by the name of its number in `Work`.
    thread_megabytes: what every thread adds per megapixel of the largest photograph.
    parallel: share of the CPU seconds beyond `seconds` that threads share, 0..1.
    gpu_gain: CPU seconds that a second of a GPU stands for; 1 where a GPU is of no use.
    """

    megabytes: float
    seconds: float
    per: Mapping[str, Unit] = field(default_factory=dict)
    thread_megabytes: float = 0.0
    parallel: float = 0.0
    gpu_gain: float = 1.0


def expected_megabytes(cost: Cost, work: Work, threads: int = 1) -> float:
    """Return the peak memory in MB of a job, without anything to spare."""
    held = sum(unit.megabytes * getattr(work, name) for name, unit in cost.per.items())
    return cost.megabytes + held + cost.thread_megabytes * threads * work.largest_megapixels


def expected_cpu_seconds(cost: Cost, work: Work) -> float:
    """Return the CPU seconds of a job on one core, without anything to spare."""
    return cost.seconds + sum(unit.seconds * getattr(work, name) for name, unit in cost.per.items())


def expected_seconds(cost: Cost, work: Work, threads: int = 1, gpus: int = 0) -> float:
    """Return the wall seconds of a job, without anything to spare; GPUs beyond the first are not counted on."""
    shared = expected_cpu_seconds(cost, work) - cost.seconds
    if gpus and cost.gpu_gain > 1.0:
        return cost.seconds + shared / cost.gpu_gain
    return cost.seconds + shared * (1.0 - cost.parallel + cost.parallel / threads)


def memory_mb(cost: Cost, work: Work, threads: int, attempt: int) -> int:
    """Return the MB to ask for, in whole hundreds; the second attempt asks for twice as much, all further ones for four times."""
    asked = MEMORY_FACTOR * expected_megabytes(cost, work, threads) + MEMORY_SPARE_MB
    # Of many attempts, as long training has, most ended because their time was up.
    return _MB_STEP * math.ceil(asked / _MB_STEP) * 2 ** min(attempt - 1, 2)


def runtime_minutes(cost: Cost, work: Work, threads: int, gpus: int, attempt: int) -> int:
    """Return the minutes to ask for; every further attempt asks for twice as many."""
    asked = TIME_FACTOR * expected_seconds(cost, work, threads, gpus) + TIME_SPARE_SECONDS
    return math.ceil(asked / 60.0) * 2 ** (attempt - 1)
