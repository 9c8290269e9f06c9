"""Results on a disk that fills, or that may only be read: one clear sentence, and what was made before stays good."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml
from disturb import data_of, differences, leftovers

_TARGET = "round0/descriptors/tiny01.npy"  # 2 MB


@pytest.fixture
def run_on_disk(snakemake, small_disk, tiny_folder):
    """Ask for the target with results on the small disk, where the captures lie already."""
    results = small_disk / "results"
    shutil.copytree(tiny_folder / "results/captures/tiny01", results / "captures/tiny01")
    config = yaml.safe_load((tiny_folder / "config.yaml").read_text()) | {"pathvars": {"results": str(results)}}
    (tiny_folder / "disk.yaml").write_text(yaml.safe_dump(config))
    return lambda: snakemake(str(results / _TARGET), config=tiny_folder / "disk.yaml")


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(finished, small_disk, run_on_disk):
    _, undisturbed = finished
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**20))
    process = run_on_disk()
    assert process.returncode != 0
    assert (
        f"The disk is full at {small_disk}/results/{_TARGET}; make room and run again: what is finished stays." in process.stdout
    )
    assert "Traceback" not in process.stdout
    assert leftovers(small_disk / "results") == []
    assert "keypoints/tiny01.parquet" in data_of(small_disk / "results")

    filler.unlink()
    assert run_on_disk().returncode == 0
    assert differences(undisturbed, small_disk / "results", part=True) == []


def test_a_disk_that_may_only_be_read_stops_the_run_before_its_first_job(finished, small_disk, run_on_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    process = run_on_disk()
    assert process.returncode != 0
    assert process.stdout.count(f"The folder {small_disk}/results may not be written; mend its permissions or give another") == 1
    assert "Traceback" not in process.stdout and "Error in rule" not in process.stdout

    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert run_on_disk().returncode == 0
