"""SOSNet's loss (Tian et al., "SOSNet: Second order similarity regularization for local descriptor learning", CVPR 2019)."""

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

_EPS = 1e-6  # under all roots
_SAME_PLACE = similarity_at(0.008, _EPS)


def sosnet_loss(
    raw_anchors: Tensor,
    raw_positives: Tensor,
    not_negatives: Tensor | None = None,
    margin: float = 1.2,
    neighbours: int = 8,
) -> Tensor:
    """Quadratic hinge triplet loss plus second-order similarity regularisation (SOSR), sums over the pairs.

    raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
    not_negatives: bool (P,P), True where points i and j may be the same place: never each other's negative, nor neighbours.
    The negatives are HyNet's. The second term compares the distances among the anchors with those among the positives, over
    pairs of which one is of the other's `neighbours` nearest among anchors, among positives, or across, as in the HyNet
    repository. Distances up to 0.008 count as the same place; a pair without a negative counts 0 in the first term.
    """
    anchors, positives = normalise(at_least_float32(raw_anchors)), normalise(at_least_float32(raw_positives))
    masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
    negatives = hardest_of_four(anchors, positives, masked, _SAME_PLACE)
    positive = (squared_distances(anchors, positives) + _EPS).sqrt()
    hinge = (margin + positive - (negatives.squared + _EPS).sqrt()).clamp_min(0)
    second_order = _second_order(anchors, positives, masked, neighbours)
    return torch.where(negatives.exists, hinge.square(), 0).sum() + second_order


def _second_order(anchors: Tensor, positives: Tensor, masked: Tensor, neighbours: int) -> Tensor:
    """Sum over points of the root of the summed squared differences of distances to neighbours."""
    among_anchors, among_positives = anchors @ anchors.T, positives @ positives.T
    with torch.no_grad():
        across = anchors @ positives.T
        related = torch.zeros_like(masked)
        for similarities in (among_anchors, among_positives, across, across.T):
            related |= _nearest(similarities, masked, neighbours)
        related = (related | related.T) & ~masked
    differences = (_distances(among_anchors) - _distances(among_positives)) * related
    return (differences.square().sum(1) + _EPS).sqrt().sum()


def _distances(similarities: Tensor) -> Tensor:
    """Euclidean distances of unit vectors from their cosine similarities, which rounding may have put beyond 1."""
    return ((2 - 2 * similarities).abs() + _EPS).sqrt()


def _nearest(similarities: Tensor, masked: Tensor, count: int) -> Tensor:
    """Return bool (P,P), True for the `count` nearest of every row; the same place comes after others, as published."""
    same_place = similarities >= _SAME_PLACE
    ranked = (similarities - 4 * same_place).masked_fill(masked, -torch.inf)
    indices = ranked.topk(min(count, len(ranked)), dim=1).indices
    return torch.zeros_like(masked).scatter_(1, indices, torch.ones_like(indices, dtype=torch.bool))
