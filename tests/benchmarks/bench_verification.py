"""Speed of scoring 100,000 labelled pairs beside plain NumPy, and peak memory of scoring 5 million in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from bench_memory import peak_memory_mb
from numpy.typing import NDArray
from timing import Row, race, row

from porepatch_lib.files import write_array, write_json
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.tables import PATCHES, TEST_PAIRS, write_table
from porepatch_lib.verification.bootstrap import bootstrap
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.scores import score_pairs

_PAIRS, _PATCHES, _POINTS = 100_000, 60_000, 20_000
_MANY = 5_000_000
_LARGE = """
import sys
from pathlib import Path
from porepatch_lib.verification.hpatches import HPatchesSettings
from porepatch_lib.verification.verify import VerificationSettings, verify
folder, threads, repeats = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
files = [folder / name for name in ("index.parquet", "pairs.parquet", "rows.npy", "card.json", "report.json")]
settings = VerificationSettings(bootstrap_repeats=repeats, strata_repeats=5)
verify("large", "truth", [], *files, settings, HPatchesSettings(), seed=1, threads=threads)
"""


def verification_rows(threads: int) -> list[Row]:
    """Rows of the bench's table."""
    return [*(_scoring(dimension, threads) for dimension in (128, 512)), _resampling(threads), _large(threads)]


def _scoring(dimension: int, threads: int) -> Row:
    rng = np.random.default_rng(1)
    descriptors = rng.standard_normal((_PATCHES, dimension), np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    first, second = rng.integers(_PATCHES, size=(2, _PAIRS))
    is_match = rng.random(_PAIRS) < 0.5
    ours, peer = race(
        lambda: score_pairs(pair_distances(descriptors, first, second, threads), is_match, threads=threads),
        lambda: _plain_fpr95(descriptors, first, second, is_match),
        repeats=10,
    )
    name = f"distances and all scores, 100k pairs of 60k {dimension}-D patches"
    return row(name, ours, "numpy: norm of gathered rows, argsort, FPR95", peer, _PAIRS / ours, "pairs/s")


def _plain_fpr95(
    descriptors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], is_match: NDArray[np.bool_]
) -> float:
    """FPR95 and the ROC curve the plain way, as scikit-learn's roc_curve goes about it."""
    distances = np.linalg.norm(descriptors[first] - descriptors[second], axis=1)
    order = np.argsort(distances, kind="stable")
    true, false = np.cumsum(is_match[order]), np.cumsum(~is_match[order])
    last = np.append(np.flatnonzero(np.diff(distances[order])), len(order) - 1)
    true, false = true[last] / true[-1], false[last] / false[-1]
    return float(false[np.searchsorted(true, 0.95)])


def _resampling(threads: int) -> Row:
    rng = np.random.default_rng(1)
    is_match = rng.random(_PAIRS) < 0.5
    distances = rng.normal(np.where(is_match, 0.6, 1.2), 0.2).astype(np.float32)
    one, other = rng.integers(_POINTS, size=(2, _PAIRS))
    two = np.where(is_match, one, other)
    (seconds,) = race(lambda: bootstrap(distances, is_match, one, two, seed=1, repeats=200, threads=threads), repeats=3)
    return row("bootstrap, 200 repeats of 100k pairs of 20k points", seconds, rate=200 / seconds, unit="repeats/s")


def _large(threads: int, repeats: int = 20) -> Row:
    with tempfile.TemporaryDirectory() as name:
        _write_large(Path(name))
        started = time.perf_counter()
        peak = peak_memory_mb(_LARGE, name, str(threads), str(repeats))
    title = f"the verify stage on 5 million pairs of 300k 128-D patches, {repeats} repeats and strata, in a fresh process"
    return row(title, time.perf_counter() - started) | {"peak_mb": peak}


def _write_large(folder: Path) -> None:
    """Write random descriptors of twenty subjects, 5,000 points of three patches each, and pairs in every stratum."""
    rng, count = np.random.default_rng(1), 300_000
    number = np.arange(count)
    image = number // 3 % 14 + number % 3
    index = pd.DataFrame(
        {"subject": [f"s{subject:02d}" for subject in number // 15_000], "point_id": number // 3, "image_id": image}
    )
    index = index.assign(keypoint_id=number, x=rng.uniform(0, 2000, count), y=rng.uniform(0, 3000, count))
    index = index.assign(sigma=1.0, octave=0, level=0, crop_factor=24.0)
    write_table(folder / "index.parquet", index, PATCHES)
    write_array(folder / "rows.npy", rng.standard_normal((count, 128), np.float32))
    write_json(folder / "card.json", {"descriptor": "random"})
    first, kind = rng.integers(count, size=_MANY), rng.choice(["match", "same_subject", "cross_subject", "hard"], _MANY)
    second = np.where(kind == "match", first - first % 3 + (first + 1) % 3, rng.integers(count, size=_MANY))
    pairs = pd.DataFrame({"patch_1": first, "patch_2": second, "is_match": kind == "match", "kind": kind})
    pairs = pairs.assign(angle_deg=rng.uniform(0, 90, _MANY), octaves=rng.exponential(0.3, _MANY))
    write_table(folder / "pairs.parquet", pairs.assign(region=rng.choice(REGIONS, _MANY)), TEST_PAIRS)


if __name__ == "__main__":
    print(json.dumps(verification_rows(int(sys.argv[1]) if len(sys.argv) > 1 else 2), indent=2))
