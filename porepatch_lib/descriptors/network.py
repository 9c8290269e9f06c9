"""What every descriptor network is: patches in, features of each patch, then a head over the whole batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class DescriptorNetwork(nn.Module):
    """Base of all networks, ours and third parties'.

    A network defines `features`, and `head` where its last step looks at the whole batch (batch norm): so training may
    run `features` over parts of a batch, in other processes too, and still be exact. It sets the class attributes.
    """

    patch_side: ClassVar[int] = 32  # of the square patches it takes, in pixels: 32 or 64
    dimension: ClassVar[int] = 128  # of its descriptors
    normalisation: ClassVar[str] = "none"  # of grey values inside the network, for the model card

    def features(self, patches: Tensor) -> Tensor:
        """Map float32 patches (B,1,S,S), grey values 0..255, to what `head` takes, (B,D)."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """Map features (B,D) of the whole batch to raw descriptors (B,D)."""
        return features

    def raw(self, patches: Tensor) -> Tensor:
        """Return the descriptors (B,D) of patches (B,1,S,S) before normalisation to unit length; losses take these."""
        return self.head(self.features(patches))

    def forward(self, patches: Tensor) -> Tensor:
        """Return the descriptors (B,D) of patches (B,1,S,S), unit rows unless the network says otherwise."""
        return functional.normalize(self.raw(patches), dim=1)


def channels_last(patches: Tensor) -> Tensor:
    """Return patches (B,1,S,S) whose strides say channels last, so that all convolutions after them keep that layout.

    With one channel both layouts are the same bytes, and `contiguous` would leave the strides that say channels first.
    """
    return patches.to(memory_format=torch.channels_last)
