"""One contract for every descriptor: its name, its length, and whether it needs the image or only patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.descriptors.psift import describe_psift, describe_psift_reference
from porepatch_lib.descriptors.sift import describe_sift
from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints.keypoints import Keypoints


@dataclass(frozen=True)
class DescriptorSpec:
    """A descriptor: `needs_image` is true for hand-made ones, false for networks, which need 64x64 patches.

    `needs_mask`: it looks at the mask too.
    """

    name: str
    dimension: int
    needs_image: bool
    needs_mask: bool = False


_SPECS = {
    spec.name: spec
    for spec in (
        DescriptorSpec("psift", 512, True),
        DescriptorSpec("psift128", 128, True),
        DescriptorSpec("psift_reference", 512, True, needs_mask=True),
        DescriptorSpec("sift", 128, True),
        DescriptorSpec("rootsift", 128, True),
        DescriptorSpec("hynet", 128, False),
    )
}


def descriptor_names() -> list[str]:
    """Names of all descriptors."""
    return list(_SPECS)


def descriptor_spec(name: str) -> DescriptorSpec:
    """Return a descriptor by name.

    Raises:
        PorePatchError: if there is none of that name.
    """
    if name not in _SPECS:
        raise PorePatchError(f"There is no descriptor '{name}'; use one of {', '.join(_SPECS)}.")
    return _SPECS[name]


def describe_image(
    name: str, grey: NDArray[np.uint8], keypoints: Keypoints, threads: int, mask: NDArray[np.uint8] | None = None
) -> NDArray[np.float32]:
    """Describe `keypoints` of `grey` (H,W) with a hand-made descriptor. Returns unit rows float32 (N,D), row i = keypoint i.

    Only `psift_reference`, for keypoints of the reference detector, looks at `mask` (H,W), 255 = keep.

    Raises:
        PorePatchError: if the name is unknown or belongs to a network.
    """
    spec = descriptor_spec(name)
    if not spec.needs_image:
        raise PorePatchError(f"The descriptor '{name}' is a network: it describes patches and needs weights.")
    if len(keypoints) == 0:
        return np.zeros((0, spec.dimension), np.float32)
    if name == "psift_reference":
        return describe_psift_reference(grey, mask, keypoints, 8, threads)
    if name in ("psift", "psift128"):
        return describe_psift(grey, keypoints, 8 if name == "psift" else 4, threads)
    return describe_sift(grey, keypoints, root=name == "rootsift")
