"""The learning rate over a run."""

from __future__ import annotations

import math

from porepatch_lib.training.settings import TrainingSettings


def learning_rate_factor(step: int, settings: TrainingSettings) -> float:
    """Return the share of the peak learning rate at `step` = 0, 1, ...: linear warm-up, then the schedule."""
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    if settings.schedule == "linear":
        return 1 - done
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if settings.schedule == "halving":
        return 0.5 ** (10 * (step - settings.warmup_steps) // (settings.steps - settings.warmup_steps))
    return 1.0
