"""HyNet's loss (Tian et al., "HyNet: Learning local descriptor with hybrid similarity measure and triplet loss",
NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from porepatch_lib.training.losses.distances import (
    at_least_float32,
    hardest_of_four,
    no_negative_mask,
    normalise,
    similarity_at,
    squared_distances,
)

_EPS = 1e-6  # under the root of distances
_SAME_PLACE = similarity_at(0.008, _EPS)


def hynet_loss(
    raw_anchors: Tensor,
    raw_positives: Tensor,
    not_negatives: Tensor | None = None,
    margin: float = 1.2,
    alpha: float = 2.0,
    norm_weight: float = 0.1,
) -> Tensor:
    """Hybrid-similarity triplet loss with L2-norm regularisation (eq. 5-9).

    raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
    not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
    The hardest negative of pair i is the nearest of its anchor and its positive among all other pairs. Distances up to
    0.008 count as the same place. Returns the scalar sum over the pairs; 0 where a pair has no negative.
    """
    raw_anchors, raw_positives = at_least_float32(raw_anchors), at_least_float32(raw_positives)
    anchors, positives = normalise(raw_anchors), normalise(raw_positives)
    masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
    negatives = hardest_of_four(anchors, positives, masked, _SAME_PLACE)
    positive = _hybrid(squared_distances(anchors, positives), alpha)
    triplet = (margin + positive - _hybrid(negatives.squared, alpha)).clamp_min(0)
    norm_difference = _length(raw_anchors) - _length(raw_positives)
    return torch.where(negatives.exists, triplet, 0).sum() + norm_weight * norm_difference.square().sum()


def _hybrid(squared: Tensor, alpha: float) -> Tensor:
    """h(d) = d + alpha d^2 / 2: Euclidean distance plus alpha times (1 - cosine similarity)."""
    squared = squared + _EPS
    return squared.sqrt() + alpha * squared / 2


def _length(raw: Tensor) -> Tensor:
    return (raw.square().sum(1) + _EPS).sqrt()
