"""The three tasks of HPatches (Balntas, Lenc, Vedaldi and Mikolajczyk, CVPR 2017) on a test set of ours.

Average precision is the paper's: the mean over the relevant items of the precision at each one's distance, without
interpolation (the benchmark's own code integrates by trapezia). Items at one distance are accepted together, as in
`porepatch_lib.verification.metrics`, so a descriptor that says nothing scores what chance does and no order of ties helps anyone.

Where we differ, because a test set is not HPatches. Verification has the test set's ratio of matches to non-matches (HPatches:
one to five), so compare it between descriptors of one test set only. The distractors of a retrieval query may be of its own
subject, the hard case, where HPatches takes other scenes only; what is near the query's point in a photograph is left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array, triu
from scipy.spatial import cKDTree

from porepatch_lib.errors import PorePatchError
from porepatch_lib.patches.store import image_numbers, point_numbers
from porepatch_lib.threads import map_threads
from porepatch_lib.verification.metrics import average_precision

Distances = NDArray[np.float32]
IntArray = NDArray[np.int64]
Labels = NDArray[np.bool_]

NEGATIVE_KINDS = ("same_subject", "cross_subject")

# A random descriptor matches one point in N by accident: with ten or more shared points that stays below 10 %, and one match more
# or less moves the score of an image pair by no more than that.
LEAST_SHARED_POINTS = 10

_BLOCK = 64  # rows whose distances to all others are held at a time


@dataclass(frozen=True)
class HPatchesSettings:
    """How much of the tasks is done.

    image_pairs: most image pairs of the matching task; 0 leaves it out.
    retrieval_queries: most queries of the retrieval task; 0 leaves it out.
    retrieval_pool: most patches of which a query's distractors are taken; 0 leaves the task out.
    min_distance_px: a point nearer than this to the query's, in a photograph of both, is no distractor.
    """

    image_pairs: int = 60
    retrieval_queries: int = 1000
    retrieval_pool: int = 10_000
    min_distance_px: float = 10.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise PorePatchError(f"The HPatches setting {name} is {value}; give 0 or more.")


@dataclass(frozen=True)
class _Patches:
    """The patches (N) of a test set in order of subject, point and image, so that no draw depends on the order of the file.

    row: of the descriptors. point, image: numbers from 0. located: whether image and xy (N,2) are known.
    """

    row: IntArray
    point: IntArray
    image: IntArray
    xy: NDArray[np.float64]
    located: Labels


def hpatches_tasks(
    descriptors: NDArray[Any],
    index: pd.DataFrame,
    pairs: pd.DataFrame,
    distances: Distances,
    settings: HPatchesSettings,
    seed: int,
    threads: int = 1,
) -> dict[str, Any]:
    """Return the mean average precisions (0..1) of the three tasks; None for a task that is left out or has nothing to do.

    Args:
        descriptors: (N,D) float32, row i of row i of `index`; a memory map will do.
        index: columns of the `patches` table, in any order of rows. Rows whose crop_factor is 0 come from a set that does not
            say where in its photographs they lie: the matching task passes them over, and nothing is near them.
        pairs: columns of the `test pairs` table.
        distances: (P,) of the pairs.
        settings, seed: what is drawn; the same for every descriptor, whatever the threads.

    Returns:
        verification: {"same_subject", "cross_subject"}, matches against the non-matches of that kind; matching,
        retrieval; matching_image_pairs, retrieval_queries, retrieval_pool: how many were used.

    Raises:
        PorePatchError: if a descriptor that is used is not finite, or a distance is NaN.
    """
    patches = _sorted_patches(index)
    matching, image_pairs = _matching(descriptors, patches, settings, seed, threads)
    retrieval, queries, pool = _retrieval(descriptors, patches, settings, seed, threads)
    is_match = pairs["is_match"].to_numpy(bool)
    return {
        "verification": {
            name: _verification(distances, is_match, (pairs["kind"] == name).to_numpy(bool)) for name in NEGATIVE_KINDS
        },
        "matching": matching,
        "retrieval": retrieval,
        "matching_image_pairs": image_pairs,
        "retrieval_queries": queries,
        "retrieval_pool": pool,
    }


def matching_precision(one: NDArray[Any], two: NDArray[Any]) -> float:
    """Return the average precision (0..1) of matching the patches of two images, row i of `one` with row i of `two`, both (N,D).

    Each patch of image 1 takes its nearest of image 2; the N matches are ranked by distance, and the sum of the precisions at the
    correct ones is divided by N, all there was to find. A patch whose two nearest are equally near is taken to match wrongly.
    """
    own, other = np.empty(len(one), np.float32), np.empty(len(one), np.float32)
    for start in range(0, len(one), _BLOCK):
        distances = _squared_distances(one[start : start + _BLOCK], two)
        rows = np.arange(len(distances))
        own[start + rows] = distances[rows, start + rows]
        distances[rows, start + rows] = np.inf
        other[start + rows] = distances.min(axis=1)
    order = np.argsort(np.minimum(own, other), kind="stable")
    ordered, true = np.minimum(own, other)[order], np.cumsum((own < other)[order])
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # last of each run of equal distances
    return float(np.sum(np.diff(true[last], prepend=0) * (true[last] / (last + 1.0))) / len(one))


def retrieval_precision(relevant: Distances, distractors: Distances) -> float:
    """Return the average precision (0..1) of a query, from its distances to the relevant patches (at least one) and to others."""
    relevant = np.sort(relevant)
    true = np.searchsorted(relevant, relevant, side="right")
    nearer = np.sort(distractors[distractors <= relevant[-1]])
    return float(np.mean(true / (true + np.searchsorted(nearer, relevant, side="right"))))


def _verification(distances: Distances, is_match: Labels, is_negative: Labels) -> float | None:
    if not is_match.any() or not is_negative.any():
        return None
    chosen = is_match | is_negative
    return average_precision(distances[chosen], is_match[chosen])


def _matching(
    descriptors: NDArray[Any], patches: _Patches, settings: HPatchesSettings, seed: int, threads: int
) -> tuple[float | None, int]:
    """Return the mean over image pairs, and their number."""
    pairs = _image_pairs(patches)
    if len(pairs) > settings.image_pairs:
        pairs = pairs[np.sort(np.random.default_rng((seed, 0)).choice(len(pairs), settings.image_pairs, replace=False))]
    located = np.flatnonzero(patches.located)
    located = located[np.argsort(patches.image[located], kind="stable")]
    ends = np.cumsum(np.bincount(patches.image[located]))
    of_image = np.split(located, ends[:-1])

    def score(pair: IntArray) -> float:
        one, two = of_image[pair[0]], of_image[pair[1]]
        _, at_1, at_2 = np.intersect1d(patches.point[one], patches.point[two], return_indices=True)
        return matching_precision(descriptors[patches.row[one[at_1]]], descriptors[patches.row[two[at_2]]])

    scores = map_threads(score, pairs, threads)
    return (float(np.mean(scores)) if scores else None), len(scores)


def _image_pairs(patches: _Patches) -> IntArray:
    """Return the pairs of images (P,2), the first below the second, that share at least LEAST_SHARED_POINTS points."""
    point, image = patches.point[patches.located], patches.image[patches.located]
    if len(point) == 0:
        return np.empty((0, 2), np.int64)
    seen = csr_array((np.ones(len(point), np.int64), (point, image)))
    shared = triu(seen.T @ seen, 1, format="coo")
    enough = shared.data >= LEAST_SHARED_POINTS
    pairs = np.stack([shared.row[enough], shared.col[enough]], axis=1)
    return pairs[np.lexsort(pairs.T[::-1])].astype(np.int64)


def _retrieval(
    descriptors: NDArray[Any], patches: _Patches, settings: HPatchesSettings, seed: int, threads: int
) -> tuple[float | None, int, int]:
    """Return the mean over queries, their number and that of the pool. Queries whose every distractor is near are left out."""
    rng = np.random.default_rng((seed, 1))
    count = np.bincount(patches.point)
    first = np.cumsum(count) - count
    points = _draw(np.flatnonzero(count > 1), settings.retrieval_queries, rng)
    pool = _draw(np.arange(len(patches.row)), settings.retrieval_pool, rng)
    if len(points) == 0 or len(pool) == 0:
        return None, 0, 0
    queries = first[points] + rng.integers(count[points])
    near = _near_points(patches, points, first, count, settings.min_distance_px)
    pool_descriptors, pool_points = np.ascontiguousarray(descriptors[patches.row[pool]]), patches.point[pool]

    def score(start: int) -> list[float]:
        block = range(start, min(start + _BLOCK, len(queries)))
        others = [_others(first[points[i]], count[points[i]], queries[i]) for i in block]
        rows = descriptors[patches.row[queries[block.start : block.stop]]]
        to_pool = _squared_distances(rows, pool_descriptors)
        to_others = _squared_distances(rows, descriptors[patches.row[np.concatenate(others)]])
        ends = np.cumsum([len(own) for own in others])
        scores = []
        for place, i in enumerate(block):
            distractors = to_pool[place, ~np.isin(pool_points, near[i])]
            relevant = to_others[place, ends[place] - len(others[place]) : ends[place]]
            if len(distractors):
                scores.append(retrieval_precision(relevant, distractors))
        return scores

    scores = [one for block in map_threads(score, range(0, len(queries), _BLOCK), threads) for one in block]
    return (float(np.mean(scores)) if scores else None), len(scores), len(pool)


def _near_points(patches: _Patches, points: IntArray, first: IntArray, count: IntArray, distance_px: float) -> list[IntArray]:
    """Return for each of the given points itself and those that come nearer than `distance_px` in a photograph of both."""
    located = np.flatnonzero(patches.located)
    apart = 2.0 * distance_px + 1.0  # between two photographs, so that one tree serves all
    places = np.column_stack([patches.xy[located], apart * patches.image[located]])
    tree = cKDTree(places)
    found = []
    for point in points:
        own = slice(*np.searchsorted(located, [first[point], first[point] + count[point]]))
        rows = tree.query_ball_point(places[own], np.nextafter(distance_px, 0.0))
        near = [patches.point[located[np.array(row, np.int64)]] for row in rows]
        found.append(np.unique(np.concatenate([[point], *near])))
    return found


def _others(first: int, count: int, query: int) -> IntArray:
    """Return the patches of the query's point but the query."""
    rows = np.arange(first, first + count)
    return rows[rows != query]


def _draw(values: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """Return at most `most` of ascending values, drawn without replacement, ascending."""
    return values if len(values) <= most else np.sort(rng.choice(values, most, replace=False))


def _sorted_patches(index: pd.DataFrame) -> _Patches:
    subject = pd.factorize(index["subject"], sort=True)[0]
    order = np.lexsort((index["keypoint_id"], index["image_id"], index["point_id"], subject))
    frame = index.iloc[order]
    return _Patches(
        row=order.astype(np.int64),
        point=point_numbers(frame),
        image=image_numbers(frame),
        xy=frame[["x", "y"]].to_numpy(np.float64),
        located=frame["crop_factor"].to_numpy() > 0,
    )


def _squared_distances(one: NDArray[Any], two: NDArray[Any]) -> Distances:
    """Return the squared Euclidean distances (N,M) float32 of rows (N,D) and (M,D).

    They are summed directly, at the speed of a matrix product with its sums of squares; there, rounding would break ties.
    """
    distances = np.empty((len(one), len(two)), np.float32)
    _measure(np.ascontiguousarray(one, np.float32), np.ascontiguousarray(two, np.float32), distances)
    if not np.isfinite(distances).all():
        raise PorePatchError("A descriptor of the test set has a value that is not a finite number; describe the patches again.")
    return distances


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _measure(one, two, distances):  # type: ignore[no-untyped-def]
    for i in range(len(one)):
        for j in range(len(two)):
            total = np.float32(0.0)
            for k in range(one.shape[1]):
                difference = one[i, k] - two[j, k]
                total += difference * difference
            distances[i, j] = total
