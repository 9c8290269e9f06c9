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
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def in_micro_batches(function: Callable[[Tensor], Tensor], patches: Tensor, size: int) -> Tensor:
    """Return function(patches), computed on a CPU for `size` patches (of B,1,S,S) at a time.

    `function` treats every patch alone and draws no random numbers. Where no gradient is wanted, each of torch's threads takes
    micro-batches of its own: threads that share every operation wait for one another a hundred times more often, and on a busy
    machine for long. While the network is traced (torch.compile, export) and on other devices nothing is split.
    """
    if patches.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return function(patches)
    _keep_freed_memory()
    threads = torch.get_num_threads()
    if threads == 1 or torch.is_grad_enabled() or len(patches) < 2 * threads:
        return torch.cat([function(part) for part in patches.split(size)])
    inference, autocast, dtype = (
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
    )

    def alone(part: Tensor) -> Tensor:
        # These modes belong to a thread. Leaving inference mode out turns gradients on, so they are turned off after it.
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", dtype, autocast):
            return function(part)

    parts = patches.split(min(size, -(-len(patches) // threads)))  # every thread gets some
    return torch.cat(list(_pool(threads).map(alone, parts)))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Start threads in which torch uses one thread."""
    started = threading.Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # the first call in a thread takes over a number: it has to be this one
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
    """Let glibc keep up to 256 MB of freed memory, in one arena for all threads.

    Left alone, it maps a layer's output anew every time, and threads of their own give theirs back: a fifth of the time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 256 << 20)
        libc.mallopt(_ARENA_MAX, 1)
