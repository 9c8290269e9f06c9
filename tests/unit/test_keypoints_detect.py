"""The keypoint stage on files."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import sha256_of
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.detect import KeypointSettings, detect_subject, make_detector
from porepatch_lib.keypoints.keypoints import read_keypoints


def write_subject(folder: Path, images: list[np.ndarray], masks: list[np.ndarray | None]) -> Path:
    views = []
    for image_id, (image, mask) in enumerate(zip(images, masks, strict=True), start=1):
        path, mask_path = folder / f"{image_id}.png", folder / f"{image_id}_mask.png"
        cv2.imwrite(str(path), image)
        if mask is not None:
            cv2.imwrite(str(mask_path), mask)
        camera = Camera("PINHOLE", image.shape[1], image.shape[0], (300.0, 300.0, 50.0, 50.0))
        views.append(
            View(image_id, path.stem, path, mask_path if mask is not None else None, sha256_of(path), 1, 1, camera, True, None)
        )
    write_views(folder / "images.parquet", views)
    return folder / "images.parquet"


@pytest.fixture
def texture() -> np.ndarray:
    return np.random.default_rng(0).normal(128, 20, (160, 200)).clip(0, 254).astype(np.uint8)


@pytest.mark.parametrize("detector", ["pore", "psift_reference"])
def test_table_has_the_keypoints_of_every_view(
    tmp_path: Path, texture: np.ndarray, detector: str, caplog: pytest.LogCaptureFixture
) -> None:
    half = np.zeros_like(texture)
    half[:, :100] = 255
    table = write_subject(tmp_path, [texture, texture, np.full_like(texture, 90)], [None, half, None])
    settings = KeypointSettings(detector=detector, target_count=200, pore={"border_margin": 4.0})
    with caplog.at_level(logging.WARNING):
        detect_subject(table, tmp_path / "keypoints.parquet", settings, 2)
    found = read_keypoints(tmp_path / "keypoints.parquet")
    assert set(found) == {1, 2}
    assert "3.png" in caplog.text
    expected = make_detector(settings, 1)(texture, None)
    np.testing.assert_array_equal(found[1].xy, expected.xy)
    assert found[2].x.max() < 100 < found[1].x.max()


def test_subject_without_keypoints_is_an_empty_table(tmp_path: Path) -> None:
    table = write_subject(tmp_path, [np.full((80, 80), 100, np.uint8)], [None])
    detect_subject(table, tmp_path / "keypoints.parquet", KeypointSettings(), 1)
    assert read_keypoints(tmp_path / "keypoints.parquet") == {}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PorePatchError, match="no detector 'sift'"):
        make_detector(KeypointSettings(detector="sift"), 1)
    with pytest.raises(PorePatchError, match="pore_size"):
        make_detector(KeypointSettings(pore={"pore_size": 2.0}), 1)
