"""One reconstruction against what is known of its subject: the ETH row, the errors of its cameras, the errors of its clouds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porepatch_lib.captures.views import View
from porepatch_lib.geometry import FloatArray, Pose
from porepatch_lib.reconstruction.alignment import IDENTITY, Similarity, are_given, camera_errors
from porepatch_lib.reconstruction.clouds import Cloud
from porepatch_lib.reconstruction.columns import TOLERANCES_MM
from porepatch_lib.reconstruction.surface import (
    Figures,
    ReconstructionTruthSettings,
    cloud_figures,
    nearest_on,
    normal_error_deg,
    visible_surface,
)
from porepatch_lib.reconstruction.surface_alignment import refine_on_surface
from porepatch_lib.rendering.truth import Mesh
from porepatch_lib.rendering.truth_files import truth_of
from porepatch_lib.sfm.model import SparseModel, read_sfm_folder

# Columns of the ETH row in the sfm stage's status. A failed model has none of the counts; its means are unknown.
_COUNTS = {
    "images": "views",
    "registered": "registered",
    "sparse_points": "points",
    "observations": "observations",
    "inlier_pairs": "verified_pairs",
    "inlier_matches": "verified_matches",
}
_MEANS = {
    "track_length": "mean_track_length",
    "observations_per_image": "mean_observations_per_image",
    "reprojection_error_px": "mean_reprojection_error_px",
}


@dataclass(frozen=True)
class KnownTruth:
    """What is known of a subject.

    kind: "surface", "poses" or "". poses: the true ones by image_id; metric: they are in mm. mesh, surface: of rendered subjects,
    the head and the points (S,3) mm of it that count for completeness.
    """

    kind: str
    poses: Mapping[int, Pose]
    metric: bool
    mesh: Mesh | None
    surface: FloatArray


@dataclass(frozen=True)
class Run:
    """One judged model of the sfm stage; `model` is None where it failed.

    frame: from the model's world to the true one, found by `alignment`: "given" (the model was made with the true poses and keeps
    its frame), "cameras", "surface", or "" where there is none. figures: by column. error_mm (P,): of its points, where known.
    """

    status: Mapping[str, Any]
    model: SparseModel | None
    frame: Similarity
    alignment: str
    figures: Figures
    error_mm: FloatArray | None = None


def known_truth(
    views: Mapping[int, View], truth_folder: Path | None, settings: ReconstructionTruthSettings, seed: int, threads: int
) -> KnownTruth:
    """Return what is known: the surface where there is a `truth` folder, else the poses where all views have one."""
    poses = {image_id: view.pose for image_id, view in views.items() if view.pose is not None}
    metric = all(view.metric for view in views.values())
    if truth_folder is not None:
        truth = truth_of(list(views.values()), truth_folder)
        return KnownTruth("surface", poses, metric, truth.reference, visible_surface(truth, settings, seed, threads))
    nowhere = np.empty((0, 3))
    return (
        KnownTruth("poses", poses, metric, None, nowhere)
        if len(poses) == len(views)
        else KnownTruth("", {}, False, None, nowhere)
    )


def judge_model(
    folder: Path, views: Mapping[int, View], truth: KnownTruth, settings: ReconstructionTruthSettings, threads: int
) -> Run:
    """Judge a folder of the sfm stage.

    Raises:
        PorePatchError: if the model cannot be read or is of other views.
    """
    status, model = read_sfm_folder(folder, views)
    figures: Figures = {name: status[key] for name, key in _COUNTS.items()}
    if model is None:
        return Run(status, None, IDENTITY, "", figures | missed("sparse", truth))
    figures |= {name: status[key] for name, key in _MEANS.items()}
    frame, alignment = _align(model, truth, settings, figures, threads)
    if not alignment or truth.mesh is None:
        return Run(status, model, frame, alignment, figures | missed("sparse", truth))
    error_mm, of_cloud = _judge_points("sparse", frame.apply(model.xyz), None, truth.mesh, truth.surface, threads)
    return Run(status, model, frame, alignment, figures | of_cloud, error_mm)


def missed(cloud: str, truth: KnownTruth) -> Figures:
    """Return the figures of a cloud that does not exist or cannot be laid over the truth: of the surface it has nothing."""
    if truth.mesh is None:
        return {}
    return {f"{cloud}_{name}_{tolerance:g}mm": 0.0 for tolerance in TOLERANCES_MM for name in ("completeness", "f")}


def judge_dense(cloud: Cloud, run: Run, truth: KnownTruth, threads: int) -> tuple[FloatArray | None, Figures]:
    """Return the errors (N,) in mm of a fused cloud, in the frame of the truth, None where unknown, and its figures."""
    if truth.mesh is None or not run.alignment:
        return None, missed("dense", truth)
    return _judge_points("dense", cloud.xyz, cloud.normals, truth.mesh, truth.surface, threads)


def _align(
    model: SparseModel, truth: KnownTruth, settings: ReconstructionTruthSettings, figures: Figures, threads: int
) -> tuple[Similarity, str]:
    """Return frame and alignment of a model, see `Run`, and add the errors of cameras that were not given to `figures`."""
    errors = camera_errors(model.poses, truth.poses)
    if errors is None:
        return IDENTITY, ""
    if are_given(model.poses, truth.poses):
        return errors.similarity, "given"
    figures["rotation_error_deg"] = float(np.median(errors.rotation_deg))
    if truth.metric:
        figures["position_error_mm"] = float(np.median(errors.position))
        figures["largest_position_error_mm"] = float(errors.position.max())
    if truth.mesh is None or len(model.xyz) < settings.min_alignment_points:
        return errors.similarity, "cameras"
    return refine_on_surface(truth.mesh, model.xyz, errors.similarity, threads), "surface"


def _judge_points(
    cloud: str, points: FloatArray, normals: FloatArray | None, mesh: Mesh, surface: FloatArray, threads: int
) -> tuple[FloatArray, Figures]:
    nearest = nearest_on(mesh, points, threads)
    figures = cloud_figures(cloud, points, nearest.distance_mm, surface, threads)
    if normals is not None:
        figures["normal_error_deg"] = normal_error_deg(mesh, nearest, normals)
    return nearest.distance_mm, figures
