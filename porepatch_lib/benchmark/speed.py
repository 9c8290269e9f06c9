"""The speed stage: how many patches or keypoints a descriptor describes in a second."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.descriptors.describe import describe_rows
from porepatch_lib.descriptors.registry import descriptor_of_stage
from porepatch_lib.files import read_json, write_json
from porepatch_lib.patches.store import image_numbers, open_store

PATCHES = 4096  # described at a time, where the test set has so many
_LEAST_PASSES = 3
_LEAST_SECONDS = 1.0

_LOG = logging.getLogger(__name__)


def measure_speed(
    descriptor: str,
    weights: Path | None,
    patches: Path,
    index: Path,
    images: Mapping[str, Path],
    output: Path,
    threads: int,
    device: str = "auto",
    networks: Mapping[str, str] | None = None,
    card: Path | None = None,
) -> str:
    """Time a descriptor on a test set, as the verification uses it, and write what was found as JSON.

    What sees patches describes stored ones that are in memory. A descriptor of photographs describes keypoints of whole ones,
    reading and blurring them included. The first pass, which may compile, is told apart.

    Args:
        descriptor: name for the report; without weights that of a hand-made one.
        weights: safetensors of a network.
        patches, index: the test set: uint8 (N,64,64) and the table `patches`.
        images: the images table of every subject of the test set.
        output: JSON with descriptor, kind ("learned" or "hand-made"), weights_bytes (of the file), patches, first_seconds,
            passes and median_seconds (of the later ones), patches_per_second (by that median) and threads.
        device: of a network, see `resolve_device`.
        networks: third-party architectures, name -> "package.module:Class".
        card: of the test set described by a descriptor of bare patches, for its sigma.

    Returns the name of the device that was timed.

    Raises:
        PorePatchError: if the descriptor cannot be had or the test set is damaged.
    """
    store, frame = open_store(patches, index)
    crop_factor = float(frame["crop_factor"].iloc[0])
    sigma_px = read_json(card)["sigma_px"] if card else None
    chosen = descriptor_of_stage(
        descriptor,
        weights,
        crop_factor=crop_factor,
        threads=threads,
        device=device,
        networks=networks,
        sigma_px=sigma_px,
    )
    rows = rows_of_whole_images(frame, PATCHES)
    if chosen.sees == "patch":
        rows = rows[:PATCHES]
        pixels = np.ascontiguousarray(store[rows])
        first, seconds = timed(lambda: chosen.describe(pixels))
    else:
        first, seconds = timed(lambda: describe_rows(images, frame.iloc[rows], chosen))
    median = statistics.median(seconds)
    report = {
        "descriptor": descriptor,
        "kind": "learned" if chosen.learned else "hand-made",
        "weights_bytes": weights.stat().st_size if weights else 0,
        "patches": len(rows),
        "first_seconds": first,
        "passes": len(seconds),
        "median_seconds": median,
        "patches_per_second": round(len(rows) / median, 1),
        "threads": threads,
    }
    write_json(output, report)
    _LOG.info("%s describes %.0f patches/s with %d thread(s)", descriptor, report["patches_per_second"], threads)
    return chosen.device


def rows_of_whole_images(index: pd.DataFrame, least: int) -> NDArray[np.int64]:
    """Return the rows of the first photographs of a patch index that together have at least `least` patches, or all rows."""
    images = image_numbers(index)
    last = np.searchsorted(np.cumsum(np.bincount(images)), least)
    return np.flatnonzero(images <= last)


def timed(work: Callable[[], object]) -> tuple[float, list[float]]:
    """Return the seconds of the first call, and of each of the next: at least 3, and at least a second together."""
    first = _seconds(work)
    seconds: list[float] = []
    while len(seconds) < _LEAST_PASSES or sum(seconds) < _LEAST_SECONDS:
        seconds.append(_seconds(work))
    return first, seconds


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
