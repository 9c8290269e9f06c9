"""Known cameras: the three forms, and what is refused in which words."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.calibration import read_calibration
from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs
from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import project

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


def _refusal(path, sizes=None):
    with pytest.raises(PorePatchError) as error:
        read_calibration(path, sizes or _SIZES)
    return str(error.value)


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
