"""Batches of surface points with two patches each."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from porepatch_lib.descriptors.networks import halve_patches
from porepatch_lib.errors import PorePatchError

_LOG = logging.getLogger(__name__)
_FEWEST_POINTS = 16
_BLOCK = 8192  # patches read at a time
_ORDER_STREAM, _STEP_STREAM = 0, 1  # keep the random streams of epochs and steps apart


@dataclass(frozen=True)
class Batch:
    """Row numbers (P,) of two different patches of each of P points, and bool (P,P): may be the same place."""

    anchors: NDArray[np.int64]
    positives: NDArray[np.int64]
    not_negatives: NDArray[np.bool_]


@dataclass(frozen=True)
class PointSampler:
    """Draws points without replacement inside an epoch. A batch depends on the seed and the step alone.

    rows: patch rows grouped by point; point i owns rows[starts[i] : starts[i] + counts[i]], at least two.
    neighbours: sparse (points, points), nonzero where two points come close in some image.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    neighbours: csr_array
    points_per_batch: int
    seed: int

    def batch(self, step: int) -> Batch:
        """Return the batch of `step` = 0, 1, 2, ..."""
        epoch, index = divmod(step, len(self.starts) // self.points_per_batch)
        order = np.random.default_rng([self.seed, _ORDER_STREAM, epoch]).permutation(len(self.starts))
        points = order[index * self.points_per_batch : (index + 1) * self.points_per_batch]
        generator = np.random.default_rng([self.seed, _STEP_STREAM, step])
        counts = self.counts[points]
        first = generator.integers(counts)
        second = generator.integers(counts - 1)
        second += second >= first
        near = self.neighbours[points][:, points].toarray() > 0
        return Batch(self.rows[self.starts[points] + first], self.rows[self.starts[points] + second], near)


def make_sampler(index: pd.DataFrame, points_per_batch: int, neighbour_radius_px: float, seed: int) -> PointSampler:
    """Group the rows of a PATCHES table by surface point; points with a single patch are left out.

    A batch larger than the number of points is reduced to it. Raises PorePatchError below 16 points.
    """
    labels = np.asarray(index.groupby(["subject", "point_id"], sort=True).ngroup(), np.int64)
    sizes = np.bincount(labels)
    usable = np.flatnonzero(sizes >= 2)
    if len(usable) < _FEWEST_POINTS:
        raise PorePatchError(
            f"The training set has {len(usable)} surface points seen twice or more, too few to train on (at least "
            f"{_FEWEST_POINTS}); add subjects or photographs, or loosen the matching and track settings."
        )
    if len(usable) < points_per_batch:
        _LOG.info("The batch is reduced from %d to %d points, all the training set has.", points_per_batch, len(usable))
    rows = np.argsort(labels, kind="stable")
    starts = np.cumsum(sizes) - sizes
    near = _neighbours(index, labels, len(sizes), neighbour_radius_px)[usable][:, usable]
    return PointSampler(rows, starts[usable], sizes[usable], near, min(points_per_batch, len(usable)), seed)


def read_small_patches(store: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read memory-mapped patches (N,64,64) block by block and reduce them to (N,32,32), 1 KB a patch in memory."""
    small = np.empty((len(store), 32, 32), np.uint8)
    for start in range(0, len(store), _BLOCK):
        small[start : start + _BLOCK] = halve_patches(np.asarray(store[start : start + _BLOCK]))
    return small


def _neighbours(index: pd.DataFrame, labels: NDArray[np.int64], points: int, radius_px: float) -> csr_array:
    """Mark pairs of points whose patches lie within `radius_px` of each other in some image, symmetrically."""
    found = [np.empty((0, 2), np.int64)]
    position = index[["x", "y"]].to_numpy(np.float64)
    for rows in index.groupby(["subject", "image_id"], sort=True).indices.values():
        pairs = KDTree(position[rows]).query_pairs(radius_px, output_type="ndarray")
        found.append(labels[rows[pairs]])
    pairs = np.concatenate(found)
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    return csr_array((np.ones(len(pairs), np.int32), (pairs[:, 0], pairs[:, 1])), shape=(points, points))
