"""Parts of a test set on which a descriptor is scored by itself: viewing angle, scale, part of the face, kind of non-match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

_ANGLES = [f"{low}-{high}" for low, high in pairwise(ANGLES_DEG)]
_OCTAVES = [*(f"{low:g}-{high:g}" for low, high in pairwise(OCTAVES)), f"{OCTAVES[-1]:g}+"]


@dataclass(frozen=True)
class Stratum:
    """A group of pairs that are scored together.

    kind: "angle", "octaves", "region" or "negatives"; group: its name within the kind, for instance "10-20" (degrees); rows:
    positions (N,) int64 of its pairs, matches and non-matches, ascending.
    """

    kind: str
    group: str
    rows: NDArray[np.int64]


def strata(pairs: pd.DataFrame, least: int = LEAST_PAIRS) -> Iterator[Stratum]:
    """Divide test pairs (columns of the `test pairs` table) into groups that hold both labels, one after the other.

    * angle (bounds ANGLES_DEG) and octaves (bounds OCTAVES; a bound belongs to the group above it): the matches of the group
      against all headline non-matches, so that groups differ by their matches alone.
    * region: the matches and the non-matches of one subject whose patch 1 lies there.
    * negatives: all matches against the non-matches of one kind, the hard ones included; where all of the headline are of one
      kind they are the headline, and no group.

    Groups with fewer than `least` matches or non-matches are left out, and pairs of unknown value are in no group of that kind.
    """
    is_match = pairs["is_match"].to_numpy(bool)
    for kind, group, chosen in _groups(pairs, is_match):
        matches, count = np.count_nonzero(is_match & chosen), np.count_nonzero(chosen)
        if min(matches, count - matches) >= max(1, least):
            yield Stratum(kind, group, np.flatnonzero(chosen))


def _groups(pairs: pd.DataFrame, is_match: Mask) -> Iterator[tuple[str, str, Mask]]:
    """Yield kind, name and pairs (N,) of every group; millions of pairs have room for one at a time."""
    headline = ~is_match & ~_equals(pairs["kind"], HARD)
    for column, kind, bounds, names in (("angle_deg", "angle", ANGLES_DEG, _ANGLES), ("octaves", "octaves", OCTAVES, _OCTAVES)):
        band = _bands(pairs[column], bounds, len(names))
        yield from ((kind, name, is_match & (band == i) | headline) for i, name in enumerate(names))
    same_subject = is_match | _equals(pairs["kind"], "same_subject")
    yield from (("region", name, same_subject & _equals(pairs["region"], name)) for name in REGIONS)
    for name in NEGATIVES:
        others = _equals(pairs["kind"], name)
        if not np.array_equal(others, headline):
            yield "negatives", name, is_match | others


def _bands(values: pd.Series, bounds: Sequence[float], groups: int) -> NDArray[np.int64]:
    """Return for values (N,) the i with bounds[i] <= value < bounds[i + 1]; the last group has no upper bound, -1 is unknown."""
    return np.minimum(np.digitize(values.to_numpy(), bounds), groups) - 1


def _equals(column: pd.Series, value: str) -> Mask:
    return (column == value).to_numpy(bool)  # the whole column as Python strings would take far more memory
