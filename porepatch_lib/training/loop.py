"""The training loop. Every step's randomness comes from (seed, step), so a resumed run repeats the uninterrupted one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.failures import Terminated
from porepatch_lib.progress import progress
from porepatch_lib.signals import postponed_sigterm
from porepatch_lib.training import guard
from porepatch_lib.training.augmentation import change, draw_changes
from porepatch_lib.training.checkpoints import History, restore_checkpoint, save_checkpoint
from porepatch_lib.training.data import PatchSource, to_device
from porepatch_lib.training.logs import TrainingLog
from porepatch_lib.training.losses.make import PairLoss, make_loss
from porepatch_lib.training.sampling import PointSampler, generator_for
from porepatch_lib.training.schedule import learning_rate_factor
from porepatch_lib.training.settings import CompleteSettings, TrainingSettings
from porepatch_lib.training.step import StepPlan, accumulate_gradient
from porepatch_lib.training.validation import ValidationPairs, validation_fpr95

_AUGMENTATION_STREAM, _DROPOUT_STREAM = 2, 3  # keep these random numbers apart from the sampler's


@dataclass(frozen=True)
class Run:
    """What the loop needs besides the network.

    The fingerprint names data, settings and seed: a checkpoint with another one is not continued.
    """

    source: PatchSource
    sampler: PointSampler
    validation_source: PatchSource
    validation_pairs: ValidationPairs
    settings: CompleteSettings
    peak_learning_rate: float
    seed: int
    plan: StepPlan
    checkpoint_folder: Path
    tensorboard_folder: Path | None
    fingerprint: str


def fit(network: DescriptorNetwork, run: Run) -> History:
    """Train `network` in place, from the run's checkpoint if there is one, until the settings or the guard end it.

    Raises:
        Terminated: on SIGTERM, after the step under way and with a checkpoint of it (by a process that trains alone).
    """
    settings = run.settings
    loss = make_loss(settings.loss, settings.margin).to(run.source.device)
    optimiser = _optimiser(network, run)
    history = restore_checkpoint(run.checkpoint_folder, run.fingerprint, network, optimiser, loss)
    if not history.validations:
        _validate(network, run, history)
    network.train()
    pending: list[Tensor] = []  # losses on the device: nothing waits for them before they are due
    with (
        TrainingLog(run.tensorboard_folder, history, settings, 2 * run.sampler.points_per_batch) as log,
        postponed_sigterm(run.plan.workers.count == 1) as told_to_end,
    ):
        for step in _steps(run, history):
            pending.append(take_step(network, loss, optimiser, run, step))
            ends = told_to_end()
            validates, saves = (_due(step + 1, every, settings) for every in (settings.validate_every, settings.checkpoint_every))
            if validates or saves or ends:
                history.record_losses(torch.stack(pending).tolist())
                pending.clear()
                log.losses(history, run.peak_learning_rate)
            if history.diverged:
                break
            if validates:
                _validate(network, run, history)
                log.validation(history)
            if (saves or ends) and run.plan.workers.leads:
                save_checkpoint(run.checkpoint_folder, run.fingerprint, network, optimiser, history, loss)
            if ends:
                raise Terminated
            if validates and guard.status(history, settings):
                break
    return history


def _steps(run: Run, history: History) -> Iterator[int]:
    """The steps still to do, with a progress line in patches/s from the process that leads."""
    settings = run.settings
    if guard.status(history, settings):
        return iter(())
    steps = range(history.steps, settings.steps)
    if not run.plan.workers.leads:
        return iter(steps)
    what = f"train {settings.architecture}"
    return progress(steps, what, " patches", settings.steps, history.steps, 2 * run.sampler.points_per_batch)


def take_step(network: DescriptorNetwork, loss: PairLoss, optimiser: Optimizer, run: Run, step: int) -> Tensor:
    """Take one optimiser step; returns the loss, still on the device."""
    settings, workers = run.settings, run.plan.workers
    rate = run.peak_learning_rate * learning_rate_factor(step, settings)
    for group in optimiser.param_groups:
        group["lr"] = rate
    batch = run.sampler.batch(step)
    mine = workers.share(len(batch.anchors))
    generator = generator_for(run.source.device, run.seed, _AUGMENTATION_STREAM, step)
    changes = draw_changes(len(batch.anchors), settings, generator).of_points(mine)
    sides = change(run.source.take(batch.anchors[mine]), run.source.take(batch.positives[mine]), changes)
    seed = int(np.random.SeedSequence([run.seed, _DROPOUT_STREAM, step, workers.rank]).generate_state(1)[0])
    optimiser.zero_grad()
    not_negatives = to_device(batch.not_negatives, run.source.device)
    value = accumulate_gradient(network, loss, sides, not_negatives, step / settings.steps, seed, run.plan)
    optimiser.step()
    return value


def _optimiser(network: DescriptorNetwork, run: Run) -> Optimizer:
    settings, rate, parameters = run.settings, run.peak_learning_rate, network.parameters()
    decay, fused = settings.weight_decay, run.source.device.type in ("cpu", "cuda")
    if settings.optimiser == "adam":
        return Adam(parameters, rate, weight_decay=decay, fused=fused)
    return SGD(parameters, rate, settings.momentum, settings.dampening, decay, fused=fused)


def _due(done: int, every: int, settings: TrainingSettings) -> bool:
    return done % every == 0 or done == settings.steps


def _validate(network: DescriptorNetwork, run: Run, history: History) -> None:
    fpr95 = validation_fpr95(network, run.validation_source, run.validation_pairs)
    history.record_validation(run.plan.workers.agree(fpr95), network)
