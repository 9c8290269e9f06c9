"""The pore detector on blobs whose place, sigma and contrast are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.pore import PoreSettings, detect_pores, octave_and_level, pore_kernel

FEW = PoreSettings(target_count=1000, min_contrast=4.0, border_margin=4.0)


def scene(blobs: NDArray[np.float64], shape: tuple[int, int], noise: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
    """Grey 150 minus Gaussian blobs, rows x, y, sigma, contrast, with noise, rounded to 8 bits."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 150.0)
    for x, y, sigma, contrast in blobs:
        image -= contrast * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    image += noise * np.random.default_rng(seed).standard_normal(shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def lattice(seed: int, sigmas: tuple[float, float] = (1.0, 3.3), contrast: float = 40.0) -> NDArray[np.float64]:
    """49 blobs at random sub-pixel places around the nodes of a lattice, 300 x 300 pixels."""
    rng = np.random.default_rng(seed)
    nodes = np.stack(np.meshgrid(np.arange(30, 300, 40), np.arange(30, 300, 40)), axis=-1).reshape(-1, 2)
    places = nodes + rng.uniform(-0.5, 0.5, nodes.shape)
    return np.column_stack([places, rng.uniform(*sigmas, len(nodes)), np.full(len(nodes), contrast)])


def noise_texture(shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).normal(130, 15, shape).clip(0, 250).astype(np.uint8)


def nearest(keypoints: Keypoints, blobs: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.linalg.norm(keypoints.xy[None] - blobs[:, None, :2], axis=2).argmin(axis=1)


def assert_same(first: Keypoints, second: Keypoints) -> None:
    for name in ("x", "y", "sigma", "angle", "response", "octave", "level"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_blobs_are_found_where_and_as_large_as_they_are() -> None:
    blobs = lattice(0)
    keypoints = detect_pores(scene(blobs, (300, 300), noise=0.5), None, FEW, 1)
    assert len(keypoints) == len(blobs)
    found = nearest(keypoints, blobs)
    offset = keypoints.xy[found] - blobs[:, :2]
    assert np.median(np.linalg.norm(offset, axis=1)) < 0.05
    assert np.abs(np.median(offset, axis=0)).max() < 0.02
    assert np.abs(np.log2(keypoints.sigma[found] / blobs[:, 2])).max() < 0.1
    np.testing.assert_allclose(keypoints.response[found], 40, rtol=0.08)
    assert keypoints.x.dtype == keypoints.response.dtype == np.float32
    assert keypoints.octave.dtype == keypoints.level.dtype == np.int8


@pytest.mark.parametrize("place", [(40.0, 40.0), (40.5, 40.0), (40.5, 40.5)])
def test_a_blob_halfway_between_pixels_is_found_once(place: tuple[float, float]) -> None:
    image = scene(np.array([[*place, 1.5, 40.0]]), (80, 82))
    keypoints = detect_pores(image, None, PoreSettings(min_contrast=20.0), 1)
    assert len(keypoints) == 1
    np.testing.assert_allclose(keypoints.xy[0], place, atol=0.05)


def test_strongest_come_first_and_the_target_is_kept() -> None:
    blobs = lattice(1)
    blobs[:, 3] = np.linspace(20, 60, len(blobs))
    image = scene(blobs, (300, 300))
    everything = detect_pores(image, None, FEW, 1)
    assert (np.diff(everything.response) <= 0).all()
    some = detect_pores(image, None, PoreSettings(target_count=10, min_contrast=4.0, border_margin=4.0), 1)
    assert_same(some, everything.select(np.arange(10)))
    assert set(nearest(some, blobs[-8:])) <= set(range(10))


def test_weak_blobs_fall_below_the_contrast() -> None:
    image = scene(lattice(2, contrast=6.0), (300, 300), noise=0.5)
    assert len(detect_pores(image, None, PoreSettings(min_contrast=3.0, border_margin=4.0), 1)) >= 47
    assert len(detect_pores(image, None, PoreSettings(min_contrast=9.0, border_margin=4.0), 1)) == 0


def test_bright_blobs_and_lines_are_ignored() -> None:
    bright = scene(lattice(3, contrast=-40.0), (300, 300))
    keypoints = detect_pores(bright, None, FEW, 1)
    assert len(keypoints) == 0 or np.linalg.norm(keypoints.xy[:, None] - lattice(3)[None, :, :2], axis=2).min() > 4
    cols = np.arange(300)
    line = np.rint(150 - 60 * np.exp(-((cols - 150.3) ** 2) / (2 * 1.5**2)))
    creased = np.tile(line, (300, 1)) + np.random.default_rng(0).normal(0, 1, (300, 300))
    assert len(detect_pores(creased.astype(np.uint8), None, FEW, 1)) == 0


def test_border_margin_keeps_the_support_inside() -> None:
    keypoints = detect_pores(noise_texture((200, 260)), None, PoreSettings(border_margin=12), 1)
    reach = 12 * keypoints.sigma
    assert len(keypoints) > 100
    assert (keypoints.x - reach >= -1e-3).all() and (keypoints.x + reach <= 259 + 1e-3).all()
    assert (keypoints.y - reach >= -1e-3).all() and (keypoints.y + reach <= 199 + 1e-3).all()
    assert (keypoints.x - reach).min() < 5


def test_the_mask_removes_keypoints_and_makes_none() -> None:
    image = noise_texture((260, 260))
    rows, cols = np.mgrid[:260, :260]
    mask = np.where((rows - 130) ** 2 + (cols - 130) ** 2 < 90**2, 255, 0).astype(np.uint8)
    everything = {tuple(place) for place in detect_pores(image, None, FEW, 1).xy.tolist()}
    masked = detect_pores(image, mask, FEW, 1)
    assert len(masked) > 50
    assert {tuple(place) for place in masked.xy.tolist()} <= everything
    to_rim = 90 - np.hypot(masked.x - 130, masked.y - 130)
    assert (to_rim >= FEW.mask_margin * masked.sigma - 1.5).all()
    flat = np.full((260, 260), 140, np.uint8)
    assert len(detect_pores(flat, mask, FEW, 1)) == 0


def test_saturated_pixels_make_no_keypoints() -> None:
    blobs = lattice(4)
    image = scene(blobs, (300, 300))
    # A highlight with a hole, which is a dark blob between saturated pixels, and a highlight beside the first blob.
    image[140:161, 140:161] = 255
    image[149:152, 149:152] = 150
    x, y = np.rint(blobs[0, :2]).astype(int)
    image[y, x + 5] = 255
    keypoints = detect_pores(image, None, FEW, 1)
    saturated = np.argwhere(image == 255)[:, ::-1]
    distance = np.linalg.norm(keypoints.xy[:, None] - saturated[None], axis=2).min(axis=1)
    assert (distance >= FEW.saturation_margin * keypoints.sigma - 1.0).all()
    assert np.linalg.norm(keypoints.xy - blobs[0, :2], axis=1).min() > 3
    assert len(keypoints) >= len(blobs) - 2


def test_black_pixels_beyond_the_mask_do_not_matter() -> None:
    blobs = lattice(5)
    image = scene(blobs, (300, 300), noise=0.5)
    mask = np.zeros_like(image)
    mask[:, 100:] = 255
    blackened = np.where(np.pad(mask, 0) == 255, image, np.roll(image, 7, axis=0)).astype(np.uint8)
    kept = detect_pores(image, mask, FEW, 1)
    again = detect_pores(blackened, mask, FEW, 1)
    assert len(kept) == len(again) > 20
    np.testing.assert_allclose(np.sort(kept.x), np.sort(again.x), atol=0.02)


@pytest.mark.parametrize("tile_rows", [16, 37, 100, 1000])
def test_tiles_and_threads_do_not_change_the_result(tile_rows: int) -> None:
    image = noise_texture((231, 150))
    expected = detect_pores(image, None, PoreSettings(border_margin=4), 1)
    assert len(expected) > 150
    assert_same(detect_pores(image, None, PoreSettings(border_margin=4, tile_rows=tile_rows), 2), expected)


def test_no_blob_is_found_twice() -> None:
    keypoints = detect_pores(noise_texture((300, 300)), None, PoreSettings(border_margin=4), 1)
    columns = np.column_stack([keypoints.x, keypoints.y, keypoints.sigma])
    assert len(np.unique(columns, axis=0)) == len(columns) > 400


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 2)])
def test_tiny_images_have_no_keypoints(shape: tuple[int, int]) -> None:
    assert len(detect_pores(noise_texture(shape), np.full(shape, 255, np.uint8), PoreSettings(), 2)) == 0


def test_octave_and_level_invert_the_sigma_of_psift() -> None:
    octaves, levels = np.divmod(np.arange(24), 8)
    sigma_px = 2 ** (1 / 8) * 2.0 ** (octaves + levels / 8) / 2
    octave, level = octave_and_level(sigma_px * 2 ** (0.4 / 8))
    np.testing.assert_array_equal(octave, octaves)
    np.testing.assert_array_equal(level, levels)
    octave, level = octave_and_level(np.array([0.1, 0.5, 4.4, 50.0]))
    assert list(octave) == [0, 0, 2, 2] and list(level) == [-1, -1, 8, 8]


@pytest.mark.parametrize("variance", [0.1, 0.3, 0.59])
def test_narrow_kernel_has_the_moments_of_a_gaussian(variance: float) -> None:
    kernel = pore_kernel(variance)
    offsets = np.arange(-3, 4)
    moments = [(kernel * offsets**order).sum() for order in (0, 2, 4, 6)]
    np.testing.assert_allclose(moments, [1, variance, 3 * variance**2, 15 * variance**3], atol=1e-12)


def test_an_empty_range_of_sigmas_is_refused() -> None:
    with pytest.raises(PorePatchError, match="min_sigma_px"):
        PoreSettings(min_sigma_px=3, max_sigma_px=2)
