"""The ground-truth audit: how many labels of a dataset built by matching and reconstruction are wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.rendering.truth import read_depth, surface_points
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, read_table

FloatArray = NDArray[np.float64]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelError:
    """Pairs whose true distance on the surface is known, and the shares of them that are labelled wrong (NaN of none).

    A matching pair is wrong when its places are more than the tolerance apart, a non-matching pair when they are not.
    """

    matches: int
    non_matches: int
    wrong_matches: float
    wrong_non_matches: float
    median_match_distance_mm: float


def label_error(surface_1: FloatArray, surface_2: FloatArray, is_match: NDArray[np.bool_], tolerance_mm: float) -> LabelError:
    """Compare labels (N,) of pairs with their true surface points (N,3), (N,3) in mm; NaN points are left out."""
    distance_mm = np.linalg.norm(surface_1 - surface_2, axis=1)
    known = ~np.isnan(distance_mm)
    matches, others = distance_mm[known & is_match], distance_mm[known & ~is_match]
    return LabelError(
        matches=len(matches),
        non_matches=len(others),
        wrong_matches=float(np.mean(matches > tolerance_mm)) if len(matches) else float("nan"),
        wrong_non_matches=float(np.mean(others <= tolerance_mm)) if len(others) else float("nan"),
        median_match_distance_mm=float(np.median(matches)) if len(matches) else float("nan"),
    )


def audit_dataset(
    index: Path,
    pairs: Path,
    images: Mapping[str, Path],
    truth_folders: Mapping[str, Path],
    output: Path,
    tolerance_mm: float = 0.5,
) -> None:
    """Audit the labelled pairs of a dataset against the depth of its rendered subjects and write the shares as JSON.

    Args:
        index, pairs: tables `patches` and `patch pairs`.
        images, truth_folders: images table and `truth` folder of every rendered subject; pairs with other subjects are left out.
        output: JSON with the fields of LabelError, null for NaN.
        tolerance_mm: farther apart than this on the surface are two places.
    """
    frame, labelled = read_table(index, PATCHES), read_table(pairs, PATCH_PAIRS)
    surface = patch_surface(frame, images, truth_folders)
    first, second = labelled["patch_1"].to_numpy(), labelled["patch_2"].to_numpy()
    # Places of two heads are never one place, whatever their coordinates.
    same_head = (frame["subject"].to_numpy()[first] == frame["subject"].to_numpy()[second])[:, None]
    other = np.where(same_head | np.isnan(surface[second]), surface[second], np.inf)
    found = label_error(surface[first], other, labelled["is_match"].to_numpy(bool), tolerance_mm)
    values = {name: None if np.isnan(value) else value for name, value in vars(found).items()}
    write_json(output, values | {"tolerance_mm": tolerance_mm})
    _LOG.info("%.2f %% of %d matching pairs show two places", 100 * found.wrong_matches, found.matches)


def patch_surface(index: pd.DataFrame, images: Mapping[str, Path], truth_folders: Mapping[str, Path]) -> FloatArray:
    """Return the true surface point (N,3) in mm under the centre of every patch, NaN for subjects without truth.

    Raises:
        PorePatchError: if a subject with truth has no images table.
    """
    surface = np.full((len(index), 3), np.nan)
    views: dict[tuple[str, int], View] = {}
    for subject in truth_folders:
        if subject not in images:
            raise PorePatchError(f"The subject '{subject}' has truth but no images table is given.")
        views |= {(subject, view.image_id): view for view in read_views(images[subject])}
    xy = index[["x", "y"]].to_numpy(np.float64)
    subjects, image_ids = index["subject"].to_numpy(), index["image_id"].to_numpy()
    for (subject, image_id), view in views.items():
        rows = np.flatnonzero((subjects == subject) & (image_ids == image_id))
        if len(rows):
            surface[rows] = surface_points(view, read_depth(truth_folders[subject], image_id), xy[rows])
    return surface
