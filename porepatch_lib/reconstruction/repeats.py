"""Figures of repeated runs: one run of RANSAC proves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return median, lowest and highest of the known values of all seeds, and the values; None where no seed knows one."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": float(np.median(known)), "lowest": min(known), "highest": max(known), "values": list(values)}


def row_over_seeds(names: Sequence[str], figures: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, Any] | None]:
    """Return the spread of every named column over the figures of all seeds; a column that a seed lacks is unknown there."""
    return {name: spread([of_seed.get(name) for of_seed in figures]) for name in names}
