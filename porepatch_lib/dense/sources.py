"""Which views to compare a view with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import FloatArray, Pose, angles_between

_BEST_ANGLE_DEG = 12.0
_NARROW_DEG, _WIDE_DEG = 6.0, 14.0  # spreads of the weight below and above the best angle
_ANGLES_DEG = (1.5, 60.0)  # beyond these there is no depth, or no likeness


def choose_sources(
    poses: Mapping[int, Pose], xyz: FloatArray, observed_point: NDArray[np.int64], image_id: NDArray[np.int32], count: int
) -> dict[int, list[int]]:
    """Return for each view (image_id) up to `count` source views, the best first.

    A pair scores the sum over its shared points of a weight of their triangulation angle, highest at 12 degrees (after Yao et
    al., MVSNet, 2018). Where fewer views share points, views whose angle at the middle of all points is usable follow.

    Args:
        poses: by image_id.
        xyz: points (P,3).
        observed_point, image_id: (M,) row of `xyz` and view of each observation.
    """
    views = sorted(poses)
    seen = np.zeros((len(views), len(xyz)), bool)
    seen[np.searchsorted(views, image_id), observed_point] = True
    centres = np.array([poses[view].centre for view in views])
    middle = np.median(xyz, axis=0)
    chosen = {}
    for row, view in enumerate(views):
        scores = [(_score(row, other, seen, xyz, centres, middle), -other) for other in range(len(views)) if other != row]
        best = sorted((score for score in scores if score[0] > 0.0), reverse=True)[:count]
        chosen[view] = [views[-other] for _, other in best]
    return chosen


def angle_weight(angle_deg: FloatArray) -> FloatArray:
    """Return the weight (N,) of triangulation angles (N,): 1 at the best one, 0 where unusable."""
    spread = np.where(angle_deg < _BEST_ANGLE_DEG, _NARROW_DEG, _WIDE_DEG)
    weight = np.exp(-0.5 * ((angle_deg - _BEST_ANGLE_DEG) / spread) ** 2)
    return np.where((angle_deg >= _ANGLES_DEG[0]) & (angle_deg <= _ANGLES_DEG[1]), weight, 0.0)


def _score(one: int, other: int, seen: NDArray[np.bool_], xyz: FloatArray, centres: FloatArray, middle: FloatArray) -> float:
    points = np.concatenate([xyz[seen[one] & seen[other]], middle[None]])
    weights = angle_weight(np.rad2deg(angles_between(centres[one] - points, centres[other] - points)))
    # The middle only decides between views that share no points.
    return float(weights[:-1].sum() + 1e-3 * weights[-1])
