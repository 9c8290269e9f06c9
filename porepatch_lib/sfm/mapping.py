"""COLMAP's mappers: incremental, or triangulation and bundle adjustment where the poses are known.

Everything is seeded and runs on one thread: the same seed gives the same model, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    return map_incrementally(database, scratch, settings, seed)


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


def map_incrementally(database: Path, scratch: Path, settings: SfmSettings, seed: int) -> pycolmap.Reconstruction:
    """Run the incremental mapper and return its largest model (registered images, then points).

    Raises:
        ReconstructionError: if no model reaches `settings.min_registered` views.
    """
    models = pycolmap.incremental_mapping(database, scratch, scratch, options=_options(settings, seed))
    ordered = sorted(models.items(), key=lambda item: (-item[1].num_reg_images(), -item[1].num_points3D(), item[0]))
    if not ordered or ordered[0][1].num_reg_images() < settings.min_registered:
        raise ReconstructionError(f"the mapper registered fewer than {settings.min_registered} views")
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
    options.triangulation.random_seed = seed
    options.triangulation.min_angle = settings.min_angle_deg
    options.triangulation.complete_max_reproj_error = settings.max_error_px
    options.triangulation.merge_max_reproj_error = settings.max_error_px
    options.triangulation.ignore_two_view_tracks = not settings.two_view_points
    return options
