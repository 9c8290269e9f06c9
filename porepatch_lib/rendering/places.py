"""Places of the skin: points of triangles, which stay where they are on the skin when the face moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Places of the skin: triangle (N,) int64, -1 for none; barycentric (N,2) float64 weighs its second and third vertex."""

    triangle: NDArray[np.int64]
    barycentric: FloatArray

    def __len__(self) -> int:
        return len(self.triangle)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Places:
        return Places(self.triangle[rows], self.barycentric[rows])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of them (N,) are a place."""
        return self.triangle >= 0

    @property
    def weights(self) -> FloatArray:
        """The weights (N,3) of the three vertices of the triangle."""
        return np.column_stack([1.0 - self.barycentric.sum(axis=1), self.barycentric])

    def on(self, values: NDArray[Any], triangles: NDArray[np.int32]) -> FloatArray:
        """Return values (V,D) of the vertices of triangles (M,3) at the places, (N,D) float64, NaN for none."""
        known = self.known
        result = np.full((len(self), values.shape[1]), np.nan)
        corners = values[triangles[self.triangle[known]]].astype(np.float64)
        result[known] = np.einsum("nc,ncd->nd", self.weights[known], corners)
        return result


def join_places(parts: Sequence[Places]) -> Places:
    """Return the places of all parts, in order."""
    parts = [Places(np.empty(0, np.int64), np.empty((0, 2))), *parts]
    return Places(np.concatenate([part.triangle for part in parts]), np.concatenate([part.barycentric for part in parts]))
