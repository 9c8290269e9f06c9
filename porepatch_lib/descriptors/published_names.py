"""State dicts under published tensor names that our attributes cannot carry.

HardNet, TFeat and HardTFeat call a submodule `features`, which is a method of every DescriptorNetwork.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn


def publish_as(network: nn.Module, ours: str, published: str) -> None:
    """Make `network` save its submodule `ours` as `published` and load it under that name."""
    network.register_state_dict_post_hook(partial(_rename_saved, ours, published))
    network.register_load_state_dict_pre_hook(partial(_rename_loaded, published, ours))


def ignore_when_loading(network: nn.Module, submodule: str) -> None:
    """Let state dicts hold tensors of a `submodule` that `network` does not have."""
    network.register_load_state_dict_pre_hook(partial(_drop_loaded, submodule))


def _rename_saved(old: str, new: str, _network: nn.Module, tensors: dict[str, Tensor], prefix: str, _metadata: Any) -> None:
    _rename(tensors, f"{prefix}{old}.", f"{prefix}{new}.")


def _rename_loaded(old: str, new: str, _network: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: Any) -> None:
    _rename(tensors, f"{prefix}{old}.", f"{prefix}{new}.")


def _drop_loaded(submodule: str, _network: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name in [name for name in tensors if name.startswith(f"{prefix}{submodule}.")]:
        del tensors[name]


def _rename(tensors: dict[str, Tensor], old: str, new: str) -> None:
    for name in [name for name in tensors if name.startswith(old)]:
        tensors[new + name.removeprefix(old)] = tensors.pop(name)
