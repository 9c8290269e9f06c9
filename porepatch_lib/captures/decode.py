"""Image files to pixels, and the certainty that the file is whole."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
# A JPEG marker, in scan data too: neither a stuffed zero nor a restart marker nor padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_JPEG_END = 0xD9


def read_image_bytes(path: str | Path) -> bytes:
    """Read the file of a JPEG or PNG image.

    Raises:
        PorePatchError: if it is missing, unreadable, neither JPEG nor PNG, or ends too early.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PorePatchError(f"Cannot read the image {path} ({error.strerror}); restore it and run again.") from error
    if not data.startswith((_JPEG_START, _PNG_START)):
        raise PorePatchError(f"The image {path} is neither JPEG nor PNG; convert it, or take it out of its folder.")
    if not (_is_whole_png(data) if data.startswith(_PNG_START) else _is_whole_jpeg(data)):
        raise PorePatchError(f"The image {path} is truncated: its end is missing; copy it again from the camera.")
    return data


def decode(data: bytes, path: str | Path, flag: int) -> NDArray[np.generic]:
    """Decode a file read by `read_image_bytes`, in stored pixel order. `flag` is one of OpenCV's IMREAD flags.

    Returns:
        (H,W) or (H,W,3), uint8; uint16 if the flag includes IMREAD_ANYDEPTH and the file has 16 bits.

    Raises:
        PorePatchError: if the content is damaged.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise PorePatchError(f"Cannot read the image {path}: it is damaged; copy it again from the camera.")
    return np.asarray(image)


def _is_whole_jpeg(data: bytes) -> bool:
    """Walk the markers to the end of the image; the end of an embedded thumbnail lies inside a segment and is skipped."""
    position = len(_JPEG_START)
    while found := _JPEG_MARKER.search(data, position):
        start = found.start()
        if data[start + 1] == _JPEG_END:
            return True
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return False


def _is_whole_png(data: bytes) -> bool:
    """Walk the chunks to IEND; the decoder itself checks their sums."""
    position = len(_PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length
    return False
