"""A network of somebody else, as a user may bring one."""

from __future__ import annotations

from torch import Tensor, nn

from porepatch_lib.descriptors.network import DescriptorNetwork


class Stripes(DescriptorNetwork):
    """One convolution over columns, one number for every 4 of them."""

    dimension = 16
    normalisation = "grey values divided by 255"

    def __init__(self) -> None:
        super().__init__()
        self.stripes = nn.Conv2d(1, 2, kernel_size=(32, 4), stride=4)
        self.norm = nn.BatchNorm1d(16, affine=False)

    def features(self, patches: Tensor) -> Tensor:
        """Map patches (B,1,32,32) to (B,16)."""
        return self.stripes(patches / 255).flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Centre and scale over the batch."""
        return self.norm(features)
