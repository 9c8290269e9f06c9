"""Networks as descriptors: build them by name, load their weights, describe 64x64 patches."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.config import suggestion
from porepatch_lib.errors import PorePatchError
from porepatch_lib.plugins import import_plugin

if TYPE_CHECKING:
    import torch

    from porepatch_lib.descriptors.network import DescriptorNetwork

_ROOM = "porepatch_lib.descriptors"
_ARCHITECTURES = {
    "hardnet": f"{_ROOM}.l2net:HardNet",
    "sosnet": f"{_ROOM}.l2net:SOSNet",
    "ralnet": f"{_ROOM}.l2net:HardNet",
    "cdfstc": f"{_ROOM}.l2net:HardNet",
    "hynet": f"{_ROOM}.hynet:HyNet",
    "sdgmnet": f"{_ROOM}.sdgmnet:SDGMNet",
    "afsrnet": f"{_ROOM}.afsrnet:AFSRNet",
    "tfeat": f"{_ROOM}.tfeat:TFeat",
    "hardtfeat": f"{_ROOM}.tfeat:HardTFeat",
    "l2net": f"{_ROOM}.l2net:L2Net",
}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # the zip that torch.save writes; a bare pickle


def network_names(networks: Mapping[str, str] | None = None) -> list[str]:
    """Names of all architectures: ours, then those of `networks` (name -> "package.module:Class").

    Raises:
        PorePatchError: if `networks` gives a name of ours.
    """
    taken = sorted(_ARCHITECTURES.keys() & (networks or {}).keys())
    if taken:
        raise PorePatchError(f"The name '{taken[0]}' in networks belongs to a network of PorePatch; choose another name.")
    return [*_ARCHITECTURES, *(networks or {})]


def check_architecture(architecture: str, networks: Mapping[str, str] | None = None) -> None:
    """Look a name up without importing anything.

    Raises:
        PorePatchError: if there is no such architecture.
    """
    names = network_names(networks)
    if architecture not in names:
        mend = suggestion(architecture, names) or f"; use one of {', '.join(names)}."
        raise PorePatchError(f"There is no network '{architecture}'{mend}")


def network_class(architecture: str, networks: Mapping[str, str] | None = None) -> type[DescriptorNetwork]:
    """Return the class of an architecture, ours or one of `networks` (name -> "package.module:Class").

    Only what these name is ever imported; a class of `networks` may lie in the current folder.

    Raises:
        PorePatchError: if there is no such architecture, or a third party's cannot be imported or is no network.
    """
    check_architecture(architecture, networks)
    if architecture in _ARCHITECTURES:
        module_name, _, class_name = _ARCHITECTURES[architecture].partition(":")
        found: type[DescriptorNetwork] = getattr(importlib.import_module(module_name), class_name)
        return found
    return _third_party(architecture, (networks or {})[architecture])


def build_network(architecture: str, networks: Mapping[str, str] | None = None) -> DescriptorNetwork:
    """Return an untrained network by name; its initial weights come from torch's random generator.

    Raises:
        PorePatchError: as `network_class`, or if a third party's class cannot be built without arguments.
    """
    chosen = network_class(architecture, networks)
    try:
        return chosen()
    except Exception as error:
        if architecture in _ARCHITECTURES:
            raise
        raise PorePatchError(
            f"The network '{architecture}' cannot be built: {type(error).__name__}: {error}; {chosen.__name__}() must work."
        ) from error


def load_network(
    weights: str | Path, networks: Mapping[str, str] | None = None, architecture: str | None = None
) -> DescriptorNetwork:
    """Load a network in evaluation mode from safetensors, whose metadata name its architecture or which are of `architecture`.

    So published state dicts, which name none, load too. Nothing is unpickled, and nothing that a file names is imported.

    Raises:
        PorePatchError: if the file is missing, damaged, a pickle, without or of another architecture, or does not fit it.
    """
    chosen = architecture_of(weights, architecture)
    with _open_weights(Path(weights)) as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    network = build_network(chosen, networks)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise PorePatchError(f"The weights {weights} do not fit the network '{chosen}'; train it again.") from error
    return network.eval()


def architecture_of(weights: str | Path, architecture: str | None = None) -> str:
    """Return the architecture that safetensors `weights` name in their metadata, or `architecture` where they name none.

    Raises:
        PorePatchError: if the file cannot be read, or neither says one, or both say different ones.
    """
    with _open_weights(Path(weights)) as stream:
        named = (stream.metadata() or {}).get("architecture", "")
    if architecture and named and architecture != named:
        raise PorePatchError(f"The weights {weights} are of the network '{named}', not of '{architecture}'; give others.")
    if not (architecture or named):
        raise PorePatchError(
            f'The weights {weights} do not name their architecture; write it into the metadata: {{"architecture": ...}}.'
        )
    return named or str(architecture)


def resolve_device(device: str) -> torch.device:
    """Return the torch device for 'auto' (CUDA where present, else MPS, else the CPU) or a name such as 'cpu' or 'cuda:1'.

    Raises:
        PorePatchError: if the device is unknown, or asked for and absent.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(kind for kind, here in present.items() if here))
    kind = device.partition(":")[0]
    if kind not in present:
        raise PorePatchError(f"There is no device '{device}'; set device to auto, cpu, cuda or mps.")
    if not present[kind]:
        raise PorePatchError(
            f"The device '{device}' is asked for but this machine offers none to torch; set device to auto or cpu."
        )
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise PorePatchError(f"There is no device '{device}'; set device to auto, cpu, cuda or mps.") from error


def device_name(device: torch.device) -> str:
    """Return "cpu", "mps", or a CUDA GPU by kind and name, for instance "cuda: NVIDIA H200"."""
    import torch

    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return device.type


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the type convolutions compute in: 'float32', 'bfloat16' or 'auto', bfloat16 where the processor multiplies it.

    Raises:
        PorePatchError: if the precision is none of these.
    """
    import torch

    if precision not in ("auto", "float32", "bfloat16"):
        raise PorePatchError(f"There is no precision '{precision}'; set precision to auto, float32 or bfloat16.")
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    native = False
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def describe_patches(
    network: DescriptorNetwork,
    patches: NDArray[np.uint8],
    batch_size: int,
    device: str,
    threads: int,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Describe patches uint8 (N,64,64) as the network does. Returns float32 (N,D) in the patches' order.

    Networks that take 32x32 get the patches halved. The network is put into evaluation mode on `device` (see `resolve_device`);
    `precision` is that of `choose_precision`, used by autocast. Sets torch's number of threads.

    Raises:
        PorePatchError: if the device or precision cannot be had, or a third party's network gives another dimension than it says.
    """
    import torch

    torch.set_num_threads(threads)
    target = resolve_device(device)
    dtype = choose_precision(precision, target)
    network = network.to(target).eval()
    descriptors = np.empty((len(patches), network.dimension), np.float32)
    with torch.inference_mode(), torch.autocast(target.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        for start in range(0, len(patches), batch_size):
            rows = slice(start, start + batch_size)
            seen = halve_patches(patches[rows]) if network.patch_side == patches.shape[1] // 2 else patches[rows]
            batch = torch.from_numpy(np.ascontiguousarray(seen)).to(target)[:, None].float()
            found = network(batch)
            if found.shape != descriptors[rows].shape:
                raise PorePatchError(
                    f"The network {type(network).__name__} gives {tuple(found.shape)} for {len(batch)} patches, but its "
                    f"dimension is {network.dimension}; correct the class."
                )
            descriptors[rows] = found.float().cpu().numpy()
    return descriptors


def halve_patches(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce patches uint8 (N,64,64) to (N,32,32): (a + b + c + d + 2) >> 2 over 2x2 pixels, as cv2.resize does bilinearly."""
    count, side, _ = patches.shape
    if count == 0:
        return np.zeros((0, side // 2, side // 2), np.uint8)
    column = np.ascontiguousarray(patches).reshape(count * side, side)
    halved = cv2.resize(column, (side // 2, count * side // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, np.uint8).reshape(count, side // 2, side // 2)


@contextmanager
def _open_weights(path: Path) -> Iterator[Any]:
    """Open a safetensors file; what goes wrong is one sentence."""
    from safetensors import SafetensorError, safe_open

    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as stream:
            yield stream
    except (OSError, SafetensorError) as error:
        raise PorePatchError(f"Cannot read the weights {path} ({error}); train the network again.") from error


def _refuse_pickle(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb") as stream:
        start = stream.read(9)
    is_safetensors = start[8:] == b"{"  # after the header's length, whose bytes may be any
    if not is_safetensors and (start.startswith(_PICKLE_STARTS) or path.suffix in (".pth", ".pt")):
        raise PorePatchError(
            f"The weights {path} are a pickle, which may run any code when read, so only safetensors are; convert them once: "
            f"state = {{k: v.clone() for k, v in torch.load({str(path)!r}, 'cpu', weights_only=True).items()}}; "
            f"safetensors.torch.save_file(state, {str(path.with_suffix('.safetensors'))!r}, {{'architecture': 'hynet'}}), "
            "with their own architecture."
        )


def _third_party(name: str, dotted: Any) -> type[DescriptorNetwork]:
    from porepatch_lib.descriptors.network import DescriptorNetwork

    module_name, _, class_name = str(dotted).partition(":")
    if not module_name or not class_name:
        raise PorePatchError(f"The network '{name}' is '{dotted}' in networks; write it as package.module:Class.")
    found = getattr(import_plugin(module_name, f"The network '{name}' of networks"), class_name, None)
    if not (isinstance(found, type) and issubclass(found, DescriptorNetwork)):
        raise PorePatchError(
            f"The network '{name}': '{dotted}' is no DescriptorNetwork; derive the class from "
            "porepatch_lib.descriptors.network.DescriptorNetwork or correct the name."
        )
    if found.patch_side not in (32, 64) or not (isinstance(found.dimension, int) and found.dimension > 0):
        raise PorePatchError(
            f"The network '{name}' has patch_side {found.patch_side!r} and dimension {found.dimension!r}; "
            "patch_side must be 32 or 64 and dimension a positive whole number."
        )
    return found
