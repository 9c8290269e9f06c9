"""The training stage: patches in, the weights with the lowest validation FPR95 out."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn

from porepatch_lib.descriptors.hynet import HyNet
from porepatch_lib.descriptors.networks import build_network, load_network, resolve_device
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, sha256_of, write_json
from porepatch_lib.patches.store import open_store
from porepatch_lib.training.checkpoints import History, remove_checkpoint
from porepatch_lib.training.loop import Run, fit, learning_rate_factor
from porepatch_lib.training.sampling import make_sampler, read_small_patches
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.validation import read_validation_set

_LOG = logging.getLogger(__name__)
_COLLAPSED_FPR95 = 0.9


def train(
    train_patches: Path,
    train_index: Path,
    validation_patches: Path,
    validation_index: Path,
    validation_pairs: Path,
    output_weights: Path,
    output_card: Path,
    output_curve: Path,
    checkpoint_folder: Path,
    settings: TrainingSettings,
    initial_weights: Path | None,
    seed: int,
    threads: int,
    device: str = "auto",
) -> None:
    """Train a network; write its best weights, a card (JSON) about the run and the learning curve (CSV).

    A run that is killed resumes from `checkpoint_folder` and, on the same machine with the same number of threads,
    ends with the same weights bit for bit. The checkpoint is removed after success.
    Raises PorePatchError on data that cannot be trained on, unfitting initial weights or a diverging loss.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    chosen_device = resolve_device(device)
    precision = choose_precision(settings.precision, chosen_device)
    patches, index = open_store(train_patches, train_index)
    held_out_patches, held_out_index = open_store(validation_patches, validation_index)
    crop_factor = _common_crop_factor(index, train_index, held_out_index, validation_index)
    sources = [train_patches, train_index, validation_patches, validation_index, validation_pairs]
    data_hash = _digest([sha256_of(path) for path in sources])
    initial_hash = sha256_of(initial_weights) if initial_weights else None
    plan = [data_hash, initial_hash, dataclasses.asdict(settings), seed, str(chosen_device), str(precision), torch.__version__]
    run = Run(
        patches=read_small_patches(patches),
        sampler=make_sampler(index, settings.points_per_batch, settings.neighbour_radius_px, seed),
        validation=read_validation_set(held_out_patches, validation_pairs, settings.validation_pairs, seed),
        settings=settings,
        peak_learning_rate=settings.warm_start_learning_rate if initial_weights else settings.learning_rate,
        seed=seed,
        device=chosen_device,
        precision=precision,
        checkpoint_folder=checkpoint_folder,
        fingerprint=_digest(plan),
    )
    network = _initial_network(settings, initial_weights, seed).to(chosen_device)
    _LOG.info("Training on %d patches of %d points, %s, %s.", len(index), len(run.sampler.starts), chosen_device, precision)
    started = time.perf_counter()
    history = fit(network, run)
    patches_trained = 2 * run.sampler.points_per_batch * (history.steps - history.resumed_at)
    patches_per_second = patches_trained / (time.perf_counter() - started)  # validation included

    best_step, best_fpr95 = history.best
    card = {
        "architecture": settings.architecture,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "input": "32x32, grey values 0..255, no normalisation outside the network",
        "crop_factor": crop_factor,
        "data_sha256": data_hash,
        "initial_weights_sha256": initial_hash,
        "train_patches": len(index),
        "train_points": len(run.sampler.starts),
        "validation_pairs": len(run.validation.is_match),
        "settings": dataclasses.asdict(settings),
        "points_per_batch": run.sampler.points_per_batch,
        "seed": seed,
        "threads": threads,
        "device": str(chosen_device),
        "precision": str(precision).removeprefix("torch."),
        "torch": torch.__version__,
        "steps": history.steps,
        "resumed_at": history.resumed_at,
        "best_step": best_step,
        "validation_fpr95": best_fpr95,
        "validation_fpr95_initial": history.validations[0][1],
        "validation_fpr95_last": history.validations[-1][1],
        "warning": _collapse_warning(best_fpr95),
        "patches_per_second": round(patches_per_second, 1),
    }
    write_weights(output_weights, history.best_weights, settings.architecture)
    _write_curve(output_curve, history, run)
    write_json(output_card, card)
    remove_checkpoint(checkpoint_folder)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the type convolutions compute in; "auto" is bfloat16 where the processor multiplies it natively."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def write_weights(path: Path, weights: dict[str, torch.Tensor], architecture: str) -> None:
    """Write a state dict as safetensors; the metadata names the architecture."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary, {"architecture": architecture})


def _initial_network(settings: TrainingSettings, initial_weights: Path | None, seed: int) -> HyNet:
    torch.manual_seed(seed)
    network = load_network(initial_weights) if initial_weights else build_network(settings.architecture)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = settings.dropout
    if not isinstance(network, HyNet):
        raise PorePatchError(f"The weights {initial_weights} are not those of '{settings.architecture}'; give such, or none.")
    return network


def _common_crop_factor(train: pd.DataFrame, train_path: Path, validation: pd.DataFrame, validation_path: Path) -> float:
    factors = sorted(set(train["crop_factor"]) | set(validation["crop_factor"]))
    if len(factors) != 1:
        raise PorePatchError(
            f"The patches of {train_path} and {validation_path} were cut with crop factors {factors}, "
            "but one network needs one; delete both files and run again."
        )
    return float(factors[0])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _collapse_warning(fpr95: float) -> str:
    if fpr95 < _COLLAPSED_FPR95:
        return ""
    warning = (
        f"The best validation FPR95 is {100 * fpr95:.1f} %: the network did not learn to tell points apart; "
        "give it more steps, more data or a lower learning rate."
    )
    _LOG.warning("%s", warning)
    return warning


def _write_curve(path: Path, history: History, run: Run) -> None:
    """Write one row per step; row 0 is the initial state. Loss is per point; validation_fpr95 is empty between validations."""
    validations = dict(history.validations)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["step", "learning_rate", "loss", "validation_fpr95"])
        for step in range(history.steps + 1):
            rate = run.peak_learning_rate * learning_rate_factor(step - 1, run.settings) if step else ""
            loss = history.losses[step - 1] if step else ""
            writer.writerow([step, rate, loss, validations.get(step, "")])
