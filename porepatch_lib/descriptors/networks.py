"""Networks as descriptors: load safetensors weights, describe 64x64 patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

if TYPE_CHECKING:
    import torch
    from torch import nn

PATCH_SIDE = 64


def build_network(architecture: str) -> nn.Module:
    """Return an untrained network by name.

    Raises:
        PorePatchError: if there is no such architecture.
    """
    if architecture not in _ARCHITECTURES:
        raise PorePatchError(f"There is no network '{architecture}'; use one of {', '.join(_ARCHITECTURES)}.")
    return _ARCHITECTURES[architecture]()


def load_network(weights: Path) -> nn.Module:
    """Load a network in evaluation mode from safetensors whose metadata name its architecture.

    Raises:
        PorePatchError: if the file is missing, damaged, without an architecture, or does not fit it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as stream:
            architecture = (stream.metadata() or {}).get("architecture", "")
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise PorePatchError(f"Cannot read the weights {weights} ({error}); train the network again.") from error
    if not architecture:
        raise PorePatchError(f"The weights {weights} do not name their architecture in the metadata; write them with train.")
    network = build_network(architecture)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise PorePatchError(f"The weights {weights} do not fit the network '{architecture}'; train it again.") from error
    return network.eval()


def resolve_device(device: str) -> torch.device:
    """Return the torch device for 'auto' (CUDA where present), 'cpu' or 'cuda'.

    Raises:
        PorePatchError: if CUDA is asked for and absent.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise PorePatchError("The device 'cuda' is asked for but this machine offers none to torch; set device to auto or cpu.")
    return torch.device(device)


def describe_patches(
    network: nn.Module, patches: NDArray[np.uint8], batch_size: int, device: str, threads: int
) -> NDArray[np.float32]:
    """Describe patches uint8 (N,64,64) with a network that takes 32x32. Returns unit rows float32 (N,D), in the patches' order.

    The network is put into evaluation mode on `device` ('auto', 'cpu', 'cuda'). Sets torch's number of threads.
    """
    import torch

    torch.set_num_threads(threads)
    target = resolve_device(device)
    network = network.to(target).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(patches), batch_size):
            small = torch.from_numpy(halve_patches(patches[start : start + batch_size])).to(target)
            parts.append(network(small[:, None].float()).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, dimension_of(network)), np.float32)


def dimension_of(network: nn.Module) -> int:
    """Return the length of the network's descriptors."""
    import torch

    with torch.inference_mode():
        device = next(network.parameters()).device
        return int(network.eval()(torch.zeros(1, 1, PATCH_SIDE // 2, PATCH_SIDE // 2, device=device)).shape[1])


def halve_patches(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce patches uint8 (N,64,64) to (N,32,32): (a + b + c + d + 2) >> 2 over 2x2 pixels, as cv2.resize does bilinearly."""
    count, side, _ = patches.shape
    if count == 0:
        return np.zeros((0, side // 2, side // 2), np.uint8)
    column = np.ascontiguousarray(patches).reshape(count * side, side)
    halved = cv2.resize(column, (side // 2, count * side // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, np.uint8).reshape(count, side // 2, side // 2)


def _hynet() -> nn.Module:
    from porepatch_lib.descriptors.hynet import HyNet

    return HyNet()


_ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"hynet": _hynet}
