"""The ratio test calibrated per descriptor, on validation subjects.

Lowe's 0.8 fits the distances of SIFT. How far right and wrong matches lie apart in that ratio differs between descriptors:
networks trained with a margin keep their precision to larger ratios, and lose right matches at 0.8. Here the mutual nearest
neighbours of validation subjects are judged, and the largest ratio is taken up to which they are precise enough.

A match is judged by the true surface where the subject is rendered, else by epipolar geometry: of known poses, or verified by
COLMAP. By chance a wrong match lies near its line too, with a probability c that shuffled matches tell. A match near its line
therefore weighs 1 and one off it -c / (1 - c): then wrong matches weigh nothing on average, and the sum estimates the right ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.geometry import FloatArray
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints
from porepatch_lib.matching.guides import Guide, guide_of_poses, guide_of_two_view, near_guide
from porepatch_lib.matching.match import descriptors_by_image
from porepatch_lib.matching.nearest import Matches, mutual_nearest
from porepatch_lib.matching.pairs import drawn_pairs, read_view_pairs
from porepatch_lib.progress import progress
from porepatch_lib.rendering.truth import OCCLUSION_MM, SubjectTruth, locate
from porepatch_lib.rendering.truth_files import truth_of
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.sfm.two_view import estimate_two_view
from porepatch_lib.verification.matching_score import true_places

_log = logging.getLogger(__name__)

_RATIOS = tuple(round(0.5 + 0.01 * step, 2) for step in range(51))
_SHUFFLES = 16  # pairings per pair of views that measure the chance of a wrong match near its line


@dataclass(frozen=True)
class CalibrationSettings:
    """How the ratio of a descriptor is chosen.

    `min_precision`: share of the matches up to the ratio that must be right; the largest such ratio is chosen. With 0.9 some
    seeds of the incremental mapper failed; with known poses it is enough. `fallback`: the ratio where that cannot be told.
    `min_matches`: matches up to a ratio that are needed to tell. `tolerance_px`: distance of a right match from its true place.
    `line_px`: distance from its epipolar line, in both views. `view_pairs`: most pairs of views of a subject, drawn with the
    seed; 0 for all.
    """

    min_precision: float = 0.98
    fallback: float = 0.8
    min_matches: int = 100
    tolerance_px: float = 3.0
    line_px: float = 2.0
    view_pairs: int = 60

    def __post_init__(self) -> None:
        for name in ("min_precision", "fallback"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise PorePatchError(f"calibration.{name} is {getattr(self, name)}; choose a number above 0 and at most 1.")
        if not (self.tolerance_px > 0 and self.line_px > 0 and self.min_matches > 0 and self.view_pairs >= 0):
            raise PorePatchError(
                "The calibration settings need tolerance_px, line_px and min_matches > 0 and view_pairs >= 0 (0 for all)."
            )


@dataclass(frozen=True)
class Judged:
    """Judged matches (M): `ratio`, `weight`, whose sum estimates the right ones, and by what they were judged."""

    ratio: FloatArray
    weight: FloatArray
    judged_by: str


def calibrate_ratio(
    subjects: Sequence[str],
    images: Sequence[Path],
    keypoints: Sequence[Path],
    descriptors: Sequence[Path],
    pairs: Sequence[Path],
    truths: Sequence[Path | None],
    output: Path,
    settings: CalibrationSettings,
    sfm: SfmSettings,
    seed: int,
    threads: int,
    descriptor: str,
) -> None:
    """Judge matches of validation subjects and write the chosen ratio as JSON.

    {"descriptor", "subjects", "ratio", "precision", "recall" (both null for the fallback), "reason" (of the fallback, else ""),
    "min_precision", "judged_by" ("truth", "poses", "verified", joined by "+"),
    "curve": [{"ratio", "precision", "recall", "matches"}]}. Recall is the share of the right ones that is kept.

    Args:
        subjects, images, keypoints, descriptors, pairs: one of each per subject, as in `match_subject`.
        truths: its folder of truth, None for photographs.
        sfm: thresholds of the verification where neither truth nor poses are known; `seed` is that of its RANSAC too.
        descriptor: its name, for the report.

    Raises:
        PorePatchError: as `match_subject`, and if the lists are not of one length or a file of the truth is missing.
    """
    lists = (subjects, images, keypoints, descriptors, pairs, truths)
    if len({len(one) for one in lists}) != 1:
        raise PorePatchError(
            f"The calibration got {[len(one) for one in lists]} files of its subjects; give one of each per subject."
        )
    judged: list[Judged] = []
    for i in range(len(subjects)):
        files = (images[i], keypoints[i], descriptors[i], pairs[i], truths[i])
        judged.extend(_judged_subject(*files, settings, sfm, seed, threads))
    report = {"descriptor": descriptor, "subjects": list(subjects), "min_precision": settings.min_precision}
    report |= {"judged_by": "+".join(sorted({one.judged_by for one in judged if len(one.ratio)}))}
    ratio, weight = (np.concatenate([np.zeros(0), *(getattr(one, name) for one in judged)]) for name in ("ratio", "weight"))
    curve = precision_curve(ratio, weight)
    write_json(output, report | choose_ratio(curve, settings) | {"curve": curve})


def precision_curve(ratio: FloatArray, weight: FloatArray) -> list[dict[str, Any]]:
    """Return precision, recall and number of the matches up to ratios 0.50, 0.51 .. 1.00, None where there is none.

    Args:
        ratio: (M,) of the matches.
        weight: (M,) whose sum estimates how many are right.
    """
    order = np.argsort(ratio, kind="stable")
    right = np.concatenate([[0.0], np.cumsum(weight[order])])
    counts = np.searchsorted(ratio[order], np.array(_RATIOS) + 1e-6, side="right")  # ratios are stored as float32
    rows = []
    for at, count in zip(_RATIOS, counts.tolist(), strict=True):
        found = float(np.clip(right[count], 0.0, count))
        recall = min(found / right[-1], 1.0) if right[-1] > 0.0 else None
        rows.append({"ratio": at, "precision": found / count if count else None, "recall": recall, "matches": count})
    return rows


def choose_ratio(curve: Sequence[Mapping[str, Any]], settings: CalibrationSettings) -> dict[str, Any]:
    """Return "ratio", "precision", "recall" and "reason": the largest ratio that is precise enough, else the fallback."""
    enough = [row for row in curve if row["matches"] >= settings.min_matches]
    good = [row for row in enough if row["precision"] >= settings.min_precision]
    if good:
        return {name: good[-1][name] for name in ("ratio", "precision", "recall")} | {"reason": ""}
    reason = (
        f"no ratio reaches a precision of {settings.min_precision:g}"
        if enough
        else "the validation subjects have too few matches"
    )
    _log.warning("The ratio test is not calibrated, as %s: %g is taken.", reason, settings.fallback)
    return {"ratio": settings.fallback, "precision": None, "recall": None, "reason": reason}


def _judged_subject(
    images: Path,
    keypoints: Path,
    descriptors: Path,
    pairs: Path,
    truth_folder: Path | None,
    settings: CalibrationSettings,
    sfm: SfmSettings,
    seed: int,
    threads: int,
) -> Iterator[Judged]:
    """Yield the judged matches of every drawn pair of views of one subject that can be judged."""
    views, found = read_views_and_keypoints(images, keypoints)
    rows = descriptors_by_image(keypoints, descriptors)
    listed = read_view_pairs(pairs, views)
    truth = truth_of(list(views.values()), truth_folder) if truth_folder is not None else None
    drawn = drawn_pairs([pair for pair in listed if set(pair) <= set(rows)], settings.view_pairs, seed)
    for one, two in progress(drawn, "judging", "pair"):
        matches = mutual_nearest(rows[one], rows[two], None, threads)
        judged = _judge(truth, (views[one], views[two]), (found[one], found[two]), matches, settings, sfm, seed)
        if judged is not None:
            yield judged


def _judge(
    truth: SubjectTruth | None,
    views: tuple[View, View],
    found: tuple[Keypoints, Keypoints],
    matches: Matches,
    settings: CalibrationSettings,
    sfm: SfmSettings,
    seed: int,
) -> Judged | None:
    """Judge the matches of one pair of views by the best that is known of it; None where nothing is."""
    xy_1, xy_2 = (keypoints.xy.astype(np.float64) for keypoints in found)
    ratio = matches.ratio.astype(np.float64)
    if truth is not None:
        return _by_truth(
            truth, (views[0].image_id, views[1].image_id), xy_1[matches.index_1], xy_2[matches.index_2], ratio, settings
        )
    guide, judged_by = guide_of_poses(*views, xy_1, xy_2), "poses"
    if guide is None:
        sure = ratio <= settings.fallback
        geometry = estimate_two_view(*views, xy_1[matches.index_1[sure]], xy_2[matches.index_2[sure]], sfm, seed)
        if geometry is None:
            return None
        guide, judged_by = guide_of_two_view(geometry, views[0].camera, views[1].camera, xy_1, xy_2, settings.line_px), "verified"
    return Judged(ratio, weights_along(guide, matches.index_1, matches.index_2, settings.line_px), judged_by)


def _by_truth(
    truth: SubjectTruth,
    pair: tuple[int, int],
    xy_1: FloatArray,
    xy_2: FloatArray,
    ratio: FloatArray,
    settings: CalibrationSettings,
) -> Judged:
    """Judge by the true surface; matches whose true place it does not know are left out."""
    true = true_places(truth, *pair, locate(truth, pair[0], xy_1), OCCLUSION_MM)
    with np.errstate(invalid="ignore"):
        right = np.linalg.norm(true.xy - xy_2, axis=1) <= settings.tolerance_px  # False where view 2 does not show it
    return Judged(ratio[true.known], right[true.known].astype(np.float64), "truth")


def weights_along(guide: Guide, index_1: NDArray[np.int64], index_2: NDArray[np.int64], line_px: float) -> FloatArray:
    """Return the weights (M,) of matches by the geometry of their pair, see the head of this file.

    Chance is the share of near ones among the matches with the partners of others, 16 rotations of their list.
    """
    steps = np.unique(np.linspace(0, len(index_2), _SHUFFLES + 2).astype(int)[1:-1]).tolist()
    shuffled = [near_guide(guide, index_1, np.roll(index_2, step), line_px).mean() for step in steps if step > 0]
    chance = min(float(np.mean(shuffled)), 0.5) if shuffled else 0.0
    return np.where(near_guide(guide, index_1, index_2, line_px), 1.0, -chance / (1.0 - chance))
