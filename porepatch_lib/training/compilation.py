"""torch.compile where it helps: on CUDA the normalisations between the convolutions become one kernel each."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from porepatch_lib.descriptors.network import DescriptorNetwork

_LOG = logging.getLogger(__name__)


def compiled_features(network: DescriptorNetwork, choice: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the network's `features`, compiled for 'always' and, on CUDA with Triton at hand, for 'auto'.

    A CPU has fused kernels of its own (descriptors/filter_response.py), which need no compiler.
    """
    if choice == "never" or (choice == "auto" and not (device.type == "cuda" and importlib.util.find_spec("triton"))):
        return network.features
    _LOG.info("The first steps compile the network and take longer.")
    return torch.compile(network.features)
