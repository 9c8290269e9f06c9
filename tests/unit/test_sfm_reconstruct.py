"""Structure from motion of a small scene with known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pycolmap
import pytest

from porepatch_lib.captures.views import View, read_views, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.geometry import Camera, FloatArray, Pose, project
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints, write_keypoints
from porepatch_lib.sfm.colmap import from_colmap_camera, from_colmap_pose, to_colmap_camera, to_colmap_pixels, to_colmap_pose
from porepatch_lib.sfm.model import read_model
from porepatch_lib.sfm.reconstruct import reconstruct_subject
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.sfm.tracks import TrackSettings, extract_tracks
from porepatch_lib.tables import MATCHES, TRACKS, read_table, write_table

_VIEWS = 6
_POINTS = 200
_CAMERA = Camera("SIMPLE_RADIAL", 1100, 1600, (3000.0, 545.0, 790.0, 0.02))


@dataclass(frozen=True)
class Scene:
    """Files of a subject and the truth behind them: keypoint k of image i is point `point_of[i][k]` of `xyz` (mm)."""

    folder: Path
    xyz: FloatArray
    poses: list[Pose]
    point_of: list[np.ndarray]

    def reconstruct(self, name: str = "sfm", seed: int = 1, threads: int = 1, **settings: Any) -> Path:
        folder = self.folder / name
        reconstruct_subject(
            "anna",
            self.folder / "images.parquet",
            self.folder / "keypoints.parquet",
            self.folder / "matches.parquet",
            folder,
            SfmSettings(**settings),
            seed,
            threads,
        )
        return folder

    def tracks(self, sfm_folder: Path, **settings: Any) -> pd.DataFrame:
        output = self.folder / "tracks.parquet"
        images, keypoints = self.folder / "images.parquet", self.folder / "keypoints.parquet"
        extract_tracks(images, keypoints, sfm_folder, output, TrackSettings(**settings))
        return read_table(output, TRACKS)

    def truth_of(self, tracks: pd.DataFrame) -> np.ndarray:
        """Row of `xyz` behind every observation of a track table."""
        return np.array([self.point_of[i][k] for i, k in zip(tracks.image_id, tracks.keypoint_id, strict=True)])


def _look_at_origin(centre: FloatArray) -> Pose:
    z = -centre / np.linalg.norm(centre)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    return Pose(rotation, -rotation @ centre)


def _scene(
    folder: Path, posed: bool = True, noise_px: float = 0.2, camera: Camera = _CAMERA, focal_is_prior: bool = True
) -> Scene:
    """Points on the front of an ellipsoid of a head's size, 1 m from an arc of cameras; a fifth of the matches is wrong."""
    rng = np.random.default_rng(5)
    direction = rng.standard_normal((_POINTS, 3))
    direction[:, 2] = -np.abs(direction[:, 2])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    xyz = direction * np.array([80.0, 100.0, 90.0]) * (1.0 + 0.05 * rng.standard_normal((_POINTS, 1)))
    angles = np.linspace(-0.5, 0.5, _VIEWS)
    poses = [_look_at_origin(1000.0 * np.array([np.sin(a), 0.12 * np.cos(3 * a), -np.cos(a)])) for a in angles]
    views, keypoints, point_of = [], {}, []
    for i, pose in enumerate(poses):
        pixels, depth = project(_CAMERA, pose, xyz)
        order = rng.permutation(_POINTS)
        pixels = (pixels + noise_px * rng.standard_normal(pixels.shape))[order].astype(np.float32)
        zeros, levels = np.zeros(_POINTS, np.float32), np.zeros(_POINTS, np.int8)
        sigma = (0.8 * 3000.0 / depth[order]).astype(np.float32)
        keypoints[i] = Keypoints(pixels[:, 0], pixels[:, 1], sigma, zeros, zeros, levels, levels)
        point_of.append(order)
        image = View(i, f"{i}.png", folder / f"{i}.png", None, "", 1, 0, camera, focal_is_prior, pose if posed else None)
        views.append(image)
    write_views(folder / "images.parquet", views)
    write_keypoints(folder / "keypoints.parquet", keypoints)
    _write_matches(folder, _matches(point_of, rng))
    return Scene(folder, xyz, poses, point_of)


def _matches(point_of: list[np.ndarray], rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for i in range(_VIEWS):
        for j in range(i + 1, _VIEWS):
            first, second = np.argsort(point_of[i]), np.argsort(point_of[j])
            wrong = rng.random(_POINTS) < 0.2
            second[wrong] = rng.permutation(second[wrong])
            frames.append(pd.DataFrame({"image_id_1": i, "image_id_2": j, "keypoint_id_1": first, "keypoint_id_2": second}))
    return pd.concat(frames, ignore_index=True)


def _write_matches(folder: Path, matches: pd.DataFrame) -> None:
    types = {name: MATCHES.schema.field(name).type.to_pandas_dtype() for name in MATCHES.schema.names}
    write_table(folder / "matches.parquet", matches.assign(distance=0.5, ratio=0.5).astype(types), MATCHES)


def _aligned(source: FloatArray, target: FloatArray) -> FloatArray:
    """Move `source` onto `target` by the best similarity (Umeyama 1991)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.linalg.det(u @ vt)])
    rotation = (u * sign) @ vt
    return (singular * sign).sum() / (a**2).sum() * a @ rotation.T + target.mean(axis=0)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_known_poses_give_the_points_where_they_are(tmp_path):
    scene = _scene(tmp_path, noise_px=0.0)
    folder = scene.reconstruct()

    status = read_json(folder / "status.json")
    assert (status["status"], status["reason"], status["registered"], status["views"]) == ("ok", "", _VIEWS, _VIEWS)
    assert status["points"] >= 0.97 * _POINTS
    assert status["verified_pairs"] == 15
    tracks = scene.tracks(folder)
    error_mm = np.linalg.norm(tracks[["x", "y", "z"]].to_numpy() - scene.xyz[scene.truth_of(tracks)], axis=1)
    # Half a pixel of disagreement between keypoints and cameras would be 0.16 mm.
    assert error_mm.max() < 0.01
    assert tracks.reprojection_error_px.max() < 0.01


def test_known_poses_and_intrinsics_stay_as_they_are(tmp_path):
    scene = _scene(tmp_path)
    model = read_model(scene.reconstruct() / "model")
    for image_id, pose in enumerate(scene.poses):
        np.testing.assert_allclose(model.poses[image_id].rotation, pose.rotation, atol=1e-9)
        np.testing.assert_allclose(model.poses[image_id].translation, pose.translation, atol=1e-6)
        np.testing.assert_allclose(model.cameras[image_id].params, _CAMERA.params, rtol=1e-12)


def test_a_guessed_focal_length_is_refined_with_known_poses(tmp_path):
    guess = Camera("SIMPLE_RADIAL", 1100, 1600, (2900.0, 545.0, 790.0, 0.0))
    scene = _scene(tmp_path, camera=guess, focal_is_prior=False)
    model = read_model(scene.reconstruct() / "model")
    assert model.cameras[0].focal_px[0] == pytest.approx(3000.0, rel=1e-2)


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_unknown_poses_are_found_up_to_a_similarity(tmp_path, mapper):
    guess = Camera("SIMPLE_RADIAL", 1100, 1600, (3300.0, 545.0, 790.0, 0.0))
    scene = _scene(tmp_path, posed=False, camera=guess, focal_is_prior=False)
    folder = scene.reconstruct(mapper=mapper)

    status = read_json(folder / "status.json")
    assert (status["status"], status["registered"]) == ("ok", _VIEWS)
    assert 0.1 < status["mean_reprojection_error_px"] < 0.4
    tracks = scene.tracks(folder).drop_duplicates("point_id")
    truth = scene.xyz[scene.truth_of(tracks)]
    error_mm = np.linalg.norm(_aligned(tracks[["x", "y", "z"]].to_numpy(), truth) - truth, axis=1)
    assert len(truth) >= 0.95 * _POINTS
    assert np.median(error_mm) < 0.3
    centres = np.stack([read_model(folder / "model").poses[i].centre for i in range(_VIEWS)])
    true_centres = np.stack([pose.centre for pose in scene.poses])
    assert np.linalg.norm(_aligned(centres, true_centres) - true_centres, axis=1).max() < 10.0


@pytest.mark.parametrize("posed", [True, False])
def test_the_same_seed_gives_the_same_files(tmp_path, posed):
    scene = _scene(tmp_path, posed=posed)
    first = _contents(scene.reconstruct("first", seed=4))
    assert first == _contents(scene.reconstruct("second", seed=4))
    assert set(first) >= {"database.db", "status.json", "model/points3D.bin"}
    on_two_threads = _contents(scene.reconstruct("third", seed=4, threads=2))
    assert {name: data for name, data in first.items() if name != "database.db"} == {
        name: data for name, data in on_two_threads.items() if name != "database.db"
    }


def test_wrong_matches_do_not_become_tracks(tmp_path):
    scene = _scene(tmp_path)
    tracks = scene.tracks(scene.reconstruct())
    truth = scene.truth_of(tracks)
    same = truth == pd.Series(truth).groupby(tracks.point_id).transform(lambda rows: rows.mode()[0]).to_numpy()
    assert same.mean() > 0.998
    assert not tracks.duplicated(["point_id", "image_id"]).any()
    assert (tracks.groupby("point_id").image_id.transform("size") == tracks.track_length).all()
    assert tracks.track_length.min() >= 3


def test_colmap_sees_its_own_half_pixel_origin(tmp_path):
    scene = _scene(tmp_path)
    folder = scene.reconstruct()
    keypoints = read_keypoints(tmp_path / "keypoints.parquet")[2]
    with pycolmap.Database.open(folder / "database.db") as database:
        written = database.read_keypoints(3)
    np.testing.assert_array_equal(written[:, :2], keypoints.xy + np.float32(0.5))
    camera = pycolmap.Reconstruction(folder / "model").cameras[1]
    np.testing.assert_allclose(camera.params, [3000.0, 545.5, 790.5, 0.02])


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("SIMPLE_PINHOLE", (900.0, 300.0, 200.0)),
        ("PINHOLE", (900.0, 910.0, 300.0, 200.0)),
        ("SIMPLE_RADIAL", (900.0, 300.0, 200.0, 0.1)),
        ("RADIAL", (900.0, 300.0, 200.0, 0.1, -0.05)),
        ("OPENCV", (900.0, 910.0, 300.0, 200.0, 0.1, -0.05, 0.002, -0.003)),
    ],
)
def test_colmap_projects_as_we_do_half_a_pixel_further(model, params):
    camera = Camera(model, 640, 480, params)
    pose = _look_at_origin(np.array([30.0, -20.0, -900.0]))
    points = np.random.default_rng(0).uniform(-100, 100, (50, 3))
    ours, _ = project(camera, pose, points)

    theirs = to_colmap_camera(camera, 0, True)
    local = to_colmap_pose(pose) * points

    np.testing.assert_allclose(theirs.img_from_cam(local), to_colmap_pixels(ours), atol=1e-9)
    assert from_colmap_camera(theirs) == camera
    np.testing.assert_allclose(from_colmap_pose(to_colmap_pose(pose)).rotation, pose.rotation, atol=1e-12)


def _without_keypoints(scene: Scene) -> None:
    write_keypoints(scene.folder / "keypoints.parquet", {})


def _without_matches(scene: Scene) -> None:
    _write_matches(scene.folder, _read_matches(scene).head(0))


def _few_matches(scene: Scene) -> None:
    _write_matches(scene.folder, _read_matches(scene).groupby(["image_id_1", "image_id_2"]).head(10))


def _foreign_keypoint(scene: Scene) -> None:
    matches = _read_matches(scene)
    matches.loc[3, "keypoint_id_2"] = _POINTS
    _write_matches(scene.folder, matches)


def _negative_keypoint(scene: Scene) -> None:
    matches = _read_matches(scene)
    matches.loc[3, "keypoint_id_1"] = -1
    _write_matches(scene.folder, matches)


def _reversed_pair(scene: Scene) -> None:
    _write_matches(scene.folder, _read_matches(scene).rename(columns={"image_id_1": "image_id_2", "image_id_2": "image_id_1"}))


def _lost_pose(scene: Scene) -> None:
    views = read_views(scene.folder / "images.parquet")
    write_views(scene.folder / "images.parquet", [replace(views[0], pose=None), *views[1:]])


def _all_on_one_name(scene: Scene) -> None:
    views = read_views(scene.folder / "images.parquet")
    write_views(scene.folder / "images.parquet", [replace(view, name="same.png") for view in views])


def _read_matches(scene: Scene) -> pd.DataFrame:
    return read_table(scene.folder / "matches.parquet", MATCHES)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without_keypoints, "no view has keypoints"),
        (_without_matches, "no pair of views has matches"),
        (_few_matches, "no pair of views has 15 verified matches"),
        (_foreign_keypoint, "the matches of images 0 and 1 name keypoints that do not exist"),
        (_negative_keypoint, "the matches of images 0 and 1 name keypoints that do not exist"),
        (_reversed_pair, "which was not captured"),
        (_lost_pose, "the view 0.png has no known pose"),
        (_all_on_one_name, "COLMAP stopped"),
    ],
)
def test_a_failing_subject_becomes_a_row_with_its_reason(tmp_path, spoil, reason):
    scene = _scene(tmp_path)
    spoil(scene)
    folder = scene.reconstruct(mapper="known_poses")
    status = read_json(folder / "status.json")
    assert status["status"] == "failed"
    assert reason in status["reason"]
    assert not (folder / "model").exists()
    assert not (folder / "scratch").exists()
    assert scene.tracks(folder).empty


def test_the_incremental_mapper_says_when_it_registers_too_few(tmp_path):
    scene = _scene(tmp_path, posed=False)
    _write_matches(tmp_path, _read_matches(scene).query("image_id_1 == 0 and image_id_2 == 5"))
    status = read_json(scene.reconstruct() / "status.json")
    assert (status["status"], status["reason"]) == ("failed", "the mapper registered fewer than 3 views")
    assert status["verified_pairs"] == 1


def test_tracks_of_another_detection_are_refused(tmp_path):
    scene = _scene(tmp_path)
    folder = scene.reconstruct()
    keypoints = read_keypoints(tmp_path / "keypoints.parquet")
    write_keypoints(tmp_path / "keypoints.parquet", keypoints | {0: keypoints[0].select(np.arange(10))})
    with pytest.raises(PorePatchError, match="other views or keypoints"):
        scene.tracks(folder)


def test_an_unknown_mapper_is_refused():
    with pytest.raises(PorePatchError, match="mapper"):
        SfmSettings(mapper="globall")
