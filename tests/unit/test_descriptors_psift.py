"""PSIFT descriptors: closed forms, and a slow reference written straight from the definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from porepatch_lib.descriptors.psift import (
    describe_level,
    describe_psift,
    double_float,
    nearest_scale,
    normalise,
    psift_descriptors,
    scale_levels,
)
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.scale_space import FIRST_LEVEL, OCTAVES, gaussian_pyramid, sigma_of


def _one(image: np.ndarray, x: float, y: float, sigma: float, bins: int = 8) -> np.ndarray:
    at = (np.array([value]) for value in (x, y, sigma))
    return describe_level(image, *at, bins, 1)[0].reshape(bins, bins, 8)


def _slow(image: np.ndarray, x: float, y: float, sigma: float, bins: int) -> np.ndarray:
    """Trilinear votes of every pixel of the image, one by one."""
    histogram = np.zeros((bins + 2, bins + 2, 8))
    width = 48 / bins * sigma
    for row in range(1, image.shape[0] - 1):
        for column in range(1, image.shape[1] - 1):
            dx = 0.5 * (image[row, column + 1] - image[row, column - 1])
            dy = 0.5 * (image[row + 1, column] - image[row - 1, column])
            u, v = (column - x) / width, (row - y) / width
            if abs(u) >= (bins + 1) / 2 or abs(v) >= (bins + 1) / 2:
                continue
            weight = np.hypot(dx, dy) * np.exp(-(u * u + v * v) / (2 * (bins / 2) ** 2))
            position = np.array([v + (bins + 1) / 2, u + (bins + 1) / 2, (-np.arctan2(dy, dx)) % (2 * np.pi) * 4 / np.pi])
            lower = np.floor(position).astype(int)
            for corner in np.ndindex(2, 2, 2):
                share = np.prod(np.where(corner, position - lower, 1 - (position - lower)))
                r, c, o = lower + corner
                histogram[r, c, o % 8] += weight * share
    inner = histogram[1:-1, 1:-1]
    unit = np.minimum(inner / np.linalg.norm(inner), 0.2)
    return unit / np.linalg.norm(unit)


@pytest.mark.parametrize("bins", [8, 4])
@pytest.mark.parametrize(("x", "y"), [(30.3, 24.8), (0.0, 47.0), (57.2, 3.9)])
def test_equals_the_definition_also_at_borders(bins: int, x: float, y: float) -> None:
    image = np.random.default_rng(3).random((48, 60)).astype(np.float32)
    np.testing.assert_allclose(_one(image, x, y, 0.9, bins), _slow(image, x, y, 0.9, bins), rtol=0, atol=2e-6)


@pytest.mark.parametrize("direction", range(16))
def test_a_ramp_votes_into_its_two_orientations(direction: int) -> None:
    """A ramp rising at angle a (counter-clockwise on the screen) is orientation 8 a / 2 pi, shared between the two nearest."""
    angle = 2 * np.pi * direction / 16
    rows, columns = np.mgrid[:120, :120]
    image = (columns * np.cos(angle) - rows * np.sin(angle)) / 200
    energy = _one(image, 60, 60, 1.2).sum(axis=(0, 1))
    expected = np.zeros(8)
    expected[direction // 2] += 0.5
    expected[(direction + 1) // 2 % 8] += 0.5
    np.testing.assert_allclose(energy / energy.sum(), expected, atol=2e-4)


def test_rows_have_unit_length_and_small_entries() -> None:
    image = np.random.default_rng(0).random((200, 200))
    rows = describe_level(image, np.array([90.0, 10.0]), np.array([90.0, 199.0]), np.array([1.3, 2.0]), 8, 1)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows.min() >= 0


def test_normalise_clips_once_between_two_scalings() -> None:
    histogram = np.zeros((2, 512), np.float32)
    histogram[0, :2] = [300, 400]
    np.testing.assert_allclose(normalise(histogram)[0, :2], [np.sqrt(0.5)] * 2, atol=1e-5)
    assert not normalise(histogram)[1].any()


@pytest.mark.parametrize("shape", [(100, 100), (2, 50), (1, 1)])
def test_a_flat_or_tiny_image_gives_zeros(shape: tuple[int, int]) -> None:
    assert not _one(np.full(shape, 0.5), 0.4, 0.2, 1.5).any()


def test_a_quarter_turn_of_the_image_permutes_the_bins() -> None:
    image = np.random.default_rng(1).random((101, 101))
    original, turned = _one(image, 50, 50, 1.1), _one(np.rot90(image).copy(), 50, 50, 1.1)
    expected = np.roll(np.rot90(original), 2, axis=2)  # counter-clockwise: 90 degrees are two orientations
    np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_threads_and_order_do_not_change_a_row() -> None:
    rng = np.random.default_rng(2)
    image = rng.random((150, 150))
    x, y, sigma = rng.uniform(0, 150, 150), rng.uniform(0, 150, 150), rng.uniform(1, 2, 150)
    alone = describe_level(image, x, y, sigma, 8, 1)
    order = rng.permutation(150)
    np.testing.assert_array_equal(describe_level(image, x[order], y[order], sigma[order], 8, 2), alone[order])


def test_scale_levels_are_the_pyramid_of_the_detector() -> None:
    image = np.random.default_rng(4).random((61, 70))
    pyramid = gaussian_pyramid(image, OCTAVES, np.float64)
    wanted = {(0, -1), (0, 3), (1, 9), (2, 0), (2, 5)}
    found = list(scale_levels(image, wanted, np.float64, 1))
    assert [(octave, level) for octave, level, _ in found] == sorted(wanted)
    for octave, level, levels in found:
        np.testing.assert_array_equal(levels, pyramid[octave][level - FIRST_LEVEL])


def test_nearest_scale_inverts_sigma() -> None:
    scales = [(o, s) for o in range(3) for s in range(2, 10)]
    octave, level = nearest_scale(np.array([sigma_of(*scale) for scale in scales]))
    assert list(zip(octave.tolist(), level.tolist(), strict=True)) == scales


def test_a_missing_level_is_an_error() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="scale space"):
        psift_descriptors([(0, 1, np.ones((9, 9)))], one, one, one, np.array([0]), np.array([2]))


def test_doubling_keeps_positions_and_does_not_round() -> None:
    doubled = double_float(np.tile(np.arange(20, dtype=np.uint8), (8, 1))) * 255
    # OpenCV's cubic leaves a ripple of period two on a ramp, alike on both pixels that come from one.
    pairs = doubled[8, 8:-8].reshape(-1, 2)
    np.testing.assert_allclose(pairs.mean(axis=1), np.arange(4, 16), atol=1e-4)
    assert (np.abs(pairs[:, 1] - pairs[:, 0] - 0.5) < 0.1).all()


def _keypoints(x: float, y: float, sigma_px: float) -> Keypoints:
    column = [np.array([value], np.float32) for value in (x, y, sigma_px, 0, 0)]
    octave, level = nearest_scale(2 * column[2])
    return Keypoints(*column, octave, level)


@pytest.mark.parametrize("bins", [8, 4])
def test_describes_a_turned_photograph_alike(bins: int) -> None:
    """Fixes the pixel centre: an offset of the position would not turn with the image. Octave 0 only: no pixels are skipped."""
    grey = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (161, 161), np.uint8), (0, 0), 1.5)
    upright = describe_psift(grey, _keypoints(83.3, 71.6, 1.0), bins, 1).reshape(bins, bins, 8)
    turned = describe_psift(np.rot90(grey).copy(), _keypoints(71.6, 160 - 83.3, 1.0), bins, 1).reshape(bins, bins, 8)
    np.testing.assert_allclose(turned, np.roll(np.rot90(upright), 2, axis=2), atol=1e-4)


@pytest.mark.parametrize("scale", [(-1, 3), (2, 9), (0, 0), (0, 30)])
def test_wrong_scale_indices_are_replaced_by_the_nearest(scale: tuple[int, int]) -> None:
    grey = np.random.default_rng(6).integers(0, 256, (90, 90), np.uint8)
    good = _keypoints(45, 45, 1.7)
    foreign = Keypoints(**{**vars(good), "octave": np.array(scale[:1], np.int8), "level": np.array(scale[1:], np.int8)})
    np.testing.assert_array_equal(describe_psift(grey, foreign, 8, 1), describe_psift(grey, good, 8, 1))
