"""PSIFT descriptors against the numbers of the authors' program."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.descriptors.psift import describe_psift_reference, nearest_scale, psift_descriptors, scale_levels
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.keypoints.scale_space import sigma_of

TOLERANCE = 2e-5
# The vectors were once met within 1e-6: a double-precision scale space leaves only float32 sums.
SHARP_TOLERANCE = 2e-6


@pytest.fixture
def psift(shared: Path) -> Path:
    return shared / "reference" / "psift"


@pytest.mark.parametrize("name", ["a", "b", "g"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, SHARP_TOLERANCE), (np.float32, TOLERANCE)])
def test_descriptors_match_the_reference(psift: Path, name: str, dtype: type, tolerance: float) -> None:
    image = cv2.imread(str(psift / f"{name}_x2masked.png"), cv2.IMREAD_GRAYSCALE) / 255.0
    vectors = np.load(psift / f"{name}.npz")
    chosen = {setting: vectors[f"{setting}_desc_index"] for setting in ("pr004", "pr001", "q500", "qmid")}

    def joined(field: str) -> np.ndarray:
        return np.concatenate([vectors[f"{setting}_{field}"][rows] for setting, rows in chosen.items()])

    x, y, sigma = joined("kp_x2").T
    octave, level = joined("octave"), joined("level")
    levels = scale_levels(image, set(zip(octave.tolist(), level.tolist(), strict=True)), dtype, 1)
    found = psift_descriptors(levels, x, y, sigma, octave, level, 8, 2)
    expected = np.concatenate([vectors[f"{setting}_desc"] for setting in chosen])
    assert len(found) > 900
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("field", "divisor"), [("desc", 255.0**2), ("desc_float255", 255.0)])
def test_single_patches_match_the_reference(psift: Path, field: str, divisor: float) -> None:
    vectors = np.load(psift / "f.npz")
    octave, level = nearest_scale(vectors["sigmas"])
    assert list(zip(octave, level, strict=True)) == [(0, 3), (0, 7), (1, 2), (1, 5), (1, 6)]
    sigma = np.array([sigma_of(o, s) for o, s in zip(octave, level, strict=True)])
    centre = np.full(len(sigma), 31.0)
    for patch, expected in zip(vectors["patches"], vectors[field], strict=True):
        levels = scale_levels(patch / divisor, set(zip(octave.tolist(), level.tolist(), strict=True)), np.float64, 1)
        found = psift_descriptors(levels, centre, centre, sigma, octave, level)
        np.testing.assert_allclose(found, expected, rtol=0, atol=SHARP_TOLERANCE)


def test_whole_chain_from_the_photograph(psift: Path) -> None:
    """From the grey image and mask: resize, masking, halved and biased float32 keypoints included."""
    vectors = np.load(psift / "g.npz")
    rows = vectors["q500_desc_index"]
    x, y, sigma = vectors["q500_kp"][rows].T
    zeros = np.zeros(len(rows), np.float32)
    keypoints = Keypoints(x, y, sigma, zeros, zeros, vectors["q500_octave"][rows], vectors["q500_level"][rows])
    grey, mask = (cv2.imread(str(psift / file), cv2.IMREAD_GRAYSCALE) for file in ("g.png", "g_mask.png"))
    found = describe_psift_reference(grey, mask, keypoints, 8, 1)
    np.testing.assert_allclose(found, vectors["q500_desc"], rtol=0, atol=TOLERANCE)
