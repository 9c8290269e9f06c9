"""Killed at any moment and run again, by other cores and so in another order, the workflow makes the same files."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import yaml
from disturb import data_of, differences, leftovers, run_killed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

_TARGET = "round0/model/hynet.safetensors"
_JOBS = 17  # from the captures to a trained network


def test_killed_three_times_it_makes_the_same(finished, tiny_folder):
    """`make test-kill` does it twenty times over the whole of the tiny workflow."""
    _, undisturbed = finished
    results = tiny_folder / "killed"
    shutil.copytree(undisturbed / "captures", results / "captures")  # drawn anew they would take most of the time
    config = yaml.safe_load((tiny_folder / "config.yaml").read_text()) | {"pathvars": {"results": str(results)}}
    (tiny_folder / "killed.yaml").write_text(yaml.safe_dump(config))
    draw = np.random.default_rng(8)
    moments = sorted(zip(draw.choice(_JOBS, 3, replace=False).tolist(), draw.uniform(0.5, 2.5, 3).tolist(), strict=True))
    arguments = [str(results / _TARGET), "--configfile", str(tiny_folder / "killed.yaml"), "--cores", "3", "--resources", "gpu=1"]
    killed = run_killed(arguments, moments)
    assert len(killed.kills) == 3
    assert _TARGET in data_of(results)
    assert differences(undisturbed, results, part=True) == []
    assert leftovers(results) == []
