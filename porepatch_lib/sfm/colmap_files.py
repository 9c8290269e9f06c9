"""Cameras and posed images from the files of a COLMAP model, text or binary (https://colmap.github.io/format.html).

pycolmap's own reader is for models that COLMAP has just written: of a binary file cut short it takes whatever numbers are
in memory or does not return, it cuts names in text files at a blank, and it asks for a points file. A file from a user is
therefore taken apart here, and every byte must be accounted for. Only cameras and images are read: newer models have rigs and
frames too, but an image still carries its own full pose.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pycolmap

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, checked_rotation
from porepatch_lib.sfm.colmap import from_colmap_camera, from_colmap_pose

_UNIT_LENGTH = 1e-3  # of a quaternion written with few digits
_LARGEST_SIDE_PX = 2**31 - 1
_POINT_BYTES = 24  # of an observed point in images.bin: x, y, identifier


@dataclass(frozen=True)
class _Image:
    """One registered image: `pose` is qw, qx, qy, qz, tx, ty, tz, world to camera."""

    name: str
    camera_id: int
    pose: tuple[float, ...]


@dataclass(frozen=True)
class _Camera:
    """One camera with COLMAP's pixel origin."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


def read_posed_images(folder: Path, names: Sequence[str]) -> dict[str, tuple[Camera, Pose]]:
    """Return cameras and poses of the images `names` of a COLMAP model, in our conventions.

    The binary files are read where there are both, as COLMAP does. An image is looked for by its full name, then by its file
    name alone.

    Raises:
        PorePatchError: if a file is missing or damaged, an image is missing, ambiguous or without its camera, a camera
            model is not ours, or a rotation is none.
    """
    # The more complete set of files; of two whole ones the first.
    suffix = max((".bin", ".txt"), key=lambda kind: sum((folder / f"{stem}{kind}").is_file() for stem in ("cameras", "images")))
    read_cameras, read_images = (_binary_cameras, _binary_images) if suffix == ".bin" else (_text_cameras, _text_images)
    cameras, images = read_cameras(folder / f"cameras{suffix}"), read_images(folder / f"images{suffix}")
    return {name: _converted(_find(name, images, folder), cameras, f"{name} in {folder}") for name in names}


def _find(name: str, images: Sequence[_Image], folder: Path) -> _Image:
    found = [image for image in images if image.name == name]
    found = found or [image for image in images if PurePosixPath(image.name.replace("\\", "/")).name == name]
    if not found:
        raise PorePatchError(
            f"The COLMAP model {folder} has no registered image {name}; give a model with all images, or take this one away."
        )
    if len(found) > 1:
        raise PorePatchError(
            f"The COLMAP model {folder} has {len(found)} images called {name} ({found[0].name}, {found[1].name}); "
            "give the images different file names and export the model again."
        )
    return found[0]


def _converted(image: _Image, cameras: Mapping[int, _Camera], where: str) -> tuple[Camera, Pose]:
    if image.camera_id not in cameras:
        raise PorePatchError(f"The camera {image.camera_id} of {where} is not in the model; export the model again.")
    camera = cameras[image.camera_id]
    try:
        # Ours first: pycolmap's takes any number of parameters.
        Camera(camera.model, camera.width, camera.height, camera.params)
    except PorePatchError as error:
        raise PorePatchError(f"{where}: {error}") from error
    w, x, y, z, *translation = image.pose
    if not abs(math.hypot(w, x, y, z) - 1.0) <= _UNIT_LENGTH:
        raise PorePatchError(f"The quaternion of {where} is not of unit length, so no rotation; export the model again.")
    pose = from_colmap_pose(pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([x, y, z, w])), np.array(translation)))
    converted = pycolmap.Camera(model=camera.model, width=camera.width, height=camera.height, params=camera.params)
    return from_colmap_camera(converted), Pose(checked_rotation(pose.rotation, where), pose.translation)


class _Bytes:
    """A binary file read piece by piece, which never reads beyond its end."""

    def __init__(self, file: Path) -> None:
        self._file, self._data, self._position = file, _content(file), 0

    def take(self, layout: str) -> tuple[float, ...]:
        """The next little-endian values, as `struct` writes layouts."""
        size = struct.calcsize(f"<{layout}")
        return struct.unpack(f"<{layout}", self._next(size))

    def text(self) -> str:
        """The next text, which ends with a zero byte."""
        end = self._data.find(b"\0", self._position)
        if end < 0:
            raise _damaged(self._file, "it ends too early")
        text = self._next(end + 1 - self._position)[:-1]
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            raise _damaged(self._file, "a name is not UTF-8") from None

    def skip(self, size: int) -> None:
        self._next(size)

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._position != len(self._data):
            raise _damaged(self._file, f"{len(self._data) - self._position} bytes too many")

    def _next(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise _damaged(self._file, "it ends too early")
        return self._data[start : self._position]


def _binary_cameras(file: Path) -> dict[int, _Camera]:
    data, cameras = _Bytes(file), {}
    for _ in range(int(data.take("Q")[0])):
        camera_id, model_id, width, height = (int(value) for value in data.take("IiQQ"))
        try:
            model = pycolmap.Camera.create_from_model_id(camera_id, pycolmap.CameraModelId(model_id), 1.0, 1, 1)
        except (ValueError, RuntimeError, IndexError):
            raise _damaged(file, f"there is no camera model {model_id}") from None
        cameras[camera_id] = _Camera(model.model.name, width, height, data.take(f"{len(model.params)}d"))
    data.finish()
    return cameras


def _binary_images(file: Path) -> list[_Image]:
    data, images = _Bytes(file), []
    for _ in range(int(data.take("Q")[0])):
        _, *pose, camera_id = data.take("I7dI")
        images.append(_Image(data.text(), int(camera_id), tuple(pose)))
        data.skip(int(data.take("Q")[0]) * _POINT_BYTES)
    data.finish()
    return images


def _text_cameras(file: Path) -> dict[int, _Camera]:
    cameras = {}
    for number, line in _lines(file):
        try:
            camera_id, model, width, height, *params = line.split()
            cameras[int(camera_id)] = _Camera(model, int(width), int(height), tuple(float(value) for value in params))
            if not all(0 < int(side) <= _LARGEST_SIDE_PX for side in (width, height)):
                raise ValueError
        except ValueError:
            raise _damaged(file, f"line {number} is no camera") from None
    return cameras


def _text_images(file: Path) -> list[_Image]:
    images = []
    lines = _lines(file, points_between=True)
    for number, line in lines:
        try:
            _, *pose, camera_id, name = line.split(maxsplit=9)  # a name may hold blanks
            images.append(_Image(name, int(camera_id), tuple(float(value) for value in pose)))
        except ValueError:
            raise _damaged(file, f"line {number} is no image") from None
        if len(pose) != 7:
            raise _damaged(file, f"line {number} is no image")
    return images


def _lines(file: Path, points_between: bool = False) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is no comment; `points_between`: the line after each is one of points."""
    try:
        lines = _content(file).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise _damaged(file, "it is not UTF-8 text") from None
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()
            if points_between:
                next(numbered, None)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise PorePatchError(f"The COLMAP model has no file {file}; export the whole model.") from None
    except OSError as error:
        raise PorePatchError(f"Cannot read the COLMAP file {file} ({error}); make it readable.") from error


def _damaged(file: Path, what: str) -> PorePatchError:
    return PorePatchError(f"The COLMAP file {file} is damaged ({what}); export the model again.")
