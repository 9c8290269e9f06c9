"""TFeat's loss (Balntas et al., "Learning local feature descriptors with triplets and shallow convolutional neural networks",
BMVC 2016)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from porepatch_lib.training.losses.distances import at_least_float32, no_negative_mask


def tfeat_loss(raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None, margin: float = 2.0) -> Tensor:
    """Margin ranking loss with anchor swap: mean of max(0, margin + d(a,p) - min(d(a,n), d(p,n))).

    raw_anchors, raw_positives: descriptors (P,D), taken as they are: TFeat has no normalisation to unit length.
    not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
    The authors draw every negative at random from all other points. Here the points of a batch are in random order, and the
    negative n of pair i is the positive of the next pair after i, cyclically, that may be a negative: a random other point
    too, without random numbers. Distances are |x - y + 1e-6|, as in the authors' code. A pair without a negative counts 0.
    """
    anchors, positives = at_least_float32(raw_anchors), at_least_float32(raw_positives)
    masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
    following = _next_unmasked(masked)
    negatives = positives[following.indices]
    to_positive = functional.pairwise_distance(anchors, positives)
    to_negative = torch.minimum(
        functional.pairwise_distance(anchors, negatives), functional.pairwise_distance(positives, negatives)
    )
    hinge = (margin + to_positive - to_negative).clamp_min(0)
    return torch.where(following.values < len(masked), hinge, 0).mean()


def _next_unmasked(masked: Tensor) -> torch.return_types.min:
    """Return steps (P,) to the next column after the diagonal, cyclically, that is not masked, and its index (P,).

    A row without one has as many steps as there are columns.
    """
    count = len(masked)
    place = torch.arange(count, device=masked.device)
    steps = (place[None, :] - place[:, None]) % count
    return steps.masked_fill(masked, count).min(1)
