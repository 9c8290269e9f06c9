"""The describe_test stage: every patch of a test set to its descriptor, once, for all that is measured on it later."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.descriptors.bare_patches import BARE
from porepatch_lib.descriptors.contract import Descriptor
from porepatch_lib.descriptors.describe import describe_rows
from porepatch_lib.descriptors.registry import descriptor_of_stage, sees_patch
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, create_array, write_json
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.patches.store import open_store
from porepatch_lib.progress import progress
from porepatch_lib.tables import HARD, TEST_PAIRS, read_table
from porepatch_lib.verification.sweep import best_sigma, sweep_sigma

_BLOCK = 1 << 13  # patches described, or rows looked at, at a time

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepSettings:
    """How the sigma of a hand-made descriptor of bare patches is chosen.

    sigmas_px: those that are tried, in pixels of the 64 px patch; the keypoint's own, 64 / crop_factor, always is too where it
        is known.
    pairs: most pairs of the test set they are tried on, half of them matches.
    """

    sigmas_px: Sequence[float] = ()
    pairs: int = 10_000

    def __post_init__(self) -> None:
        if self.pairs < 2 or not all(np.isfinite(sigma) and sigma > 0 for sigma in self.sigmas_px):
            raise PorePatchError(f"The sweep {asdict(self)} is out of range; give positive sigmas_px and at least 2 pairs.")


def describe_test_set(
    patches: Path,
    index: Path,
    pairs: Path,
    images: Mapping[str, Path],
    descriptor: str,
    weights: Path | None,
    output: Path,
    card: Path,
    settings: SweepSettings,
    seed: int,
    threads: int,
    device: str = "auto",
    networks: Mapping[str, str] | None = None,
    architecture: str | None = None,
) -> str:
    """Describe every patch of a test set by one descriptor, and write down what was done.

    A descriptor of bare patches (psift-bare, ...) is given the sigma with the lowest FPR95 on a seeded subset of the headline
    pairs. It is chosen ON the test set, as in arXiv 2512.00381, which favours the hand-made descriptor; the card tells the sweep.

    Args:
        patches, index, pairs: the test set: uint8 (N,64,64) and the tables `patches` and `test pairs`.
        images: the images table of every subject, for descriptors that see photographs; empty where there are none.
        descriptor: its name; without weights that of a hand-made one.
        weights: safetensors of a network.
        output: float32 (N,D), row i = row i of the patches.
        card: JSON with descriptor, sees ("photograph" or "patch"), learned, dimension, crop_factor (0: unknown), sigma_px (of a
            bare patch, else null) and sweep ([{sigma_px, fpr95, average_precision}], rates 0..1; empty where none was made).
        device: of a network, see `resolve_device`.
        networks: third-party architectures, name -> "package.module:Class".
        architecture: of weights whose metadata name none, as those that others published.

    Returns the name of the device that described them.

    Raises:
        PorePatchError: if the descriptor cannot be had, needs photographs that are not there, or gives numbers that are not
            finite, or if the test set is damaged.
    """
    store, frame = open_store(patches, index)
    crop_factor = _crop_factor(frame, index)
    if weights is None and not sees_patch(descriptor) and (crop_factor == 0 or not images):
        raise PorePatchError(
            f"The descriptor '{descriptor}' sees the photographs around the patches, which the test set {index} does not have; "
            f"use '{_bare_name(descriptor)}'."
        )
    sweep = _sweep(descriptor, store, pairs, crop_factor, settings, seed, threads) if descriptor in BARE else {}
    sigma_px = best_sigma(sweep) if sweep else None
    chosen = descriptor_of_stage(
        descriptor,
        weights,
        crop_factor=crop_factor,
        threads=threads,
        device=device,
        networks=networks,
        sigma_px=sigma_px,
        architecture=architecture,
    )
    with atomic_path(output) as path:
        rows = create_array(path, np.float32, (len(store), chosen.dimension))
        if chosen.sees == "photograph":
            describe_rows(images, frame, chosen, rows)
        else:
            _describe_patches(store, chosen, rows)
        _require_finite(rows, descriptor, patches)
    write_json(
        card,
        {
            "descriptor": descriptor,
            "sees": chosen.sees,
            "learned": chosen.learned,
            "dimension": chosen.dimension,
            "crop_factor": crop_factor,
            "sigma_px": sigma_px,
            "sweep": [{"sigma_px": sigma, "fpr95": rates[0], "average_precision": rates[1]} for sigma, rates in sweep.items()],
        },
    )
    _LOG.info("described %d patches with %s (%d-D)", len(store), descriptor, chosen.dimension)
    return chosen.device


def sweep_rows(pairs: pd.DataFrame, most: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of a `test pairs` table that a sweep sees, ascending: as many matches as non-matches, `most` in all.

    Hard non-matches are left out, as in the headline.
    """
    is_match = pairs["is_match"].to_numpy(bool)
    matches, others = np.flatnonzero(is_match), np.flatnonzero(~is_match & (pairs["kind"] != HARD).to_numpy(bool))
    each = min(most // 2, len(matches), len(others))
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(group, each, replace=False) for group in (matches, others)]))


def _sweep(
    descriptor: str,
    store: NDArray[np.uint8],
    pairs: Path,
    crop_factor: float,
    settings: SweepSettings,
    seed: int,
    threads: int,
) -> dict[float, tuple[float, float]]:
    """Return FPR95 and average precision for every sigma (px) in ascending order."""
    labelled = read_table(pairs, TEST_PAIRS)
    chosen = labelled.iloc[sweep_rows(labelled, settings.pairs, seed)]
    if chosen.empty:
        raise PorePatchError(f"The test pairs {pairs} need both matching and non-matching pairs to choose a sigma by; add some.")
    rows, numbers = np.unique(chosen[["patch_1", "patch_2"]].to_numpy(np.int64), return_inverse=True)
    if rows[0] < 0 or rows[-1] >= len(store):
        raise PorePatchError(f"The test pairs {pairs} name patches that the set of {len(store)} lacks; make both again.")
    first, second = numbers.reshape(-1, 2).T
    own = {PATCH_SIZE / crop_factor} if crop_factor else set()
    sigmas = sorted(own | set(settings.sigmas_px))
    if not sigmas:
        raise PorePatchError(f"Nobody knows the sigma of '{descriptor}' in the patches of {pairs}; list sigmas_px to sweep over.")
    watched = progress(sigmas, f"sweep ({descriptor})", "sigma")
    return sweep_sigma(descriptor, store[rows], first, second, chosen["is_match"].to_numpy(bool), watched, threads)


def _describe_patches(store: NDArray[np.uint8], descriptor: Descriptor, rows: NDArray[np.float32]) -> None:
    """Fill `rows` (N,D) with the descriptors of `store` (N,64,64), block by block."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(store), _BLOCK)]
    for block in progress(blocks, f"describe ({descriptor.name})", "patch", units_per_item=_BLOCK):
        rows[block] = descriptor.describe(store[block])


def _require_finite(rows: NDArray[np.float32], descriptor: str, patches: Path) -> None:
    for start in range(0, len(rows), _BLOCK):
        finite = np.isfinite(rows[start : start + _BLOCK]).all(axis=1)
        if not finite.all():
            raise PorePatchError(
                f"The descriptor '{descriptor}' of patch {start + int(np.argmin(finite))} of {patches} is not finite: "
                "its weights or its code are broken; train or convert them again."
            )


def _crop_factor(index: pd.DataFrame, path: Path) -> float:
    """Return the one crop factor of a test set, 0 where unknown."""
    found: list[Any] = sorted(index["crop_factor"].unique().tolist())
    if len(found) != 1:
        raise PorePatchError(f"The patches of {path} need one crop factor, not {found}; cut or import the whole test set again.")
    return float(found[0])


def _bare_name(descriptor: str) -> str:
    return "psift-bare" if descriptor == "psift_reference" else f"{descriptor}-bare"
