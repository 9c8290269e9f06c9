"""The refinement stage: keypoints of triangulated points moved onto one place of the surface.

Every observation of a track is aligned with the most typical one through the affine map that the local plane of the sparse
points induces. The idea is that of Dusmanu et al., Multi-View Optimization of Local Feature Geometry, ECCV 2020, and Lindenberger
et al., Pixel-Perfect Structure-from-Motion, ICCV 2021; the comparison is of grey values, by inverse-compositional alignment.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import load_grey
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints, write_keypoints
from porepatch_lib.progress import progress
from porepatch_lib.refinement.frames import observed_frames, surface_normals
from porepatch_lib.refinement.tracks import align_tracks
from porepatch_lib.sfm.model import SparseModel, read_sfm_folder, require_known_keypoints
from porepatch_lib.threads import map_threads

_LOG = logging.getLogger(__name__)

_TRACKS_PER_CALL = 128


@dataclass(frozen=True)
class RefinementSettings:
    """Settings of the refinement.

    `window_sigmas`: sigma of the Gaussian window in sigmas of the keypoint. `detail_px`: the grey values are compared without
    what a Gaussian blur of this sigma leaves of them, because broad shading moves with the view; 0 compares them as they are.
    `max_shift_px`: an observation that would move further against its track's template keeps its place. `min_ncc`: so does one
    whose normalised cross-correlation stays below this. `neighbours`: sparse points to which the surface around a point is
    fitted.
    """

    window_sigmas: float = 3.0
    detail_px: float = 2.0
    max_shift_px: float = 1.5
    min_ncc: float = 0.6
    neighbours: int = 24

    def __post_init__(self) -> None:
        if not (self.window_sigmas > 0 and self.detail_px >= 0 and self.max_shift_px > 0):
            raise PorePatchError("The refinement settings need window_sigmas > 0, detail_px >= 0 and max_shift_px > 0.")
        if not (-1.0 <= self.min_ncc < 1.0 and self.neighbours >= 3):
            raise PorePatchError("The refinement settings need -1 <= min_ncc < 1 and neighbours >= 3.")


def refine_keypoints(
    images: str | Path,
    keypoints: str | Path,
    sfm_folder: str | Path,
    output: str | Path,
    settings: RefinementSettings,
    threads: int,
) -> None:
    """Write the keypoints of a reconstructed subject once more as the `keypoints` table, those of its tracks moved.

    Rows, identifiers and all columns but x and y are those of `keypoints`. Where the reconstruction failed, x and y are too.
    The result does not depend on `threads`.

    Raises:
        PorePatchError: if the model cannot be read, or is of other views or keypoints than these, or an image is missing.
    """
    views, found = read_views_and_keypoints(images, keypoints)
    status, model = read_sfm_folder(sfm_folder, views)
    if model is None:
        _LOG.warning("The keypoints stay where they are: %s.", status["reason"])
        write_keypoints(output, found)
        return
    require_known_keypoints(model, found, sfm_folder)
    if len(model.image_id) == 0:
        _LOG.warning("The keypoints stay where they are: the model in %s has no points.", sfm_folder)
        write_keypoints(output, found)
        return
    greys = {image_id: load_grey(views[image_id]) for image_id in sorted(model.cameras)}
    shifts = refined_shifts(model, found, greys, settings, threads)
    moved = np.linalg.norm(shifts, axis=1)
    _LOG.info("%d of %d observations moved, by %.2f px in the median.", (moved > 0).sum(), len(moved), np.median(moved))
    write_keypoints(output, {image_id: _moved(rows, image_id, model, shifts) for image_id, rows in found.items()})


def refined_shifts(
    model: SparseModel,
    keypoints: Mapping[int, Keypoints],
    greys: Mapping[int, NDArray[np.uint8]],
    settings: RefinementSettings,
    threads: int,
) -> FloatArray:
    """Return by how many pixels (M,2) the keypoint of every observation of a model moves; 0 where it keeps its place.

    `greys`: (H,W) uint8 of the model's views, by image_id.
    """
    ids = np.array(sorted(greys))
    pixels = np.concatenate([_detail(greys[int(image_id)], settings.detail_px).ravel() for image_id in ids])
    sizes = np.array([greys[int(image_id)].shape for image_id in ids], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes.prod(axis=1))[:-1]])
    xy, sigma_px = _observed_keypoints(model, keypoints)
    frames = observed_frames(model, surface_normals(model, settings.neighbours))
    size = sigma_px / np.sqrt(np.abs(np.linalg.det(frames)))
    sigma = pd.Series(size).groupby(model.observed_point).median().reindex(range(len(model.xyz))).to_numpy()
    first = np.searchsorted(model.observed_point, np.arange(len(model.xyz) + 1))
    index = np.searchsorted(ids, model.image_id)
    shifts = np.zeros((len(model.image_id), 2))

    def align(start: int) -> None:
        own = slice(start, start + _TRACKS_PER_CALL)
        of_tracks = first[start : start + _TRACKS_PER_CALL + 1]
        align_tracks(
            pixels,
            starts,
            sizes,
            index,
            xy,
            frames,
            sigma[own],
            of_tracks,
            settings.window_sigmas,
            settings.max_shift_px,
            settings.min_ncc,
            shifts,
        )

    calls = range(0, len(model.xyz), _TRACKS_PER_CALL)
    for start in progress(range(0, len(calls), 8 * threads), "refining", "batch"):
        map_threads(align, calls[start : start + 8 * threads], threads)
    return shifts


def _detail(grey: NDArray[np.uint8], sigma_px: float) -> NDArray[np.float32]:
    image = grey.astype(np.float32)
    if sigma_px == 0:
        return image
    return image - np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)


def _observed_keypoints(model: SparseModel, keypoints: Mapping[int, Keypoints]) -> tuple[FloatArray, FloatArray]:
    """Return positions (M,2) and sigmas (M,) in pixels of the keypoints of all observations."""
    xy, sigma = np.zeros((len(model.image_id), 2)), np.zeros(len(model.image_id))
    for image_id in np.unique(model.image_id).tolist():
        rows = np.flatnonzero(model.image_id == image_id)
        found = keypoints[image_id].select(model.keypoint_id[rows])
        xy[rows], sigma[rows] = found.xy, found.sigma
    return xy, sigma


def _moved(keypoints: Keypoints, image_id: int, model: SparseModel, shifts: FloatArray) -> Keypoints:
    rows = np.flatnonzero(model.image_id == image_id)
    xy = keypoints.xy.astype(np.float64)
    xy[model.keypoint_id[rows]] += shifts[rows]
    return replace(keypoints, x=xy[:, 0].astype(np.float32), y=xy[:, 1].astype(np.float32))
