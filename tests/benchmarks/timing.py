"""What the benchmarks share: races in one process, and rows of their tables."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from porepatch_lib.reporting.markdown import markdown_table

Row = dict[str, Any]


def race(*functions: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each function, the fastest of `repeats` turns after a warm-up."""
    for function in functions:
        function()
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            started = time.perf_counter()
            function()
            best[i] = min(best[i], time.perf_counter() - started)
    return best


def row(what: str, seconds: float, peer: str = "", peer_seconds: float = 0.0, rate: float = 0.0, unit: str = "") -> Row:
    """A ratio is the peer's time over ours: above 1 we are faster."""
    ratio = peer_seconds / seconds if peer else None
    peers = {"peer": peer, "peer_seconds": peer_seconds or None, "ratio": ratio}
    return {"what": what, "seconds": seconds, **peers, "rate": rate or None, "unit": unit, "peak_mb": None}


def table(rows: list[Row]) -> str:
    return markdown_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
