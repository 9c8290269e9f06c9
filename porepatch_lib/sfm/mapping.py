"""COLMAP's mappers: incremental, global, or triangulation and bundle adjustment where the poses are known.

Everything is seeded and runs on one thread: the same seed gives the same model, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pycolmap

from porepatch_lib.captures.views import View
from porepatch_lib.sfm.colmap import posed_model
from porepatch_lib.sfm.failure import ReconstructionError
from porepatch_lib.sfm.settings import SfmSettings


def build_model(
    database: Path, views: Sequence[View], scratch: Path, settings: SfmSettings, seed: int
) -> pycolmap.Reconstruction:
    """Reconstruct from a verified database with the mapper the settings ask for. `scratch` is a folder to work in.

    Raises:
        ReconstructionError: if no model comes out.
    """
    pycolmap.set_random_seed(seed)
    all_posed = all(view.pose is not None for view in views)
    if settings.mapper == "known_poses" or (settings.mapper == "auto" and all_posed):
        return triangulate(database, views, scratch, settings, seed)
    if settings.mapper == "global":
        if any(not view.focal_is_prior for view in views):
            pycolmap.calibrate_view_graph(database, _calibration_options(seed))
        models = pycolmap.global_mapping(database, scratch, scratch, options=_global_options(settings, seed))
    else:
        models = pycolmap.incremental_mapping(database, scratch, scratch, options=_options(settings, seed))
    return _largest(models, settings.min_registered)


def triangulate(
    database: Path, views: Sequence[View], scratch: Path, settings: SfmSettings, seed: int
) -> pycolmap.Reconstruction:
    """Triangulate with the known poses, then bundle-adjust the points with the cameras fixed (one call of COLMAP).

    Intrinsics are refined only if the focal length of some camera is a guess.

    Raises:
        ReconstructionError: if a view has no pose or no point could be triangulated.
    """
    bare = next((view.name for view in views if view.pose is None), None)
    if bare is not None:
        raise ReconstructionError(f"the view {bare} has no known pose")
    posed = posed_model(views)
    options = _options(settings, seed)
    guessed = any(not view.focal_is_prior for view in views)
    model = pycolmap.triangulate_points(posed, database, scratch, scratch, options=options, refine_intrinsics=guessed)
    if model.num_points3D() == 0:
        raise ReconstructionError("no point could be triangulated from the known poses")
    return model


def _largest(models: Mapping[int, pycolmap.Reconstruction], min_registered: int) -> pycolmap.Reconstruction:
    """Return the model with most registered images, then points.

    Raises:
        ReconstructionError: if no model reaches `min_registered` views.
    """
    ordered = sorted(models.items(), key=lambda item: (-item[1].num_reg_images(), -item[1].num_points3D(), item[0]))
    if not ordered or ordered[0][1].num_reg_images() < min_registered:
        raise ReconstructionError(f"the mapper registered fewer than {min_registered} views")
    return ordered[0][1]


def _options(settings: SfmSettings, seed: int) -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = seed
    options.extract_colors = False
    options.min_num_matches = settings.min_inliers
    options.min_model_size = settings.min_registered
    options.ba_refine_focal_length = settings.refine_intrinsics
    options.ba_refine_extra_params = settings.refine_intrinsics
    options.mapper.num_threads = 1
    options.mapper.random_seed = seed
    options.mapper.init_max_error = settings.max_error_px
    options.mapper.init_min_num_inliers = settings.init_min_inliers
    options.mapper.init_min_tri_angle = settings.init_min_angle_deg
    options.mapper.filter_max_reproj_error = settings.max_error_px
    options.mapper.filter_min_tri_angle = settings.min_angle_deg
    options.mapper.abs_pose_refine_focal_length = settings.refine_intrinsics
    options.mapper.abs_pose_refine_extra_params = settings.refine_intrinsics
    _set_triangulation(options.triangulation, settings, seed)
    return options


def _global_options(settings: SfmSettings, seed: int) -> pycolmap.GlobalPipelineOptions:
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = 1
    options.random_seed = seed
    options.min_num_matches = settings.min_inliers
    options.min_model_size = settings.min_registered
    options.mapper.num_threads = 1
    options.mapper.random_seed = seed
    options.mapper.rotation_averaging.random_seed = seed
    options.mapper.global_positioning.random_seed = seed
    options.mapper.track_min_num_views_per_track = 2 if settings.two_view_points else 3
    options.mapper.min_tri_angle_deg = settings.min_angle_deg
    options.mapper.bundle_adjustment.refine_focal_length = settings.refine_intrinsics
    options.mapper.bundle_adjustment.refine_extra_params = settings.refine_intrinsics
    options.mapper.bundle_adjustment.min_track_length = options.mapper.track_min_num_views_per_track
    _set_triangulation(options.mapper.retriangulation, settings, seed)
    return options


def _set_triangulation(options: pycolmap.IncrementalTriangulatorOptions, settings: SfmSettings, seed: int) -> None:
    options.random_seed = seed
    options.min_angle = settings.min_angle_deg
    options.complete_max_reproj_error = settings.max_error_px
    options.merge_max_reproj_error = settings.max_error_px
    options.ignore_two_view_tracks = not settings.two_view_points


def _calibration_options(seed: int) -> pycolmap.ViewGraphCalibrationOptions:
    """Options for guessed focal lengths, which the global mapper, unlike the incremental one, does not refine on its way."""
    options = pycolmap.ViewGraphCalibrationOptions()
    options.random_seed = seed
    return options
