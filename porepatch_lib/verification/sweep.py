"""The sigma at which a hand-made descriptor of bare patches does best, as the paper chooses it (arXiv 2512.00381)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.descriptors.bare_patches import describe_bare
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.metrics import average_precision, fpr95


def sweep_sigma(
    name: str,
    patches: NDArray[np.uint8],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    is_match: NDArray[np.bool_],
    sigmas_px: Iterable[float],
    threads: int = 1,
) -> dict[float, tuple[float, float]]:
    """Return FPR95 and average precision (0..1) of a descriptor of `BARE` on patches (N,S,S) for every sigma (px).

    The pairs are of rows first[i], second[i]. Where they are of the test set, as in the paper, the best sigma favours the
    hand-made descriptor.
    """
    rates = {}
    for sigma in sigmas_px:
        rows = describe_bare(name, patches, sigma, threads)
        distances = pair_distances(rows, first, second, threads)
        rates[sigma] = fpr95(distances, is_match), average_precision(distances, is_match)
    return rates


def best_sigma(rates: Mapping[float, tuple[float, float]]) -> float:
    """Return the sigma with the lowest FPR95 of a sweep, of equal ones the one with the highest average precision."""
    return min(sorted(rates), key=lambda sigma: (rates[sigma][0], -rates[sigma][1]))
