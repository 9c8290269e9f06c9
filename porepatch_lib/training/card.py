"""The model card: what a trained network is, what it saw, and how it went."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.training import guard
from porepatch_lib.training.checkpoints import History
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.loop import Run


def model_card(network: DescriptorNetwork, job: TrainingJob, run: Run, history: History, data: dict[str, Any]) -> dict[str, Any]:
    """Return the card as JSON values. `data`: what is known of the patches (hashes, counts, crop factor)."""
    best_step, best_fpr95 = history.best
    side, patches_per_step = network.patch_side, 2 * run.sampler.points_per_batch
    return data | {
        "architecture": run.settings.architecture,
        "network": job.networks.get(run.settings.architecture),  # of a third party
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "dimension": network.dimension,
        "patch_side": side,
        "input": f"{side}x{side}, grey values 0..255",
        "normalisation": network.normalisation,
        "settings": dataclasses.asdict(run.settings),
        "points_per_batch": run.sampler.points_per_batch,
        "seed": job.seed,
        "threads": job.threads,
        "processes": run.plan.workers.count,
        "device": str(run.source.device),
        "precision": str(run.plan.precision).removeprefix("torch."),
        "versions": _versions(),
        "status": guard.status(history, run.settings),
        "warning": _warning(history, run),
        "steps": history.steps,
        "resumed_at": history.resumed_at,
        "best_step": best_step,
        "validation_fpr95": best_fpr95,
        "validation_fpr95_initial": history.validations[0][1],
        "validation_fpr95_last": history.validations[-1][1],
        "validation_curve": [list(validation) for validation in history.validations],
        "patches_per_second": round(patches_per_step * history.steps_per_second, 1),
        "seconds": round(history.seconds, 1),
    }


def _warning(history: History, run: Run) -> str:
    failed = guard.at_chance(history) or guard.status(history, run.settings) == guard.COLLAPSED
    return guard.sentence(run.settings.architecture, history) if failed else ""


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "porepatch": version("porepatch"),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
