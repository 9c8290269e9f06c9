"""Bare patches: PSIFT against the image it was cut from and the authors' program, SIFT against OpenCV, NCC by its definition."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.descriptors.bare_patches import (
    BARE,
    describe_bare,
    describe_bare_psift,
    ncc_descriptors,
)
from porepatch_lib.descriptors.psift import nearest_scale, psift_descriptors, scale_levels
from porepatch_lib.descriptors.sift import describe_sift
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.scale_space import sigma_of
from porepatch_lib.verification.sweep import best_sigma, sweep_sigma


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 1.5)
    return np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def patches() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([texture(rng, 64, 64) for _ in range(5)])


@pytest.mark.parametrize("bins", [8, 4])
@pytest.mark.parametrize("sigma", [0.95, 1.05])
def test_where_the_support_fits_the_patch_is_as_good_as_the_image(sigma: float, bins: int) -> None:
    image = texture(np.random.default_rng(1), 300, 300)
    corners = np.array([[100, 40], [51, 200], [230, 117]])
    patches = np.stack([image[y : y + 64, x : x + 64] for x, y in corners])
    x, y = (corners + 31.5).T
    octave, level = nearest_scale(np.full(3, sigma))
    levels = scale_levels(image / 255, {(int(octave[0]), int(level[0]))}, np.float64, 1)
    expected = psift_descriptors(levels, x, y, np.full(3, sigma), octave, level, bins)
    np.testing.assert_allclose(describe_bare_psift(patches, sigma, bins), expected, rtol=0, atol=1e-3)


def test_bare_psift_is_that_of_the_authors_program(shared: Path) -> None:
    with np.load(shared / "reference" / "psift" / "f.npz") as archive:
        vectors = dict(archive)
    octaves, levels = nearest_scale(vectors["sigmas"])
    for column, (octave, level) in enumerate(zip(octaves, levels, strict=True)):
        found = describe_bare_psift(vectors["patches"], sigma_of(octave, level), centre_px=31.0)
        np.testing.assert_allclose(found, vectors["desc_float255"][:, column], rtol=0, atol=2e-6)


def test_many_patches_give_the_rows_of_each_alone_on_any_number_of_threads(patches: np.ndarray) -> None:
    many = np.concatenate([patches] * 70)
    alone = np.concatenate([describe_bare_psift(patch[None], 1.7) for patch in patches])
    np.testing.assert_allclose(describe_bare_psift(many, 1.7, threads=2), np.concatenate([alone] * 70), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [1.6 * 2 ** (step / 3) for step in (-1, 1, 2, 4)])
def test_bare_sift_is_opencvs_at_a_whole_pixel(sigma: float) -> None:
    """At a sigma of OpenCV's pyramid; half a pixel aside it is not, which OpenCV's rounding of a patch's middle costs."""
    rng = np.random.default_rng(6)
    patches = np.stack([texture(rng, 65, 65) for _ in range(12)])
    at = [np.full(1, value, np.float32) for value in (32, 32, sigma, 0, 0)]
    middle = Keypoints(*at, *np.zeros((2, 1), np.int8))
    opencv = np.concatenate([describe_sift(patch, middle, root=False) for patch in patches])
    found, aside = (describe_bare("sift-bare", patches, sigma, centre_px=centre) for centre in (None, 31.5))
    assert (np.einsum("ij,ij->i", found, opencv) > 0.998).all()
    assert (np.einsum("ij,ij->i", aside, opencv) < 0.998).all()


def test_bare_rootsift_is_the_root_of_bare_sift(patches: np.ndarray) -> None:
    sift, root = (describe_bare(name, patches, 2.5) for name in ("sift-bare", "rootsift-bare"))
    np.testing.assert_allclose(root**2, sift / sift.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("name", BARE)
def test_the_middle_is_not_rounded_to_a_pixel(name: str, patches: np.ndarray) -> None:
    """Half a turn about it takes gradients to their opposites and permutes the bins; octave 0, whose pixels are the patch's."""
    bins = BARE[name].bins
    turned = patches[:, ::-1, ::-1].copy()
    there, back = (describe_bare(name, seen, 1.8).reshape(-1, bins, bins, 8) for seen in (patches, turned))
    np.testing.assert_allclose(back, np.roll(there[:, ::-1, ::-1], 4, axis=3), atol=1e-5)


@pytest.mark.parametrize(("name", "bins"), [("psift-bare", 8), ("psift128-bare", 4)])
def test_bare_psift_by_name(name: str, bins: int, patches: np.ndarray) -> None:
    assert BARE[name].dimension == bins * bins * 8
    np.testing.assert_array_equal(describe_bare(name, patches, 2.0), describe_bare_psift(patches, 2.0, bins))


def test_a_flat_patch_and_no_patch() -> None:
    assert not describe_bare_psift(np.full((1, 64, 64), 90, np.uint8), 2.0).any()
    assert describe_bare_psift(np.zeros((0, 64, 64), np.uint8), 2.0, 4).shape == (0, 128)
    for name in BARE:
        assert not describe_bare(name, np.full((1, 64, 64), 90, np.uint8), 3.7).any()


def test_ncc_is_the_correlation_of_the_pixels(patches: np.ndarray) -> None:
    rows = ncc_descriptors(patches, 64)
    assert rows.shape == (5, 4096)
    pixels = patches.reshape(5, -1).astype(np.float64)
    np.testing.assert_allclose(rows @ rows.T, np.corrcoef(pixels), atol=1e-5)


def test_ncc_ignores_gain_and_offset_and_averages_blocks() -> None:
    small = np.random.default_rng(4).integers(0, 60, (3, 32, 32), dtype=np.uint8)
    large = np.kron(small, np.ones((2, 2), np.uint8))
    np.testing.assert_allclose(ncc_descriptors(3 * large + 20), ncc_descriptors(small), atol=1e-6)


@pytest.mark.parametrize("name", BARE)
def test_the_sweep_separates_noisy_copies_from_others(name: str, patches: np.ndarray) -> None:
    noise = np.random.default_rng(5).normal(0, 12, patches.shape)
    copies = np.clip(patches + noise, 0, 255).astype(np.uint8)
    both = np.concatenate([patches, copies])
    first = np.repeat(np.arange(5), 5)
    second = np.tile(np.arange(5, 10), 5)
    rates = sweep_sigma(name, both, first, second, first + 5 == second, [1.0, 1.4])
    assert rates == {1.0: (0.0, 1.0), 1.4: (0.0, 1.0)}
    swapped = sweep_sigma(name, both, first, second, first + 5 != second, [1.0])
    assert swapped[1.0][0] == 1.0


def test_the_best_sigma_has_the_lowest_rate_and_of_equals_the_highest_precision() -> None:
    """Easy pairs leave FPR95 at 0 for many sigmas; the smallest of them would be a poor choice."""
    assert best_sigma({4.0: (0.1, 0.9), 2.0: (0.1, 0.9), 1.0: (0.3, 1.0), 3.0: (0.1, 0.9)}) == 2.0
    assert best_sigma({1.0: (0.0, 0.98), 2.0: (0.0, 0.99), 4.0: (0.0, 0.97)}) == 2.0
    assert best_sigma({1.0: (0.2, 0.9), 8.0: (0.1, 0.8)}) == 8.0
