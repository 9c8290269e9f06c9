"""What every Snakemake script needs around its one call: threads, a log, errors as one sentence, a record of provenance."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porepatch_lib.failures import Terminated, sentence_of
from porepatch_lib.provenance.records import DONE, FAILED, RUNNING, Record, describe_files, utc, write_records
from porepatch_lib.provenance.surroundings import code_version, library_versions, peak_memory_mb, process_began
from porepatch_lib.signals import end_on_sigterm
from porepatch_lib.threads import limit_threads

Named = Iterable[tuple[str, Any]]


@dataclass
class Running:
    """What a stage tells of itself while it runs: `device`, "cpu" or the GPU, as of `Record`."""

    device: str = "cpu"


@contextmanager
def stage(job: Any) -> Iterator[Running]:
    """Run a stage: the job's threads, a log to its log file and standard error, and its record when it ends.

    `job` is the `snakemake` object of a script. A PorePatchError, a full disk, a folder that may not be written, exhausted
    memory, SIGTERM and Ctrl-C end the process with one sentence and no traceback, any other error with its traceback; the exit
    status is 1 then, and the record says "failed".
    """
    began = time.time()
    limit_threads(job.threads)
    logging.raiseExceptions = False  # a log that cannot be written must not hide why
    _log_to(logging.StreamHandler(sys.stderr))
    running = Running()
    try:
        end_on_sigterm()
        _log_to(logging.StreamHandler(sys.stderr), logging.FileHandler(job.log[0], mode="w", encoding="utf-8"))
        _record(job, running, began, RUNNING)
        yield running
    except (Exception, KeyboardInterrupt, Terminated) as error:
        sentence = sentence_of(error)
        _record(job, running, began, FAILED, sentence or f"{type(error).__name__}: {error}")
        if sentence:
            logging.error("%s", sentence)
        else:
            logging.exception("The stage stopped on an error nobody foresaw; please report it with this log.")
        sys.exit(1)
    _record(job, running, began, DONE)


def _log_to(*handlers: logging.Handler) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers, force=True)


def _record(job: Any, running: Running, began: float, outcome: str, error: str = "") -> None:
    """Write the record; where that fails the work of the stage is not lost with it."""
    try:
        _write_record(job, running, began, outcome, error)
    except Exception as failure:
        logging.warning("The job could not be recorded beside the results (%s: %s).", type(failure).__name__, failure)


def _write_record(job: Any, running: Running, began: float, outcome: str, error: str) -> None:
    """Write what is known of a job that begins or ends; files are looked at when it is done, `error` is why it failed."""
    process, memory_mb = process_began(), peak_memory_mb()  # before anything else here takes memory
    results = Path(job.config["pathvars"]["results"])
    inputs, outputs = list(_flat(job.input.items())), list(_flat(job.output.items()))
    record = Record(
        rule=job.rule,
        wildcards={name: str(value) for name, value in job.wildcards.items()},
        outcome=outcome,
        error=error,
        log=job.log[0],
        settings={name: value for name, value in job.params.items() if name != "seed"},
        seed=job.params.get("seed"),
        inputs=describe_files(results, inputs) if outcome == DONE else [],
        outputs=describe_files(results, outputs) if outcome == DONE else [],
        code=code_version(),
        versions=library_versions(),
        device=running.device,
        threads=job.threads,
        memory_mb=job.resources.get("mem_mb", 0),
        started=utc(process),
        starting_seconds=round(began - process, 3),
        seconds=round(time.time() - process, 3),
        peak_memory_mb=round(memory_mb, 1),
    )
    write_records(results, [path for _, path in outputs], record)


def _flat(named: Named) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of every file; a name may stand for several."""
    for name, value in named:
        for path in [value] if isinstance(value, str) else value:
            yield name, Path(path)
