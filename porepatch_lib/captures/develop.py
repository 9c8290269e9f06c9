"""One photograph's file to pixels: what stays as it is, and what is developed to upright 8-bit sRGB.

Plain 8-bit sRGB JPEG and PNG files are read in place by every stage. 16 bits, TIFF, other colour profiles and camera raw
are developed once.

* 16 bits become 8 by x / 257, rounded: off by half a level at most.
* A colour profile that changes no colour by more than 2 of 255 levels is sRGB in effect, whatever its name. Any other is
  converted by relative colorimetric intent: colours inside sRGB, as those of skin, stay exact and the others are clipped.
  The perceptual intent would move all colours where a profile has it, and most camera profiles do not. 16 bits are
  reduced before, which costs 0.4 levels in the mean; 99 % of random colours are within 1.4 levels for Adobe RGB and
  Display P3 and within 2.7 for ProPhoto RGB, the rest being dark ones at the rim of sRGB.
* Camera raw is demosaiced with the camera's white balance and without any stretch of its own that would differ between
  views: a sample goes from the black to the white level through the sRGB curve.

Gamma and colorants that a PNG states without a profile (gAMA, cHRM) are not applied; few programs do.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.decode import RAW_SUFFIXES, decode, read_file, read_image_bytes
from porepatch_lib.captures.exif import Exif, read_exif
from porepatch_lib.captures.headers import read_header, require_photograph, require_pixels
from porepatch_lib.captures.views import orient
from porepatch_lib.errors import PorePatchError

logger = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

_SRGB_TOLERANCE = 2
_TO_8_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)
# LibRaw's flip (1: columns mirrored, 2: rows mirrored, 4: transposed) -> EXIF orientation.
_EXIF_OF_FLIP = (1, 2, 4, 3, 5, 8, 6, 7)
_SRGB_CURVE = (2.4, 12.92)
# Adobe RGB (1998): colorants adapted to D50 (red, green, blue; X, Y, Z), gamma 563/256.
_ADOBE_COLORANTS = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_ADOBE_GAMMA = 563
_D50 = (0.9642, 1.0, 0.8249)
_MODES = {"RGB": "RGB", "GRAY": "L"}
_GREYS = np.arange(256, dtype=np.uint8)[None]
# All colours in steps of 16 levels, blue, green, red, as an image.
_STEPS = np.append(np.arange(0, 256, 16), 255).astype(np.uint8)
_LATTICE = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), axis=-1).reshape(_STEPS.size, -1, 3)


@dataclass(frozen=True)
class Developed:
    """A photograph that was read and found good.

    size: stored (width, height). exif: with the orientation from stored to upright order.
    pixels: upright (H,W) grey or (H,W,3) BGR, or None where the file itself serves.
    """

    size: tuple[int, int]
    exif: Exif
    pixels: Pixels | None


def develop(path: Path, max_megapixels: float) -> Developed:
    """Read one file and prove that it decodes.

    Raises:
        PorePatchError: if it is missing, damaged, too large or of a form that is no photograph.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        return _develop_raw(path, max_megapixels)
    data = read_image_bytes(path)
    header = read_header(data, path)
    require_photograph(header, path, max_megapixels)
    exif = read_exif(data, path)
    profile = header.icc_profile or (matrix_profile(_ADOBE_COLORANTS, _ADOBE_GAMMA) if exif.is_adobe_rgb else b"")
    convert = _conversion(profile, path) if profile else None
    if header.kind != "TIFF" and header.bits <= 8 and convert is None:
        _require_opaque(decode(data, path, cv2.IMREAD_UNCHANGED if header.has_alpha else cv2.IMREAD_GRAYSCALE), path)
        return Developed(header.size, exif, None)
    stored = decode(data, path, cv2.IMREAD_UNCHANGED)
    _require_opaque(stored, path)
    pixels = to_8_bits(stored[..., :3] if stored.ndim == 3 else stored)
    return Developed(header.size, exif, orient(convert(pixels) if convert else pixels, exif.orientation))


def load_photograph(path: Path, max_megapixels: float) -> tuple[Developed, Pixels]:
    """Read one file as `develop` does; also return its pixels upright, (H,W,3) BGR, whether it was developed or not."""
    good = develop(path, max_megapixels)
    if good.pixels is None:
        image = np.asarray(decode(read_image_bytes(path), path, cv2.IMREAD_COLOR), np.uint8)
        return good, orient(image, good.exif.orientation)
    if good.pixels.ndim == 2:
        return good, np.asarray(cv2.cvtColor(good.pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return good, good.pixels


def to_8_bits(image: NDArray[Any]) -> Pixels:
    """Reduce uint16 to uint8 by x / 257, rounded; uint8 stays."""
    return np.asarray(_TO_8_BITS[image] if image.dtype == np.uint16 else image, np.uint8)


def matrix_profile(colorants: Sequence[Sequence[float]], gamma_256: int) -> bytes:
    """Return an ICC profile (version 2.4) of an RGB space: colorants (red, green, blue; X, Y, Z; for D50) and gamma in 1/256.

    It has what a colour transform reads and no description.
    """
    triples = [struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * value) for value in colorant)) for colorant in colorants]
    curve = struct.pack(">4s4xIH2x", b"curv", 1, gamma_256)
    names = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    blocks = [*triples, curve, curve, curve]
    place = 128 + 4 + 12 * len(names)
    table = struct.pack(">I", len(names))
    for name, block in zip(names, blocks, strict=True):
        table += struct.pack(">4sII", name, place, len(block))
        place += len(block)
    illuminant = struct.pack(">3i", *(round(65536 * value) for value in _D50))
    header = struct.pack(">I4xI4s4s4s12x4s28x12s48x", place, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", illuminant)
    return header + table + b"".join(blocks)


def _conversion(profile: bytes, path: Path) -> Callable[[Pixels], Pixels] | None:
    """What converts (H,W) grey or (H,W,3) BGR pixels of a colour profile to sRGB; None where they are sRGB in effect."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[source.profile.xcolor_space.strip()]
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        exactness = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.HIGHRESPRECALC
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, target, mode, "RGB", intent, exactness)
    except (OSError, KeyError, ImageCms.PyCMSError):
        logger.warning("The colour profile of %s cannot be used and is ignored.", path)
        return None
    convert = _by_table(transform) if mode == "L" else partial(_by_transform, transform=transform)
    colours = _GREYS if mode == "L" else _LATTICE
    return convert if cv2.absdiff(convert(colours), colours).max() > _SRGB_TOLERANCE else None


def _by_table(transform: Any) -> Callable[[Pixels], Pixels]:
    """Grey has 256 values; a colour image with a grey profile, as some scanners write it, is converted channel by channel."""
    from PIL import Image, ImageCms

    table = np.asarray(ImageCms.applyTransform(Image.fromarray(_GREYS), transform))[..., 1].ravel()
    return lambda image: table[image]


def _by_transform(image: Pixels, transform: Any) -> Pixels:
    from PIL import Image, ImageCms

    rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(rgb), transform))
    return np.asarray(cv2.cvtColor(converted, cv2.COLOR_RGB2BGR), np.uint8)


def _develop_raw(path: Path, max_megapixels: float) -> Developed:
    try:
        import rawpy
    except ImportError as error:
        raise PorePatchError(
            f"The image {path} is camera raw, which needs rawpy: pip install rawpy==0.28.0, or develop it to 16-bit TIFF."
        ) from error
    data = read_file(path)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            require_pixels((raw.sizes.width, raw.sizes.height), path, max_megapixels)
            orientation = _EXIF_OF_FLIP[raw.sizes.flip & 7]
            rgb = raw.postprocess(
                use_camera_wb=True,
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
                gamma=_SRGB_CURVE,
                output_color=rawpy.ColorSpace.sRGB,
                output_bps=8,
                user_flip=0,
            )
    except rawpy.LibRawError as error:
        raise PorePatchError(
            f"Cannot read the camera raw {path}: it is damaged or of a kind that LibRaw does not know; "
            "copy it again from the camera, or develop it to 16-bit TIFF."
        ) from error
    exif = replace(read_exif(data, path), orientation=orientation)
    bgr = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
    return Developed((rgb.shape[1], rgb.shape[0]), exif, orient(bgr, orientation))


def _require_opaque(image: NDArray[Any], path: Path) -> None:
    if image.ndim == 3 and image.shape[2] == 4 and image[..., 3].min() < np.iinfo(image.dtype).max:
        raise PorePatchError(f"The image {path} is transparent in part; flatten it, and give the cut-out as its mask.")
