"""Speed of scoring 100,000 labelled pairs beside plain NumPy, and peak memory of scoring 5 million in a process of its own."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from bench_memory import peak_memory_mb
from numpy.typing import NDArray
from timing import Row, race, row

from porepatch_lib.evaluation.bootstrap import bootstrap
from porepatch_lib.evaluation.distances import pair_distances
from porepatch_lib.evaluation.scores import score_pairs

_PAIRS, _PATCHES, _POINTS = 100_000, 60_000, 20_000
_MANY = 5_000_000
_LARGE = f"""
import sys
import numpy as np
from porepatch_lib.evaluation.bootstrap import bootstrap
from porepatch_lib.evaluation.distances import pair_distances
from porepatch_lib.evaluation.scores import score_pairs
rng, threads, repeats = np.random.default_rng(1), int(sys.argv[1]), int(sys.argv[2])
descriptors = rng.standard_normal((300_000, 128), np.float32)
first, second = rng.integers(len(descriptors), size=(2, {_MANY}))
is_match = rng.random({_MANY}) < 0.5
distances = pair_distances(descriptors, first, second, threads)
scores = score_pairs(distances, is_match, threads=threads)
points = np.arange(len(descriptors)) // 3
bootstrap(distances, is_match, points[first], points[second], seed=1, repeats=repeats, threads=threads)
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
    started = time.perf_counter()
    peak = peak_memory_mb(_LARGE, str(threads), str(repeats))
    name = f"5 million pairs of 300k 128-D patches: distances, scores, {repeats} repeats, in a fresh process"
    return row(name, time.perf_counter() - started) | {"peak_mb": peak}


if __name__ == "__main__":
    print(json.dumps(verification_rows(int(sys.argv[1]) if len(sys.argv) > 1 else 2), indent=2))
