"""Real photographs: a museum head with EXIF orientation and masks, and Strecha's fountain with known cameras."""

from __future__ import annotations

from dataclasses import replace

import cv2
import exifread
import numpy as np
import pytest

from porepatch_lib.captures.exif import read_exif
from porepatch_lib.captures.photographs import PhotographSettings, exif_camera, ingest_photographs
from porepatch_lib.captures.views import load_grey, load_mask, read_views


@pytest.fixture(scope="module")
def vespasian_table(shared, tmp_path_factory):
    """The twelve views, their masks in stored pixel order."""
    output = tmp_path_factory.mktemp("vespasian") / "images.parquet"
    data = shared / "data/vespasian"
    ingest_photographs("vespasian", data / "images", data / "masks", None, output, PhotographSettings(), threads=2)
    return output


@pytest.fixture(scope="module")
def vespasian(vespasian_table):
    return read_views(vespasian_table)


def test_vespasian_cameras(vespasian):
    assert len(vespasian) == 12
    assert {view.orientation for view in vespasian} == {6}
    assert {view.camera_id for view in vespasian} == {0}
    camera = vespasian[0].camera
    assert (camera.width, camera.height) == (1728, 2592)
    # 21 mm on a Canon EOS 700D, 864000/149 pixels per inch over 5184 pixels, stored at half size
    assert camera.params == pytest.approx((21 / 25.4 * 864000 / 149 / 2, 863.5, 1295.5, 0.0))
    assert all(view.focal_is_prior for view in vespasian)


def test_the_table_of_sensors_agrees_with_a_real_camera(vespasian):
    """Within 2 %: Canon's FocalPlane tags count pixels that its files do not have."""
    width, height = 1728, 2592
    exif = replace(read_exif(vespasian[0].path.read_bytes()), pixels_per_mm=None)
    camera, is_prior = exif_camera(exif, (width, height), PhotographSettings())
    assert is_prior
    assert camera.params[0] == pytest.approx(vespasian[0].camera.params[0], rel=0.02)


def test_nothing_of_the_photographer_is_kept(vespasian, vespasian_table):
    with vespasian[0].path.open("rb") as stream:
        tags = exifread.process_file(stream, details=False)
    secrets = [str(tags[name]).encode() for name in ("EXIF BodySerialNumber", "EXIF LensSerialNumber", "Image DateTime")]
    assert all(len(secret) > 8 for secret in secrets)
    for path in (path for path in vespasian_table.parent.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret in data], path


def test_vespasian_masks_fit_the_upright_head(vespasian):
    """The silhouette lies on image edges; turned any other way that keeps its size it does not."""
    for view in vespasian[::4]:
        grey, mask = (cv2.resize(image, None, fx=0.25, fy=0.25) for image in (load_grey(view), load_mask(view)))
        edges = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1))
        fit, *others = (_edge_under(edges, turned) for turned in (mask, mask[::-1], mask[:, ::-1], mask[::-1, ::-1]))
        assert fit > 2.0 * max(others), view.name


def test_fountain_cameras_agree_with_its_photographs(shared, tmp_path):
    """SIFT matches of two photographs, triangulated with the given cameras, reproject within half a pixel."""
    data = shared / "data/fountain-P11"
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("0002.jpg", "0004.jpg"):
        (photos / name).symlink_to(data / "images" / name)
    ingest_photographs("fountain", photos, None, data / "gt_dense_cameras", tmp_path / "images.parquet", PhotographSettings())
    views = read_views(tmp_path / "images.parquet")
    features = [_sift(load_grey(view)) for view in views]
    candidates = cv2.BFMatcher().knnMatch(features[0][1], features[1][1], k=2)
    matches = [best for best, second in candidates if best.distance < 0.7 * second.distance]
    pixels = [
        np.array([features[0][0][m.queryIdx].pt for m in matches]) * 2.0 + 0.5,
        np.array([features[1][0][m.trainIdx].pt for m in matches]) * 2.0 + 0.5,
    ]
    matrices = [_projection_matrix(view) for view in views]
    points = cv2.triangulatePoints(*matrices, pixels[0].T, pixels[1].T)
    errors = []
    for matrix, observed in zip(matrices, pixels, strict=True):
        image = matrix @ points
        errors.append(np.linalg.norm(image[:2] / image[2] - observed.T, axis=0))
    assert len(matches) > 200
    assert np.median(errors) < 0.5


def _edge_under(edges, mask):
    kernel = np.ones((3, 3), np.uint8)
    return np.median(edges[cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)])


def _sift(grey):
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.SIFT_create(2000).detectAndCompute(half, None)


def _projection_matrix(view):
    (fx, fy), (cx, cy) = view.camera.focal_px, view.camera.principal_point_px
    intrinsics = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return intrinsics @ np.column_stack([view.pose.rotation, view.pose.translation])
