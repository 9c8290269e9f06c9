"""The one contract of all descriptors: keypoints of an image, or bare patches, to rows of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import overload

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.patches.sampler import PATCH_SIZE


class Descriptor(ABC):
    """A descriptor, hand-made or learned, ready to describe.

    name: as in the registry, or the architecture of a network.
    dimension: D, the length of a row.
    learned: a network, which sees only the patch; a hand-made descriptor sees more of an image than of a patch cut from it.
    needs_mask: it looks at the mask too.

    Rows have unit length, or are zero where the image is flat. TFeat's published output has neither property and stays as it is.
    """

    name: str
    dimension: int
    learned: bool = False
    needs_mask: bool = False

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
