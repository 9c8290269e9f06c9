"""Killing a running workflow, running it again, and comparing what it makes with what an undisturbed run made."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from porepatch_lib.files import sha256_of

_PROJECT = Path(__file__).resolve().parents[2]
_FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)")
_SCRIPT = re.compile(r"/scripts/tmp\w+\.(\w+)\.py")
_MARK = "POREPATCH_DISTURBED_RUN"
_LONGEST_WAIT_SECONDS, _LAST_JOBS = 3.0, 8
_NOT_DATA = ("logs", "benchmarks", "provenance")
# What a file of data tells of the run that made it, by the file's pattern.
_OF_THE_RUN = {
    "*/model/*.json": ("seconds", "patches_per_second", "resumed_at"),
    "*/dense/status.json": ("seconds",),
}

Moment = Callable[["Attempt"], bool]  # whether to kill now


@dataclass
class Attempt:
    """One call of Snakemake in a session of its own. `finished`: (seconds after the start, rule) of every job, as they end."""

    arguments: Sequence[str]
    output: list[str] = field(default_factory=list)
    finished: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self.began = time.monotonic()
        command = [sys.executable, "-m", "snakemake", *self.arguments, "--nolock"]
        self.process = subprocess.Popen(
            command,
            cwd=_PROJECT,
            env=os.environ | {_MARK: self._mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait()
        self._reader.join()
        return status

    def kill_at(self, moment: Moment) -> bool:
        """Kill the whole process group as soon as `moment` says so; False where the run ended before."""
        while not moment(self):
            if self.process.poll() is not None:
                self._reader.join()
                return False
            time.sleep(0.001)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(timeout=10)
        return True

    def running(self) -> list[str]:
        """The scripts that run now, and `snakemake` for the workflow itself."""
        found = [_SCRIPT.search(Path(f"/proc/{pid}/cmdline").read_text(errors="replace")) for pid in self._processes()]
        return sorted({match[1] for match in found if match}) or ["snakemake"]

    def survivors(self) -> list[int]:
        """Processes of this run that are still there some seconds after it was killed."""
        deadline = time.monotonic() + 5
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _processes(self) -> list[int]:
        return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and self._is_mine(folder)]

    def _is_mine(self, folder: Path) -> bool:
        try:
            return f"{_MARK}={self._mark}".encode() in (folder / "environ").read_bytes()
        except OSError:  # ended meanwhile
            return False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if match := _FINISHED.match(line):
                self.finished.append((self.seconds, match[1]))


@dataclass(frozen=True)
class Killed:
    """How a run that was killed again and again went: per kill the jobs finished before and what ran; seconds."""

    kills: list[tuple[int, list[str]]]
    seconds: float


def moments_over(timeline: Sequence[float], count: int, seed: int) -> list[tuple[int, float]]:
    """Draw `count` moments evenly over an undisturbed run: (jobs finished before, seconds since the last of them).

    `timeline`: when its jobs ended. Another run may be faster (kernels are compiled only once), so a moment is soon after a job,
    and some jobs before the end.
    """
    drawn = np.sort(np.random.default_rng(seed).uniform(0, timeline[-1], count))
    before = np.minimum(np.searchsorted(timeline, drawn), len(timeline) - _LAST_JOBS)
    since = np.minimum(drawn - np.where(before > 0, np.asarray(timeline)[before - 1], 0.0), _LONGEST_WAIT_SECONDS)
    return list(zip(before.tolist(), since.tolist(), strict=True))


def run_killed(arguments: Sequence[str], moments: Sequence[tuple[int, float]]) -> Killed:
    """Run to the end, killed at each of the moments and started again; checks that no process survives a kill."""
    began, done = time.monotonic(), 0
    kills: list[tuple[int, list[str]]] = []
    for jobs, seconds in moments:
        attempt = Attempt(arguments)
        ran: list[str] = []
        if not attempt.kill_at(_Passed(jobs - done, seconds, ran)):
            assert attempt.process.returncode == 0, "".join(attempt.output)[-8000:]
            break
        assert not attempt.survivors()
        done += len(attempt.finished)
        kills.append((done, ran))
    last = Attempt(arguments)
    assert last.wait() == 0, "".join(last.output)[-8000:]
    return Killed(kills, time.monotonic() - began)


class _Passed:
    """The moment some seconds after a number of jobs has ended; notes what runs then."""

    def __init__(self, jobs: int, seconds: float, ran: list[str]) -> None:
        self._jobs, self._seconds, self._ran = jobs, seconds, ran

    def __call__(self, attempt: Attempt) -> bool:
        if len(attempt.finished) < self._jobs:
            return False
        since = attempt.finished[self._jobs - 1][0] if self._jobs > 0 else 0.0
        if attempt.seconds - since < self._seconds:
            return False
        self._ran += attempt.running()
        return True


def data_of(results: Path) -> dict[str, str]:
    """SHA-256 by relative name of every file of data; of those that tell of their run too, of all else they hold."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results)
        if path.is_file() and name.parts[0] not in _NOT_DATA and path.name != ".snakemake_timestamp":
            found[name.as_posix()] = _digest(path)
    return found


def differences(expected: Path, found: Path, part: bool = False) -> list[str]:
    """Names of files that only one of two results has or that differ; `part`: `found` need not have all."""
    one, two = (data_of(results) for results in (expected, found))
    assert two
    return sorted(name for name in (two.keys() if part else one.keys() | two.keys()) if one.get(name) != two.get(name))


def leftovers(results: Path) -> list[str]:
    """Temporary files and folders in the results."""
    return [path.relative_to(results).as_posix() for path in results.rglob("*.part-*")]


def _digest(path: Path) -> str:
    for pattern, keys in _OF_THE_RUN.items():
        if path.match(pattern):
            document: dict[str, Any] = json.loads(path.read_text())
            return json.dumps({key: value for key, value in document.items() if key not in keys}, sort_keys=True)
    return sha256_of(path)
