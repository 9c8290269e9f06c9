"""Alignment of patches: known sub-pixel shifts come back, gain and offset do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from porepatch_lib.refinement.align import find_shift, gaussian_window, normalise, sample, steepest_descent

HALF = 8
MIDDLE = (40.3, 30.6)


@pytest.fixture(scope="module")
def image() -> NDArray[np.float32]:
    noise = np.random.default_rng(3).normal(size=(64, 80))
    return (128.0 + 40.0 * gaussian_filter(noise, 1.6) / gaussian_filter(noise, 1.6).std()).astype(np.float32)


def _align(
    template_image: NDArray[np.float32],
    image: NDArray[np.float32],
    start: tuple[float, float],
    map_px: NDArray[np.float64],
    limit_px: float = 2.0,
) -> tuple[float, float, float, float, bool]:
    window = gaussian_window(3.0, HALF)
    template, patch = np.empty_like(window), np.empty_like(window)
    assert sample(template_image, *MIDDLE, map_px, HALF, template)
    assert normalise(template, window)
    descent = np.empty((2, *window.shape))
    matrix = steepest_descent(template, window, descent)
    return find_shift(image, *start, map_px, template, descent, matrix, window, limit_px, patch)


def test_cubic_samples_reproduce_a_quadratic_surface() -> None:
    y, x = np.mgrid[0:30, 0:40].astype(np.float64)
    surface = 3.0 + 0.5 * x - 0.2 * y + 0.01 * x * y + 0.02 * x * x
    map_px = np.array([[0.8, 0.3], [-0.2, 1.1]])
    out = np.empty((7, 7))
    assert sample(surface.astype(np.float32), 18.25, 14.6, map_px, 3, out)
    v, u = np.mgrid[-3:4, -3:4]
    px, py = 18.25 + 0.8 * u + 0.3 * v, 14.6 - 0.2 * u + 1.1 * v
    np.testing.assert_allclose(out, 3.0 + 0.5 * px - 0.2 * py + 0.01 * px * py + 0.02 * px * px, atol=1e-4)


@pytest.mark.parametrize("middle", [(8.5, 30.0), (71.0, 30.0), (40.0, 8.9), (40.0, 54.5), (-5.0, 30.0), (np.nan, 30.0)])
def test_a_patch_beyond_the_image_is_refused(image: NDArray[np.float32], middle: tuple[float, float]) -> None:
    assert not sample(image, *middle, np.eye(2), HALF, np.empty((2 * HALF + 1, 2 * HALF + 1)))


def test_the_first_and_last_whole_patches_are_sampled(image: NDArray[np.float32]) -> None:
    out = np.empty((2 * HALF + 1, 2 * HALF + 1))
    assert sample(image, 9.0, 9.0, np.eye(2), HALF, out)
    np.testing.assert_array_equal(out, image[1:18, 1:18])


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -0.81), (-1.1, 0.6)])
def test_a_known_shift_comes_back_whatever_gain_and_offset(image: NDArray[np.float32], offset: tuple[float, float]) -> None:
    map_px = np.array([[0.9, 0.2], [-0.1, 1.05]])
    other = (0.4 * image + 61.0).astype(np.float32)
    u, v, before, after, converged = _align(image, other, (MIDDLE[0] + offset[0], MIDDLE[1] + offset[1]), map_px)
    assert converged
    np.testing.assert_allclose(map_px @ [u, v], -np.array(offset), atol=0.005)
    assert after > 0.9999
    assert before <= after + 1e-9


def test_a_patch_further_than_the_limit_is_not_followed(image: NDArray[np.float32]) -> None:
    start = (MIDDLE[0] + 0.9, MIDDLE[1])
    assert _align(image, image, start, np.eye(2), limit_px=1.0)[4]
    assert not _align(image, image, start, np.eye(2), limit_px=0.8)[4]


def test_flat_patches_and_edges_do_not_converge(image: NDArray[np.float32]) -> None:
    flat = np.full_like(image, 90.0)
    assert not _align(image, flat, MIDDLE, np.eye(2))[4]
    edge = np.broadcast_to(np.tanh(np.arange(80) - 40.0).astype(np.float32) * 50.0, image.shape).copy()
    assert not _align(edge, edge, (MIDDLE[0], MIDDLE[1] + 0.7), np.eye(2))[4]
