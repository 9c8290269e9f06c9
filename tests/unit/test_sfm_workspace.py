"""COLMAP's dense workspace: conventions of pixels, maps and names, and fusion of exact maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from dense_scenes import RADIUS_MM, sphere, write_scene

from porepatch_lib.dense.scene import undistorted_view
from porepatch_lib.dense.sources import choose_sources
from porepatch_lib.geometry import project, unproject
from porepatch_lib.sfm.colmap import to_colmap_id
from porepatch_lib.sfm.model import read_model
from porepatch_lib.sfm.workspace import fuse, image_name, mask_maps, read_map, write_map, write_maps, write_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with the exact depth and normals of a sphere."""
    folder = tmp_path_factory.mktemp("subject")
    scene = write_scene(folder, sphere)
    model = read_model(scene.sfm / "model")
    views = [undistorted_view(view, view.camera, view.pose, 1200) for view in scene.views]
    sources = choose_sources(model.poses, model.xyz, model.observed_point, model.image_id, 2)
    write_workspace(folder / "workspace", views, model, sources)
    for view in views:
        depth = scene.depth(view.camera, view.pose)
        rows, columns = np.indices(depth.shape)
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
        outward = unproject(view.camera, view.pose, pixels, depth.ravel()) / RADIUS_MM
        normals = np.nan_to_num(outward @ view.pose.rotation.T).reshape(*depth.shape, 3)
        write_maps(folder / "workspace", view.image_id, np.nan_to_num(depth).astype(np.float32), normals.astype(np.float32))
    return folder / "workspace", model, views, sources


def test_exact_maps_fuse_to_the_sphere(workspace, tmp_path):
    """Half a pixel (0.37 mm) of another origin, or normals in another layout, would show."""
    folder, *_ = workspace
    count = fuse(folder, tmp_path / "fused.ply", "geometric", 2, 1.0)
    import open3d as o3d

    cloud = o3d.io.read_point_cloud(str(tmp_path / "fused.ply"))
    points, normals = np.asarray(cloud.points), np.asarray(cloud.normals)
    assert len(points) == count > 3000
    assert np.median(np.abs(np.linalg.norm(points, axis=1) - RADIUS_MM)) < 0.01
    assert np.percentile(np.einsum("ij,ij->i", normals, points / RADIUS_MM), 5) > 0.99
    assert [path.name for path in tmp_path.iterdir()] == ["fused.ply"]
    assert fuse(folder, tmp_path / "none.ply", "geometric", 50, 1.0) == 0
    assert not (tmp_path / "none.ply").exists()


def test_the_model_of_a_workspace_is_that_of_the_views(workspace):
    folder, model, views, sources = workspace
    written = pycolmap.Reconstruction(folder / "sparse")
    assert written.num_points3D() == len(model.xyz)
    for view in views:
        image = written.images[to_colmap_id(view.image_id)]
        assert image.name == image_name(view.image_id)
        point = image.points2D[5]
        xyz = written.points3D[point.point3D_id].xyz
        # In a workspace the principal point is in our convention; see the module.
        np.testing.assert_allclose(project(view.camera, view.pose, xyz[None])[0][0], point.xy, atol=1e-6)
        np.testing.assert_allclose(written.cameras[image.camera_id].params, view.camera.params)
        assert (folder / "images" / image.name).exists()
    names = [image_name(view.image_id) for view in views]
    assert (folder / "stereo/fusion.cfg").read_text().split() == names
    lines = (folder / "stereo/patch-match.cfg").read_text().splitlines()
    assert lines[::2] == names
    assert lines[1] == ", ".join(image_name(source) for source in sources[0])


def test_maps_are_files_of_colmap(tmp_path):
    rng = np.random.default_rng(1)
    depth, normals = rng.random((5, 7, 1)).astype(np.float32), rng.random((5, 7, 3)).astype(np.float32)
    write_map(tmp_path / "depth.bin", depth)
    write_map(tmp_path / "normals.bin", normals)
    np.testing.assert_array_equal(read_map(tmp_path / "normals.bin"), normals)
    read = pycolmap.DepthMap()
    read.read(tmp_path / "depth.bin")
    np.testing.assert_array_equal(read.to_array(), depth[..., 0])
    header, values = (tmp_path / "normals.bin").read_bytes().split(b"&", 3)[:3], (tmp_path / "normals.bin").read_bytes()
    assert header == [b"7", b"5", b"3"]
    np.testing.assert_array_equal(np.frombuffer(values[len(b"7&5&3&") :], "<f4")[:35].reshape(5, 7), normals[..., 0])


def test_masks_cut_maps(workspace, tmp_path):
    _, _, views, _ = workspace
    (tmp_path / "stereo/depth_maps").mkdir(parents=True)
    (tmp_path / "stereo/normal_maps").mkdir()
    shape = views[0].mask.shape
    write_maps(tmp_path, 0, np.full(shape, 9.0, np.float32), np.full((*shape, 3), 0.5, np.float32))
    half = np.zeros(shape, bool)
    half[:, :40] = True
    mask_maps(tmp_path, [replace(views[0], mask=half), views[1]], "geometric")
    depth = read_map(tmp_path / f"stereo/depth_maps/{image_name(0)}.geometric.bin")[..., 0]
    np.testing.assert_array_equal(depth > 0.0, half)
