"""What EXIF tells about a photograph's orientation and focal length, and nothing about who or where."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exifread

logger = logging.getLogger(__name__)
# It would log tag by tag what it stumbles over, whoever the tag names.
logging.getLogger("exifread").setLevel(logging.CRITICAL)

_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)
# Sensors from telephones to large format; anything else is a wrong FocalPlane tag.
_SENSOR_WIDTH_MM = (2.0, 80.0)
_SAME_ASPECT = 0.01
_SAME_FOCAL = 0.1


@dataclass(frozen=True)
class Exif:
    """The tags that matter here, None where absent.

    `pixels_per_mm` is the FocalPlane resolution and, like `original_size` (width, height), refers to the
    image as the camera made it, not as it may have been scaled since. `is_adobe_rgb`: the camera was set to Adobe
    RGB, which it may tell by the DCF file standard's mark "R03" instead of a colour profile.
    """

    orientation: int = 1
    make: str = ""
    model: str = ""
    focal_mm: float | None = None
    focal_35mm: float | None = None
    pixels_per_mm: float | None = None
    original_size: tuple[int, int] | None = None
    is_adobe_rgb: bool = False


def read_exif(data: bytes, path: str | Path = "") -> Exif:
    """Read the tags from the bytes of an image file; a damaged or absent block gives the defaults. `path` is for the log."""
    try:
        tags = exifread.process_file(io.BytesIO(data), details=False, extract_thumbnail=False)
    except Exception as error:  # exifread raises whatever a damaged block makes it stumble over
        # Not what it says: that may quote a tag.
        logger.warning("The EXIF block of %s cannot be read (%s) and is ignored.", path or "an image", type(error).__name__)
        return Exif()
    orientation = int(_number(tags, "Image Orientation") or 1)
    resolution = _number(tags, "EXIF FocalPlaneXResolution")
    unit = _MM_PER_UNIT.get(int(_number(tags, "EXIF FocalPlaneResolutionUnit") or 2), 25.4)
    width, height = _number(tags, "EXIF ExifImageWidth"), _number(tags, "EXIF ExifImageLength")
    return Exif(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        make=_text(tags, "Image Make"),
        model=_text(tags, "Image Model"),
        focal_mm=_number(tags, "EXIF FocalLength"),
        focal_35mm=_number(tags, "EXIF FocalLengthIn35mmFilm"),
        pixels_per_mm=resolution / unit if resolution else None,
        original_size=(int(width), int(height)) if width and height else None,
        is_adobe_rgb=_text(tags, "Interoperability InteroperabilityIndex").startswith("R03"),
    )


def focal_length_px(
    exif: Exif, width: int, height: int, given_width_mm: float | None = None, known_width_mm: float | None = None
) -> float | None:
    """Focal length in pixels of an image of width x height, or None where EXIF does not tell.

    `given_width_mm`, the width of the sensor as the user gives it, decides where it and FocalLength are there. Then there are
    two ways: FocalLength times the FocalPlane resolution (exact, but wrong after some editors), and the
    35 mm equivalent, which compares diagonals (CIPA DCG-001) and is rounded to 1 mm. The first is taken
    unless the second contradicts it by more than 10 %. Where neither is there, FocalLength and `known_width_mm`, the
    sensor's width by a table of cameras, serve. An image cropped since (other aspect ratio than
    the original) has no known focal length.
    """
    original = exif.original_size or (width, height)
    if abs(max(original) / min(original) / (max(width, height) / min(width, height)) - 1.0) > _SAME_ASPECT:
        return None
    side = max(width, height)
    if exif.focal_mm and given_width_mm:
        return exif.focal_mm / given_width_mm * side
    by_sensor = _focal_by_sensor(exif, max(original), side)
    by_film = exif.focal_35mm * math.hypot(width, height) / _FULL_FRAME_DIAGONAL_MM if exif.focal_35mm else None
    if by_sensor and by_film:
        return by_sensor if abs(by_sensor / by_film - 1.0) <= _SAME_FOCAL else by_film
    if not by_sensor and not by_film and exif.focal_mm and known_width_mm:
        return exif.focal_mm / known_width_mm * side
    return by_sensor or by_film


def _focal_by_sensor(exif: Exif, original_side: int, side: int) -> float | None:
    if not exif.focal_mm or not exif.pixels_per_mm:
        return None
    low, high = _SENSOR_WIDTH_MM
    if not low <= original_side / exif.pixels_per_mm <= high:
        return None
    return exif.focal_mm * exif.pixels_per_mm * side / original_side


def _number(tags: dict[str, Any], name: str) -> float | None:
    """A positive finite number, or None: EXIF writes 0 and 0/0 for unknown."""
    if name not in tags:
        return None
    try:
        value = float(tags[name].values[0])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0.0 else None


def _text(tags: dict[str, Any], name: str) -> str:
    return str(tags[name].values).strip() if name in tags else ""
