"""Every descriptor by its name: hand-made ones, and networks with their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.config import suggestion
from porepatch_lib.descriptors.bare_patches import BARE, NCC_SIDE, describe_bare, describe_bare_psift, ncc_descriptors
from porepatch_lib.descriptors.contract import Descriptor, PatchDescriptor
from porepatch_lib.descriptors.networks import (
    check_architecture,
    describe_patches,
    device_name,
    load_network,
    network_names,
    resolve_device,
)
from porepatch_lib.descriptors.psift import describe_psift, describe_psift_reference
from porepatch_lib.descriptors.sift import describe_sift
from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.threads import map_threads

if TYPE_CHECKING:
    from porepatch_lib.descriptors.network import DescriptorNetwork

_BATCH_SIZE = 1024


class PSIFT(Descriptor):
    """PSIFT of 8x8x8 or 4x4x8 numbers, in full precision; `reference` describes an image exactly as the authors do."""

    def __init__(self, name: str, spatial_bins: int, crop_factor: float, threads: int, reference: bool = False) -> None:
        self.name, self.dimension, self.needs_mask = name, 8 * spatial_bins * spatial_bins, reference
        self._bins, self._sigma_px, self._threads = spatial_bins, PATCH_SIZE / crop_factor, threads

    def _of_keypoints(
        self, image: NDArray[np.uint8], keypoints: Keypoints, mask: NDArray[np.uint8] | None
    ) -> NDArray[np.float32]:
        if self.needs_mask:
            return describe_psift_reference(image, mask, keypoints, self._bins, self._threads)
        return describe_psift(image, keypoints, self._bins, self._threads)

    def _of_patches(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        return describe_bare_psift(patches, self._sigma_px, self._bins, self._threads)


class SIFT(Descriptor):
    """Upright SIFT, or RootSIFT; a bare patch is an image with one keypoint in its middle, which OpenCV rounds to a pixel."""

    dimension = 128

    def __init__(self, name: str, root: bool, crop_factor: float, threads: int) -> None:
        self.name, self._root, self._threads = name, root, threads
        middle, nought, index = np.full(1, (PATCH_SIZE - 1) / 2, np.float32), np.zeros(1, np.float32), np.zeros(1, np.int8)
        sigma = np.full(1, PATCH_SIZE / crop_factor, np.float32)
        self._middle = Keypoints(middle, middle, sigma, angle=nought, response=nought, octave=index, level=index)

    def _of_keypoints(
        self, image: NDArray[np.uint8], keypoints: Keypoints, mask: NDArray[np.uint8] | None
    ) -> NDArray[np.float32]:
        return describe_sift(image, keypoints, self._root)

    def _of_patches(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        def one(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
            return describe_sift(patch, self._middle, self._root)

        return np.concatenate(map_threads(one, patches, self._threads))


class Bare(PatchDescriptor):
    """A hand-made descriptor that is given the bare patch, at a `sigma_px` in pixels of the patch."""

    def __init__(self, name: str, sigma_px: float | None, crop_factor: float, threads: int) -> None:
        super().__init__(crop_factor, threads)
        self.name, self.dimension = name, BARE[name].dimension
        self._sigma_px = PATCH_SIZE / crop_factor if sigma_px is None else sigma_px

    def _of_patches(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        return describe_bare(self.name, patches, self._sigma_px, self._threads)


class NCC(PatchDescriptor):
    """The pixels themselves, 32x32, less their mean: the floor under every descriptor."""

    name, dimension = "ncc", NCC_SIDE * NCC_SIDE

    def _of_patches(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        return ncc_descriptors(patches)


class Learned(PatchDescriptor):
    """A network."""

    learned = True

    def __init__(
        self, name: str, network: DescriptorNetwork, crop_factor: float, threads: int, device: str, precision: str
    ) -> None:
        super().__init__(crop_factor, threads)
        self.name, self.dimension, self.network = name, network.dimension, network
        self._device, self._precision = device, precision
        self.device = device_name(resolve_device(device))

    def _of_patches(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        return describe_patches(self.network, patches, _BATCH_SIZE, self._device, self._threads, self._precision)


_OF_PHOTOGRAPHS: dict[str, Callable[[str, float, int], Descriptor]] = {
    "psift": lambda name, crop_factor, threads: PSIFT(name, 8, crop_factor, threads),
    "psift128": lambda name, crop_factor, threads: PSIFT(name, 4, crop_factor, threads),
    "psift_reference": lambda name, crop_factor, threads: PSIFT(name, 8, crop_factor, threads, reference=True),
    "sift": lambda name, crop_factor, threads: SIFT(name, False, crop_factor, threads),
    "rootsift": lambda name, crop_factor, threads: SIFT(name, True, crop_factor, threads),
}


def hand_made_names() -> list[str]:
    """Names of the descriptors that need no weights: those of photographs, those of bare patches, raw pixels."""
    return [*_OF_PHOTOGRAPHS, *BARE, NCC.name]


def sees_patch(name: str) -> bool:
    """Tell whether a descriptor needs no photograph around the patch: all but SIFT, PSIFT and their kin with their real support.

    A name that is none of `hand_made_names` is taken for a network's.
    """
    return name not in _OF_PHOTOGRAPHS


def descriptor_names(networks: Mapping[str, str] | None = None) -> list[str]:
    """Names of all descriptors: hand-made ones, our networks, third parties' of `networks` (name -> "package.module:Class").

    Raises:
        PorePatchError: if `networks` gives a name of ours.
    """
    taken = sorted(set(hand_made_names()) & (networks or {}).keys())
    if taken:
        raise PorePatchError(f"The name '{taken[0]}' in networks belongs to a descriptor of PorePatch; choose another name.")
    return hand_made_names() + network_names(networks)


def check_transferred(transferred: Mapping[str, Mapping[str, str]], networks: Mapping[str, str] | None = None) -> None:
    """Check networks trained elsewhere: name -> {"architecture", "weights"}.

    Raises:
        PorePatchError: if a name is taken or kept for networks of a run, an architecture unknown, or a file not there.
    """
    for name, one in transferred.items():
        run = name.partition("-")[0]
        if name in descriptor_names(networks) or run in ("imported", "benchmark") or run.removeprefix("round").isdigit():
            raise PorePatchError(f"The name '{name}' in descriptors.transferred belongs to PorePatch; choose another name.")
        check_architecture(one["architecture"], networks)
        if not Path(one["weights"]).is_file():
            raise PorePatchError(
                f"There is no file {one['weights']}, the weights of '{name}' in descriptors.transferred; mend the path."
            )


def make_descriptor(
    name: str,
    *,
    weights: str | Path | None = None,
    crop_factor: float,
    threads: int,
    sigma_px: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    networks: Mapping[str, str] | None = None,
) -> Descriptor:
    """Return a descriptor by name.

    Args:
        name: one of `descriptor_names`.
        weights: safetensors of a network; its metadata may name no architecture, but no other than `name`.
        crop_factor: side of a patch over sigma: of those cut for a descriptor that sees patches, and of bare patches given to one
            that sees photographs.
        threads: of the CPU.
        sigma_px: of a descriptor of `BARE`, in pixels of the 64 px patch; None: the keypoint's own, 64 / crop_factor.
        device, precision: of a network, see `resolve_device` and `choose_precision`.
        networks: third-party networks, name -> "package.module:Class".

    Raises:
        PorePatchError: if the name is unknown, or a network's weights are missing, wrong, or given to a hand-made descriptor.
    """
    names = descriptor_names(networks)
    if name in hand_made_names():
        if weights is not None:
            raise PorePatchError(f"The descriptor '{name}' is hand-made and takes no weights; leave out {weights}.")
        return _hand_made(name, crop_factor, threads, sigma_px)
    if name not in names:
        mend = suggestion(name, names) or f"; use one of {', '.join(names)}."
        raise PorePatchError(f"There is no descriptor '{name}'{mend}")
    if weights is None:
        raise PorePatchError(f"The descriptor '{name}' is a network and needs weights; name a safetensors file.")
    return Learned(name, load_network(weights, networks, name), crop_factor, threads, device, precision)


def descriptor_of_stage(
    label: str,
    weights: str | Path | None,
    *,
    crop_factor: float,
    threads: int,
    device: str,
    networks: Mapping[str, str] | None,
    sigma_px: float | None = None,
    architecture: str | None = None,
) -> Descriptor:
    """Return what a stage describes with: the network of `weights`, called `label`, or without weights the descriptor `label`.

    Networks compute in float32 here, so that a stage's output does not depend on what the processor has. `architecture` is that
    of weights whose metadata name none, as those that others published; `sigma_px` is as of `make_descriptor`.

    Raises:
        PorePatchError: as `make_descriptor`.
    """
    if weights is None:
        return make_descriptor(label, crop_factor=crop_factor, threads=threads, sigma_px=sigma_px, networks=networks)
    return Learned(label, load_network(weights, networks, architecture), crop_factor, threads, device, "float32")


def _hand_made(name: str, crop_factor: float, threads: int, sigma_px: float | None) -> Descriptor:
    if name in BARE:
        return Bare(name, sigma_px, crop_factor, threads)
    return NCC(crop_factor, threads) if name == NCC.name else _OF_PHOTOGRAPHS[name](name, crop_factor, threads)
