"""SDGMNet (Deng and Ma, arXiv 2106.04434): HyNet's architecture, trained with another loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from porepatch_lib.descriptors.hynet import HyNet


class SDGMNet(HyNet):
    """HyNet with its initial values and dropout; only published state dicts look different.

    They list every tensor twice, as `layer1.0.weight` and as `features.0.0.weight`. Such dicts load, as do those with one
    of the two names; saved are the `layerK` names alone.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__(dropout)
        self.register_load_state_dict_pre_hook(_take_one_name)


def _take_one_name(
    module: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    _metadata: Any,
    _strict: bool,
    _missing: Sequence[str],
    _unexpected: Sequence[str],
    errors: list[str],
) -> None:
    """Rename `features.K.*` in `state` to `layer(K+1).*`, or drop it where that is there too with equal values."""
    for name in list(state):
        match = re.fullmatch(rf"{re.escape(prefix)}features\.(\d)\.(.+)", name)
        if match:
            published = f"{prefix}layer{int(match[1]) + 1}.{match[2]}"
            tensor = state.pop(name)
            if not torch.equal(state.setdefault(published, tensor), tensor):
                errors.append(f"{name} and {published} are one tensor of the network but differ in the file")
