"""The matching stage: putative matches of all view pairs of a subject."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array, read_json
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints
from porepatch_lib.matching.nearest import Matches, mutual_nearest
from porepatch_lib.matching.pairs import read_view_pairs
from porepatch_lib.progress import progress
from porepatch_lib.tables import MATCHES, empty_frame, read_table, write_table

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MatchSettings:
    """Settings of the matching stage.

    `ratio`: largest distance ratio kept, None for no ratio test. `min_matches`: a pair with fewer contributes none.
    """

    ratio: float | None = 0.8
    min_matches: int = 15

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0.0 < self.ratio <= 1.0:
            raise PorePatchError(
                f"matching.ratio is {self.ratio}; choose a number above 0 and at most 1, or null for no ratio test."
            )
        if self.min_matches < 1:
            raise PorePatchError(f"matching.min_matches is {self.min_matches}; choose at least 1.")


def match_subject(
    images: str | Path,
    keypoints: str | Path,
    descriptors: str | Path,
    pairs: str | Path,
    output: str | Path,
    settings: MatchSettings,
    threads: int,
    calibration: str | Path | None = None,
) -> None:
    """Match the listed view pairs of a subject and write the `matches` table `output`, sorted by pair.

    Row i of `descriptors` (.npy) describes row i of the `keypoints` table. The "ratio" of the JSON file `calibration` replaces
    that of the settings.

    Raises:
        PorePatchError: if the descriptors are not as many as the keypoints or not finite, a pair names an unknown view, or the
            calibration has no ratio.
    """
    by_image = descriptors_by_image(keypoints, descriptors)
    listed = read_view_pairs(pairs, {view.image_id for view in read_views(images)})
    ratio = settings.ratio if calibration is None else calibrated_ratio(calibration)
    frames = []
    for first, second in progress(listed, "matching", "pair"):
        if first not in by_image or second not in by_image:
            continue
        matches = mutual_nearest(by_image[first], by_image[second], ratio, threads)
        if len(matches) >= settings.min_matches:
            frames.append(matches_frame(first, second, matches))
    _log.info("%d of %d view pairs have at least %d matches.", len(frames), len(listed), settings.min_matches)
    write_table(output, pd.concat(frames, ignore_index=True) if frames else empty_frame(MATCHES), MATCHES)


def descriptors_by_image(keypoints: str | Path, descriptors: str | Path) -> dict[int, NDArray[Any]]:
    """Return the rows of a descriptor file (memory-mapped) of every image that has keypoints.

    Raises:
        PorePatchError: if there are not as many rows as keypoints.
    """
    rows = read_array(descriptors)
    counts = {image_id: len(found) for image_id, found in read_keypoints(keypoints).items()}
    if rows.ndim != 2 or len(rows) != sum(counts.values()):
        raise PorePatchError(
            f"The descriptors {descriptors} have shape {rows.shape} for {sum(counts.values())} keypoints; "
            "delete them and describe the subject again."
        )
    ends = np.cumsum(list(counts.values()))
    return {image_id: rows[end - counts[image_id] : end] for image_id, end in zip(counts, ends, strict=True)}


def calibrated_ratio(calibration: str | Path) -> float:
    """Return the ratio of a JSON file of `porepatch_lib.matching.calibration.calibrate_ratio`.

    Raises:
        PorePatchError: if the file has none.
    """
    found = read_json(calibration)
    ratio = found.get("ratio") if isinstance(found, dict) else None
    if not isinstance(ratio, (int, float)) or not 0.0 < ratio <= 1.0:
        raise PorePatchError(f"The calibration {calibration} has no ratio above 0 and at most 1; delete it and run again.")
    return float(ratio)


def matches_by_pair(matches: str | Path, keypoints: Mapping[int, Keypoints]) -> dict[tuple[int, int], pd.DataFrame]:
    """Return the rows of the `matches` table of every pair of views that has some, in ascending order of the pairs.

    Raises:
        PorePatchError: if they name keypoints (by image_id) that do not exist, or a pair's larger image_id first.
    """
    groups = {}
    for key, rows in read_table(matches, MATCHES).groupby(["image_id_1", "image_id_2"], sort=True):
        first, second = (int(str(image_id)) for image_id in key)
        indices = rows[["keypoint_id_1", "keypoint_id_2"]].to_numpy(np.int64)
        counts = [len(keypoints.get(image_id, ())) for image_id in (first, second)]
        if not first < second or (indices < 0).any() or (indices >= counts).any():
            raise PorePatchError(f"The matches {matches} name keypoints that do not exist; delete them and match again.")
        groups[first, second] = rows
    return groups


def matches_frame(first: int, second: int, matches: Matches) -> pd.DataFrame:
    """Return the rows of the `matches` table of one pair of views."""
    return pd.DataFrame(
        {
            "image_id_1": np.full(len(matches), first, np.int32),
            "image_id_2": np.full(len(matches), second, np.int32),
            "keypoint_id_1": matches.index_1.astype(np.int32),
            "keypoint_id_2": matches.index_2.astype(np.int32),
            "distance": matches.distance,
            "ratio": matches.ratio,
        }
    )
