"""A small replica of the NeRSemble data set's layout: videos and a calibration made from photographs and their cameras."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, Pose

# FFmpeg reads this at the first video of a process; its writers talk much.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# Of the data set's 16 cameras.
SERIALS = (
    "220700191",
    "221501007",
    "222200036",
    "222200037",
    "222200038",
    "222200039",
    "222200040",
    "222200041",
    "222200042",
    "222200043",
    "222200044",
    "222200045",
    "222200046",
    "222200047",
    "222200048",
    "222200049",
)
SEQUENCE = "EXP-2-eyes"
RATE = 24.0


def write_replica(
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    serials: Sequence[str],
    cameras: Sequence[Camera],
    poses: Sequence[Pose],
    frames: int = 5,
    frame: int = 2,
    sequence: str = SEQUENCE,
    codec: str = "mp4v",
) -> Path:
    """Write one participant's folder and return it.

    Args:
        folder: the participant, such as `.../018`.
        images: one photograph per camera, BGR uint8 (H,W,3).
        serials: the cameras' serial numbers, in step with `images`.
        cameras: their intrinsics and distortion, written once if they are all alike and by serial number otherwise.
        poses: world to camera, in mm; the calibration is in metres.
        frames: length of each video.
        frame: number of the frame that is the photograph; in the others it is shifted and darker.
        sequence: its name.
        codec: four letters that OpenCV's writer takes for MP4.
    """
    world_2_cam = {serial: matrix_of(pose) for serial, pose in zip(serials, poses, strict=True)}
    calibration: dict[str, Any] = {"world_2_cam": world_2_cam}
    calibration["intrinsics"] = _shared(serials, [intrinsics_of(camera) for camera in cameras])
    if any(any(camera.distortion) for camera in cameras):
        calibration["distortion"] = _shared(serials, [list(camera.distortion) for camera in cameras])
    write_calibration(folder, calibration)
    for serial, image in zip(serials, images, strict=True):
        write_video(
            folder / "sequences" / sequence / "images" / f"cam_{serial}.mp4",
            lambda number, image=image: image if number == frame else _moved(image, number - frame),
            frames,
            codec,
        )
    return folder


def write_calibration(folder: Path, calibration: dict[str, Any]) -> None:
    """Write `calibration/camera_params.json` of a participant."""
    file = folder / "calibration" / "camera_params.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(calibration), encoding="utf-8")


def write_video(
    path: Path, picture: Callable[[int], NDArray[np.uint8]], frames: int, codec: str = "mp4v", rate: float = RATE
) -> None:
    """Write `picture(number)`, BGR uint8 (H,W,3), for every frame of an MP4 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = picture(0).shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(number))
    writer.release()


def matrix_of(pose: Pose) -> list[list[float]]:
    """The 4x4 world-to-camera matrix in metres of a pose in mm."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = pose.rotation, pose.translation / 1000.0
    return matrix.tolist()


def intrinsics_of(camera: Camera) -> list[list[float]]:
    """K (3x3) of a camera."""
    (fx, fy), (cx, cy) = camera.focal_px, camera.principal_point_px
    return [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]


def _shared(serials: Sequence[str], values: Sequence[Any]) -> Any:
    """One value if all are alike, or one by serial number."""
    alike = all(value == values[0] for value in values)
    return values[0] if alike else dict(zip(serials, values, strict=True))


def _moved(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    return np.roll(image // 2, 16 * step, axis=1)
