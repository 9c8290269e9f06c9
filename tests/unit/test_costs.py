"""What a job asks for, in closed form."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from porepatch_lib.costs.cost import (
    Cost,
    Unit,
    expected_cpu_seconds,
    expected_megabytes,
    expected_seconds,
    memory_mb,
    runtime_minutes,
)
from porepatch_lib.costs.sizes import NERSEMBLE_SIZE, capture_sizes, expected_sizes, patch_count, row_count
from porepatch_lib.costs.table import COSTS
from porepatch_lib.costs.work import PATCHES_PER_KEYPOINT, Person, Work, work_of

_PERSON = Person(((1000, 2000), (500, 400), (500, 400)), 6000)
_COST = Cost(100.0, 10.0, {"keypoints": Unit(10.0, 15.0)}, thread_megabytes=5.0, parallel=0.5, gpu_gain=6.0)


def test_work_of_people():
    work = work_of([_PERSON, _PERSON], pairs=700, steps=10, batch=500, input_bytes=3_000_000, dense_px=1000)
    assert work.people == 2
    assert work.megapixels == pytest.approx(2 * 2.4)
    assert work.largest_megapixels == pytest.approx(2.0)
    assert work.dense_megapixels == pytest.approx(2 * (0.5 + 0.2 + 0.2))
    assert work.keypoints == 12.0
    assert work.keypoints_each == 6.0
    assert work.comparisons == pytest.approx(2 * 3 * 2000**2 / 1e9)
    assert work.patches == pytest.approx(12.0 * PATCHES_PER_KEYPOINT)
    assert (work.pairs, work.samples, work.batch, work.input_mb) == (0.7, 5.0, 0.5, 3.0)
    assert work_of([], patches=2500) == Work(patches=2.5)


def test_cost_is_linear_in_its_units():
    work = work_of([_PERSON])
    assert expected_megabytes(_COST, work, threads=4) == pytest.approx(100 + 3 * 20 + 4 * 5 * 2.0)
    assert expected_cpu_seconds(_COST, work) == pytest.approx(10 + 3 * 30)
    assert expected_seconds(_COST, work, threads=1) == pytest.approx(100)
    assert expected_seconds(_COST, work, threads=3) == pytest.approx(10 + 90 * (0.5 + 0.5 / 3))
    assert expected_seconds(_COST, work, threads=3, gpus=1) == pytest.approx(10 + 90 / 6)
    assert expected_seconds(dataclasses.replace(_COST, gpu_gain=1.0), work, threads=1, gpus=1) == pytest.approx(100)


def test_what_is_asked_for_has_something_to_spare_and_doubles_with_every_attempt():
    work = work_of([_PERSON])
    assert [memory_mb(_COST, work, 1, attempt) for attempt in (1, 2, 3, 6)] == [1100, 2200, 4400, 4400]  # 1.5 * 170 + 800
    assert [runtime_minutes(_COST, work, 1, 0, attempt) for attempt in (1, 2, 3)] == [10, 20, 40]  # 3 * 100 s + 5 minutes


def test_every_cost_names_numbers_of_work():
    known = {field.name for field in dataclasses.fields(Work)}
    for stage, cost in COSTS.items():
        assert set(cost.per) <= known, stage
        assert cost.megabytes >= 100, stage
        assert 0 <= cost.parallel <= 1 <= cost.gpu_gain, stage
        assert stage.removesuffix("_network") in COSTS


def test_sizes_are_read_where_there_are_captures_and_expected_elsewhere(tmp_path):
    expected = ((10, 20),)
    images = tmp_path / "images.parquet"
    assert capture_sizes(images, expected) == expected
    images.touch()
    assert capture_sizes(images, expected) == expected
    pq.write_table(pa.table({"width": [30, 40], "height": [50, 60], "name": ["a", "b"]}), images)
    assert capture_sizes(images, expected) == ((30, 50), (40, 60))
    assert row_count(images, 7) == 2
    assert row_count(tmp_path / "none.parquet", 7) == 7
    assert patch_count(images, 7) == 2
    np.save(tmp_path / "patches.npy", np.zeros((3, 64, 64), np.uint8))
    assert patch_count(tmp_path / "patches.npy", 7) == 3
    assert patch_count(tmp_path / "none.npy", 7) == 7


def test_expected_sizes_of_every_source(tmp_path):
    config = {"rendering": {"preset": "nersemble", "views": 3, "width": 70, "height": 80}, "nersemble": {"cameras": ["1", "2"]}}
    assert expected_sizes("rendered", "", config) == ((70, 80),) * 3
    assert expected_sizes("nersemble", "", config) == (NERSEMBLE_SIZE,) * 2
    assert expected_sizes("photographs", str(tmp_path / "none"), config) == (NERSEMBLE_SIZE,) * 16
    folder = tmp_path / "images"  # as an ETH dataset has it
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).touch()
    assert expected_sizes("eth", str(tmp_path), config) == (NERSEMBLE_SIZE,) * 2
    other = tmp_path / "photographs"
    _photograph(other / "a.jpg", 30, 20)
    _photograph(other / "b.jpg", 300, 200)
    assert expected_sizes("photographs", str(other), config) == ((300, 200),) * 2


def _photograph(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width), np.uint8))


def test_time_in_which_a_stage_is_at_work(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import bench_plan

    intervals = [(10.0, 12.0), (11.0, 13.0), (11.5, 12.5), (15.0, 20.0)]  # 2 of 10 seconds are idle
    assert bench_plan.covered(intervals) == bench_plan.covered(reversed(intervals)) == 8.0
    assert bench_plan.covered([]) == 0.0
