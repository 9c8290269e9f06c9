"""What EXIF may say: focal lengths with a table of sensors, cameras told apart, and nothing about who, where or when."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from porepatch_lib.captures.exif import Exif, focal_length_px, read_exif
from porepatch_lib.captures.photographs import PhotographSettings, exif_camera, ingest_photographs
from porepatch_lib.captures.sensors import known_widths_mm, sensor_width_mm
from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError

_SIZE = (48, 32)
_SECRETS = ("Jane Doe", "SERIAL77", "BODY88", "LENS99", "OWNER66", "2021:07:03", "UNIQUE55", "COMMENT44", "51.5074")


def _photograph(
    kind: str = "JPEG",
    size: tuple[int, int] = _SIZE,
    seed: int = 0,
    main: dict | None = None,
    details: dict | None = None,
    **options,
) -> bytes:
    """An image file of noise with EXIF of two directories."""
    exif = Image.Exif()
    exif.update(main or {})
    exif.get_ifd(0x8769).update(details or {})
    return _save(kind, exif, seed, size, **options)


def _save(kind: str, exif: Image.Exif, seed: int, size: tuple[int, int] = _SIZE, **options) -> bytes:
    """Pillow leaves the inner directories out of a TIFF, unless they are given as its tags."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    if kind == "TIFF":
        tags = ImageFileDirectory_v2()
        tags.update(dict(exif))
        tags[0x8769], tags[0x8825] = dict(exif.get_ifd(0x8769)), dict(exif.get_ifd(0x8825))
        Image.fromarray(pixels).save(stream, kind, tiffinfo=tags)
    else:
        Image.fromarray(pixels).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def _camera(make: str, model: str, focal_mm: float, **options) -> bytes:
    return _photograph(main={0x010F: make, 0x0110: model}, details={0x920A: IFDRational(focal_mm)}, **options)


def _ingest(folder: Path, cameras: Path | None = None, **settings):
    output = folder.parent / "captures" / "ann" / "images.parquet"
    ingest_photographs("ann", folder, None, cameras, output, PhotographSettings(**settings))
    return {view.name: view for view in read_views(output)}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "model", "width"),
    [
        ("Canon", "Canon EOS 700D", 22.3),
        ("NIKON CORPORATION", "NIKON D750", 35.9),
        ("NIKON CORPORATION", "NIKON Z 6_2", 35.9),
        ("SONY", "ILCE-7M3", 35.6),
        ("FUJIFILM", "X-T4", 23.5),
        ("FUJIFILM", "GFX100S", 43.8),
        ("Panasonic", "DC-GH5", 17.3),
        ("OLYMPUS CORPORATION", "E-M1MarkII  ", 17.3),
        ("OLYMPUS IMAGING CORP.", "E-M5", 17.3),
        ("OM Digital Solutions", "OM-1", 17.3),
        ("LEICA CAMERA AG", "LEICA Q2", 36.0),
        ("RICOH IMAGING COMPANY, LTD.", "PENTAX K-1 Mark II", 35.9),
        ("RICOH IMAGING COMPANY, LTD.", "RICOH GR III", 23.5),
        ("Hasselblad", "Hasselblad X1D II 50C", 43.8),
        ("Phase One", "IQ4 150MP", 53.4),
        ("SIGMA", "SIGMA fp L", 36.0),
        ("canon", "canon eos 5d mark iii", 36.0),
        ("Canon", "Canon EOS 5D Mark XX", None),
        ("Canon", "", None),
        ("", "", None),
        ("  ", "Canon EOS 700D", 22.3),
    ],
)
def test_table_of_sensors(make, model, width):
    assert sensor_width_mm(make, model, known_widths_mm()) == width


def test_table_of_sensors_is_sane():
    widths = known_widths_mm()
    assert len(widths) > 400
    assert all(13.0 <= width <= 54.0 for width in widths.values())
    assert len({name.casefold() for name in widths}) == len(widths)


@pytest.mark.parametrize("name", ["NIKON CORPORATION NIKON D750", "Nikon D750", "nikon  d-750", "NIKON D750"])
def test_users_sensors_are_found_under_any_spelling(name):
    assert sensor_width_mm("NIKON CORPORATION", "NIKON D750", {"Canon EOS 5D": 1.0, name: 30.0}) == 30.0


# A 50 mm lens before a sensor of 24 mm.
_PLAIN = Exif(make="Maker", model="One", focal_mm=50.0, original_size=(6000, 4000))
_TAGGED = Exif(focal_mm=50.0, pixels_per_mm=240.0, original_size=(6000, 4000))
_FILM = Exif(focal_mm=50.0, focal_35mm=75.0, original_size=(6000, 4000))


@pytest.mark.parametrize(
    ("exif", "size", "given", "known", "expected"),
    [
        (_PLAIN, (6000, 4000), None, None, None),
        (_PLAIN, (6000, 4000), None, 24.0, 12500.0),
        (_PLAIN, (3000, 2000), None, 24.0, 6250.0),  # scaled down since
        (_PLAIN, (2000, 3000), None, 24.0, 6250.0),  # upright
        (_PLAIN, (2000, 2000), None, 24.0, None),  # cropped since
        (_PLAIN, (6000, 4000), 30.0, 24.0, 10000.0),  # the user knows better
        (_TAGGED, (6000, 4000), None, 24.0, 12000.0),  # tags before the table
        (_TAGGED, (6000, 4000), 24.0, None, 12500.0),  # the user before tags
        (_FILM, (6000, 4000), None, 30.0, 12500.0),  # the 35 mm value before the table
        (Exif(), (6000, 4000), 24.0, 24.0, None),  # no lens
    ],
)
def test_focal_length_by_the_sensors_width(exif, size, given, known, expected):
    assert focal_length_px(exif, *size, given, known) == (pytest.approx(expected) if expected else None)


def test_the_camera_is_looked_up(folder):
    (folder / "a.jpg").write_bytes(_camera("Canon", "Canon EOS 700D", 50.0))
    (folder / "b.jpg").write_bytes(_camera("Acme", "Acme 3000", 50.0, seed=1))
    views = _ingest(folder, sensors={"ACME 3000": 25.0})
    assert views["a.jpg"].camera.params[0] == pytest.approx(48 * 50.0 / 22.3)
    assert views["b.jpg"].camera.params[0] == pytest.approx(48 * 50.0 / 25.0)
    assert all(view.focal_is_prior for view in views.values())


def test_an_unknown_camera_is_named(folder, caplog):
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        (folder / name).write_bytes(_camera("Acme", "3000", 50.0, seed=seed))
    with caplog.at_level(logging.WARNING):
        views = _ingest(folder)
    assert not any(view.focal_is_prior for view in views.values())
    assert any("Acme 3000 in photographs.sensors" in message for message in caplog.messages)


def test_several_cameras_and_sizes_are_told_apart(folder):
    for seed, (name, make, model, focal_mm, size) in enumerate(
        [
            ("a", "Canon", "Canon EOS 700D", 50.0, _SIZE),
            ("b", "Canon", "Canon EOS 700D", 50.0, _SIZE),
            ("c", "Canon", "Canon EOS 700D", 35.0, _SIZE),  # zoomed
            ("d", "Canon", "Canon EOS 700D", 50.0, (96, 64)),  # another size
            ("e", "Canon", "Canon EOS 700D", 50.0, _SIZE[::-1]),  # on its side
            ("f", "Canon", "Canon EOS 750D", 50.0, _SIZE),  # the same numbers, another body
            ("g", "", "", 50.0, _SIZE),
        ]
    ):
        (folder / f"{name}.jpg").write_bytes(_camera(make, model, focal_mm, size=size, seed=seed))
    views = _ingest(folder)
    ids = {name[0]: view.camera_id for name, view in views.items()}
    assert ids == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 3, "f": 4, "g": 5}
    assert (views["d.jpg"].camera.width, views["d.jpg"].camera.height) == (96, 64)
    assert views["d.jpg"].camera.params[0] == pytest.approx(2.0 * views["a.jpg"].camera.params[0])


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_every_format_tells_its_camera(folder, kind):
    details = {0x920A: IFDRational(50), 0xA405: 75}
    for seed, name in enumerate(("a", "b")):
        data = _photograph(kind, seed=seed, main={0x010F: "Maker", 0x0110: "One"}, details=details)
        (folder / f"{name}.{kind.lower()}").write_bytes(data)
    for view in _ingest(folder).values():
        assert view.focal_is_prior
        assert view.camera.params[0] == pytest.approx(75.0 * np.hypot(*_SIZE) / np.hypot(36.0, 24.0))


def test_png_without_exif_is_read_in_silence(folder, caplog):
    for seed, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
        (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    with caplog.at_level(logging.DEBUG):
        _ingest(folder)
    assert [record.message for record in caplog.records if "exif" in record.name.lower()] == []


def test_poses_are_metric_where_their_unit_is_given(folder):
    entry = '{"model": "PINHOLE", "width": 48, "height": 32, "params": [50, 50, 24, 16], %s}'
    pose = '"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "translation": [1, 2, 3]'
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        (folder / name).write_bytes(_photograph(seed=seed))
    cameras = folder.parent / "cameras.json"
    cameras.write_text(f'{{"a.jpg": {entry % pose}, "b.jpg": {entry % pose}}}')
    assert not any(view.metric for view in _ingest(folder, cameras).values())
    metric = _ingest(folder, cameras, world_unit_mm=1000.0)
    assert all(view.metric for view in metric.values())
    assert metric["a.jpg"].pose.translation == pytest.approx([1000.0, 2000.0, 3000.0])
    cameras.write_text(f'{{"a.jpg": {(entry % "")[:-3]}}}, "b.jpg": {(entry % "")[:-3]}}}}}')
    assert not any(view.metric for view in _ingest(folder, cameras, world_unit_mm=1000.0).values())


def _personal(kind: str, orientation: int, seed: int) -> bytes:
    exif = Image.Exif()
    exif.update({0x010F: "Maker", 0x0110: "One", 0x0112: orientation, 0x013B: "Jane Doe", 0x0132: "2021:07:03 10:11:12"})
    exif.update({0x8298: "(c) Jane Doe", 0x9C9D: "Jane Doe".encode("utf-16-le"), 0xC62F: "SERIAL77"})
    exif.get_ifd(0x8769).update({0x9003: "2021:07:03 10:11:12", 0xA430: "OWNER66", 0xA431: "BODY88", 0xA435: "LENS99"})
    exif.get_ifd(0x8769).update({0xA420: "UNIQUE55", 0x9286: b"ASCII\0\0\0COMMENT44", 0x927C: b"SERIAL77"})
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 26.64), 3: "W", 4: (0.0, 7.0, 40.0), 29: "2021:07:03", 28: b"51.5074"})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">Jane Doe BODY88</x:xmpmeta>'
    return _save(kind, exif, seed, **({"xmp": xmp} if kind == "JPEG" else {}))


@pytest.mark.parametrize("damage", [False, True])
def test_nothing_personal_is_written_or_logged(folder, caplog, damage):
    """GPS, names, serial numbers and dates stay in the user's files, whether these are read in place or developed."""
    masks = folder.parent / "masks"
    masks.mkdir()
    for seed, (name, kind) in enumerate((("a.jpg", "JPEG"), ("b.tif", "TIFF"), ("c.png", "PNG"))):
        data = _personal(kind, 6, seed)
        if damage and kind == "JPEG":
            data = data.replace(b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0MM\0*\0\0\0\x0f").replace(
                b"Exif\0\0II*\0\x08", b"Exif\0\0II*\0\x0f"
            )
        assert [secret for secret in _SECRETS if secret.encode() not in data] == []
        (folder / name).write_bytes(data)
        (masks / f"{name}.png").write_bytes(cv2.imencode(".png", np.full((32, 48), 255, np.uint8))[1].tobytes())
    output = folder.parent / "captures/ann/images.parquet"
    with caplog.at_level(logging.DEBUG):
        ingest_photographs("ann", folder, masks, None, output, PhotographSettings(mask_order="stored"))
    written = [path for path in output.parent.rglob("*") if path.is_file()]
    assert len(written) == 5
    for secret in _SECRETS:
        for form in (secret.encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be")):
            assert not [path for path in written if form in path.read_bytes()], secret
        assert secret not in caplog.text


def test_only_named_tags_are_kept():
    exif = read_exif(_personal("JPEG", 6, 0))
    assert exif == Exif(orientation=6, make="Maker", model="One")


def test_exif_that_cannot_be_read_is_not_quoted(caplog, monkeypatch):
    def stumble(*_: object, **__: object) -> None:
        raise ValueError("invalid literal: 'Jane Doe'")

    monkeypatch.setattr("exifread.process_file", stumble)
    with caplog.at_level(logging.WARNING):
        assert read_exif(b"", "photos/a.jpg") == Exif()
    assert "photos/a.jpg" in caplog.text
    assert "Jane" not in caplog.text


def test_a_guess_is_a_guess():
    camera, is_prior = exif_camera(Exif(make="Canon", model="Canon EOS 700D"), (30, 20), PhotographSettings())
    assert (camera.params, is_prior) == ((36.0, 14.5, 9.5, 0.0), False)


@pytest.mark.parametrize(
    "settings",
    [
        {"sensors": {"Canon EOS 5D": 0.0}},
        {"max_megapixels": 0.0},
        {"max_megapixels": 2000.0},
        {"world_unit_mm": -1.0},
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(PorePatchError, match=next(iter(settings))):
        PhotographSettings(**settings)
