"""The structure-from-motion stage: one folder per subject, with a status even where it fails."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pycolmap

from porepatch_lib.captures.views import View, read_views
from porepatch_lib.files import atomic_folder, require_room, write_json
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints
from porepatch_lib.sfm.colmap import set_quiet
from porepatch_lib.sfm.database import verify, write_database
from porepatch_lib.sfm.failure import ReconstructionError
from porepatch_lib.sfm.mapping import build_model
from porepatch_lib.sfm.model import write_model
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.tables import MATCHES, read_table

_log = logging.getLogger(__name__)


def reconstruct_subject(
    subject: str,
    images: str | Path,
    keypoints: str | Path,
    matches: str | Path,
    output_folder: str | Path,
    settings: SfmSettings,
    seed: int,
    threads: int,
) -> None:
    """Reconstruct a subject into `output_folder`: `database.db`, `model/` (COLMAP binary, absent on failure), `status.json`.

    A subject that cannot be reconstructed gets the status "failed" and a reason; nothing is raised for it. The same seed
    gives the same model, bit for bit; on one thread also the same database file.
    """
    views, found, table = read_views(images), read_keypoints(keypoints), read_table(matches, MATCHES)
    set_quiet(True)
    with atomic_folder(output_folder) as folder:
        status = _empty_status(subject, len(views))
        try:
            _reconstruct(folder, views, found, table, settings, seed, threads, status)
        except ReconstructionError as failure:
            status.update(status="failed", reason=str(failure))
            _log.warning("%s could not be reconstructed: %s.", subject, failure)
        write_json(folder / "status.json", status)


def _reconstruct(
    folder: Path,
    views: Sequence[View],
    keypoints: Mapping[int, Keypoints],
    matches: pd.DataFrame,
    settings: SfmSettings,
    seed: int,
    threads: int,
    status: dict[str, Any],
) -> None:
    if not any(len(found) for found in keypoints.values()):
        raise ReconstructionError("no view has keypoints")
    if matches.empty:
        raise ReconstructionError("no pair of views has matches")
    database = folder / "database.db"
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        write_database(database, views, keypoints, matches)
        status["verified_pairs"], status["verified_matches"] = verify(database, settings, seed, threads)
        if status["verified_pairs"] == 0:
            raise ReconstructionError(f"no pair of views has {settings.min_inliers} verified matches")
        model = build_model(database, views, scratch, settings, seed)
        write_model(model, folder / "model")
        status.update(_figures(model))
        _log.info("%s: %d of %d views, %d points.", status["subject"], status["registered"], status["views"], status["points"])
    except (RuntimeError, ValueError) as error:
        require_room(folder)  # a full disk is not the subject's failure, and COLMAP does not name it
        # COLMAP's own checks; what it says names the cause better than we could.
        raise ReconstructionError(f"COLMAP stopped ({error})") from error
    finally:
        shutil.rmtree(scratch)


def _empty_status(subject: str, views: int) -> dict[str, Any]:
    return {
        "subject": subject,
        "status": "ok",
        "reason": "",
        "views": views,
        "registered": 0,
        "points": 0,
        "observations": 0,
        "mean_track_length": 0.0,
        "mean_observations_per_image": 0.0,
        "mean_reprojection_error_px": 0.0,
        "verified_pairs": 0,
        "verified_matches": 0,
    }


def _figures(model: pycolmap.Reconstruction) -> dict[str, float]:
    return {
        "registered": model.num_reg_images(),
        "points": model.num_points3D(),
        "observations": model.compute_num_observations(),
        "mean_track_length": model.compute_mean_track_length(),
        "mean_observations_per_image": model.compute_mean_observations_per_reg_image(),
        "mean_reprojection_error_px": model.compute_mean_reprojection_error(),
    }
