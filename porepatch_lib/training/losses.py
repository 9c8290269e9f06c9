"""Losses on pairs of raw descriptors: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

_FAR = 10.0  # beyond any distance between unit vectors, and finite so that gradients stay finite


def hynet_loss(
    raw_anchors: Tensor,
    raw_positives: Tensor,
    not_negatives: Tensor | None = None,
    margin: float = 1.2,
    alpha: float = 2.0,
    norm_weight: float = 0.1,
) -> Tensor:
    """HyNet's hybrid-similarity triplet loss with L2-norm regularisation (Tian et al. 2020, eq. 5-9).

    raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
    not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
    The hardest negative of pair i is the nearest of its anchor and its positive among all other pairs. Distances up to
    0.008 count as the same place. Returns the scalar sum over the pairs; 0 where a pair has no negative.
    """
    raw_anchors, raw_positives = _at_least_float32(raw_anchors), _at_least_float32(raw_positives)
    anchors, positives = _normalise(raw_anchors), _normalise(raw_positives)
    masked = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    if not_negatives is not None:
        masked = masked | not_negatives
    across = _distances(anchors @ positives.T)
    positive = across.diagonal()
    hardest = torch.stack(
        [
            _hardest(across, masked, dim=1),
            _hardest(across, masked, dim=0),
            _hardest(_distances(anchors @ anchors.T), masked, dim=1),
            _hardest(_distances(positives @ positives.T), masked, dim=1),
        ]
    ).amin(0)
    triplet = (margin + _hybrid(positive, alpha) - _hybrid(hardest, alpha)).clamp_min(0)
    norm_difference = raw_anchors.norm(dim=1) - raw_positives.norm(dim=1)
    return triplet.sum() + norm_weight * norm_difference.square().sum()


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _normalise(raw: Tensor) -> Tensor:
    return raw / (raw.square().sum(1, keepdim=True) + 1e-10).sqrt()


def _distances(similarities: Tensor) -> Tensor:
    return ((2 - 2 * similarities).abs() + 1e-6).sqrt()


def _hardest(distances: Tensor, masked: Tensor, dim: int) -> Tensor:
    """Smallest distance along `dim` that is neither masked nor within 0.008."""
    return distances.masked_fill(masked | (distances <= 0.008), _FAR).amin(dim)


def _hybrid(distance: Tensor, alpha: float) -> Tensor:
    """h(d) = d + alpha d^2 / 2: Euclidean distance plus alpha times (1 - cosine similarity)."""
    return distance + alpha * distance.square() / 2
