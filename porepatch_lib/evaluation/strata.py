"""Parts of a test set on which a descriptor is scored by itself: viewing angle, scale, part of the face, kind of non-match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.evaluation.audit import ANGLES_DEG
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.tables import HARD

OCTAVES = (0.0, 0.25, 0.5, 1.0)  # bounds of the groups of differences of scale; the last group has no upper one
NEGATIVES = ("same_subject", "cross_subject", HARD, "given")  # kinds of non-matches
LEAST_PAIRS = 50  # the FPR95 of fewer matches or non-matches says next to nothing

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Stratum:
    """A group of pairs that are scored together.

    kind: "angle", "octaves", "region" or "negatives"; group: its name within the kind, for instance "10-20" (degrees); rows:
    positions (N,) int64 of its pairs, matches and non-matches, ascending.
    """

    kind: str
    group: str
    rows: NDArray[np.int64]


def strata(pairs: pd.DataFrame, least: int = LEAST_PAIRS) -> list[Stratum]:
    """Divide test pairs (columns of the `test pairs` table) into groups that hold both labels.

    * angle (bounds ANGLES_DEG) and octaves (bounds OCTAVES; a bound belongs to the group above it): the matches of the group
      against all headline non-matches, so that groups differ by their matches alone.
    * region: the matches and the non-matches of one subject whose patch 1 lies there.
    * negatives: all matches against the non-matches of one kind, the hard ones included.

    Groups with fewer than `least` matches or non-matches are left out, and pairs of unknown value are in no group of that kind.
    """
    is_match, kind, region = pairs["is_match"].to_numpy(bool), pairs["kind"].to_numpy(), pairs["region"].to_numpy()
    headline = ~is_match & (kind != HARD)
    angles = [f"{low}-{high}" for low, high in pairwise(ANGLES_DEG)]
    octaves = [*(f"{low:g}-{high:g}" for low, high in pairwise(OCTAVES)), f"{OCTAVES[-1]:g}+"]
    groups = [
        *(("angle", name, is_match & inside | headline) for name, inside in _bands(pairs["angle_deg"], ANGLES_DEG, angles)),
        *(("octaves", name, is_match & inside | headline) for name, inside in _bands(pairs["octaves"], OCTAVES, octaves)),
        *(("region", name, (is_match | (kind == "same_subject")) & (region == name)) for name in REGIONS),
        *(("negatives", name, is_match | (kind == name)) for name in NEGATIVES),
    ]
    return [Stratum(kind, name, np.flatnonzero(chosen)) for kind, name, chosen in groups if _is_enough(is_match[chosen], least)]


def _bands(values: pd.Series, bounds: Sequence[float], names: Sequence[str]) -> list[tuple[str, Mask]]:
    """Return for each name i which values (N,) are in bounds[i] <= value < bounds[i + 1]; the last group has no upper bound."""
    number = np.minimum(np.digitize(values.to_numpy(np.float64), bounds), len(names)) - 1  # -1 below the first bound: unknown
    return [(name, number == i) for i, name in enumerate(names)]


def _is_enough(is_match: Mask, least: int) -> bool:
    matches = int(np.count_nonzero(is_match))
    return min(matches, len(is_match) - matches) >= max(1, least)
