"""SIFT baselines, networks as descriptors, and the describe stage."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.descriptors.describe import describe_rows, describe_subject
from porepatch_lib.descriptors.networks import build_network, describe_patches, halve_patches, load_network
from porepatch_lib.descriptors.registry import hand_made_names, make_descriptor
from porepatch_lib.descriptors.sift import describe_sift, octave_and_layer
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints

HAND_MADE = hand_made_names()
DIMENSIONS = {"psift": 512, "psift_reference": 512, "psift-bare": 512, "ncc": 1024}


def describe_image(name: str, grey: np.ndarray, keypoints: Keypoints, threads: int) -> np.ndarray:
    return make_descriptor(name, crop_factor=12.0, threads=threads).describe(grey, keypoints)


def _texture(seed: int, height: int = 160, width: int = 140) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 250, cv2.NORM_MINMAX)


def _keypoints(count: int, seed: int = 0, height: int = 160, width: int = 140) -> Keypoints:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, width - 1, count), rng.uniform(0, height - 1, count)
    columns = (x, y, np.exp(rng.uniform(np.log(0.6), np.log(8), count)), np.zeros(count), np.zeros(count))
    scales = np.zeros((2, count), np.int8)
    return Keypoints(*(column.astype(np.float32) for column in columns), *scales)


def test_sift_keeps_every_keypoint_in_its_row() -> None:
    grey, keypoints = _texture(0), _keypoints(60)
    together = describe_sift(grey, keypoints, root=False)
    alone = np.concatenate([describe_sift(grey, keypoints.select(np.array([row])), root=False) for row in range(60)])
    assert together.shape == (60, 128)
    np.testing.assert_array_equal(together, alone)


def test_sift_is_covariant_with_scale() -> None:
    small = _texture(1)
    large = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    # Centres on whole pixels of their octave: OpenCV rounds them.
    for sigma in (1.6, 2.3, 3.2):
        at = [np.array([value], np.float32) for value in (72.0, 80.0, sigma, 0, 0)]
        keypoint = Keypoints(*at, *np.zeros((2, 1), np.int8))
        doubled = Keypoints(*(2 * a + b for a, b in zip(at, (0.5, 0.5, 0, 0, 0), strict=True)), *np.zeros((2, 1), np.int8))
        first, second = describe_sift(small, keypoint, False)[0], describe_sift(large, doubled, False)[0]
        half = Keypoints(*doubled.xy.T, keypoint.sigma, *at[3:], *np.zeros((2, 1), np.int8))
        assert first @ second > 0.97
        assert first @ describe_sift(large, half, False)[0] < 0.9


@pytest.mark.parametrize("sigma", [0.9, 1.6, 2.0])
def test_sift_is_centred_on_the_pixel(sigma: float) -> None:
    """Half a turn about the keypoint permutes the bins, in the doubled octave as in the first."""
    grey = _texture(5, 121, 121)
    at = [np.array([value], np.float32) for value in (60, 60, sigma, 0, 0)]
    keypoint = Keypoints(*at, *np.zeros((2, 1), np.int8))
    upright, turned = (describe_sift(image, keypoint, False).reshape(4, 4, 8) for image in (grey, np.rot90(grey, 2).copy()))
    np.testing.assert_allclose(turned, np.roll(upright[::-1, ::-1], 4, axis=2), atol=0.01)


def test_sift_octave_and_layer_reproduce_sigma() -> None:
    sigma = np.array([1.0, 1.6, 2.0, 3.3, 7.0, 20.0])
    octave, layer = octave_and_layer(sigma, 2000)
    assert (np.abs(3 * np.log2(sigma / (1.6 * 2.0 ** (octave + layer / 3)))) <= 0.5).all()
    assert octave.min() == -1
    assert set(layer.tolist()) <= {1, 2, 3}
    assert octave_and_layer(np.array([0.3, 500.0]), 16)[0].tolist() == [-1, 1]


def test_sift_equals_opencv_on_its_own_keypoints() -> None:
    grey = _texture(2)
    detected = [point for point in cv2.SIFT.create(enable_precise_upscale=True).detect(grey) if (point.octave & 255) < 128]
    assert len(detected) > 5
    for point in detected:
        point.angle = 0
    kept, expected = cv2.SIFT.create(enable_precise_upscale=True).compute(grey, detected)
    columns = np.array([(*p.pt, p.size / 2, 0, 0) for p in kept], np.float32).T
    found = describe_sift(grey, Keypoints(*columns, *np.zeros((2, len(kept)), np.int8)), root=False)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # OpenCV detects at the layer of the maximum, we choose the nearest in sigma: the same one for nearly all.
    assert np.mean((found * expected).sum(axis=1) > 0.999) > 0.8


def test_rootsift_is_the_root_of_the_l1_normalised_histogram() -> None:
    sift, root = (describe_sift(_texture(3), _keypoints(20), root=r) for r in (False, True))
    np.testing.assert_allclose(root**2, sift / sift.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_descriptors_keep_the_contract(name: str) -> None:
    grey, keypoints = _texture(4), _keypoints(40)
    rows = describe_image(name, grey, keypoints, 1)
    assert rows.dtype == np.float32
    assert rows.shape == (40, DIMENSIONS.get(name, 128))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(describe_image(name, grey, keypoints.select(order), 2), rows[order])
    assert not describe_image(name, np.zeros_like(grey), keypoints, 1).any()
    assert describe_image(name, grey, _keypoints(0), 1).shape == (0, rows.shape[1])


def test_halving_is_the_rounded_mean_of_four() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (70, 64, 64)).astype(np.uint8)
    parts = patches.astype(int).reshape(70, 32, 2, 32, 2)
    np.testing.assert_array_equal(halve_patches(patches), (parts.sum(axis=(2, 4)) + 2) >> 2)
    assert halve_patches(patches[:0]).shape == (0, 32, 32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "hynet.safetensors"
    torch.manual_seed(0)
    save_file(build_network("hynet").state_dict(), path, {"architecture": "hynet"})
    return path


def test_networks_describe_in_evaluation_mode(weights: Path) -> None:
    patches = np.random.default_rng(1).integers(0, 256, (7, 64, 64)).astype(np.uint8)
    network = load_network(weights).train()
    rows = describe_patches(network, patches, batch_size=3, device="cpu", threads=1)
    assert (rows.shape, rows.dtype) == ((7, 128), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(describe_patches(network, patches[::-1], 7, "cpu", 1)[::-1], rows, atol=1e-5)
    assert describe_patches(network, patches[:0], 3, "cpu", 1).shape == (0, 128)


def test_bad_weights_are_user_errors(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(PorePatchError, match="Cannot read the weights"):
        load_network(tmp_path / "absent.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(PorePatchError, match="Cannot read the weights"):
        load_network(damaged)
    tensor = {"a": torch.zeros(1)}
    for metadata, message in ((None, "architecture"), ({"architecture": "x"}, "no network"), ({"architecture": "hynet"}, "fit")):
        save_file(tensor, tmp_path / "other.safetensors", metadata)
        with pytest.raises(PorePatchError, match=message):
            load_network(tmp_path / "other.safetensors")


@pytest.fixture
def subject(tmp_path: Path) -> tuple[Path, Path]:
    """Three views, the second without keypoints."""
    views = []
    for image_id in (1, 2, 3):
        path = tmp_path / f"{image_id}.png"
        cv2.imwrite(str(path), _texture(image_id))
        camera = Camera("SIMPLE_PINHOLE", 140, 160, (200.0, 70.0, 80.0))
        views.append(View(image_id, path.name, path, None, "", 1, 1, camera, False, None))
    write_views(tmp_path / "images.parquet", views)
    write_keypoints(tmp_path / "keypoints.parquet", {3: _keypoints(5, 3), 1: _keypoints(8, 1), 2: _keypoints(0)})
    return tmp_path / "images.parquet", tmp_path / "keypoints.parquet"


@pytest.mark.parametrize("name", HAND_MADE)
def test_the_stage_writes_aligned_half_precision_rows(subject: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    describe_subject(*subject, tmp_path / "out.npy", name, None, 12.0, 1)
    stored = read_array(tmp_path / "out.npy")
    assert stored.dtype == np.float16
    expected = [describe_image(name, _texture(i), _keypoints(n, i), 1) for i, n in ((1, 8), (3, 5))]
    np.testing.assert_allclose(stored, np.concatenate(expected), atol=1e-3)


def test_the_stage_describes_with_a_network(subject: tuple[Path, Path], tmp_path: Path, weights: Path) -> None:
    describe_subject(*subject, tmp_path / "out.npy", "psift", weights, 12.0, 1, device="cpu")
    stored = read_array(tmp_path / "out.npy").astype(np.float32)
    assert stored.shape == (13, 128)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=2e-3)
    with pytest.raises(PorePatchError, match="needs weights"):
        describe_subject(*subject, tmp_path / "out.npy", "hynet", None, 12.0, 1)


def test_a_subject_without_keypoints_gives_no_rows(subject: tuple[Path, Path], tmp_path: Path) -> None:
    write_keypoints(subject[1], {})
    describe_subject(*subject, tmp_path / "out.npy", "psift", None, 12.0, 1)
    assert read_array(tmp_path / "out.npy").shape == (0, 512)


def test_keypoints_of_an_unknown_image_are_a_user_error(subject: tuple[Path, Path], tmp_path: Path) -> None:
    write_keypoints(subject[1], {9: _keypoints(2)})
    with pytest.raises(PorePatchError, match=r"\[9\]"):
        describe_subject(*subject, tmp_path / "out.npy", "sift", None, 12.0, 1)


def test_rows_of_a_patch_index_are_described_in_its_order(subject: tuple[Path, Path]) -> None:
    per_image = {1: _keypoints(8, 1), 3: _keypoints(5, 3)}
    parts = [
        pd.DataFrame({field.name: getattr(points, field.name) for field in fields(points)}).assign(image_id=image_id)
        for image_id, points in per_image.items()
    ]
    order = np.random.default_rng(0).permutation(13)
    index = pd.concat(parts).iloc[order].drop(columns=["angle", "response"]).assign(subject="s")
    rootsift = make_descriptor("rootsift", crop_factor=12.0, threads=1)
    found = describe_rows({"s": subject[0]}, index, rootsift)
    expected = np.concatenate([describe_image("rootsift", _texture(i), points, 1) for i, points in per_image.items()])
    np.testing.assert_array_equal(found, expected[order])
    given = np.zeros_like(found)
    assert describe_rows({"s": subject[0]}, index, rootsift, given) is given
    np.testing.assert_array_equal(given, found)
    assert describe_rows({"s": subject[0]}, index[:0], rootsift).shape == (0, 128)
    with pytest.raises(PorePatchError, match="no images table"):
        describe_rows({}, index, rootsift)
