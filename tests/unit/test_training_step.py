"""One step: gradient caching and several processes give the gradient of the whole batch, and nothing waits for the device."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patch_sets import write_dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.descriptors.networks import build_network
from porepatch_lib.training.distributed import Workers
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.loop import take_step
from porepatch_lib.training.losses.make import make_loss
from porepatch_lib.training.recipes import with_recipe
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.step import StepPlan, accumulate_gradient
from porepatch_lib.training.train import prepare

POINTS = 12

# One of two processes: takes its share of the batch in the file and writes the gradient.
WORKER = """
import sys, pathlib, torch
from safetensors.torch import load_file, save_file
from porepatch_lib.training.distributed import join_workers, leave_workers
from test_training_step import WithScaledHead, gradient_of
folder, rank = pathlib.Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
batch = load_file(folder / "batch.safetensors")
workers = join_workers(rank, 2, folder, torch.device("cpu"))
mine = workers.share(len(batch["anchors"]))
loss, gradient = gradient_of(WithScaledHead(), batch["anchors"][mine], batch["positives"][mine], workers=workers)
save_file(gradient | {"loss": loss}, folder / f"{rank}.safetensors")
leave_workers()
"""


class WithScaledHead(DescriptorNetwork):
    """A small network whose head has parameters and looks at the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(1, 4, 5, stride=4)
        self.last = nn.Linear(4 * 7 * 7, 8)
        self.norm = nn.BatchNorm1d(8)

    def features(self, patches: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(patches / 255)).flatten(1))

    def head(self, features: Tensor) -> Tensor:
        return self.norm(features)


def gradient_of(
    network: DescriptorNetwork, anchors: Tensor, positives: Tensor, micro_batch: int = 0, workers: Workers | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    plan = StepPlan(network.features, torch.float32, micro_batch, workers or Workers())
    free = torch.zeros(POINTS, POINTS, dtype=torch.bool)
    loss = accumulate_gradient(network.train(), make_loss("hynet", 1.2), (anchors, positives), free, 0.0, 7, plan)
    return loss, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def assert_close(gradient: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal to 5e-5 of each tensor's largest entry; a bias in front of a batch norm has none but rounding errors."""
    largest = max(value.abs().max().item() for value in expected.values())
    assert set(gradient) == set(expected)
    for name, value in expected.items():
        tolerance = 5e-5 * value.abs().max().item() + 2e-6 * largest
        np.testing.assert_allclose(gradient[name], value, rtol=0, atol=tolerance, err_msg=name)


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    anchors = torch.randint(0, 256, (POINTS, 1, 32, 32), generator=generator).float()
    return anchors, (anchors + 20 * torch.randn(anchors.shape, generator=generator)).clamp(0, 255)


def _network(dropout: float) -> DescriptorNetwork:
    torch.manual_seed(2)
    network = build_network("hynet")
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return network


@pytest.mark.parametrize("micro_batch", [1, 5, 6])
def test_gradient_caching_is_exact(micro_batch: int) -> None:
    whole, cached = _network(0.0), _network(0.0)
    expected_loss, expected = gradient_of(whole, *_batch())
    loss, gradient = gradient_of(cached, *_batch(), micro_batch=micro_batch)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert_close(gradient, expected)
    for name, value in whole.state_dict().items():  # running statistics moved once, not twice
        np.testing.assert_allclose(cached.state_dict()[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_dropout_repeats_in_the_second_pass() -> None:
    """The gradient is that of the descriptors the loss saw: it equals one graph over the same parts and seeds."""
    network = _network(0.3)
    loss, gradient = gradient_of(network, *_batch(), micro_batch=5)
    reference = _network(0.3).train()
    sides = []
    for side, patches in enumerate(_batch()):
        parts = []
        for number, part in enumerate(patches.split(5)):
            torch.manual_seed(7 + 2 * number + side)
            parts.append(reference.features(part))
        sides.append(reference.head(torch.cat(parts)))
    expected = make_loss("hynet", 1.2)(*sides, None, 0.0)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_close(gradient, {name: p.grad for name, p in reference.named_parameters() if p.grad is not None})


def test_gradient_caching_keeps_no_graph_of_the_whole_batch() -> None:
    def most_kept(micro_batch: int) -> int:
        alive = most = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal alive, most
            alive += tensor.numel()
            most = max(most, alive)
            return tensor

        def give(tensor: Tensor) -> Tensor:
            nonlocal alive
            alive -= tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, give):
            gradient_of(WithScaledHead(), *_batch(), micro_batch=micro_batch)
        return most

    assert most_kept(2) < 0.5 * most_kept(0)


def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    anchors, positives = _batch()
    expected_loss, expected = gradient_of(WithScaledHead(), anchors, positives)
    save_file({"anchors": anchors, "positives": positives}, tmp_path / "batch.safetensors")
    program = [sys.executable, "-c", WORKER, str(tmp_path)]
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = {"PYTHONPATH": ":".join(folders), "OMP_NUM_THREADS": "1", "PATH": ""}
    workers = [subprocess.Popen([*program, str(rank)], env=environment) for rank in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    for rank in range(2):
        gradient = load_file(tmp_path / f"{rank}.safetensors")
        assert gradient["loss"].item() == pytest.approx(expected_loss.item(), rel=1e-5)
        assert_close({name: gradient[name] for name in expected}, expected)


class NoWaiting(TorchDispatchMode):
    """Raises where a GPU would have to answer before the program could go on."""

    _WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(self._WAITING):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_waiting_is_noticed() -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(1).sum().item()


@pytest.mark.parametrize("architecture", ["hynet", "hardnet", "sosnet", "ralnet", "cdfstc", "sdgmnet", "tfeat"])
def test_a_step_never_waits_for_the_device(architecture: str, tmp_path: Path) -> None:
    settings = TrainingSettings(
        architecture, points_per_batch=16, resident="always", rotation_deg=3.0, log2_gain=0.1, precision="float32"
    )
    outputs = {name: tmp_path / name for name in ("output_weights", "output_card", "output_curve", "checkpoint_folder")}
    job = TrainingJob(**write_dataset(tmp_path, 40), **outputs, settings=settings, seed=1, threads=1)
    network = build_network(architecture).train()
    run, _ = prepare(network, job, with_recipe(settings), Workers(), torch.device("cpu"))
    loss = make_loss(run.settings.loss, run.settings.margin)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, fused=True)
    take_step(network, loss, optimiser, run, 0)  # what is made once may wait
    with NoWaiting():
        value = take_step(network, loss, optimiser, run, 1)
    assert torch.isfinite(value)


def test_job_survives_its_file(tmp_path: Path) -> None:
    names = [field.name for field in dataclasses.fields(TrainingJob)][:9]
    job = TrainingJob(
        **{name: tmp_path / name for name in names},
        settings=TrainingSettings(steps=7),
        seed=1,
        threads=2,
        tensorboard_folder=tmp_path,
        networks={"mine": "package.module:Class"},
    )
    job.save(tmp_path / "job.json")
    assert TrainingJob.load(tmp_path / "job.json") == job
