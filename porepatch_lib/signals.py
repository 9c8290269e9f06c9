"""SIGTERM: a cluster sends it to a job that is cancelled or whose time is up, some seconds before it kills."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from porepatch_lib.failures import Terminated


def end_on_sigterm() -> None:
    """From now on SIGTERM raises Terminated in the main thread, once: what is under way is cleaned up undisturbed."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, end)


@contextmanager
def postponed_sigterm(postpone: bool = True) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM came.

    Without `postpone`, and in other threads than the main one, it says no, and SIGTERM does what it did.

    Raises:
        Terminated: at the end of the block, if SIGTERM came and the block did not raise by itself.
    """
    if not postpone or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
    if came.is_set():
        raise Terminated
