"""One frame of a video file, exactly.

Seeking in a compressed video lands on what the container's index and time stamps say, so the file is decoded from its start
instead: frame i is the i-th picture that the decoder gives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

# Boxes that may come first (ISO/IEC 14496-12 and QuickTime).
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
_FFMPEG_LOG_LEVEL, _AV_LOG_QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


@dataclass(frozen=True)
class Moment:
    """When a frame is: its time in the video and the time between frames (ms), and how many frames the file declares."""

    time_ms: float
    interval_ms: float
    declared_frames: int


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep OpenCV and its FFmpeg off the terminal: what they complain about becomes one sentence of ours.

    Not for several threads at once; put it around them. FFmpeg reads its level once, at the first video of the process.
    """
    os.environ.setdefault(_FFMPEG_LOG_LEVEL, _AV_LOG_QUIET)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def read_frame(path: str | Path, index: int) -> tuple[NDArray[np.uint8], Moment]:
    """Decode an MP4 file from its start up to frame `index` (from 0), with one thread.

    Returns:
        The picture, BGR uint8 (H,W,3), and its moment.

    Raises:
        PorePatchError: if the file is missing, no MP4, cut short, of an unknown codec, or ends before the frame.
    """
    path = Path(path)
    _check_container(path)
    # Absolute, so that FFmpeg takes no part of the path for a protocol.
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise PorePatchError(f"OpenCV cannot decode the video {path}: its codec is unknown; convert it to H.264.")
        return _grab(capture, path, index)
    finally:
        capture.release()


def _grab(capture: cv2.VideoCapture, path: Path, index: int) -> tuple[NDArray[np.uint8], Moment]:
    declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for number in range(index + 1):
        if capture.grab():
            continue
        if declared > index:
            raise PorePatchError(f"The video {path} is damaged after {number} of its {declared} frames; download it again.")
        raise PorePatchError(
            f"The video {path} has {number} frames and so none of number {index}, as the first is number 0; choose an earlier "
            "nersemble.frame, or download the video again."
        )
    decoded, image = capture.retrieve()
    if not decoded or image is None:
        raise PorePatchError(f"Frame {index} of the video {path} cannot be decoded; download it again.")
    rate = capture.get(cv2.CAP_PROP_FPS)
    interval_ms = 1000.0 / rate if rate > 0.0 else 0.0
    return np.asarray(image, np.uint8), Moment(capture.get(cv2.CAP_PROP_POS_MSEC), interval_ms, declared)


def _check_container(path: Path) -> None:
    """Refuse what is no MP4, or one cut short, before a decoder sees it."""
    try:
        boxes = list(_whole_boxes(path))
    except OSError as error:
        raise PorePatchError(f"Cannot read the video {path} ({error.strerror}); restore it and run again.") from error
    if boxes[:1] == [b""]:
        raise PorePatchError(f"The file {path} is no MP4 video; download it again.")
    if b"moov" not in boxes or b"mdat" not in boxes:
        raise PorePatchError(f"The video {path} is truncated: its end is missing; download it again.")


def _whole_boxes(path: Path) -> Iterator[bytes]:
    """Yield the type of every top-level box that ends inside the file; b"" first if the file does not begin with a known one."""
    size = path.stat().st_size
    position = 0
    with path.open("rb") as stream:
        while True:
            stream.seek(position)
            header = stream.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if position == 0 and kind not in _FIRST_BOXES:
                yield b""
            if length == 1:  # a 64 bit length follows
                length = int.from_bytes(header[8:16], "big")
            elif length == 0 and len(header) >= 8:  # to the end of the file
                length = size - position
            position += length
            if length < 8 or position > size:
                return
            yield kind
