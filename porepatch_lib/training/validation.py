"""Patch verification on validation subjects, by which the checkpoint is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.errors import PorePatchError
from porepatch_lib.tables import PATCH_PAIRS, read_table
from porepatch_lib.training.data import PatchSource
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.metrics import fpr95

_BATCH = 1024


@dataclass(frozen=True)
class ValidationPairs:
    """rows: patches (N,) of the store that pairs name; first, second: which of them (M,); is_match: bool (M,)."""

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    is_match: NDArray[np.bool_]


def read_validation_pairs(path: Path, most_pairs: int, seed: int) -> ValidationPairs:
    """Read at most `most_pairs` labelled pairs, drawn at random.

    Raises PorePatchError unless there are both matching and non-matching pairs.
    """
    pairs = read_table(path, PATCH_PAIRS)
    if len(pairs) > most_pairs:
        chosen = np.random.default_rng(seed).choice(len(pairs), most_pairs, replace=False)
        pairs = pairs.iloc[np.sort(chosen)]
    is_match = pairs["is_match"].to_numpy(bool)
    if is_match.all() or not is_match.any():
        raise PorePatchError(
            f"The validation pairs {path} need both matching and non-matching pairs to choose a checkpoint by; "
            "give the validation split more subjects or photographs."
        )
    rows, numbers = np.unique(pairs[["patch_1", "patch_2"]].to_numpy(np.int64), return_inverse=True)
    first, second = numbers.reshape(-1, 2).T
    return ValidationPairs(rows, first, second, is_match)


def validation_fpr95(network: DescriptorNetwork, source: PatchSource, pairs: ValidationPairs) -> float:
    """Return the FPR95 (0..1) of the network in evaluation mode, in float32; the network's mode is left as it was."""
    was_training = network.training
    network.eval()
    rows = torch.from_numpy(pairs.rows).to(source.rows_device)
    with torch.no_grad():
        descriptors = torch.cat([network(source.take(block)) for block in rows.split(_BATCH)]).cpu().numpy()
    network.train(was_training)
    return fpr95(pair_distances(descriptors, pairs.first, pairs.second), pairs.is_match)
