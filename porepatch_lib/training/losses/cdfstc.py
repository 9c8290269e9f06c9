"""The loss of CDF-STC (Zhang and Rusinkiewicz, "Learning local descriptors with a CDF-based dynamic soft margin", ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.training.losses.distances import (
    at_least_float32,
    hardest_across,
    no_negative_mask,
    similarity_at,
    squared_distances,
)

_EPS = 2e-6
_SAME_PLACE = similarity_at(0.008, _EPS)
_LARGEST = 2.0  # distance of unit vectors


class CdfSoftMarginLoss(nn.Module):
    """Every triplet weighed by the share of recent triplets that were no harder (real-valued case).

    The histogram of d_pos - d_neg runs over `bins` points from -2 to 2; a batch enters it with weight `momentum`, the first
    one with weight 1. Values between two points are shared linearly. Buffers: `histogram` (bins,), `started` bool.
    """

    histogram: Tensor
    started: Tensor

    def __init__(self, bins: int = 512, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("histogram", torch.ones(bins))
        self.register_buffer("started", torch.tensor(False))

    def forward(
        self, raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None, done: float = 0.0
    ) -> Tensor:
        """Return mean(w (d_pos - d_neg)) over the pairs and bring the histogram up to date, w without gradient.

        raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
        not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
        d_neg is HardNet's hardest negative. A pair without one counts 0 and stays out of the histogram. `done` is not used.
        """
        anchors = functional.normalize(at_least_float32(raw_anchors), dim=1)
        positives = functional.normalize(at_least_float32(raw_positives), dim=1)
        masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
        negatives = hardest_across(anchors, positives, masked, _SAME_PLACE)
        hardness = (squared_distances(anchors, positives) + _EPS).sqrt() - (negatives.squared + _EPS).sqrt()
        with torch.no_grad():
            position = (hardness.clamp(-_LARGEST, _LARGEST) + _LARGEST) * ((len(self.histogram) - 1) / (2 * _LARGEST))
            self._add(position, negatives.exists)
            weight = self._share_up_to(position) * negatives.exists
        return (weight * hardness).mean()

    def _add(self, position: Tensor, counted: Tensor) -> None:
        """Move the histogram towards that of the batch; position (P,) in bins."""
        shares = (1 - (position[:, None] - self._bins(position)).abs()).clamp_min(0) * counted[:, None]
        batch = shares.sum(0) / (shares.sum() + 1e-6)
        weight = torch.where(self.started, self.momentum, 1.0) * counted.any()
        self.histogram.lerp_(batch.to(self.histogram.dtype), weight.to(self.histogram.dtype))
        self.started |= counted.any()

    def _share_up_to(self, position: Tensor) -> Tensor:
        """Cumulative distribution at the bin below `position` (P,); a sum, because no cumulative sum is repeatable on a GPU."""
        density = (self.histogram / self.histogram.sum()).to(position.dtype)
        return (density * (self._bins(position) <= position.floor()[:, None])).sum(1)

    def _bins(self, like: Tensor) -> Tensor:
        return torch.arange(len(self.histogram), dtype=like.dtype, device=like.device)
