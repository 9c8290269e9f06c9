"""What an image file says of itself before any pixel is decoded: form, size, depth, alpha, colour profile.

Pillow's readers of single formats are used directly, not `Image.open`: they try nothing else, and sizes are judged here.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from porepatch_lib.errors import PorePatchError

# It would log every tag with its value, whoever the tag names.
logging.getLogger("PIL").setLevel(logging.WARNING)

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*")

_PNG_PALETTE, _PNG_ALPHA = 3, 4  # colour types: 3 is a palette, 4 and 6 have alpha
# TIFF 6.0 tags.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _FORMAT, _PROFILE = (
    *(256, 257, 258, 262, 277),
    *(284, 338, 339, 34675),
)
_PIECES = ((273, 279), (324, 325))  # offsets and byte counts of strips and of tiles
_TIFF_MEND = {
    3: "has a palette; convert it to RGB",
    5: "is CMYK; convert it to RGB",
    8: "is in Lab colours; convert it to RGB",
    9: "is in Lab colours; convert it to RGB",
    32803: "holds the mosaic of a sensor; name it .dng if it is camera raw, or develop it",
    34892: "holds linear camera raw; name it .dng",
}
_WHITE_IS_ZERO = 0
_SEPARATE_PLANES = 2
_UNSIGNED = 1


@dataclass(frozen=True)
class Header:
    """An image file before decoding.

    Attributes:
        kind: its format.
        size: (width, height) in stored pixel order.
        bits: per sample.
        has_alpha: whether it has an alpha channel.
        icc_profile: the embedded colour profile, empty if there is none.
        flaw: why it cannot be a photograph and how to mend that, empty if it can.
        unreadable: why it cannot even be a mask, and how to mend that, empty if it can.
    """

    kind: Literal["JPEG", "PNG", "TIFF"]
    size: tuple[int, int]
    bits: int
    has_alpha: bool
    icc_profile: bytes
    flaw: str = ""
    unreadable: str = ""


def read_header(data: bytes, path: str | Path) -> Header:
    """Read the header of a JPEG, PNG or TIFF file from its bytes.

    Raises:
        PorePatchError: if it is damaged.
    """
    read = _read_png if data.startswith(PNG_START) else _read_tiff if data.startswith(TIFF_STARTS) else _read_jpeg
    try:
        header = read(data)
        if min(header.size) < 1:
            raise ValueError("no pixels")
    except Exception as error:  # Pillow raises whatever a damaged header makes it stumble over
        raise PorePatchError(f"Cannot read the image {path}: its header is damaged; copy it again from the camera.") from error
    return header


def require_photograph(header: Header, path: str | Path, max_megapixels: float) -> None:
    """Refuse what cannot be a photograph of a subject, in one sentence."""
    flaw = header.unreadable or header.flaw
    if flaw:
        raise PorePatchError(f"The image {path} {flaw}.")
    require_pixels(header.size, path, max_megapixels)


def require_pixels(size: tuple[int, int], path: str | Path, max_megapixels: float) -> None:
    """Refuse an image of more than `max_megapixels`."""
    if size[0] * size[1] > max_megapixels * 1e6:
        raise PorePatchError(
            f"The image {path} says it has {size[0]}x{size[1]} pixels, more than {max_megapixels:g} megapixels; "
            "take it out of its folder, or raise photographs.max_megapixels."
        )


def read_tiff_directory(data: bytes) -> ImageFileDirectory_v2:
    """Read the first directory of a TIFF file; its attribute `next` is then the offset of the second, or 0.

    Raises:
        ValueError: if it does not lie in the file.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(data[:8])
    stream = io.BytesIO(data)
    if not 0 < directory.next < len(data):
        raise ValueError("the directory lies outside the file")
    first = directory.next
    stream.seek(first)
    directory.load(stream)
    if directory.next == first:  # it is moved on at the very end
        raise ValueError("the directory is cut off")
    return directory


def is_whole_tiff(data: bytes) -> bool:
    """Whether the first directory and all its strips or tiles lie in the file."""
    try:
        directory = read_tiff_directory(data)
        ends = [
            offset + count
            for offsets, counts in _PIECES
            for offset, count in zip(_tuple(directory, offsets), _tuple(directory, counts), strict=True)
        ]
    except Exception:  # as in `read_header`
        return False
    return bool(ends) and max(ends) <= len(data)


def tiff_bits(data: bytes) -> int:
    """Bits per sample of a TIFF file."""
    return int(max(_tuple(read_tiff_directory(data), _BITS) or (1,)))


def _read_jpeg(data: bytes) -> Header:
    from PIL.JpegImagePlugin import JpegImageFile

    with JpegImageFile(io.BytesIO(data)) as image:
        flaw = "is CMYK; convert it to RGB" if image.mode == "CMYK" else ""
        return Header("JPEG", image.size, 8, False, image.info.get("icc_profile") or b"", flaw, flaw)


def _read_png(data: bytes) -> Header:
    from PIL.PngImagePlugin import PngImageFile

    bits, colour_type = data[24], data[25]
    with PngImageFile(io.BytesIO(data)) as image:
        flaw = ""
        if colour_type == _PNG_PALETTE:
            flaw = "has a palette, which coarsens its colours; save it as RGB from the original"
        elif bits == 1:
            flaw = "is black and white (1 bit); give the photograph in grey or colour, or move it if it is a mask"
        elif "transparency" in image.info:
            flaw = "is transparent in part; flatten it, and give the cut-out as its mask"
        elif getattr(image, "n_frames", 1) > 1:
            flaw = "is animated; save every picture as a file of its own"
        profile = image.info.get("icc_profile") or b""
        return Header("PNG", image.size, bits, bool(colour_type & _PNG_ALPHA), profile, flaw)


def _read_tiff(data: bytes) -> Header:
    directory = read_tiff_directory(data)
    bits, photometric = max(_tuple(directory, _BITS) or (1,)), int(directory.get(_PHOTOMETRIC, 1))
    samples = int(directory.get(_SAMPLES, 1))
    unreadable = _tiff_unreadable(directory, bits, photometric, samples)
    if directory.next:
        unreadable = "has several pages; save every page as a file of its own"
    flaw = _TIFF_MEND.get(photometric, "")
    if bits == 1:
        flaw = "is black and white (1 bit); give the photograph in grey or colour, or move it if it is a mask"
    has_alpha = bool(_tuple(directory, _EXTRA)) and samples in (2, 4)
    profile = directory.get(_PROFILE) or b""
    return Header("TIFF", (int(directory[_WIDTH]), int(directory[_HEIGHT])), bits, has_alpha, bytes(profile), flaw, unreadable)


def _tiff_unreadable(directory: ImageFileDirectory_v2, bits: int, photometric: int, samples: int) -> str:
    """Forms that Pillow (up to 8 bits) and OpenCV (16 bits) read wrongly or not at all."""
    if any(kind != _UNSIGNED for kind in _tuple(directory, _FORMAT)):
        return "has floating-point or signed samples; save it with 8 or 16 bits per channel"
    if bits not in (1, 8, 16):
        return f"has {bits} bits per channel; save it with 8 or 16"
    if samples not in (1, 3, 4) or (samples == 4 and not _tuple(directory, _EXTRA) and photometric != 5):
        return f"has {samples} channels; save it as grey or RGB"
    if bits == 16 and samples > 1 and int(directory.get(_PLANES, 1)) == _SEPARATE_PLANES:
        return "keeps its channels apart (planar); save it with interleaved channels"
    if bits == 16 and photometric == _WHITE_IS_ZERO:
        return "counts from white to black; save it with black as zero"
    return "is CMYK; convert it to RGB" if photometric == 5 else ""


def _tuple(directory: ImageFileDirectory_v2, tag: int) -> tuple[Any, ...]:
    value = directory.get(tag, ())
    return value if isinstance(value, tuple) else (value,)
