"""The reference PSIFT detector against the authors' own program."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.keypoints.psift_image import doubled_masked_image
from porepatch_lib.keypoints.psift_reference import (
    Candidates,
    ReferenceSettings,
    detect_psift_reference,
    find_candidates,
    halved_keypoints,
    search_pore_ratio,
)
from porepatch_lib.keypoints.scale_space import OCTAVES, gaussian_pyramid

IMAGES = ["a", "b", "g"]
SETTINGS = ["pr004", "pr001", "q500", "qmid"]


@pytest.fixture(scope="module", params=IMAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "reference" / "psift"


@pytest.fixture(scope="module")
def vectors(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def candidates(folder: Path, name: str) -> Candidates:
    return find_candidates(read(folder / f"{name}_x2masked.png"), threads=2)


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


def test_doubled_masked_image_is_equal(folder: Path, name: str) -> None:
    doubled = doubled_masked_image(read(folder / f"{name}.png"), read(folder / f"{name}_mask.png"))
    np.testing.assert_array_equal(doubled, read(folder / f"{name}_x2masked.png"))


def test_levels_are_equal(folder: Path, name: str, vectors: dict[str, np.ndarray]) -> None:
    pyramid = gaussian_pyramid(read(folder / f"{name}_x2masked.png") / 255.0, OCTAVES, np.float64, threads=2)
    for octave, s, rows, cols, mean, _, low, high, first, second in vectors["level_stats"]:
        level = pyramid[int(octave)][int(s) + 1]
        assert level.shape == (rows, cols)
        measured = [level.mean(), level.min(), level.max(), level[10, 20], level[-4, -8]]
        np.testing.assert_allclose(measured, [mean, low, high, first, second], rtol=0, atol=1e-12)


def test_finest_difference_is_equal_everywhere(folder: Path) -> None:
    with np.load(folder / "a_scalespace.npz") as archive:
        base, difference = archive["L_m1"], archive["DoG_0"]
    levels = gaussian_pyramid(read(folder / "a_x2masked.png") / 255.0, 1, np.float64, threads=2)[0]
    np.testing.assert_allclose(levels[0], base, rtol=0, atol=6e-8)
    np.testing.assert_allclose(levels[2] - levels[1], difference, rtol=0, atol=6e-8)


@pytest.mark.parametrize("setting", SETTINGS)
def test_keypoints_are_equal_in_order(candidates: Candidates, vectors: dict[str, np.ndarray], setting: str) -> None:
    accepted = candidates.accepted(float(vectors[f"{setting}_pr"][0]))
    expected = vectors[f"{setting}_xys_octave"]
    assert accepted.sum() == len(expected)
    np.testing.assert_array_equal(candidates.octave[accepted], vectors[f"{setting}_octave"])
    # The vectors are float32: 3e-5 px at x = 1000.
    np.testing.assert_allclose(candidates.xys[accepted], expected, rtol=0, atol=4e-5)
    np.testing.assert_allclose(candidates.value[accepted], vectors[f"{setting}_dog_value"], rtol=0, atol=3e-9)
    np.testing.assert_allclose(candidates.response[accepted], vectors[f"{setting}_response"], rtol=1e-5, atol=1e-10)
    keypoints = halved_keypoints(candidates, accepted)
    written = np.column_stack([keypoints.x, keypoints.y, keypoints.sigma])
    np.testing.assert_allclose(written, vectors[f"{setting}_kp"], rtol=1e-6)
    np.testing.assert_array_equal(keypoints.level, vectors[f"{setting}_level"])
    counts = np.bincount(keypoints.octave, minlength=OCTAVES)
    np.testing.assert_array_equal(counts, vectors[f"{setting}_counts"][:, 2])


@pytest.mark.parametrize("setting", ["q500", "qmid"])
def test_search_takes_the_same_steps(candidates: Candidates, vectors: dict[str, np.ndarray], setting: str) -> None:
    ratio, trace = search_pore_ratio(candidates, int(vectors[f"{setting}_target"][0]))
    np.testing.assert_allclose(trace, vectors[f"{setting}_trace"], rtol=1e-9)
    assert ratio == pytest.approx(float(vectors[f"{setting}_pr"][0]), rel=1e-9)


def test_counts_at_both_ends_of_the_search(candidates: Candidates, vectors: dict[str, np.ndarray]) -> None:
    assert candidates.accepted(0.02).sum() == vectors["n_at_pr_0p02"][0]
    assert candidates.accepted(1e-5).sum() == vectors["n_at_pr_1em5"][0]


def test_the_detector_from_image_to_keypoints(folder: Path, name: str, vectors: dict[str, np.ndarray]) -> None:
    settings = ReferenceSettings(target_count=int(vectors["qmid_target"][0]))
    keypoints = detect_psift_reference(read(folder / f"{name}.png"), read(folder / f"{name}_mask.png"), settings, 2)
    written = np.column_stack([keypoints.x, keypoints.y, keypoints.sigma])
    np.testing.assert_allclose(written, vectors["qmid_kp"], rtol=1e-6)
