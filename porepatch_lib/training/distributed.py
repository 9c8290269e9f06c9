"""Several processes that share every batch: each describes its part, all see the whole loss.

Descriptors are exchanged, not losses: every process computes the loss of the whole batch, back-propagates through its own
part, and the gradients of the parameters are summed. That is the gradient of one process, whatever the number of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn import Module

from porepatch_lib.errors import PorePatchError
from porepatch_lib.training.job import TrainingJob

_ERROR_FILE = "error.txt"
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Workers:
    """This process among those that share a batch; one process alone needs no group."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """True for the process that writes files and talks."""
        return self.rank == 0

    def share(self, points: int) -> slice:
        """Return this process's part of a batch of `points`."""
        return slice(points * self.rank // self.count, points * (self.rank + 1) // self.count)

    def gather(self, part: Tensor, points: int) -> Tensor:
        """Return the rows (points,D) of all processes in order; `part` are this one's. Nothing flows back through it."""
        if self.count == 1:
            return part.detach()
        whole = part.new_zeros(points, *part.shape[1:])
        whole[self.share(points)] = part.detach()
        distributed.all_reduce(whole)
        return whole

    def sum_gradients(self, network: Module) -> None:
        """Add up the gradients of all processes, as one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def agree(self, value: float) -> float:
        """Return the leading process's value, so that all take the same decisions."""
        if self.count == 1:
            return value
        device = torch.device("cuda", self.rank) if distributed.get_backend() == "nccl" else torch.device("cpu")
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(shared, src=0)
        return float(shared.item())


def join_workers(rank: int, count: int, folder: Path, device: torch.device) -> Workers:
    """Join the group of `count` processes that meet in `folder`: NCCL between GPUs, gloo otherwise."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=count)
    return Workers(rank, count)


def leave_workers() -> None:
    """Leave the group."""
    distributed.destroy_process_group()


def launch(job: TrainingJob, count: int) -> None:
    """Run `job` in `count` processes of their own and wait for them; the first that fails ends all.

    Raises:
        PorePatchError: with the sentence of the process that failed.
    """
    with tempfile.TemporaryDirectory(prefix="porepatch-workers-") as name:
        folder = Path(name)
        job.save(folder / "job.json")
        program = [sys.executable, "-m", "porepatch_lib.training.worker", str(folder)]
        # Workers find what this process finds: Snakemake extends sys.path, not the environment.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        environment["OMP_NUM_THREADS"] = str(max(job.threads // count, 1))
        workers = [subprocess.Popen([*program, str(rank), str(count)], env=environment) for rank in range(count)]
        try:
            _wait(workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        if any(worker.returncode for worker in workers):
            raise PorePatchError(_failure(folder))


def report_failure(folder: Path, error: PorePatchError) -> None:
    """Leave the sentence of `error` for the process that launched the workers."""
    (folder / _ERROR_FILE).write_text(str(error), encoding="utf-8")


def _wait(workers: list[subprocess.Popen[bytes]]) -> None:
    """Return when all are done or one has failed."""
    running = list(workers)
    while running and not any(worker.returncode for worker in workers):
        with suppress(subprocess.TimeoutExpired):
            running[0].wait(_POLL_SECONDS)
        running = [worker for worker in running if worker.poll() is None]


def _failure(folder: Path) -> str:
    path = folder / _ERROR_FILE
    if path.exists():
        return path.read_text(encoding="utf-8")
    return "One of the training processes died; read the lines above in the log, and look at memory and the GPUs."
