"""HyNet (Tian et al., NeurIPS 2020): an L2-Net trunk with FRN and TLU, 32x32 patch to 128-D descriptor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.filter_response import FRN, TLU, filter_response
from porepatch_lib.descriptors.micro_batches import in_micro_batches
from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.descriptors.winograd import may_run, suits, transform_weights, winograd_convolution

# Patches that pass the trunk at a time on a CPU. Larger parts cost the cache, smaller ones more calls.
_TRAINING_PART, _EVALUATION_PART = 64, 128
_LEAST_FOR_WINOGRAD = 32  # patches: transforming the weights takes as long as describing five


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
        dropout, convolution, _ = self.layer7
        # In the order in which channels-last numbers lie in memory.
        columns = cast(nn.Conv2d, convolution).weight.permute(0, 2, 3, 1).flatten(1)
        if self.training:
            return _last_convolution(dropout(in_micro_batches(self._trunk, patches, _TRAINING_PART)), columns)
        size = _EVALUATION_PART * (2 if torch.is_autocast_enabled(patches.device.type) else 1)  # of half the bytes
        transformed = self._transformed_weights(patches)
        return in_micro_batches(lambda part: _last_convolution(self._trunk(part, transformed), columns), patches, size)

    def head(self, features: Tensor) -> Tensor:
        """Apply the last batch norm, without gain and offset, to (B,128)."""
        return self.layer7[2](features[:, :, None, None]).flatten(1)

    def _transformed_weights(self, patches: Tensor) -> dict[nn.Module, Tensor]:
        """Transform the weights of the layers of stride 1 for Winograd's convolution, where enough patches gain by it."""
        convolutions = [layer[0] for layer in (self.layer2, self.layer4, self.layer6)]
        if not may_run(patches) or len(patches) < _LEAST_FOR_WINOGRAD:
            return {}
        return {convolution: transform_weights(cast(Tensor, convolution.weight)) for convolution in convolutions}

    def _trunk(self, patches: Tensor, transformed: Mapping[nn.Module, Tensor] | None = None) -> Tensor:
        """Map (B,1,32,32) to what the last convolution takes, (B,128,8,8). `transformed`: weights of some convolutions."""
        input_frn, input_tlu, *first = self.layer1
        x = filter_response(patches, cast(FRN, input_frn), cast(TLU, input_tlu))
        convolution, frn, tlu = first
        # Gain and offset of the input nearly cancel: rounding here would double the error of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            x = filter_response(convolution(x), cast(FRN, frn), cast(TLU, tlu))
        for convolution, frn, tlu in (self.layer2, self.layer3, self.layer4, self.layer5, self.layer6):
            x = filter_response(_convolve(cast(nn.Conv2d, convolution), x, transformed or {}), cast(FRN, frn), cast(TLU, tlu))
        return x


def _convolve(convolution: nn.Conv2d, x: Tensor, transformed: Mapping[nn.Module, Tensor]) -> Tensor:
    if convolution in transformed and suits(convolution, x):
        return winograd_convolution(x, transformed[convolution], convolution.bias)
    return convolution(x)


def _last_convolution(x: Tensor, columns: Tensor) -> Tensor:
    """Map (B,128,8,8) to (B,128): a matrix product over 8192 values, few operations and best exact."""
    with torch.autocast(x.device.type, enabled=False):
        return functional.linear(x.to(columns.dtype).permute(0, 2, 3, 1).flatten(1), columns)


def _block(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1)
    return convolution, FRN(channels_out), TLU(channels_out)
