"""Mutual nearest neighbours with a ratio test, in blocks: no array of all distances is ever made.

One matrix product per block gives -d^2 / 2 for every pair of descriptors, and the best of every row and of every
column are kept. A matrix product cannot order distances closer than its own rounding error, so queries whose best
candidates come that close are searched again with distances summed directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.threads import map_threads

# A block of scores is _ROWS x _COLUMNS, summed _DEPTH dimensions at a time: 16 KiB, at home in the first-level cache.
_ROWS = 8
_COLUMNS = 512
_DEPTH = 4
_CHUNK = 128


@dataclass(frozen=True)
class Matches:
    """Matches of two images, M rows in ascending `index_1`.

    `index_1`, `index_2` int64: rows of the two descriptor arrays. `distance` float32: L2. `ratio` float32: distance
    over the distance to the second nearest in image 2, 0 where there is no second.
    """

    index_1: NDArray[np.int64]
    index_2: NDArray[np.int64]
    distance: NDArray[np.float32]
    ratio: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index_1)


@dataclass(frozen=True)
class _Nearest:
    """Nearest and second-nearest index (Q,) int64 of every query, -1 = none, and whether rounding leaves doubt (Q,) bool."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    in_doubt: NDArray[np.bool_]


def mutual_nearest(descriptors_1: NDArray[Any], descriptors_2: NDArray[Any], ratio: float | None, threads: int) -> Matches:
    """Match rows that are each other's nearest neighbour and pass the ratio test seen from image 1.

    A match is kept where d1 / d2 <= ratio, d1 and d2 being the L2 distances to the nearest and second-nearest
    descriptor of image 2 (Lowe 2004; the convention of the ETH local-feature evaluation). Ties go to the lowest
    index. The result does not depend on `threads`.

    Args:
        descriptors_1: (N,D) float32 or float16, of any length (not necessarily normalised).
        descriptors_2: (M,D) likewise.
        ratio: largest ratio kept, or None for no ratio test.
        threads: threads to use.

    Raises:
        PorePatchError: if the widths differ or a descriptor is not finite.
    """
    one = as_float32(descriptors_1)
    two = as_float32(descriptors_2)
    if len(one) == 0 or len(two) == 0:
        return _no_matches()
    if one.shape[1] != two.shape[1]:
        raise PorePatchError(f"Descriptors of {one.shape[1]} and of {two.shape[1]} dimensions cannot be matched.")
    forward, backward = _search(one, two, threads)
    forward = _settle(forward, one, two, threads)
    backward = _settle(backward, two, one, threads)

    index_1 = np.flatnonzero(backward.first[forward.first] == np.arange(len(one)))
    index_2 = forward.first[index_1]
    distance = _distances(one, two, index_1, index_2)
    second = _distances(one, two, index_1, forward.second[index_1])
    ratios = _ratios(distance, second)
    kept = np.ones(len(index_1), bool) if ratio is None else ratios <= ratio
    return Matches(index_1[kept], index_2[kept], distance[kept].astype(np.float32), ratios[kept].astype(np.float32))


def as_float32(descriptors: NDArray[Any]) -> NDArray[np.float32]:
    """Return a table of descriptors (N,D) as contiguous float32.

    Raises:
        PorePatchError: if it is not a table of rows.
    """
    if descriptors.ndim != 2:
        raise PorePatchError(f"Descriptors must be a table of rows, not of shape {descriptors.shape}.")
    return np.ascontiguousarray(descriptors, np.float32)


def _no_matches() -> Matches:
    index = np.zeros(0, np.int64)
    return Matches(index, index, np.zeros(0, np.float32), np.zeros(0, np.float32))


def _ratios(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """First over second distance: 0 where there is no second (NaN), 1 where both are 0."""
    ratios = np.divide(first, second, out=np.ones_like(first), where=second > 0)
    ratios[np.isnan(second)] = 0.0
    return ratios


def _search(one: NDArray[np.float32], two: NDArray[np.float32], threads: int) -> tuple[_Nearest, _Nearest]:
    """Search both ways in one pass: nearest in `two` of every row of `one`, and nearest in `one` of every row of `two`."""
    half_1, half_2 = _half_squares(one, threads), _half_squares(two, threads)
    left, left_half = _padded_rows(one, half_1)
    panels, panel_half = _panels(two, half_2, threads)
    bounds = np.linspace(0, len(left) // _ROWS, max(1, threads) + 1).astype(int) * _ROWS
    found = map_threads(
        lambda part: _search_rows(left, left_half, panels, panel_half, bounds[part], bounds[part + 1]),
        range(len(bounds) - 1),
        threads,
    )
    rows = np.concatenate([part[0] for part in found], axis=1)[:, : len(one)]
    row_index = np.concatenate([part[1] for part in found], axis=1)[:, : len(one)]
    columns, column_index = found[0][2].reshape(2, -1), found[0][3].ravel()
    for part in found[1:]:
        _merge_columns(columns, column_index, part[2].reshape(2, -1), part[3].ravel())
    columns, column_index = columns[:, : len(two)], column_index[: len(two)]

    # Bound on the difference of two rounded scores, each a sum of D products and two halves (Higham 2002, section 3.1).
    unit = (one.shape[1] + 4) * np.finfo(np.float32).eps / 2
    norm_1, norm_2 = np.sqrt(2.0 * half_1), np.sqrt(2.0 * half_2)
    row_error = unit * (norm_1 + norm_2.max()) ** 2
    column_error = unit * (norm_2 + norm_1.max()) ** 2
    row_doubt = _closer(rows[0], rows[1], row_error) | _closer(rows[1], rows[2], row_error)
    forward = _Nearest(row_index[0], row_index[1], row_doubt)
    backward = _Nearest(column_index, np.full(len(two), -1), _closer(columns[0], columns[1], column_error))
    return forward, backward


def _closer(higher: NDArray[np.float32], lower: NDArray[np.float32], error: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether two scores are closer than `error`; a missing score (-inf) is close to nothing."""
    return (higher <= lower + error) & np.isfinite(lower)


def _half_squares(descriptors: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """Half the squared length of every row (N,)."""
    blocks = np.array_split(descriptors, max(1, threads))
    half = np.concatenate(map_threads(_half_squares_of_block, blocks, threads))
    if not np.isfinite(half).all():
        raise PorePatchError("A descriptor has a value that is not a finite number; describe the subject again.")
    return half


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _half_squares_of_block(block):  # type: ignore[no-untyped-def]
    half = np.zeros(len(block))
    for i in range(len(block)):
        total = 0.0
        for k in range(block.shape[1]):
            total += np.float64(block[i, k]) * np.float64(block[i, k])
        half[i] = 0.5 * total
    return half


def _padded_rows(descriptors: NDArray[np.float32], half: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows padded with zeros to whole groups, and their halves padded with infinity (no match with padding)."""
    rows, width = descriptors.shape
    padded = np.zeros((_whole(rows, _ROWS), _whole(width, _DEPTH)), np.float32)
    padded[:rows, :width] = descriptors
    padded_half = np.full(len(padded), np.inf, np.float32)
    padded_half[:rows] = half
    return padded, padded_half


def _panels(
    descriptors: NDArray[np.float32], half: NDArray[np.float64], threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Transposed blocks of descriptors (P, D, _COLUMNS) and their halves (P, _COLUMNS), padded as in `_padded_rows`."""
    rows, width = descriptors.shape
    count = _whole(rows, _COLUMNS) // _COLUMNS
    panels = _aligned(count, _whole(width, _DEPTH), _COLUMNS)
    halves = np.full(count * _COLUMNS, np.inf, np.float32)
    halves[:rows] = half

    def fill(panel: int) -> None:
        block = descriptors[panel * _COLUMNS : (panel + 1) * _COLUMNS]
        panels[panel] = 0.0
        panels[panel, :width, : len(block)] = block.T

    map_threads(fill, range(count), threads)
    return panels, halves.reshape(count, _COLUMNS)


def _whole(size: int, step: int) -> int:
    return -(-size // step) * step


def _aligned(*shape: int) -> NDArray[np.float32]:
    """Return an array whose data starts on a cache line: vector loads that straddle two cost a third of the speed."""
    raw = np.empty(int(np.prod(shape)) + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + int(np.prod(shape))].reshape(shape)


def _search_rows(
    left: NDArray[np.float32],
    left_half: NDArray[np.float32],
    panels: NDArray[np.float32],
    panel_half: NDArray[np.float32],
    start: int,
    stop: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Best scores of the rows start..stop of `left` and, among these rows, of all columns.

    Returns the three best scores of every row (3,R), the indices of the best two (2,R), the two best scores of every
    column (2,P,_COLUMNS) and the row of its best (P,_COLUMNS).
    """
    row_scores = np.full((3, stop - start), -np.inf, np.float32)
    row_index = np.full((2, stop - start), -1, np.int64)
    column_scores = np.full((2, *panel_half.shape), -np.inf, np.float32)
    column_index = np.full(panel_half.shape, -1, np.int32)
    scores = _aligned(_ROWS, _COLUMNS)
    _sweep(left, left_half, panels, panel_half, start, stop, scores, row_scores, row_index, column_scores, column_index)
    return row_scores, row_index, column_scores, column_index.astype(np.int64)


@njit(cache=True, nogil=True)
def _sweep(  # type: ignore[no-untyped-def]
    left, left_half, panels, panel_half, start, stop, scores, row_scores, row_index, column_scores, column_index
):
    for p in range(len(panels)):
        for i in range(start, stop, _ROWS):
            _score(left[i : i + _ROWS], left_half[i : i + _ROWS], panels[p], panel_half[p], scores)
            _reduce_columns(scores, i, column_scores[0, p], column_scores[1, p], column_index[p])
            here = slice(i - start, i - start + _ROWS)
            _reduce_rows(scores, p * _COLUMNS, row_scores[:, here], row_index[:, here])


@njit(cache=True, nogil=True, fastmath={"contract"})
def _score(rows, row_half, panel, panel_half, scores):  # type: ignore[no-untyped-def]
    """Write -d^2/2 = a.b - |a|^2/2 - |b|^2/2 of eight rows (8,D) with a panel (D,C) into `scores` (8,C).

    Eight rows by four dimensions keep the multipliers in registers and the loop over columns free of dependencies.
    """
    for r in range(_ROWS):
        for j in range(_COLUMNS):
            scores[r, j] = -row_half[r] - panel_half[j]
    s0, s1, s2, s3, s4, s5, s6, s7 = (
        scores[0], scores[1], scores[2], scores[3], scores[4], scores[5], scores[6], scores[7],
    )  # fmt: skip
    for k in range(0, len(panel), _DEPTH):
        a0, a1, a2, a3 = _four(rows[0], k), _four(rows[1], k), _four(rows[2], k), _four(rows[3], k)
        a4, a5, a6, a7 = _four(rows[4], k), _four(rows[5], k), _four(rows[6], k), _four(rows[7], k)
        b0, b1, b2, b3 = panel[k], panel[k + 1], panel[k + 2], panel[k + 3]
        for j in range(_COLUMNS):
            b = (b0[j], b1[j], b2[j], b3[j])
            s0[j] = _add_products(s0[j], a0, b)
            s1[j] = _add_products(s1[j], a1, b)
            s2[j] = _add_products(s2[j], a2, b)
            s3[j] = _add_products(s3[j], a3, b)
            s4[j] = _add_products(s4[j], a4, b)
            s5[j] = _add_products(s5[j], a5, b)
            s6[j] = _add_products(s6[j], a6, b)
            s7[j] = _add_products(s7[j], a7, b)


@njit(cache=True, nogil=True, inline="always")
def _four(row, k):  # type: ignore[no-untyped-def]
    return (row[k], row[k + 1], row[k + 2], row[k + 3])


@njit(cache=True, nogil=True, inline="always")
def _add_products(total, a, b):  # type: ignore[no-untyped-def]
    return a[3] * b[3] + (a[2] * b[2] + (a[1] * b[1] + (a[0] * b[0] + total)))


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _reduce_rows(scores, first_column, best, index):  # type: ignore[no-untyped-def]
    """Update the three best scores (3,8) and best two indices (2,8) of the rows of a block of scores (8,C)."""
    for i in range(_ROWS):
        first, second, third = best[0, i], best[1, i], best[2, i]
        first_index, second_index = index[0, i], index[1, i]
        for start in range(0, _COLUMNS, _CHUNK):
            chunk = scores[i, start : start + _CHUNK]
            # Few chunks hold one of the three best; the others are passed over in vector registers.
            if not _any_above(chunk, third):
                continue
            for j in range(_CHUNK):
                score = chunk[j]
                if score > first:
                    first, second, third = score, first, second
                    first_index, second_index = first_column + start + j, first_index
                elif score > second:
                    second, third = score, second
                    second_index = first_column + start + j
                elif score > third:
                    third = score
        best[0, i], best[1, i], best[2, i] = first, second, third
        index[0, i], index[1, i] = first_index, second_index


@njit(cache=True, nogil=True, inline="always")
def _any_above(chunk, threshold):  # type: ignore[no-untyped-def]
    above = False
    for j in range(_CHUNK):
        above |= chunk[j] > threshold
    return above


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _reduce_columns(scores, first_row, best, second, index):  # type: ignore[no-untyped-def]
    """Update the two best scores (C,) and the best row (C,) of every column of a block of scores (8,C)."""
    for i in range(_ROWS):
        row = np.int32(first_row + i)
        for j in range(_COLUMNS):
            score, old = scores[i, j], best[j]
            second[j] = max(second[j], min(score, old))
            index[j] = row if score > old else index[j]
            best[j] = max(score, old)


def _merge_columns(
    scores: NDArray[np.float32], index: NDArray[np.int64], other: NDArray[np.float32], other_index: NDArray[np.int64]
) -> None:
    """Merge the column results of later rows into `scores` (2,C) and `index` (C,)."""
    scores[1] = np.maximum(np.maximum(scores[1], other[1]), np.minimum(scores[0], other[0]))
    better = other[0] > scores[0]
    scores[0][better] = other[0][better]
    index[better] = other_index[better]


def _settle(nearest: _Nearest, queries: NDArray[np.float32], targets: NDArray[np.float32], threads: int) -> _Nearest:
    """Search again, with distances summed directly, for the queries in doubt."""
    doubtful = np.flatnonzero(nearest.in_doubt)
    first, second = nearest.first.copy(), nearest.second.copy()
    chunks = np.array_split(doubtful, max(1, min(threads, len(doubtful))))
    map_threads(lambda chunk: _search_directly(queries, targets, chunk, first, second), chunks, threads)
    return _Nearest(first, second, np.zeros(len(first), bool))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _search_directly(queries, targets, chosen, first, second):  # type: ignore[no-untyped-def]
    """Write the nearest and second-nearest target of the chosen queries, lowest index on ties."""
    for query in chosen:
        best, next_best = np.inf, np.inf
        best_index, next_index = -1, -1
        for j in range(len(targets)):
            squared = squared_distance(queries[query], targets[j])
            if squared < best:
                best, next_best = squared, best
                best_index, next_index = j, best_index
            elif squared < next_best:
                next_best, next_index = squared, j
        first[query], second[query] = best_index, next_index


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def squared_distance(one, two):  # type: ignore[no-untyped-def]
    """Squared L2 distance (float64) of two rows (D,)."""
    total = 0.0
    for k in range(len(one)):
        difference = np.float64(one[k]) - np.float64(two[k])
        total += difference * difference
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _distances(one, two, index_1, index_2):  # type: ignore[no-untyped-def]
    """L2 distances (M,) float64 of rows `index_1` of `one` to rows `index_2` of `two`, NaN where an index is -1."""
    distances = np.full(len(index_1), np.nan)
    for m in range(len(index_1)):
        if index_2[m] >= 0:
            distances[m] = np.sqrt(squared_distance(one[index_1[m]], two[index_2[m]]))
    return distances
