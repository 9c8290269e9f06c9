"""The one contract of all descriptors: keypoints of an image, or bare patches, to rows of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.patches.sampler import PATCH_SIZE, sample_patches

Sees = Literal["photograph", "patch"]


class Descriptor(ABC):
    """A descriptor, hand-made or learned, ready to describe.

    name: as in the registry, or the architecture of a network.
    dimension: D, the length of a row.
    learned: a network.
    sees: what it looks at when given keypoints of an image: the "photograph", as far as its support reaches, or the "patch" cut
        from it, nothing around and no finer. One that sees the patch describes a keypoint as the patch of it, bit for bit.
    needs_mask: it looks at the mask too.
    device: what it computes on: "cpu", or a GPU by its kind and name.

    Rows have unit length, or are zero where the image is flat. TFeat's published output has neither property and stays as it is.
    """

    name: str
    dimension: int
    learned: bool = False
    sees: Sees = "photograph"
    needs_mask: bool = False
    device: str = "cpu"

    @overload
    def describe(
        self, image: NDArray[np.uint8], /, keypoints: Keypoints, mask: NDArray[np.uint8] | None = None
    ) -> NDArray[np.float32]: ...

    @overload
    def describe(self, patches: NDArray[np.uint8], /) -> NDArray[np.float32]: ...

    def describe(
        self, pixels: NDArray[np.uint8], /, keypoints: Keypoints | None = None, mask: NDArray[np.uint8] | None = None
    ) -> NDArray[np.float32]:
        """Describe `keypoints` of a grey image (H,W), or patches (N,64,64) at their centre, uint8.

        `mask` (H,W) uint8, 255 = keep, is of the image; descriptors that do not need it leave it alone. Returns float32 (N,D),
        row i = keypoint or patch i.

        Raises:
            ValueError: if the pixels are not uint8 or of another shape.
        """
        shape = (PATCH_SIZE, PATCH_SIZE)
        fits = pixels.ndim == 2 if keypoints is not None else pixels.ndim == 3 and pixels.shape[1:] == shape
        if pixels.dtype != np.uint8 or not fits:
            wanted = "patches (N,64,64)" if keypoints is None else "a grey image (H,W)"
            raise ValueError(f"the descriptor {self.name} takes {wanted} uint8, not {pixels.dtype} of shape {pixels.shape}")
        if len(pixels if keypoints is None else keypoints) == 0:
            return np.zeros((0, self.dimension), np.float32)
        return self._of_patches(pixels) if keypoints is None else self._of_keypoints(pixels, keypoints, mask)

    @abstractmethod
    def _of_keypoints(
        self, image: NDArray[np.uint8], keypoints: Keypoints, mask: NDArray[np.uint8] | None
    ) -> NDArray[np.float32]:
        """Describe at least one keypoint of a checked image."""

    @abstractmethod
    def _of_patches(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe at least one checked patch."""


class PatchDescriptor(Descriptor):
    """A descriptor that sees patches: keypoints of an image are cut out as patches of side crop_factor * sigma."""

    sees: Sees = "patch"

    def __init__(self, crop_factor: float, threads: int) -> None:
        self._crop_factor, self._threads = crop_factor, threads

    def _of_keypoints(
        self, image: NDArray[np.uint8], keypoints: Keypoints, mask: NDArray[np.uint8] | None
    ) -> NDArray[np.float32]:
        return self._of_patches(
            sample_patches(image, keypoints.x, keypoints.y, keypoints.sigma, self._crop_factor, threads=self._threads)
        )
