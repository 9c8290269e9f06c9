"""Plans of the workflow at any scale: photographs and finished files are empty stand-ins, nothing but the plan is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
PAPER_SPLITS = {"train": 200, "validation": 26, "verification": 20, "reconstruction": 20}  # subjects
VIEWS = 16
LONG_AGO = 1_000_000_000.0  # seconds since 1970


@dataclass(frozen=True)
class Ran:
    """What Snakemake printed, and what it took of the machine."""

    printed: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def write_workplace(folder: Path, splits: Mapping[str, int], rounds: int) -> Path:
    """Write a sheet of subjects whose photographs are empty, and the config of the paper for them; return the config."""
    sheet = folder / "subjects.tsv"
    lines = [sheet_line(folder, name, name[:-3]) for name in names_of(splits)]
    sheet.write_text("subject\tsplit\tsource\tpath\tmasks\tcameras\n" + "".join(lines))
    os.utime(sheet, (LONG_AGO, LONG_AGO))  # cards read the sheet
    config = yaml.safe_load((PROJECT / "config/paper.yaml").read_text())
    config |= {"subjects": str(sheet), "pathvars": {"results": str(folder / "results")}, "rounds": rounds}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def names_of(splits: Mapping[str, int]) -> list[str]:
    """Return the names of the subjects: their split and three digits."""
    return [f"{split}{number:03d}" for split, count in splits.items() for number in range(count)]


def sheet_line(folder: Path, name: str, split: str) -> str:
    """Make the stand-ins of one subject's photographs; return the subject's line of the sheet."""
    photographs = folder / "photographs" / name
    photographs.mkdir(parents=True)
    for view in range(VIEWS):
        (photographs / f"v{view:02d}.jpg").touch()
    os.utime(photographs, (LONG_AGO, LONG_AGO))
    return f"{name}\t{split}\tphotographs\t{photographs}\tauto\t\n"


def touch_in_turn(paths: Iterable[Path], began: float = LONG_AGO) -> None:
    """Make empty files, each a millisecond younger than the one before, the first after `began` (seconds since 1970)."""
    for number, path in enumerate(paths, start=1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (began + number / 1e3, began + number / 1e3))


def run_all(config: Path, *arguments: str) -> Ran:
    """Have Snakemake run, or with `--dry-run` plan, everything that modification times alone call for.

    Raises:
        RuntimeError: with the end of what it printed, if it fails.
    """
    command = [sys.executable, "-m", "snakemake", "all", "--configfile", str(config), "--rerun-triggers", "mtime"]
    printed = config.with_suffix(".log")
    began = time.perf_counter()
    with printed.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--cores", "2", "--nolock", *arguments], cwd=PROJECT, stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    text = printed.read_text()
    if process.returncode:
        raise RuntimeError(text[-4000:])
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Ran(text, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)


def jobs_of(config: Path) -> list[dict[str, Any]]:
    """Return the jobs that a configuration asks for, as of `planned_jobs`, which needs a process of its own.

    Raises:
        RuntimeError: with the end of what it printed, if it fails.
    """
    command = [sys.executable, str(Path(__file__).parent / "planned_jobs.py"), str(config)]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr[-4000:])
    jobs: list[dict[str, Any]] = json.loads(process.stdout)
    return jobs
