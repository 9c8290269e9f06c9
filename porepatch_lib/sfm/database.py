"""COLMAP's database: our cameras, images, keypoints and matches go in, verified matches come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.sfm.colmap import to_colmap_camera, to_colmap_id, to_colmap_pixels
from porepatch_lib.sfm.failure import ReconstructionError
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.sfm.two_view import two_view_options


def write_database(path: Path, views: Sequence[View], keypoints: Mapping[int, Keypoints], matches: pd.DataFrame) -> None:
    """Write a new database of one subject: a camera is its own rig, an image its own frame.

    Raises:
        ReconstructionError: if a match names a keypoint or view that does not exist, or a view twice.
    """
    counts = {view.image_id: len(keypoints[view.image_id]) if view.image_id in keypoints else 0 for view in views}
    pairs = _checked_pairs(matches, counts)
    with pycolmap.Database.open(path) as database:
        for view in {view.camera_id: view for view in views}.values():
            _write_camera(database, view)
        for view in views:
            _write_image(database, view)
            if counts[view.image_id]:
                database.write_keypoints(to_colmap_id(view.image_id), _colmap_keypoints(keypoints[view.image_id]))
        for (first, second), indices in pairs.items():
            database.write_matches(to_colmap_id(first), to_colmap_id(second), indices)


def verify(path: Path, settings: SfmSettings, seed: int, threads: int) -> tuple[int, int]:
    """Verify the matches of every pair geometrically (RANSAC on E, F and H). Returns the pairs and matches that passed.

    Every pair has the same seed, so the result does not depend on `threads`; only the order of the database's rows does.
    """
    verifier = pycolmap.GeometricVerifierOptions(num_threads=threads)
    pycolmap.geometric_verification(path, verifier, two_view_geometry_options=two_view_options(settings, seed))
    with pycolmap.Database.open(path) as database:
        inliers = [count for count in database.read_two_view_geometry_num_inliers()[1] if count >= settings.min_inliers]
    return len(inliers), sum(inliers)


def _write_camera(database: pycolmap.Database, view: View) -> None:
    camera = to_colmap_camera(view.camera, view.camera_id, view.focal_is_prior)
    database.write_camera(camera, use_camera_id=True)
    rig = pycolmap.Rig(rig_id=camera.camera_id)
    rig.add_ref_sensor(camera.sensor_id)
    database.write_rig(rig, use_rig_id=True)


def _write_image(database: pycolmap.Database, view: View) -> None:
    image_id, camera_id = to_colmap_id(view.image_id), to_colmap_id(view.camera_id)
    image = pycolmap.Image(name=view.name, camera_id=camera_id, image_id=image_id)
    database.write_image(image, use_image_id=True)
    frame = pycolmap.Frame(frame_id=image_id, rig_id=camera_id)
    frame.add_data_id(image.data_id)
    database.write_frame(frame, use_frame_id=True)


def _colmap_keypoints(keypoints: Keypoints) -> NDArray[np.float32]:
    """Return rows (N,4) of x, y (COLMAP's origin), scale, orientation."""
    return np.column_stack([to_colmap_pixels(keypoints.xy), keypoints.sigma, keypoints.angle]).astype(np.float32)


def _checked_pairs(matches: pd.DataFrame, counts: Mapping[int, int]) -> dict[tuple[int, int], NDArray[np.uint32]]:
    """Group matches by pair as keypoint indices (M,2), refusing those COLMAP would take silently."""
    pairs = {}
    for key, rows in matches.groupby(["image_id_1", "image_id_2"], sort=True):
        first, second = (int(str(image_id)) for image_id in key)
        if first >= second or first not in counts or second not in counts:
            raise ReconstructionError(f"the matches name the image pair ({first}, {second}), which was not captured")
        indices = rows[["keypoint_id_1", "keypoint_id_2"]].to_numpy(np.int64)
        if indices.min() < 0 or (indices.max(axis=0) >= (counts[first], counts[second])).any():
            raise ReconstructionError(f"the matches of images {first} and {second} name keypoints that do not exist")
        pairs[first, second] = indices.astype(np.uint32)
    return pairs
