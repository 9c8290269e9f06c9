"""COLMAP's own SIFT as a stage: where it finds drawn blobs, in our conventions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.keypoints import read_keypoints
from porepatch_lib.sfm.sift import ColmapSiftSettings, extract_colmap_sift, extract_view

WIDTH, HEIGHT = 160, 120
# x, y, sigma of dark Gaussian blobs, far from each other and not on whole pixels.
BLOBS = np.array([[30.3, 30.7, 3.0], [100.25, 40.5, 4.6], [60.6, 90.1, 3.5]])


def _blobs(width: int, height: int, blobs: np.ndarray) -> np.ndarray:
    rows, columns = np.indices((height, width))
    image = np.full((height, width), 200.0)
    for x, y, sigma in blobs:
        image -= 150.0 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2.0 * sigma**2))
    return np.rint(image).astype(np.uint8)


def _view(folder: Path, image: np.ndarray, image_id: int = 0, mask: np.ndarray | None = None) -> View:
    path = folder / f"{image_id}.png"
    cv2.imwrite(str(path), image)
    mask_path = folder / f"mask{image_id}.png" if mask is not None else None
    if mask is not None:
        cv2.imwrite(str(mask_path), mask)
    camera = Camera("PINHOLE", image.shape[1], image.shape[0], (200.0, 200.0, 80.0, 60.0))
    return View(image_id, path.name, path, mask_path, "", 1, 0, camera, True, None)


def _nearest(xy: np.ndarray, blobs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the keypoint nearest to every blob, and its distance."""
    distance = np.linalg.norm(xy[None] - blobs[:, None, :2], axis=2)
    return distance.argmin(axis=1), distance.min(axis=1)


def test_blobs_are_found_in_place_and_size(tmp_path):
    """A Gaussian blob of sigma s is an extremum of the difference of Gaussians at scale s; half a pixel would be seen."""
    keypoints, descriptors = extract_view(_view(tmp_path, _blobs(WIDTH, HEIGHT, BLOBS)), ColmapSiftSettings())
    index, distance = _nearest(keypoints.xy, BLOBS)
    assert distance.max() < 0.1
    np.testing.assert_allclose(keypoints.sigma[index], BLOBS[:, 2], rtol=0.15)
    assert descriptors.shape == (len(keypoints), 128) and descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1.0, atol=0.02)
    np.testing.assert_array_equal(descriptors * 512, np.rint(descriptors * 512))


def test_the_angle_turns_with_the_image(tmp_path):
    """A quarter turn clockwise adds pi/2 to an angle that goes from x to y; upright keypoints have none."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (HEIGHT, HEIGHT)), (0, 0), 3)
    image = np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)
    one = extract_view(_view(tmp_path, image, 0), ColmapSiftSettings(max_orientations=1))[0]
    two = extract_view(_view(tmp_path, np.rot90(image, -1), 1), ColmapSiftSettings(max_orientations=1))[0]
    turned = np.column_stack([HEIGHT - 1 - one.y, one.x])
    index, distance = _nearest(two.xy, turned)
    close = distance < 0.1
    assert close.mean() > 0.8
    difference = np.angle(np.exp(1j * (two.angle[index] - one.angle - np.pi / 2)))
    assert np.median(np.abs(difference[close])) < 0.02
    upright = extract_view(_view(tmp_path, image, 2), ColmapSiftSettings(upright=True))[0]
    assert np.abs(upright.angle).max() == 0.0


def test_keypoints_off_the_mask_are_dropped(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :64] = 255
    keypoints, _ = extract_view(_view(tmp_path, _blobs(WIDTH, HEIGHT, BLOBS), mask=mask), ColmapSiftSettings())
    assert (keypoints.x < 64).all()
    assert (_nearest(keypoints.xy, BLOBS)[1] < 0.1).tolist() == [True, False, True]
    nothing = np.zeros((HEIGHT, WIDTH), np.uint8)
    keypoints, descriptors = extract_view(_view(tmp_path, _blobs(WIDTH, HEIGHT, BLOBS), mask=nothing), ColmapSiftSettings())
    assert len(keypoints) == 0 and descriptors.shape == (0, 128)


def test_a_reduced_image_keeps_its_places(tmp_path):
    """Positions are those of the whole image whatever `max_image_px` reduces it to."""
    view = _view(tmp_path, _blobs(WIDTH, HEIGHT, BLOBS))
    keypoints, _ = extract_view(view, ColmapSiftSettings(max_image_px=WIDTH // 2))
    index, distance = _nearest(keypoints.xy, BLOBS)
    assert distance.max() < 0.25
    np.testing.assert_allclose(keypoints.sigma[index], BLOBS[:, 2], rtol=0.2)


def test_the_stage_writes_rows_in_step_whatever_the_threads(tmp_path):
    views = [_view(tmp_path, _blobs(WIDTH, HEIGHT, BLOBS[: 3 - i]), i) for i in range(3)]
    views.append(_view(tmp_path, np.full((HEIGHT, WIDTH), 9, np.uint8), 3))
    write_views(tmp_path / "images.parquet", views)
    files = []
    for threads in (1, 3):
        keypoints, descriptors = tmp_path / f"{threads}.parquet", tmp_path / f"{threads}.npy"
        extract_colmap_sift(tmp_path / "images.parquet", keypoints, descriptors, ColmapSiftSettings(), threads)
        files.append((keypoints.read_bytes(), descriptors.read_bytes()))
    assert files[0] == files[1]
    found, rows = read_keypoints(keypoints), np.load(descriptors)
    assert set(found) == {0, 1, 2} and len(rows) == sum(map(len, found.values()))
    first = extract_view(views[1], ColmapSiftSettings())
    start = len(found[0])
    np.testing.assert_array_equal(rows[start : start + len(found[1])], first[1])
    np.testing.assert_array_equal(found[1].xy, first[0].xy)


@pytest.mark.parametrize("wrong", [{"max_features": 0}, {"peak_threshold": 0.0}, {"first_octave": -2}])
def test_settings_out_of_range(wrong):
    with pytest.raises(PorePatchError, match="colmap_sift"):
        ColmapSiftSettings(**wrong)


def test_a_missing_image_is_named(tmp_path):
    view = replace(_view(tmp_path, _blobs(WIDTH, HEIGHT, BLOBS)), path=tmp_path / "gone.png")
    with pytest.raises(PorePatchError, match=r"gone\.png"):
        extract_view(view, ColmapSiftSettings())
