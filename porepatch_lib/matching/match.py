"""The matching stage: putative matches of all view pairs of a subject."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array
from porepatch_lib.keypoints.keypoints import read_keypoints
from porepatch_lib.matching.nearest import Matches, mutual_nearest
from porepatch_lib.progress import progress
from porepatch_lib.tables import MATCHES, VIEW_PAIRS, empty_frame, read_table, write_table

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
) -> None:
    """Match the listed view pairs of a subject and write the `matches` table `output`, sorted by pair.

    Row i of `descriptors` (.npy) describes row i of the `keypoints` table.

    Raises:
        PorePatchError: if the descriptors are not as many as the keypoints or not finite, or a pair names an unknown view.
    """
    by_image = descriptors_by_image(keypoints, descriptors)
    listed = list(read_table(pairs, VIEW_PAIRS).sort_values(["image_id_1", "image_id_2"]).itertuples(index=False, name=None))
    _require_known({view.image_id for view in read_views(images)}, listed, pairs)
    frames = []
    for first, second in progress(listed, "matching", "pair"):
        if first not in by_image or second not in by_image:
            continue
        matches = mutual_nearest(by_image[first], by_image[second], settings.ratio, threads)
        if len(matches) >= settings.min_matches:
            frames.append(_frame(first, second, matches))
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


def _require_known(known: set[int], pairs: Iterable[tuple[int, int]], path: str | Path) -> None:
    unknown = {image_id for pair in pairs for image_id in pair} - known
    if unknown:
        raise PorePatchError(
            f"The view pairs {path} name images {sorted(unknown)} that were not captured; delete them and run again."
        )


def _frame(first: int, second: int, matches: Matches) -> pd.DataFrame:
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
