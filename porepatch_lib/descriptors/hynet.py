"""HyNet (Tian et al., NeurIPS 2020): an L2-Net trunk with FRN and TLU, 32x32 patch to 128-D descriptor."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.filter_response import FRN, TLU, filter_response

PATCH_SIDE = 32
DIMENSION = 128
# On a CPU the trunk runs over this many patches at a time, so that a layer's output stays in cache.
_CPU_CHUNK = 32


class HyNet(nn.Module):
    """The published network with the published tensor names (`layer1.0.weight` and so on)."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(FRN(1), TLU(1), *_block(1, 32))
        self.layer2 = nn.Sequential(*_block(32, 32))
        self.layer3 = nn.Sequential(*_block(32, 64, stride=2))
        self.layer4 = nn.Sequential(*_block(64, 64))
        self.layer5 = nn.Sequential(*_block(64, 128, stride=2))
        self.layer6 = nn.Sequential(*_block(128, 128))
        self.layer7 = nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(128, DIMENSION, kernel_size=8, bias=False),
            nn.BatchNorm2d(DIMENSION, affine=False),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Describe float32 patches (B,1,32,32), grey values 0..255; return unit float32 descriptors (B,128)."""
        return functional.normalize(self.raw(patches), dim=1)

    def raw(self, patches: Tensor) -> Tensor:
        """Return the descriptors (B,128) before normalisation to unit length, which the loss regularises."""
        patches = patches.contiguous(memory_format=torch.channels_last)
        chunk = _CPU_CHUNK if patches.device.type == "cpu" else len(patches)
        features = torch.cat([self._trunk(part) for part in patches.split(max(chunk, 1))])
        with torch.autocast(patches.device.type, enabled=False):  # a sum over 8192 features: few operations, best exact
            return self.layer7(features).flatten(1)

    def _trunk(self, patches: Tensor) -> Tensor:
        """Map (B,1,32,32) to the features (B,128,8,8) in front of the last convolution."""
        input_frn, input_tlu, *first = self.layer1
        x = input_tlu(input_frn(patches))
        for conv, frn, tlu in (first, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6):
            x = filter_response(conv(x), cast(FRN, frn), cast(TLU, tlu))
        return x


def _block(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1)
    return convolution, FRN(channels_out), TLU(channels_out)
