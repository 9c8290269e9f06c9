"""A similarity refined on the true surface, for judging a cloud's shape where its cameras' frame is only roughly right.

A telephoto camera hardly tells its distance from its focal length: of a rendered head (8 views, focal lengths refined) the
aligned centres were off by 1 to 11 mm and the cloud by 3 mm, while its points lay within 0.05 mm of the surface once moved
as a whole. Errors of poses have their own columns and are never refined.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from porepatch_lib.geometry import FloatArray
from porepatch_lib.reconstruction.alignment import Similarity
from porepatch_lib.reconstruction.surface import Nearest, nearest_on
from porepatch_lib.rendering.truth import Mesh
from porepatch_lib.robust import MAD_TO_SIGMA, TUKEY, tukey_weights

_MOST_STEPS = 50
_SETTLED = 1e-6  # of the cloud's size: 0.1 micrometres of a head
_MOST_GROWTH = 0.2  # of the logarithm of the scale


def refine_on_surface(mesh: Mesh, points: FloatArray, start: Similarity, threads: int) -> Similarity:
    """Return the similarity near `start` that brings points (N,3) of a model closest to a mesh.

    Gauss-Newton on the distances to the tangent planes of the nearest places (Chen and Medioni 1992, with a scale), weighed by
    Tukey's biweight so that points off the surface do not pull. Directions that the surface leaves open are not moved. Returns
    `start` where the median distance does not fall, or the cloud shrinks or grows by more than a fifth: as a point it would fit
    any surface.
    """
    similarity = start
    first = nearest_on(mesh, start.apply(points), threads)
    nearest = first
    for _ in range(_MOST_STEPS):
        moved = similarity.apply(points)
        step, size = _step(moved, nearest)
        similarity = step.after(similarity)
        nearest = nearest_on(mesh, similarity.apply(points), threads)
        if size < _SETTLED:
            break
    is_nearer = np.median(nearest.distance_mm) < np.median(first.distance_mm)
    return similarity if is_nearer and abs(np.log(similarity.scale / start.scale)) <= _MOST_GROWTH else start


def _step(points: FloatArray, nearest: Nearest) -> tuple[Similarity, float]:
    """Return the small similarity of one step, and its size relative to the cloud's."""
    centre = np.median(points, axis=0)
    # The median keeps lengths and weights free of points far away.
    length = float(np.median(np.linalg.norm(points - centre, axis=1))) or 1.0
    local = (points - centre) / length
    scale = max(MAD_TO_SIGMA * float(np.median(nearest.distance_mm)), float(np.finfo(np.float32).eps) * length)
    weight = np.sqrt(tukey_weights(nearest.distance_mm, TUKEY * scale))  # of the rows, whose squares are summed
    normal = nearest.normal
    rows = np.column_stack([np.cross(local, normal), normal, np.einsum("ij,ij->i", local, normal)])
    gap = np.einsum("ij,ij->i", nearest.point - points, normal) / length
    solution = np.linalg.lstsq(rows * weight[:, None], gap * weight, rcond=1e-6)[0]
    rotation = Rotation.from_rotvec(solution[:3]).as_matrix()
    grown = float(np.exp(solution[6]))
    shift = centre + length * solution[3:6] - grown * rotation @ centre
    return Similarity(grown, rotation, shift), float(np.abs(solution).max())
