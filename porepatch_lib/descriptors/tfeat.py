"""TFeat (Balntas et al., BMVC 2016) and HardTFeat (Mishkin et al., ECCV 2018): shallow networks, 32x32 patch to 128-D.

Both standardise each patch first, so gain and offset of the grey values do not matter, but for a small eps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.l2net import standardise
from porepatch_lib.descriptors.micro_batches import in_micro_batches
from porepatch_lib.descriptors.network import DescriptorNetwork, channels_last
from porepatch_lib.descriptors.published_names import ignore_when_loading, publish_as

# On a CPU, evaluation runs over this many patches at a time, so that a layer's output stays in cache.
_MICRO_BATCH = 64


class TFeatFamily(DescriptorNetwork):
    """What both share: convolution 7x7, tanh, pooling, convolution 6x6, tanh, then one layer over all 64x8x8 values, tanh."""

    trunk: nn.Sequential

    def normalise(self, patches: Tensor) -> Tensor:
        """Standardise each patch (B,1,32,32)."""
        raise NotImplementedError

    def summarise(self, maps: Tensor) -> Tensor:
        """Map (B,64,8,8) to (B,128), values -1..1."""
        raise NotImplementedError

    def features(self, patches: Tensor) -> Tensor:
        """Map float32 patches (B,1,32,32), grey values 0..255, to (B,128), values -1..1."""
        return self._describe(patches) if self.training else in_micro_batches(self._describe, patches, _MICRO_BATCH)

    def _describe(self, patches: Tensor) -> Tensor:
        first, second = (module for module in self.trunk if isinstance(module, nn.Conv2d))

        x = functional.max_pool2d(first(channels_last(self.normalise(patches))), kernel_size=2)
        x = second(torch.tanh(x)).tanh()  # tanh is monotonic: after the pooling it has a quarter of the work
        with torch.autocast(x.device.type, enabled=False):
            return self.summarise(x if x.dtype == torch.float64 else x.float())


class TFeat(TFeatFamily):
    """TFeat as its authors define it: `features.1.weight`, `descr.0.weight` and so on. Its descriptors are NOT unit rows."""

    normalisation = "per patch: mean 0, variance 1 (InstanceNorm, eps 1e-5)"

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.InstanceNorm2d(1), *_trunk_layers())
        self.descr = nn.Sequential(nn.Linear(64 * 8 * 8, 128), nn.Tanh())
        self.dropout = nn.Dropout(dropout)
        publish_as(self, "trunk", "features")

    def normalise(self, patches: Tensor) -> Tensor:
        """Standardise each patch (B,1,32,32)."""
        return functional.instance_norm(patches, eps=1e-5)

    def summarise(self, maps: Tensor) -> Tensor:
        """Map (B,64,8,8) to (B,128), values -1..1."""
        return self.descr(self.dropout(maps).flatten(1))

    def forward(self, patches: Tensor) -> Tensor:
        """Return the descriptors (B,128), values -1..1, of patches (B,1,32,32), as published: without normalisation."""
        return self.raw(patches)


class HardTFeat(TFeatFamily):
    """TFeat's trunk trained with HardNet's loss (AffNet's repository): `features.0.weight`, `classifier.1.weight` and so on.

    The published weights hold tensors `SIFT.*` of a part that the network never calls; loading ignores them.
    """

    normalisation = "per patch: mean 0, unbiased standard deviation 1 (eps 1e-7)"

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*_trunk_layers())
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(64, 128, kernel_size=8), nn.Tanh())
        publish_as(self, "trunk", "features")
        ignore_when_loading(self, "SIFT")

    def normalise(self, patches: Tensor) -> Tensor:
        """Standardise each patch (B,1,32,32)."""
        return standardise(patches)

    def summarise(self, maps: Tensor) -> Tensor:
        """Map (B,64,8,8) to (B,128), values -1..1."""
        return self.classifier(maps).flatten(1)


def _trunk_layers() -> tuple[nn.Module, ...]:
    pooling = nn.MaxPool2d(kernel_size=2, stride=2)
    return nn.Conv2d(1, 32, kernel_size=7), nn.Tanh(), pooling, nn.Conv2d(32, 64, kernel_size=6), nn.Tanh()
