"""A dataset folder of the ETH layout as a subject: images with the cameras of COLMAP's database."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from porepatch_lib.captures.eth import capture_eth
from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.photographs import PhotographSettings
from porepatch_lib.captures.views import load_grey, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera
from porepatch_lib.sfm.eth_database import read_eth_database

WIDTH, HEIGHT = 64, 48
# The tables as COLMAP 3.1 made them, with which the datasets were published: no rigs, no frames, `inlier_matches`.
SCHEMA = """
CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, params BLOB, prior_focal_length INTEGER NOT NULL);
CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL,
    prior_qw REAL, prior_qx REAL, prior_qy REAL, prior_qz REAL, prior_tx REAL, prior_ty REAL, prior_tz REAL);
CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB);
CREATE TABLE matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB);
CREATE TABLE inlier_matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    config INTEGER NOT NULL);
"""
SIMPLE_RADIAL, PINHOLE, FISHEYE = 2, 1, 5
CAMERAS = (
    (7, SIMPLE_RADIAL, WIDTH, HEIGHT, np.array([80.0, 32.0, 24.0, 0.01]).tobytes(), 1),
    (9, PINHOLE, WIDTH, HEIGHT, np.array([81.0, 82.0, 30.0, 20.0]).tobytes(), 0),
)
IMAGES = (("img2.png", 7), ("img10.jpg", 9), ("img11.tif", 7))


def _database(path: Path, cameras: tuple = CAMERAS, images: tuple = IMAGES) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO cameras VALUES (?, ?, ?, ?, ?, ?)", cameras)
        connection.executemany("INSERT INTO images (name, camera_id) VALUES (?, ?)", images)


def _image(path: Path, seed: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, noise)[1].tobytes())


@pytest.fixture
def dataset(tmp_path) -> Path:
    (tmp_path / "dataset" / "images").mkdir(parents=True)
    for seed, (name, _) in enumerate(IMAGES):
        _image(tmp_path / "dataset" / "images" / name, seed)
    _database(tmp_path / "dataset" / "database.db")
    return tmp_path / "dataset"


def _capture(dataset: Path, masks: Path | None = None) -> Path:
    output = dataset.parent / "captures" / "images.parquet"
    capture_eth("anna", dataset, masks, output, PhotographSettings(), MaskSettings(erosion_px=0, dilation_px=0))
    return output


def test_cameras_and_flags_are_those_of_the_database(dataset):
    views = read_views(_capture(dataset))
    assert [view.name for view in views] == ["img2.png", "img10.jpg", "img11.tif"]
    # COLMAP's origin is half a pixel away.
    radial = Camera("SIMPLE_RADIAL", WIDTH, HEIGHT, (80.0, 31.5, 23.5, 0.01))
    pinhole = Camera("PINHOLE", WIDTH, HEIGHT, (81.0, 82.0, 29.5, 19.5))
    assert [view.camera for view in views] == [radial, pinhole, radial]
    assert [view.camera_id for view in views] == [0, 1, 0]
    assert [view.focal_is_prior for view in views] == [True, False, True]
    assert all(view.pose is None and view.mask_path is None for view in views)
    for view in views:
        stored = cv2.imread(str(dataset / "images" / view.name), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(load_grey(view), stored)


def test_cameras_that_only_look_alike_stay_apart(dataset):
    (dataset / "database.db").unlink()
    twins = tuple((camera_id, *CAMERAS[0][1:5], 0) for camera_id in (1, 2, 3))
    _database(dataset / "database.db", twins, tuple((name, i) for i, (name, _) in enumerate(IMAGES, start=1)))
    assert [view.camera_id for view in read_views(_capture(dataset))] == [0, 1, 2]


def test_masks_are_read_as_for_photographs(dataset, tmp_path):
    (tmp_path / "masks").mkdir()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30] = 255
    for name, _ in IMAGES:
        (tmp_path / "masks" / f"{name}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    for view in read_views(_capture(dataset, tmp_path / "masks")):
        np.testing.assert_array_equal(load_mask(view), mask)


def test_a_database_of_today_is_read_alike(dataset):
    old = read_eth_database(dataset / "database.db")
    path = dataset / "today.db"
    with pycolmap.Database.open(path) as database:
        for camera_id, model, width, height, params, prior in CAMERAS:
            camera = pycolmap.Camera.create_from_model_id(camera_id, pycolmap.CameraModelId(model), 1.0, width, height)
            camera.params, camera.has_prior_focal_length = np.frombuffer(params), bool(prior)
            database.write_camera(camera, use_camera_id=True)
        for name, camera_id in IMAGES:
            database.write_image(pycolmap.Image(name=name, camera_id=camera_id))
        # Still open, so its rows may lie in the file beside it.
        assert read_eth_database(path) == old


def test_the_file_of_the_user_is_not_touched(dataset):
    before = hashlib.sha256((dataset / "database.db").read_bytes()).hexdigest()
    _capture(dataset)
    assert hashlib.sha256((dataset / "database.db").read_bytes()).hexdigest() == before
    assert sorted(path.name for path in dataset.iterdir()) == ["database.db", "images"]


def test_an_image_turned_by_exif_stays_as_stored(dataset, caplog):
    path = dataset / "images" / "img10.jpg"
    data = path.read_bytes()
    block = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])
    view = read_views(_capture(dataset))[1]
    assert view.orientation == 1 and load_grey(view).shape == (HEIGHT, WIDTH)
    assert "EXIF would turn 1 images" in caplog.text


def _sql(statement: str, *values: object) -> Callable[[Path], None]:
    def change(dataset: Path) -> None:
        with closing(sqlite3.connect(dataset / "database.db")) as connection, connection:
            connection.execute(statement, values)

    return change


def _file(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(dataset: Path) -> None:
        change(dataset / name)

    return damage


DB = "database.db"
DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (_file(DB, Path.unlink), "has no"),
    (_file(DB, lambda p: p.write_bytes(b"")), "no such table"),
    (_file(DB, lambda p: p.write_bytes(b"something else" * 500)), "damaged or no database of COLMAP"),
    (_file(DB, lambda p: p.write_bytes(p.read_bytes()[:9000])), "damaged or no database of COLMAP"),
    (_sql("DROP TABLE cameras"), "no such table"),
    (_sql("ALTER TABLE cameras RENAME COLUMN params TO numbers"), "no such column"),
    (_sql("DELETE FROM images"), "has no images"),
    (_sql("DELETE FROM cameras WHERE camera_id = 9"), "has no camera"),
    (_sql("UPDATE cameras SET model = 99"), "no camera model 99"),
    (_sql("UPDATE cameras SET model = 'x'"), "no camera model x"),
    (_sql("UPDATE cameras SET params = NULL"), "parameters"),
    (_sql("UPDATE cameras SET params = ?", b"1234567"), "parameters"),
    (_sql("UPDATE cameras SET params = ? WHERE model = 2", np.full(4, np.nan).tobytes()), "focal length"),
    (_sql("UPDATE cameras SET params = ? WHERE model = 2", np.zeros(4).tobytes()), "focal length"),
    (_sql("UPDATE cameras SET model = ?, params = ?", FISHEYE, np.ones(8).tobytes()), "not supported"),
    (_sql("UPDATE cameras SET width = -5"), "-5 x 48 px"),
    (_sql("UPDATE cameras SET width = 65"), "64x48 pixels but its camera in the database has 65x48"),
    (_sql("UPDATE images SET name = ? WHERE name = 'img2.png'", b"\xff\xfe"), "no name"),
    (_sql("UPDATE images SET name = 'other.png' WHERE name = 'img2.png'"), "names the image other.png"),
    (_sql("DELETE FROM images WHERE name = 'img2.png'"), "img2.png has no entry"),
    (_file("images/img2.png", Path.unlink), "is not in"),
    (_file("images/img2.png", lambda p: p.write_bytes(p.read_bytes()[:-40])), "truncated"),
    (_file("images/img2.png", lambda p: _image(p, 0, (HEIGHT, WIDTH + 1))), "65x48 pixels but its camera"),
    (_file("images", lambda p: p.rename(p.with_name("pictures"))), "does not exist"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[f"{i}-{words[:20]}" for i, (_, words) in enumerate(DAMAGE)])
def test_what_does_not_fit_is_refused_in_one_sentence(dataset, damage, words):
    damage(dataset)
    with pytest.raises(PorePatchError) as caught:
        _capture(dataset)
    text = str(caught.value)
    assert words in text and str(dataset) in text and text.endswith(".") and "\n" not in text, text
    assert not (dataset.parent / "captures" / "images.parquet").exists()


def test_any_changed_bytes_of_a_database_are_read_or_refused(dataset):
    """Neither a crash nor another exception comes of damage."""
    rng = np.random.default_rng(0)
    path = dataset / DB
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        places = rng.choice(np.flatnonzero(whole), 8)
        damaged[places] = rng.integers(0, 256, 8)
        path.write_bytes(damaged.tobytes())
        try:
            read_eth_database(path)
        except PorePatchError as error:
            assert str(error).endswith(".")
