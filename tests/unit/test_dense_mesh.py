"""The mesh of a cloud on a sphere, and its texture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from dense_scenes import RADIUS_MM, sphere, write_scene

from porepatch_lib.dense.mesh import cells, mesh_cloud
from porepatch_lib.dense.scene import undistorted_view
from porepatch_lib.geometry import project


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_texels_of_a_triangle_lie_where_its_texture_places_say(count):
    layout = cells(count, 512)
    triangle, share = layout.texels(count)
    uv = layout.uv(count)
    row, column = np.nonzero(triangle >= 0)
    places = np.einsum("nk,nkc->nc", share[row, column], uv[triangle[row, column]])
    np.testing.assert_allclose(places[:, 0], (column + 0.5) / 512, atol=1e-9)
    np.testing.assert_allclose(places[:, 1], 1.0 - (row + 0.5) / 512, atol=1e-9)
    assert set(np.unique(triangle[triangle >= 0])) == set(range(count))
    # All that bilinear interpolation inside a triangle touches is its own.
    x, y = uv[..., 0] * 512 - 0.5, (1.0 - uv[..., 1]) * 512 - 0.5
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(3), (count, 20))
    u, v = np.einsum("tsk,tk->ts", weights, x), np.einsum("tsk,tk->ts", weights, y)
    for du, dv in [(0, 0), (1, 0), (0, 1), (1, 1)]:
        touched = triangle[np.floor(v).astype(int) + dv, np.floor(u).astype(int) + du]
        assert (touched == np.arange(count)[:, None]).all()


def sampled(image, places):
    """Colours (N,3) of an image at places (N,2), x and y."""
    return cv2.remap(image, *np.float32(places).T[..., None], cv2.INTER_LINEAR)[:, 0].astype(float)


def test_mesh_and_texture_of_a_sphere(tmp_path):
    import open3d as o3d

    scene = write_scene(tmp_path, sphere)
    views = [undistorted_view(view, view.camera, view.pose, 1200) for view in scene.views]
    rng = np.random.default_rng(2)
    outward = rng.normal(size=(6000, 3))
    outward = outward[outward[:, 2] > 0.7 * np.linalg.norm(outward, axis=1)]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(RADIUS_MM * outward))
    cloud.normals = o3d.utility.Vector3dVector(outward)
    cloud.colors = o3d.utility.Vector3dVector(np.full((len(outward), 3), 0.5))
    o3d.io.write_point_cloud(str(tmp_path / "fused.ply"), cloud)
    mesh_cloud(tmp_path / "fused.ply", views, tmp_path / "out", texture_px=512)
    mesh = o3d.io.read_triangle_mesh(str(tmp_path / "out/mesh.ply"))
    vertices = np.asarray(mesh.vertices)
    assert np.abs(np.linalg.norm(vertices, axis=1) - RADIUS_MM).max() < 1.5
    assert vertices[:, 2].min() > 0.6 * RADIUS_MM  # what Poisson closes beyond the points is trimmed
    assert mesh.has_vertex_colors() and mesh.has_vertex_normals()
    lines = (tmp_path / "out/mesh.obj").read_text().splitlines()
    read = {kind: [line.split()[1:] for line in lines if line.startswith(f"{kind} ")] for kind in ("v", "vt", "f")}
    assert len(read["vt"]) == 3 * len(read["f"])
    picture = cv2.imread(str(tmp_path / "out/mesh.png"))
    assert picture.shape == (512, 512, 3)
    # The colour at the middle of a triangle is that of a photograph there.
    points, uv = np.array(read["v"], float), np.array(read["vt"], float).reshape(-1, 3, 2)
    corners = np.array([[int(corner.split("/")[0]) - 1 for corner in face] for face in read["f"]])
    middle, place = points[corners].mean(axis=1), uv.mean(axis=1)
    central = np.linalg.norm(middle[:, :2], axis=1) < 15.0
    pixels, _ = project(views[1].camera, views[1].pose, middle[central])
    seen = sampled(views[1].image, pixels)
    texels = np.stack([place[central, 0] * 512 - 0.5, (1.0 - place[central, 1]) * 512 - 0.5], axis=1)
    assert central.sum() > 50
    assert np.median(np.abs(sampled(picture, texels) - seen)) < 2.0
    for shift in [(1, 0), (-1, 0), (0, 1), (0, -1)]:  # a quarter of a triangle's leg
        assert np.median(np.abs(sampled(picture, texels + shift) - seen)) > 5.0
