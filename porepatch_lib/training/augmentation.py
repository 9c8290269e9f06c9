"""Augmentation of patch pairs: the published quarter turns and flips, and optional small jitter."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from porepatch_lib.training.settings import TrainingSettings


def augment(anchors: Tensor, positives: Tensor, settings: TrainingSettings, generator: Generator) -> tuple[Tensor, Tensor]:
    """Turn and flip every pair alike, jitter every patch alone.

    anchors, positives: float32 (P,1,S,S), grey values 0..255. `generator` lives on the CPU. Returns new tensors.
    """
    pairs = torch.stack([anchors, positives], dim=1)
    if settings.rotate:
        pairs = _turn(pairs, torch.randint(4, (len(pairs),), generator=generator))
    if settings.flip:
        pairs = _flip(pairs, torch.randint(2, (len(pairs),), generator=generator))
    patches = pairs.flatten(0, 1)
    if settings.shift_px or settings.log2_scale:
        patches = _jitter_geometry(patches, settings, generator)
    if settings.log2_gain or settings.offset_grey:
        patches = _jitter_grey(patches, settings, generator)
    pairs = patches.view_as(pairs)
    return pairs[:, 0], pairs[:, 1]


def _turn(pairs: Tensor, quarters: Tensor) -> Tensor:
    """Rotate pair i, (P,2,1,S,S), counter-clockwise by quarters[i] right angles."""
    turned = pairs.clone()
    for quarter in (1, 2, 3):
        chosen = (quarters == quarter).nonzero().flatten().to(pairs.device)
        turned[chosen] = pairs[chosen].rot90(quarter, dims=(-2, -1))
    return turned


def _flip(pairs: Tensor, flips: Tensor) -> Tensor:
    """Mirror pair i, (P,2,1,S,S), left to right where flips[i] is 1."""
    chosen = flips.nonzero().flatten().to(pairs.device)
    flipped = pairs.clone()
    flipped[chosen] = pairs[chosen].flip(-1)
    return flipped


def _jitter_geometry(patches: Tensor, settings: TrainingSettings, generator: Generator) -> Tensor:
    """Resample every patch shifted and scaled at random, bilinear, border replicated."""
    count, side = len(patches), patches.shape[-1]
    shift = torch.randn(count, 2, generator=generator) * settings.shift_px * 2 / side
    scale = torch.exp2(torch.randn(count, generator=generator) * settings.log2_scale)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0] = scale
    affine[:, 1, 1] = scale
    affine[:, :, 2] = shift
    grid = functional.affine_grid(affine.to(patches.device), list(patches.shape), align_corners=False)
    return functional.grid_sample(patches, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _jitter_grey(patches: Tensor, settings: TrainingSettings, generator: Generator) -> Tensor:
    """Multiply by a random gain and add a random offset, clipped to 0..255."""
    shape = (len(patches), 1, 1, 1)
    gain = torch.exp2(torch.randn(shape, generator=generator) * settings.log2_gain)
    offset = torch.randn(shape, generator=generator) * settings.offset_grey
    return (patches * gain.to(patches.device) + offset.to(patches.device)).clamp(0, 255)
