"""Image files without what they tell beside their pixels: of EXIF, nothing about who, where and when leaves the house."""

from __future__ import annotations

import re

from porepatch_lib.captures.headers import JPEG_START, PNG_START

_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_JPEG_SCAN, _JPEG_COMMENT = 0xDA, 0xFE
# Application segments are 0xE0..0xEF; the first says JFIF and the fifteenth how Adobe stores colours.
_JPEG_DROPPED = (*range(0xE1, 0xEE), 0xEF, _JPEG_COMMENT)
# A marker in scan data: neither a stuffed zero nor a restart marker nor padding.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_END = 0xD9


def without_metadata(data: bytes) -> bytes | None:
    """Return a whole JPEG or PNG file of the same pixels without comments, EXIF, profiles or anything after its end.

    None for any other file.
    """
    if data.startswith(PNG_START):
        return PNG_START + b"".join(_png_chunks(data))
    return JPEG_START + b"".join(_jpeg_segments(data)) if data.startswith(JPEG_START) else None


def _png_chunks(data: bytes) -> list[bytes]:
    chunks, place = [], len(PNG_START)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if kind in _PNG_CHUNKS:
            chunks.append(data[place:end])
        place = len(data) if kind == b"IEND" else end
    return chunks


def _jpeg_segments(data: bytes) -> list[bytes]:
    """Segments up to the end of the image; what follows a segment without a marker is scan data and belongs to it."""
    segments: list[bytes] = []
    place = len(JPEG_START)
    while found := _JPEG_MARKER.search(data, place):
        start, marker = found.start(), found.group(1)[0]
        if marker == _JPEG_END:
            return [*segments, data[start : start + 2]]
        length = 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        place = start + length
        following = _JPEG_MARKER.search(data, place) if marker == _JPEG_SCAN else None
        place = following.start() if following else place
        if marker not in _JPEG_DROPPED:
            segments.append(data[start:place])
    return segments
