"""The evaluate stage: the ETH row, truth metrics and clouds of one descriptor on one subject."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, read_array, read_json, write_json
from porepatch_lib.matching.match import calibrated_ratio
from porepatch_lib.progress import progress
from porepatch_lib.reconstruction.clouds import read_cloud, sparse_cloud, write_cloud
from porepatch_lib.reconstruction.columns import COLUMNS
from porepatch_lib.reconstruction.judge import KnownTruth, Run, judge_dense, judge_model, known_truth, missed
from porepatch_lib.reconstruction.repeats import row_over_seeds
from porepatch_lib.reconstruction.surface import Figures, ReconstructionTruthSettings

_LOG = logging.getLogger(__name__)

_LEAST_FRONT = 0.2  # length of the mean of the viewing directions


def evaluate_reconstruction(
    subject: str,
    descriptor: str,
    variant: str,
    features: str,
    learned: bool,
    descriptors: Path,
    ratio: float | None,
    calibration: Path | None,
    images: Path,
    truth_folder: Path | None,
    sfm_folders: Sequence[Path],
    seeds: Sequence[int],
    dense_folder: Path | None,
    output_folder: Path,
    settings: ReconstructionTruthSettings,
    seed: int,
    threads: int,
) -> None:
    """Judge the reconstructions of one subject with one descriptor; write `metrics.json`, `sparse.ply` and `dense.ply`.

    The clouds are those of the first seed that did not fail and of the dense folder, absent where nothing came out, in the frame
    of the truth where there is one. A failed run has zeros in its counts; its other figures are null.

    Args:
        features: whose keypoints they are: "project", "colmap" or "given".
        descriptors: rows of the descriptor, for its dimension.
        ratio, calibration: of the ratio test of the matches, and where it was calibrated the JSON of `calibrate_ratio` instead.
        truth_folder: `truth` of a rendered subject; without it, the poses of the views are the truth where all have one.
        sfm_folders: one folder of the sfm stage per entry of `seeds`.
        dense_folder: the dense reconstruction of the first seed, or None where none was asked for.
        seed: draws the surface points.

    Raises:
        PorePatchError: if there are not as many folders as seeds, or a model or cloud is damaged or of other views.
    """
    if len(sfm_folders) != len(seeds) or not seeds:
        raise PorePatchError(
            f"{subject}, {descriptor}: {len(sfm_folders)} reconstructions for {len(seeds)} seeds; give one each."
        )
    views = {view.image_id: view for view in read_views(images)}
    truth = known_truth(views, truth_folder, settings, seed, threads)
    runs = [judge_model(folder, views, truth, settings, threads) for folder in progress(sfm_folders, "evaluate", "seed")]
    shown = next((run for run in runs if run.model is not None), runs[0])
    with atomic_folder(output_folder) as folder:
        if shown.model is not None:
            write_cloud(folder / "sparse.ply", sparse_cloud(shown.model, views).moved(shown.frame), shown.error_mm)
        dense_status, dense_figures = _dense(dense_folder, runs[0], truth, folder / "dense.ply", threads)
        figures = [runs[0].figures | dense_figures, *(run.figures for run in runs[1:])]
        metrics = {
            "subject": subject,
            "descriptor": descriptor,
            "variant": variant,
            "features": features,
            "learned": learned,
            "dimension": int(read_array(descriptors).shape[1]),
            "ratio": _as_text(ratio if calibration is None else calibrated_ratio(calibration)),
            "status": "ok" if any(run.model is not None for run in runs) else "failed",
            "reason": _reason(runs, seeds, dense_status),
            "seeds": list(seeds),
            "dense_method": dense_status.get("method", ""),
            "truth": truth.kind,
            "alignment": shown.alignment,
            "front": _front(shown),
            "row": row_over_seeds([column.name for column in COLUMNS], figures),
        }
        write_json(folder / "metrics.json", metrics)
    counts = (shown.status[key] for key in ("registered", "views", "points"))
    _LOG.info("%s, %s: %d of %d views, %d points.", subject, descriptor, *counts)


def _as_text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:g}"


def _front(run: Run) -> dict[str, list[float]] | None:
    """Return the mean viewing direction and the up of the cameras in the frame of the clouds; None without a model."""
    if run.model is None:
        return None
    rotations = np.array([pose.rotation for pose in run.model.poses.values()])
    mean = rotations.mean(axis=0)
    if np.linalg.norm(mean[2]) < _LEAST_FRONT:  # cameras all around have no front in common
        mean = rotations[0]
    direction, up = run.frame.turn(np.stack([mean[2], -mean[1]]))
    return {"direction": direction.tolist(), "up": up.tolist()}


def _dense(folder: Path | None, run: Run, truth: KnownTruth, output: Path, threads: int) -> tuple[dict[str, Any], Figures]:
    """Judge the dense folder of a run and write its cloud to `output`; returns its status and figures."""
    if folder is None:
        return {}, {}
    status = read_json(folder / "status.json")
    if status["status"] != "ok":
        return status, {"dense_points": 0, **missed("dense", truth)}
    if run.model is None:
        raise PorePatchError(f"The dense reconstruction {folder} has no sparse one any more; delete it and run again.")
    fused, _ = read_cloud(folder / "fused.ply")
    cloud = fused.moved(run.frame)
    error_mm, figures = judge_dense(cloud, run, truth, threads)
    write_cloud(output, cloud, error_mm)
    return status, {"dense_points": len(cloud), **figures}


def _reason(runs: Sequence[Run], seeds: Sequence[int], dense_status: dict[str, Any]) -> str:
    """Say in a clause what failed, "" where nothing did."""
    failed = [(seed, run.status["reason"]) for seed, run in zip(seeds, runs, strict=True) if run.model is None]
    if len(failed) == len(runs):
        return str(failed[0][1])
    clauses = [f"seed {seed}: {reason}" for seed, reason in failed]
    if dense_status.get("status", "ok") != "ok":
        clauses.append(f"dense: {dense_status['reason']}")
    return "; ".join(clauses)
