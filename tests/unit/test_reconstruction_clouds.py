"""PLY files and coloured clouds."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_scenes import looking_view

from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Pose, unproject
from porepatch_lib.reconstruction.alignment import Similarity
from porepatch_lib.reconstruction.clouds import Cloud, read_cloud, sparse_cloud, write_cloud
from porepatch_lib.reconstruction.ply import read_ply, write_ply
from porepatch_lib.sfm.model import SparseModel


def points(count: int = 7) -> np.ndarray:
    kinds = [("x", "<f4"), ("y", "<f8"), ("a", "i1"), ("b", "u1"), ("c", "<i2"), ("d", "<u2"), ("e", "<i4"), ("f", "<u4")]
    array = np.zeros(count, kinds)
    for name in array.dtype.names or ():
        array[name] = np.arange(count) * 3 + 1
    return array


@pytest.mark.parametrize("count", [0, 1, 7])
def test_round_trip_of_every_type(tmp_path, count):
    write_ply(tmp_path / "a.ply", points(count))
    found = read_ply(tmp_path / "a.ply")
    assert found.dtype == points(count).dtype
    np.testing.assert_array_equal(found, points(count))


def test_other_byte_orders_and_padding_are_written_as_promised(tmp_path):
    padded = np.zeros(3, np.dtype([("a", ">f4"), ("b", "u1"), ("c", ">u4")], align=True))
    padded["a"], padded["c"] = [1.5, -2.0, 3.0], [1, 2, 70000]
    write_ply(tmp_path / "a.ply", padded)
    data = (tmp_path / "a.ply").read_bytes()
    header, body = data.split(b"end_header\n")
    assert header.decode() == (
        "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float a\nproperty uchar b\nproperty uint c\n"
    )
    assert body == b"".join(struct.pack("<fBI", *row) for row in padded.tolist())


def test_a_header_with_comments_and_other_names_is_understood(tmp_path):
    header = "ply\nformat binary_little_endian 1.0\ncomment by hand\nelement vertex 1\nproperty float32 x\nproperty uint8 red\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + b"end_header\n" + struct.pack("<fB", 2.5, 9))
    assert read_ply(tmp_path / "a.ply").tolist() == [(2.5, 9)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"ply\n", b"plx\n", "no PLY header"),
        (b"end_header\n", b"end_header ", "no PLY header"),
        (b"binary_little_endian", b"ascii", "not binary little-endian"),
        (b"binary_little_endian", b"binary_big_endian", "not binary little-endian"),
        (b"element vertex 7", b"element vertex -7", "number of vertices"),
        (b"element vertex 7", b"element face 7", "number of vertices"),
        (b"element vertex 7\n", b"", "number of vertices"),
        (b"element vertex 7", b"element vertex 8", "header promises 208"),
        (b"element vertex 7", b"element vertex 6", "header promises 156"),
        (b"property float x", b"property list uchar int x", "no scalar property"),
        (b"property float x", b"property half x", "no scalar property"),
        (b"property char a", b"element face 1", "no scalar property"),
        (b"property char a", b"property char x", "two of one name"),
        (b"property float x", b"property flo\xe9t x", "not plain text"),
    ],
)
def test_damage_is_told_in_one_sentence(tmp_path, old, new, said):
    path = tmp_path / "a.ply"
    write_ply(path, points())
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(PorePatchError, match=said) as error:
        read_ply(path)
    assert str(path) in str(error.value)
    assert str(error.value).endswith("make it again.")


def test_a_cut_or_missing_file_is_told(tmp_path):
    write_ply(tmp_path / "a.ply", points())
    data = (tmp_path / "a.ply").read_bytes()
    for cut in (0, 3, 60, len(data) - 1):
        (tmp_path / "cut.ply").write_bytes(data[:cut])
        with pytest.raises(PorePatchError, match=r"cut\.ply cannot be used"):
            read_ply(tmp_path / "cut.ply")
    with pytest.raises(PorePatchError, match="Cannot read the point cloud"):
        read_ply(tmp_path / "missing.ply")


def fused(count: int = 5) -> Cloud:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Cloud(rng.normal(size=(count, 3)), rng.integers(0, 256, (count, 3)).astype(np.uint8), normals)


def test_clouds_are_written_with_and_without_normals_and_errors(tmp_path):
    cloud = fused()
    write_cloud(tmp_path / "dense.ply", cloud, np.arange(5.0))
    back, error_mm = read_cloud(tmp_path / "dense.ply")
    assert error_mm is not None and error_mm.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(back.xyz, cloud.xyz.astype(np.float32))
    np.testing.assert_array_equal(back.normals, cloud.normals.astype(np.float32))
    np.testing.assert_array_equal(back.rgb, cloud.rgb)
    vertices = read_ply(tmp_path / "dense.ply")
    assert vertices.dtype.names == ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "error_mm")
    assert vertices["error_mm"].dtype == np.float32
    assert vertices["error_mm"].tolist() == [0, 1, 2, 3, 4]
    write_cloud(tmp_path / "sparse.ply", replace(cloud, normals=None), None)
    assert read_ply(tmp_path / "sparse.ply").dtype.names == ("x", "y", "z", "red", "green", "blue")
    bare, no_error = read_cloud(tmp_path / "sparse.ply")
    assert bare.normals is None and no_error is None
    np.testing.assert_array_equal(bare.xyz, back.xyz)
    write_ply(tmp_path / "grey.ply", vertices[["x", "y", "z", "red", "green"]])
    with pytest.raises(PorePatchError, match="no properties blue"):
        read_cloud(tmp_path / "grey.ply")


def test_a_fused_cloud_with_numbers_that_are_none_is_refused(tmp_path):
    cloud = fused()
    cloud.xyz[3, 1] = np.inf
    write_cloud(tmp_path / "a.ply", cloud, None)
    with pytest.raises(PorePatchError, match="no numbers"):
        read_cloud(tmp_path / "a.ply")


def test_a_moved_cloud_turns_its_normals_and_keeps_its_colours():
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    cloud = Cloud(np.array([[1.0, 0, 0]]), np.array([[1, 2, 3]], np.uint8), np.array([[0.0, 1, 0]]))
    moved = cloud.moved(Similarity(2.0, quarter, np.array([0.0, 0, 5])))
    np.testing.assert_allclose(moved.xyz, [[0, 2, 5]])
    np.testing.assert_allclose(moved.normals, [[-1, 0, 0]])
    np.testing.assert_array_equal(moved.rgb, cloud.rgb)
    assert replace(cloud, normals=None).moved(Similarity(2.0, quarter, np.zeros(3))).normals is None


def test_sparse_points_take_the_pixel_of_the_most_central_view(tmp_path: Path):
    """Photographs whose blue is the column, green the row, red the view."""
    views = {}
    for image_id, x in ((0, -400.0), (4, -30.0), (7, 400.0)):
        view = replace(looking_view(image_id, [x, 0.0, 900.0]), path=tmp_path / f"{image_id}.png")
        row, column = np.mgrid[: view.camera.height, : view.camera.width]
        cv2.imwrite(str(view.path), np.dstack([column, row, np.full_like(row, image_id)]).astype(np.uint8))
        views[image_id] = view
    camera = views[4].camera
    pose = views[4].pose
    assert isinstance(pose, Pose)
    pixels = np.array([[100.4, 50.6], [30.0, 120.0], [239.4, 10.0]])
    xyz = np.vstack([unproject(camera, pose, pixels, np.full(3, 900.0)), [[20.0, 10.0, 0.0]]])
    model = SparseModel(
        cameras={i: view.camera for i, view in views.items()},
        poses={i: view.pose for i, view in views.items() if view.pose is not None},
        point_ids=np.arange(4),
        xyz=xyz,
        observed_point=np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3]),
        image_id=np.array([0, 4, 7, 0, 4, 7, 0, 4, 7, 7], np.int32),
        keypoint_id=np.zeros(10, np.int32),
    )
    cloud = sparse_cloud(model, views)
    assert cloud.normals is None
    assert cloud.rgb[:3].tolist() == [[4, 51, 100], [4, 120, 30], [4, 10, 239]]
    assert cloud.rgb[3, 0] == 7
    nothing = replace(model, **{name: getattr(model, name)[:0] for name in ("xyz", "observed_point", "image_id", "keypoint_id")})
    assert len(sparse_cloud(nothing, views)) == 0
