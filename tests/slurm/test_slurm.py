"""The tiny workflow through `sbatch`, watched through `sacct`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from login_node import SOURCES, LoginNode, SlurmJob, accounted_jobs

sys.path.insert(0, str(SOURCES / "tests/workflow"))
from disturb import data_of, differences, leftovers
from golden import GOLDEN, measure

NETWORK_RULES = ("describe_calibration", "describe_features", "describe_test", "matching_score")


def _helped_by_gpu(job: SlurmJob) -> bool:
    """Whether a GPU helps a job: it trains, or describes by a network of this run."""
    rule, _, wildcards = job.comment.removeprefix("rule_").partition("_wildcards_")
    if rule == "describe":
        return not wildcards.startswith("0_")
    return rule == "train" or (rule in NETWORK_RULES and re.search(r"round\d-", wildcards) is not None)


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def finished(login_node: LoginNode) -> tuple[LoginNode, list[SlurmJob]]:
    """The tiny workflow, run once through Slurm, and its jobs."""
    login_node.run()
    return login_node, accounted_jobs()


def test_run_ends_with_the_numbers_of_a_local_run(finished):
    node, jobs = finished
    assert "round1-hynet" in (node.results / "report/summary.md").read_text()
    assert {job.state for job in jobs} == {"COMPLETED"}
    found = measure(node.results)
    for stage, expected in json.loads(GOLDEN.read_text()).items():
        assert found[stage] == pytest.approx(expected["numbers"], rel=1e-3), stage


def test_jobs_hold_a_gpu_where_it_helps_and_nowhere_else(finished):
    _, jobs = finished
    helped = {job.comment for job in jobs if _helped_by_gpu(job)}
    assert {job.comment for job in jobs if job.gpus == 1} == helped
    assert {job.comment for job in jobs if job.gpus} == helped
    assert {"rule_train_wildcards_0_hynet", "rule_train_wildcards_1_hynet", "rule_describe_wildcards_1_tiny01"} <= helped


def test_partition_follows_the_gpu(finished):
    _, jobs = finished
    assert {(job.partition, job.gpus) for job in jobs} == {("gpu", 1), ("cpu", 0)}


def test_small_jobs_ride_together(finished):
    _, jobs = finished
    alone = {job.comment.removeprefix("rule_").partition("_wildcards_")[0] for job in jobs}
    assert not alone & {"view_pairs", "survey", "tracks", "card", "contact_sheet", "audit", "worst_pairs", "draw_clouds"}
    assert {job.cpus for job in jobs} == {1}  # they run in turn
    assert len(jobs) < 110  # of 140


def test_job_over_its_memory_is_killed_and_retried_with_more(another_login_node: LoginNode):
    before = accounted_jobs()[-1].id if accounted_jobs() else 0
    target = "results/captures/tiny01/images.parquet"
    another_login_node.run(target, "--set-resources", "render:mem_mb=400*4**(attempt-1)")
    first, second, *_ = jobs = accounted_jobs(before)
    assert first.state != "COMPLETED"
    assert second.memory_mb > first.memory_mb == 400
    assert jobs[-1].state == "COMPLETED"
    assert (another_login_node.folder / target).exists()


def test_head_killed_while_jobs_run(finished, another_login_node: LoginNode):
    """The jobs of the killed head run on beside those of the next one, and both write the same files."""
    undisturbed, _ = finished
    before, target = accounted_jobs()[-1].id, "results/keypoints/tiny01.parquet"
    head = another_login_node.start(target)
    _wait(lambda: any(job.state == "RUNNING" for job in accounted_jobs(before)), seconds=60)
    time.sleep(3)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    another_login_node.run("--unlock")
    another_login_node.run(target)
    _wait(lambda: all(job.state not in ("RUNNING", "PENDING") for job in accounted_jobs(before)), seconds=120)
    assert accounted_jobs(before)[-1].state == "COMPLETED"
    assert differences(undisturbed.results, another_login_node.results, part=True) == []
    assert Path(target).relative_to("results").as_posix() in data_of(another_login_node.results)
    assert leftovers(another_login_node.results) == []
