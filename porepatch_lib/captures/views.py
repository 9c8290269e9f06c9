"""The views of a captured subject, read from `images.parquet`, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.decode import decode, read_image_bytes
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.tables import IMAGES, read_table, write_table

_EXIF_OPERATIONS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True)
class View:
    """One photograph of a subject with its camera, and its pose (world to camera) where known; `metric`: in millimetres."""

    image_id: int
    name: str
    path: Path
    mask_path: Path | None
    sha256: str
    orientation: int
    camera_id: int
    camera: Camera
    focal_is_prior: bool
    pose: Pose | None
    metric: bool = False


def orient(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation code (1..8) to an image (H,W) or (H,W,C) in stored pixel order."""
    return np.ascontiguousarray(_EXIF_OPERATIONS[orientation](image))


def read_views(table_path: str | Path) -> list[View]:
    """Read the views of one subject, sorted by image_id."""
    folder = Path(table_path).parent
    frame = read_table(table_path, IMAGES).sort_values("image_id")
    return [_view(row, folder) for row in frame.itertuples()]


def write_views(table_path: str | Path, views: Sequence[View]) -> None:
    """Write views as the `images` table; paths below the table's folder are stored relative to it."""
    folder = Path(table_path).parent
    write_table(table_path, pd.DataFrame([_row(view, folder) for view in views], columns=IMAGES.schema.names), IMAGES)


def load_grey(view: View) -> NDArray[np.uint8]:
    """Load a view as grey uint8 (H,W), upright.

    Raises:
        PorePatchError: if the file is missing, unreadable, truncated or of another size than declared.
    """
    return _load(view, cv2.IMREAD_GRAYSCALE)


def load_colour(view: View) -> NDArray[np.uint8]:
    """Load a view as BGR uint8 (H,W,3), upright. Raises as `load_grey`."""
    return _load(view, cv2.IMREAD_COLOR)


def load_mask(view: View) -> NDArray[np.uint8] | None:
    """Load the view's mask (H,W) uint8, 255 = keep, or None where the view has none."""
    if view.mask_path is None:
        return None
    mask = cv2.imread(str(view.mask_path), cv2.IMREAD_GRAYSCALE)
    if mask is None or mask.shape != (view.camera.height, view.camera.width):
        raise PorePatchError(f"The mask {view.mask_path} is unreadable or not of its image's size; delete it and run again.")
    return np.asarray(mask, np.uint8)


def _load(view: View, flag: int) -> NDArray[np.uint8]:
    image = decode(read_image_bytes(view.path), view.path, flag)
    upright = orient(np.asarray(image, np.uint8), view.orientation)
    if upright.shape[:2] != (view.camera.height, view.camera.width):
        raise PorePatchError(f"The image {view.path} changed its size since it was captured; restore it and run again.")
    return upright


def _view(row: object, folder: Path) -> View:
    get = row._asdict()  # type: ignore[attr-defined]
    pose = Pose(np.array(get["rotation"]).reshape(3, 3), np.array(get["translation"])) if get["has_pose"] else None
    return View(
        image_id=int(get["image_id"]),
        name=get["name"],
        path=folder / get["path"],
        mask_path=folder / get["mask_path"] if get["mask_path"] else None,
        sha256=get["sha256"],
        orientation=int(get["orientation"]),
        camera_id=int(get["camera_id"]),
        camera=Camera(get["camera_model"], int(get["width"]), int(get["height"]), tuple(float(p) for p in get["camera_params"])),
        focal_is_prior=bool(get["focal_is_prior"]),
        pose=pose,
        metric=bool(get["metric"]),
    )


def _row(view: View, folder: Path) -> dict[str, object]:
    return {
        "image_id": view.image_id,
        "name": view.name,
        "path": _relative(view.path, folder),
        "mask_path": _relative(view.mask_path, folder) if view.mask_path else "",
        "sha256": view.sha256,
        "orientation": view.orientation,
        "width": view.camera.width,
        "height": view.camera.height,
        "camera_id": view.camera_id,
        "camera_model": view.camera.model,
        "camera_params": list(view.camera.params),
        "focal_is_prior": view.focal_is_prior,
        "has_pose": view.pose is not None,
        "metric": view.metric,
        "rotation": view.pose.rotation.ravel().tolist() if view.pose else [float("nan")] * 9,
        "translation": view.pose.translation.tolist() if view.pose else [float("nan")] * 3,
    }


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_posix()
