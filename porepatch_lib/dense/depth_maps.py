"""Depth and normal maps of all views: patch match per view, then agreement between views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba.typed import List
from numpy.typing import NDArray

from porepatch_lib.dense.consistency import confirmations
from porepatch_lib.dense.patch_match import match_view, transform
from porepatch_lib.dense.scene import DenseView
from porepatch_lib.dense.settings import DenseSettings
from porepatch_lib.geometry import FloatArray, project
from porepatch_lib.progress import progress
from porepatch_lib.sfm.model import SparseModel

Floats = NDArray[np.float32]

_WORST_MEAN_COST = 0.9  # over the sources; one good view of five gives 0.85 at most
_VIEW_SEEDS = 100_003


@dataclass(frozen=True)
class DepthMap:
    """Z-depth (H,W) in world units, 0 where unknown, and unit normals (H,W,3) in the camera's frame, towards the camera."""

    depth: Floats
    normals: Floats


def find_depth_maps(
    views: Mapping[int, DenseView],
    sources: Mapping[int, Sequence[int]],
    model: SparseModel,
    settings: DenseSettings,
    seed: int,
    threads: int,
) -> dict[int, DepthMap]:
    """Return the confirmed depth maps of views, by image_id; empty maps for views without sources or points.

    Views are independent jobs: the result does not depend on `threads`.
    """

    def match(image_id: int) -> tuple[int, Floats]:
        return image_id, _planes(image_id, views, sources[image_id], model, settings, seed)

    planes: dict[int, Floats] = {}
    with ThreadPoolExecutor(threads) as pool:
        for image_id, found in progress(pool.map(match, views), "patch match", "view", total=len(views)):
            planes[image_id] = found
    return {
        image_id: _confirmed(image_id, views, sources[image_id], planes, settings)
        for image_id in progress(views, "consistency", "view")
    }


def normals_of(planes: Floats, matrix: FloatArray) -> Floats:
    """Return the unit normals (H,W,3) of planes (H,W,3), see `kernels`, in the camera's frame, towards the camera.

    A plane m X = 1 has the inverse depth m K^-1 (x, y, 1) at pixel (x, y), so m follows from it and its derivatives.
    """
    rows, columns = np.indices(planes.shape[:2])
    across, down = planes[..., 1] * matrix[0, 0], planes[..., 2] * matrix[1, 1]
    along = planes[..., 0] - planes[..., 1] * (columns - matrix[0, 2]) - planes[..., 2] * (rows - matrix[1, 2])
    outward = -np.stack([across, down, along], axis=-1)
    length = np.linalg.norm(outward, axis=-1, keepdims=True)
    return (outward / np.where(length > 0.0, length, 1.0)).astype(np.float32)


def _planes(
    image_id: int,
    views: Mapping[int, DenseView],
    sources: Sequence[int],
    model: SparseModel,
    settings: DenseSettings,
    seed: int,
) -> Floats:
    """Planes (H,W,3) of a view, zeros where none was found."""
    view = views[image_id]
    xyz = _seen_points(view, model)
    if not sources or len(xyz) == 0 or not view.mask.any():
        return np.zeros((*view.mask.shape, 3), np.float32)
    planes, costs = match_view(view, [views[source] for source in sources], xyz, settings, seed + _VIEW_SEEDS * image_id)
    return np.where((costs <= _WORST_MEAN_COST)[..., None], planes, np.float32(0.0))


def _seen_points(view: DenseView, model: SparseModel) -> FloatArray:
    """Points (N,3) that the view observes, or where it observes none those that lie in its image."""
    own = model.xyz[model.observed_point[model.image_id == view.image_id]]
    candidates = own if len(own) else model.xyz
    pixels, depth = project(view.camera, view.pose, candidates)
    inside = (depth > 0.0) & (pixels >= 0.0).all(axis=1) & (pixels <= (view.camera.width - 1, view.camera.height - 1)).all(axis=1)
    return candidates[inside]


def _confirmed(
    image_id: int,
    views: Mapping[int, DenseView],
    sources: Sequence[int],
    planes: Mapping[int, Floats],
    settings: DenseSettings,
) -> DepthMap:
    view, own = views[image_id], planes[image_id]
    if not sources:
        return DepthMap(np.zeros(own.shape[:2], np.float32), np.zeros(own.shape, np.float32))
    others = [views[source] for source in sources]
    there = np.array([transform(view, view.matrix, other, other.matrix) for other in others])
    back = np.array([transform(other, other.matrix, view, view.matrix) for other in others])
    inverse = [np.ascontiguousarray(planes[source][..., 0]) for source in sources]
    needed = min(settings.min_consistent, len(sources))
    count = confirmations(np.ascontiguousarray(own[..., 0]), List(inverse), there, back, settings.max_error_px)
    kept = count >= needed
    depth = np.where(kept, 1.0 / np.where(kept, own[..., 0], 1.0), 0.0).astype(np.float32)
    return DepthMap(depth, np.where(kept[..., None], normals_of(own, view.matrix), np.float32(0.0)))
