"""The training loop. Every step's randomness comes from (seed, step), so a resumed run repeats the uninterrupted one."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from porepatch_lib.descriptors.hynet import HyNet
from porepatch_lib.errors import PorePatchError
from porepatch_lib.progress import progress
from porepatch_lib.training.augmentation import augment
from porepatch_lib.training.checkpoints import History, restore_checkpoint, save_checkpoint
from porepatch_lib.training.losses import hynet_loss
from porepatch_lib.training.sampling import PointSampler
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.validation import ValidationSet, validation_fpr95

_LOG = logging.getLogger(__name__)
_STEP_STREAM = 2  # keeps these random numbers apart from the sampler's


@dataclass(frozen=True)
class Run:
    """What the loop needs besides the network: uint8 patches (N,32,32), their sampler, and the plan.

    The fingerprint names data, settings and seed: a checkpoint with another one is not continued.
    """

    patches: NDArray[np.uint8]
    sampler: PointSampler
    validation: ValidationSet
    settings: TrainingSettings
    peak_learning_rate: float
    seed: int
    device: torch.device
    precision: torch.dtype
    checkpoint_folder: Path
    fingerprint: str


def fit(network: HyNet, run: Run) -> History:
    """Train `network` in place for the steps of the settings, from the run's checkpoint if there is one."""
    settings = run.settings
    optimiser = torch.optim.Adam(network.parameters(), lr=run.peak_learning_rate, fused=True)
    history = restore_checkpoint(run.checkpoint_folder, run.fingerprint, network, optimiser)
    if not history.validations:
        history.record_validation(validation_fpr95(network, run.validation, run.device), network)
    network.train()
    started = time.perf_counter()
    for step in progress(range(history.steps, settings.steps), "train", " steps"):
        for group in optimiser.param_groups:
            group["lr"] = run.peak_learning_rate * learning_rate_factor(step, settings)
        loss = _batch_loss(network, run, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.losses.append(loss.item() / run.sampler.points_per_batch)
        if not math.isfinite(history.losses[-1]):
            raise PorePatchError(f"The training loss is not finite at step {step + 1}; lower 'learning_rate' in the config.")
        last = history.steps == settings.steps
        if last or history.steps % settings.validate_every == 0:
            history.record_validation(validation_fpr95(network, run.validation, run.device), network)
            _log_progress(history, run, time.perf_counter() - started)
        if last or history.steps % settings.checkpoint_every == 0:
            save_checkpoint(run.checkpoint_folder, run.fingerprint, network, optimiser, history)
    return history


def learning_rate_factor(step: int, settings: TrainingSettings) -> float:
    """Return the share of the peak learning rate at `step` = 0, 1, ...: linear warm-up, then the schedule down to 0."""
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[settings.schedule]


def _batch_loss(network: HyNet, run: Run, step: int) -> Tensor:
    """Return the loss of the step's batch. Anchors and positives pass apart, as published: batch norm sees each alone."""
    step_seed = int(np.random.SeedSequence([run.seed, _STEP_STREAM, step]).generate_state(1)[0])
    torch.manual_seed(step_seed)  # dropout reads the global generator
    generator = torch.Generator().manual_seed(step_seed)
    batch = run.sampler.batch(step)
    anchors, positives = (
        torch.from_numpy(run.patches[rows]).unsqueeze(1).to(run.device, torch.float32)
        for rows in (batch.anchors, batch.positives)
    )
    anchors, positives = augment(anchors, positives, run.settings, generator)
    # Without the cache every chunk's weight gradient is summed in float32.
    with torch.autocast(run.device.type, torch.bfloat16, run.precision == torch.bfloat16, cache_enabled=False):
        raw_anchors, raw_positives = network.raw(anchors), network.raw(positives)
    not_negatives = torch.from_numpy(batch.not_negatives).to(run.device)
    return hynet_loss(raw_anchors, raw_positives, not_negatives, margin=run.settings.margin)


def _log_progress(history: History, run: Run, seconds: float) -> None:
    steps_done = history.steps - history.resumed_at
    recent = history.losses[-run.settings.validate_every :]
    _LOG.info(
        "step %d of %d: loss per point %.3f, validation FPR95 %.2f %%, %.0f patches/s, %.0f s left",
        history.steps,
        run.settings.steps,
        sum(recent) / len(recent),
        100 * history.validations[-1][1],
        2 * run.sampler.points_per_batch * steps_done / seconds,
        seconds / steps_done * (run.settings.steps - history.steps),
    )
