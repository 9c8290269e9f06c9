"""The reference PSIFT detector: properties that need no reference vectors."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.keypoints.psift_image import doubled_masked_image
from porepatch_lib.keypoints.psift_reference import (
    Candidates,
    ReferenceSettings,
    detect_psift_reference,
    find_candidates,
    search_pore_ratio,
)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(128, 20, (200, 180)).clip(0, 254).astype(np.uint8)


def candidates_with(ratios: np.ndarray) -> Candidates:
    """Candidates that are accepted at pore ratios up to (and not at) `ratios`."""
    unit = (2 ** (1 / 8) - 1) / (2 ** (1 / 8) + 1)
    count = len(ratios)
    return Candidates(np.zeros(count, np.int8), np.zeros((count, 3)), np.ones(count), ratios * unit, np.zeros(count))


def test_blob_is_found_a_quarter_pixel_too_far_as_theirs() -> None:
    rows, cols = np.mgrid[:140, :140]
    image = 150 - 60 * np.exp(-((cols - 70.0) ** 2 + (rows - 66.0) ** 2) / (2 * 2.0**2))
    keypoints = detect_psift_reference(np.rint(image).astype(np.uint8), None, ReferenceSettings(pore_ratio=0.02), 1)
    # The seam between octaves lets them find one blob twice.
    assert 1 <= len(keypoints) <= 2
    np.testing.assert_allclose(keypoints.x, 70.25, atol=0.05)
    np.testing.assert_allclose(keypoints.y, 66.25, atol=0.05)
    # Their sigma is that of the finer Gaussian of the pair, half a level (4 %) below the blob's.
    assert keypoints.sigma[0] == pytest.approx(2.0, rel=0.1)


def test_counting_equals_detecting_again(texture: np.ndarray) -> None:
    doubled = doubled_masked_image(texture, None)
    candidates = find_candidates(doubled, 1)
    for ratio in (0.001, 0.008, 0.02):
        again = find_candidates(doubled, 1, ratio)
        accepted = candidates.accepted(ratio)
        assert accepted.sum() == again.accepted(ratio).sum() > 50
        np.testing.assert_array_equal(candidates.xys[accepted], again.xys[again.accepted(ratio)])


def test_threads_do_not_change_the_result(texture: np.ndarray) -> None:
    doubled = doubled_masked_image(np.tile(texture, (2, 1)), None)
    one, two = find_candidates(doubled, 1), find_candidates(doubled, 2)
    np.testing.assert_array_equal(one.xys, two.xys)
    np.testing.assert_array_equal(one.value, two.value)


def test_order_is_octave_level_column_row(texture: np.ndarray) -> None:
    candidates = find_candidates(doubled_masked_image(texture, None), 1)
    assert (np.diff(candidates.octave) >= 0).all()
    first = candidates.xys[candidates.octave == 0]
    # Refined places stray from the whole pixels that are sorted by; most neighbours in the list still ascend.
    assert (np.diff(first[:, 2]) > -2).all()
    same_level = np.abs(np.diff(first[:, 2])) < 0.2
    assert (np.diff(first[:, 0])[same_level] > -2).mean() > 0.9


def test_search_stops_within_ten_per_cent_of_the_target() -> None:
    ratios = np.random.default_rng(1).uniform(1e-5, 0.03, 5000)
    ratio, trace = search_pore_ratio(candidates_with(ratios), 2500)
    assert trace[0][0] == 0.02
    assert trace[-1] == (ratio, int((ratios > ratio).sum()))
    assert abs(trace[-1][1] - 2500) <= 250


def test_search_that_cannot_converge_ends_after_sixty_tries() -> None:
    ratio, trace = search_pore_ratio(candidates_with(np.full(5000, 0.05)), 500)
    assert ratio == 0.02 and len(trace) == 60
