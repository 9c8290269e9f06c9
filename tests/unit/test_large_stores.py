"""Stores that are larger than memory: nothing that merges or reads one holds its patches. bench_stores.py shows 10 million."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

PATCH_MB = 64 * 64 / 2**20


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import bench_stores

    return bench_stores


def test_readers_hold_the_index_alone(bench):
    patches = 100_000
    for row in bench.store_rows(patches, subjects=8):
        assert row["grown_mb"] < 0.5 * patches * PATCH_MB, row


def test_merging_holds_a_block(bench):
    subjects, patches = 10, 5000
    (row,) = bench.merge_rows(subjects, patches)
    assert row["grown_mb"] < 0.7 * subjects * patches * PATCH_MB, row
