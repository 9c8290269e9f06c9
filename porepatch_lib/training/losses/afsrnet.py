"""AFSRNet's loss ("AFSRNet: learning local descriptors with adaptive multi-scale feature fusion and symmetric
regularization", Applied Intelligence 2024), as in the authors' code (`loss_hynet`)."""

from __future__ import annotations

import torch
from torch import Tensor

from porepatch_lib.training.losses.distances import (
    at_least_float32,
    hardest_across,
    no_negative_mask,
    normalise,
    squared_distances,
)

_OFFSET = 1e-6 + 1e-8  # the authors add both to the similarities
_SAME_PLACE = 1 - 0.008 / 2 - _OFFSET  # a squared distance of 0.008


def afsrnet_loss(
    raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None, asymmetry_weight: float = 0.1
) -> Tensor:
    """mean(1 + tanh(D_pos - D_neg)) + 0.1 |D - D^T|_F / |D|_F, D the squared distances from anchors to positives.

    raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
    not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
    D_neg is the smallest of row i and column i off the diagonal; squared distances below 0.008 count as the same place. A
    pair without a negative counts 0 in the mean. The second term (second-order similarity by symmetry) takes all pairs.
    """
    anchors, positives = normalise(at_least_float32(raw_anchors)), normalise(at_least_float32(raw_positives))
    masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
    negatives = hardest_across(anchors, positives, masked, _SAME_PLACE)
    relative = squared_distances(anchors, positives) - negatives.squared
    squared = 2 * (1 - (anchors @ positives.T + _OFFSET))
    asymmetry = (squared - squared.T).norm() / (squared.norm() + 1e-5)
    return torch.where(negatives.exists, 1 + relative.tanh(), 0).mean() + asymmetry_weight * asymmetry
