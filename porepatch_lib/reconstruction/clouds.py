"""Coloured clouds of a reconstruction: sparse points coloured from the photographs, the fused cloud, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, load_colour
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray, project
from porepatch_lib.reconstruction.alignment import Similarity
from porepatch_lib.reconstruction.ply import read_ply, write_ply
from porepatch_lib.sfm.model import SparseModel, viewing_directions

_POSITION = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_COLOUR = ("red", "green", "blue")


@dataclass(frozen=True)
class Cloud:
    """N points: `xyz` (N,3) float64 in world units, `rgb` (N,3) uint8, `normals` (N,3) float64 or None."""

    xyz: FloatArray
    rgb: NDArray[np.uint8]
    normals: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.xyz)

    def moved(self, similarity: Similarity) -> Cloud:
        """Return the cloud in another frame."""
        normals = None if self.normals is None else similarity.turn(self.normals)
        return replace(self, xyz=similarity.apply(self.xyz), normals=normals)


def write_cloud(path: str | Path, cloud: Cloud, error_mm: FloatArray | None) -> None:
    """Write a cloud as binary PLY: x y z [nx ny nz] red green blue [error_mm]; `error_mm` (N,) where the surface is known."""
    columns: dict[str, NDArray[Any]] = dict(zip(_POSITION, cloud.xyz.T.astype(np.float32), strict=True))
    if cloud.normals is not None:
        columns |= dict(zip(_NORMAL, cloud.normals.T.astype(np.float32), strict=True))
    columns |= dict(zip(_COLOUR, cloud.rgb.T, strict=True))
    if error_mm is not None:
        columns["error_mm"] = error_mm.astype(np.float32)
    vertices = np.empty(len(cloud), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        vertices[name] = column
    write_ply(path, vertices)


def read_cloud(path: str | Path) -> tuple[Cloud, FloatArray | None]:
    """Read a cloud that `write_cloud` or COLMAP's fusion wrote, and its `error_mm` (N,), None without.

    Raises:
        PorePatchError: if the file is damaged, lacks positions or colours, or holds positions or normals that are not finite.
    """
    vertices = read_ply(path)
    known = set(vertices.dtype.names or ())
    missing = [name for name in (*_POSITION, *_COLOUR) if name not in known]
    if missing:
        raise PorePatchError(f"The point cloud {path} has no properties {', '.join(missing)}; make it again.")
    xyz = _stacked(vertices, _POSITION)
    normals = _stacked(vertices, _NORMAL) if known.issuperset(_NORMAL) else None
    if not (np.isfinite(xyz).all() and (normals is None or np.isfinite(normals).all())):
        raise PorePatchError(f"The point cloud {path} holds positions or normals that are no numbers; make it again.")
    error_mm = vertices["error_mm"].astype(np.float64) if "error_mm" in known else None
    return Cloud(xyz, _stacked(vertices, _COLOUR).astype(np.uint8), normals), error_mm


def sparse_cloud(model: SparseModel, views: Mapping[int, View]) -> Cloud:
    """Return the points of a model, each in the colour of the photograph that sees it nearest to its mean viewing direction.

    Raises:
        PorePatchError: if a photograph cannot be read.
    """
    rgb = np.zeros((len(model.xyz), 3), np.uint8)
    best = _most_central_views(model)
    for image_id in np.unique(best).tolist():
        chosen = np.flatnonzero(best == image_id)
        pixels, _ = project(model.cameras[image_id], model.poses[image_id], model.xyz[chosen])
        photograph = load_colour(views[image_id])
        limits = (photograph.shape[1] - 1, photograph.shape[0] - 1)
        column, row = np.clip(np.rint(np.nan_to_num(pixels)), 0, limits).astype(int).T
        rgb[chosen] = photograph[row, column, ::-1]
    return Cloud(model.xyz, rgb)


def _stacked(vertices: NDArray[Any], names: Sequence[str]) -> FloatArray:
    return np.stack([vertices[name] for name in names], axis=1).astype(np.float64)


def _most_central_views(model: SparseModel) -> NDArray[np.int32]:
    """Return for every point (P,) the image_id whose ray makes the least angle with the mean of its unit rays."""
    ray = viewing_directions(model)
    mean = np.stack([np.bincount(model.observed_point, ray[:, axis], len(model.xyz)) for axis in range(3)], axis=1)
    cosine = np.einsum("ij,ij->i", ray, mean[model.observed_point])
    order = np.lexsort([model.image_id, -cosine, model.observed_point])
    _, first = np.unique(model.observed_point[order], return_index=True)
    return model.image_id[order[first]]
