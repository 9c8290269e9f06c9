"""State of a training run on disk: one safetensors file, replaced whole, without pickle."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from porepatch_lib.files import atomic_path

_LOG = logging.getLogger(__name__)
_FILE_NAME = "checkpoint.safetensors"


@dataclass
class History:
    """What happened so far.

    losses[i], as published (some are sums over the points), belongs to step i + 1; validations are (step, FPR95), step 0 the
    initial weights.
    """

    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    resumed_at: int = 0  # steps already taken when this process took over
    diverged: bool = False  # a loss was not finite: the run is over, and `losses` ends before it
    seconds: float = 0.0  # that this process spent in steps; validation is not counted

    @property
    def steps(self) -> int:
        """Number of optimiser steps taken."""
        return len(self.losses)

    @property
    def best(self) -> tuple[int, float]:
        """Step and FPR95 of the lowest validation; of equals the last, which has trained longest (easy sets reach 0 early)."""
        return min(reversed(self.validations), key=lambda validation: validation[1])

    @property
    def steps_per_second(self) -> float:
        """Steps of this process per second of training; 0 before the first."""
        return (self.steps - self.resumed_at) / self.seconds if self.seconds else 0.0

    def record_losses(self, losses: list[float]) -> None:
        """Append the losses of the next steps up to the first that is not finite."""
        finite = list(takewhile(math.isfinite, losses))
        self.losses += finite
        self.diverged = len(finite) < len(losses)

    def record_validation(self, fpr95: float, network: Module) -> None:
        """Append a validation of the present weights and keep a copy of them if they are the best yet."""
        self.validations.append((self.steps, fpr95))
        if self.best[0] == self.steps:
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def save_checkpoint(
    folder: Path, fingerprint: str, network: Module, optimiser: Optimizer, history: History, loss: object = None
) -> None:
    """Replace the checkpoint in `folder`. A loss with running statistics (a Module) is part of it."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if isinstance(loss, Module):
        tensors |= {f"loss.{name}": tensor for name, tensor in loss.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in history.best_weights.items()}
    for parameter, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{parameter}.{name}": tensor for name, tensor in state.items()}
    tensors["losses"] = torch.tensor(history.losses, dtype=torch.float64)
    metadata = {"fingerprint": fingerprint, "validations": json.dumps(history.validations)}
    write_tensors(folder / _FILE_NAME, tensors, metadata)


def write_tensors(target: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic_path(target) as path:
        # Not save_file: it writes beside the path under a name of its own, which a kill would leave and no lock guards.
        path.write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata))


def restore_checkpoint(folder: Path, fingerprint: str, network: Module, optimiser: Optimizer, loss: object = None) -> History:
    """Load the checkpoint of `folder` into the network, the optimiser and a loss with running statistics.

    Returns an empty history and changes nothing where there is no checkpoint, where it cannot be read, or where it
    belongs to other data or settings (another fingerprint).
    """
    path = folder / _FILE_NAME
    if not path.exists():
        return History()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        _LOG.warning("The checkpoint %s cannot be read (%s); training starts anew.", path, error)
        return History()
    if metadata["fingerprint"] != fingerprint:
        _LOG.info("The checkpoint %s belongs to other data or settings; training starts anew.", path)
        return History()
    network.load_state_dict(_below("network", tensors))
    if isinstance(loss, Module):
        loss.load_state_dict(_below("loss", tensors))
    _restore_optimiser(optimiser, _below("optimiser", tensors))
    validations = [(int(step), float(fpr95)) for step, fpr95 in json.loads(metadata["validations"])]
    history = History(tensors["losses"].tolist(), validations, _below("best", tensors))
    history.resumed_at = history.steps
    _LOG.info("Training resumes after step %d.", history.steps)
    return history


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint, and its folder if nothing else is in it."""
    (folder / _FILE_NAME).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _restore_optimiser(optimiser: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape:  # moments keep the memory layout of their parameter
            tensor = torch.empty_like(parameter).copy_(tensor)
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
