"""Calibrated rigs on real photographs: Strecha's fountain with known and unknown cameras, and a museum head on its side."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from porepatch_lib.captures.calibration import read_calibration
from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs
from porepatch_lib.captures.views import load_grey, read_views
from porepatch_lib.descriptors.describe import describe_subject
from porepatch_lib.files import read_json
from porepatch_lib.geometry import Camera, Pose, project
from porepatch_lib.keypoints.detect import KeypointSettings, detect_subject
from porepatch_lib.matching.match import MatchSettings, match_subject
from porepatch_lib.matching.pairs import write_view_pairs
from porepatch_lib.sfm.model import read_model
from porepatch_lib.sfm.reconstruct import SfmSettings, reconstruct_subject

_NAMES = [f"{number:04}.jpg" for number in range(3, 8)]  # five neighbours of the eleven
_SIZE = (3072, 2048)
_FOCAL_PX = 2759.48  # of K.txt


@pytest.fixture(scope="module")
def fountain(shared, tmp_path_factory):
    """Five photographs with Strecha's cameras, their keypoints and matches."""
    folder = tmp_path_factory.mktemp("fountain")
    (folder / "photographs").mkdir()
    for name in _NAMES:
        (folder / "photographs" / name).symlink_to(shared / "data/fountain-P11/images" / name)
    images, keypoints, descriptors = folder / "images.parquet", folder / "keypoints.parquet", folder / "descriptors.npy"
    _ingest(folder / "photographs", shared / "data/fountain-P11/gt_dense_cameras", images)
    detect_subject(images, keypoints, KeypointSettings(target_count=2000), threads=1)
    describe_subject(images, keypoints, descriptors, "psift", None, 24.0, threads=1)
    write_view_pairs(images, folder / "pairs.parquet")
    match_subject(
        images, keypoints, descriptors, folder / "pairs.parquet", folder / "matches.parquet", MatchSettings(), threads=1
    )
    return folder


def test_points_of_the_known_rig_reproject(fountain):
    status = _reconstruct(fountain, fountain / "images.parquet", "known")
    assert status["registered"] == len(_NAMES)
    assert status["points"] > 1000
    assert status["mean_reprojection_error_px"] < 0.5


@pytest.mark.parametrize("focal_35mm", [None, 32])
def test_the_rig_is_found_without_its_cameras(fountain, focal_35mm):
    """The photographs have no EXIF, so the default guess starts 34 % off; 32 mm on film, as EXIF rounds it, 1 %."""
    folder = fountain / f"exif_{focal_35mm}"
    folder.mkdir()
    for name in _NAMES:
        data = (fountain / "photographs" / name).read_bytes()
        (folder / name).write_bytes(data if focal_35mm is None else _with_focal(data, focal_35mm))
    images = folder / "images.parquet"
    _ingest(folder, None, images)
    started = read_views(images)[0]
    assert started.focal_is_prior == (focal_35mm is not None)
    assert abs(started.camera.focal_px[0] / _FOCAL_PX - 1.0) < (0.35 if focal_35mm is None else 0.015)

    status = _reconstruct(fountain, images, f"sfm_{focal_35mm}")
    assert status["registered"] == len(_NAMES)
    assert status["mean_reprojection_error_px"] < 0.5
    model = read_model(fountain / f"sfm_{focal_35mm}" / "model")
    true = [view.pose for view in read_views(fountain / "images.parquet")]
    position_mm, common_deg, own_deg = _pose_errors([model.poses[i] for i in sorted(model.poses)], true)
    assert np.allclose([camera.focal_px[0] for camera in model.cameras.values()], _FOCAL_PX, rtol=0.005)
    assert np.median(position_mm) < 10.0  # of a rig 6.9 m long
    assert position_mm.max() < 15.0
    # The principal point is 22 px off the centre of the image, where the mapper leaves it: atan(22 / 2759) = 0.46 degrees.
    assert common_deg < 1.0
    assert own_deg < 0.2


@pytest.mark.parametrize("form", ["colmap text", "colmap binary", "cameras.json", "cameras.npz"])
def test_the_same_rig_in_other_files(shared, tmp_path, form):
    source = shared / "data/fountain-P11/gt_dense_cameras"
    sizes = {path.name.removesuffix(".camera"): _SIZE for path in sorted(source.glob("*.camera"))}
    assert len(sizes) == 11
    given = read_calibration(source, sizes)
    {"colmap text": _write_text, "colmap binary": _write_binary, "cameras.json": _write_json, "cameras.npz": _write_npz}[form](
        tmp_path, _rounded_rig(source, list(sizes))
    )
    found = read_calibration(tmp_path, sizes)
    for name in sizes:
        assert found[name].camera.model == given[name].camera.model == "PINHOLE"
        np.testing.assert_allclose(found[name].camera.params, given[name].camera.params, rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(found[name].pose.rotation, given[name].pose.rotation, rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(found[name].pose.centre, given[name].pose.centre, rtol=0.0, atol=1e-6)


def test_a_model_of_stored_pixels_is_turned_with_the_photographs(shared, tmp_path):
    """What COLMAP tells of photographs with EXIF 6: both cameras see the same grey value along the same ray."""
    photographs = shared / "data/vespasian/images"
    _ingest(photographs, None, tmp_path / "images.parquet")
    views = read_views(tmp_path / "images.parquet")
    sizes = {view.name: (view.camera.width, view.camera.height) for view in views}
    assert set(sizes.values()) == {(1728, 2592)}
    # As COLMAP 4 writes it: 2592 x 1728, first pixel centre (0.5, 0.5).
    (tmp_path / "cameras.txt").write_text("1 OPENCV 2592 1728 2390 2400 1300.5 850.5 -0.1 0.02 0.003 -0.004\n")
    stored_camera = Camera("OPENCV", 2592, 1728, (2390.0, 2400.0, 1300.0, 850.0, -0.1, 0.02, 0.003, -0.004))
    lines, stored_poses = [], {}
    rng = np.random.default_rng(7)
    for view in views:
        turn = pycolmap.Rotation3d(rng.normal(size=3) * 0.3)
        x, y, z, w = turn.quat
        stored_poses[view.name] = Pose(turn.matrix(), rng.normal(size=3))
        numbers = " ".join(f"{value:.17g}" for value in (w, x, y, z, *stored_poses[view.name].translation))
        lines.append(f"{view.image_id + 1} {numbers} 1 {view.name}\n\n")
    (tmp_path / "images.txt").write_text("".join(lines))

    found = read_calibration(tmp_path, sizes, {view.name: view.orientation for view in views})
    for view in views[::4]:
        stored = cv2.imread(str(view.path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
        upright = load_grey(view)
        points = stored_poses[view.name].to_world(rng.uniform([-0.4, -0.25, 1.0], [0.4, 0.25, 1.0], (500, 3)))
        there, _ = project(stored_camera, stored_poses[view.name], points)
        here, _ = project(found[view.name].camera, found[view.name].pose, points)
        np.testing.assert_allclose(here, np.column_stack([1727.0 - there[:, 1], there[:, 0]]), atol=1e-8)
        assert np.array_equal(_grey(upright, here), _grey(stored, there))


def _ingest(photographs: Path, cameras: Path | None, output: Path) -> None:
    ingest_photographs("subject", photographs, None, cameras, output, PhotographSettings())


def _reconstruct(folder: Path, images: Path, name: str) -> dict[str, float]:
    keypoints, matches = folder / "keypoints.parquet", folder / "matches.parquet"
    reconstruct_subject("fountain", images, keypoints, matches, folder / name, SfmSettings(), seed=1, threads=1)
    return read_json(folder / name / "status.json")


def _with_focal(jpeg: bytes, focal_35mm: int) -> bytes:
    """Put an EXIF block with FocalLengthIn35mmFilm behind the first marker of a JPEG."""
    entry = struct.pack("<HHHIHHI", 1, 0xA405, 3, 1, focal_35mm, 0, 0)
    pointer = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + pointer + entry
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def _pose_errors(found: list[Pose], true: list[Pose]) -> tuple[np.ndarray, float, float]:
    """Return errors after the best similarity of the positions (Umeyama, PAMI 1991).

    Of positions (N,) in mm; of the rotation that all cameras share, in degrees, which a wrong principal point causes; and the
    largest that is left of a camera's rotation.
    """
    here, there = (np.array([pose.centre for pose in poses]) for poses in (found, true))
    a, b = here - here.mean(axis=0), there - there.mean(axis=0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.linalg.det(u @ vt)])
    rotation = (u * sign) @ vt
    scale = (singular * sign).sum() / (a**2).sum()
    position_mm = 1000.0 * np.linalg.norm(scale * a @ rotation.T - b, axis=1)
    turns = [f.rotation @ rotation.T @ t.rotation.T for f, t in zip(found, true, strict=True)]
    left, _, right = np.linalg.svd(np.sum(turns, axis=0))
    return position_mm, _angle_deg(left @ right), max(_angle_deg(turn @ (left @ right).T) for turn in turns)


def _angle_deg(rotation: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(rotation)[0])))


def _grey(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    columns, rows = np.rint(pixels).astype(int).T
    return image[rows, columns]


# One row per image: name, (fx, fy, cx, cy), rotation and translation from world to camera.
Rig = list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]


def _rounded_rig(source: Path, names: list[str]) -> Rig:
    """Strecha's numbers by hand: K, three zeros, R transposed, centre. Their six digits are made a rotation by a quaternion."""
    rig = []
    for name in names:
        numbers = np.array((source / f"{name}.camera").read_text().split(), float)
        left, _, right = np.linalg.svd(numbers[12:21].reshape(3, 3).T)
        rotation = left @ right
        rig.append((name, numbers[[0, 4, 2, 5]], rotation, -rotation @ numbers[21:24]))
    return rig


def _write_text(folder: Path, rig: Rig) -> None:
    cameras, images = [], []
    for number, (name, (fx, fy, cx, cy), rotation, translation) in enumerate(rig, start=1):
        x, y, z, w = pycolmap.Rotation3d(rotation).quat
        cameras.append(f"{number} PINHOLE 3072 2048 {fx} {fy} {cx + 0.5} {cy + 0.5}\n")
        pose = " ".join(f"{value:.17g}" for value in (w, x, y, z, *translation))
        images.append(f"{number} {pose} {number} {name}\n\n")
    (folder / "cameras.txt").write_text("".join(cameras))
    (folder / "images.txt").write_text("".join(images))


def _write_binary(folder: Path, rig: Rig) -> None:
    text = folder / "text"
    text.mkdir()
    _write_text(text, rig)
    (text / "points3D.txt").write_text("")
    pycolmap.Reconstruction(text).write_binary(folder)


def _write_json(folder: Path, rig: Rig) -> None:
    entries = {
        name: {"model": "PINHOLE", "width": 3072, "height": 2048, "params": params.tolist()}
        | {"rotation": rotation.tolist(), "translation": translation.tolist()}
        for name, params, rotation, translation in rig
    }
    (folder / "cameras.json").write_text(json.dumps(entries))


def _write_npz(folder: Path, rig: Rig) -> None:
    matrices = {}
    for index, (_, (fx, fy, cx, cy), rotation, translation) in enumerate(rig):
        intrinsics = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        upper = intrinsics @ np.column_stack([rotation, translation])
        matrices[f"world_mat_{index}"] = np.vstack([upper, [0.0, 0.0, 0.0, 1.0]])
        matrices[f"scale_mat_{index}"] = np.diag([5.0, 5.0, 5.0, 1.0])
    np.savez(folder / "cameras.npz", **matrices)
