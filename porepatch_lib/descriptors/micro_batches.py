"""Run a network over a few patches at a time, so that on a CPU the output of a layer stays in cache."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

# Options of glibc's mallopt, from malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def in_micro_batches(function: Callable[[Tensor], Tensor], patches: Tensor, size: int) -> Tensor:
    """Return function(patches), computed on a CPU for `size` patches (of B,1,S,S) at a time.

    `function` treats every patch alone and draws no random numbers. Where no gradient is wanted, each of torch's threads takes
    micro-batches of its own: threads that share every operation wait for one another a hundred times more often, and on a busy
    machine for long. While the network is traced (torch.compile, export) and on other devices nothing is split.
    """
    if patches.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return function(patches)
    _keep_freed_memory()
    parts = patches.split(size)
    threads = min(torch.get_num_threads(), len(parts))
    if threads == 1 or torch.is_grad_enabled():
        return torch.cat([function(part) for part in parts])
    inference, autocast, dtype = (
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
    )

    def alone(part: Tensor) -> Tensor:
        # These modes belong to a thread.
        with torch.no_grad(), torch.inference_mode(inference), torch.autocast("cpu", dtype, autocast):
            return function(part)

    return torch.cat(list(_pool(threads).map(alone, parts)))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Start threads in which torch uses one thread."""
    started = threading.Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="micro-batches", initializer=start)
    for _ in range(threads):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(before)  # a thread's number is also that of threads started later
    return pool


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep up to 256 MB of freed memory; left alone, it maps a layer's output anew every time: a fifth of the time."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 256 << 20)
