"""HyNet (Tian et al., NeurIPS 2020): an L2-Net trunk with FRN and TLU, 32x32 patch to 128-D descriptor."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from porepatch_lib.descriptors.filter_response import FRN, TLU, filter_response
from porepatch_lib.descriptors.micro_batches import in_micro_batches
from porepatch_lib.descriptors.network import DescriptorNetwork

_MICRO_BATCH = 64  # patches: on a CPU a layer's output then stays in cache


class HyNet(DescriptorNetwork):
    """The published network with the published tensor names (`layer1.0.weight` and so on)."""

    patch_side = 32
    dimension = 128
    normalisation = "none: the network takes grey values 0 to 255 as they are"

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
            nn.Conv2d(128, self.dimension, kernel_size=8, bias=False),
            nn.BatchNorm2d(self.dimension, affine=False),
        )

    def features(self, patches: Tensor) -> Tensor:
        """Map float32 patches (B,1,32,32), grey values 0..255, to (B,128), all but the last batch norm."""
        x = in_micro_batches(self._trunk, patches, _MICRO_BATCH)
        dropout, convolution, _ = self.layer7
        # A sum over 8192 values: few operations, best exact. Its 4 MB of weights are best read once for all patches.
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, convolution(dropout(x.to(cast(Tensor, convolution.weight).dtype)))).flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Apply the last batch norm, without gain and offset, to (B,128)."""
        return self.layer7[2](features[:, :, None, None]).flatten(1)

    def _trunk(self, patches: Tensor) -> Tensor:
        """Map (B,1,32,32) to what the last convolution takes, (B,128,8,8)."""
        input_frn, input_tlu, *first = self.layer1
        x = filter_response(patches, cast(FRN, input_frn), cast(TLU, input_tlu))
        convolution, frn, tlu = first
        # Gain and offset of the input nearly cancel: rounding here would double the error of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            x = filter_response(convolution(x), cast(FRN, frn), cast(TLU, tlu))
        for convolution, frn, tlu in (self.layer2, self.layer3, self.layer4, self.layer5, self.layer6):
            x = filter_response(convolution(x), cast(FRN, frn), cast(TLU, tlu))
        return x


def _block(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1)
    return convolution, FRN(channels_out), TLU(channels_out)
