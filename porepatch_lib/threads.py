"""Keep every library inside the number of threads a rule was given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Not OpenBLAS, which has one thread for ever (porepatch_lib/__init__.py): its sums round with the number of its threads.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


def limit_threads(threads: int) -> None:
    """Limit OpenMP, MKL, numba, OpenCV and torch to `threads`; OpenBLAS always has one.

    Call before NumPy or torch do their first work.
    """
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    import cv2

    cv2.setNumThreads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def map_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Apply `function` to every item on `threads` threads; results keep the order of `items`.

    For work that releases the GIL (NumPy, OpenCV, numba with nogil).
    """
    if threads <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
