"""RAL-Net's loss (Xu et al., "Robust angular local descriptor learning", ACCV 2018)."""

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

_SAME_PLACE = similarity_at(0.008, eps=0)


def ralnet_loss(raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None) -> Tensor:
    """Robust angular loss: mean of 1 + tanh(2 (s_neg - s_pos)), s cosine similarities, as in the authors' code.

    raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
    not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
    s_neg is HardNet's hardest negative. Pairs nearer than a distance of 0.008 count as the same place. The loss has no
    margin; a pair without a negative counts 0.
    """
    anchors, positives = normalise(at_least_float32(raw_anchors)), normalise(at_least_float32(raw_positives))
    masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
    negatives = hardest_across(anchors, positives, masked, _SAME_PLACE)
    relative = squared_distances(anchors, positives) - negatives.squared  # 2 - 2 s each
    return torch.where(negatives.exists, 1 + relative.tanh(), 0).mean()
