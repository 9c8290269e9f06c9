"""What the losses share: unit length, distances, and the hardest negatives of a batch.

Negatives are looked for without a graph, in a matrix of similarities. Only the chosen pairs are differentiated, from the
differences of their descriptors, which keeps small distances exact. No function here waits for the device: shapes never
depend on values, and a point without any negative is told by a mask.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_BEYOND = 100.0  # a squared distance beyond any between unit vectors, and finite so that gradients stay finite


class Negatives(NamedTuple):
    """The hardest negative of every point: its squared distance (P,), and whether there is one, bool (P,).

    Where there is none the distance is a finite number without meaning.
    """

    squared: Tensor
    exists: Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return half precision as float32; float32 and float64 stay."""
    return x if x.dtype == torch.float64 else x.float()


def normalise(raw: Tensor, eps: float = 1e-10) -> Tensor:
    """Divide rows (P,D) by sqrt(|row|^2 + eps), as HardNet, RAL-Net, HyNet and AFSRNet do."""
    return raw / (raw.square().sum(1, keepdim=True) + eps).sqrt()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distance of every row of `a` (P,D) from the same row of `b`, (P,); of unit rows it is 2 - 2 a.b."""
    return (a - b).square().sum(1)


def similarity_at(distance: float, eps: float = 1e-6) -> float:
    """Return the cosine similarity s of unit vectors at which sqrt(2 - 2s + eps) is `distance`."""
    return 1 - (distance**2 - eps) / 2


def no_negative_mask(count: int, not_negatives: Tensor | None, device: torch.device) -> Tensor:
    """Return bool (P,P), True where two points are no negatives: the same point, or marked by `not_negatives`."""
    masked = torch.eye(count, dtype=torch.bool, device=device)
    return masked if not_negatives is None else masked | not_negatives | not_negatives.T


def hardest_across(anchors: Tensor, positives: Tensor, masked: Tensor, limit: float) -> Negatives:
    """Hardest negatives between the two sides: of pair i, the nearest to its anchor among the positives of other pairs, or
    the nearest to its positive among their anchors, whichever is nearer.

    anchors, positives: unit rows (P,D). masked: bool (P,P). limit: cosine similarity from which on two are the same place.
    """
    with torch.no_grad():
        similarities = _block_masked(anchors @ positives.T, masked, limit)
        by_anchor, by_positive = similarities.max(1), similarities.max(0)
        exists = torch.stack([by_anchor.values, by_positive.values]) > -torch.inf
    near_anchor = squared_distances(anchors, positives[by_anchor.indices])
    near_positive = squared_distances(positives, anchors[by_positive.indices])
    return _harder(torch.stack([near_anchor, near_positive]), exists)


def hardest_of_four(anchors: Tensor, positives: Tensor, masked: Tensor, limit: float) -> Negatives:
    """Hardest negatives within and between the two sides: of pair i, the nearest of its two descriptors among all of others.

    Arguments as of `hardest_across`.
    """
    both = torch.cat([anchors, positives])
    with torch.no_grad():
        nearest = _block_masked(both @ both.T, masked.repeat(2, 2), limit).max(1)
        exists = nearest.values.view(2, -1) > -torch.inf
    return _harder(squared_distances(both, both[nearest.indices]).view(2, -1), exists)


def _block_masked(similarities: Tensor, masked: Tensor, limit: float) -> Tensor:
    return similarities.masked_fill_(masked | (similarities >= limit), -torch.inf)


def _harder(squared: Tensor, exists: Tensor) -> Negatives:
    """Join two candidates (2,P) per point."""
    return Negatives(squared.masked_fill(~exists, _BEYOND).amin(0), exists.any(0))
