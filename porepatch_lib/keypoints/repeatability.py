"""How well a detector finds the same places again in another view, against known geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Repeatability:
    """Keypoints of view 1 found again in view 2.

    `share` = `count` / `visible` (NaN when nothing is visible); `index_1`, `index_2` (K,) int64 are the rows of the K = `count`
    pairs, `error_px` (K,) float64 their distances in view 2.
    """

    share: float
    count: int
    visible: int
    index_1: NDArray[np.int64]
    index_2: NDArray[np.int64]
    error_px: NDArray[np.float64]


def repeatability(transferred_xy: NDArray[np.floating], xy_2: NDArray[np.floating], tolerance_px: float) -> Repeatability:
    """Count keypoints of view 1 that view 2 has within `tolerance_px` (after Mikolajczyk et al. 2005, points for regions).

    `transferred_xy` (N,2) are the keypoints of view 1 moved to view 2 by the true geometry, NaN where view 2 does not see the
    place; `xy_2` (M,2) are all keypoints of view 2. A keypoint counts when it and a keypoint of view 2 are each other's nearest
    and at most `tolerance_px` apart, so that no keypoint is used twice. The denominator is the number of visible keypoints of
    view 1: the measure is not symmetric in the views. Dense keypoints meet by accident: compare with `chance_share`.
    """
    visible = np.flatnonzero(np.isfinite(transferred_xy).all(axis=1))
    seen = np.asarray(transferred_xy, np.float64)[visible]
    if len(visible) == 0 or len(xy_2) == 0:
        nothing = np.empty(0, np.int64)
        return Repeatability(0.0 if len(visible) else float("nan"), 0, len(visible), nothing, nothing, np.empty(0))
    distance, nearest_2 = cKDTree(np.asarray(xy_2, np.float64)).query(seen)
    _, nearest_1 = cKDTree(seen).query(np.asarray(xy_2, np.float64))
    pairs = np.flatnonzero((nearest_1[nearest_2] == np.arange(len(seen))) & (distance <= tolerance_px))
    return Repeatability(
        share=len(pairs) / len(visible),
        count=len(pairs),
        visible=len(visible),
        index_1=visible[pairs],
        index_2=nearest_2[pairs].astype(np.int64),
        error_px=distance[pairs],
    )


def chance_share(visible: int, count_2: int, area_px: float, tolerance_px: float) -> float:
    """Share that `repeatability` finds when both sets are scattered at random over the same `area_px` square pixels.

    Two Poisson processes of density d1, d2 (points per square pixel): a point's nearest neighbour in the other set lies at r and
    has no nearer point itself with density 2 pi r d2 exp(-(d1 + d2) pi r^2); integrated from 0 to the tolerance.
    """
    if visible == 0 or count_2 == 0:
        return 0.0
    density_1, density_2 = visible / area_px, count_2 / area_px
    total = density_1 + density_2
    return float(density_2 / total * -np.expm1(-total * np.pi * tolerance_px**2))
