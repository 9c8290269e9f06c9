"""The first stages through `sbatch` on a Slurm that keeps no accounts, watched through `squeue`."""

from __future__ import annotations

import subprocess

from login_node import LoginNode, queued_jobs


def test_run_by_squeue(login_node: LoginNode):
    refused = subprocess.run(["sacct"], capture_output=True, text=True, check=False)
    assert "accounting storage is disabled" in refused.stdout + refused.stderr
    target = "results/round0/descriptors/tiny01.npy"
    login_node.run(target, "--slurm-status-command", "squeue", "--set-resources", "describe:gpu=1")
    assert (login_node.folder / target).exists()
    jobs = queued_jobs()
    assert [job.state for job in jobs] == ["COMPLETED"] * 3
    assert {job.comment for job in jobs if job.gpus == 1} == {"rule_describe_wildcards_0_tiny01"}
    assert {job.partition for job in jobs if job.gpus == 0} == {"cpu"}
