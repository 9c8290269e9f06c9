"""A detector judged against truth: does it find the same places again in another view, and how exactly?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints
from porepatch_lib.keypoints.repeatability import chance_share, repeatability
from porepatch_lib.progress import progress
from porepatch_lib.rendering.truth import OCCLUSION_MM, SubjectTruth, transfer
from porepatch_lib.rendering.truth_files import read_truth

_LOG = logging.getLogger(__name__)

_GRID_POINTS = 10_000  # places at which the area common to two views is measured


@dataclass(frozen=True)
class DetectorSettings:
    """When a keypoint counts as found again.

    tolerance_px: largest distance between a keypoint and the transferred one, in pixels of the second view.
    tolerance_sigma: the same as a multiple of the second keypoint's sigma.
    least_visible: view pairs that share fewer keypoints of the first view are left out.
    occlusion_mm: a place is hidden in a view when the surface lies more than this before it.
    """

    tolerance_px: float = 1.5
    tolerance_sigma: float = 0.5
    least_visible: int = 20
    occlusion_mm: float = OCCLUSION_MM

    def __post_init__(self) -> None:
        for name in ("tolerance_px", "tolerance_sigma", "least_visible", "occlusion_mm"):
            if not getattr(self, name) > 0:
                raise PorePatchError(f"The detector evaluation setting {name} is {getattr(self, name)}; give a positive number.")


@dataclass(frozen=True)
class PairScore:
    """One ordered pair of views: what view 2 finds again of the keypoints of view 1 that it sees.

    Shares are of the `visible` keypoints; `chance` is the share that randomly scattered keypoints of the same number would
    reach. Errors in pixels of view 2, over the pairs within tolerance_px, NaN where there are none.
    """

    visible: int
    found: int
    repeatability: float
    repeatability_sigma: float
    chance: float
    median_error_px: float
    p90_error_px: float


def evaluate_detector(images: Path, keypoints: Path, truth_folder: Path, output: Path, settings: DetectorSettings) -> None:
    """Measure the keypoints of one rendered subject against truth and write the averages over ordered view pairs as JSON.

    Raises:
        PorePatchError: if a view has no pose or no truth, or the keypoints belong to other images.
    """
    views, per_image = read_views_and_keypoints(images, keypoints)
    scores = score_pairs(read_truth(images, truth_folder), per_image, settings)
    counts = [len(per_image[image_id]) if image_id in per_image else 0 for image_id in views]
    report = summarise(scores) | {
        "keypoints_per_image": float(np.mean(counts)) if counts else 0.0,
        "images": len(views),
        "settings": asdict(settings),
    }
    write_json(output, report)
    _LOG.info("repeatability %s over %d view pairs", report["repeatability"], report["view_pairs"])


def score_pairs(truth: SubjectTruth, keypoints: Mapping[int, Keypoints], settings: DetectorSettings) -> list[PairScore]:
    """Score every ordered pair of views that shares at least `least_visible` keypoints."""
    pairs = list(permutations(sorted(keypoints), 2))
    scores = []
    for i, j in progress(pairs, "repeatability", "pair", total=len(pairs)):

        def move(xy: NDArray[np.floating], one: int, two: int) -> NDArray[np.float64]:
            return transfer(truth, one, two, xy.astype(np.float64), settings.occlusion_mm)

        moved = move(keypoints[i].xy, i, j)
        if np.isfinite(moved).all(axis=1).sum() < settings.least_visible:
            continue
        grid, cell_px = _grid(truth.depths[j].shape)
        common_px = float(np.isfinite(move(grid, j, i)).all(axis=1).sum() * cell_px)
        common_2 = int(np.isfinite(move(keypoints[j].xy, j, i)).all(axis=1).sum())
        scores.append(score_pair(moved, keypoints[j], common_2, common_px, settings))
    return scores


def score_pair(
    moved: NDArray[np.floating], keypoints_2: Keypoints, common_2: int, common_px: float, settings: DetectorSettings
) -> PairScore:
    """Score one pair of views.

    Args:
        moved: (N,2) keypoints of view 1 in view 2, NaN where hidden.
        keypoints_2: all keypoints of view 2.
        common_2: how many of them view 1 sees.
        common_px: area of view 2 that view 1 sees, in square pixels.
        settings: tolerances.
    """
    near = repeatability(moved, keypoints_2.xy, settings.tolerance_px)
    any_distance = repeatability(moved, keypoints_2.xy, np.inf)
    in_sigmas = any_distance.error_px <= settings.tolerance_sigma * keypoints_2.sigma[any_distance.index_2]
    median, p90 = np.quantile(near.error_px, [0.5, 0.9]) if near.count else (np.nan, np.nan)
    return PairScore(
        visible=near.visible,
        found=near.count,
        repeatability=near.share,
        repeatability_sigma=float(np.count_nonzero(in_sigmas) / near.visible) if near.visible else float("nan"),
        chance=chance_share(near.visible, common_2, common_px, settings.tolerance_px) if common_px else 0.0,
        median_error_px=float(median),
        p90_error_px=float(p90),
    )


def summarise(scores: list[PairScore]) -> dict[str, Any]:
    """Return the mean of every score over the view pairs, and their number; None where no pair has the score."""
    names = ("visible", "found", "repeatability", "repeatability_sigma", "chance", "median_error_px", "p90_error_px")
    return {name: _mean([getattr(score, name) for score in scores]) for name in names} | {"view_pairs": len(scores)}


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def _grid(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], float]:
    """Return about _GRID_POINTS pixels (N,2) spread over an image (H,W), and the area each stands for."""
    step = max(1, int(np.sqrt(shape[0] * shape[1] / _GRID_POINTS)))
    y, x = np.mgrid[step // 2 : shape[0] : step, step // 2 : shape[1] : step]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64), float(step * step)
