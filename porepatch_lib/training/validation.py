"""Patch verification on validation subjects, by which the checkpoint is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Module

from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.metrics import fpr95
from porepatch_lib.tables import PATCH_PAIRS, read_table
from porepatch_lib.training.sampling import read_small_patches

_BATCH = 1024


@dataclass(frozen=True)
class ValidationSet:
    """patches: uint8 (N,32,32); first, second: rows (M,) of a pair's patches; is_match: bool (M,)."""

    patches: NDArray[np.uint8]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    is_match: NDArray[np.bool_]


def read_validation_set(store: NDArray[np.uint8], pairs_path: Path, most_pairs: int, seed: int) -> ValidationSet:
    """Read at most `most_pairs` labelled pairs, drawn at random, and the patches (N,64,64) of the store they name.

    Raises PorePatchError unless there are both matching and non-matching pairs.
    """
    pairs = read_table(pairs_path, PATCH_PAIRS)
    if len(pairs) > most_pairs:
        chosen = np.random.default_rng(seed).choice(len(pairs), most_pairs, replace=False)
        pairs = pairs.iloc[np.sort(chosen)]
    is_match = pairs["is_match"].to_numpy(bool)
    if is_match.all() or not is_match.any():
        raise PorePatchError(
            f"The validation pairs {pairs_path} need both matching and non-matching pairs to choose a checkpoint by; "
            "give the validation split more subjects or photographs."
        )
    rows, numbers = np.unique(pairs[["patch_1", "patch_2"]].to_numpy(), return_inverse=True)
    numbers = numbers.reshape(-1, 2)
    return ValidationSet(read_small_patches(store)[rows], numbers[:, 0], numbers[:, 1], is_match)


def validation_fpr95(network: Module, validation: ValidationSet, device: torch.device) -> float:
    """Return the FPR95 (0..1) of the network in evaluation mode, in float32; the network's mode is left as it was."""
    was_training = network.training
    network.eval()
    blocks = []
    with torch.no_grad():
        for start in range(0, len(validation.patches), _BATCH):
            patches = torch.from_numpy(validation.patches[start : start + _BATCH]).unsqueeze(1)
            blocks.append(network(patches.to(device, torch.float32)).cpu())
    network.train(was_training)
    descriptors = torch.cat(blocks).numpy()
    distances = np.linalg.norm(descriptors[validation.first] - descriptors[validation.second], axis=1)
    return float(fpr95(distances, validation.is_match))
