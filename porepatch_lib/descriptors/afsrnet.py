"""AFSRNet (Applied Intelligence, 2024, doi 10.1007/s10489-024-05418-w): three centre crops of a 64x64 patch, fused to 384-D."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.filter_response import FRN, TLU, filter_response
from porepatch_lib.descriptors.micro_batches import in_micro_batches
from porepatch_lib.descriptors.network import DescriptorNetwork, channels_last

# Sides of the network's three inputs, each the centre of the 64x64 patch: [0:64], [8:56], [16:48].
CROP_SIDES = (64, 48, 32)
_FUSION_EPS = 1e-4
_MICRO_BATCH = 32  # patches: on a CPU a layer's output then stays in cache


class AFSRNet(DescriptorNetwork):
    """The published network (FRN and TLU trunks, fusion by learned weights) with the published tensor names.

    Every crop passes a stem that brings it to 32x32 and a trunk that ends in (128,8,8). Three nodes mix neighbouring
    scales, a last one mixes the nodes; a full-size convolution makes 384 numbers of (512,8,8).
    """

    patch_side = CROP_SIDES[0]
    dimension = 384
    normalisation = "none: the network takes grey values 0 to 255 as they are"

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.p13_w = nn.Parameter(torch.ones(2))
        self.p23_w = nn.Parameter(torch.ones(3))
        self.p33_w = nn.Parameter(torch.ones(2))
        self.pc_w = nn.Parameter(torch.ones(3))
        self.input1_cov1 = _ConvBlock(1, 32, kernel_size=3, stride=2, padding=3, dilation=3)
        self.input2_cov1 = _ConvBlock(1, 32, kernel_size=11, padding=2, dilation=2)
        self.input3_cov1 = _ConvBlock(1, 32, kernel_size=3, padding=1)
        self.input1_cov2 = _Trunk()
        self.input2_cov2 = _Trunk()
        self.input3_cov2 = _Trunk()
        self.input1_cov3 = _ConvBlock(128, 128, kernel_size=1)
        self.input2_cov3 = _ConvBlock(128, 128, kernel_size=1)
        self.input3_cov3 = _ConvBlock(128, 128, kernel_size=1)
        self.c1 = _ConvBlock(128, 512, kernel_size=3, padding=1)
        self.descriptornet = nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(512, self.dimension, kernel_size=8, bias=False),
            nn.BatchNorm2d(self.dimension, affine=False),
        )

    def features(self, patches: Tensor) -> Tensor:
        """Map float32 patches (B,1,64,64), grey values 0..255, to (B,384), all but the last batch norm.

        In training mode the batch norms inside see these B patches: parts of a batch give other values than all of it.
        """
        if self.training:
            return self._features(patches)
        return in_micro_batches(self._features, patches, _MICRO_BATCH)

    def head(self, features: Tensor) -> Tensor:
        """Apply the last batch norm, without gain and offset, to (B,384)."""
        *_, norm = self.descriptornet
        return norm(features[:, :, None, None]).flatten(1)

    def _features(self, patches: Tensor) -> Tensor:
        first, second, third = (_centre(patches, side) for side in CROP_SIDES)
        first = self.input1_cov2(self.input1_cov1(first))
        second = self.input2_cov2(self.input2_cov1(second))
        third = self.input3_cov2(self.input3_cov1(third))
        fused_first = self.input1_cov3(_fuse(self.p13_w, first, second))
        fused_second = self.input2_cov3(_fuse(self.p23_w, first, second, third))
        fused_third = self.input3_cov3(_fuse(self.p33_w, second, third))
        fused = self.c1(_fuse(self.pc_w, fused_first, fused_second, fused_third))
        dropout, convolution, _ = self.descriptornet
        # As a matrix product: as a convolution its 12.6 M weights would be reordered at every call.
        weights = cast(nn.Conv2d, convolution).weight.flatten(1)
        with torch.autocast(fused.device.type, enabled=False):  # a sum over 32,768 values: few operations, best exact
            return functional.linear(dropout(fused.to(weights.dtype)).flatten(1), weights)


class _ConvBlock(nn.Module):
    """Convolution with bias, batch norm with gain and offset, ReLU: (B,C,H,W) to (B,C',H',W')."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels_in, channels_out, kernel_size, stride, padding, dilation)
        self.conv = nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Trunk(nn.Module):
    """L2-Net's second to sixth convolution, without bias, each with FRN and TLU: (B,32,32,32) to (B,128,8,8)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out, stride in ((32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
            convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)
            nn.init.orthogonal_(convolution.weight, gain=0.6)
            layers += [convolution, FRN(channels_out), TLU(channels_out)]
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self.features)
        for convolution, frn, tlu in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            x = filter_response(convolution(x), cast(FRN, frn), cast(TLU, tlu))
        return x


def _centre(patches: Tensor, side: int) -> Tensor:
    """Return the centre (B,1,side,side) of square patches (B,1,S,S), in memory with channels last."""
    margin = (patches.shape[-1] - side) // 2
    pixels = slice(margin, margin + side)
    return channels_last(patches[:, :, pixels, pixels])


def _fuse(weights: Tensor, *maps: Tensor) -> Tensor:
    """Return swish of the mean of k maps (B,C,H,W) under weights (k,): their positive parts, over their sum + 1e-4."""
    weights = functional.relu(weights)
    shares = weights / (weights.sum() + _FUSION_EPS)
    return functional.silu(sum(share * one for share, one in zip(shares, maps, strict=True)))
