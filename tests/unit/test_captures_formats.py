"""Formats of photographs and masks: which are read in place, developed or refused, and whether their pixels are right."""

from __future__ import annotations

import io
import logging
import os
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from test_captures import _HEIGHT, _WIDTH, _stored, _upright

from porepatch_lib.captures.develop import load_photograph, matrix_profile, to_8_bits
from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.masks import shrink_mask
from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs, list_photographs
from porepatch_lib.captures.views import load_colour, load_mask, read_views
from porepatch_lib.errors import PorePatchError

_SHAPE = (_HEIGHT, _WIDTH)
_BOMB = (60000, 60000)

# Colorants (D50) and gamma of Display P3's primaries and of sRGB's, as ICC profiles name them.
_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def _colours(seed: int = 0) -> np.ndarray:
    """(H,W,3) RGB uint8: noise."""
    return np.random.default_rng(seed).integers(0, 256, (*_SHAPE, 3), np.uint8)


def _save(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _tiff(pixels: np.ndarray, orientation: int = 1, big_endian: bool = False, big_tiff: bool = False, **options) -> bytes:
    stream = io.BytesIO()
    options = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack", **options}
    with tifffile.TiffWriter(stream, byteorder=">" if big_endian else "<", bigtiff=big_tiff) as file:
        file.write(pixels, extratags=[(274, "H", 1, orientation, True)], metadata=None, **options)
    return stream.getvalue()


def _dng(mosaic: np.ndarray, orientation: int = 1) -> bytes:
    """Camera raw of a sensor with RGGB filters, white at 16383, whose colours are sRGB's."""
    # XYZ (D65) to linear sRGB (IEC 61966-2-1), in ten thousandths.
    matrix = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)
    tags = [
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "One", True),
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50706, "B", 4, bytes([1, 4, 0, 0]), True),
        (50708, "s", 0, "Maker One", True),
        (50717, "H", 1, 16383, True),
        (50721, "2i", 9, tuple(part for value in matrix for part in (value, 10000)), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
    ]
    stream = io.BytesIO()
    tifffile.imwrite(stream, mosaic, photometric=32803, metadata=None, extratags=tags)
    return stream.getvalue()


def _png_header_only(size: tuple[int, int]) -> bytes:
    """A PNG that promises huge pixels and has next to none."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _jpeg_header_only(size: tuple[int, int]) -> bytes:
    data = bytearray(_save(_colours(), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", size[1], size[0])
    return bytes(data)


def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _encode(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve (IEC 61966-2-1), 0..1 to 0..255."""
    linear = np.clip(linear, 0.0, 1.0)
    return 255.0 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _by_matrix(rgb: np.ndarray, colorants: tuple, gamma: float) -> np.ndarray:
    """sRGB 0..255 of RGB 0..1 of another matrix space."""
    return _encode(rgb**gamma @ np.array(colorants) @ np.linalg.inv(np.array(_SRGB)))


@pytest.fixture
def folder(tmp_path):
    """A plain photograph, for company: two views are needed."""
    path = tmp_path / "photos"
    path.mkdir()
    (path / "a.png").write_bytes(_save(_colours(1), "PNG"))
    return path


def _ingest(folder: Path, masks: Path | str | None = None, shrink: MaskSettings | None = None, **settings):
    output = folder.parent / "captures" / "ann" / "images.parquet"
    ingest_photographs("ann", folder, masks, None, output, PhotographSettings(**settings), shrink)
    return {view.name: view for view in read_views(output)}


# What is read, in which form, and how far its pixels may be off.
_RGB = _colours()
_DEEP = np.random.default_rng(2).integers(0, 65536, (*_SHAPE, 3), np.uint16)
_ACCEPTED = {
    "png": ("b.png", lambda: _save(_RGB, "PNG"), _RGB, True),
    "grey png": ("b.png", lambda: _save(_RGB[..., 0], "PNG"), _RGB[..., :1], True),
    "png called jpg": ("b.jpg", lambda: _save(_RGB, "PNG"), _RGB, True),
    "opaque alpha": ("b.png", lambda: _save(np.dstack([_RGB, np.full(_SHAPE, 255, np.uint8)]), "PNG"), _RGB, True),
    "srgb profile": ("b.png", lambda: _save(_RGB, "PNG", icc_profile=_srgb_profile()), _RGB, True),
    "broken profile": ("b.png", lambda: _save(_RGB, "PNG", icc_profile=b"no profile"), _RGB, True),
    "16-bit png": ("b.png", lambda: cv2.imencode(".png", _DEEP[..., ::-1])[1].tobytes(), _DEEP / 257.0, False),
    "16-bit grey png": ("b.png", lambda: cv2.imencode(".png", _DEEP[..., 0])[1].tobytes(), _DEEP[..., :1] / 257.0, False),
    "tiff": ("b.tif", lambda: _tiff(_RGB), _RGB, False),
    "grey tiff": ("b.TIFF", lambda: _tiff(_RGB[..., 0]), _RGB[..., :1], False),
    "white-is-zero tiff": ("b.tif", lambda: _tiff(255 - _RGB[..., 0], photometric="miniswhite"), _RGB[..., :1], False),
    "planar tiff": ("b.tif", lambda: _tiff(_RGB.transpose(2, 0, 1), planarconfig="separate"), _RGB, False),
    "deflated tiff": ("b.tif", lambda: _tiff(_RGB, compression="zlib", predictor=True), _RGB, False),
    "lzw tiff": ("b.tif", lambda: _save(_RGB, "TIFF", compression="tiff_lzw"), _RGB, False),
    "big-endian tiff": ("b.tif", lambda: _tiff(_DEEP, big_endian=True), _DEEP / 257.0, False),
    "tiled 16-bit tiff": ("b.tif", lambda: _tiff(_DEEP, tile=(16, 16)), _DEEP / 257.0, False),
    "16-bit grey tiff": ("b.tif", lambda: _tiff(_DEEP[..., 0]), _DEEP[..., :1] / 257.0, False),
    "opaque alpha tiff": (
        "b.tif",
        lambda: _tiff(np.dstack([_DEEP, np.full(_SHAPE, 65535, np.uint16)]), extrasamples=["unassalpha"]),
        _DEEP / 257.0,
        False,
    ),
}


@pytest.mark.parametrize(("name", "write", "rgb", "in_place"), _ACCEPTED.values(), ids=_ACCEPTED)
def test_accepted(folder, name, write, rgb, in_place):
    (folder / name).write_bytes(write())
    view = _ingest(folder)[name]
    assert view.path == ((folder / name).resolve() if in_place else folder.parent / f"captures/ann/images/{name}.png")
    difference = np.abs(load_colour(view)[..., ::-1] - rgb.astype(np.float64))
    assert difference.max() <= (0.0 if rgb.dtype == np.uint8 else 0.5)


def test_a_phones_second_picture_is_left_alone(folder):
    """Multi-picture JPEG (CIPA DC-007): a JPEG with another behind its end."""
    first, second = (Image.new("L", (_WIDTH, _HEIGHT), grey) for grey in (60, 200))
    (folder / "b.jpg").write_bytes(_save(first, "MPO", save_all=True, append_images=[second]))
    view = _ingest(folder)["b.jpg"]
    assert view.path == (folder / "b.jpg").resolve()
    assert np.all(load_colour(view) == 60)


def test_every_16_bit_value_is_rounded():
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_8_bits(values), np.floor(values / 257.0 + 0.5))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["8-bit tiff", "16-bit tiff", "big-endian tiff", "png", "16-bit png", "dng"])
@pytest.mark.parametrize("order", ["stored", "upright"])
def test_orientation_is_one_for_images_and_masks(folder, tmp_path, kind, orientation, order):
    stored, upright = _stored(orientation), _upright(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = np.dstack([stored] * 3).astype(np.uint16) * 257
    name, data = {
        "8-bit tiff": lambda: ("b.tif", _tiff(stored, orientation)),
        "16-bit tiff": lambda: ("b.tif", _tiff(deep, orientation)),
        "big-endian tiff": lambda: ("b.tif", _tiff(deep, orientation, big_endian=True)),
        "png": lambda: ("b.png", _save(stored, "PNG", exif=exif)),
        "16-bit png": lambda: ("b.png", _save(Image.fromarray(stored.astype(np.uint16) * 257), "PNG", exif=exif)),
        "dng": lambda: ("b.dng", _dng(stored.astype(np.uint16) * 64, orientation)),
    }[kind]()
    if kind == "dng":
        pytest.importorskip("rawpy")
    (folder / name).write_bytes(data)
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "b.png").write_bytes(_save(stored if order == "stored" else upright, "PNG"))
    (masks / "a.png").write_bytes(_save(np.full(_SHAPE, 255, np.uint8), "PNG"))
    view = _ingest(folder, masks, mask_order=order)[name]
    assert view.orientation == (orientation if kind == "png" else 1)
    assert np.array_equal(load_mask(view), upright)
    # Demosaicing may round corners off.
    assert np.count_nonzero((load_colour(view)[..., 1] > 127) != (upright > 127)) <= (10 if kind == "dng" else 0)


@pytest.mark.parametrize("suffix", ["dng", "DNG"])
def test_raw_follows_the_srgb_curve(folder, suffix):
    """No stretch of its own: a grey patch of v levels out of 16383 becomes the sRGB value of v / 16383."""
    pytest.importorskip("rawpy")
    mosaic = np.full((64, 96), 2000, np.uint16)
    mosaic[:32, :48] = 12000
    (folder / f"b.{suffix}").write_bytes(_dng(mosaic))
    image = load_colour(_ingest(folder)[f"b.{suffix}"]).astype(np.float64)
    for patch, value in ((image[4:28, 4:44], 12000), (image[36:60, 52:92], 2000)):
        assert np.abs(patch - _encode(np.array(value / 16383.0))).max() <= 1.5


def test_raw_beside_its_jpeg_is_one_picture(folder, caplog):
    (folder / "b.dng").write_bytes(b"raw")
    (folder / "b.JPG").write_bytes(_save(_colours(), "JPEG"))
    with caplog.at_level(logging.WARNING):
        assert set(_ingest(folder)) == {"a.png", "b.JPG"}
    assert any("b.dng" in message and "skipped" in message for message in caplog.messages)


def test_raw_without_rawpy_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    (folder / "b.nef").write_bytes(b"raw")
    with pytest.raises(PorePatchError, match=r"b\.nef is camera raw, .*pip install rawpy==0\.28\.0"):
        _ingest(folder)


@pytest.mark.parametrize(
    ("profile", "colorants", "gamma", "tolerance"),
    [
        (matrix_profile(_P3, 563), _P3, 563 / 256, 1.5),
        (matrix_profile(_SRGB, 256), _SRGB, 1.0, 1.5),
        (matrix_profile(_SRGB, 461), _SRGB, 461 / 256, 1.5),
    ],
    ids=["wide", "linear", "gamma 1.8"],
)
@pytest.mark.parametrize("name", ["b.png", "b.tif", "b.jpg"])
def test_other_colours_are_converted(folder, name, profile, colorants, gamma, tolerance):
    rgb = np.full((*_SHAPE, 3), (200, 150, 120), np.uint8)
    rgb[:16] = (90, 60, 70)
    rgb[:, :16] = (20, 250, 30)  # outside sRGB if wide
    options = {"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}
    kind = {".png": "PNG", ".tif": "TIFF", ".jpg": "JPEG"}[Path(name).suffix]
    (folder / name).write_bytes(_save(rgb, kind, icc_profile=profile, **options))
    view = _ingest(folder)[name]
    assert view.path.name == f"{name}.png"
    expected = _by_matrix(cv2.imread(str(folder / name))[..., ::-1] / 255.0, colorants, gamma)
    assert np.abs(load_colour(view)[..., ::-1] - expected).max() <= tolerance


def test_a_grey_profile_is_converted(folder):
    """Linear grey: red of a linear RGB profile, made a grey one."""
    from_rgb = matrix_profile(_SRGB, 256)
    curve = from_rgb[-16:-2]
    white = struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * value) for value in (0.9642, 1.0, 0.8249)))
    header = struct.pack(">I", 128 + 4 + 24 + 36) + from_rgb[4:16] + b"GRAY" + from_rgb[20:128]
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 14)
    grey = np.tile(np.arange(48, dtype=np.uint8) * 5, (32, 1))
    (folder / "b.png").write_bytes(_save(grey, "PNG", icc_profile=header + table + white + curve + b"\0\0"))
    view = _ingest(folder)["b.png"]
    assert view.path.name == "b.png.png"
    assert np.abs(load_colour(view)[..., 0] - _encode(grey / 255.0)).max() <= 1.5


@pytest.mark.parametrize("orientation", [1, 6])
def test_adobe_rgb_by_the_cameras_mark_alone(folder, orientation):
    """DCF: cameras set to Adobe RGB may write "R03" and no profile."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    rgb = np.full((*_SHAPE, 3), (180, 120, 100), np.uint8)
    (folder / "b.jpg").write_bytes(_save(rgb, "JPEG", exif=exif, quality=100))
    view = _ingest(folder)["b.jpg"]
    adobe = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
    expected = _by_matrix(np.array([180, 120, 100]) / 255.0, adobe, 563 / 256)
    assert load_colour(view).shape[:2] == (_SHAPE if orientation == 1 else _SHAPE[::-1])
    assert np.abs(load_colour(view)[5, 5, ::-1] - expected).max() <= 2.5


def test_developed_files_hold_pixels_only(folder):
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"
    (folder / "b.tif").write_bytes(_save(_RGB, "TIFF", exif=exif, icc_profile=matrix_profile(_P3, 563)))
    data = _ingest(folder)["b.tif"].path.read_bytes()
    place, chunks = 8, []
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append(data[place + 4 : place + 8])
        place += 12 + length
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def _float_tiff():
    return _tiff(_RGB.astype(np.float32)[..., 0])


def _spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(800) + data[middle + 800 :]


def _pages():
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack([_RGB[..., 0]] * 2), photometric="minisblack", metadata=None)
    return stream.getvalue()


def _rgba(fill: int = 254):
    alpha = np.full(_SHAPE, 255, np.uint8)
    alpha[3, 4] = fill
    return np.dstack([_RGB, alpha])


# What is refused, and in which words.
_REFUSED = {
    "zero bytes": ("b.jpg", lambda: b"", ("empty", "copy it again")),
    "zero bytes raw": ("b.dng", lambda: b"", ("empty", "copy it again")),
    "text": ("b.jpg", lambda: b"Dear diary", ("neither JPEG nor PNG", "convert")),
    "webp called jpg": ("b.jpg", lambda: _save(_RGB, "WEBP"), ("WebP", "convert")),
    "gif called png": ("b.png", lambda: _save(_RGB, "GIF"), ("GIF", "convert")),
    "bmp called png": ("b.png", lambda: _save(_RGB, "BMP"), ("BMP", "convert")),
    "heic called jpg": ("b.jpg", lambda: b"\0\0\0\x18ftypheic" + bytes(50), ("HEIC", "convert")),
    "heic": ("b.HEIC", lambda: b"\0\0\0\x18ftypheic" + bytes(50), ("HEIC", "convert")),
    "webp": ("b.webp", lambda: _save(_RGB, "WEBP"), ("WEBP", "convert")),
    "gif": ("b.gif", lambda: _save(_RGB, "GIF"), ("GIF", "convert")),
    "cmyk jpeg": ("b.jpg", lambda: _save(Image.new("CMYK", (48, 32)), "JPEG"), ("CMYK", "convert it to RGB")),
    "cmyk tiff": ("b.tif", lambda: _save(Image.new("CMYK", (48, 32)), "TIFF"), ("CMYK", "convert it to RGB")),
    "lab tiff": ("b.tif", lambda: _save(Image.new("LAB", (48, 32)), "TIFF"), ("Lab", "convert it to RGB")),
    "1-bit png": ("b.png", lambda: _save(Image.new("1", (48, 32)), "PNG"), ("1 bit", "mask")),
    "1-bit tiff": ("b.tif", lambda: _save(Image.new("1", (48, 32)), "TIFF"), ("1 bit", "mask")),
    "palette png": ("b.png", lambda: _save(Image.fromarray(_RGB).quantize(16), "PNG"), ("palette", "RGB")),
    "palette tiff": ("b.tif", lambda: _save(Image.fromarray(_RGB).quantize(16), "TIFF"), ("palette", "RGB")),
    "transparent png": ("b.png", lambda: _save(_rgba(), "PNG"), ("transparent", "flatten", "mask")),
    "transparent grey png": ("b.png", lambda: _save(Image.new("LA", (48, 32), (9, 9)), "PNG"), ("transparent", "flatten")),
    "transparent colour png": ("b.png", lambda: _save(_RGB, "PNG", transparency=(1, 2, 3)), ("transparent", "flatten")),
    "transparent tiff": ("b.tif", lambda: _tiff(_rgba(0), extrasamples=["unassalpha"]), ("transparent", "flatten")),
    "animated png": (
        "b.png",
        lambda: _save(Image.fromarray(_RGB), "PNG", save_all=True, append_images=[Image.fromarray(_colours(5))]),
        ("animated", "file of its own"),
    ),
    "float tiff": ("b.tif", _float_tiff, ("floating-point", "8 or 16")),
    "32-bit tiff": ("b.tif", lambda: _tiff(_RGB[..., 0].astype(np.uint32)), ("32 bits", "8 or 16")),
    "two channels": ("b.tif", lambda: _tiff(_RGB[..., :2], photometric="minisblack", planarconfig="contig"), ("2 channels",)),
    "planar 16-bit tiff": ("b.tif", lambda: _tiff(_DEEP.transpose(2, 0, 1), planarconfig="separate"), ("planar", "interleaved")),
    "several pages": ("b.tif", _pages, ("several pages", "file of its own")),
    "raw called tif": ("b.tif", lambda: _dng(_DEEP[..., 0]), ("mosaic", ".dng")),
    "truncated tiff": ("b.tif", lambda: _tiff(_RGB)[:-100], ("truncated", "copy it again")),
    "truncated planar tiff": (
        "b.tif",
        lambda: _tiff(_RGB.transpose(2, 0, 1), planarconfig="separate")[:-5],
        ("truncated", "copy it again"),
    ),
    "tiff without directory": ("b.tif", lambda: _tiff(_RGB)[:20], ("truncated", "copy it again")),
    "damaged 8-bit tiff": ("b.tif", lambda: _spoilt(_tiff(_RGB, compression="zlib")), ("damaged", "copy it again")),
    "damaged 16-bit tiff": ("b.tif", lambda: _spoilt(_tiff(_DEEP, compression="zlib")), ("damaged", "copy it again")),
    "BigTIFF": ("b.tif", lambda: _tiff(_RGB, big_tiff=True), ("BigTIFF", "convert it")),
    "damaged png header": (
        "b.png",
        lambda: _save(_RGB, "PNG").replace(b"\0\0\0\x30\0", b"\0\0\0\x31\0", 1),
        ("header is damaged",),
    ),
    "foreign raw": ("b.dng", lambda: bytes(2000), ("camera raw", "LibRaw", "copy it again")),
    "truncated raw": ("b.dng", lambda: _dng(_DEEP[..., 0])[:-900], ("camera raw", "copy it again")),
    "png bomb": ("b.png", lambda: _png_header_only(_BOMB), ("60000x60000", "max_megapixels")),
    "jpeg bomb": ("b.jpg", lambda: _jpeg_header_only(_BOMB), ("60000x60000", "max_megapixels")),
    "tiff bomb": (
        "b.tif",
        lambda: _tiff(_RGB[..., 0]).replace(struct.pack("<HHII", 257, 4, 1, 32), struct.pack("<HHII", 257, 4, 1, 10**8)),
        ("48x100000000", "max_megapixels"),
    ),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow, of a cut-off directory
@pytest.mark.parametrize(("name", "write", "words"), _REFUSED.values(), ids=_REFUSED)
def test_refused(folder, name, write, words):
    if name.endswith(".dng"):
        pytest.importorskip("rawpy")
    (folder / name).write_bytes(write())
    with pytest.raises(PorePatchError) as error:
        _ingest(folder)
    message = str(error.value)
    assert all(word in message for word in (name, *words)), message
    assert message.endswith(".")
    assert "\n" not in message
    assert not [path for path in (folder.parent / "captures").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), ("is a folder", "rename")),
        (lambda path: path.symlink_to(path.name), ("symbolic links", "restore")),
        (lambda path: path.symlink_to("nothing.png"), ("No such file", "restore")),
        (lambda path: os.mkfifo(path), ("is a folder or a device", "rename")),
    ],
    ids=["folder", "loop", "dangling link", "pipe"],
)
def test_names_without_an_image_behind(folder, make, words):
    make(folder / "b.png")
    with pytest.raises(PorePatchError) as error:
        _ingest(folder)
    assert all(word in str(error.value) for word in ("b.png", *words))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(folder):
    (folder / "b.png").write_bytes(_save(_RGB, "PNG"))
    (folder / "b.png").chmod(0)
    with pytest.raises(PorePatchError, match=r"b\.png .*Permission denied"):
        _ingest(folder)


@pytest.mark.parametrize("name", ["Zoë vorne links.png", "顔 1.tif", "a b\tc.jpg", "it's 50% (1).png"])
def test_names_of_any_kind(folder, tmp_path, name):
    kind = {".png": "PNG", ".tif": "TIFF", ".jpg": "JPEG"}[Path(name).suffix]
    (folder / name).write_bytes(_save(_RGB, kind))
    masks = tmp_path / "Masken für alle"
    masks.mkdir()
    for photograph in (name, "a.png"):
        (masks / f"{photograph}.png").write_bytes(_save(np.full(_SHAPE, 255, np.uint8), "PNG"))
    view = _ingest(folder, masks)[name]
    assert load_colour(view).shape == (*_SHAPE, 3)
    assert load_mask(view).all()


def test_a_name_that_is_no_text(folder):
    path = os.fsencode(folder) + b"/b\xff.png"
    try:
        with open(path, "wb") as stream:  # noqa: PTH123 (a name of bytes)
            stream.write(_save(_RGB, "PNG"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(PorePatchError, match=r"b\\udcff\.png' in .* is not UTF-8; rename"):
        _ingest(folder)


def test_max_megapixels_is_kept_exactly(folder):
    (folder / "b.png").write_bytes(_save(_RGB, "PNG"))
    assert len(_ingest(folder, max_megapixels=_WIDTH * _HEIGHT * 1e-6)) == 2
    with pytest.raises(PorePatchError, match=r"more than 0\.0015 megapixels"):
        _ingest(folder, max_megapixels=0.0015)


def test_a_stale_image_of_an_earlier_run_is_gone(folder):
    (folder / "b.tif").write_bytes(_tiff(_RGB))
    assert _ingest(folder)["b.tif"].path.exists()
    (folder / "b.tif").rename(folder / "c.tif")
    _ingest(folder)
    assert [path.name for path in (folder.parent / "captures/ann/images").iterdir()] == ["c.tif.png"]


# Masks. Kept: the rectangle.
_KEEP = np.zeros(_SHAPE, np.bool_)
_KEEP[6:20, 10:40] = True
_GREY = np.where(_KEEP, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("b.png", lambda: _save(_GREY, "PNG")),
        ("b.png", lambda: _save(Image.fromarray(_GREY).convert("1"), "PNG")),
        ("b.png", lambda: _save(_GREY // 255, "PNG")),
        ("b.png", lambda: _save(np.dstack([_GREY] * 3), "PNG")),
        ("b.png", lambda: _save(np.dstack([_GREY * 0, _GREY, _GREY * 0]), "PNG")),
        ("b.png", lambda: _save(Image.fromarray(_GREY).convert("RGB").quantize(4), "PNG")),
        ("b.png", lambda: _save(np.dstack([_RGB, _GREY]), "PNG")),  # a cut-out
        ("b.png", lambda: _save(np.dstack([_GREY, _GREY]), "PNG")),
        ("b.png", lambda: _save(np.dstack([_GREY] * 3 + [np.full(_SHAPE, 255, np.uint8)]), "PNG")),
        ("b.png", lambda: cv2.imencode(".png", _GREY.astype(np.uint16) * 257)[1].tobytes()),
        ("b_mask.tif", lambda: _tiff(_GREY)),
        ("b.tif", lambda: _tiff(_GREY.astype(np.uint16) * 257)),
        ("b.tiff", lambda: _save(Image.fromarray(_GREY).convert("1"), "TIFF", compression="group4")),
        ("b.jpg", lambda: _save(_GREY, "JPEG", quality=100)),
    ],
)
def test_masks_in_many_forms(folder, tmp_path, name, write):
    (folder / "b.png").write_bytes(_save(_RGB, "PNG"))
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / name).write_bytes(write())
    (masks / "a.png").write_bytes(_save(_GREY, "PNG"))
    view = _ingest(folder, masks)["b.png"]
    assert np.array_equal(load_mask(view), _GREY)


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("b.png", lambda: _png_header_only(_BOMB), ("60000x60000", "48x32")),
        ("b.tif", _float_tiff, ("floating-point",)),
        ("b.tif", _pages, ("several pages",)),
        ("b.jpg", lambda: _save(Image.new("CMYK", (48, 32)), "JPEG"), ("CMYK",)),
        ("b.png", lambda: b"", ("empty",)),
    ],
)
def test_masks_that_are_none(folder, tmp_path, name, write, words):
    (folder / "b.png").write_bytes(_save(_RGB, "PNG"))
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / name).write_bytes(write())
    (masks / "a.png").write_bytes(_save(_GREY, "PNG"))
    with pytest.raises(PorePatchError) as error:
        _ingest(folder, masks)
    assert all(word in str(error.value) for word in (f"masks/{name}", *words))


def test_given_masks_are_shrunk(folder, tmp_path):
    (folder / "b.png").write_bytes(_save(_RGB, "PNG"))
    for name in "ab":
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / f"masks/{name}.png").write_bytes(_save(_GREY, "PNG"))
    view = _ingest(folder, tmp_path / "masks", MaskSettings(erosion_px=4, dilation_px=1))["b.png"]
    # Far from a point: |dx| + |dy|. Nearest pixel outside the rectangle, by rows and columns alone.
    rows, columns = np.indices(_SHAPE)
    depth = np.minimum.reduce([rows - 5, 20 - rows, columns - 9, 40 - columns])
    eroded = depth > 4
    expected = eroded | np.roll(eroded, 1, 0) | np.roll(eroded, -1, 0) | np.roll(eroded, 1, 1) | np.roll(eroded, -1, 1)
    assert np.array_equal(load_mask(view) > 0, expected)


def left_half(image: np.ndarray) -> np.ndarray:
    """A mask maker of the user's own: what is bright in the left half of an upright photograph."""
    return (image[..., 1] > 127) & (np.arange(image.shape[1]) < image.shape[1] // 2)


@pytest.mark.parametrize("orientation", [1, 6])
def test_made_masks_see_the_developed_photograph(folder, orientation):
    """And leave no trace of the temporary files they were made from."""
    (folder / "a.png").write_bytes(_save(_upright(1), "PNG"))
    (folder / "b.tif").write_bytes(_tiff(_stored(orientation).astype(np.uint16) * 257, orientation))
    view = _ingest(folder, "auto", MaskSettings(maker=f"{__name__}:left_half"))["b.tif"]
    assert np.array_equal(load_mask(view) > 0, left_half(np.dstack([_upright(orientation)] * 3)))
    assert view.path == folder.parent / "captures/ann/images/b.tif.png"
    assert sorted(path.name for path in (folder.parent / "captures/ann").iterdir()) == ["images", "images.parquet", "masks"]


@pytest.mark.parametrize("masks", [None, ""])
def test_no_masks(folder, masks):
    (folder / "b.tif").write_bytes(_tiff(_RGB))
    assert all(view.mask_path is None for view in _ingest(folder, masks).values())


def test_shrinking_by_nothing_changes_nothing():
    assert np.array_equal(shrink_mask(_GREY, 0, 0), _GREY)
    assert np.array_equal(shrink_mask(_GREY, 0, 1) > 0, cv2.dilate(_GREY, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0)


def test_listed_are_photographs_of_all_kinds(tmp_path):
    for name in ("a.tif", "b.TIFF", "c.NEF", "d.jpeg", "e.gif", "f.txt", ".g.png"):
        (tmp_path / name).touch()
    assert [path.name for path in list_photographs(tmp_path)] == ["a.tif", "b.TIFF", "c.NEF", "d.jpeg"]


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_photographs_are_loaded_upright_whatever_their_form(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / name).write_bytes(_tiff(_stored(6), 6) if name == "a.tif" else _save(_stored(6), "PNG", exif=exif))
    good, image = load_photograph(tmp_path / name, 300.0)
    assert (good.size, good.exif.orientation) == ((_WIDTH, _HEIGHT), 6)
    assert np.array_equal(image, np.dstack([_upright(6)] * 3))
