"""Augmentation: every pair is turned and flipped alike, as published; every patch may be jittered alone.

What is drawn and what is done with it are apart, so that processes that share a batch can draw alike and change their part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn import functional

from porepatch_lib.training.settings import TrainingSettings


@dataclass(frozen=True)
class Changes:
    """What happens to the patches of P points; None: nothing of the kind.

    symmetries: int64 (P,), 0..7, the same for both patches of a point: counter-clockwise quarter turns, and 4 for a mirror
    image before. The rest is float32, [0] for anchors and [1] for positives: `warps` (2,P,2,3) as in `warp`; `gains` and
    `offsets` (2,P): grey * gain + offset.
    """

    symmetries: Tensor | None
    warps: Tensor | None
    gains: Tensor | None
    offsets: Tensor | None

    def of_points(self, part: slice) -> Changes:
        """Return the changes of some of the points."""
        return Changes(
            symmetries=None if self.symmetries is None else self.symmetries[part],
            warps=None if self.warps is None else self.warps[:, part],
            gains=None if self.gains is None else self.gains[:, part],
            offsets=None if self.offsets is None else self.offsets[:, part],
        )


def draw_changes(points: int, settings: TrainingSettings, generator: Generator) -> Changes:
    """Draw the changes of a batch of `points` pairs, on the device of `generator`."""
    gains = offsets = None
    if settings.log2_gain:
        gains = torch.exp2(settings.log2_gain * _normal((2, points), generator))
    if settings.offset_grey:
        offsets = settings.offset_grey * _normal((2, points), generator)
    return Changes(_draw_symmetries(points, settings, generator), _draw_warps(points, settings, generator), gains, offsets)


def change(anchors: Tensor, positives: Tensor, changes: Changes) -> tuple[Tensor, Tensor]:
    """Return the changed patches, float32 (P,1,S,S) as given, in 0..255."""
    if changes.symmetries is not None:
        anchors, positives = turn(anchors, changes.symmetries), turn(positives, changes.symmetries)
    if changes.warps is None and changes.gains is None and changes.offsets is None:
        return anchors, positives
    patches = torch.cat([anchors, positives])
    if changes.warps is not None:
        patches = warp(patches, changes.warps.flatten(0, 1))
    if changes.gains is not None:
        patches = patches * changes.gains.flatten()[:, None, None, None]
    if changes.offsets is not None:
        patches = patches + changes.offsets.flatten()[:, None, None, None]
    if changes.gains is not None or changes.offsets is not None:
        patches = patches.clamp(0, 255)
    anchors, positives = patches.chunk(2)
    return anchors, positives


def turn(patches: Tensor, symmetries: Tensor) -> Tensor:
    """Mirror patch i, (P,1,S,S), left to right if symmetries[i] >= 4, then turn it counter-clockwise symmetries[i] % 4 times."""
    sources = _symmetry_table(patches.shape[-1], patches.device)[symmetries]
    return patches.flatten(1).gather(1, sources).view_as(patches)


def warp(patches: Tensor, warps: Tensor) -> Tensor:
    """Resample patch i, (B,1,S,S): the pixel at q from the patch's centre shows what was at A q + t; bilinear, border replicated.

    warps: (B,2,3), [A | t] of patch i, x before y, in pixels.
    """
    side = patches.shape[-1]
    along = (torch.arange(side, device=patches.device) - (side - 1) / 2)[:, None]
    warps = warps * (2 / side)  # grid_sample wants -1..1 across the patch
    across = along * warps[:, None, :, 0]  # (B,S,2), x and y
    down = along * warps[:, None, :, 1] + warps[:, None, :, 2]
    sources = across[:, None] + down[:, :, None]
    return functional.grid_sample(patches, sources, mode="bilinear", padding_mode="border", align_corners=False)


def affine(angles: Tensor, scales: Tensor, shears: Tensor) -> Tensor:
    """Return turn (radians) times scale times shear of x along y, float32 (...,2,2)."""
    cosines, sines = scales * torch.cos(angles), scales * torch.sin(angles)
    upper = torch.stack([cosines, shears * cosines - sines], dim=-1)
    lower = torch.stack([sines, shears * sines + cosines], dim=-1)
    return torch.stack([upper, lower], dim=-2)


def _draw_symmetries(points: int, settings: TrainingSettings, generator: Generator) -> Tensor | None:
    if not (settings.rotate or settings.flip):
        return None
    if not settings.rotate:
        return 4 * _integers(2, points, generator)
    return _integers(8 if settings.flip else 4, points, generator)


def _draw_warps(points: int, settings: TrainingSettings, generator: Generator) -> Tensor | None:
    if not (settings.rotation_deg or settings.log2_scale or settings.shear or settings.shift_px):
        return None
    normal = _normal((5, 2, points), generator)
    matrix = affine(
        math.radians(settings.rotation_deg) * normal[0], torch.exp2(settings.log2_scale * normal[1]), settings.shear * normal[2]
    )
    shift = settings.shift_px * torch.stack([normal[3], normal[4]], dim=-1)
    return torch.cat([matrix, shift[..., None]], dim=-1)


def _integers(below: int, count: int, generator: Generator) -> Tensor:
    return torch.randint(below, (count,), generator=generator, device=generator.device)


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


@lru_cache
def _symmetry_table(side: int, device: torch.device) -> Tensor:
    """Return, int64 (8, side * side), for every symmetry and pixel of the result the number of the pixel it comes from."""
    pixels = torch.arange(side * side).view(side, side)
    tables = [seen.rot90(quarters) for seen in (pixels, pixels.flip(-1)) for quarters in range(4)]
    return torch.stack(tables).flatten(1).to(device)
