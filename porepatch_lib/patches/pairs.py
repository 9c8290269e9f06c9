"""Labelled pairs of patches: half matches, half non-matches, none of them doubtful.

UBC PhotoTour protocol (Winder and Brown): a match is two patches of one surface point; a non-match is two patches of
different points that are farther apart than a minimum distance wherever one photograph shows both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from porepatch_lib.errors import PorePatchError
from porepatch_lib.patches.store import image_numbers, point_numbers, subject_numbers

logger = logging.getLogger(__name__)

Subjects = Literal["any", "same", "cross"]  # whom the two patches of a non-match show: anybody, one subject, two subjects

_BLOCK = 1 << 20
_MIN_DRAW = 1 << 10
_MAX_DRAWS = 256
_NEIGHBOURS = 8


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn.

    pairs: number of pairs, half of them matches; fewer where the data has no more.
    min_distance_px: two points closer than this in some photograph make no non-match.
    """

    pairs: int = 100_000
    min_distance_px: float = 10.0

    def __post_init__(self) -> None:
        if self.pairs < 2 or self.pairs % 2:
            raise PorePatchError(f"The setting pairs is {self.pairs}; give an even number of at least 2.")
        if self.min_distance_px < 0:
            raise PorePatchError(f"The setting min_distance_px is {self.min_distance_px}; give 0 or more pixels.")


class Sightings:
    """Where photographs show the points 0, 1, 2...: `point`, `image` (N,) numbers and `xy` (N,2) px, by point, then by image."""

    def __init__(self, point: NDArray[np.int64], image: NDArray[np.int64], xy: NDArray[np.float64]) -> None:
        self.point, self.image, self.xy = point, image, xy
        self.images = int(image.max(initial=-1)) + 1
        self.count = np.bincount(point)
        self.first = np.cumsum(self.count) - self.count
        # Ascending by point then image: an observation of a point in an image is found by bisection.
        self.key = point * self.images + image
        if (np.diff(self.key) <= 0).any():
            raise PorePatchError("The patch index is not sorted by subject, point and image; delete it and run again.")

    def near(self, a: NDArray[np.int64], b: NDArray[np.int64], distance_px: float) -> NDArray[np.bool_]:
        """Whether the points a[i] and b[i] come closer than `distance_px` in a photograph of both."""
        near, left = np.zeros(len(a), np.bool_), np.arange(len(a))
        for step in range(int(self.count[a].max(initial=0))):
            left = left[self.count[a[left]] > step]
            observed = self.first[a[left]] + step
            wanted = b[left] * self.images + self.image[observed]
            found = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
            offset = self.xy[observed] - self.xy[found]
            near[left] |= (self.key[found] == wanted) & (np.hypot(offset[:, 0], offset[:, 1]) < distance_px)
        return near


class PatchPoints:
    """The rows of an index grouped by surface point: what pair drawing needs, as arrays.

    `sightings` are all observations of the points, with the columns subject, point_id, image_id, x, y and sorted as the index;
    without them, those of which there is a patch.
    """

    def __init__(self, index: pd.DataFrame, sightings: pd.DataFrame | None = None) -> None:
        self.point = point_numbers(index)
        self.image = image_numbers(index)
        self.subject = subject_numbers(index)
        self.xy = index[["x", "y"]].to_numpy(np.float64)
        own = Sightings(self.point, self.image, self.xy)
        self.images, self.count, self.first = own.images, own.count, own.first
        self._sightings = own if sightings is None else _sightings_of(index, sightings)

    def __len__(self) -> int:
        return len(self.point)

    def near(self, rows: NDArray[np.int64], others: NDArray[np.int64], distance_px: float) -> NDArray[np.bool_]:
        """Whether the points of rows[i] and others[i] come closer than `distance_px` in a photograph of both."""
        near = np.zeros(len(rows), np.bool_)
        same = np.flatnonzero(self.subject[rows] == self.subject[others])
        near[same] = self._sightings.near(self.point[rows[same]], self.point[others[same]], distance_px)
        return near

    def shows(self, rows: NDArray[np.int64], others: NDArray[np.int64], subjects: Subjects) -> NDArray[np.bool_]:
        """Whether rows[i] and others[i] show whom `subjects` asks for."""
        if subjects == "any":
            return np.ones(len(rows), np.bool_)
        return (self.subject[rows] == self.subject[others]) == (subjects == "same")

    def share(self, subjects: Subjects) -> float:
        """Share of the ordered pairs of different points that show whom `subjects` asks for; 0 where there is none."""
        if subjects == "any":
            return 1.0
        sizes = np.bincount(self.subject[self.first]).astype(np.float64)
        everyone, same = sizes.sum() * (sizes.sum() - 1), (sizes * (sizes - 1)).sum()
        return float((same if subjects == "same" else everyone - same) / max(1.0, everyone))


def draw_pairs(index: pd.DataFrame, settings: PairSettings, rng: np.random.Generator) -> pd.DataFrame:
    """Draw unique labelled pairs of rows of `index` (columns of the `patches` table, sorted as in the store).

    A match is drawn uniformly over points, then over the pairs of that point; a non-match uniformly over two
    points, then over their patches; both without replacement. There are as many matches as non-matches.

    Returns:
        A frame with the columns of the `patch pairs` table, patch_1 < patch_2, in random order.
    """
    points = PatchPoints(index)
    half = settings.pairs // 2
    matches = draw_matches(points, half, rng)
    non_matches = draw_non_matches(points, len(matches), settings.min_distance_px, rng)
    taken = min(len(matches), len(non_matches))
    if taken < half:
        logger.warning("Only %d pairs instead of %d: the patches allow no more.", 2 * taken, settings.pairs)
    chosen = np.concatenate([matches[:taken], non_matches[:taken]])
    labels = np.arange(2 * taken) < taken
    order = rng.permutation(2 * taken)
    return pd.DataFrame({"patch_1": chosen[order, 0], "patch_2": chosen[order, 1], "is_match": labels[order]})


def draw_matches(points: PatchPoints, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `wanted` pairs of rows (N,2) of one point, uniformly over points, then over the pairs of that point.

    Without replacement, first row < second, in random order.
    """

    def weighted() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        for size in np.unique(points.count[points.count > 1]):
            i, j = np.triu_indices(size, 1)
            firsts = points.first[points.count == size]
            stride = max(1, _BLOCK // len(i))
            for start in range(0, len(firsts), stride):
                block = firsts[start : start + stride, None]
                pairs = np.stack([(block + i).ravel(), (block + j).ravel()], axis=1)
                yield pairs, np.full(len(pairs), 1.0 / len(i))

    return _weighted_sample(weighted(), wanted, rng)


def draw_single_matches(points: PatchPoints, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `wanted` pairs of rows (N,2): one pair of each point drawn, so that no point counts more than another.

    Uniformly over the points of two patches or more, then over the pairs of that point; first row < second, in random order.
    """
    chosen = rng.permutation(np.flatnonzero(points.count > 1))[:wanted]
    one = rng.integers(points.count[chosen])
    other = (one + rng.integers(1, points.count[chosen])) % points.count[chosen]
    return points.first[chosen, None] + np.sort(np.stack([one, other], axis=1), axis=1)


def draw_non_matches(
    points: PatchPoints, wanted: int, distance_px: float, rng: np.random.Generator, subjects: Subjects = "any"
) -> NDArray[np.int64]:
    """Draw at most `wanted` pairs of rows (N,2) of two points, uniformly over pairs of points, then over their patches.

    The two never come closer than `distance_px` in a photograph of both, and show whom `subjects` asks for. Without
    replacement, first row < second, in random order.
    """
    share = points.share(subjects)
    if share == 0.0:
        return np.empty((0, 2), np.int64)
    # Enumerating is exact and always ends; drawing with rejection is for stores with far more pairs than wanted.
    if len(points) * (len(points) - 1) // 2 <= max(_BLOCK, 8 * wanted):
        return _weighted_sample(_all_non_matches(points, distance_px, subjects), wanted, rng)
    found = np.empty((0, 2), np.int64)
    for _ in range(_MAX_DRAWS):
        missing = min(max(round(2 * (wanted - len(found)) / share), _MIN_DRAW), _BLOCK)
        chosen = rng.integers(len(points.count), size=(missing, 2))
        rows = points.first[chosen] + rng.integers(points.count[chosen])
        rows.sort(axis=1)
        rows = rows[chosen[:, 0] != chosen[:, 1]]
        rows = rows[points.shows(rows[:, 0], rows[:, 1], subjects)]
        rows = rows[~points.near(rows[:, 0], rows[:, 1], distance_px)]
        found = _without_repeats(np.concatenate([found, rows]), len(points))
        if len(found) >= wanted:
            break
    return found[:wanted]


def draw_hard_non_matches(
    points: PatchPoints, matches: NDArray[np.int64], wanted: int, distance_px: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw at most `wanted` non-matches (N,2) that differ from a match by a small step in one photograph.

    For a match of patches a and b, in random roles: patch a with the patch of another point that lies nearest to b, in pixels of
    b's photograph, among those of `nearest_apart`. What is hard is chosen in space, never by the distance of a descriptor, so the
    pairs favour none. At most one pair for each row of `matches` (M,2), no pair twice; first row < second, in the order of
    `matches`.
    """
    found = np.empty((0, 2), np.int64)
    swapped = rng.random(len(matches)) < 0.5
    roles = np.where(swapped[:, None], matches[:, ::-1], matches)
    for start in range(0, len(roles), max(1, wanted)):
        kept, left = roles[start : start + wanted].T
        nearest = nearest_apart(points, left, distance_px)
        rows = np.stack([kept, nearest], axis=1)[nearest >= 0]
        rows.sort(axis=1)
        found = _without_repeats(np.concatenate([found, rows]), len(points))
        if len(found) >= wanted:
            break
    return found[:wanted]


def nearest_apart(points: PatchPoints, rows: NDArray[np.int64], distance_px: float) -> NDArray[np.int64]:
    """Return for each of `rows` (N,) the nearest patch of its photograph that is surely of another point, -1 for none.

    The two points never come closer than `distance_px` in this or another photograph of both.
    """
    nearest = np.full(len(rows), -1, np.int64)
    patches_of, asked_of = _groups(points.image, points.images), _groups(points.image[rows], points.images)
    for members, pending in zip(patches_of, asked_of, strict=True):
        if len(pending) == 0:
            continue
        tree, count = cKDTree(points.xy[members]), min(_NEIGHBOURS, len(members))
        while len(pending):
            _, neighbours = tree.query(points.xy[rows[pending]], range(1, count + 1))
            candidates = members[neighbours]
            own, other = np.repeat(rows[pending], count), candidates.ravel()
            apart = (points.point[own] != points.point[other]) & ~points.near(own, other, distance_px)
            apart = apart.reshape(candidates.shape)
            hit = apart.any(axis=1)
            nearest[pending[hit]] = candidates[hit, apart[hit].argmax(axis=1)]
            if count == len(members):
                break
            pending, count = pending[~hit], min(2 * count, len(members))
    return nearest


def _sightings_of(index: pd.DataFrame, sightings: pd.DataFrame) -> Sightings:
    """Return the sightings of the points of an index, with its numbers of points."""
    keys = ["subject", "point_id"]
    numbers = index[keys].assign(number=point_numbers(index)).drop_duplicates(keys)
    known = sightings.merge(numbers, on=keys, how="inner").sort_values(["number", "image_id"], kind="stable")
    return Sightings(known["number"].to_numpy(np.int64), image_numbers(known), known[["x", "y"]].to_numpy(np.float64))


def _groups(number: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Return the positions of the numbers 0, 1, ... count - 1."""
    order = np.argsort(number, kind="stable")
    return np.split(order, np.searchsorted(number[order], np.arange(1, count)))


def _all_non_matches(
    points: PatchPoints, distance_px: float, subjects: Subjects
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    total = len(points)
    stride = max(1, _BLOCK // max(1, total))
    for start in range(0, total, stride):
        first, second = np.meshgrid(np.arange(start, min(start + stride, total)), np.arange(total), indexing="ij")
        rows = np.stack([first[first < second], second[first < second]], axis=1)
        rows = rows[points.point[rows[:, 0]] != points.point[rows[:, 1]]]
        rows = rows[points.shows(rows[:, 0], rows[:, 1], subjects)]
        rows = rows[~points.near(rows[:, 0], rows[:, 1], distance_px)]
        yield rows, 1.0 / points.count[points.point[rows]].prod(axis=1)


def _weighted_sample(
    blocks: Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]], wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Sample rows without replacement, in drawing order, with the given weights (Efraimidis and Spirakis, 2006)."""
    best, best_keys = np.empty((0, 2), np.int64), np.empty(0)
    for rows, weights in blocks:
        keys = np.concatenate([best_keys, rng.exponential(size=len(rows)) / weights])
        kept = np.argsort(keys, kind="stable")[:wanted]
        best, best_keys = np.concatenate([best, rows])[kept], keys[kept]
    return best


def _without_repeats(pairs: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Keep the first of equal pairs, in order."""
    _, first = np.unique(pairs[:, 0] * rows + pairs[:, 1], return_index=True)
    return pairs[np.sort(first)]
