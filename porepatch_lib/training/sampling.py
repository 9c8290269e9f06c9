"""Batches of surface points with two patches each, drawn where the patches are."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Generator, Tensor

from porepatch_lib.errors import PorePatchError

_LOG = logging.getLogger(__name__)
_FEWEST_POINTS = 16
_ORDER_STREAM, _STEP_STREAM = 0, 1  # keep the random streams of epochs and steps apart
_DRAWS = 2**31 - 1  # a draw below this, modulo a point's patches, is uniform to one in a million


@dataclass(frozen=True)
class Batch:
    """Two different patches of each of P points: row numbers int64 (P,), and where two points may be the same place.

    not_negatives: bool (P,P), symmetric; False on the diagonal, which is every point with itself.
    """

    anchors: Tensor
    positives: Tensor
    not_negatives: Tensor


@dataclass(frozen=True)
class NearPoints:
    """Which points come close to which: point i to points[starts[i] : starts[i] + counts[i]], never itself.

    `points` is padded by `widest`, the largest count, so that as many can be read from every start.
    """

    points: Tensor
    starts: Tensor
    counts: Tensor
    widest: int


@dataclass(frozen=True)
class _Epoch:
    """An order of all points, and the place in it of every point."""

    number: int
    order: Tensor
    place: Tensor


@dataclass
class PointSampler:
    """Draws points without replacement inside an epoch. A batch depends on the seed and the step alone.

    rows: patch rows grouped by point; point i owns rows[starts[i] : starts[i] + counts[i]], at least two. All are int64
    tensors on one device, where the batches are drawn too without the host waiting for it. The points left over where
    points_per_batch does not divide their number sit the epoch out; another order chooses others.
    """

    rows: Tensor
    starts: Tensor
    counts: Tensor
    near: NearPoints
    points_per_batch: int
    seed: int
    _epoch: _Epoch | None = field(default=None, init=False, repr=False)

    @property
    def batches_per_epoch(self) -> int:
        return len(self.starts) // self.points_per_batch

    def batch(self, step: int) -> Batch:
        """Return the batch of `step` = 0, 1, 2, ..."""
        number, index = divmod(step, self.batches_per_epoch)
        epoch = self._order_of(number)
        first = index * self.points_per_batch
        points = epoch.order[first : first + self.points_per_batch]
        counts, starts = self.counts[points], self.starts[points]
        generator = generator_for(self.rows.device, self.seed, _STEP_STREAM, step)
        draws = torch.randint(_DRAWS, (2, len(points)), generator=generator, device=generator.device)
        anchors = draws[0] % counts
        positives = draws[1] % (counts - 1)
        positives = positives + (positives >= anchors)  # steps over the anchor: no rejection
        return Batch(
            anchors=self.rows[starts + anchors],
            positives=self.rows[starts + positives],
            not_negatives=near_in_batch(self.near, points, epoch.place - first),
        )

    def _order_of(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            generator = generator_for(self.rows.device, self.seed, _ORDER_STREAM, number)
            order = torch.randperm(len(self.starts), generator=generator, device=generator.device)
            place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
            self._epoch = _Epoch(number, order, place)
        return self._epoch


def make_sampler(
    index: pd.DataFrame, points_per_batch: int, neighbour_radius_px: float, seed: int, device: torch.device
) -> PointSampler:
    """Group the rows of a PATCHES table by surface point; points seen in a single photograph are left out.

    Of several patches of a point in one photograph, nearly equal, only the first is drawn. A batch larger than the number
    of points is reduced to it. `device` is the rows_device of the patches. Raises PorePatchError below 16 points.
    """
    labels = np.asarray(index.groupby(["subject", "point_id"], sort=True).ngroup(), np.int64)
    drawn = np.flatnonzero(~index.duplicated(["subject", "point_id", "image_id"]).to_numpy())
    sizes = np.bincount(labels[drawn])
    usable = np.flatnonzero(sizes >= 2)
    if len(usable) < _FEWEST_POINTS:
        raise PorePatchError(
            f"The training set has {len(usable)} surface points seen twice or more, too few to train on (at least "
            f"{_FEWEST_POINTS}); add subjects or photographs, or loosen the matching and track settings."
        )
    if len(usable) < points_per_batch:
        _LOG.info("The batch is reduced from %d to %d points, all the training set has.", points_per_batch, len(usable))
    rows = drawn[np.argsort(labels[drawn], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    numbers = np.full(len(sizes), -1, np.int64)
    numbers[usable] = np.arange(len(usable))
    return PointSampler(
        rows=torch.from_numpy(rows).to(device),
        starts=torch.from_numpy(starts[usable]).to(device),
        counts=torch.from_numpy(sizes[usable]).to(device),
        near=_near_points(index, numbers[labels], len(usable), neighbour_radius_px, device),
        points_per_batch=min(points_per_batch, len(usable)),
        seed=seed,
    )


def generator_for(device: torch.device, *numbers: int) -> Generator:
    """Return a generator on `device` whose stream is named by `numbers`, each at least 0; other numbers, an unrelated stream."""
    entropy = np.random.SeedSequence([len(numbers), *numbers])  # without their count, trailing zeros would not matter
    return Generator(device).manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)


def near_in_batch(near: NearPoints, points: Tensor, place: Tensor) -> Tensor:
    """Return bool (P,P): which of `points`, int64 (P,), come close to each other.

    place: int64, for every point of all its place in the batch, below 0 or from P on where it is not in the batch.
    """
    count = len(points)
    slots = torch.arange(near.widest, device=points.device)
    columns = place[near.points[near.starts[points][:, None] + slots]]
    listed = (slots < near.counts[points][:, None]) & (columns >= 0) & (columns < count)
    own = torch.arange(count, device=points.device)[:, None]
    found = torch.zeros((count, count), dtype=torch.bool, device=points.device)
    found.scatter_(1, torch.where(listed, columns, own), True)  # what is not listed lands on the diagonal
    return found.fill_diagonal_(False)


def _near_points(
    index: pd.DataFrame, point_of_row: NDArray[np.int64], count: int, radius_px: float, device: torch.device
) -> NearPoints:
    """Find pairs of points whose patches lie within `radius_px` of each other in some image. Rows of no point have -1."""
    codes = [np.empty(0, np.int64)]
    position = index[["x", "y"]].to_numpy(np.float64)
    for rows in index.groupby(["subject", "image_id"], sort=True).indices.values():
        pairs = point_of_row[rows[KDTree(position[rows]).query_pairs(radius_px, output_type="ndarray")]]
        first, second = pairs[(pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])].T
        codes.append(np.unique(np.concatenate([first * count + second, second * count + first])))
    first, second = np.divmod(np.unique(np.concatenate(codes)), count)
    counts = np.bincount(first, minlength=count)
    widest = int(counts.max())
    return NearPoints(
        points=torch.from_numpy(np.pad(second, (0, widest))).to(device),
        starts=torch.from_numpy(np.cumsum(counts) - counts).to(device),
        counts=torch.from_numpy(counts).to(device),
        widest=widest,
    )
