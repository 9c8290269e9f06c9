"""The dense stage on small drawn subjects: cloud, status, failures, mesh."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from dense_scenes import RADIUS_MM, sphere, write_scene

from porepatch_lib.dense.densify import densify_subject
from porepatch_lib.dense.mesh import mesh_cloud
from porepatch_lib.dense.settings import DenseSettings
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_json
from porepatch_lib.sfm.workspace import has_cuda, image_name

SETTINGS = DenseSettings(coarse_iterations=2, fine_iterations=1, sources=3, method="patch_match_cpu")


def densify(scene, folder, settings=SETTINGS, seed=1, threads=1):
    densify_subject("drawn", scene.images, scene.sfm, folder, settings, seed, threads)
    return read_json(folder / "status.json")


def read_cloud(path):
    import open3d as o3d

    cloud = o3d.io.read_point_cloud(str(path))
    return np.asarray(cloud.points), np.asarray(cloud.normals), np.asarray(cloud.colors)


@pytest.mark.parametrize("masked", [True, False])
def test_fused_points_lie_on_the_sphere(tmp_path, masked):
    scene = write_scene(tmp_path, sphere, masked=masked)
    status = densify(scene, tmp_path / "dense")
    points, normals, colours = read_cloud(tmp_path / "dense/fused.ply")
    assert status["status"] == "ok" and status["reason"] == ""
    assert (status["method"], status["views"], status["width"], status["height"]) == ("patch_match_cpu", 4, 150, 130)
    assert status["dense_points"] == len(points) > 2000
    assert set(status["seconds"]) == {"undistortion", "stereo", "fusion"}
    radius = np.linalg.norm(points, axis=1)
    # A window spans 7 mm of a sphere of 40 mm, so its plane lies up to 0.2 mm inside.
    assert abs(np.median(radius) - RADIUS_MM) < 0.25
    assert np.percentile(np.abs(radius - RADIUS_MM), 90) < 1.0
    assert np.median(np.einsum("ij,ij->i", normals, points / radius[:, None])) > np.cos(np.deg2rad(8.0))
    assert colours.std() > 0.05
    assert sorted(path.name for path in (tmp_path / "dense").iterdir()) == ["fused.ply", "status.json"]


def test_threads_do_not_change_the_files_and_unregistered_views_are_left_out(tmp_path):
    scene = write_scene(tmp_path, sphere, views=5, size=(90, 80), params=(320.0, 44.5, 39.5, -0.2), registered=4)
    settings = DenseSettings(coarse_iterations=1, fine_iterations=1, sources=2, max_image_px=80)
    one = densify(scene, tmp_path / "one", settings, threads=1)
    densify(scene, tmp_path / "three", settings, threads=3)
    assert one["views"] == 4
    assert (one["width"], one["height"]) == (80, 71)
    assert (tmp_path / "one/fused.ply").read_bytes() == (tmp_path / "three/fused.ply").read_bytes()


def test_mesh_and_workspace_are_kept_where_asked_for(tmp_path, monkeypatch):
    # The full texture takes seconds.
    monkeypatch.setattr("porepatch_lib.dense.densify.mesh_cloud", partial(mesh_cloud, texture_px=256))
    scene = write_scene(tmp_path, sphere, views=2, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0))
    kept = replace(SETTINGS, coarse_iterations=1, min_consistent=1, mesh=True, keep_workspace=True)
    status = densify(scene, tmp_path / "dense", kept)
    assert status["status"] == "ok" and "mesh" in status["seconds"]
    folder = tmp_path / "dense"
    names = ["fused.ply", "mesh.mtl", "mesh.obj", "mesh.ply", "mesh.png", "status.json", "workspace"]
    assert sorted(path.name for path in folder.iterdir()) == names
    views = [image_name(view.image_id) for view in scene.views]
    files = {path.relative_to(folder / "workspace").as_posix() for path in (folder / "workspace").rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("sparse/")} == {
        "stereo/fusion.cfg",
        "stereo/patch-match.cfg",
        *(f"images/{name}" for name in views),
        *(f"stereo/{kind}_maps/{name}.geometric.bin" for kind in ("depth", "normal") for name in views),
    }
    assert {f"sparse/{name}.bin" for name in ("cameras", "images", "points3D")} <= files
    for view, name in zip(scene.views, views, strict=True):
        written = cv2.imread(str(folder / "workspace/images" / name))
        np.testing.assert_array_equal(written, cv2.imread(str(view.path)))  # nothing to undistort or to shrink


def test_failures_are_statuses_with_a_reason(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    scene = write_scene(tmp_path, sphere, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0))
    (tmp_path / "few").mkdir()
    few = write_scene(tmp_path / "few", sphere, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0), registered=1)
    quick = DenseSettings(coarse_iterations=1, fine_iterations=0, levels=1, min_fused_pixels=40, method="patch_match_cpu")
    cases = [(few, quick, "1 registered view"), (scene, quick, "no point was fused from 40 views")]
    if not has_cuda():
        cases.append((scene, DenseSettings(method="patch_match_cuda"), "CUDA"))
    for subject, settings, reason in cases:
        status = densify(subject, tmp_path / "dense", settings)
        assert status["status"] == "failed"
        assert reason in status["reason"]
        assert [path.name for path in (tmp_path / "dense").iterdir()] == ["status.json"]
    write_json(scene.sfm / "status.json", {"status": "failed", "reason": "no pair of views has matches"})
    assert "no pair of views has matches" in densify(scene, tmp_path / "dense")["reason"]


def test_a_model_of_other_views_is_told(tmp_path):
    scene = write_scene(tmp_path, sphere, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0))
    (tmp_path / "few").mkdir()
    few = write_scene(tmp_path / "few", sphere, views=2, size=(90, 80), params=(320.0, 44.5, 39.5, 0.0))
    with pytest.raises(PorePatchError, match="other views"):
        densify_subject("drawn", few.images, scene.sfm, tmp_path / "dense", SETTINGS, 1, 1)
