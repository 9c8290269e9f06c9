"""Clouds against the true surface of a rendered subject: accuracy, completeness, F-score and normals.

After Knapitsch et al., "Tanks and Temples: Benchmarking Large-Scale Scene Reconstruction", ACM TOG 2017, section 6: precision
(here accuracy) at d is the share of the cloud's points within d of the true surface, recall (completeness) at d the share of the
true surface within d of the cloud, F their harmonic mean. Unlike there nothing is resampled: every point of a cloud counts once.

* The true surface is the mesh at the moment of the first view. The face may have moved in others; what that costs is an error.
* All points count in accuracy, also those of hair line, ears and background: the mesh is the whole head, and a point that the
  pipeline kept where there is no surface is its error. No point is cropped away.
* Completeness is over the skin that at least two of the given views truly see inside their masks. Given, not registered views:
  else the bar would sink with every view that a descriptor loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from porepatch_lib.captures.views import load_mask
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray, angles_between
from porepatch_lib.reconstruction.columns import TOLERANCES_MM
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.surface import vertex_normals
from porepatch_lib.rendering.truth import Mesh, SubjectTruth, appear, positions, viewing_cosine
from porepatch_lib.rendering.truth_files import LEAST_COSINE
from porepatch_lib.threads import map_threads

Figures = dict[str, float | None]


@dataclass(frozen=True)
class ReconstructionTruthSettings:
    """How a reconstruction is held against the truth.

    samples: places drawn on the true surface of the whole head, of which those that are seen judge completeness.
    min_views: given views that must see a place for it to count.
    min_alignment_points: sparse points below which a cloud is aligned by its cameras alone, see module `surface_alignment`.
    """

    samples: int = 200_000
    min_views: int = 2
    min_alignment_points: int = 100

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("min_views", 1), ("min_alignment_points", 8)):
            if getattr(self, name) < least:
                raise PorePatchError(f"The truth setting {name} is {getattr(self, name)}; choose at least {least}.")


@dataclass(frozen=True)
class Nearest:
    """The nearest places of a mesh to N points: distance_mm (N,), point (N,3) mm, place, unit normal of its triangle (N,3)."""

    distance_mm: FloatArray
    point: FloatArray
    place: Places
    normal: FloatArray


def nearest_on(mesh: Mesh, points: FloatArray, threads: int) -> Nearest:
    """Return the places of a mesh nearest to points (N,3) in world mm (exact point-to-triangle, single precision)."""
    import open3d as o3d

    queries = o3d.core.Tensor.from_numpy(points.astype(np.float32).reshape(-1, 3))
    found = {key: value.numpy() for key, value in mesh.scene.compute_closest_points(queries, nthreads=threads).items()}
    nearest = found["points"].astype(np.float64)
    place = Places(found["primitive_ids"].astype(np.int64), found["primitive_uvs"].astype(np.float64))
    return Nearest(np.linalg.norm(points - nearest, axis=1), nearest, place, found["primitive_normals"].astype(np.float64))


def smooth_normals(mesh: Mesh, place: Places) -> FloatArray:
    """Return the normals (N,3) at places: those of the vertices, weighed by the areas of their triangles, interpolated."""
    welded = np.arange(len(mesh.vertices), dtype=np.int32)
    return place.on(vertex_normals(mesh.vertices.astype(np.float64), mesh.triangles, welded), mesh.triangles)


def draw_places(mesh: Mesh, count: int, seed: int) -> Places:
    """Draw `count` places of a mesh, all equally likely by area."""
    rng = np.random.default_rng(seed)
    corners = mesh.vertices.astype(np.float64)[mesh.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    triangle = rng.choice(len(area), count, p=area / area.sum())
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    return Places(triangle, np.stack([root * (1.0 - along), root * along], axis=1))


def visible_surface(truth: SubjectTruth, settings: ReconstructionTruthSettings, seed: int, threads: int) -> FloatArray:
    """Return the drawn points (S,3) mm of the reference mesh that at least `settings.min_views` views see.

    A view sees a place where its mask keeps the pixel, nothing hides it, no edge of the surface is beside it and the skin is not
    seen too grazingly (`LEAST_COSINE`), at the view's own moment.
    """
    places = draw_places(truth.reference, settings.samples, seed)
    seen = map_threads(lambda image_id: _sees(truth, image_id, places), sorted(truth.views), threads)
    return positions(truth.reference, places[np.sum(seen, axis=0) >= settings.min_views])


def _accuracy_figures(cloud: str, distance_mm: FloatArray) -> Figures:
    """Return the median error and the accuracies of a cloud ("sparse", "dense"); null without points."""
    known = len(distance_mm) > 0
    figures: Figures = {f"{cloud}_error_mm": float(np.median(distance_mm)) if known else None}
    for tolerance in TOLERANCES_MM:
        figures[f"{cloud}_accuracy_{tolerance:g}mm"] = float(np.mean(distance_mm <= tolerance)) if known else None
    return figures


def _completeness_figures(cloud: str, points: FloatArray, surface: FloatArray, threads: int) -> Figures:
    """Return which shares of surface points (S,3) have one of the cloud's points (N,3) within the tolerances; null for S = 0."""
    distance = np.full(len(surface), np.inf)
    if len(points):
        # The bound must lie beyond the largest tolerance: the tree finds only what is nearer.
        distance, _ = cKDTree(points).query(surface, distance_upper_bound=2.0 * max(TOLERANCES_MM), workers=threads)
    return {
        f"{cloud}_completeness_{tolerance:g}mm": float(np.mean(distance <= tolerance)) if len(surface) else None
        for tolerance in TOLERANCES_MM
    }


def _f_figures(cloud: str, figures: Figures) -> Figures:
    """Return the F-scores to the accuracies and completenesses in `figures`; 0 without points, null where nothing is visible."""
    return {
        f"{cloud}_f_{tolerance:g}mm": _f_score(
            figures[f"{cloud}_accuracy_{tolerance:g}mm"], figures[f"{cloud}_completeness_{tolerance:g}mm"]
        )
        for tolerance in TOLERANCES_MM
    }


def normal_error_deg(mesh: Mesh, nearest: Nearest, normals: FloatArray) -> float | None:
    """Return the median angle between a cloud's normals (N,3) and the true ones, over points within the largest tolerance."""
    near = nearest.distance_mm <= max(TOLERANCES_MM)
    if not near.any():
        return None
    return float(np.rad2deg(np.median(angles_between(normals[near], smooth_normals(mesh, nearest.place[near])))))


def cloud_figures(cloud: str, points: FloatArray, distance_mm: FloatArray, surface: FloatArray, threads: int) -> Figures:
    """Return the figures of a cloud (N,3) in the frame of the truth, whose points lie `distance_mm` (N,) off the true surface."""
    figures = _accuracy_figures(cloud, distance_mm) | _completeness_figures(cloud, points, surface, threads)
    return figures | _f_figures(cloud, figures)


def _f_score(accuracy: float | None, completeness: float | None) -> float | None:
    if completeness is None:
        return None
    total = (accuracy or 0.0) + completeness
    return 2.0 * (accuracy or 0.0) * completeness / total if total > 0.0 else 0.0


def _sees(truth: SubjectTruth, image_id: int, places: Places) -> NDArray[np.bool_]:
    """Return whether a view sees places, (N,)."""
    pixels = appear(truth, image_id, places)
    shown = np.isfinite(pixels[:, 0]) & (viewing_cosine(truth, image_id, places) >= LEAST_COSINE)
    mask = load_mask(truth.views[image_id])
    if mask is not None:
        column, row = np.rint(pixels[shown]).astype(int).T
        shown[shown] = mask[row, column] > 0
    return shown
