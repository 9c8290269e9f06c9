"""The verify stage: how well one descriptor tells matching from non-matching patches of a fixed test set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.descriptors.describe import describe_rows
from porepatch_lib.descriptors.registry import descriptor_of_stage
from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.metrics import (
    average_precision,
    fdr95,
    fpr95,
    fpr95_hardnet,
    fpr95_hynet,
    fpr95_interval,
    roc_curve,
)
from porepatch_lib.files import write_json
from porepatch_lib.patches.store import open_store, point_numbers
from porepatch_lib.tables import PATCH_PAIRS, read_table

FloatArray = NDArray[np.float64]

_PATCH_BLOCK = 1 << 14  # patches copied out of the store at a time

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerificationSettings:
    """How a descriptor is verified.

    bootstrap_repeats: resamples of the surface points behind the interval.
    confidence: coverage of the interval.
    roc_points: most points kept of the ROC curve.
    """

    bootstrap_repeats: int = 200
    confidence: float = 0.95
    roc_points: int = 200

    def __post_init__(self) -> None:
        if self.bootstrap_repeats < 1 or self.roc_points < 2 or not 0 < self.confidence < 1:
            raise PorePatchError(
                f"The verification settings {asdict(self)} are out of range; give at least 1 bootstrap_repeats, "
                "a confidence between 0 and 1 and at least 2 roc_points."
            )


def verify(
    test_set: str,
    patches: Path,
    index: Path,
    pairs: Path,
    images: Mapping[str, Path],
    descriptor: str,
    weights: Path | None,
    output: Path,
    settings: VerificationSettings,
    seed: int,
    threads: int,
    device: str = "auto",
    networks: Mapping[str, str] | None = None,
) -> None:
    """Verify one descriptor and write its report as JSON.

    Args:
        test_set, descriptor: names for the report; without weights `descriptor` names a hand-made one.
        patches, index, pairs: the test set: uint8 (N,64,64) and the tables `patches` and `patch pairs`.
        images: the images table of every subject of the test set; hand-made descriptors see the whole image.
        weights: safetensors of a network, which sees the stored patches.
        output: JSON with descriptor, test_set, fpr95, fpr95_low, fpr95_high, average_precision, positives, negatives,
            dimension, the named variants and the ROC curve. Rates are 0..1.
        settings, seed: the interval; same seed, same file.
        networks: third-party architectures, name -> "package.module:Class".

    Raises:
        PorePatchError: if the test set lacks matching or non-matching pairs, or the descriptor cannot be had.
    """
    store, frame = open_store(patches, index)
    labelled = read_table(pairs, PATCH_PAIRS)
    rows, numbers = np.unique(labelled[["patch_1", "patch_2"]].to_numpy(np.int64), return_inverse=True)
    first, second = numbers.reshape(-1, 2).T
    is_match = labelled["is_match"].to_numpy(bool)
    if is_match.all() or not is_match.any():
        raise PorePatchError(
            f"The test pairs {pairs} need both matching and non-matching pairs; "
            "give the verification split more subjects or photographs."
        )
    crop_factor = float(frame["crop_factor"].iloc[0])
    chosen = descriptor_of_stage(descriptor, weights, crop_factor=crop_factor, threads=threads, device=device, networks=networks)
    if chosen.learned:
        blocks = [rows[start : start + _PATCH_BLOCK] for start in range(0, len(rows), _PATCH_BLOCK)]
        descriptors = np.concatenate([chosen.describe(store[block]) for block in blocks])
    else:
        descriptors = describe_rows(images, frame.iloc[rows], chosen)
    report = verification_report(
        pair_distances(descriptors, first, second), is_match, *_points(frame, rows, first, second), settings, seed
    )
    report |= {
        "descriptor": descriptor,
        "test_set": test_set,
        "dimension": int(descriptors.shape[1]),
        "patches": len(rows),
        "subjects": sorted(frame["subject"].unique()),
        "crop_factor": crop_factor,
        "seed": seed,
    }
    write_json(output, report)
    _LOG.info(
        "%s on %s: FPR95 %.2f %% (%.2f .. %.2f)",
        descriptor,
        test_set,
        *(100 * report[key] for key in ("fpr95", "fpr95_low", "fpr95_high")),
    )


def pair_distances(
    descriptors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], block: int = 1 << 16
) -> NDArray[np.float32]:
    """Return the Euclidean distances (N,) of rows first[i] and second[i] of descriptors (M,D), `block` pairs at a time."""
    distances = np.empty(len(first), np.float32)
    for start in range(0, len(first), block):
        rows = slice(start, start + block)
        distances[rows] = np.linalg.norm(descriptors[first[rows]] - descriptors[second[rows]], axis=1)
    return distances


def verification_report(
    distances: NDArray[np.floating],
    is_match: NDArray[np.bool_],
    point_1: NDArray[np.int64],
    point_2: NDArray[np.int64],
    settings: VerificationSettings,
    seed: int,
) -> dict[str, Any]:
    """Return all numbers of one verification, rates 0..1; `point_1`, `point_2` (N,) are the pairs' surface points."""
    positives = int(np.count_nonzero(is_match))
    low, high = fpr95_interval(
        distances, is_match, point_1, point_2, seed=seed, repeats=settings.bootstrap_repeats, level=settings.confidence
    )
    false, true, _ = roc_curve(distances, is_match)
    kept = thinned(false, true, settings.roc_points)
    return {
        "fpr95": fpr95(distances, is_match),
        "fpr95_low": low,
        "fpr95_high": high,
        "confidence": settings.confidence,
        "average_precision": average_precision(distances, is_match),
        "positives": positives,
        "negatives": len(is_match) - positives,
        "variants": {
            "fpr95_hynet": fpr95_hynet(distances, is_match) if positives >= 20 else None,
            "fpr95_hardnet": fpr95_hardnet(distances, is_match),
            "fdr95": fdr95(distances, is_match),
        },
        "roc": {"false_positive_rate": false[kept].tolist(), "recall": true[kept].tolist()},
    }


def thinned(false: FloatArray, true: FloatArray, most: int) -> NDArray[np.int64]:
    """Return the indices of at most `most` points of a ROC curve, ends included.

    They are spread evenly over recall plus the logarithm of the false positive rate, the axes on which the curve is looked at.
    """
    if len(false) <= most:
        return np.arange(len(false))
    first = false[false > 0][0]
    along = true + np.log1p(false / first) / np.log1p(1.0 / first)  # rises from 0 to 2
    return np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], most)))


def _points(
    frame: pd.DataFrame, rows: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the surface points of each pair's two patches."""
    point = point_numbers(frame)[rows]
    return point[first], point[second]
