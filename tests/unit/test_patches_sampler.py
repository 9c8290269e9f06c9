"""Patches against closed forms: constants, ramps, shifts, sinusoids, blobs."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.patches.sampler import sample_patches

SIZE = 64
FACTOR = 24.0
SIGMAS = (0.4, 1.0, 8 / 3, 3.0, 4.6, 4.7, 6.0, 9.2, 9.3, 13.0, 19.0)  # steps 0.15 to 7.1, both sides of every level


def one(image, x, y, sigma, factor=FACTOR, size=SIZE):
    return sample_patches(image, *(np.array([value], np.float32) for value in (x, y, sigma)), factor, size)[0]


def offsets(sigma):
    return ((np.arange(SIZE) + 0.5) / SIZE - 0.5) * FACTOR * np.float32(sigma)


def wave(shape, frequency, phase=0.0):
    row = 127.5 + 100.0 * np.cos(2 * np.pi * frequency * np.arange(shape[1]) + phase)
    return np.tile(np.rint(row).astype(np.uint8), (shape[0], 1))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_constant_image_gives_constant_patch_even_across_the_border(sigma):
    image = np.full((90, 70), 137, np.uint8)
    for x, y in [(35, 40), (0, 0), (-500, 40), (69.7, 1000)]:
        assert (one(image, x, y, sigma) == 137).all()


def test_bilinear_samples_at_the_documented_positions_rounded_half_up():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (80, 90)).astype(np.uint8)
    for x, y, sigma in [(40.0, 41.0, 1.0), (45.25, 38.8125, 1.9), (41.3, 40.7, 8 / 3)]:
        px, py = np.float32(x) + offsets(sigma), np.float32(y) + offsets(sigma)
        left, top = np.floor(px).astype(int), np.floor(py).astype(int)
        a, b = (px - left)[None, :], (py - top)[:, None]
        blocks = [image[np.ix_(np.clip(top + i, 0, 79), np.clip(left + j, 0, 89))].astype(float) for i in (0, 1) for j in (0, 1)]
        exact = (1 - b) * ((1 - a) * blocks[0] + a * blocks[1]) + b * ((1 - a) * blocks[2] + a * blocks[3])
        patch = one(image, x, y, sigma)
        tie = np.abs((exact + 0.5) - np.rint(exact + 0.5)) < 1e-3
        np.testing.assert_array_equal(patch[~tie], np.floor(exact + 0.5).astype(np.uint8)[~tie])


def test_halves_round_up():
    image = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    patch = one(image, 100.5, 100.0, 1.0, factor=SIZE)  # samples at whole columns
    shifted = one(image, 100.0, 100.0, 1.0, factor=SIZE)  # samples halfway between columns
    np.testing.assert_array_equal(patch[0], np.arange(69, 133))
    np.testing.assert_array_equal(shifted[0], np.arange(69, 133))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_ramp_is_reproduced_exactly_at_every_step(sigma):
    size = 900
    rows, columns = np.mgrid[:size, :size]
    image = ((rows + columns) // 8).astype(np.uint8)  # slope 1/8, within 7/16 of (r + c - 3.5) / 8
    x, y = 440.3, 451.9
    exact = (x + offsets(sigma)[None, :] + y + offsets(sigma)[:, None] - 3.5) / 8
    smooth_enough = 0.5 + 7 / 16
    assert np.abs(one(image, x, y, sigma) - exact).max() <= smooth_enough + 0.02
    assert abs((one(image, x, y, sigma) - exact).mean()) < 0.03


@pytest.mark.parametrize("sigma", [1.0, 3.5, 4.0, 4.7, 5.2])
def test_integer_ramp_is_exact(sigma):
    image = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    exact = 127.3 + offsets(sigma)
    patch = one(image, 127.3, 128.6, sigma)
    inner = (exact > 20) & (exact < 235)
    tie = np.abs((exact + 0.5) - np.rint(exact + 0.5)) < 1e-3
    np.testing.assert_array_equal(patch[:, inner & ~tie], np.tile(np.floor(exact + 0.5), (SIZE, 1))[:, inner & ~tie])


@pytest.mark.parametrize("sigma", SIGMAS)
def test_image_shifted_by_a_subpixel_gives_the_same_patch(sigma):
    step = FACTOR * sigma / SIZE
    period = max(16.0, 8.0 * step)
    shift = (3.375, -2.625)

    def scene(dx, dy):
        rows, columns = np.mgrid[:700, :700].astype(float)
        value = np.cos(2 * np.pi * (columns - dx) / period) + np.sin(2 * np.pi * (rows - dy) / period)
        return np.rint(127.5 + 60 * value).astype(np.uint8)

    before = one(scene(0, 0), 350.2, 340.9, sigma).astype(int)
    after = one(scene(*shift), 350.2 + shift[0], 340.9 + shift[1], sigma).astype(int)
    assert np.abs(before - after).max() <= 4  # the grid moves under the samples: interpolation error of a 16 px wave
    assert abs((before - after).mean()) < 0.25


@pytest.mark.parametrize("sigma", [3.2, 4.5, 4.7, 6.5, 9.2, 9.3, 14.0])
def test_waves_beyond_the_patch_are_removed_and_waves_within_it_stay(sigma):
    step = FACTOR * sigma / SIZE

    def contrast(frequency):
        return max(one(wave((900, 900), frequency, phase), 450, 450, sigma).astype(float).std() for phase in (0.0, 1.0, 2.0))

    full = 100 / np.sqrt(2)
    # The same transfer whatever the scale and the pyramid level.
    assert contrast(0.1 / step) == pytest.approx(0.97 * full, rel=0.02)
    assert contrast(0.25 / step) == pytest.approx(0.81 * full, rel=0.02)
    if step > 2:  # these waves would fold down to the lowest frequencies
        assert max(contrast(frequency) for frequency in np.linspace(1.0 / step, 0.5, 9)) < 0.06 * full


@pytest.mark.parametrize("sigma", [sigma for sigma in SIGMAS if sigma < 16])
def test_symmetric_image_gives_symmetric_patch(sigma):
    rng = np.random.default_rng(2)
    quarter = rng.integers(0, 256, (200, 200)).astype(np.uint8)
    image = np.block([[quarter, quarter[:, -2::-1]], [quarter[-2::-1], quarter[-2::-1, -2::-1]]])  # 399 wide, about pixel 199
    patch = one(image, 199.0, 199.0, sigma).astype(int)
    # Rows of the coarser levels start at pixel 0, so the mirror image is sampled on another grid.
    tolerance = 1 if FACTOR * sigma / SIZE < 2 * np.sqrt(3.0) else 8
    assert np.abs(patch - patch[:, ::-1]).max() <= tolerance
    assert np.abs(patch - patch[::-1]).max() <= tolerance


def test_blob_stays_centred_and_of_constant_size_across_all_levels():
    rows, columns = np.mgrid[:1600, :1600].astype(float)
    centre = (800.37, 791.81)
    index = np.arange(SIZE) - (SIZE - 1) / 2
    widths = []
    for sigma in np.geomspace(2.0, 20.0, 17):
        bell = 220 * np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * (2 * sigma) ** 2))
        image = np.rint(bell + 10).astype(np.uint8)
        patch = one(image, *centre, sigma).astype(float) - 10
        weight = patch.sum()
        across, down = (patch.sum(0) * index).sum() / weight, (patch.sum(1) * index).sum() / weight
        assert abs(across) < 0.03 and abs(down) < 0.03  # samples; 8-bit rounding alone gives 0.01
        step = FACTOR * sigma / SIZE
        variance = (patch.sum(0) * index**2).sum() / weight * step**2
        widths.append((variance - max(1.0, step**2) / 6) / (2 * sigma) ** 2)
    np.testing.assert_allclose(widths, 1.0, atol=0.02)


def test_result_does_not_depend_on_threads_or_on_company():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (300, 260)).astype(np.uint8)
    x, y = rng.uniform(-20, 280, 1500).astype(np.float32), rng.uniform(-20, 320, 1500).astype(np.float32)
    sigma = np.exp(rng.uniform(-0.5, 2.5, 1500)).astype(np.float32)
    single = sample_patches(image, x, y, sigma, 12.0)
    np.testing.assert_array_equal(single, sample_patches(image, x, y, sigma, 12.0, threads=2))
    np.testing.assert_array_equal(single[700:703], sample_patches(image, x[700:703], y[700:703], sigma[700:703], 12.0))


def test_other_sizes_empty_input_and_tiny_images():
    image = np.random.default_rng(4).integers(0, 256, (5, 3)).astype(np.uint8)
    assert one(image, 1, 2, 50.0, size=32).shape == (32, 32)
    none = np.empty(0, np.float32)
    assert sample_patches(image, none, none, none, FACTOR).shape == (0, SIZE, SIZE)


def test_bad_keypoints_are_refused():
    image = np.zeros((9, 9), np.uint8)
    for x, sigma in [(np.nan, 1.0), (1.0, 0.0), (1.0, -2.0), (1.0, np.inf)]:
        with pytest.raises(ValueError, match="finite"):
            one(image, x, 1.0, sigma)
