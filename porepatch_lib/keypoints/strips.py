"""Work through an image in strips of full width, so that memory stays bounded and threads have something to share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from porepatch_lib.threads import map_threads

Result = TypeVar("Result")


@dataclass(frozen=True)
class Strip:
    """Rows start <= y < stop are this strip's own; rows low <= y < high include its halo."""

    start: int
    stop: int
    low: int
    high: int


def map_strips(
    function: Callable[[Strip, NDArray], Result],
    shape: tuple[int, int],
    strip_rows: int,
    halo: int,
    planes: int,
    dtype: DTypeLike,
    threads: int,
) -> list[Result]:
    """Apply `function` to every strip of an image of `shape`, in order of rows, on `threads` threads.

    It also gets an uninitialised stack (planes, rows with halo, cols) of `dtype`, which the next strip overwrites: touching fresh
    memory for every strip would cost as much as the work itself.
    """
    rows, cols = shape
    free: SimpleQueue[NDArray] = SimpleQueue()
    for _ in range(max(threads, 1)):
        free.put(np.empty((planes, min(strip_rows + 2 * halo, rows), cols), dtype))

    def work(start: int) -> Result:
        stop = min(start + strip_rows, rows)
        strip = Strip(start, stop, max(start - halo, 0), min(stop + halo, rows))
        stack = free.get()
        try:
            return function(strip, stack[:, : strip.high - strip.low])
        finally:
            free.put(stack)

    return map_threads(work, range(0, rows, strip_rows), threads)
