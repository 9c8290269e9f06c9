"""The dense stage: depth maps of all views of a reconstructed subject, fused to one cloud."""

from __future__ import annotations

import logging
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porepatch_lib.captures.views import View, read_views
from porepatch_lib.dense.depth_maps import find_depth_maps
from porepatch_lib.dense.mesh import mesh_cloud
from porepatch_lib.dense.scene import DenseView, undistorted_view
from porepatch_lib.dense.settings import CPU, CUDA, DenseSettings
from porepatch_lib.dense.sources import choose_sources
from porepatch_lib.files import atomic_folder, write_json
from porepatch_lib.sfm.colmap import set_quiet
from porepatch_lib.sfm.failure import ReconstructionError
from porepatch_lib.sfm.model import SparseModel, read_sfm_folder
from porepatch_lib.sfm.workspace import fuse, has_cuda, mask_maps, match_with_cuda, write_maps, write_workspace
from porepatch_lib.threads import map_threads

_log = logging.getLogger(__name__)

_LEAST_VIEWS = 2


def densify_subject(
    subject: str,
    images: str | Path,
    sfm_folder: str | Path,
    output_folder: str | Path,
    settings: DenseSettings,
    seed: int,
    threads: int,
) -> str:
    """Write the dense cloud of a reconstructed subject into `output_folder`, in the world units of its sparse model.

    `fused.ply` (binary: x y z nx ny nz red green blue; absent on failure), `status.json`, with `settings.mesh` `mesh.ply` and
    `mesh.obj`, with `settings.keep_workspace` `workspace/`. What cannot be densified gets the status "failed" and a reason;
    nothing is raised for it. With our own patch match the same seed gives the same cloud, whatever `threads`.
    Returns the kind of device that the depth maps were computed on, "cpu" or "cuda".

    Raises:
        PorePatchError: if a photograph or the model cannot be read, or the model is of other views than `images`.
    """
    set_quiet(True)
    with atomic_folder(output_folder) as folder:
        status = _empty_status(subject)
        try:
            _densify(folder, read_views(images), Path(sfm_folder), settings, seed, threads, status)
        except ReconstructionError as failure:
            status.update(status="failed", reason=str(failure))
            _log.warning("%s could not be densified: %s.", subject, failure)
        if not settings.keep_workspace:
            shutil.rmtree(folder / "workspace", ignore_errors=True)
        write_json(folder / "status.json", status)
    return "cuda" if status["method"] == CUDA else "cpu"


def _densify(
    folder: Path, views: list[View], sfm_folder: Path, settings: DenseSettings, seed: int, threads: int, status: dict[str, Any]
) -> None:
    model = _read_model(sfm_folder, {view.image_id for view in views})
    sources = choose_sources(model.poses, model.xyz, model.observed_point, model.image_id, settings.sources)
    if sum(bool(listed) for listed in sources.values()) < _LEAST_VIEWS:
        raise ReconstructionError("no two views see the subject at an angle that gives depth")
    workspace, seconds = folder / "workspace", status["seconds"]
    with _timed(seconds, "undistortion"):
        dense = _undistorted(views, model, settings, threads)
        write_workspace(workspace, list(dense.values()), model, sources)
    largest = max(dense.values(), key=lambda view: view.camera.width * view.camera.height).camera
    status.update(views=len(dense), width=largest.width, height=largest.height)
    with _timed(seconds, "stereo"):
        kind = _stereo(workspace, dense, sources, model, settings, seed, threads, status)
    with _timed(seconds, "fusion"):
        pixels = settings.fused_pixels(len(views))
        points = fuse(workspace, folder / "fused.ply", kind, pixels, settings.fusion_error_px)
    status["dense_points"] = points
    if points == 0:
        raise ReconstructionError(f"no point was fused from {pixels} views")
    if settings.mesh:
        with _timed(seconds, "mesh"):
            mesh_cloud(folder / "fused.ply", list(dense.values()), folder)
    _log.info("%s: %d dense points of %d views.", status["subject"], points, len(dense))


def _read_model(sfm_folder: Path, image_ids: set[int]) -> SparseModel:
    state, model = read_sfm_folder(sfm_folder, image_ids)
    if model is None:
        raise ReconstructionError(f"there is no sparse model ({state['reason']})")
    if len(model.cameras) < _LEAST_VIEWS:
        raise ReconstructionError(f"the sparse model has {len(model.cameras)} registered views, fewer than {_LEAST_VIEWS}")
    if len(model.xyz) == 0:
        raise ReconstructionError("the sparse model has no points")
    return model


def _undistorted(views: list[View], model: SparseModel, settings: DenseSettings, threads: int) -> dict[int, DenseView]:
    registered = [view for view in views if view.image_id in model.cameras]

    def undistort(view: View) -> DenseView:
        image_id = view.image_id
        return undistorted_view(view, model.cameras[image_id], model.poses[image_id], settings.max_image_px)

    return {view.image_id: view for view in map_threads(undistort, registered, threads)}


def _stereo(
    workspace: Path,
    views: Mapping[int, DenseView],
    sources: Mapping[int, list[int]],
    model: SparseModel,
    settings: DenseSettings,
    seed: int,
    threads: int,
    status: dict[str, Any],
) -> str:
    """Fill the workspace with depth and normal maps; returns their kind."""
    if settings.method == CUDA or (settings.method == "auto" and has_cuda()):
        if not has_cuda():
            raise ReconstructionError(f"COLMAP's patch match needs a pycolmap with CUDA and a device; use {CPU}")
        status.update(method=CUDA, device="cuda")
        kind = match_with_cuda(workspace, settings.window_radius_px, settings.geometric)
        mask_maps(workspace, list(views.values()), kind)
        return kind
    status.update(method=CPU, device=_processor())
    for image_id, found in find_depth_maps(views, sources, model, settings, seed, threads).items():
        write_maps(workspace, image_id, found.depth, found.normals)
    return "geometric"


def _empty_status(subject: str) -> dict[str, Any]:
    counts: dict[str, int] = {"views": 0, "width": 0, "height": 0, "dense_points": 0}
    return {"subject": subject, "status": "ok", "reason": "", "method": "", "device": "", **counts, "seconds": {}}


def _processor() -> str:
    return platform.processor() or platform.machine()


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = round(time.perf_counter() - started, 3)
