"""Image files to pixels, and the certainty that the file is whole."""

from __future__ import annotations

import hashlib
import io
import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.headers import JPEG_START, PNG_START, TIFF_STARTS, is_whole_tiff, tiff_bits
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_image

# Camera raw is told by its name: most of it begins as TIFF.
RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff"),
    *(".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef"),
    *(".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)

# A JPEG marker, in scan data too: neither a stuffed zero nor a restart marker nor padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_JPEG_END = 0xD9
_TIFF_ORIENTATION = 274
# How other image files begin: place, bytes, name.
_OTHERS = (
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyp", "HEIC"),
    (0, b"BM", "BMP"),
    (0, b"8BPS", "a Photoshop file"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"%PDF", "PDF"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
)


def read_image_bytes(path: str | Path) -> bytes:
    """Read the file of a JPEG, PNG or TIFF image.

    Raises:
        PorePatchError: if it is missing, unreadable, empty, of another format, or ends too early.
    """
    path = Path(path)
    data = read_file(path)
    if path.suffix.lower() in RAW_SUFFIXES:
        raise PorePatchError(f"The image {path} is camera raw, which is not read here; develop it to TIFF or PNG.")
    if not data.startswith((JPEG_START, PNG_START, *TIFF_STARTS)):
        raise PorePatchError(
            f"The image {path} is {_other_format(data)}neither JPEG nor PNG nor TIFF; convert it, or take it out of its folder."
        )
    if not _is_whole(data):
        raise PorePatchError(f"The image {path} is truncated: its end is missing; copy it again from the camera.")
    return data


def read_file(path: Path) -> bytes:
    """Read a user's file. Raises PorePatchError if it is missing, no file, unreadable or empty."""
    if path.exists() and not path.is_file():
        raise PorePatchError(f"{path} has the name of an image but is a folder or a device; rename it or take it away.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PorePatchError(f"Cannot read the image {path} ({error.strerror}); restore it and run again.") from error
    if not data:
        raise PorePatchError(f"The image {path} is empty (zero bytes); copy it again from the camera.")
    return data


def hash_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a user's file. Raises as `read_file`."""
    return hashlib.sha256(read_file(path)).hexdigest()


def decode(data: bytes, path: str | Path, flag: int) -> NDArray[np.generic]:
    """Decode a file read by `read_image_bytes`, in stored pixel order. `flag` is one of OpenCV's IMREAD flags.

    JPEG, and TIFF without compression, have no check sums: damage to their pixels alone cannot be told from a strange picture.
    TIFF is decoded with IMREAD_UNCHANGED only.

    Returns:
        (H,W) or (H,W,3), uint8; uint16 if the flag includes IMREAD_ANYDEPTH and the file has 16 bits; (H,W,4) too
        with IMREAD_UNCHANGED.

    Raises:
        PorePatchError: if the content is damaged.
    """
    is_tiff = data.startswith(TIFF_STARTS)
    if is_tiff and flag != cv2.IMREAD_UNCHANGED:
        raise ValueError("TIFF is decoded unchanged only")
    try:
        image = _decode_tiff(data) if is_tiff else _decode_by_opencv(data, flag)
    except (cv2.error, OSError, SyntaxError, ValueError):
        image = None
    if image is None:
        raise PorePatchError(f"Cannot read the image {path}: it is damaged; copy it again from the camera.")
    return np.asarray(image)


def write_png(target: Path, image: NDArray[np.uint8]) -> None:
    """Write (H,W) or (H,W,3) BGR uint8 as PNG without metadata."""
    write_image(target, image, ".png")


def _is_whole_jpeg(data: bytes) -> bool:
    """Walk the markers to the end of the image; the end of an embedded thumbnail lies inside a segment and is skipped."""
    position = len(JPEG_START)
    while found := _JPEG_MARKER.search(data, position):
        start = found.start()
        if data[start + 1] == _JPEG_END:
            return True
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return False


def _is_whole_png(data: bytes) -> bool:
    """Walk the chunks to IEND; the decoder itself checks their sums."""
    position = len(PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length
    return False


def _is_whole(data: bytes) -> bool:
    if data.startswith(TIFF_STARTS):
        return is_whole_tiff(data)
    return _is_whole_png(data) if data.startswith(PNG_START) else _is_whole_jpeg(data)


def _other_format(data: bytes) -> str:
    return next((f"{name}, " for place, start, name in _OTHERS if data[place:].startswith(start)), "")


def _decode_by_opencv(data: bytes, flag: int) -> NDArray[Any] | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)


def _decode_tiff(data: bytes) -> NDArray[Any] | None:
    """Decode up to 8 bits with Pillow, since OpenCV returns what it got of a damaged file, and 16 bits with OpenCV."""
    from PIL.TiffImagePlugin import TiffImageFile

    data = _without_orientation(data)
    if tiff_bits(data) == 16:
        return _decode_by_opencv(data, cv2.IMREAD_UNCHANGED)
    with TiffImageFile(io.BytesIO(data)) as image:
        mode = {"1": "L", "L": "L", "LA": "RGBA", "RGBA": "RGBA", "PA": "RGBA"}.get(image.mode, "RGB")
        pixels = np.asarray(image.convert(mode))
    if pixels.ndim == 2:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if mode == "RGB" else cv2.COLOR_RGBA2BGRA))


def _without_orientation(data: bytes) -> bytes:
    """Set the orientation of a TIFF file to 1: both decoders apply it, asked or not."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, start)
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", data, place)
        if tag == _TIFF_ORIENTATION and value != 1:
            return data[:place] + struct.pack(order + "HHIH", tag, kind, count, 1) + data[place + 10 :]
    return data
