"""SDGMNet's loss (Deng and Ma, "SDGMNet: Statistic-based dynamic gradient modulation for local descriptor learning",
arXiv 2106.04434)."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.training.losses.distances import at_least_float32, no_negative_mask

_EPS = 1e-5
_DECAY = 0.999  # of the running statistics
_PLAIN_UNTIL = 0.1  # share of the training in which all weights are 1
_WIDE_UNTIL = 0.125  # share of the training in which only near duplicates count as the same place
_SAME_PLACE_ANGLE = 0.6  # rad, afterwards
_WIDENING = math.pi / 6  # rad, added to the standard deviations of the self-weights
_STATISTICS = ("pos_ang_mean", "neg_ang_mean", "diff_ang_mean", "pos_ang_std", "neg_ang_std", "diff_ang_std")


class SdgmLoss(nn.Module):
    """Angular triplet loss whose gradients are modulated by running statistics.

    The paper's auto-focus modulation, probabilistic margin and power adjustment are here the self-weights, the weight of the
    triplet and the powers.

    Buffers, with the authors' names: running means and standard deviations in rad of the angle to the positive, of that to
    the hardest negative and of their difference, -1 until the first batch; `pos_power` and `neg_power`, the running sums of
    weights that the power adjustment divides by. As in the authors' code the mean difference stays -1 at the first batch and
    the powers start at 10000, so the first losses are very small.
    """

    pos_ang_mean: Tensor
    neg_ang_mean: Tensor
    diff_ang_mean: Tensor
    pos_ang_std: Tensor
    neg_ang_std: Tensor
    diff_ang_std: Tensor
    pos_power: Tensor
    neg_power: Tensor

    def __init__(self, alpha: float = 0.9, probability: float = 0.6) -> None:
        """alpha: weight of the positives. probability: share of the angle differences that count as easy, weight 0."""
        super().__init__()
        self.alpha = alpha
        self.easy_deviations = NormalDist().inv_cdf(probability)
        for name in _STATISTICS:
            self.register_buffer(name, torch.tensor(-1.0))
        for name in ("pos_power", "neg_power"):
            self.register_buffer(name, torch.tensor(10_000.0))

    def forward(
        self, raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None, done: float = 0.0
    ) -> Tensor:
        """Return the modulated loss of the batch and bring the statistics up to date.

        raw_anchors, raw_positives: descriptors (P,D) before normalisation, row i of both from one surface point.
        not_negatives: bool (P,P), True where points i and j may be the same place; they are never each other's negative.
        done: share of the training behind us, 0..1. A pair without a negative has weight 0 and is in no statistic of
        negatives and differences.
        """
        anchors = functional.normalize(at_least_float32(raw_anchors), dim=1)
        positives = functional.normalize(at_least_float32(raw_positives), dim=1)
        masked = no_negative_mask(len(anchors), not_negatives, anchors.device)
        hardest, exists = _hardest(anchors, positives, masked, _same_place(done))
        to_positive = _dots(anchors, positives).clamp(_EPS - 1, 1 - _EPS).acos()
        to_negative = torch.where(exists, hardest, 0).clamp_min(_EPS - 1).acos()
        with torch.no_grad():
            self._observe(to_positive, to_negative, exists)
            weights = self._weights(to_positive, to_negative, done) * exists
            powers = weights.sum(1)
            self.pos_power.copy_(_blend(self.pos_power, powers[0]))
            self.neg_power.copy_(_blend(self.neg_power, powers[1]))
        pull = self.alpha * weights[0] / self.pos_power * to_positive
        return (pull - weights[1] / self.neg_power * to_negative).sum()

    def _observe(self, to_positive: Tensor, to_negative: Tensor, exists: Tensor) -> None:
        """Bring means and standard deviations up to date with the angles (P,) of a batch."""
        some = exists.sum() > 1
        for name, angles, counted, valid in (
            ("pos_ang", to_positive, torch.ones_like(exists), torch.ones_like(some)),
            ("neg_ang", to_negative, exists, some),
            ("diff_ang", to_positive - to_negative, exists, some),
        ):
            mean, deviation = _moments(angles, counted)
            running_mean, running_deviation = getattr(self, f"{name}_mean"), getattr(self, f"{name}_std")
            fresh = running_deviation < 0
            first_mean = running_mean if name == "diff_ang" else mean  # the authors' code leaves this one at -1
            _set(running_mean, torch.where(fresh, first_mean, _blend(running_mean, mean)), valid)
            _set(running_deviation, torch.where(fresh, deviation, _blend(running_deviation, deviation)), valid)

    def _weights(self, to_positive: Tensor, to_negative: Tensor, done: float) -> Tensor:
        """Return the weights (2,P) of positives and negatives: self-weights times the weight of the triplet."""
        if done < _PLAIN_UNTIL:
            return torch.ones_like(torch.stack([to_positive, to_negative]))
        hard = to_positive - to_negative >= self.diff_ang_mean + self.easy_deviations * self.diff_ang_std
        own = [
            (-((angles - mean) ** 2) / 2 / (_WIDENING + deviation) ** 2).exp()
            for angles, mean, deviation in (
                (to_positive, self.pos_ang_mean, self.pos_ang_std),
                (to_negative, self.neg_ang_mean, self.neg_ang_std),
            )
        ]
        return torch.stack(own) * hard


def _same_place(done: float) -> float:
    """Return the cosine similarity from which on two points count as the same place."""
    return 1 - _EPS if done < _WIDE_UNTIL else math.cos(_SAME_PLACE_ANGLE)


def _hardest(anchors: Tensor, positives: Tensor, masked: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return the similarity of every pair's hardest negative (P,) and whether there is one, bool (P,).

    Two pairs of which any two descriptors are of similarity `limit` or more are the same place.
    """
    with torch.no_grad():
        across = anchors @ positives.T
        largest = across.maximum(across.T).maximum(anchors @ anchors.T).maximum(positives @ positives.T)
        nearest = largest.masked_fill(masked | (largest >= limit), -torch.inf).max(1)
        exists = nearest.values > -torch.inf
    anchor, positive = anchors[nearest.indices], positives[nearest.indices]
    candidates = [_dots(mine, theirs) for mine in (anchors, positives) for theirs in (anchor, positive)]
    return torch.stack(candidates).amax(0), exists


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Dot product of every row of `a` (P,D) with the same row of `b`, (P,)."""
    return (a * b).sum(1)


def _moments(values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation of the counted values (P,)."""
    count = counted.sum()
    mean = (values * counted).sum() / count.clamp_min(1)
    return mean, (((values - mean) * counted).square().sum() / (count - 1).clamp_min(1)).sqrt()


def _blend(running: Tensor, value: Tensor) -> Tensor:
    return _DECAY * running + (1 - _DECAY) * value


def _set(running: Tensor, value: Tensor, valid: Tensor) -> None:
    running.copy_(torch.where(valid, value, running))
