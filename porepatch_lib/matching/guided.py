"""Guided matching: once the geometry of a pair of views is known, a keypoint is compared only with those where it may appear.

Among thousands of pores few are each other's nearest over the whole image by a clear margin; among the few dozen along an
epipolar line, or the one or two around the place a first model expects, far more can be told apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints
from porepatch_lib.matching.epipolar import Found, Reach, Side, nearest_candidates
from porepatch_lib.matching.guides import Guide, guide_of_model, guide_of_poses, guide_of_two_view, near_guide
from porepatch_lib.matching.match import (
    calibrated_ratio,
    descriptors_by_image,
    matches_by_pair,
    matches_frame,
)
from porepatch_lib.matching.nearest import Matches, as_float32
from porepatch_lib.matching.pairs import read_view_pairs
from porepatch_lib.matching.places import surface_points
from porepatch_lib.progress import progress
from porepatch_lib.sfm.model import SparseModel, read_sfm_folder
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.sfm.two_view import estimate_two_view
from porepatch_lib.tables import MATCHES, empty_frame, write_table

_log = logging.getLogger(__name__)

_SOURCES = ("epipolar", "poses", "model")


@dataclass(frozen=True)
class GuidedSettings:
    """Settings of guided matching; lengths in pixels of the photographs.

    `by`, `ratio` and `min_matches` are the variant's of the reconstruction, the others those of the config.
    `by`: where the geometry comes from: "epipolar", COLMAP's estimate from the putative matches of the pair; "poses", the
    known poses of the rig; "model", the poses and points of a first reconstruction. Pairs without it take "epipolar".
    `max_error_px`: distance of a candidate from the epipolar line, in both views. `place_px`: with "model", distance from
    the place that the surface around expects, in both views. `reach_px`: sparse points up to so far make the surface around a
    keypoint; with "model", one without any is not matched. `ratio`: largest ratio of the distances to the
    nearest and second-nearest candidate, seen from both views; null for none. A calibrated one was measured on mutual neighbours
    over whole images, not among the candidates here, and is carried over. `distinct_px`: a candidate nearer than this to
    the nearest is the same point found twice, not a second. `max_octaves`: difference of size, less the median of the pair;
    null for any. `min_matches`: a pair with fewer contributes none.
    """

    by: str = "epipolar"
    max_error_px: float = 1.5
    place_px: float = 2.0
    reach_px: float = 60.0
    ratio: float | None = 0.85
    distinct_px: float = 2.0
    max_octaves: float | None = 1.0
    min_matches: int = 15

    def __post_init__(self) -> None:
        if self.by not in _SOURCES:
            raise PorePatchError(f"The variant's matches are guided by '{self.by}'; use one of {', '.join(_SOURCES)}.")
        if not (self.max_error_px > 0 and self.place_px > 0 and self.reach_px > 0 and self.distinct_px >= 0):
            raise PorePatchError("The guided settings need max_error_px, place_px, reach_px > 0 and distinct_px >= 0.")
        if self.ratio is not None and not 0.0 < self.ratio <= 1.0:
            raise PorePatchError(
                f"The variant's ratio is {self.ratio}; choose a number above 0 and at most 1, or null for no ratio test."
            )
        if (self.max_octaves is not None and not self.max_octaves > 0) or self.min_matches < 1:
            raise PorePatchError("The guided settings need max_octaves > 0 (or null) and min_matches >= 1.")


def match_guided(
    images: Path,
    keypoints: Path,
    descriptors: Path,
    pairs: Path,
    matches: Path,
    output: Path,
    settings: GuidedSettings,
    sfm: SfmSettings,
    seed: int,
    threads: int,
    model: Path | None = None,
    calibration: Path | None = None,
) -> None:
    """Match the listed view pairs again along their geometry and write the `matches` table `output`, sorted by pair.

    A match is a pair of keypoints that are each other's nearest among the candidates. Its `ratio` is the larger of those seen
    from the two views. A pair of unknown geometry keeps its putative matches. The result does not depend on `threads`.

    Args:
        images, keypoints, descriptors, pairs: as in `match_subject`.
        matches: the putative matches.
        sfm: thresholds of the verification of the putative matches; `seed` is that of its RANSAC.
        model: sfm folder of a first reconstruction, for `settings.by` "model".
        calibration: JSON of `calibrate_ratio`, whose "ratio", measured on mutual neighbours, replaces that of the settings.

    Raises:
        PorePatchError: if a table names views or keypoints that do not exist, the descriptors are not as many as the keypoints,
            of other widths or not finite, or "model" is asked for without one.
    """
    views, found = read_views_and_keypoints(images, keypoints)
    rows = descriptors_by_image(keypoints, descriptors)
    listed = read_view_pairs(pairs, views)
    putative = matches_by_pair(matches, found)
    ratio = settings.ratio if calibration is None else calibrated_ratio(calibration)
    known_guide = _known_guides(settings, views, found, model)
    frames, guided = [], 0
    for first, second in progress(listed, "guided matching", "pair"):
        if first not in rows or second not in rows:
            continue
        before = putative.get((first, second), empty_frame(MATCHES))
        keypoint_ids = before[["keypoint_id_1", "keypoint_id_2"]].to_numpy(np.int64)
        pair = (views[first], views[second]), (found[first], found[second])
        guide = known_guide(first, second) or _guide_of_matches(*pair, keypoint_ids, sfm, seed)
        if guide is None:
            frames.append(before)
            continue
        guided += 1
        again = match_along(guide, pair[1], (rows[first], rows[second]), keypoint_ids, settings, ratio, threads)
        if len(again) >= settings.min_matches:
            frames.append(matches_frame(first, second, again))
    _log.info("%d of %d view pairs were matched along their geometry.", guided, len(listed))
    write_table(output, pd.concat([empty_frame(MATCHES), *frames], ignore_index=True), MATCHES)


def match_along(
    guide: Guide,
    keypoints: tuple[Keypoints, Keypoints],
    descriptors: tuple[NDArray[Any], NDArray[Any]],
    putative: NDArray[np.int64],
    settings: GuidedSettings,
    ratio: float | None,
    threads: int,
) -> Matches:
    """Match the keypoints of two views among the candidates of a guide.

    `putative` (M,2) are keypoints matched before: the median of those that agree with the guide tells the difference of size.

    Raises:
        PorePatchError: if a descriptor is not finite, or the widths differ.
    """
    one, two = (as_float32(rows) for rows in descriptors)
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise PorePatchError("A descriptor has a value that is not a finite number; describe the subject again.")
    if one.shape[1] != two.shape[1]:
        raise PorePatchError(f"Descriptors of {one.shape[1]} and of {two.shape[1]} dimensions cannot be matched.")
    sizes = [np.log2(found.sigma.astype(np.float64)) for found in keypoints]
    sizes[0] = sizes[0] + _size_difference(guide, sizes, putative, settings.max_error_px)
    left, right = (Side(d, guide.xy[i], guide.line[i], guide.place[i], sizes[i]) for i, d in enumerate((one, two)))
    octaves = np.inf if settings.max_octaves is None else settings.max_octaves
    reach = Reach(settings.max_error_px, guide.place_px, octaves, settings.distinct_px)
    forward, backward = nearest_candidates(left, right, reach, threads), nearest_candidates(right, left, reach, threads)
    if not len(two):
        return _selected(forward, backward, np.zeros(0, np.int64), None)
    mutual = (forward.index >= 0) & (backward.index[forward.index] == np.arange(len(one)))
    return _selected(forward, backward, np.flatnonzero(mutual), ratio)


def _selected(forward: Found, backward: Found, index_1: NDArray[np.int64], ratio: float | None) -> Matches:
    """Return the mutual matches of the keypoints `index_1` of view 1 whose ratio, the larger of both, is at most `ratio`."""
    index_2 = forward.index[index_1]
    ratios = np.maximum(_ratios(forward, index_1), _ratios(backward, index_2))
    kept = ratios <= (np.inf if ratio is None else ratio)
    distance = forward.first[index_1][kept].astype(np.float32)
    return Matches(index_1[kept], index_2[kept], distance, ratios[kept].astype(np.float32))


def _ratios(found: Found, index: NDArray[np.int64]) -> FloatArray:
    """First over second distance: 0 where there is no second, 1 where both are 0."""
    first, second = found.first[index], found.second[index]
    return np.divide(first, second, out=np.ones_like(first), where=second > 0.0)


def _size_difference(guide: Guide, sizes: list[FloatArray], putative: NDArray[np.int64], max_error_px: float) -> float:
    """Return the median of log2(sigma_2 / sigma_1) of the putative matches that lie along the guide; 0 for none."""
    one, two = putative.T
    near = near_guide(guide, one, two, max_error_px)
    return float(np.median(sizes[1][two[near]] - sizes[0][one[near]])) if near.any() else 0.0


def _known_guides(
    settings: GuidedSettings, views: Mapping[int, View], found: Mapping[int, Keypoints], model: Path | None
) -> Callable[[int, int], Guide | None]:
    """Return the function that gives the guide of a pair by poses or by a model, None where they do not know it."""
    xy = {image_id: keypoints.xy.astype(np.float64) for image_id, keypoints in found.items()}
    if settings.by == "poses":
        return lambda first, second: guide_of_poses(views[first], views[second], xy[first], xy[second])
    sparse = _first_model(model, set(views)) if settings.by == "model" else None
    if sparse is None:
        return lambda first, second: None
    points = {i: surface_points(sparse, i, xy[i], settings.reach_px) for i in xy if i in sparse.poses}

    def of_model(first: int, second: int) -> Guide | None:
        if first not in points or second not in points:
            return None
        ends = (first, second)
        return guide_of_model(sparse, ends, (xy[first], xy[second]), (points[first], points[second]), settings.place_px)

    return of_model


def _first_model(folder: Path | None, image_ids: set[int]) -> SparseModel | None:
    """Return the model of a sfm folder, None where that reconstruction failed."""
    if folder is None:
        raise PorePatchError(
            "The variant's matcher 'model' needs the sfm folder of a first reconstruction; name one, or take 'guided'."
        )
    status, model = read_sfm_folder(folder, image_ids)
    if model is None:
        _log.warning("There is no first model (%s): the matches of each pair guide it.", status["reason"])
    return model


def _guide_of_matches(
    views: tuple[View, View],
    found: tuple[Keypoints, Keypoints],
    keypoint_ids: NDArray[np.int64],
    sfm: SfmSettings,
    seed: int,
) -> Guide | None:
    xy_1, xy_2 = (keypoints.xy.astype(np.float64) for keypoints in found)
    geometry = estimate_two_view(*views, xy_1[keypoint_ids[:, 0]], xy_2[keypoint_ids[:, 1]], sfm, seed)
    if geometry is None:
        return None
    return guide_of_two_view(geometry, views[0].camera, views[1].camera, xy_1, xy_2, sfm.max_error_px)
