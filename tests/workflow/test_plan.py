"""The plan of the workflow, without running it: its size at the scale of the paper, what a partly finished run has left, and
what every job asks for."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from plans import PAPER_SPLITS, jobs_of, names_of, run_all, sheet_line, touch_in_turn, write_workplace

_ONCE = ["captures/{s}/images.parquet", "keypoints/{s}.parquet", "captures/{s}/contact_sheet.png", "pairs/{s}.parquet"]
_OF_SUBJECT = ["descriptors/{s}.npy", "matches/{s}.parquet", "sfm/{s}", "tracks/{s}.parquet", "patches/{s}.npy"]
_OF_SPLIT = ["patches.npy", "index.parquet", "pairs.parquet", "card.json", "contact_sheet.png"]
_OF_MODEL = ["hynet.safetensors", "hynet.json", "hynet.csv"]


def test_a_run_of_the_paper_that_is_half_finished(tmp_path):
    """266 subjects of 16 photographs over four rounds, two of which are done."""
    config = write_workplace(tmp_path, PAPER_SPLITS, rounds=4)
    _finish_rounds(tmp_path, rounds=2)
    run = run_all(config, "--dry-run")
    left = _jobs_left(run.printed)
    people, used = sum(PAPER_SPLITS.values()), PAPER_SPLITS["train"] + PAPER_SPLITS["validation"]
    assert left["describe"] == left["match"] == left["reconstruct"] == 2 * (people - PAPER_SPLITS["verification"])
    assert left["tracks"] == left["extract"] == 2 * used
    assert (left["merge"], left["card"], left["contact_sheet"], left["train"]) == (4, 4, 4, 2)
    assert left["extract_test"] == PAPER_SPLITS["verification"]
    assert not {"capture", "detect", "view_pairs", "survey"} & set(left)
    assert run.cpu_seconds <= 60
    assert run.peak_mb <= 2000


def test_a_subject_and_a_round_more_run_only_what_is_theirs(planned):
    folder, jobs = planned
    touch_in_turn(Path(path) for job in jobs for path in job["output"])
    config = folder / "config.yaml"
    assert "Nothing to be done" in run_all(config, "--dry-run").printed

    longer = yaml.safe_load(config.read_text()) | {"rounds": 3}
    (folder / "longer.yaml").write_text(yaml.safe_dump(longer))
    left = _jobs_left(run_all(folder / "longer.yaml", "--dry-run").printed)
    assert {rule: left[rule] for rule in ("describe", "match", "reconstruct", "tracks", "extract", "merge", "train")} == {
        "describe": 4, "match": 4, "reconstruct": 4, "tracks": 3, "extract": 3, "merge": 2, "train": 1,
    }  # fmt: skip
    assert not {"capture", "detect", "view_pairs", "survey", "merge_test", "extract_test"} & set(left)

    sheet = folder / "subjects.tsv"
    sheet.write_text(sheet.read_text() + sheet_line(folder, "added", "train"))
    left = _jobs_left(run_all(config, "--dry-run").printed)
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
    config = write_workplace(folder, {"train": 2, "validation": 1, "verification": 1, "reconstruction": 1}, rounds=2)
    return folder, jobs_of(config)


def _finish_rounds(folder: Path, rounds: int) -> None:
    """Touch what the first rounds of the paper leave behind, stage after stage."""
    results = folder / "results"
    names = names_of(PAPER_SPLITS)
    paths = [pattern.format(s=name) for pattern in _ONCE for name in names]
    for r in range(rounds):
        paths += [f"round{r}/{pattern.format(s=name)}" for pattern in _OF_SUBJECT for name in names]
        paths += [f"round{r}/patches/{name}.parquet" for name in names]
        paths += [f"round{r}/dataset/{split}/{name}" for name in _OF_SPLIT for split in ("train", "validation")]
        paths += [f"round{r}/model/{name}" for name in _OF_MODEL]
    touch_in_turn(results / path for path in paths)


def _jobs_left(printed: str) -> Counter[str]:
    """Count the jobs of every rule in what a dry run printed."""
    table = printed.split("Job stats:")[-1]
    return Counter({name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)})
