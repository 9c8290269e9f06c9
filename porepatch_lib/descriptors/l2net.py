"""The L2-Net trunk (Tian, Fan, Wu, CVPR 2017) and the networks built on it: 32x32 patch to 128-D descriptor.

Seven convolutions without bias, each followed by a batch norm without gain and offset. Every network standardises each
patch first, so grey values 0..255, 0..1 and any other gain and offset give the same descriptor, but for the small eps
that is added to the patch's standard deviation or variance: in 0..255 it does not count, as the values are large.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.micro_batches import in_micro_batches
from porepatch_lib.descriptors.network import DescriptorNetwork, channels_last
from porepatch_lib.descriptors.published_names import publish_as

# (channels in, channels out, stride) of the convolutions 3x3
_CONVOLUTIONS = ((1, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))
# On a CPU, evaluation runs over this many patches at a time, so that a layer's output stays in cache.
_MICRO_BATCH = 64


def trunk_layers(dropout: float) -> list[nn.Module]:
    """Return the 21 layers: six times convolution 3x3, batch norm, ReLU; then dropout, convolution 8x8, batch norm."""
    layers: list[nn.Module] = []
    for channels_in, channels_out, stride in _CONVOLUTIONS:
        convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(channels_out, affine=False), nn.ReLU(inplace=True)]
    last = nn.Conv2d(128, 128, kernel_size=8, bias=False)
    return [*layers, nn.Dropout(dropout), last, nn.BatchNorm2d(128, affine=False)]


def standardise(patches: Tensor) -> Tensor:
    """Give each patch (B,1,S,S) mean 0 and standard deviation 1: the unbiased one, plus 1e-7 (HardNet's `input_norm`)."""
    centred = patches - patches.mean(dim=(1, 2, 3), keepdim=True)
    pixels = patches.shape[2] * patches.shape[3]
    deviation = (centred.square().sum(dim=(1, 2, 3), keepdim=True) / (pixels - 1)).sqrt()
    return centred / (deviation + 1e-7)


class L2NetFamily(DescriptorNetwork):
    """What the networks share: a subclass registers the layers of `trunk_layers`, in order, under its published names."""

    normalisation = "per patch: mean 0, variance 1 (InstanceNorm, eps 1e-5)"

    def normalise(self, patches: Tensor) -> Tensor:
        """Standardise each patch (B,1,32,32)."""
        return functional.instance_norm(patches, eps=1e-5)

    def features(self, patches: Tensor) -> Tensor:
        """Map float32 patches (B,1,32,32), grey values 0..255, to (B,128), what the last batch norm takes.

        In training mode the batch norms inside use, and update, the statistics of exactly these patches.
        """
        if self.training:
            return self._train_features(patches)
        convolutions = self._folded_convolutions()
        return in_micro_batches(lambda part: self._evaluate_features(part, convolutions), patches, _MICRO_BATCH)

    def head(self, features: Tensor) -> Tensor:
        """Apply the last batch norm to the features (B,128) of the whole batch, in float32 also under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            return self._batch_norms()[-1](_at_least_float32(features)[:, :, None, None]).flatten(1)

    def _train_features(self, patches: Tensor) -> Tensor:
        x = channels_last(self.normalise(patches))
        for convolution, batch_norm in zip(self._convolutions()[:-1], self._batch_norms()[:-1], strict=True):
            x = functional.relu(batch_norm(convolution(x)), inplace=True)
        (dropout,) = (module for module in self.modules() if isinstance(module, nn.Dropout))
        return self._convolve_last(dropout(x))

    def _evaluate_features(self, patches: Tensor, convolutions: list[tuple[Tensor, Tensor, int]]) -> Tensor:
        x = channels_last(self.normalise(patches))
        for weight, bias, stride in convolutions:
            x = functional.conv2d(x, weight, bias, stride, padding=1).relu_()
        return self._convolve_last(x)

    def _convolve_last(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # a sum over 8192 values: few operations, best exact
            return self._convolutions()[-1](_at_least_float32(x)).flatten(1)

    def _folded_convolutions(self) -> list[tuple[Tensor, Tensor, int]]:
        """Return weight, bias and stride of the convolutions 3x3 with the batch norms' running statistics folded in."""
        folded = []
        for convolution, batch_norm in zip(self._convolutions()[:-1], self._batch_norms()[:-1], strict=True):
            mean, variance = batch_norm.running_mean, batch_norm.running_var
            assert mean is not None and variance is not None
            scale = torch.rsqrt(variance + batch_norm.eps)
            folded.append((convolution.weight * scale[:, None, None, None], -mean * scale, convolution.stride[0]))
        return folded

    def _convolutions(self) -> list[nn.Conv2d]:
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]

    def _batch_norms(self) -> list[nn.BatchNorm2d | nn.SyncBatchNorm]:
        return [module for module in self.modules() if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm))]


class HardNet(L2NetFamily):
    """HardNet (Mishchuk et al., NeurIPS 2017), as its authors define it: `features.0.weight` and so on.

    Its training loader also subtracts a mean of the whole set and divides by a deviation: per-patch standardisation undoes it.
    """

    normalisation = "per patch: mean 0, unbiased standard deviation 1 (eps 1e-7)"

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*trunk_layers(dropout))
        publish_as(self, "trunk", "features")
        for convolution in self._convolutions():
            nn.init.orthogonal_(convolution.weight, gain=0.6)

    def normalise(self, patches: Tensor) -> Tensor:
        """Standardise each patch (B,1,32,32)."""
        return standardise(patches)


class SOSNet(L2NetFamily):
    """SOSNet (Tian et al., CVPR 2019), as its authors define it: `layers.1.weight` and so on."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.InstanceNorm2d(1), *trunk_layers(dropout))

    def forward(self, patches: Tensor) -> Tensor:
        """Return unit descriptors (B,128) of patches (B,1,32,32).

        The published LocalResponseNorm has a window over all channels, alpha equal to its size, beta 1/2 and k 0, and takes
        raw + 1e-10: that is a division by the length.
        """
        return functional.normalize(self.raw(patches) + 1e-10, dim=1)


class L2Net(L2NetFamily):
    """L2-Net as the HyNet authors' repository defines it (`layer1.1.weight` and so on).

    PorePatch's authors train HardNet, SOSNet and CDF-STC with this class.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        layers = trunk_layers(dropout)
        starts = [*range(0, len(layers), 3), len(layers)]
        for number, (start, end) in enumerate(pairwise(starts), start=1):
            before = [nn.InstanceNorm2d(1)] if number == 1 else []
            self.add_module(f"layer{number}", nn.Sequential(*before, *layers[start:end]))


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
