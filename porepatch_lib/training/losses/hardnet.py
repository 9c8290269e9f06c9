"""HardNet's loss (Mishchuk et al., "Working hard to know your neighbor's margins", NeurIPS 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from porepatch_lib.training.losses.distances import (
    at_least_float32,
    hardest_across,
    no_negative_mask,
    normalise,
    similarity_at,
    squared_distances,
)

_EPS = 1e-6  # under the root of distances
_SAME_PLACE = similarity_at(0.008, _EPS)


def hardnet_loss(raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None, margin: float = 1.0) -> Tensor:
    """Triplet margin loss with the hardest negative in the batch, mean over the pairs.

    raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
    not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
    The hardest negative of pair i is the nearer of: the nearest other positive to its anchor, the nearest other anchor to
    its positive. Distances below 0.008 count as the same place. A pair without a negative counts 0.
    """
    anchors, positives = normalise(at_least_float32(raw_anchors)), normalise(at_least_float32(raw_positives))
    masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
    negatives = hardest_across(anchors, positives, masked, _SAME_PLACE)
    positive = (squared_distances(anchors, positives) + _EPS).sqrt()
    triplet = (margin + positive - (negatives.squared + _EPS).sqrt()).clamp_min(0)
    return torch.where(negatives.exists, triplet, 0).mean()
