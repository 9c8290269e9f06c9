"""What varies smoothly over a face, sampled once on a coarse grid of texture coordinates for all texels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering import features
from porepatch_lib.rendering.noise import named_seed, octave_noise
from porepatch_lib.rendering.surface import DARK, HAIR, SKIN, Head, Texels, rasterise, texture_gradients

FloatArray = NDArray[np.float64]
Map = NDArray[np.float32]

_MARGIN_TEXELS = 3.0
# Noise that varies slowly: amplitudes by size of the cells in mm.
_SLOW_NOISE = {
    "melanin_patches": {30.0: 0.04, 12.0: 0.028, 5.0: 0.02},
    "melanin_stains": {30.0: 0.45, 12.0: 0.4, 5.0: 0.3},
    "blood_patches": {26.0: 0.09, 10.0: 0.09, 4.2: 0.085},
    "shine_patches": {6.0: 0.12},
    "line_patches": {9.0: 0.25, 3.5: 0.2},
    "swell_mm": {4.5: 0.03},
}


@dataclass(frozen=True)
class Guide:
    """Named fields (rows, columns, fields) on a grid of texture coordinates; `names` says which is which.

    The fields are those of `features`, the signed distances of `signed_features` and those to the "mouth" and to the parts "hair"
    and "dark", noise that varies slowly, and axis_x, axis_y, axis_z: the unit tangent of the neutral face along fine lines.
    """

    low_mm: FloatArray
    step_mm: float
    names: tuple[str, ...]
    fields: Map

    def at(self, low_mm: FloatArray, texel_mm: float, row: NDArray[np.int64], column: NDArray[np.int64]) -> dict[str, Map]:
        """Return every field (N,) at the texels (row, column) (N,) of another grid."""
        scale = texel_mm / self.step_mm
        x0, y0 = ((low_mm - self.low_mm) / self.step_mm).tolist()
        values = np.empty((len(self.names), len(row)), np.float32)
        _interpolate(self.fields, x0, y0, scale, row, column, values)
        return dict(zip(self.names, values, strict=True))


def build_guide(head: Head, step_mm: float, seed: int) -> Guide:
    """Evaluate all fields over the whole head; `seed` is that of the noise."""
    low, high = head.uv.min(axis=0) - 3.0 * step_mm, head.uv.max(axis=0) + 3.0 * step_mm
    texels = rasterise(head, low, high, step_mm, _MARGIN_TEXELS)
    u, v = texels.place[..., 0].astype(np.float64), texels.place[..., 1].astype(np.float64)
    marks = head.landmarks
    named: dict[str, NDArray[np.generic]] = {
        "porous": features.pore_strength(marks, u, v),
        "oil": features.oiliness(marks, u, v),
        "red": features.redness(marks, u, v),
        "under_eyes": features.under_eyes(marks, u, v),
        "beard": features.beard(marks, u, v),
        "lines": features.line_strength(marks, u, v),
        **features.signed_features(marks, u, v),
        "mouth": v - features.mouth_line(marks, np.abs(u)),
        "hair": hair_distance(head, texels),
        "dark": part_distance(texels, DARK),
    }
    points = texels.neutral.reshape(-1, 3)
    for name, octaves in _SLOW_NOISE.items():
        named[name] = octave_noise(points, octaves, named_seed(seed, name)).reshape(texels.covered.shape)
    axis = _axis(head, low, high, step_mm, features.line_direction(marks, u, v))
    named |= {"axis_x": axis[..., 0], "axis_y": axis[..., 1], "axis_z": axis[..., 2]}
    return Guide(low, step_mm, tuple(named), np.stack([field.astype(np.float32) for field in named.values()], axis=2))


def part_distance(texels: Texels, part: int) -> Map:
    """Return the distance (H,W) mm to a part of the head in texture coordinates, negative inside it."""
    inside = texels.covered & (texels.part == part)
    outside = texels.covered & ~inside
    distances = [cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) for mask in (inside, outside)]
    farthest = float(sum(inside.shape))  # where there is no such part
    return np.asarray((np.minimum(distances[0], farthest) - np.minimum(distances[1], farthest)) * texels.texel_mm, np.float32)


def hair_distance(head: Head, texels: Texels) -> FloatArray:
    """Return the distance (H,W) mm to the hair, negative inside; if no part of the head is hair, it begins at the hairline."""
    if np.any(head.part == HAIR):
        return part_distance(texels, HAIR).astype(np.float64)
    u, v = texels.place[..., 0].astype(np.float64), texels.place[..., 1].astype(np.float64)
    skin = texels.covered & (texels.part == SKIN)
    return np.where(skin, features.hairline(head.landmarks, u, v), 9.0)


def _axis(head: Head, low: FloatArray, high: FloatArray, step_mm: float, angle: FloatArray) -> Map:
    """Return the unit tangents (rows, columns, 3) of the neutral face at `angle` in face coordinates."""
    along_u, along_v = (
        rasterise(replace(head, neutral=gradient), low, high, step_mm, _MARGIN_TEXELS).neutral
        for gradient in texture_gradients(head.neutral, head.triangles, head.place)
    )
    axis = np.cos(angle)[..., None] * along_u + np.sin(angle)[..., None] * along_v
    length = np.linalg.norm(axis, axis=2, keepdims=True)
    return np.where(length > 1e-6, axis / np.maximum(length, 1e-6), np.array([1.0, 0.0, 0.0])).astype(np.float32)


@njit(cache=True, nogil=True)
def _interpolate(fields, x0, y0, scale, row, column, values):  # type: ignore[no-untyped-def]
    height, width, count = fields.shape
    for index in range(len(row)):
        x = min(max(x0 + scale * column[index], 0.0), width - 1.001)
        y = min(max(y0 + scale * row[index], 0.0), height - 1.001)
        i, j = int(x), int(y)
        a, b = x - i, y - j
        for field in range(count):
            upper = (1.0 - a) * fields[j, i, field] + a * fields[j, i + 1, field]
            lower = (1.0 - a) * fields[j + 1, i, field] + a * fields[j + 1, i + 1, field]
            values[field, index] = (1.0 - b) * upper + b * lower
