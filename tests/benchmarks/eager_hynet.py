"""The peer of our HyNet: the published network written plainly, eager float32 NCHW, with its sorting loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.filter_response import FRN, TLU


class EagerHyNet(nn.Module):
    """The same layers as `HyNet`, one module after another."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        channels = [(1, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
        layers: list[nn.Module] = [FRN(1), TLU(1)]
        for wide_in, wide_out, stride in channels:
            layers += [nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1), FRN(wide_out), TLU(wide_out)]
        layers += [nn.Dropout(dropout), nn.Conv2d(128, 128, 8, bias=False), nn.BatchNorm2d(128, affine=False)]
        self.layers = nn.Sequential(*layers)

    def raw(self, patches: Tensor) -> Tensor:
        return self.layers(patches).flatten(1)


def eager_hynet_loss(raw_a: Tensor, raw_p: Tensor) -> Tensor:
    """HyNet's loss with full sorts, as published (alpha 2, margin 1.2)."""
    a, p = functional.normalize(raw_a), functional.normalize(raw_p)
    distances = [(2 - 2 * one @ other.T).abs().add(1e-6).sqrt() for one, other in ((a, p), (p, a), (a, a), (p, p))]
    positive = distances[0].diagonal()
    blocked = torch.eye(len(a), dtype=torch.bool)
    masked = torch.cat([d.masked_fill(blocked | (d <= 0.008), 10.0) for d in distances], dim=1)
    negative = masked.sort(dim=1).values[:, 0]
    hybrid = functional.relu(1.2 + positive + positive**2 - negative - negative**2).sum()
    return hybrid + 0.1 * (raw_a.norm(dim=1) - raw_p.norm(dim=1)).square().sum()
