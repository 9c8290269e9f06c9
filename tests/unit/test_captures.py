"""Photographs, EXIF and masks: what is read, and what is refused in which words."""

from __future__ import annotations

import hashlib
import logging
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.exif import Exif, focal_length_px, read_exif
from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs, list_photographs
from porepatch_lib.captures.views import load_colour, load_grey, load_mask, read_views
from porepatch_lib.errors import PorePatchError

_WIDTH, _HEIGHT = 48, 32  # stored size

# Where upright pixel S[i, j] of the stored image lies, from the EXIF standard's table: code -> (visual side of
# row 0, visual side of column 0). u is upright, h x w.
_STORED = {
    1: lambda u, i, j: u[i, j],  # top, left
    2: lambda u, i, j: u[i, -1 - j],  # top, right
    3: lambda u, i, j: u[-1 - i, -1 - j],  # bottom, right
    4: lambda u, i, j: u[-1 - i, j],  # bottom, left
    5: lambda u, i, j: u[j, i],  # left, top
    6: lambda u, i, j: u[j, -1 - i],  # right, top
    7: lambda u, i, j: u[-1 - j, -1 - i],  # right, bottom
    8: lambda u, i, j: u[-1 - j, i],  # left, bottom
}


def _upright(orientation: int) -> np.ndarray:
    """An asymmetric pattern whose stored form is _WIDTH x _HEIGHT; blocks of 8 px survive JPEG."""
    shape = (_HEIGHT, _WIDTH) if orientation < 5 else (_WIDTH, _HEIGHT)
    image = np.zeros(shape, np.uint8)
    image[:8, :] = 255
    image[:, :16] = 255
    image[:8, -8:] = 0
    return image


def _stored(orientation: int) -> np.ndarray:
    upright = _upright(orientation)
    rows, columns = np.indices((_HEIGHT, _WIDTH))
    return _STORED[orientation](upright, rows, columns)


def _exif_block(tags: dict[int, object], exif_tags: dict[int, object]) -> bytes:
    """TIFF bytes of IFD0 and the Exif IFD: int -> SHORT, str -> ASCII, (num, den) -> RATIONAL."""

    def directory(entries: dict[int, object], offset: int) -> bytes:
        data_offset = offset + 2 + 12 * len(entries) + 4
        fields, data = b"", b""
        for tag, value in sorted(entries.items()):
            if isinstance(value, int):
                kind, count, raw = (3, 1, struct.pack("<HH", value, 0)) if value < 65536 else (4, 1, struct.pack("<I", value))
            elif isinstance(value, str):
                kind, count, raw = 2, len(value) + 1, value.encode() + b"\0"
            else:
                kind, count, raw = 5, 1, struct.pack("<II", *value)
            if len(raw) > 4:
                raw, data = struct.pack("<I", data_offset + len(data)), data + raw + b"\0" * (len(raw) % 2)
            fields += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
        return struct.pack("<H", len(entries)) + fields + struct.pack("<I", 0) + data

    first = directory({**tags, 0x8769: 0}, 8)
    return b"II*\0" + struct.pack("<I", 8) + directory({**tags, 0x8769: 8 + len(first)}, 8) + directory(exif_tags, 8 + len(first))


def _jpeg(image: np.ndarray, tags: dict[int, object] | None = None, exif_tags: dict[int, object] | None = None) -> bytes:
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    if tags is None and exif_tags is None:
        return jpeg
    block = b"Exif\0\0" + _exif_block(tags or {}, exif_tags or {})
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _noise(seed: int, width: int = _WIDTH, height: int = _HEIGHT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three plain views: b1.JPG, b2.png, b10.jpeg."""
    path = tmp_path / "photos"
    path.mkdir()
    for seed, name in enumerate(("b10.jpeg", "b2.png", "b1.JPG")):
        (path / name).write_bytes(_png(_noise(seed)) if name.endswith("png") else _jpeg(_noise(seed)))
    return path


@pytest.fixture
def mask_folder(tmp_path, folder):
    """One mask per view of `folder`, under each accepted name."""
    path = tmp_path / "masks"
    path.mkdir()
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    mask[4:20, 8:30] = 255
    (path / "b1.png").write_bytes(_png(mask))
    (path / "b2_mask.png").write_bytes(_png(mask // 255))
    (path / "b10.jpeg.png").write_bytes(_png(mask.astype(np.uint16) * 200))
    return path


def _ingest(folder: Path, masks: Path | None = None, cameras: Path | None = None, threads: int = 1, **settings):
    output = folder.parent / "captures" / "ann" / "images.parquet"
    ingest_photographs("ann", folder, masks, cameras, output, PhotographSettings(**settings), threads=threads)
    return read_views(output)


def _refusal(folder: Path, masks: Path | None = None, cameras: Path | None = None, **settings) -> str:
    with pytest.raises(PorePatchError) as error:
        _ingest(folder, masks, cameras, **settings)
    return str(error.value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mask_order", ["stored", "upright", "auto"])
def test_image_and_mask_are_turned_upright_together(tmp_path, orientation, mask_order):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    image = _upright(orientation) if mask_order == "upright" else _stored(orientation)
    for name in ("a", "b"):
        colour = np.dstack([_stored(orientation)] * 2 + [np.full((_HEIGHT, _WIDTH), ord(name), np.uint8)])
        (photos / f"{name}.jpg").write_bytes(_jpeg(colour, {0x0112: orientation}))
        (masks / f"{name}.png").write_bytes(_png(image))
    for view in _ingest(photos, masks, mask_order=mask_order):
        expected = _upright(orientation)
        assert view.orientation == orientation
        assert (view.camera.width, view.camera.height) == expected.shape[::-1]
        assert np.array_equal(load_mask(view), expected)
        assert np.array_equal(np.where(load_colour(view)[..., 1] > 127, 255, 0), expected)
        assert np.array_equal(load_colour(view), cv2.imread(str(view.path)))  # OpenCV's own reading of EXIF


def test_upright_masks_of_quarter_turns_are_told_by_their_size(tmp_path):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    for seed, (name, orientation) in enumerate((("a", 6), ("b", 8), ("c", 1))):
        (photos / f"{name}.jpg").write_bytes(_jpeg(_noise(seed), {0x0112: orientation}))
        (masks / f"{name}.png").write_bytes(_png(_upright(orientation)))
    assert all(np.array_equal(load_mask(view), _upright(view.orientation)) for view in _ingest(photos, masks))


def test_views_of_a_plain_folder(folder):
    (folder / "notes.txt").write_text("no image")
    (folder / "._b1.JPG").write_bytes(b"\0\5\x16\7")
    views = _ingest(folder, threads=2)
    assert [view.name for view in views] == ["b1.JPG", "b2.png", "b10.jpeg"]
    assert [view.image_id for view in views] == [0, 1, 2]
    for view in views:
        assert view.path == (folder / view.name).resolve()
        assert view.sha256 == hashlib.sha256(view.path.read_bytes()).hexdigest()
        assert view.camera.model == "SIMPLE_RADIAL"
        assert view.camera.params == (1.2 * _WIDTH, (_WIDTH - 1) / 2, (_HEIGHT - 1) / 2, 0.0)
        assert not view.focal_is_prior
        assert (view.pose, view.mask_path, view.camera_id, view.orientation) == (None, None, 0, 1)
        assert load_grey(view).shape == (_HEIGHT, _WIDTH)


def test_masks_become_black_and_white(folder, mask_folder):
    views = _ingest(folder, mask_folder)
    expected = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    expected[4:20, 8:30] = 255
    for view in views:
        assert view.mask_path == folder.parent / "captures/ann/masks" / f"{view.name}.png"
        assert np.array_equal(load_mask(view), expected)


def test_same_input_gives_the_same_files(folder, mask_folder):
    results = []
    for threads in (1, 2):
        _ingest(folder, mask_folder, threads=threads)
        results.append({p.name: p.read_bytes() for p in (folder.parent / "captures").rglob("*") if p.is_file()})
    assert results[0] == results[1]
    assert len(results[0]) == 4


def test_a_copy_is_skipped_with_a_warning(folder, caplog):
    (folder / "b3.png").write_bytes((folder / "b2.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        assert [view.name for view in _ingest(folder)] == ["b1.JPG", "b2.png", "b10.jpeg"]
    assert any("b3.png has the content of b2.png" in message for message in caplog.messages)


@pytest.mark.parametrize("name", ["b1.JPG", "b2.png"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.97])
def test_truncated_files_are_named(folder, name, share):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: max(12, int(share * len(data)))])
    message = _refusal(folder)
    assert name in message
    assert "truncated" in message


def test_truncation_is_seen_behind_a_thumbnail_and_under_padding(folder):
    whole = _jpeg(_noise(0))
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(whole) + 2) + whole
    for tail in (b"", b"\0" * 500):
        data = whole[:2] + thumbnail + whole[2 : len(whole) // 2].rstrip(b"\xff")
        (folder / "b1.JPG").write_bytes(data + tail)
        assert "truncated" in _refusal(folder)


def test_bytes_after_the_end_of_an_image_are_no_harm(folder):
    for name in ("b1.JPG", "b2.png"):
        with (folder / name).open("ab") as stream:
            stream.write(b"maker's trailer")
    assert len(_ingest(folder)) == 3


def test_damaged_and_foreign_files_are_named(folder):
    original = (folder / "b2.png").read_bytes()
    damaged = bytearray(original)
    damaged[len(damaged) // 2] ^= 0xFF
    (folder / "b2.png").write_bytes(damaged)
    assert all(word in _refusal(folder) for word in ("b2.png", "damaged"))
    (folder / "b2.png").write_bytes(b"RIFF....WEBP" + original)
    assert all(word in _refusal(folder) for word in ("b2.png", "neither JPEG nor PNG"))


def test_a_photograph_truncated_later_is_named(folder):
    view = _ingest(folder)[0]
    view.path.write_bytes(view.path.read_bytes()[:-40])
    with pytest.raises(PorePatchError, match=r"b1\.JPG is truncated"):
        load_grey(view)


def test_one_view_is_not_enough(folder):
    for name in ("b1.JPG", "b10.jpeg"):
        (folder / name).unlink()
    (folder / "copy.png").write_bytes((folder / "b2.png").read_bytes())
    assert all(word in _refusal(folder) for word in ("'ann' has 1 different", "photos", "at least two views"))


def test_missing_folders_are_named(folder, tmp_path):
    assert "nowhere does not exist" in _refusal(tmp_path / "nowhere")
    assert "nomasks does not exist" in _refusal(folder, tmp_path / "nomasks")


def test_bad_masks_are_named_and_nothing_made_is_lost(folder, mask_folder):
    _ingest(folder, mask_folder)
    results = folder.parent / "captures/ann"
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    original = (mask_folder / "b1.png").read_bytes()

    (mask_folder / "b1.png").write_bytes(_png(np.zeros((10, 20), np.uint8)))
    message = _refusal(folder, mask_folder)
    assert all(word in message for word in ("masks/b1.png", "20x10", "photos/b1.JPG", f"{_WIDTH}x{_HEIGHT}")), message
    (mask_folder / "b1.png").write_bytes(original[:-20])
    assert all(word in _refusal(folder, mask_folder) for word in ("masks/b1.png", "truncated"))
    (mask_folder / "b1.png").unlink()
    assert "no mask for the image b1.JPG" in _refusal(folder, mask_folder)
    (mask_folder / "b1.png").write_bytes(original)
    (mask_folder / "b1_mask.png").write_bytes(original)
    assert "b1.JPG has two masks" in _refusal(folder, mask_folder)
    assert "a folder of their own" in _refusal(folder, folder)
    (mask_folder / "b1_mask.png").unlink()
    (folder / "b1.png").write_bytes(_png(_noise(7)))
    assert "b1.JPG and b1.png both take the mask" in _refusal(folder, mask_folder)

    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


def test_settings_are_checked():
    with pytest.raises(TypeError):
        PhotographSettings(mask_ordr="stored")
    for settings in ({"mask_order": "sideways"}, {"default_focal_ratio": 0.0}):
        with pytest.raises(PorePatchError, match=next(iter(settings))):
            PhotographSettings(**settings)


def test_natural_order(tmp_path):
    for name in ("img10.jpg", "IMG2.JPG", "img1.png", "a.b.png", "10.jpg", "9.jpg", "x.gif"):
        (tmp_path / name).touch()
    assert [p.name for p in list_photographs(tmp_path)] == ["9.jpg", "10.jpg", "a.b.png", "img1.png", "IMG2.JPG", "img10.jpg"]


# EXIF. A sensor of 6000 x 4000 pixels, 24 x 16 mm: 250 pixels per mm; 20 mm lens -> 5000 px.
_LENS = {0x920A: (20, 1), 0xA20E: (2500, 1), 0xA210: 3, 0xA002: 6000, 0xA003: 4000}


@pytest.mark.parametrize(
    ("tags", "size", "expected"),
    [
        (_LENS, (6000, 4000), 5000.0),
        (_LENS, (3000, 2000), 2500.0),  # scaled down since
        (_LENS, (2000, 3000), 2500.0),  # and upright
        (_LENS, (3000, 3000), None),  # cropped since
        ({**_LENS, 0xA20E: (6350, 1), 0xA210: 2}, (6000, 4000), 5000.0),  # per inch
        ({**_LENS, 0xA20E: (250, 1), 0xA210: 4}, (6000, 4000), 5000.0),  # per mm
        ({**_LENS, 0xA20E: (1, 0)}, (6000, 4000), None),  # 1/0
        ({**_LENS, 0x920A: (0, 1)}, (6000, 4000), None),  # unknown focal length
        ({**_LENS, 0xA20E: (25, 1)}, (6000, 4000), None),  # a sensor of 2.4 m
        ({0xA405: 30}, (6000, 4000), 5000.0),  # 35 mm film: 36 mm are 6000 px
        ({0xA405: 30}, (4000, 3000), 30 * 5000 / np.hypot(36, 24)),  # by the diagonal
        ({**_LENS, 0xA405: 31}, (6000, 4000), 5000.0),  # rounding: the sensor is right
        ({**_LENS, 0xA405: 60}, (6000, 4000), 10000.0),  # contradiction: an editor scaled the image
        ({}, (6000, 4000), None),
    ],
)
def test_focal_length(tags, size, expected):
    exif = read_exif(_jpeg(_noise(0), {0x010F: "Maker"}, tags))
    assert exif.make == "Maker"
    assert focal_length_px(exif, *size) == (pytest.approx(expected, rel=1e-9) if expected else None)


def test_exif_makes_the_camera(folder):
    small = {**_LENS, 0xA002: 60 * _WIDTH, 0xA003: 60 * _HEIGHT, 0xA20E: (1200, 1)}  # 24 mm wide again
    (folder / "b1.JPG").write_bytes(_jpeg(_noise(0), {0x010F: "Maker", 0x0110: "One"}, small))
    (folder / "b3.jpg").write_bytes(_jpeg(_noise(3), {0x010F: "Maker", 0x0110: "One"}, small))
    (folder / "b4.jpg").write_bytes(_jpeg(_noise(4), {0x010F: "Maker", 0x0110: "Two"}, small))
    (folder / "b5.jpg").write_bytes(_jpeg(_noise(5), {0x010F: "Maker", 0x0110: "One", 0x0112: 6}, small))
    views = {view.name: view for view in _ingest(folder)}
    assert views["b1.JPG"].camera.params == pytest.approx((_WIDTH * 20 / 24, (_WIDTH - 1) / 2, (_HEIGHT - 1) / 2, 0.0))
    assert views["b5.jpg"].camera.params == pytest.approx((_WIDTH * 20 / 24, (_HEIGHT - 1) / 2, (_WIDTH - 1) / 2, 0.0))
    assert [views[name].focal_is_prior for name in ("b1.JPG", "b2.png", "b3.jpg")] == [True, False, True]
    ids = {name: view.camera_id for name, view in views.items()}
    assert ids["b1.JPG"] == ids["b3.jpg"]
    assert ids["b2.png"] == ids["b10.jpeg"]
    assert len({ids["b1.JPG"], ids["b2.png"], ids["b4.jpg"], ids["b5.jpg"]}) == 4


def test_nothing_personal_reaches_the_table(folder):
    (folder / "b1.JPG").write_bytes(_jpeg(_noise(0), {0x013B: "Jane Doe"}, {0xA435: "SERIAL77", 0xA431: "BODY88"}))
    _ingest(folder)
    data = (folder.parent / "captures/ann/images.parquet").read_bytes()
    assert not any(word in data for word in (b"Jane", b"SERIAL77", b"BODY88"))


@pytest.mark.parametrize("cut", [12, 30, 60, 90])
def test_damaged_exif_is_survived(cut):
    block = b"Exif\0\0" + _exif_block({0x0112: 6}, _LENS)[:cut]
    jpeg = _jpeg(_noise(0))
    exif = read_exif(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:])
    assert exif.orientation in (1, 6)


def test_orientation_out_of_range_is_none():
    assert read_exif(_jpeg(_noise(0), {0x0112: 9})) == Exif()
