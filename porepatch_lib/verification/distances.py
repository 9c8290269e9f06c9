"""Distances of pairs of descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.threads import map_threads

_BLOCK = 1 << 14  # pairs a thread takes at a time


def pair_distances(
    descriptors: NDArray[Any], first: NDArray[np.integer], second: NDArray[np.integer], threads: int = 1
) -> NDArray[np.float32]:
    """Return the Euclidean distances (N,) float32 of the rows first[i] and second[i] of `descriptors` (M,D).

    Differences are squared and summed directly, in float32, so that nearly equal descriptors keep their order; no copy of the
    rows is made. The result does not depend on `threads`.

    Args:
        descriptors: any real dtype, read as float32 (copied where it is not); a memory map will do.
        first, second: (N,) rows of `descriptors`.

    Raises:
        PorePatchError: for a row outside `descriptors`, and for a descriptor with a value that is not finite (or so large that a
            float32 cannot hold its square). Rows that no pair names are not looked at.
    """
    descriptors = np.ascontiguousarray(descriptors, np.float32)
    one: NDArray[np.int64] = np.ascontiguousarray(first, np.int64)
    other: NDArray[np.int64] = np.ascontiguousarray(second, np.int64)
    _check_rows(one, other, len(descriptors))
    distances = np.empty(len(one), np.float32)

    def measure(start: int) -> None:
        rows = slice(start, start + _BLOCK)
        _measure(descriptors, one[rows], other[rows], distances[rows])

    map_threads(measure, range(0, len(one), _BLOCK), threads)
    _check_finite(descriptors, one, other, distances)
    return distances


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _measure(descriptors, first, second, distances):  # type: ignore[no-untyped-def]
    for i in range(len(first)):
        one, other = descriptors[first[i]], descriptors[second[i]]
        total = np.float32(0.0)
        for k in range(len(one)):
            difference = one[k] - other[k]
            total += difference * difference
        distances[i] = np.sqrt(total)


def _check_rows(first: NDArray[np.int64], second: NDArray[np.int64], count: int) -> None:
    if first.shape != second.shape or first.ndim != 1:
        raise PorePatchError(f"Pairs need as many first as second patches, got {first.shape} and {second.shape}.")
    if len(first) == 0:
        return
    for row in (first.min(), second.min(), first.max(), second.max()):
        if not 0 <= row < count:
            raise PorePatchError(
                f"A pair names patch {row}, but there are {count} descriptors, numbered from 0; "
                "the pairs belong to another patch store, or descriptors are missing."
            )


def _check_finite(
    descriptors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], distances: NDArray[np.float32]
) -> None:
    """A value that is not finite makes every distance of its row so: looking at the distances is enough, and D times less."""
    if np.isfinite(distances).all():
        return
    pair = np.argmin(np.isfinite(distances))
    with np.errstate(over="ignore", invalid="ignore"):
        row = max(first[pair], second[pair], key=lambda row: not np.isfinite(np.sum(descriptors[row] ** 2)))
    raise PorePatchError(
        f"Descriptor {row} has a value that is not a finite number, or is too large; describe the patches again."
    )
