"""The plan of the workflow, without running it: its size at the scale of the paper, what a partly finished run has left, and
what every job asks for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

_PROJECT = Path(__file__).resolve().parents[2]
_LONG_AGO = 1_000_000_000  # seconds since 1970
_SPLITS = {"train": 200, "validation": 26, "verification": 20, "reconstruction": 20}
_VIEWS = 16
_ONCE = ["captures/{s}/images.parquet", "keypoints/{s}.parquet", "captures/{s}/contact_sheet.png", "pairs/{s}.parquet"]
_OF_SUBJECT = ["descriptors/{s}.npy", "matches/{s}.parquet", "sfm/{s}", "tracks/{s}.parquet", "patches/{s}.npy"]
_OF_SPLIT = ["patches.npy", "index.parquet", "pairs.parquet", "card.json", "contact_sheet.png"]
_OF_MODEL = ["hynet.safetensors", "hynet.json", "hynet.csv"]


@dataclass(frozen=True)
class DryRun:
    """What a dry run printed, how many jobs of every rule it has left, and what building it took of the machine."""

    printed: str
    jobs: Counter[str]
    cpu_seconds: float
    peak_mb: float


def test_a_run_of_the_paper_that_is_half_finished(tmp_path):
    """266 subjects of 16 photographs over four rounds, two of which are done."""
    config = _workplace(tmp_path, _SPLITS, rounds=4)
    _finish_rounds(tmp_path, rounds=2)
    run = _dry_run(config, "--rerun-triggers", "mtime")
    people, used = sum(_SPLITS.values()), _SPLITS["train"] + _SPLITS["validation"]
    assert run.jobs["describe"] == run.jobs["match"] == run.jobs["reconstruct"] == 2 * (people - _SPLITS["verification"])
    assert run.jobs["tracks"] == run.jobs["extract"] == 2 * used
    assert (run.jobs["merge"], run.jobs["card"], run.jobs["contact_sheet"], run.jobs["train"]) == (4, 4, 4, 2)
    assert run.jobs["extract_test"] == _SPLITS["verification"]
    assert not {"capture", "detect", "view_pairs", "survey"} & set(run.jobs)
    assert run.cpu_seconds <= 60
    assert run.peak_mb <= 2000


def test_a_subject_and_a_round_more_run_only_what_is_theirs(planned):
    folder, jobs = planned
    _touch_in_turn(Path(path) for job in jobs for path in job["output"])
    config = folder / "config.yaml"
    assert "Nothing to be done" in _dry_run(config, "--rerun-triggers", "mtime").printed

    longer = yaml.safe_load(config.read_text()) | {"rounds": 3}
    (folder / "longer.yaml").write_text(yaml.safe_dump(longer))
    left = _dry_run(folder / "longer.yaml", "--rerun-triggers", "mtime").jobs
    assert {rule: left[rule] for rule in ("describe", "match", "reconstruct", "tracks", "extract", "merge", "train")} == {
        "describe": 4, "match": 4, "reconstruct": 4, "tracks": 3, "extract": 3, "merge": 2, "train": 1,
    }  # fmt: skip
    assert not {"capture", "detect", "view_pairs", "survey", "merge_test", "extract_test"} & set(left)

    sheet = folder / "subjects.tsv"
    sheet.write_text(sheet.read_text() + _line(folder, "added", "train"))
    left = _dry_run(config, "--rerun-triggers", "mtime").jobs
    assert {rule: left[rule] for rule in ("capture", "survey", "detect", "view_pairs")} == {
        "capture": 1, "survey": 1, "detect": 1, "view_pairs": 1,
    }  # fmt: skip
    # Round 0 of the new one alone; its network is another one then, so round 1 of everybody who is described.
    assert (left["describe"], left["match"], left["extract"], left["merge"], left["train"]) == (1 + 5, 1 + 5, 1 + 4, 2 + 1, 2)
    assert not {"extract_test", "merge_test"} & set(left)


def test_every_job_asks_for_memory_and_time_and_for_twice_as_much_again(planned):
    _, jobs = planned
    for job in jobs:
        if job["rule"] == "all":
            continue
        (memory, minutes), (more_memory, more_minutes) = job["asked"]
        assert memory >= 500, job
        assert minutes >= 5, job
        assert (more_memory, more_minutes) == (2 * memory, 2 * minutes), job


def test_only_what_a_gpu_helps_asks_for_one(planned):
    _, jobs = planned
    with_gpu = {job["rule"] for job in jobs if job["gpu"]}
    assert with_gpu == {"describe", "train", "describe_test", "describe_features", "describe_calibration"}
    assert all(job["gpu"] == 0 for job in jobs if job["rule"] == "describe" and "/round0/" in job["output"][0])
    assert all(job["gpu"] == 1 for job in jobs if job["rule"] == "describe" and "/round1/" in job["output"][0])
    assert all(job["gpu"] == 0 for job in jobs if job["output"] and "rootsift" in job["output"][0])


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A small sheet of photographs, and the jobs of its two rounds."""
    folder = tmp_path_factory.mktemp("plan")
    config = _workplace(folder, {"train": 2, "validation": 1, "verification": 1, "reconstruction": 1}, rounds=2)
    command = [sys.executable, str(Path(__file__).parent / "planned_jobs.py"), str(config)]
    process = subprocess.run(command, cwd=_PROJECT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-4000:]
    return folder, json.loads(process.stdout)


def _workplace(folder: Path, splits: dict[str, int], rounds: int) -> Path:
    """Write a sheet of subjects whose photographs are empty, and the config of the paper for them; return the config."""
    named = [f"{split}{number:03d}" for split, count in splits.items() for number in range(count)]
    lines = [_line(folder, name, name[:-3]) for name in named]
    sheet = folder / "subjects.tsv"
    sheet.write_text("subject\tsplit\tsource\tpath\tmasks\tcameras\n" + "".join(lines))
    os.utime(sheet, (_LONG_AGO, _LONG_AGO))  # cards read the sheet
    config = yaml.safe_load((_PROJECT / "config/paper.yaml").read_text())
    config |= {"subjects": str(sheet), "pathvars": {"results": str(folder / "results")}, "rounds": rounds}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def _line(folder: Path, name: str, split: str) -> str:
    photographs = folder / "photographs" / name
    photographs.mkdir(parents=True)
    for view in range(_VIEWS):
        (photographs / f"v{view:02d}.jpg").touch()
    os.utime(photographs, (_LONG_AGO, _LONG_AGO))
    return f"{name}\t{split}\tphotographs\t{photographs}\tauto\t\n"


def _finish_rounds(folder: Path, rounds: int) -> None:
    """Touch what the first rounds of the paper leave behind, stage after stage."""
    results = folder / "results"
    names = [f"{split}{number:03d}" for split, count in _SPLITS.items() for number in range(count)]
    paths = [pattern.format(s=name) for pattern in _ONCE for name in names]
    for r in range(rounds):
        paths += [f"round{r}/{pattern.format(s=name)}" for pattern in _OF_SUBJECT for name in names]
        paths += [f"round{r}/patches/{name}.parquet" for name in names]
        paths += [f"round{r}/dataset/{split}/{name}" for name in _OF_SPLIT for split in ("train", "validation")]
        paths += [f"round{r}/model/{name}" for name in _OF_MODEL]
    _touch_in_turn(results / path for path in paths)


def _touch_in_turn(paths: Iterable[Path]) -> None:
    """Make empty files, each a second younger than the one before."""
    for age, path in enumerate(paths, start=1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (_LONG_AGO + age, _LONG_AGO + age))


def _dry_run(config: Path, *arguments: str) -> DryRun:
    """Plan everything in a process of its own."""
    command = [sys.executable, "-m", "snakemake", "all", "--dry-run", "--configfile", str(config), "--cores", "2", "--nolock"]
    printed = config.with_suffix(".log")
    with printed.open("w") as stream:
        process = subprocess.Popen([*command, *arguments], cwd=_PROJECT, stdout=stream, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = printed.read_text()
    assert process.returncode == 0, text[-4000:]
    table = text.split("Job stats:")[-1]
    jobs = Counter({name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)})
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return DryRun(text, jobs, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)
