"""The training stage: patches in, the weights with the lowest validation FPR95 out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.descriptors.networks import build_network, choose_precision, device_name, load_network, resolve_device
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import sha256_of, write_json
from porepatch_lib.patches.store import open_store
from porepatch_lib.training import guard
from porepatch_lib.training.card import model_card
from porepatch_lib.training.checkpoints import History, remove_checkpoint, write_tensors
from porepatch_lib.training.compilation import compiled_features
from porepatch_lib.training.data import open_source
from porepatch_lib.training.distributed import Workers, join_workers, launch, leave_workers
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.logs import write_curve
from porepatch_lib.training.loop import Run, fit
from porepatch_lib.training.recipes import with_recipe
from porepatch_lib.training.sampling import make_sampler
from porepatch_lib.training.settings import CompleteSettings
from porepatch_lib.training.step import StepPlan
from porepatch_lib.training.validation import read_validation_pairs

_LOG = logging.getLogger(__name__)


def train(job: TrainingJob) -> str:
    """Train a network; write its best weights, a card (JSON) about the run and the learning curve (CSV).

    A run that is killed resumes from its checkpoint folder and, on the same machine with the same number of threads,
    ends with the same weights bit for bit. The checkpoint is removed after success. Returns the name of the device used.

    Raises:
        PorePatchError: on data that cannot be trained on, unfitting initial weights, a diverging loss or, unless the job
            keeps it, a collapsed network.
    """
    device = resolve_device(job.device)
    processes = job.settings.processes or max(_visible_gpus(device), 1)
    if processes > 1:
        launch(job, processes)
    else:
        _train(job, Workers(), device)
    return device_name(device)


def train_as_worker(job: TrainingJob, rank: int, count: int, meeting_folder: Path) -> None:
    """Do the part of process `rank` of `count`, each with a GPU of its own where there are any."""
    device = resolve_device(job.device)
    if device.type == "cuda":
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    workers = join_workers(rank, count, meeting_folder, device)
    try:
        _train(dataclasses.replace(job, threads=max(job.threads // count, 1)), workers, device)
    finally:
        leave_workers()


def _train(job: TrainingJob, workers: Workers, device: torch.device) -> None:
    torch.set_num_threads(job.threads)
    torch.backends.cudnn.deterministic = True
    settings = with_recipe(job.settings)
    network = _initial_network(job, settings).to(device)
    if device.type == "cuda":  # where this order of memory is the fast one; on a CPU the networks see to it
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run, data = prepare(network, job, settings, workers, device)
    _LOG.info("Training %s on %d points, %s, %s.", settings.architecture, len(run.sampler.starts), device, run.plan.precision)
    history = fit(network, run)
    status = guard.status(history, settings)
    if status == guard.COLLAPSED and not job.keep_collapsed:
        raise PorePatchError(guard.sentence(settings.architecture, history))
    if workers.leads:
        _write(job, run, history, model_card(network, job, run, history, data))


def write_weights(path: Path, weights: dict[str, Tensor], architecture: str) -> None:
    """Write a state dict as safetensors; the metadata names the architecture."""
    write_tensors(path, weights, {"architecture": architecture})


def prepare(
    network: DescriptorNetwork, job: TrainingJob, settings: CompleteSettings, workers: Workers, device: torch.device
) -> tuple[Run, dict[str, Any]]:
    """Open the data; returns the run and what its card says about the patches."""
    patches, index = open_store(job.train_patches, job.train_index)
    held_out_patches, held_out_index = open_store(job.validation_patches, job.validation_index)
    data = _describe_data(job, index, held_out_index)
    precision = choose_precision(settings.precision, device)
    source = open_source(patches, network.patch_side, device, settings.resident)
    warm = job.initial_weights is not None
    plan = [data, dataclasses.asdict(settings), job.seed, str(device), str(precision), workers.count, torch.__version__]
    run = Run(
        source=source,
        sampler=make_sampler(index, settings.points_per_batch, settings.neighbour_radius_px, job.seed, source.rows_device),
        validation_source=open_source(held_out_patches, network.patch_side, device, "never"),
        validation_pairs=read_validation_pairs(job.validation_pairs, settings.validation_pairs, job.seed),
        settings=settings,
        peak_learning_rate=settings.warm_start_learning_rate if warm else settings.learning_rate,
        seed=job.seed,
        plan=StepPlan(compiled_features(network, settings.compile, device), precision, settings.micro_batch, workers),
        checkpoint_folder=job.checkpoint_folder,
        tensorboard_folder=job.tensorboard_folder if workers.leads else None,
        fingerprint=hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest(),
    )
    return run, data | {"train_points": len(run.sampler.starts), "validation_pairs": len(run.validation_pairs.is_match)}


def _describe_data(job: TrainingJob, index: pd.DataFrame, held_out: pd.DataFrame) -> dict[str, Any]:
    sources = [job.train_patches, job.train_index, job.validation_patches, job.validation_index, job.validation_pairs]
    return {
        "crop_factor": _common_crop_factor(index, job.train_index, held_out, job.validation_index),
        "data_sha256": hashlib.sha256("".join(sha256_of(path) for path in sources).encode()).hexdigest(),
        "initial_weights_sha256": sha256_of(job.initial_weights) if job.initial_weights else None,
        "train_patches": len(index),
    }


def _write(job: TrainingJob, run: Run, history: History, card: dict[str, Any]) -> None:
    write_weights(job.output_weights, history.best_weights, run.settings.architecture)
    write_curve(job.output_curve, history, run.settings, run.peak_learning_rate)
    write_json(job.output_card, card)
    remove_checkpoint(job.checkpoint_folder)


def _initial_network(job: TrainingJob, settings: CompleteSettings) -> DescriptorNetwork:
    torch.manual_seed(job.seed)
    architecture = settings.architecture
    network = build_network(architecture, job.networks)
    if job.initial_weights:
        initial = load_network(job.initial_weights, job.networks)
        if type(initial) is not type(network):
            raise PorePatchError(f"The weights {job.initial_weights} are not those of '{architecture}'; give such, or none.")
        network = initial
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = settings.dropout
    return network


def _common_crop_factor(train: pd.DataFrame, train_path: Path, validation: pd.DataFrame, validation_path: Path) -> float:
    factors = sorted(set(train["crop_factor"]) | set(validation["crop_factor"]))
    if len(factors) != 1:
        raise PorePatchError(
            f"The patches of {train_path} and {validation_path} were cut with crop factors {factors}, "
            "but one network needs one; delete both files and run again."
        )
    return float(factors[0])


def _visible_gpus(device: torch.device) -> int:
    return torch.cuda.device_count() if device.type == "cuda" else 0
