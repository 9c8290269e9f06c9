"""Patch match stereo of one view: a plane at every pixel, from coarse images to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.dense.initial import initial_planes
from porepatch_lib.dense.kernels import polish, sweep
from porepatch_lib.dense.scene import DenseView, calibration, scaled_camera, scaled_size
from porepatch_lib.dense.settings import DenseSettings
from porepatch_lib.geometry import FloatArray, project

Planes = NDArray[np.float32]
Costs = NDArray[np.float32]

_GREY_SPREAD = 51.0  # a fifth of the range, as COLMAP's
_COARSE_STEP_PX, _FINE_STEP_PX = 2.0, 0.5  # random steps of the first sweep, as displacement in a source view
_DEPTH_MARGIN = 0.15
_DEPTH_PERCENTILES = (1.0, 99.0)
_LEAST_SIDE_PX = 32
_RANDOM_STEPS = {True: 6, False: 3}


@dataclass(frozen=True)
class Level:
    """One size of the pyramid: grey images (H,W) of the reference and its sources, and the transforms between (S,12)."""

    reference: NDArray[np.float32]
    images: NDArray[np.float32]
    sizes: NDArray[np.int32]
    transforms: NDArray[np.float32]
    mask: NDArray[np.bool_]
    focal_px: float


def match_view(
    view: DenseView, sources: Sequence[DenseView], xyz: FloatArray, settings: DenseSettings, seed: int
) -> tuple[Planes, Costs]:
    """Find the plane at every masked pixel of a view.

    Returns planes (H,W,3) float32, inverse depth and its derivatives in x and y per pixel, and costs (H,W) float32, the mean
    over the sources of 1 - NCC, at most 1; infinite outside the mask.

    Args:
        xyz: (N,3) sparse points that the view sees, N >= 1.
        seed: the same seed gives the same planes, on any number of threads.
    """
    factors = _factors(view, settings.levels)
    inverse_depth = 1.0 / view.pose.to_camera(xyz)[:, 2]
    low, high = np.percentile(inverse_depth, _DEPTH_PERCENTILES)
    limits = np.array([low * (1.0 - _DEPTH_MARGIN), high * (1.0 + _DEPTH_MARGIN)], np.float32)
    step_per_px = 1.0 / displacement(view, sources, np.median(xyz, axis=0))
    planes, costs = np.empty((0, 0, 3), np.float32), np.empty((0, 0), np.float32)
    for number, factor in enumerate(factors):
        coarse = number == 0
        level = _level(view, sources, factor)
        planes = _first(view, xyz, level.mask.shape) if coarse else _enlarged(planes, level.mask.shape)
        costs = np.full(level.mask.shape, np.inf, np.float32)
        step_px = (_COARSE_STEP_PX if coarse else _FINE_STEP_PX) * step_per_px / factor
        iterations = settings.coarse_iterations if coarse else settings.fine_iterations
        _improve(level, planes, costs, limits, step_px, iterations, coarse, settings, seed * 1009 + number * 101)
        if number == len(factors) - 1:
            _polish(level, planes, costs, 0.25 * step_per_px / factor, settings)
    return planes, costs / np.float32(len(sources))


def displacement(view: DenseView, sources: Sequence[DenseView], point: FloatArray) -> float:
    """Return by how many pixels a point's (3,) image moves in a source view per relative change of its depth, the median."""
    centre = view.pose.centre
    moved = np.stack([point, centre + 1.001 * (point - centre)])
    shifts = [np.diff(project(source.camera, source.pose, moved)[0], axis=0) for source in sources]
    lengths = np.array([np.linalg.norm(shift) for shift in shifts]) / 0.001
    return float(max(np.nanmedian(lengths), 1.0))


def transform(view: DenseView, view_matrix: FloatArray, source: DenseView, source_matrix: FloatArray) -> NDArray[np.float32]:
    """Return A (3,3) and t (3,) in one row (12,): pixel p with inverse depth w lies at A (p, 1) + w t in the source."""
    rotation = source.pose.rotation @ view.pose.rotation.T
    translation = source.pose.translation - rotation @ view.pose.translation
    linear = source_matrix @ rotation @ np.linalg.inv(view_matrix)
    return np.concatenate([linear.ravel(), source_matrix @ translation]).astype(np.float32)


def _factors(view: DenseView, levels: int) -> list[float]:
    """Sizes of the pyramid, the smallest first."""
    side = min(view.mask.shape)
    return [0.5**k for k in reversed(range(levels)) if k == 0 or side * 0.5**k >= _LEAST_SIDE_PX]


def _level(view: DenseView, sources: Sequence[DenseView], factor: float) -> Level:
    reference, matrix, mask = _scaled(view, factor)
    scaled = [_scaled(source, factor)[:2] for source in sources]
    shape = np.max([image.shape for image, _ in scaled], axis=0)
    images = np.zeros((len(sources), *shape), np.float32)
    for plane, (image, _) in zip(images, scaled, strict=True):
        plane[: image.shape[0], : image.shape[1]] = image
    sizes = np.array([image.shape[::-1] for image, _ in scaled], np.int32)
    transforms = [transform(view, matrix, source, own) for source, (_, own) in zip(sources, scaled, strict=True)]
    return Level(reference, images, sizes, np.array(transforms), mask, float(np.mean(np.diag(matrix)[:2])))


def _scaled(view: DenseView, factor: float) -> tuple[NDArray[np.float32], FloatArray, NDArray[np.bool_]]:
    if factor == 1.0:
        return view.grey, view.matrix, view.mask
    size = scaled_size(view.camera, factor)
    grey = cv2.resize(view.grey, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(view.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return np.asarray(grey, np.float32), calibration(scaled_camera(view.camera, size)), mask


def _first(view: DenseView, xyz: FloatArray, shape: tuple[int, ...]) -> Planes:
    camera = scaled_camera(view.camera, (shape[1], shape[0]))
    pixels, depth = project(camera, view.pose, xyz)
    return initial_planes(pixels, depth, (shape[0], shape[1]))


def _enlarged(planes: Planes, shape: tuple[int, ...]) -> Planes:
    """Continue planes to the pixel centres of an image of another size."""
    scale_y, scale_x = planes.shape[0] / shape[0], planes.shape[1] / shape[1]
    y, x = (np.arange(shape[0]) + 0.5) * scale_y - 0.5, (np.arange(shape[1]) + 0.5) * scale_x - 0.5
    row, column = np.rint(y).astype(int).clip(0, len(planes) - 1), np.rint(x).astype(int).clip(0, planes.shape[1] - 1)
    near = planes[row[:, None], column]
    inverse = near[..., 0] + near[..., 1] * (x - column) + near[..., 2] * (y - row)[:, None]
    return np.stack([inverse, near[..., 1] * scale_x, near[..., 2] * scale_y], axis=-1).astype(np.float32)


def _improve(
    level: Level,
    planes: Planes,
    costs: Costs,
    limits: NDArray[np.float32],
    step: float,
    iterations: int,
    explore: bool,
    settings: DenseSettings,
    seed: int,
) -> None:
    window = _window(settings)
    colours = _checkerboard(level.mask)
    for iteration in range(iterations + 1):
        # Before the first sweep the costs of both colours are found; no neighbour has one yet, so nothing spreads.
        sizes = step * 0.5 ** np.arange(_RANDOM_STEPS[explore]) * 0.5 ** max(iteration - 1, 0)
        steps = (sizes if iteration else sizes[:0]).astype(np.float32)
        for colour, pixels in enumerate(colours):
            sweep(
                level.reference, level.images, level.sizes, level.transforms, pixels, planes, costs, limits, steps,
                np.float32(level.focal_px), *window, seed + 2 * iteration + colour, explore and iteration > 0, iteration == 0,
            )  # fmt: skip


def _polish(level: Level, planes: Planes, costs: Costs, step: float, settings: DenseSettings) -> None:
    for pixels in _checkerboard(level.mask):
        polish(
            level.reference, level.images, level.sizes, level.transforms, pixels, planes, costs, np.float32(step),
            *_window(settings),
        )  # fmt: skip


def _window(settings: DenseSettings) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Offsets (K,2) of a window's samples, their spatial weights (K,), and weights of grey differences (256,)."""
    radius = settings.window_radius_px
    along = np.arange(-radius, radius + 1, settings.window_step_px)
    x, y = np.meshgrid(along, along)
    offsets = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    spatial = np.exp(-(offsets**2).sum(axis=1) / (2.0 * radius**2))
    grey = np.exp(-(np.arange(256) ** 2) / (2.0 * _GREY_SPREAD**2))
    return offsets, spatial.astype(np.float32), grey.astype(np.float32)


def _checkerboard(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    y, x = np.nonzero(mask)
    pixels = np.stack([x, y], axis=1).astype(np.int32)
    return [pixels[(x + y) % 2 == colour] for colour in (0, 1)]
