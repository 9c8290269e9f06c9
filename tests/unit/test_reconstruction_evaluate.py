"""The evaluate stage on models of a ball with known errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation
from truth_scenes import looking_view, photographed, sphere, write_scene

from porepatch_lib.captures.views import View, read_views, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_json
from porepatch_lib.geometry import Pose
from porepatch_lib.reconstruction.alignment import IDENTITY, Similarity
from porepatch_lib.reconstruction.clouds import Cloud, write_cloud
from porepatch_lib.reconstruction.columns import COLUMNS, ETH
from porepatch_lib.reconstruction.evaluate import evaluate_reconstruction
from porepatch_lib.reconstruction.ply import read_ply
from porepatch_lib.reconstruction.surface import ReconstructionTruthSettings
from porepatch_lib.sfm.colmap import posed_model

RADIUS_MM = 40.0
WORLD = Similarity(25.0, Rotation.from_rotvec([0.2, 0.9, -0.3]).as_matrix(), np.array([10.0, -20.0, 30.0]))  # model's to true
CENTRES = [[-350, 40, 830], [-120, -60, 890], [130, 70, 890], [340, -30, 830]]
ZEROS = {"registered", "sparse_points", "observations", "inlier_pairs", "inlier_matches"}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a rendered ball: grey photographs, whose brightness is 50 (image id + 1), and its truth."""
    folder = tmp_path_factory.mktemp("ball")
    views = [replace(looking_view(i, centre), metric=True) for i, centre in enumerate(CENTRES)]
    write_scene(folder, photographed(views, sphere(RADIUS_MM, 180)))
    np.save(folder / "descriptors.npy", np.zeros((1, 128), np.float16))
    for view in views:
        cv2.imwrite(str(folder / view.path), np.full((200, 240, 3), 50 * (view.image_id + 1), np.uint8))
    return folder


def front(offset_mm: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points before the front of the ball, by `offset_mm` (N,)."""
    direction = np.random.default_rng(seed).normal(size=(len(offset_mm), 3))
    direction[:, 2] = np.abs(direction[:, 2]) + 1.0
    return direction / np.linalg.norm(direction, axis=1, keepdims=True) * (RADIUS_MM + offset_mm)[:, None]


def inverse(points: np.ndarray, frame: Similarity) -> np.ndarray:
    return (points - frame.translation) @ frame.rotation / frame.scale


def write_sfm(
    folder: Path, views: list[View], xyz: np.ndarray, frame: Similarity = IDENTITY, shifts: Mapping[int, Any] | None = None
) -> Path:
    """A folder of the sfm stage whose points (true mm) all views see; `shifts` moves camera centres (true mm)."""
    posed = []
    for view in views:
        assert view.pose is not None
        rotation = view.pose.rotation @ frame.rotation
        centre = inverse(view.pose.centre + np.array((shifts or {}).get(view.image_id, (0, 0, 0))), frame)
        posed.append(replace(view, pose=Pose(rotation, -rotation @ centre)))
    model = posed_model(posed)
    for image in model.images.values():
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.zeros(2)) for _ in xyz])
    for row, point in enumerate(inverse(xyz, frame)):
        track = pycolmap.Track([pycolmap.TrackElement(image_id, row) for image_id in model.images])
        model.add_point3D(point, track, np.zeros(3, np.uint8))
    (folder / "model").mkdir(parents=True)
    model.write_binary(folder / "model")
    counts = {"registered": len(views), "points": len(xyz), "observations": len(xyz) * len(views)}
    means = {"mean_track_length": 4.0, "mean_observations_per_image": float(len(xyz)), "mean_reprojection_error_px": 0.3}
    return write_status(folder, "ok", "", **counts, **means, verified_pairs=6, verified_matches=321)


def write_status(folder: Path, status: str, reason: str, **figures: float) -> Path:
    names = ("registered", "points", "observations", "verified_pairs", "verified_matches")
    means = ("mean_track_length", "mean_observations_per_image", "mean_reprojection_error_px")
    write_json(
        folder / "status.json",
        {"subject": "ball", "status": status, "reason": reason, "views": 4}
        | dict.fromkeys(names, 0)
        | dict.fromkeys(means, 0.0)
        | figures,
    )
    return folder


def write_dense(folder: Path, cloud: Cloud | None) -> Path:
    if cloud is not None:
        write_cloud(folder / "fused.ply", cloud, None)
    status = {"status": "ok", "reason": ""} if cloud is not None else {"status": "failed", "reason": "no depth agrees"}
    write_json(folder / "status.json", {"subject": "ball", "method": "patch_match_cpu", **status})
    return folder


def evaluate(
    subject: Path, output: Path, sfm: list[Path], dense: Path | None = None, truth: bool = True, **changed: Any
) -> dict[str, Any]:
    images = changed.pop("images", subject / "images.parquet")
    settings = ReconstructionTruthSettings(samples=5_000, **changed)
    evaluate_reconstruction(
        *(
            "ball",
            "hynet",
            "eth",
            "project",
            True,
            subject / "descriptors.npy",
            0.8,
            None,
            images,
            subject / "truth" if truth else None,
        ),
        *(sfm, list(range(3, 3 + len(sfm))), dense, output, settings, 0, 1),
    )
    return read_json(output / "metrics.json")


def medians(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: None if spread is None else spread["median"] for name, spread in metrics["row"].items()}


def test_a_model_of_given_poses(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    xyz = front(np.repeat([0.05, 0.2, 1.0], [50, 30, 20]))
    cloud = Cloud(front(np.full(3000, 0.15), 1), np.full((3000, 3), 77, np.uint8), front(np.full(3000, 1 - RADIUS_MM), 1))
    sfm, dense = write_sfm(tmp_path / "sfm", views, xyz), write_dense(tmp_path / "dense", cloud)
    metrics = evaluate(subject, tmp_path / "out", [sfm], dense)

    assert list(metrics["row"]) == sorted(column.name for column in COLUMNS)
    assert {key: metrics[key] for key in metrics if key not in ("row", "front")} == {
        **{"subject": "ball", "descriptor": "hynet", "variant": "eth", "features": "project", "learned": True},
        **{"dimension": 128, "ratio": "0.8", "status": "ok", "reason": "", "seeds": [3], "dense_method": "patch_match_cpu"},
        **{"truth": "surface", "alignment": "given"},
    }
    assert np.dot(metrics["front"]["direction"], [0, 0, -1]) > 0.9  # the cameras stand at +z
    assert np.dot(metrics["front"]["direction"], metrics["front"]["up"]) == pytest.approx(0.0, abs=0.1)
    row = medians(metrics)
    assert [row[column.name] for column in ETH] == [4, 4, 100, 400, 4.0, 100.0, 0.3, 3000, 6, 321]
    assert row["position_error_mm"] is None  # it was given
    assert row["rotation_error_deg"] is None
    assert [row[f"sparse_accuracy_{d}mm"] for d in ("0.1", "0.25", "0.5")] == [0.5, 0.8, 0.8]
    assert [row[f"dense_accuracy_{d}mm"] for d in ("0.1", "0.25", "0.5")] == [0.0, 1.0, 1.0]
    assert row["dense_error_mm"] == pytest.approx(0.15, abs=0.02)
    assert row["normal_error_deg"] < 1.5
    assert 0.0 < row["sparse_completeness_0.5mm"] < row["dense_completeness_0.5mm"] < 1.0
    accuracy, completeness = row["dense_accuracy_0.5mm"], row["dense_completeness_0.5mm"]
    assert row["dense_f_0.5mm"] == pytest.approx(2 * accuracy * completeness / (accuracy + completeness))

    sparse = read_ply(tmp_path / "out" / "sparse.ply")
    np.testing.assert_allclose(np.stack([sparse[axis] for axis in "xyz"], axis=1), xyz, atol=1e-4)
    np.testing.assert_allclose(sparse["error_mm"], np.repeat([0.05, 0.2, 1.0], [50, 30, 20]), atol=0.02)
    assert set(sparse["red"].tolist()) <= {100, 150}  # the two middle views
    fused = read_ply(tmp_path / "out" / "dense.ply")
    assert (fused["red"] == 77).all()
    assert "error_mm" in (fused.dtype.names or ())


def test_a_model_in_its_own_world_comes_into_that_of_the_truth(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    xyz = front(np.zeros(60))
    normals = xyz / RADIUS_MM
    own = Cloud(inverse(xyz, WORLD), np.zeros((60, 3), np.uint8), normals @ WORLD.rotation)
    dense = write_dense(tmp_path / "dense", own)
    metrics = evaluate(subject, tmp_path / "out", [write_sfm(tmp_path / "sfm", views, xyz, WORLD)], dense)
    row = medians(metrics)
    assert metrics["alignment"] == "cameras"  # too few points for more
    assert row["largest_position_error_mm"] < 1e-6
    assert row["rotation_error_deg"] < 1e-6
    assert row["sparse_accuracy_0.1mm"] == row["dense_accuracy_0.1mm"] == 1.0
    assert row["normal_error_deg"] < 1.5
    for name in ("sparse.ply", "dense.ply"):
        written = read_ply(tmp_path / "out" / name)
        np.testing.assert_allclose(np.stack([written[axis] for axis in "xyz"], axis=1), xyz, atol=1e-3)


def test_clouds_are_aligned_on_the_surface_and_camera_errors_are_not(subject, tmp_path):
    """Centres 9 mm nearer to the ball, one of them aside too: by the cameras the cloud is off, in itself it is exact."""
    views = read_views(subject / "images.parquet")
    shifts = {view.image_id: -0.01 * view.pose.centre for view in views if view.pose is not None}
    shifts[0] = shifts[0] + np.array([2.0, 0.0, 0.0])
    sfm = write_sfm(tmp_path / "sfm", views, front(np.zeros(150)), WORLD, shifts)
    metrics = evaluate(subject, tmp_path / "out", [sfm])
    by_cameras = evaluate(subject, tmp_path / "cameras", [sfm], min_alignment_points=151)
    assert (metrics["alignment"], by_cameras["alignment"]) == ("surface", "cameras")
    surface, cameras = medians(metrics), medians(by_cameras)
    assert surface["sparse_error_mm"] < 0.05
    assert cameras["sparse_error_mm"] > 0.5
    for name in ("position_error_mm", "largest_position_error_mm", "rotation_error_deg"):
        assert surface[name] == cameras[name] > 0.01


def test_one_failed_seed_has_zeros_in_its_counts_and_covers_nothing(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    models = [write_sfm(tmp_path / f"{count}", views, front(np.zeros(count))) for count in (50, 90)]
    failed = write_status(tmp_path / "failed", "failed", "no pair is verified", verified_pairs=1, verified_matches=9)
    dense = write_dense(tmp_path / "dense", None)
    metrics = evaluate(subject, tmp_path / "out", [models[1], failed, models[0]], dense)
    assert metrics["status"] == "ok"
    assert metrics["reason"] == "seed 4: no pair is verified; dense: no depth agrees"
    row = metrics["row"]
    assert row["sparse_points"] == {"median": 50, "lowest": 0, "highest": 90, "values": [90, 0, 50]}
    assert row["inlier_matches"]["values"] == [321, 9, 321]
    assert row["images"]["values"] == [4, 4, 4]
    assert row["track_length"]["values"] == [4.0, None, 4.0]
    assert row["sparse_accuracy_0.5mm"]["values"] == [1.0, None, 1.0]
    assert row["sparse_f_0.5mm"]["values"][1] == 0.0
    assert row["dense_points"]["values"] == [0, None, None]
    assert row["dense_accuracy_0.1mm"] is None
    assert row["dense_completeness_0.5mm"]["values"] == [0.0, None, None]
    assert len(read_ply(tmp_path / "out" / "sparse.ply")) == 90  # of the first seed
    assert not (tmp_path / "out" / "dense.ply").exists()
    evaluate(subject, tmp_path / "out", [failed, failed, models[1]])
    assert len(read_ply(tmp_path / "out" / "sparse.ply")) == 90


def test_a_descriptor_that_registers_nothing_has_a_row_of_zeros_and_a_reason(subject, tmp_path):
    folders = [write_status(tmp_path / f"{i}", "failed", "no pair of views has matches") for i in range(3)]
    metrics = evaluate(subject, tmp_path / "out", folders, write_dense(tmp_path / "dense", None))
    assert (metrics["status"], metrics["reason"], metrics["alignment"]) == ("failed", "no pair of views has matches", "")
    for name, spread in metrics["row"].items():
        if name in ZEROS:
            assert spread == {"median": 0, "lowest": 0, "highest": 0, "values": [0, 0, 0]}, name
        elif "_completeness_" in name or "_f_" in name:
            assert spread["median"] == 0, name
        elif name not in ("images", "dense_points"):
            assert spread is None, name
    assert metrics["row"]["dense_points"]["median"] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.json"]


def test_truth_of_photographs_is_their_poses_or_nothing(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    sfm = write_sfm(tmp_path / "sfm", views, front(np.zeros(20)), WORLD, {0: [0, 0, 5.0]})
    known = evaluate(subject, tmp_path / "known", [sfm], truth=False)
    assert (known["truth"], known["alignment"]) == ("poses", "cameras")
    row = medians(known)
    assert 0.5 < row["position_error_mm"] <= row["largest_position_error_mm"] < 5.0
    assert row["sparse_error_mm"] is None
    assert row["dense_points"] is None
    assert "error_mm" not in (read_ply(tmp_path / "known" / "sparse.ply").dtype.names or ())

    write_views(tmp_path / "unscaled.parquet", [replace(view, metric=False) for view in views])
    unscaled = evaluate(subject, tmp_path / "a", [sfm], truth=False, images=tmp_path / "unscaled.parquet")
    assert unscaled["truth"] == "poses"
    assert unscaled["row"]["position_error_mm"] is None
    assert medians(unscaled)["rotation_error_deg"] == row["rotation_error_deg"]

    write_views(tmp_path / "bare.parquet", [replace(view, pose=None, metric=False) for view in views])
    bare = evaluate(subject, tmp_path / "b", [sfm], truth=False, images=tmp_path / "bare.parquet")
    assert (bare["truth"], bare["alignment"], bare["row"]["rotation_error_deg"]) == ("", "", None)
    assert bare["row"]["sparse_points"]["median"] == 20
    assert len(read_ply(tmp_path / "b" / "sparse.ply")) == 20


def test_two_registered_views_cannot_be_aligned(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    metrics = evaluate(subject, tmp_path / "out", [write_sfm(tmp_path / "sfm", views[:2], front(np.zeros(120)), WORLD)])
    assert (metrics["status"], metrics["truth"], metrics["alignment"]) == ("ok", "surface", "")
    assert metrics["row"]["registered"]["median"] == 2
    assert metrics["row"]["position_error_mm"] is None
    assert metrics["row"]["sparse_error_mm"] is None


def test_a_second_run_writes_the_same_bytes(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    sfm = write_sfm(tmp_path / "sfm", views, front(np.zeros(150)), WORLD)
    written = []
    for name in ("one", "two"):
        evaluate(subject, tmp_path / name, [sfm])
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def test_what_does_not_belong_together_is_told(subject, tmp_path):
    views = read_views(subject / "images.parquet")
    sfm = write_sfm(tmp_path / "sfm", views, front(np.zeros(20)))
    with pytest.raises(PorePatchError, match="1 reconstructions for 0 seeds"):
        evaluate_reconstruction(
            *("ball", "hynet", "eth", "given", True, subject / "descriptors.npy", 0.8, None),
            *(subject / "images.parquet", None, [sfm], [], None, tmp_path / "out"),
            *(ReconstructionTruthSettings(), 0, 1),
        )
    write_views(tmp_path / "fewer.parquet", views[:3])
    with pytest.raises(PorePatchError, match="other views"):
        evaluate(subject, tmp_path / "out", [sfm], truth=False, images=tmp_path / "fewer.parquet")
    failed = write_status(tmp_path / "failed", "failed", "no pair is verified")
    dense = write_dense(tmp_path / "dense", Cloud(np.zeros((1, 3)), np.zeros((1, 3), np.uint8), np.ones((1, 3))))
    with pytest.raises(PorePatchError, match="no sparse one any more"):
        evaluate(subject, tmp_path / "out", [failed], dense, truth=False)
    assert not (tmp_path / "out").exists()
