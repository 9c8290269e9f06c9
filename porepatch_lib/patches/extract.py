"""The patches of one subject: every observation of its triangulated points, cut out of the photographs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, load_grey, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path
from porepatch_lib.patches.sampler import PATCH_SIZE, sample_patches
from porepatch_lib.patches.store import create_patches
from porepatch_lib.tables import KEYPOINTS, PATCHES, TRACKS, read_table, write_table
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatchSettings:
    """How patches are cut.

    crop_factor: side of the square over sigma.
    max_track_patches: most patches kept of one point, spread evenly over its images; 0 keeps all.
    allow_border: keep squares that leave the image (edge pixels repeated) instead of dropping them.
    """

    crop_factor: float = 24.0
    max_track_patches: int = 16
    allow_border: bool = False

    def __post_init__(self) -> None:
        if not self.crop_factor > 0:
            raise PorePatchError(f"The setting crop_factor is {self.crop_factor}; give a positive number, for instance 24.")
        if self.max_track_patches < 0 or self.max_track_patches == 1:
            raise PorePatchError(f"The setting max_track_patches is {self.max_track_patches}; give 0 (all) or 2 and more.")


def extract_subject_patches(
    subject: str,
    images: Path,
    keypoints: Path,
    tracks: Path,
    patches_output: Path,
    index_output: Path,
    settings: PatchSettings,
    threads: int,
) -> None:
    """Cut the patches of one subject.

    Reads the tables `images`, `keypoints` and `tracks`; writes uint8 patches (N,64,64) and the row-aligned
    `patches` table, sorted by point_id then image_id. Points left with fewer than two patches are dropped; a
    subject without tracks gives N = 0. At most `threads` photographs are in memory at once.

    Raises:
        PorePatchError: if a track names an image or a keypoint that does not exist, or a photograph is unreadable.
    """
    views = {view.image_id: view for view in read_views(images)}
    observations = _observations(read_table(tracks, TRACKS), read_table(keypoints, KEYPOINTS), keypoints, tracks)
    unknown = set(observations["image_id"]) - set(views)
    if unknown:
        raise PorePatchError(
            f"The tracks {tracks} name images {sorted(unknown)} that {images} lacks; delete the tracks, run again."
        )
    index = select_observations(observations, views, settings)
    index = index.assign(subject=subject, crop_factor=np.float32(settings.crop_factor))[PATCHES.schema.names]
    with atomic_path(patches_output) as temporary:
        _fill(create_patches(temporary, len(index)), index, views, settings, threads)
        write_table(index_output, index, PATCHES)
    logger.info(
        "%s: %d patches of %d points out of %d observations",
        subject,
        len(index),
        index["point_id"].nunique(),
        len(observations),
    )


def select_observations(observations: pd.DataFrame, views: dict[int, View], settings: PatchSettings) -> pd.DataFrame:
    """Choose the observations that become patches, sorted by point_id then image_id.

    `observations` has columns point_id, image_id, reprojection_error_px, x, y, sigma. Of several observations of a
    point in one image the one with the smallest reprojection error stays.
    """
    kept = observations
    if not settings.allow_border:
        kept = kept[_inside(kept, views, settings.crop_factor)]
    kept = kept.sort_values(["point_id", "image_id", "reprojection_error_px"], kind="stable")
    kept = kept.drop_duplicates(["point_id", "image_id"])
    count = kept.groupby("point_id")["image_id"].transform("size").to_numpy(np.int64)
    if settings.max_track_patches:
        rank = np.asarray(kept.groupby("point_id").cumcount(), np.int64)
        kept = kept[_evenly_chosen(rank, count, settings.max_track_patches) & (count >= 2)]
    else:
        kept = kept[count >= 2]
    return kept.reset_index(drop=True)


def _observations(tracks: pd.DataFrame, keypoints: pd.DataFrame, keypoints_path: Path, tracks_path: Path) -> pd.DataFrame:
    """Join every track observation with its keypoint."""
    located = keypoints[["image_id", "keypoint_id", "x", "y", "sigma", "octave", "level"]]
    wanted = tracks[["point_id", "image_id", "keypoint_id", "reprojection_error_px"]]
    joined = wanted.merge(located, on=["image_id", "keypoint_id"], how="inner", validate="many_to_one")
    if len(joined) != len(tracks):
        raise PorePatchError(
            f"The tracks {tracks_path} name keypoints that {keypoints_path} lacks; delete the tracks, run again."
        )
    return joined


def _inside(observations: pd.DataFrame, views: dict[int, View], crop_factor: float) -> NDArray[np.bool_]:
    """Whether the patch's square lies within the image, whose area is [-0.5, size - 0.5]."""
    widths = observations["image_id"].map({key: view.camera.width for key, view in views.items()}).to_numpy(np.float64)
    heights = observations["image_id"].map({key: view.camera.height for key, view in views.items()}).to_numpy(np.float64)
    x, y = observations["x"].to_numpy(np.float64) + 0.5, observations["y"].to_numpy(np.float64) + 0.5
    half = observations["sigma"].to_numpy(np.float64) * (crop_factor / 2)
    return (x >= half) & (y >= half) & (x + half <= widths) & (y + half <= heights)


def _evenly_chosen(rank: NDArray[np.int64], count: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Whether item `rank` of `count` is among `most` items spread evenly over 0..count-1."""
    return (count <= most) | ((rank + 1) * most // np.maximum(count, 1) > rank * most // np.maximum(count, 1))


def _fill(patches: NDArray[np.uint8], index: pd.DataFrame, views: dict[int, View], settings: PatchSettings, threads: int) -> None:
    """Sample patches[i] at row i of `index`, image by image."""
    rows_of = {int(str(image_id)): rows for image_id, rows in index.groupby("image_id", sort=True).indices.items()}
    x, y, sigma = (index[name].to_numpy(np.float32) for name in ("x", "y", "sigma"))

    def fill_image(image_id: int) -> None:
        rows = rows_of[image_id]
        grey = load_grey(views[image_id])
        patches[rows] = sample_patches(grey, x[rows], y[rows], sigma[rows], settings.crop_factor, PATCH_SIZE)

    map_threads(fill_image, rows_of, threads)
