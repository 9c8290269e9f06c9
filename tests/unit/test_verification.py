"""The verify stage on a test set whose outcome is known, and its arithmetic."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.descriptors.networks import build_network
from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.metrics import fpr95
from porepatch_lib.evaluation.verification import (
    VerificationSettings,
    pair_distances,
    thinned,
    verification_report,
    verify,
)
from porepatch_lib.files import read_json, write_array
from porepatch_lib.geometry import Camera
from porepatch_lib.patches.sampler import sample_patches
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table

POINTS = 30
SETTINGS = VerificationSettings(bootstrap_repeats=20, roc_points=10)


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    """Two copies of one photograph of 30 points: every match has distance 0, no non-match has."""
    folder = tmp_path_factory.mktemp("test_set")
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (300, 300)).astype(np.uint8), (0, 0), 1.5)
    grey = cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX)
    camera = Camera("SIMPLE_PINHOLE", 300, 300, (500.0, 150.0, 150.0))
    views = []
    for image_id in (0, 1):
        path = folder / f"{image_id}.png"
        cv2.imwrite(str(path), grey)
        views.append(View(image_id, path.name, path, None, "", 1, 1, camera, True, None))
    write_views(folder / "images.parquet", views)
    x, y = rng.uniform(60, 240, (2, POINTS)).astype(np.float32)
    point = np.repeat(np.arange(POINTS), 2)
    index = pd.DataFrame({"subject": "anna", "point_id": point, "image_id": np.tile([0, 1], POINTS), "keypoint_id": point})
    index = index.assign(x=x[point], y=y[point], sigma=2.0, octave=0, level=0, crop_factor=12.0)
    write_table(folder / "index.parquet", index, PATCHES)
    sigma = np.full(2 * POINTS, 2.0, np.float32)
    write_array(folder / "patches.npy", sample_patches(grey, x[point], y[point], sigma, 12.0, 64))
    even = 2 * np.arange(POINTS)
    pairs = {"patch_1": np.tile(even, 2), "patch_2": np.concatenate([even + 1, np.roll(even, 1)])}
    pairs["is_match"] = np.arange(2 * POINTS) < POINTS
    write_table(folder / "pairs.parquet", pd.DataFrame(pairs), PATCH_PAIRS)
    return folder


def run(folder: Path, output: Path, descriptor: str, weights: Path | None = None, **changes):
    arguments = {"test_set": "rendered", "images": {"anna": folder / "images.parquet"}, "settings": SETTINGS}
    arguments |= {name: folder / f"{name}.parquet" for name in ("index", "pairs")} | {"patches": folder / "patches.npy"}
    arguments |= {"seed": 0, "threads": 1, "device": "cpu"} | changes
    verify(descriptor=descriptor, weights=weights, output=output, **arguments)
    return read_json(output)


def check_perfect(report, name: str, dimension: int):
    assert (report["descriptor"], report["test_set"], report["dimension"]) == (name, "rendered", dimension)
    assert (report["positives"], report["negatives"], report["patches"]) == (POINTS, POINTS, 2 * POINTS)
    assert report["fpr95"] == report["fpr95_low"] == 0.0
    assert 0.0 < report["fpr95_high"] < 0.2
    assert report["average_precision"] == 1.0
    assert report["variants"]["fdr95"] == 0.0
    assert len(report["roc"]["recall"]) <= 10
    assert report["roc"]["recall"][-1] == report["roc"]["false_positive_rate"][-1] == 1.0


def test_hand_made_descriptor_sees_the_photographs(test_set, tmp_path):
    check_perfect(run(test_set, tmp_path / "sift.json", "sift"), "sift", 128)


def test_network_sees_the_stored_patches(test_set, tmp_path):
    weights = tmp_path / "hynet.safetensors"
    save_file(build_network("hynet").state_dict(), weights, {"architecture": "hynet"})
    report = run(test_set, tmp_path / "round0-hynet.json", "round0-hynet", weights)
    check_perfect(report, "round0-hynet", 128)
    first = (tmp_path / "round0-hynet.json").read_bytes()
    run(test_set, tmp_path / "round0-hynet.json", "round0-hynet", weights)
    assert (tmp_path / "round0-hynet.json").read_bytes() == first


def test_wrong_labels_are_seen(test_set, tmp_path):
    pairs = pd.read_parquet(test_set / "pairs.parquet")
    write_table(tmp_path / "pairs.parquet", pairs.assign(is_match=~pairs["is_match"]), PATCH_PAIRS)
    report = run(test_set, tmp_path / "sift.json", "sift", pairs=tmp_path / "pairs.parquet")
    assert report["fpr95"] == 1.0


def test_one_kind_of_pairs_is_refused(test_set, tmp_path):
    pairs = pd.read_parquet(test_set / "pairs.parquet")
    write_table(tmp_path / "pairs.parquet", pairs[pairs["is_match"]], PATCH_PAIRS)
    with pytest.raises(PorePatchError, match=r"pairs\.parquet need both"):
        run(test_set, tmp_path / "sift.json", "sift", pairs=tmp_path / "pairs.parquet")
    write_table(tmp_path / "pairs.parquet", pairs[:0], PATCH_PAIRS)
    with pytest.raises(PorePatchError, match="need both"):
        run(test_set, tmp_path / "sift.json", "sift", pairs=tmp_path / "pairs.parquet")


def test_distances_are_euclidean():
    descriptors = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
    np.testing.assert_allclose(pair_distances(descriptors, np.array([0, 1, 1]), np.array([1, 1, 2])), [5, 0, 18**0.5])


def test_distances_do_not_depend_on_blocks():
    rng = np.random.default_rng(0)
    descriptors, (first, second) = rng.normal(size=(50, 8)).astype(np.float32), rng.integers(50, size=(2, 100))
    whole = pair_distances(descriptors, first, second)
    np.testing.assert_array_equal(pair_distances(descriptors, first, second, block=7), whole)


def test_report_holds_the_interval_and_the_variants():
    rng = np.random.default_rng(1)
    is_match = np.arange(600) < 300
    distances = rng.normal(np.where(is_match, 0.0, 2.0), 1.0)
    point_1 = rng.integers(60, size=600)
    point_2 = np.where(is_match, point_1, (point_1 + 1) % 60)
    report = verification_report(distances, is_match, point_1, point_2, VerificationSettings(), 0)
    assert report["fpr95"] == fpr95(distances, is_match)
    assert report["fpr95_low"] < report["fpr95"] < report["fpr95_high"]
    assert report["variants"]["fpr95_hardnet"] == report["fpr95"] <= report["variants"]["fpr95_hynet"]
    assert report["roc"]["false_positive_rate"] == sorted(report["roc"]["false_positive_rate"])


def test_hynet_variant_is_absent_where_it_does_not_exist():
    is_match = np.arange(10) < 5
    report = verification_report(np.arange(10.0), is_match, np.arange(10), np.arange(10), VerificationSettings(), 0)
    assert report["variants"]["fpr95_hynet"] is None


def test_thinned_curve_keeps_its_ends_and_shape():
    false, true = np.linspace(0, 1, 5001), np.linspace(0, 1, 5001) ** 0.1
    kept = thinned(false, true, 100)
    assert len(kept) <= 100
    assert (kept[0], kept[-1]) == (0, 5000)
    assert np.max(np.diff(true[kept][1:])) < 0.04
    assert np.max(np.diff(np.log10(false[kept][1:]))) < 0.31  # points 1 and 2 of the curve are a factor of 2 apart
    np.testing.assert_array_equal(thinned(false[:5], true[:5], 100), np.arange(5))


def test_settings_are_checked():
    for change in ({"bootstrap_repeats": 0}, {"confidence": 1.0}, {"roc_points": 1}):
        with pytest.raises(PorePatchError, match="out of range"):
            VerificationSettings(**change)
