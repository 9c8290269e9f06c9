"""The PSIFT scale space and the 8-bit image that enters it, against closed forms and brute force."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from porepatch_lib.keypoints.psift_image import dilate_diamond, double_uint8, doubled_masked_image, erode_diamond
from porepatch_lib.keypoints.scale_space import (
    blur_of_level,
    blur_threaded,
    first_blur,
    gaussian_kernel,
    gaussian_pyramid,
    sigma_of,
)


def test_kernel_is_a_normalised_gaussian() -> None:
    kernel = gaussian_kernel(1.7)
    assert len(kernel) == 2 * 7 + 1
    assert kernel.sum() == pytest.approx(1, abs=1e-15)
    assert kernel[7] / kernel[9] == pytest.approx(np.exp(0.5 * (2 / 1.7) ** 2))


def test_blurs_add_up_to_the_sigmas_of_the_levels() -> None:
    variance = 0.5**2 + first_blur() ** 2
    assert np.sqrt(variance) == pytest.approx(sigma_of(0, -1)) == pytest.approx(1)
    for level in range(10):
        variance += blur_of_level(level) ** 2
        assert np.sqrt(variance) == pytest.approx(sigma_of(0, level))


def test_levels_of_a_blob_have_the_closed_form_contrast() -> None:
    rows, cols = np.mgrid[:161, :161]
    sigma = 5.0
    image = np.exp(-((rows - 80) ** 2 + (cols - 80) ** 2) / (2 * sigma**2))
    levels = gaussian_pyramid(image, 1, np.float64)[0]
    assert len(levels) == 11
    for index, level in enumerate(levels):
        added = sigma_of(0, index - 1) ** 2 - 0.25
        # Their blurs are sampled Gaussians narrower than a pixel, which blur a little too little.
        assert level[80, 80] == pytest.approx(sigma**2 / (sigma**2 + added), rel=0.01)


def test_octaves_start_at_level_7_of_the_last_and_odd_sizes_round_up() -> None:
    image = np.random.default_rng(0).random((31, 45))
    pyramid = gaussian_pyramid(image, 3, np.float64)
    np.testing.assert_array_equal(pyramid[1][0], pyramid[0][8][::2, ::2])
    assert [levels[0].shape for levels in pyramid] == [(31, 45), (16, 23), (8, 12)]


def test_threads_do_not_change_a_blur() -> None:
    image = np.random.default_rng(1).random((1100, 37))
    np.testing.assert_array_equal(blur_threaded(image, 1.3, 2), blur_threaded(image, 1.3, 1))


def test_doubling_matches_integer_arithmetic() -> None:
    image = np.random.default_rng(2).integers(0, 256, (13, 9)).astype(np.uint8)
    taps = {0: np.array([-6, 58, 222, -18, 0]), 1: np.array([0, -18, 222, 58, -6])}

    def double_rows(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values.astype(int), ((2, 2), (0, 0)), mode="symmetric")
        result = np.empty((2 * len(values), values.shape[1]), int)
        for phase, weights in taps.items():
            sums = sum(weight * padded[k : k + len(values)] for k, weight in enumerate(weights))
            result[phase::2] = np.clip((sums + 128) >> 8, 0, 255)
        return result

    np.testing.assert_array_equal(double_uint8(image), double_rows(double_rows(image).T).T)


@pytest.mark.parametrize("radius", [1, 2, 7, 12])
def test_diamond_morphology_equals_brute_force(radius: int) -> None:
    image = np.random.default_rng(3).integers(0, 256, (40, 23)).astype(np.uint8)
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    diamond = (abs(rows) + abs(cols) <= radius).astype(np.uint8)
    np.testing.assert_array_equal(dilate_diamond(image, radius), cv2.dilate(image, diamond))
    np.testing.assert_array_equal(erode_diamond(image, radius), cv2.erode(image, diamond))


def test_outside_the_mask_and_saturated_pixels_become_black() -> None:
    grey = np.full((200, 200), 120, np.uint8)
    grey[100:104, 100:104] = 255
    mask = np.zeros_like(grey)
    mask[:, 50:] = 255
    doubled = doubled_masked_image(grey, mask)
    # Eroded by 80 and dilated by 20: the mask's edge at x = 100 of the doubled image moves to 160.
    assert (doubled[:, :158] == 0).all()
    assert (doubled[:150, 162:] == 120).all()
    assert doubled[203, 203] == 0
    assert 255 not in doubled
