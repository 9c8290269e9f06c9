"""Matching score: mutual nearest neighbours between full photographs of a rendered subject, judged by its true surface.

A pair of views (i, j) is ordered; positions are compared in view j. After Mikolajczyk and Schmid (PAMI 2005: recall, precision)
and Mikolajczyk et al. (IJCV 2005: matching score), with these denominators:

* visible: keypoints of i whose true place view j shows;
* possible: visible keypoints of which j has a keypoint within the tolerance of the true place;
* judged: mutual matches of keypoints of i that are visible, or whose place j certainly does not show. Places that the truth does
  not know, next to an edge of the surface in either view, are left out;
* correct: judged matches whose keypoint of j lies within the tolerance of the true place.

precision = correct / judged, recall = correct / possible, matching score = correct / visible.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from porepatch_lib.descriptors.describe import describe_views
from porepatch_lib.descriptors.registry import descriptor_of_stage
from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.audit import ANGLES_DEG
from porepatch_lib.files import write_json
from porepatch_lib.geometry import FloatArray, angles_between, project
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints
from porepatch_lib.matching.nearest import mutual_nearest
from porepatch_lib.matching.pairs import drawn_pairs
from porepatch_lib.progress import progress
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.truth import OCCLUSION_MM, SubjectTruth, appear, hidden, locate, positions
from porepatch_lib.rendering.truth_files import read_truth

_LOG = logging.getLogger(__name__)

ViewPair = tuple[int, int]


@dataclass(frozen=True)
class MatchingScoreSettings:
    """How matches are judged.

    tolerance_px: largest distance of a correct match from the true place, in pixels of the second view.
    view_pairs: most ordered pairs of views, drawn with the seed; 0 for all.
    occlusion_mm: a place is hidden in a view when the surface lies more than this before it.
    """

    tolerance_px: float = 3.0
    view_pairs: int = 60
    occlusion_mm: float = OCCLUSION_MM

    def __post_init__(self) -> None:
        for name in ("tolerance_px", "occlusion_mm"):
            if not getattr(self, name) > 0:
                raise PorePatchError(f"The matching score setting {name} is {getattr(self, name)}; give a positive number.")
        if self.view_pairs < 0:
            raise PorePatchError(f"The matching score setting view_pairs is {self.view_pairs}; give 0 for all, or more.")


@dataclass(frozen=True)
class PairScore:
    """The counts of one ordered pair of views, see the head of this file; ratios are NaN where there is nothing to divide by."""

    visible: int
    possible: int
    judged: int
    correct: int

    @property
    def precision(self) -> float:
        """Share of the judged matches that are correct."""
        return _ratio(self.correct, self.judged)

    @property
    def recall(self) -> float:
        """Share of the possible matches that are found."""
        return _ratio(self.correct, self.possible)

    @property
    def matching_score(self) -> float:
        """Share of the visible keypoints that are matched correctly."""
        return _ratio(self.correct, self.visible)


@dataclass(frozen=True)
class TruePlaces:
    """What the truth knows of the keypoints (N) of view 1 in view 2.

    xy (N,2): where view 2 shows them, NaN where it does not or the truth does not know. known (N,): whether the truth knows.
    angle_deg: between the two viewing directions, median over the keypoints; NaN where no place is known.
    """

    xy: FloatArray
    known: NDArray[np.bool_]
    angle_deg: float


def write_matching_score(
    subject: str,
    images: Path,
    keypoints: Path,
    truth_folder: Path,
    descriptor: str,
    weights: Path | None,
    output: Path,
    settings: MatchingScoreSettings,
    crop_factor: float,
    seed: int,
    threads: int,
    device: str = "auto",
    networks: Mapping[str, str] | None = None,
    architecture: str | None = None,
) -> str:
    """Describe and match the views of one rendered subject, without a ratio test, and write the averages as JSON.

    Args:
        subject, descriptor: names for the report; without `weights` `descriptor` is a hand-made one.
        images, keypoints, truth_folder: tables and truth of the subject.
        weights, crop_factor, device, networks, architecture: of a network, as in `describe_subject`.
        output: JSON of `matching_report`, with descriptor, subject and tolerance_px.

    Returns the name of the device that described them.

    Raises:
        PorePatchError: as `matching_report`, and if the descriptor cannot be had.
    """
    chosen = descriptor_of_stage(
        descriptor,
        weights,
        crop_factor=crop_factor,
        threads=threads,
        device=device,
        networks=networks,
        architecture=architecture,
    )
    rows = dict(describe_views(images, keypoints, chosen))
    report = matching_report(images, keypoints, truth_folder, rows, settings, seed, threads)
    write_json(output, {"descriptor": descriptor, "subject": subject, "tolerance_px": settings.tolerance_px} | report)
    _LOG.info("precision %s, recall %s over %d view pairs", report["precision"], report["recall"], report["view_pairs"])
    return chosen.device


def matching_report(
    images: Path,
    keypoints: Path,
    truth_folder: Path,
    descriptors: Mapping[int, NDArray[Any]],
    settings: MatchingScoreSettings,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    """Match the views of one rendered subject, `descriptors` (N,D) by image_id, and return the averages, see `summarise`.

    The seed draws the view pairs; with one seed, all descriptors are judged on the same.

    Raises:
        PorePatchError: if a view has no pose or no truth, the keypoints belong to other images, or a descriptor is not finite.
    """
    _, per_image = read_views_and_keypoints(images, keypoints)
    drawn = draw_view_pairs(sorted(per_image), settings.view_pairs, seed)
    truth = read_truth(images, truth_folder)
    return summarise(list(score_view_pairs(truth, per_image, descriptors, drawn, settings, threads)))


def draw_view_pairs(image_ids: list[int], most: int, seed: int) -> list[ViewPair]:
    """Return ordered pairs of views, ascending: all, or `most` drawn without replacement; 0 for all."""
    return drawn_pairs(list(permutations(image_ids, 2)), most, seed)


def score_view_pairs(
    truth: SubjectTruth,
    keypoints: Mapping[int, Keypoints],
    descriptors: Mapping[int, NDArray[Any]],
    pairs: Iterable[ViewPair],
    settings: MatchingScoreSettings,
    threads: int = 1,
) -> Iterator[tuple[float, PairScore]]:
    """Yield the viewing angle in degrees and the score of every pair of which the truth knows a keypoint of view 1."""
    wanted: dict[ViewPair, list[ViewPair]] = {}  # both directions of a pair have the same mutual matches
    for one, two in pairs:
        wanted.setdefault((min(one, two), max(one, two)), []).append((one, two))
    places = {i: locate(truth, i, keypoints[i].xy.astype(np.float64)) for i in sorted({i for pair in wanted for i in pair})}
    for (low, high), directions in progress(wanted.items(), "matching score", "pair", total=len(wanted)):
        matches = mutual_nearest(descriptors[low], descriptors[high], None, threads)
        index = {low: matches.index_1, high: matches.index_2}
        for one, two in directions:
            true = true_places(truth, one, two, places[one], settings.occlusion_mm)
            if true.known.any():
                score = score_pair(true.xy, true.known, keypoints[two].xy, index[one], index[two], settings.tolerance_px)
                yield true.angle_deg, score


def true_places(truth: SubjectTruth, one: int, two: int, places: Places, occlusion_mm: float) -> TruePlaces:
    """Return what the truth knows in view 2 of the places (N,) of the keypoints of view 1."""
    xy = appear(truth, two, places, occlusion_mm)
    points = positions(truth.mesh(two), places)
    seen, _ = project(truth.views[two].camera, truth.pose(two), points)
    camera = truth.views[two].camera
    with np.errstate(invalid="ignore"):
        outside = ~((seen >= 0) & (seen <= [camera.width - 1, camera.height - 1])).all(axis=1)
    shown = np.isfinite(xy).all(axis=1)
    angles = angles_between(truth.pose(one).centre - positions(truth.mesh(one), places), truth.pose(two).centre - points)
    known = places.known & (shown | outside | hidden(truth, two, points, occlusion_mm))
    return TruePlaces(xy, known, float(np.rad2deg(np.median(angles[places.known]))) if places.known.any() else float("nan"))


def score_pair(
    true_xy: FloatArray,
    known: NDArray[np.bool_],
    xy_2: NDArray[np.floating],
    index_1: NDArray[np.int64],
    index_2: NDArray[np.int64],
    tolerance_px: float,
) -> PairScore:
    """Count what one ordered pair of views has, see the head of this file.

    Args:
        true_xy: (N,2) where view 2 shows the keypoints of view 1, NaN where it does not.
        known: (N,) whether the truth knows if and where view 2 shows them.
        xy_2: (M,2) keypoints of view 2.
        index_1, index_2: (K,) matches: keypoints of view 1 and of view 2.
        tolerance_px: largest distance of a correct match, itself included.
    """
    visible = true_xy[np.isfinite(true_xy).all(axis=1)]
    nearest_px = cKDTree(xy_2).query(visible)[0] if len(visible) and len(xy_2) else np.empty(0)
    with np.errstate(invalid="ignore"):
        correct = np.linalg.norm(true_xy[index_1] - xy_2[index_2], axis=1) <= tolerance_px  # False where not shown
    return PairScore(
        visible=len(visible),
        possible=int(np.count_nonzero(nearest_px <= tolerance_px)),
        judged=int(np.count_nonzero(known[index_1])),
        correct=int(np.count_nonzero(correct)),
    )


def summarise(scores: list[tuple[float, PairScore]]) -> dict[str, Any]:
    """Return the means over view pairs, of (viewing angle in degrees, score).

    view_pairs: how many; keypoints: visible keypoints of view 1; matches: judged matches; precision, recall, matching_score: over
    the pairs that have the ratio, None where none has; by_angle: {"0-10": {view_pairs, precision, recall}, ...} by viewing angle,
    bounds ANGLES_DEG.
    """
    every = [score for _, score in scores]
    groups: dict[str, list[PairScore]] = {f"{low}-{high}": [] for low, high in pairwise(ANGLES_DEG)}
    names = list(groups)
    for angle_deg, score in scores:
        groups[names[min(int(np.digitize(angle_deg, ANGLES_DEG)), len(names)) - 1]].append(score)
    return {
        "view_pairs": len(every),
        "keypoints": _mean([score.visible for score in every]),
        "matches": _mean([score.judged for score in every]),
        **_ratios(every),
        "matching_score": _mean([score.matching_score for score in every]),
        "by_angle": {name: {"view_pairs": len(group)} | _ratios(group) for name, group in groups.items() if group},
    }


def _ratios(scores: list[PairScore]) -> dict[str, float | None]:
    return {"precision": _mean([score.precision for score in scores]), "recall": _mean([score.recall for score in scores])}


def _mean(values: list[Any]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
