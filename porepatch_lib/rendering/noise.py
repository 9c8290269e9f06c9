"""Solid random fields: functions of a position in space, so that nothing stretches on a curved face or tears at a seam.

Lattice points get their random numbers from an integer hash of their coordinates and a seed, hence no tables. Positions are in
mm; every field is an array over points.
"""

from __future__ import annotations

import zlib

import numpy as np
from numba import njit
from numpy.typing import NDArray

Points = NDArray[np.float32]
Field = NDArray[np.float32]

_GRADIENT_NOISE_SPREAD = 0.2724  # standard deviation of the interpolated gradients
_MULTIPLIER_1 = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_2 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_3 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 1.0 / 2**21
_LOW_BITS = np.uint64(2**21 - 1)


def named_seed(seed: int, name: str) -> int:
    """Return the seed of one of the fields that belong together; those of different names are independent."""
    return seed + (zlib.crc32(name.encode()) << 16)


def gradient_noise(points: Points, cell_mm: float, seed: int) -> Field:
    """Return noise (N,) of zero mean and unit variance at points (N,3); its wavelengths lie around 1.5 `cell_mm`.

    Perlin, "Improving Noise", SIGGRAPH 2002.
    """
    field = np.empty(len(points), np.float32)
    _gradient_noise(points, 1.0 / cell_mm, np.uint64(seed), field)
    return field


def octave_noise(points: Points, octaves: dict[float, float], seed: int) -> Field:
    """Return the sum (N,) of gradient noise at points (N,3); `octaves` are amplitudes by size of the cells in mm."""
    total = np.zeros(len(points), np.float32)
    for index, (cell_mm, amplitude) in enumerate(octaves.items()):
        total += np.float32(amplitude) * gradient_noise(points, cell_mm, seed + index)
    return total


def cell_gaps(points: Points, axis: Points, cell_mm: float, stretch: float, seed: int) -> Field:
    """Return how much further (N,) the second nearest of random seeds is than the nearest, mm: 0 on the borders of their cells.

    The seeds are one per cube of `cell_mm` (Worley, "A Cellular Texture Basis Function", SIGGRAPH 1996). Distances along the
    unit vectors `axis` (N,3) count 1 / `stretch`, across `stretch` ** 0.5, so that cells are longer along the axis.
    """
    field = np.empty(len(points), np.float32)
    _cell_gaps(points, axis, cell_mm, stretch, np.uint64(seed), field)
    return field


def flow_noise(points: Points, axis: Points, width_mm: float, length_mm: float, seed: int) -> Field:
    """Return streaks (N,) of zero mean and about unit variance along the unit vectors `axis` (N,3).

    Sum of randomly placed Gaussian strokes with the standard deviations `width_mm` and `length_mm` (sparse convolution: Lewis,
    "Algorithms for Solid Noise Synthesis", SIGGRAPH 1989).
    """
    field = np.empty(len(points), np.float32)
    _flow_noise(points, axis, width_mm, length_mm, np.uint64(seed), field)
    return field


@njit(cache=True, nogil=True)
def _hash(i, j, k, seed):  # type: ignore[no-untyped-def]
    """Return 64 well mixed bits of a lattice point (splitmix64)."""
    bits = np.uint64(i) * _MULTIPLIER_1 + np.uint64(j) * _MULTIPLIER_2 + np.uint64(k) * _MULTIPLIER_3 + seed
    bits = (bits ^ (bits >> np.uint64(30))) * _MULTIPLIER_2
    bits = (bits ^ (bits >> np.uint64(27))) * _MULTIPLIER_3
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True, nogil=True)
def _slope_at(bits, x, y, z):  # type: ignore[no-untyped-def]
    """Return the scalar product of (x, y, z) with one of the 12 directions to the middles of a cube's edges."""
    kind = bits & np.uint64(15)
    a = x if kind < 8 else y
    b = y if kind < 4 else (x if kind == 12 or kind == 14 else z)
    return (a if kind & np.uint64(1) == 0 else -a) + (b if kind & np.uint64(2) == 0 else -b)


@njit(cache=True, nogil=True)
def _gradient_noise(points, scale, seed, field):  # type: ignore[no-untyped-def]
    for index in range(len(points)):
        x, y, z = points[index, 0] * scale, points[index, 1] * scale, points[index, 2] * scale
        i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        x, y, z = x - i, y - j, z - k
        a = x * x * x * (x * (x * 6.0 - 15.0) + 10.0)
        b = y * y * y * (y * (y * 6.0 - 15.0) + 10.0)
        c = z * z * z * (z * (z * 6.0 - 15.0) + 10.0)
        total = 0.0
        for corner in range(8):
            di, dj, dk = corner & 1, (corner >> 1) & 1, corner >> 2
            weight = (a if di else 1.0 - a) * (b if dj else 1.0 - b) * (c if dk else 1.0 - c)
            total += weight * _slope_at(_hash(i + di, j + dj, k + dk, seed), x - di, y - dj, z - dk)
        field[index] = total / _GRADIENT_NOISE_SPREAD


@njit(cache=True, nogil=True)
def _cell_gaps(points, axis, cell, stretch, seed, field):  # type: ignore[no-untyped-def]
    along_scale, across_scale = 1.0 / stretch, np.sqrt(stretch)
    extra = along_scale * along_scale - across_scale * across_scale
    for index in range(len(points)):
        x, y, z = points[index, 0] / cell, points[index, 1] / cell, points[index, 2] / cell
        i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        nearest, second = 1e9, 1e9
        for dk in range(-1, 2):
            for dj in range(-1, 2):
                for di in range(-1, 2):
                    bits = _hash(i + di, j + dj, k + dk, seed)
                    sx = i + di + (bits & _LOW_BITS) * _TO_UNIT - x
                    sy = j + dj + ((bits >> np.uint64(21)) & _LOW_BITS) * _TO_UNIT - y
                    sz = k + dk + ((bits >> np.uint64(42)) & _LOW_BITS) * _TO_UNIT - z
                    along = sx * axis[index, 0] + sy * axis[index, 1] + sz * axis[index, 2]
                    square = across_scale * across_scale * (sx * sx + sy * sy + sz * sz) + extra * along * along
                    if square < nearest:
                        nearest, second = square, nearest
                    elif square < second:
                        second = square
        field[index] = (np.sqrt(second) - np.sqrt(nearest)) * cell


@njit(cache=True, nogil=True)
def _flow_noise(points, axis, width, length, seed, field):  # type: ignore[no-untyped-def]
    # Cubes so wide that strokes hardly reach beyond the next.
    cell = 2.0 * length
    count = max(int(0.5 * (length / width) ** 2), 1)
    spread = np.sqrt(count * np.pi**1.5 * width * width * length / cell**3)
    per_length, per_width = 1.0 / length**2, 1.0 / width**2
    for index in range(len(points)):
        x, y, z = points[index, 0], points[index, 1], points[index, 2]
        i, j, k = int(np.floor(x / cell)), int(np.floor(y / cell)), int(np.floor(z / cell))
        total = 0.0
        for dk in range(-1, 2):
            for dj in range(-1, 2):
                for di in range(-1, 2):
                    bits = _hash(i + di, j + dj, k + dk, seed)
                    for _ in range(count):
                        bits = _hash(bits, 0, 0, seed)
                        sx = (i + di + (bits & _LOW_BITS) * _TO_UNIT) * cell - x
                        sy = (j + dj + ((bits >> np.uint64(21)) & _LOW_BITS) * _TO_UNIT) * cell - y
                        sz = (k + dk + ((bits >> np.uint64(42)) & _LOW_BITS) * _TO_UNIT) * cell - z
                        along = sx * axis[index, 0] + sy * axis[index, 1] + sz * axis[index, 2]
                        across = sx * sx + sy * sy + sz * sz - along * along
                        exponent = 0.5 * (along * along * per_length + across * per_width)
                        if exponent < 4.5:
                            weight = np.exp(-exponent)
                            total += weight if bits >> np.uint64(63) else -weight
        field[index] = total / spread
