"""Where a run stands, from files alone: what is done, how fast, how long still, what failed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from porepatch_lib.files import write_array, write_json
from porepatch_lib.provenance.records import DONE, FAILED, RUNNING, Record, utc, write_records
from porepatch_lib.reporting.status import Planned, duration, mean_seconds, pace, standing_of, status_page

_RECORD = Record(
    rule="describe",
    wildcards={},
    outcome=DONE,
    error="",
    log="",
    settings={},
    seed=None,
    inputs=[],
    outputs=[],
    code={},
    versions={},
    device="cpu",
    threads=1,
    memory_mb=1000,
    started=utc(1_000_000.0),
    starting_seconds=1.0,
    seconds=11.0,
    peak_memory_mb=300.0,
)


def _at(second: float, seconds: float) -> Record:
    return dataclasses.replace(_RECORD, started=utc(1_000_000.0 + second), seconds=seconds)


def _write(results: Path, name: str, record: Record, rows: int | None) -> str:
    path = results / name
    if rows is not None:
        write_array(path, np.zeros((rows, 4), np.float16))
    write_records(results, [path], record)
    return str(path)


@pytest.fixture
def results(tmp_path) -> Path:
    (tmp_path / "log.txt").write_text("10:22:01 reading\n10:22:09 step 1200 of 5000\n\n")
    return tmp_path


@pytest.fixture
def planned(results) -> list[Planned]:
    """Two rounds of one stage: 2 of 4 done, one at work, one failed; nothing of the second round but a record-less file."""
    running = dataclasses.replace(_RECORD, outcome=RUNNING, log=str(results / "log.txt"))
    failed = dataclasses.replace(_RECORD, outcome=FAILED, error="The photograph a.jpg is damaged; copy it again.")
    files = [_write(results, "round0/d/ann.npy", _at(0, 11.0), 100), _write(results, "round0/d/bob.npy", _at(1, 31.0), 300)]
    files += [_write(results, "round0/d/cem.npy", running, None), _write(results, "round0/d/dee.npy", failed, None)]
    write_array(results / "round1/d/ann.npy", np.zeros((7, 4), np.float16))
    second = [str(results / f"round1/d/{name}.npy") for name in ("ann", "bob")]
    return [
        Planned("describe", "0", "keypoints", files),
        Planned("describe", "1", "keypoints", second),
        Planned("train", "0", "", [str(results / "w")]),
    ]


def test_pace_is_the_work_done_per_time():
    assert pace([]) == 1.0
    assert pace([_at(0, 10), _at(10, 10)]) == pytest.approx(1.0)
    assert pace([_at(0, 10), _at(0, 10), _at(10, 10), _at(10, 10)]) == pytest.approx(2.0)
    assert pace([_at(0, 10), _at(90, 10)]) == 1.0  # idle between: as if one after the other


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12600, "3.5 h"), (181440, "2.1 days")])
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_a_stage_counts_what_is_there(results, planned):
    first, second, _ = (standing_of(results, one) for one in planned)
    assert (first.done, first.left, len(first.records), len(first.open)) == (2, 2, 2, 2)
    assert first.per_second == pytest.approx(400 / 40)  # rows per second of work, starting left out
    assert (second.done, second.left, second.records, second.per_second) == (1, 1, [], 0.0)
    assert mean_seconds([first, second]) == {"describe": 21.0}


def test_the_page_tells_all(results, planned):
    write_json(results / "round0/sfm/eva/status.json", {"subject": "eva", "status": "failed", "reason": "no two views match"})
    write_json(results / "round0/sfm/ann/status.json", {"subject": "ann", "status": "ok", "reason": ""})
    elsewhere = dataclasses.replace(_RECORD, rule="survey", log="survey.log", outcome=FAILED, error="No view is left.")
    write_records(results, [results / "sheet.png", results / "quality.parquet"], elsewhere)
    page = status_page(results, planned, {"0": [str(results / "round0/sfm" / name) for name in ("ann", "eva", "missing")]})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert rows[2] == ["describe", "0", "2 / 4", "1", "1", "21.0", "300", "10 keypoints/s", "42 s"]
    assert rows[3] == ["describe", "1", "1 / 2", "", "", "", "", "", "21 s"]
    assert rows[4][2:] == ["0 / 1", "", "", "", "", "", "?"]
    assert "3 of 7 jobs of these stages done (43 %)." in page
    assert "About 48 s left with 1.3 jobs at once as of late, and 1 jobs of stages of which none has finished" in page
    assert "round 0  eva: no two views match" in page
    assert "ann: " not in page
    assert page.count("No view is left.") == 1
    assert f"describe of round 0  {results}/round0/d/cem.npy: 10:22:09 step 1200 of 5000" in page
    assert f"describe of round 0  {results}/round0/d/dee.npy: The photograph a.jpg is damaged; copy it again." in page


def test_a_run_that_is_finished_says_so(results):
    path = _write(results, "a.npy", _RECORD, 5)
    page = status_page(results, [Planned("detect", "", "", [path])], {})
    assert page.endswith("1 of 1 jobs of these stages done (100 %).")
