"""`database.db` of an ETH dataset: COLMAP's cameras and images, written for others and read from them.

The tables of cameras and images have been the same since COLMAP 3.1, with which the datasets were published. They are read
with SQLite itself: COLMAP would add its newer tables to the user's file, and trusts lengths and numbers that a damaged file
gets wrong.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera
from porepatch_lib.sfm.colmap import from_colmap_camera
from porepatch_lib.sfm.database import write_database
from porepatch_lib.tables import MATCHES, empty_frame

_CAMERAS = "SELECT camera_id, model, width, height, params, prior_focal_length FROM cameras"
_IMAGES = "SELECT name, camera_id FROM images ORDER BY name"
_LARGEST_SIDE_PX = 2**31 - 1


@dataclass(frozen=True)
class DatabaseImage:
    """The camera of an image, in our conventions; images with one `camera_id` (COLMAP's) share it."""

    camera_id: int
    camera: Camera
    focal_is_prior: bool


def write_eth_database(path: Path, views: Sequence[View], names: Mapping[int, str]) -> None:
    """Write a new database with the cameras and images of views and nothing else. `names`: of the images, by image_id."""
    renamed = [replace(view, name=names[view.image_id]) for view in views]
    write_database(path, renamed, {}, empty_frame(MATCHES))


def read_eth_database(path: Path) -> dict[str, DatabaseImage]:
    """Read the cameras of all images of a database, by image name. The file is not touched: a copy of it is opened.

    Raises:
        PorePatchError: if it is missing, no database of COLMAP, or damaged, has no image, an image without its camera, a
            camera of a model that is not ours, or one with numbers that no camera has.
    """
    cameras_read, images = _rows(path)
    cameras = {row[0]: row for row in cameras_read}
    if not images:
        raise PorePatchError(f"The database {path} has no images; give one with the cameras and images of the dataset.")
    found = {}
    for name, camera_id in images:
        if not isinstance(name, str) or not name:
            raise _damaged(path, "an image has no name")
        if camera_id not in cameras:
            raise _damaged(path, f"the image {name} has no camera")
        found[name] = _image(cameras[camera_id], f"{name} in {path}")
    return found


def _rows(path: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """All rows of cameras and images."""
    if not path.is_file():
        raise PorePatchError(f"The dataset has no {path}; give COLMAP's database with its cameras and images.")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "database.db"
        try:
            # Rows that COLMAP has not yet moved into the database itself lie in the file beside it.
            for suffix in ("", "-wal"):
                if (extra := path.with_name(path.name + suffix)).is_file():
                    shutil.copyfile(extra, copy.with_name(copy.name + suffix))
        except OSError as error:
            raise PorePatchError(f"Cannot read the database {path} ({error.strerror}); make it readable.") from error
        try:
            with closing(sqlite3.connect(copy)) as connection:
                return connection.execute(_CAMERAS).fetchall(), connection.execute(_IMAGES).fetchall()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise PorePatchError(
                f"{path} is damaged or no database of COLMAP ({error}); copy it again, or make it anew with COLMAP."
            ) from error


def _image(row: tuple[Any, ...], where: str) -> DatabaseImage:
    camera_id, model_id, width, height, params, prior = row
    if not all(isinstance(side, int) and 0 < side <= _LARGEST_SIDE_PX for side in (width, height)):
        raise _damaged(where, f"its camera is {width} x {height} px")
    try:
        model = pycolmap.Camera.create_from_model_id(1, pycolmap.CameraModelId(model_id), 1.0, width, height)
    except (ValueError, RuntimeError, IndexError, TypeError):
        raise _damaged(where, f"there is no camera model {model_id}") from None
    if not isinstance(params, bytes) or len(params) != 8 * len(model.params):
        raise _damaged(where, f"a camera {model.model.name} has {len(model.params)} parameters")
    values = np.frombuffer(params, "<f8")
    try:
        Camera(model.model.name, width, height, tuple(values))
    except PorePatchError as error:
        raise PorePatchError(f"{where}: {error}") from error
    model.params = values.tolist()
    camera = from_colmap_camera(model)
    if not np.isfinite(values).all() or min(camera.focal_px) <= 0.0:
        raise _damaged(where, f"its focal length is {values[0]:g} px")
    return DatabaseImage(camera_id, camera, bool(prior))


def _damaged(where: str | Path, what: str) -> PorePatchError:
    return PorePatchError(f"The database entry {where} is damaged ({what}); make the database again with COLMAP.")
