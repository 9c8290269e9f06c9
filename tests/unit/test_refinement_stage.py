"""The refinement stage on a textured plane seen by three known cameras: displaced keypoints come back to one place."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.geometry import Camera, FloatArray, Pose, project, rays
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints, write_keypoints
from porepatch_lib.refinement.refine import RefinementSettings, refine_keypoints
from porepatch_lib.sfm.colmap import posed_model, to_colmap_id, to_colmap_pixels

SIDE = 240
# View 0 is cut on the left, so that it sees at its border what the others see well inside.
CAMERAS = [Camera("SIMPLE_RADIAL", SIDE, SIDE, (900.0, middle, 119.5, -0.05)) for middle in (79.5, 119.5, 119.5)]
ANGLES = (-0.45, 0.0, 0.35)
GAINS = ((1.0, 0.0), (0.7, 30.0), (1.1, -15.0))
NORMAL = np.array([0.2, -0.1, -1.0])
WRONG = 7  # the point whose keypoint in view 2 lies on other texture
MOVED_AWAY = 11  # the point whose keypoint in view 1 lies further away than the stage may move it
BORDER = 0  # the point at the rim of view 0


@dataclass(frozen=True)
class Scene:
    """Files of a subject; `true_xy` (3,P,2): where the views see the points."""

    images: Path
    keypoints: Path
    sfm: Path
    true_xy: FloatArray


def _pose(angle: float) -> Pose:
    c, s = np.cos(angle), np.sin(angle)
    return Pose(np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]]), np.array([0.0, 0.0, 300.0]))


def _photograph(camera: Camera, pose: Pose, gain: float, offset: float) -> NDArray[np.uint8]:
    """Return the plane through the origin, whose texture is a sum of waves of 5 to 16 pixels."""
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2).astype(np.float64)
    direction = rays(camera, pixels) @ pose.rotation
    place = pose.centre - direction * ((pose.centre @ NORMAL) / (direction @ NORMAL))[:, None]
    rng = np.random.default_rng(5)
    period, turn, phase = rng.uniform(5.0, 16.0, 40) / 3.0, rng.uniform(0.0, np.pi, 40), rng.uniform(0.0, 2.0 * np.pi, 40)
    wave = 2.0 * np.pi / period * (np.outer(place[:, 0], np.cos(turn)) + np.outer(place[:, 1], np.sin(turn))) + phase
    grey = 120.0 + 6.0 * np.cos(wave).sum(axis=1)
    return np.clip(np.round(gain * grey + offset), 0, 255).astype(np.uint8).reshape(SIDE, SIDE)


def _keypoints(xy: FloatArray) -> Keypoints:
    count = len(xy)
    zero = np.zeros(count, np.float32)
    scale = np.zeros(count, np.int8)
    return Keypoints(
        xy[:, 0].astype(np.float32), xy[:, 1].astype(np.float32), np.full(count, 1.4, np.float32), zero, zero, scale, scale
    )


def _write_subject(folder: Path, keypoints: dict[int, Keypoints]) -> list[View]:
    views = []
    for image_id, (angle, gain) in enumerate(zip(ANGLES, GAINS, strict=True)):
        path = folder / f"{image_id}.png"
        cv2.imwrite(str(path), _photograph(CAMERAS[image_id], _pose(angle), *gain))
        views.append(View(image_id, path.name, path, None, "", 1, image_id, CAMERAS[image_id], True, _pose(angle), True))
    write_views(folder / "images.parquet", views)
    write_keypoints(folder / "keypoints.parquet", keypoints)
    return views


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("refinement")
    rng = np.random.default_rng(6)
    xy = rng.uniform(-22.0, 22.0, (40, 2))
    xyz = np.column_stack([xy, -(xy @ NORMAL[:2]) / NORMAL[2]])
    far_left = np.array([[3.0, 120.0]])
    direction = rays(CAMERAS[0], far_left) @ _pose(ANGLES[0]).rotation
    centre = _pose(ANGLES[0]).centre
    xyz[BORDER] = (centre - direction * (centre @ NORMAL) / (direction @ NORMAL))[0]
    true_xy = np.array([project(camera, _pose(angle), xyz)[0] for camera, angle in zip(CAMERAS, ANGLES, strict=True)])
    seen = true_xy + rng.uniform(-0.4, 0.4, true_xy.shape)
    seen[2, WRONG] += [25.0, -18.0]
    seen[1, MOVED_AWAY] += [2.4, 0.0]
    keypoints = {image_id: _keypoints(seen[image_id]) for image_id in range(3)}
    views = _write_subject(folder, keypoints)
    model = posed_model(views)
    for image_id, found in keypoints.items():
        model.images[to_colmap_id(image_id)].points2D = pycolmap.Point2DList(
            [pycolmap.Point2D(place) for place in to_colmap_pixels(found.xy).astype(np.float64)]
        )
    for row, point in enumerate(xyz):
        elements = [pycolmap.TrackElement(to_colmap_id(image_id), row) for image_id in range(3)]
        model.add_point3D(point, pycolmap.Track(elements))
    (folder / "sfm" / "model").mkdir(parents=True)
    model.write_binary(folder / "sfm" / "model")
    write_json(folder / "sfm" / "status.json", {"status": "ok", "reason": ""})
    return Scene(folder / "images.parquet", folder / "keypoints.parquet", folder / "sfm", true_xy)


@pytest.fixture(scope="module")
def refined(scene: Scene) -> dict[int, Keypoints]:
    output = scene.images.parent / "refined.parquet"
    refine_keypoints(scene.images, scene.keypoints, scene.sfm, output, RefinementSettings(), 1)
    return read_keypoints(output)


def _differences(scene: Scene, found: dict[int, Keypoints], points: NDArray[np.int64]) -> FloatArray:
    """Return by how much (V,P) pixels the keypoints of views 0 and 2 miss the place that view 1 marks."""
    offset = np.array([found[image_id].xy[points] - scene.true_xy[image_id, points] for image_id in range(3)])
    result = []
    for image_id in (0, 2):
        # A small offset in view 1 lies on the plane; carried over by the plane's homography between the true places.
        homography, _ = cv2.findHomography(scene.true_xy[1], scene.true_xy[image_id])
        here = cv2.perspectiveTransform((scene.true_xy[1, points] + offset[1])[:, None], homography)[:, 0]
        at_zero = cv2.perspectiveTransform(scene.true_xy[1, points][:, None], homography)[:, 0]
        result.append(np.linalg.norm(offset[image_id] - (here - at_zero), axis=1))
    return np.array(result)


def test_displaced_keypoints_come_back_to_one_place(scene: Scene, refined: dict[int, Keypoints]) -> None:
    reach = np.abs(scene.true_xy - 119.5).max(axis=(0, 2)) < 100.0
    good = np.setdiff1d(np.flatnonzero(reach), [WRONG, MOVED_AWAY, BORDER])
    assert len(good) > 25
    before = _differences(scene, read_keypoints(scene.keypoints), good)
    after = _differences(scene, refined, good)
    assert np.median(before) > 0.25
    assert after.max() < 0.03


def test_the_mean_of_a_track_stays_where_it_was(scene: Scene, refined: dict[int, Keypoints]) -> None:
    original = read_keypoints(scene.keypoints)
    shift = np.array([refined[image_id].xy - original[image_id].xy for image_id in range(3)])
    moved = (np.linalg.norm(shift, axis=2) > 0).all(axis=0)
    assert moved.sum() > 25
    # View 1 looks straight at the plane, so its shift is less than any of the others would be were one of them the anchor.
    assert np.abs(shift[:, moved].sum(axis=0)).max() < 0.12


def test_a_wrong_match_and_one_too_far_away_stay(scene: Scene, refined: dict[int, Keypoints]) -> None:
    original = read_keypoints(scene.keypoints)
    for image_id, point in ((2, WRONG), (1, MOVED_AWAY)):
        np.testing.assert_array_equal(refined[image_id].xy[point], original[image_id].xy[point])
        others = [view for view in range(3) if view != image_id]
        assert all((refined[view].xy[point] != original[view].xy[point]).any() for view in others)


def test_observations_below_the_least_correlation_stay(scene: Scene, tmp_path: Path) -> None:
    settings = RefinementSettings(min_ncc=0.99999)  # grey values are rounded, so only the template reaches it
    refine_keypoints(scene.images, scene.keypoints, scene.sfm, tmp_path / "out.parquet", settings, 1)
    assert (tmp_path / "out.parquet").read_bytes() == scene.keypoints.read_bytes()


def test_a_keypoint_at_the_border_stays_and_the_others_of_its_track_move(scene: Scene, refined: dict[int, Keypoints]) -> None:
    original = read_keypoints(scene.keypoints)
    np.testing.assert_array_equal(refined[0].xy[BORDER], original[0].xy[BORDER])
    assert (refined[1].xy[BORDER] != original[1].xy[BORDER]).any()


def test_rows_and_other_columns_stay(scene: Scene, refined: dict[int, Keypoints]) -> None:
    original = read_keypoints(scene.keypoints)
    assert list(refined) == list(original)
    for image_id in original:
        for column in ("sigma", "angle", "response", "octave", "level"):
            np.testing.assert_array_equal(getattr(refined[image_id], column), getattr(original[image_id], column))


def test_threads_change_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porepatch_lib.refinement.refine._TRACKS_PER_CALL", 3)
    outputs = [scene.images.parent / f"threads{threads}.parquet" for threads in (1, 3)]
    for threads, output in zip((1, 3), outputs, strict=True):
        refine_keypoints(scene.images, scene.keypoints, scene.sfm, output, RefinementSettings(), threads)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert outputs[0].read_bytes() == (scene.images.parent / "refined.parquet").read_bytes()


def test_a_failed_reconstruction_leaves_the_keypoints(scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_json(tmp_path / "sfm" / "status.json", {"status": "failed", "reason": "no pair of views has matches"})
    with caplog.at_level(logging.WARNING):
        refine_keypoints(scene.images, scene.keypoints, tmp_path / "sfm", tmp_path / "out.parquet", RefinementSettings(), 1)
    assert (tmp_path / "out.parquet").read_bytes() == scene.keypoints.read_bytes()
    assert "no pair of views has matches" in caplog.text


def test_no_keypoints_and_no_points_pass(scene: Scene, tmp_path: Path) -> None:
    views = _write_subject(tmp_path, {})
    (tmp_path / "sfm" / "model").mkdir(parents=True)
    posed_model(views).write_binary(tmp_path / "sfm" / "model")
    write_json(tmp_path / "sfm" / "status.json", {"status": "ok", "reason": ""})
    arguments = (tmp_path / "sfm", tmp_path / "out.parquet", RefinementSettings(), 1)
    refine_keypoints(tmp_path / "images.parquet", tmp_path / "keypoints.parquet", *arguments)
    assert read_keypoints(tmp_path / "out.parquet") == {}
    refine_keypoints(scene.images, scene.keypoints, *arguments)
    assert (tmp_path / "out.parquet").read_bytes() == scene.keypoints.read_bytes()


def test_a_model_of_other_keypoints_is_refused(scene: Scene, tmp_path: Path) -> None:
    few = {image_id: found.select(np.arange(5)) for image_id, found in read_keypoints(scene.keypoints).items()}
    write_keypoints(tmp_path / "few.parquet", few)
    with pytest.raises(PorePatchError, match="other views or keypoints"):
        refine_keypoints(scene.images, tmp_path / "few.parquet", scene.sfm, tmp_path / "out.parquet", RefinementSettings(), 1)


@pytest.mark.parametrize(
    "wrong", [{"window_sigmas": 0.0}, {"detail_px": -1.0}, {"max_shift_px": 0.0}, {"min_ncc": 1.0}, {"neighbours": 2}]
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(PorePatchError, match="refinement settings"):
        RefinementSettings(**wrong)  # type: ignore[arg-type]
