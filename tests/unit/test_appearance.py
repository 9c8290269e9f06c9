"""Statistics of skin on images whose statistics are known."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.appearance import (
    contrast_percent,
    keypoint_statistics,
    power_spectrum_slope,
    radial_power,
    skin_statistics,
    square_crops,
)
from porepatch_lib.keypoints.keypoints import Keypoints


def power_law_noise(exponent: float, side: int = 256, seed: int = 0) -> np.ndarray:
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    radius[0, 0] = 1
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal((side, side))) * radius ** (-exponent / 2)
    spectrum[0, 0] = 0
    return np.fft.ifft2(spectrum).real


def grating(period_px: float, amplitude: float, side: int = 256) -> np.ndarray:
    """Grey uint8 (side,side), sRGB-coded, whose log luminance is a sine of `amplitude` along x."""
    luminance = np.tile(0.3 * np.exp(amplitude * np.sin(2 * np.pi * np.arange(side) / period_px)), (side, 1))
    return np.rint(255 * (1.055 * luminance ** (1 / 2.4) - 0.055)).astype(np.uint8)


def blobs(spacing_px: int, sigma_px: float, depth: float, side: int) -> np.ndarray:
    """A bright field (side,side) of dark Gaussian blobs on a square lattice."""
    offset = (np.arange(side) - spacing_px / 2 + spacing_px / 2) % spacing_px - spacing_px / 2
    profile = np.exp(-0.5 * (offset / sigma_px) ** 2)
    return np.rint(200 - depth * np.outer(profile, profile)).astype(np.uint8)


def keypoints_at(sigma: np.ndarray) -> Keypoints:
    zeros = np.zeros(len(sigma), np.float32)
    whole = np.zeros(len(sigma), np.int8)
    return Keypoints(zeros, zeros, sigma.astype(np.float32), zeros, zeros, whole, whole)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_the_slope_is_the_exponent_of_the_noise(exponent: float) -> None:
    slopes = [power_spectrum_slope(power_law_noise(exponent, seed=seed)) for seed in range(4)]
    assert np.mean(slopes) == pytest.approx(-exponent, abs=0.1)


def test_the_slope_ignores_gain_offset_and_shape() -> None:
    noise = power_law_noise(2.0)
    assert power_spectrum_slope(5 * noise + 90) == pytest.approx(power_spectrum_slope(noise))
    assert power_spectrum_slope(noise[:, :180]) == pytest.approx(-2.0, abs=0.25)


def test_shading_across_the_crop_does_not_leak_into_the_slope() -> None:
    noise = power_law_noise(1.0)
    shaded = noise + 3 * noise.std() * np.linspace(-1, 1, 256)
    assert power_spectrum_slope(shaded) == pytest.approx(power_spectrum_slope(noise), abs=0.05)


def test_power_stands_at_the_frequency_of_a_wave() -> None:
    wave = np.tile(np.sin(2 * np.pi * np.arange(256) / 8), (256, 1))
    frequency, power = radial_power(wave)
    assert frequency[0] > 1 / 30 * 0.99
    assert frequency[-1] <= 0.5
    assert frequency[np.argmax(power)] == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize("amplitude", [0.05, 0.2])
def test_contrast_of_a_fine_wave_is_that_of_its_log_luminance(amplitude: float) -> None:
    assert contrast_percent(grating(8, amplitude)) == pytest.approx(100 * amplitude / np.sqrt(2), rel=0.03)


def test_contrast_of_the_longest_period_is_halved_and_shading_does_not_count() -> None:
    assert contrast_percent(grating(30, 0.2)) == pytest.approx(0.5 * 20 / np.sqrt(2), rel=0.05)
    ramp = np.tile(np.linspace(100, 160, 256), (256, 1)).astype(np.uint8)
    assert contrast_percent(ramp) < 0.5


def test_keypoints_count_by_the_area_in_which_they_can_be_found() -> None:
    sigma = np.repeat([1.0, 4.0], [176 * 176, 104 * 104])  # one per pixel where a margin of 12 sigmas leaves any
    statistics = keypoint_statistics(keypoints_at(sigma), (200, 200), 12.0)
    assert statistics.density == pytest.approx(2 * 100**2)
    np.testing.assert_allclose(statistics.sigma_histogram, [0, 0, 0.5, 0, 0, 0, 0.5], atol=1e-9)
    assert statistics.sigma_quartiles_px[0] == 1.0
    assert statistics.sigma_quartiles_px[2] == 4.0


def test_no_keypoints() -> None:
    statistics = keypoint_statistics(keypoints_at(np.empty(0)), (200, 200), 12.0)
    assert statistics.density == 0
    assert np.isnan(statistics.sigma_quartiles_px).all()


def test_a_field_of_blobs_has_their_density_and_sigma() -> None:
    found, blobs_per_square = skin_statistics(blobs(16, 1.6, 40, 240)), 100**2 / 16**2
    assert found.pore.density == pytest.approx(blobs_per_square, rel=0.15)  # the lattice begins half a spacing inside
    assert found.pore.sigma_quartiles_px[1] == pytest.approx(1.6, rel=0.02)
    # The reference finds many blobs a second time where its octaves meet.
    assert blobs_per_square < found.psift.density < 2.1 * blobs_per_square
    assert found.psift.sigma_quartiles_px[0] == pytest.approx(1.6, rel=0.05)


def test_blobs_below_the_fixed_threshold_do_not_count() -> None:
    found = skin_statistics(blobs(16, 1.6, 4, 240))
    assert found.psift.density == 0
    assert found.pore.density == 0


def test_a_small_crop_is_refused() -> None:
    with pytest.raises(PorePatchError, match="112x112"):
        skin_statistics(np.zeros((111, 300), np.uint8))


def test_squares_lie_apart_inside_the_mask() -> None:
    mask = np.zeros((400, 500), np.uint8)
    mask[10:210, 20:220] = 255
    mask[200:360, 260:420] = 255
    assert square_crops(mask, 5, 1000) == [(20, 10, 199), (260, 200, 159)]
    for left, top, side in square_crops(mask, 5, 140, 130):
        assert side == 140
        assert (mask[top : top + side, left : left + side] == 255).all()


def test_a_small_mask_has_no_square() -> None:
    assert square_crops(np.full((100, 300), 255, np.uint8), 3, 200) == []
