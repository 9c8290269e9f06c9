"""Keypoints that show the same surface point, by geometry alone: no descriptor takes part in labelling the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CANDIDATES = 8  # nearest keypoints looked at for one of the right scale: detectors repeat a place at a few scales


@dataclass(frozen=True)
class Features:
    """Keypoints of one view with their place in the other view of a pair.

    xy: (N,2) pixels in their own view; moved: (N,2) pixels in the other view, NaN where it does not see the place;
    size_mm: (N,) sigma on the surface, NaN off the surface.
    """

    xy: FloatArray
    moved: FloatArray
    size_mm: FloatArray


def correspond(
    features_1: Features, features_2: Features, most_distance_px: float, most_octaves: float
) -> tuple[IntArray, IntArray]:
    """Return rows (K,), (K,) of the keypoints of two views that correspond.

    Each is the other's nearest keypoint among those of its size (sizes within `most_octaves`, in log2), and both are within
    `most_distance_px` of where the other one appears in their view.
    """
    to_2 = _nearest(features_1, features_2, most_distance_px, most_octaves)
    to_1 = _nearest(features_2, features_1, most_distance_px, most_octaves)
    index_1 = np.flatnonzero(to_2 >= 0)
    index_1 = index_1[to_1[to_2[index_1]] == index_1]
    return index_1, to_2[index_1]


def group(images: IntArray, links: Sequence[tuple[IntArray, IntArray]]) -> IntArray:
    """Join linked keypoints into points; return the point (N,) of every keypoint, 0, 1, 2..., or -1 for none.

    `images` (N,) is each keypoint's image, `links` are rows that correspond. A point has at least two keypoints. A point that
    would hold two keypoints of one image contradicts itself: all its keypoints get -1.
    """
    empty = np.empty(0, np.int64)
    first = np.concatenate([empty, *(rows for rows, _ in links)])
    second = np.concatenate([empty, *(rows for _, rows in links)])
    count = len(images)
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    size = np.bincount(component, minlength=1)
    distinct = np.unique(np.stack([component, images]), axis=1)[0]
    good = (size >= 2) & (np.bincount(distinct, minlength=len(size)) == size)
    return _renumbered(np.where(good[component], component, -1)) if count else empty


def keep_points(point: IntArray, kept: NDArray[np.bool_]) -> IntArray:
    """Return `point` (N,) with points whose `kept` is False set to -1 and the others renumbered without gaps."""
    return _renumbered(np.where((point >= 0) & kept[np.maximum(point, 0)], point, -1)) if len(kept) else point


def possible_duplicates(xyz: FloatArray, images: NDArray[np.bool_], least_distance: float) -> NDArray[np.bool_]:
    """Return (P,) whether a point may be another point found twice, so that calling the two different would be unsafe.

    Two points at xyz (P,3) nearer than `least_distance` that share no image were never told apart; `images` (P,V) says which
    images see a point. Of each such two the one seen in fewer images is marked, of equals the later one.
    """
    pairs = cKDTree(xyz).query_pairs(least_distance, output_type="ndarray")
    pairs = pairs[~(images[pairs[:, 0]] & images[pairs[:, 1]]).any(axis=1)]
    length = images.sum(axis=1)
    later = np.where(length[pairs[:, 0]] < length[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    marked = np.zeros(len(xyz), bool)
    marked[later] = True
    return marked


def _nearest(source: Features, target: Features, most_distance_px: float, most_octaves: float) -> IntArray:
    """Return for each keypoint of `source` the nearest one of `target` of its size, (N,), -1 for none."""
    nearest = np.full(len(source.xy), -1, np.int64)
    seen = np.flatnonzero(np.isfinite(source.moved).all(axis=1) & np.isfinite(source.size_mm))
    if len(seen) == 0 or len(target.xy) == 0:
        return nearest
    count = min(_CANDIDATES, len(target.xy))
    distance, index = cKDTree(target.xy).query(source.moved[seen], k=np.arange(1, count + 1))
    octaves = np.abs(np.log2(target.size_mm[index] / source.size_mm[seen][:, None]))
    fits = (octaves <= most_octaves) & (distance <= most_distance_px)  # NaN sizes do not fit
    found = fits.any(axis=1)
    nearest[seen[found]] = index[found, fits[found].argmax(axis=1)]
    return nearest


def _renumbered(point: IntArray) -> IntArray:
    chosen = point >= 0
    result = np.full(len(point), -1, np.int64)
    result[chosen] = np.unique(point[chosen], return_inverse=True)[1]
    return result
