"""Sampling the skin's maps without aliasing: pyramids of texels, and several taps along the longer axis of a footprint.

A pyramid's levels also hold the mean square of the fine slopes, so that relief too small to be seen still roughens the
highlight (Olano and Baker, "LEAN Mapping", I3D 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering.skin import Layer, Skin
from porepatch_lib.threads import map_threads

CHANNELS = 9  # the eight maps of a layer, and the square of the fine slopes
_MAPS = 8
_MOST_TAPS = 8
_STRIP_ROWS = 64


@dataclass(frozen=True)
class Pyramid:
    """A layer's maps in halving sizes.

    maps (H,W,8) float32, the layer's own; levels (T,9) float32, the texels of all smaller levels after one another; shapes
    (K,3) int64: where each begins in `levels`, its rows and its columns. low_mm (2,), texel_mm as in the layer.
    """

    low_mm: NDArray[np.float64]
    texel_mm: float
    maps: NDArray[np.float32]
    levels: NDArray[np.float32]
    shapes: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The fields in this order, for compiled functions."""
        return self.low_mm, self.texel_mm, self.maps, self.levels, self.shapes


@dataclass(frozen=True)
class Textures:
    """The skin ready for sampling: `fine` inside its box, `coarse` elsewhere."""

    fine: Pyramid
    coarse: Pyramid


def build_textures(skin: Skin, threads: int) -> Textures:
    """Build the pyramids of a skin's layers; adds 3/8 to the memory of the maps."""
    return Textures(build_pyramid(skin.fine, threads), build_pyramid(skin.coarse, threads))


def build_pyramid(layer: Layer, threads: int) -> Pyramid:
    """Halve a layer's maps down to one texel."""
    rows, columns = layer.maps.shape[:2]
    shapes, total = [], 0
    while max(rows, columns) > 1:
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
        shapes.append((total, rows, columns))
        total += rows * columns
    levels = np.empty((total, CHANNELS), np.float32)
    source = layer.maps
    for first, rows, columns in shapes:
        target = levels[first : first + rows * columns].reshape(rows, columns, CHANNELS)
        _halve_on_threads(source, target, threads)
        source = target
    low = np.asarray(layer.low_mm, np.float64)
    return Pyramid(low, float(layer.texel_mm), layer.maps, levels, np.array(shapes, np.int64).reshape(-1, 3))


def _halve_on_threads(source: NDArray[np.float32], target: NDArray[np.float32], threads: int) -> None:
    def halve(first: int) -> None:
        _halve(source, target, first, min(first + _STRIP_ROWS, len(target)))

    map_threads(halve, range(0, len(target), _STRIP_ROWS), threads)


@njit(cache=True, nogil=True)
def _halve(source, target, start, stop):  # type: ignore[no-untyped-def]
    """Average 2x2 texels; black ones lie outside the charts and do not count."""
    for row in range(start, stop):
        for column in range(target.shape[1]):
            target[row, column] = 0.0
            count = 0
            for y in range(2 * row, min(2 * row + 2, source.shape[0])):
                for x in range(2 * column, min(2 * column + 2, source.shape[1])):
                    if source[y, x, 0] + source[y, x, 1] + source[y, x, 2] <= 0.0:
                        continue
                    count += 1
                    for channel in range(source.shape[2]):
                        target[row, column, channel] += source[y, x, channel]
                    if source.shape[2] == _MAPS:
                        target[row, column, _MAPS] += source[y, x, 3] ** 2 + source[y, x, 4] ** 2
            if count > 1:
                for channel in range(CHANNELS):
                    target[row, column, channel] /= count


@njit(cache=True, nogil=True)
def contains(arrays, u, v):  # type: ignore[no-untyped-def]
    """Return whether (u, v) mm lies in the box of a layer, given its `Pyramid.arrays`."""
    low, texel_mm, maps, _, _ = arrays
    x, y = (u - low[0]) / texel_mm, (v - low[1]) / texel_mm
    return 0.0 <= x <= maps.shape[1] - 1 and 0.0 <= y <= maps.shape[0] - 1


@njit(cache=True, nogil=True)
def sample(arrays, u, v, u_x, v_x, u_y, v_y, texel):  # type: ignore[no-untyped-def]
    """Average a layer, given its `Pyramid.arrays`, over a footprint and fill `texel` (9,).

    The footprint is the parallelogram around (u, v) with sides (u_x, v_x) and (u_y, v_y), mm. Its longer axis is covered with
    up to 8 taps, each wide enough for the shorter axis.
    """
    low, texel_mm, maps, levels, shapes = arrays
    scale = 1.0 / texel_mm
    x, y = (u - low[0]) * scale, (v - low[1]) * scale
    # Axes of the ellipse with the same second moments, in texels.
    square_x = (u_x * u_x + u_y * u_y) * scale * scale
    square_y = (v_x * v_x + v_y * v_y) * scale * scale
    mixed = (u_x * v_x + u_y * v_y) * scale * scale
    mean, half = 0.5 * (square_x + square_y), 0.5 * (square_x - square_y)
    spread = np.sqrt(half * half + mixed * mixed)
    major, minor = np.sqrt(mean + spread), np.sqrt(max(mean - spread, 0.0))
    width = max(minor, major / _MOST_TAPS, 1.0)
    taps = min(int(np.ceil(major / width - 1e-9)), _MOST_TAPS)
    level = min(np.log2(width), float(len(shapes)))
    lower = int(level)
    share = level - lower
    step_x, step_y = 0.0, 0.0
    if taps > 1:
        along_x, along_y = (spread + half, mixed) if half > 0.0 else (mixed, spread - half)
        length = np.sqrt(along_x * along_x + along_y * along_y)
        step_x, step_y = along_x / length * major / taps, along_y / length * major / taps
    else:
        taps = 1
    texel[:] = 0.0
    for tap in range(taps):
        offset = tap - 0.5 * (taps - 1)
        tap_x, tap_y = x + offset * step_x, y + offset * step_y
        _add(maps, levels, shapes, lower, tap_x, tap_y, (1.0 - share) / taps, texel)
        if share > 0.0:
            _add(maps, levels, shapes, lower + 1, tap_x, tap_y, share / taps, texel)


@njit(cache=True, nogil=True)
def _add(maps, levels, shapes, level, x, y, weight, texel):  # type: ignore[no-untyped-def]
    """Add `weight` times the bilinear value at (x, y) in texels of the finest level; beyond the borders the border goes on."""
    first, rows, columns = 0, maps.shape[0], maps.shape[1]
    if level > 0:
        first, rows, columns = shapes[level - 1]
        scale = 1.0 / (1 << level)
        x, y = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5
    x, y = min(max(x, 0.0), columns - 1.0), min(max(y, 0.0), rows - 1.0)
    left, upper = int(x), int(y)
    right, lower = min(left + 1, columns - 1), min(upper + 1, rows - 1)
    x, y = x - left, y - upper
    weights = (weight * (1.0 - x) * (1.0 - y), weight * x * (1.0 - y), weight * (1.0 - x) * y, weight * x * y)
    places = ((upper, left), (upper, right), (lower, left), (lower, right))
    for corner in range(4):
        row, column = places[corner]
        if level == 0:
            here = maps[row, column]
            texel[_MAPS] += weights[corner] * (here[3] * here[3] + here[4] * here[4])
            for channel in range(_MAPS):
                texel[channel] += weights[corner] * here[channel]
        else:
            there = levels[first + row * columns + column]
            for channel in range(CHANNELS):
                texel[channel] += weights[corner] * there[channel]
