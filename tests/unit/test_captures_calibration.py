"""Known cameras: the five forms, photographs on their side, and what is refused in which words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from porepatch_lib.captures.calibration import find_cameras, read_calibration
from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs
from porepatch_lib.captures.views import View, orient, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose, checked_rotation, project
from porepatch_lib.sfm.colmap import posed_model

_SIZES = {"a.jpg": (640, 480), "b.jpg": (640, 480)}
_ROTATION = cv2.Rodrigues(np.array([0.1, -0.4, 0.2]))[0]
_CENTRE = np.array([1.0, 2.0, -5.0])


def _entry(**changes):
    entry = {"model": "PINHOLE", "width": 640, "height": 480, "params": [500, 510, 320, 240]}
    entry |= {"rotation": _ROTATION.tolist(), "translation": (-_ROTATION @ _CENTRE).tolist()}
    entry |= changes
    return {key: value for key, value in entry.items() if value is not None}


def _json(folder, **entries):
    path = folder / "cameras.json"
    path.write_text(json.dumps({f"{name}.jpg": entry for name, entry in entries.items()}))
    return path


def _strecha(folder, name, k="500 0 320 0 510 240 0 0 1", distortion="0 0 0", size="640 480"):
    rows = " ".join(f"{value:.6g}" for value in [*_ROTATION.T.ravel(), *_CENTRE])
    (folder / f"{name}.camera").write_text(f"{k}\n{distortion}\n{rows}\n{size}\n")
    return folder


def _colmap(folder, binary=False, names=("a.jpg", "b.jpg"), camera=None):
    """The rig of `_entry` as COLMAP writes it."""
    camera = camera or Camera("PINHOLE", 640, 480, (500.0, 510.0, 320.0, 240.0))
    pose = Pose(_ROTATION, -_ROTATION @ _CENTRE)
    model = posed_model([View(i, name, Path(name), None, "", 1, 0, camera, True, pose) for i, name in enumerate(names)])
    folder.mkdir(parents=True, exist_ok=True)
    (model.write_binary if binary else model.write_text)(folder)
    return folder


def _projections(**changes):
    matrix = np.array([[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]]) @ np.column_stack(
        [_ROTATION, -_ROTATION @ _CENTRE]
    )
    square = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    return {"world_mat_0": square, "world_mat_1": square, "scale_mat_0": 3.0 * np.eye(4), "scale_mat_1": np.eye(4)} | changes


def _npz(folder, name="cameras.npz", **changes):
    np.savez(folder / name, **{key: value for key, value in _projections(**changes).items() if value is not None})
    return folder


def _refusal(path, sizes=None, **options):
    with pytest.raises(PorePatchError) as error:
        read_calibration(path, sizes or _SIZES, **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def test_json_and_strecha_tell_the_same_camera(tmp_path):
    from_json = read_calibration(_json(tmp_path, a=_entry(), b=_entry()), _SIZES)["b.jpg"]
    folder = tmp_path / "strecha"
    folder.mkdir()
    from_strecha = read_calibration(_strecha(_strecha(folder, "a.jpg"), "b.jpg"), _SIZES)["b.jpg"]
    assert from_json.camera == from_strecha.camera
    assert np.allclose(from_strecha.pose.centre, _CENTRE, atol=1e-5)
    assert np.allclose(from_strecha.pose.rotation @ from_strecha.pose.rotation.T, np.eye(3), atol=1e-12)
    point = np.array([[0.3, 0.1, 2.0]])
    local = _ROTATION @ (point[0] - _CENTRE)
    expected = [500 * local[0] / local[2] + 320, 510 * local[1] / local[2] + 240]
    for calibration in (from_json, from_strecha):
        assert np.allclose(project(calibration.camera, calibration.pose, point)[0], expected, atol=5e-3)


def test_folders_are_searched_for_json_and_matrix(tmp_path):
    (tmp_path / "K.txt").write_text("500 0 320\n0 510 240\n0 0 1\n")
    calibration = read_calibration(tmp_path, _SIZES)["a.jpg"]
    assert calibration.camera.params == (500.0, 510.0, 320.0, 240.0)
    assert calibration.pose is None
    _json(tmp_path, a=_entry(params=[600, 600, 320, 240]), b=_entry())
    assert read_calibration(tmp_path, _SIZES)["a.jpg"].camera.params[0] == 600.0


def test_known_cameras_reach_the_table(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed, name in enumerate(_SIZES):
        pixels = np.random.default_rng(seed).integers(0, 256, (480, 640), np.uint8)
        cv2.imwrite(str(photos / name), pixels)
    cameras = _json(tmp_path, a=_entry(), b=_entry(model="OPENCV", params=[500, 510, 320, 240, 0.1, 0, 0, 0]))
    output = tmp_path / "captures/ann/images.parquet"
    ingest_photographs("ann", photos, None, cameras, output, PhotographSettings())
    first, second = read_views(output)
    assert (first.camera.model, second.camera.model) == ("PINHOLE", "OPENCV")
    assert first.focal_is_prior
    assert (first.camera_id, second.camera_id) == (0, 1)
    assert np.allclose(first.pose.centre, _CENTRE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 320}, ["320x480", "b.jpg", "640x480"]),
        ({"modell": 1}, ["Unknown key 'modell'", "'b.jpg'", "did you mean 'model'?"]),
        ({"model": "FISHEYE"}, ["must be one of", "'FISHEYE'"]),
        ({"params": [1, 2]}, ["b.jpg", "takes 4 parameters"]),
        ({"params": None}, ["Missing key 'params'", "'b.jpg'"]),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}, ["b.jpg", "no rotation matrix"]),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, ["b.jpg", "no rotation matrix"]),
        ({"rotation": None}, ["b.jpg", "rotation"]),
        ({"rotation": None, "translation": None}, ["a.jpg but none for b.jpg"]),
    ],
)
def test_bad_json_is_named(tmp_path, changes, words):
    message = _refusal(_json(tmp_path, a=_entry(), b=_entry(**changes)))
    assert all(word in message for word in [*words, "cameras.json"]), message


def test_bad_files_are_named(tmp_path):
    assert "none.json do not exist" in _refusal(tmp_path / "none.json")
    assert "no known cameras" in _refusal(tmp_path)
    path = _json(tmp_path, a=_entry())
    assert "no camera for the image b.jpg" in _refusal(path)
    path.write_text("{")
    assert all(word in _refusal(path) for word in ("cameras.json", "JSON"))
    path.unlink()
    (tmp_path / "K.txt").write_text("500 0 1320 0 510 240 0 0 1")
    assert all(word in _refusal(tmp_path) for word in ("K.txt", "1320", "640x480"))
    (tmp_path / "K.txt").write_text("500 0 320 0 510 240")
    assert "6 numbers, not 9" in _refusal(tmp_path)
    (tmp_path / "K.txt").write_text("500 3 320 0 510 240 0 0 1")
    assert "(fx 0 cx; 0 fy cy; 0 0 1)" in _refusal(tmp_path)


def test_bad_strecha_files_are_named(tmp_path):
    assert "b.jpg.camera is missing" in _refusal(_strecha(tmp_path, "a.jpg"))
    assert "lens distortion" in _refusal(_strecha(tmp_path, "b.jpg", distortion="0.1 0 0"))
    assert "not 26" in _refusal(_strecha(tmp_path, "b.jpg", size=""))
    assert "320x240" in _refusal(_strecha(tmp_path, "b.jpg", size="320 240"))
    (tmp_path / "b.jpg.camera").write_text("camera")
    assert "26 numbers" in _refusal(tmp_path)


def _same(calibration, tolerance=1e-9):
    np.testing.assert_allclose(calibration.camera.params, (500.0, 510.0, 320.0, 240.0), atol=tolerance)
    np.testing.assert_allclose(calibration.pose.rotation, _ROTATION, atol=tolerance)
    np.testing.assert_allclose(calibration.pose.centre, _CENTRE, atol=tolerance)
    return True


# COLMAP.


@pytest.mark.parametrize("binary", [False, True])
def test_colmap_models_tell_the_same_camera(tmp_path, binary):
    folder = _colmap(tmp_path, binary)
    calibrations = read_calibration(folder, _SIZES)
    assert list(calibrations) == list(_SIZES)
    assert all(_same(calibration) for calibration in calibrations.values())
    # What older models do not have, and a rig need not.
    for file in folder.iterdir():
        if file.stem not in ("cameras", "images"):
            file.unlink()
    assert all(_same(calibration) for calibration in read_calibration(folder, _SIZES).values())


def test_half_a_pixel_lies_between_colmap_and_us(tmp_path):
    """A model written by hand: an image of 3 x 1 pixels whose principal point is the centre of its first pixel."""
    (tmp_path / "cameras.txt").write_text("# comment\n\n7 SIMPLE_RADIAL 3 1 10 0.5 0.5 0.25\n")
    (tmp_path / "images.txt").write_text("# comment\n\n1 0 0 0 1 1 2 3 7 a.jpg\n0.5 0.5 -1 1.5 0.5 -1\n2 1 0 0 0 0 0 0 9 b.jpg\n")
    calibration = read_calibration(tmp_path, {"a.jpg": (3, 1)})["a.jpg"]
    assert calibration.camera == Camera("SIMPLE_RADIAL", 3, 1, (10.0, 0.0, 0.0, 0.25))
    np.testing.assert_allclose(calibration.pose.rotation, np.diag([-1.0, -1.0, 1.0]), atol=1e-15)
    np.testing.assert_allclose(calibration.pose.translation, [1.0, 2.0, 3.0])


def _rig_of_two(binary, folder):
    """Two cameras fixed to each other, at one moment: the image of the second has the pose of the rig times its own."""
    model, rig = pycolmap.Reconstruction(), pycolmap.Rig(rig_id=1)
    cameras = [
        pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 510, 320.5, 240.5], camera_id=i) for i in (1, 2)
    ]
    second = pycolmap.Rigid3d(pycolmap.Rotation3d(_ROTATION), np.array([1.0, 2.0, 3.0]))
    for camera in cameras:
        model.add_camera(camera)
    rig.add_ref_sensor(cameras[0].sensor_id)
    rig.add_sensor(cameras[1].sensor_id, second)
    model.add_rig(rig)
    images = [pycolmap.Image(name=name, camera_id=i, image_id=i, frame_id=1) for i, name in ((1, "a.jpg"), (2, "b.jpg"))]
    frame = pycolmap.Frame(frame_id=1, rig_id=1)
    for image in images:
        frame.add_data_id(image.data_id)
    frame.rig_from_world = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.array([0.0, 0.0, 5.0]))
    model.add_frame(frame)
    for image in images:
        model.add_image(image)
    model.register_frame(1)
    (model.write_binary if binary else model.write_text)(folder)


@pytest.mark.parametrize("binary", [False, True])
def test_rigs_and_frames_of_newer_models(tmp_path, binary):
    _rig_of_two(binary, tmp_path)
    first, second = read_calibration(tmp_path, _SIZES).values()
    np.testing.assert_allclose(first.pose.translation, [0.0, 0.0, 5.0])
    np.testing.assert_allclose(second.pose.rotation, _ROTATION, atol=1e-12)
    np.testing.assert_allclose(second.pose.translation, _ROTATION @ [0.0, 0.0, 5.0] + [1.0, 2.0, 3.0])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "names", [("left/a.jpg", "left/b.jpg"), ("c\\a.jpg", "b.jpg"), ("a.jpg", "x/b.jpg"), ("a.jpg", "b.jpg", "x/a.jpg")]
)
def test_colmap_images_are_found_by_their_file_names(tmp_path, binary, names):
    assert all(_same(calibration) for calibration in read_calibration(_colmap(tmp_path, binary, names), _SIZES).values())


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", ["Zoë 1.jpg", "a  b.jpg", "脸.jpg"])
def test_colmap_names_of_any_letters(tmp_path, binary, name):
    sizes = {name: (640, 480)}
    assert _same(read_calibration(_colmap(tmp_path, binary, (name,)), sizes)[name])


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "."])
@pytest.mark.parametrize("binary", [False, True])
def test_colmap_models_are_found(tmp_path, place, binary):
    folder = _colmap(tmp_path / place, binary)
    assert _same(read_calibration(tmp_path, _SIZES)["a.jpg"])
    assert _same(read_calibration(folder / f"cameras.{'bin' if binary else 'txt'}", _SIZES)["a.jpg"])


def _first_image(line):
    """Make `line` the first image; the second stays good."""
    return lambda folder: (folder / "images.txt").write_text(f"{line}\n\n2 1 0 0 0 0 0 1 1 b.jpg\n\n", encoding="utf-8")


def _replaced(file, old, new):
    def edit(folder):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_replaced("images.txt", "b.jpg", "c.jpg"), ["no registered image b.jpg"]),
        (_replaced("images.txt", "b.jpg", "a.jpg"), ["2 images called a.jpg"]),
        (_replaced("images.txt", " 1 b.jpg", " 8 b.jpg"), ["camera 8 of b.jpg"]),
        (_replaced("images.txt", " 1 b.jpg", " 8.5 b.jpg"), ["images.txt", "line 7 is no image"]),
        (_first_image("1 1 0 0 0 0 0 1 a.jpg"), ["images.txt", "line 1 is no image"]),
        (_first_image("1 2 0 0 0 0 0 1 1 a.jpg"), ["a.jpg", "unit length"]),
        (_first_image("1 0 0 0 0 0 0 1 1 a.jpg"), ["a.jpg", "unit length"]),
        (_first_image("1 nan 0 0 0 0 0 1 1 a.jpg"), ["a.jpg", "unit length"]),
        (_first_image("1 1 0 0 0 nan 0 1 1 a.jpg"), ["a.jpg", "translation"]),
        (lambda folder: (folder / "images.txt").write_bytes(b"\xff\xfe\x00"), ["images.txt", "not UTF-8"]),
        (lambda folder: (folder / "images.txt").unlink(), ["no file", "images.txt"]),
        (lambda folder: (folder / "cameras.txt").unlink(), ["no file", "cameras.txt"]),
        (_replaced("cameras.txt", "640", "-640"), ["cameras.txt", "line 4 is no camera"]),
        (_replaced("cameras.txt", "640", "six"), ["cameras.txt", "line 4 is no camera"]),
        (_replaced("cameras.txt", "PINHOLE", "OPENCV_FISHEYE"), ["a.jpg in", "'OPENCV_FISHEYE' is not supported; use one of"]),
        (_replaced("cameras.txt", "PINHOLE", "FULL_OPENCV"), ["'FULL_OPENCV' is not supported"]),
        (_replaced("cameras.txt", "500 510", "500"), ["PINHOLE takes 4 parameters"]),
        (_replaced("cameras.txt", "500 510", "nan 510"), ["a.jpg in", "not finite"]),
        (_replaced("cameras.txt", "500 510", "500 -510"), ["a.jpg in", "focal length -510"]),
        (_replaced("cameras.txt", "640 480", "641 480"), ["641x480", "640x480"]),
    ],
)  # fmt: skip
def test_bad_colmap_text_is_named(tmp_path, edit, words):
    folder = _colmap(tmp_path)
    edit(folder)
    message = _refusal(folder)
    assert all(word in message for word in [*words, str(tmp_path)]), message


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin"])
def test_binary_models_cut_anywhere_are_named(tmp_path, file):
    whole = (_colmap(tmp_path, binary=True) / file).read_bytes()
    for length in range(len(whole)):
        (tmp_path / file).write_bytes(whole[:length])
        assert all(word in _refusal(tmp_path) for word in (file, "damaged (it ends too early)", "export")), length
    (tmp_path / file).write_bytes(whole + b"\0")
    assert "1 bytes too many" in _refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "start", "new", "words"),
    [
        ("cameras.bin", 0, b"\xff" * 8, "ends too early"),  # 2^64 - 1 cameras
        ("cameras.bin", 12, b"\x63\0\0\0", "no camera model 99"),
        ("images.bin", 0, b"\xff" * 8, "ends too early"),
        ("images.bin", 72, b"\xff", "not UTF-8"),
        ("images.bin", 78, b"\xff" * 8, "ends too early"),  # 2^64 - 1 observed points
    ],
)
def test_bad_bytes_in_binary_models_are_named(tmp_path, file, start, new, words):
    folder = _colmap(tmp_path, binary=True)
    data = bytearray((folder / file).read_bytes())
    data[start : start + len(new)] = new
    (folder / file).write_bytes(data)
    message = _refusal(folder)
    assert words in message
    assert file in message


# IDR.


def test_idr_matrices_tell_the_same_camera(tmp_path):
    for name in ("cameras.npz", "cameras_sphere.npz"):
        folder = tmp_path / name.removesuffix(".npz")
        folder.mkdir()
        # A projection matrix is a camera up to a positive factor; IDR's own are single precision.
        matrix = _projections()["world_mat_0"][:3]
        calibrations = read_calibration(_npz(folder, name, world_mat_0=2.0 * matrix), _SIZES)
        assert all(_same(calibration) for calibration in calibrations.values())
        assert read_calibration(folder / name, _SIZES)["b.jpg"].camera.params == calibrations["b.jpg"].camera.params
    single = read_calibration(_npz(folder, name, world_mat_0=matrix.astype(np.float32)), _SIZES)["a.jpg"]
    np.testing.assert_allclose(single.camera.params, (500.0, 510.0, 320.0, 240.0), rtol=1e-5)


def test_idr_counts_the_images_in_their_order(tmp_path):
    sizes = {f"{i}.jpg": (640, 480) for i in range(11)}
    matrices = {f"world_mat_{i}": _projections()["world_mat_0"] * [1.0, 1.0, 1.0, 1.0 + i] for i in range(11)}
    np.savez(tmp_path / "cameras.npz", **matrices)
    calibrations = read_calibration(tmp_path, sizes)
    for i, calibration in enumerate(calibrations.values()):
        np.testing.assert_allclose(calibration.pose.translation, (1.0 + i) * (-_ROTATION @ _CENTRE))


_GOOD = _projections()["world_mat_0"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"world_mat_1": None}, ["1 matrices", "2 images"]),
        ({"world_mat_2": _GOOD}, ["3 matrices", "2 images"]),
        ({"world_mat_1": None, "world_mat_2": _GOOD}, ["not numbered 0, 1, 2"]),
        ({"world_mat_1": _GOOD[:2]}, ["world_mat_1", "3x4"]),
        ({"world_mat_1": _GOOD * np.nan}, ["world_mat_1", "finite"]),
        ({"world_mat_1": np.array(["a"])}, ["Cannot read"]),
        ({"world_mat_1": np.array([{}])}, ["Cannot read", "without pickle"]),
        ({"world_mat_1": _GOOD * 0.0}, ["b.jpg", "singular"]),
        ({"world_mat_1": _GOOD * [[1], [1], [0], [1]]}, ["b.jpg", "singular"]),
        ({"world_mat_1": -_GOOD}, ["b.jpg", "negative determinant"]),
        ({"world_mat_1": np.array([[500, 5, 320, 0], [0, 510, 240, 0], [0, 0, 1.0, 0]])}, ["b.jpg", "skew 5"]),
        ({"world_mat_1": np.array([[500, 0, 320, 0], [0, 510, 940, 0], [0, 0, 1.0, 0]])}, ["b.jpg", "(320, 940)"]),
    ],
)  # fmt: skip
def test_bad_idr_files_are_named(tmp_path, changes, words):
    message = _refusal(_npz(tmp_path, **changes))
    assert all(word in message for word in [*words, "cameras.npz"]), message


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", "half", "array"])
def test_damaged_archives_are_named(tmp_path, content):
    path = _npz(tmp_path) / "cameras.npz"
    if content == "array":
        with path.open("wb") as stream:
            np.save(stream, _GOOD)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    message = _refusal(tmp_path)
    assert "Cannot read" in message
    assert "cameras.npz" in message


# Photographs on their side.


# Where the pixel (x, y) of an image stored as 640 x 480 is in the upright image.
_UPRIGHT_PIXEL = {6: lambda x, y: (479 - y, x), 8: lambda x, y: (y, 639 - x)}


@pytest.mark.parametrize("orientation", [6, 8])
def test_where_exif_brings_a_pixel(orientation):
    y, x = np.indices((480, 640))
    column, row = _UPRIGHT_PIXEL[orientation](x, y)
    assert np.array_equal(orient(x, orientation)[row, column], x)
    assert np.array_equal(orient(y, orientation)[row, column], y)


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("form", ["json", "colmap"])
@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("OPENCV", (500.0, 510.0, 300.0, 250.0, 0.1, -0.05, 0.01, -0.02)),
        ("PINHOLE", (500.0, 510.0, 300.0, 250.0)),
        ("RADIAL", (500.0, 300.0, 250.0, 0.1, -0.05)),
        ("SIMPLE_RADIAL", (500.0, 300.0, 250.0, 0.1)),
        ("SIMPLE_PINHOLE", (500.0, 300.0, 250.0)),
    ],
)
def test_cameras_of_stored_pixels_are_turned_upright(tmp_path, orientation, form, model, params):
    """What the turned camera sees in a pixel is what the stored image has in the pixel that EXIF brings there."""
    camera = Camera(model, 640, 480, params)
    if form == "json":
        path = _json(tmp_path, a=_entry(model=model, params=params))
    else:
        path = _colmap(tmp_path, names=("a.jpg",), camera=camera)
    calibration = read_calibration(path, {"a.jpg": (480, 640)}, {"a.jpg": orientation})["a.jpg"]
    assert (calibration.camera.width, calibration.camera.height) == (480, 640)
    np.testing.assert_allclose(calibration.pose.centre, _CENTRE, atol=1e-12)
    points = np.random.default_rng(3).uniform([-1.0, -1.0, 0.0], [1.0, 1.0, 2.0], (50, 3))
    stored, depth = project(camera, Pose(_ROTATION, -_ROTATION @ _CENTRE), points)
    upright, upright_depth = project(calibration.camera, calibration.pose, points)
    assert np.isfinite(stored).all()
    np.testing.assert_allclose(upright.T, _UPRIGHT_PIXEL[orientation](*stored.T), atol=1e-9)
    np.testing.assert_allclose(upright_depth, depth)


def test_cameras_of_upright_pixels_stay_as_they_are(tmp_path):
    path = _json(tmp_path, a=_entry(), b=_entry())
    for orientations in (None, {}, {"a.jpg": 6, "b.jpg": 8}, {"a.jpg": 3}):
        assert all(_same(calibration) for calibration in read_calibration(path, _SIZES, orientations).values())


def test_files_without_a_size_go_by_their_centre(tmp_path):
    """One K for photographs stored as 640 x 480 of which one was taken on its side; and projection matrices likewise."""
    sizes, orientations = {"a.jpg": (640, 480), "b.jpg": (480, 640)}, {"b.jpg": 6}
    (tmp_path / "K.txt").write_text("500 0 310 0 510 240 0 0 1")
    for folder in (tmp_path / "K.txt", _npz(tmp_path)):
        first, second = read_calibration(folder, sizes, orientations).values()
        assert first.camera.principal_point_px[1] == pytest.approx(240.0)
        assert second.camera.focal_px == pytest.approx((510.0, 500.0))
        assert second.camera.principal_point_px == pytest.approx((239.0, first.camera.principal_point_px[0]))
    np.testing.assert_allclose(second.pose.centre, _CENTRE)


@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_mirrored_photographs_are_refused(tmp_path, orientation):
    path = _json(tmp_path, a=_entry(), b=_entry())
    message = _refusal(path, orientations={"b.jpg": orientation})
    assert all(word in message for word in ("b.jpg", f"EXIF orientation {orientation}", "cameras.json", "unmirrored"))


def test_a_size_that_fits_neither_way_is_refused(tmp_path):
    path = _json(tmp_path, a=_entry(width=320))
    assert "320x480" in _refusal(path, {"a.jpg": (480, 640)}, orientations={"a.jpg": 6})
    # Without EXIF nothing was turned.
    assert "640x480" in _refusal(_json(tmp_path, a=_entry()), {"a.jpg": (480, 640)})


# Units, forms, numbers.


def test_the_unit_of_the_world_scales_positions(tmp_path):
    for path in (_json(tmp_path, a=_entry(), b=_entry()), _colmap(tmp_path / "colmap"), _npz(tmp_path) / "cameras.npz"):
        calibration = read_calibration(path, _SIZES, world_unit_mm=1000.0)["b.jpg"]
        np.testing.assert_allclose(calibration.pose.centre, 1000.0 * _CENTRE)
        np.testing.assert_allclose(calibration.pose.rotation, _ROTATION, atol=1e-9)
    matrix = tmp_path / "K.txt"
    matrix.write_text("500 0 320 0 510 240 0 0 1")
    assert read_calibration(matrix, _SIZES, world_unit_mm=10.0)["a.jpg"].pose is None


def test_two_forms_in_one_folder_are_refused(tmp_path):
    makers = {
        "a COLMAP model": _colmap,
        ".camera files": lambda folder: _strecha(folder, "a.jpg"),
        "cameras.json": lambda folder: _json(folder, a=_entry(), b=_entry()),
        "cameras.npz": _npz,
        "cameras_sphere.npz": lambda folder: _npz(folder, "cameras_sphere.npz"),
    }
    for first in makers:
        for second in makers:
            if first != second:
                folder = tmp_path / "both"
                folder.mkdir()
                makers[first](folder)
                makers[second](folder)
                message = _refusal(folder)
                assert all(word in message for word in (first, second, str(folder), "remove one"))
                shutil.rmtree(folder)


def test_files_say_what_they_are(tmp_path):
    assert find_cameras(_json(tmp_path, a=_entry())).kind == "cameras.json"
    assert find_cameras(_strecha(tmp_path, "a.jpg") / "a.jpg.camera").path == tmp_path
    (tmp_path / "cameras.xml").write_text("")
    assert "no known cameras" in _refusal(tmp_path / "cameras.xml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"params": [500, -510, 320, 240]}, ["focal length -510"]),
        ({"params": [0, 510, 320, 240]}, ["focal length 0"]),
        ({"params": [500, 510, float("nan"), 240]}, ["not finite"]),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, float("nan")]]}, ["no rotation matrix"]),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0.01, 1]]}, ["no rotation matrix"]),
        ({"translation": [0, 0, float("inf")]}, ["translation", "not finite"]),
        ({"model": "OPENCV_FISHEYE"}, ["must be one of"]),
    ],
)
def test_bad_numbers_are_named(tmp_path, changes, words):
    message = _refusal(_json(tmp_path, a=_entry(), b=_entry(**changes)))
    assert all(word in message for word in [*words, "b.jpg", "cameras.json"]), message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe{", ["cameras.json", "mend its JSON"]),
        (b"[" * 100_000, ["cameras.json"]),
        (b"[]", ["cameras.json", "section"]),
        (b'{"a.jpg": {}, "a.jpg": {}}', ["'a.jpg' is there twice"]),
    ],
)
def test_texts_that_are_no_cameras_are_named(tmp_path, content, words):
    (tmp_path / "cameras.json").write_bytes(content)
    message = _refusal(tmp_path)
    assert all(word in message for word in words), message


def test_rotations_are_made_exact_or_refused():
    rounded = np.round(_ROTATION, 5)
    exact = checked_rotation(rounded, "a.jpg")
    np.testing.assert_allclose(exact @ exact.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(exact, _ROTATION, atol=1e-5)
    for wrong in (2.0 * np.eye(3), -np.eye(3), np.zeros((3, 3)), np.full((3, 3), np.nan), _ROTATION * np.inf):
        with pytest.raises(PorePatchError, match=r"The rotation of a\.jpg is no rotation matrix"):
            checked_rotation(wrong, "a.jpg")
