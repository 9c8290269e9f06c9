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
from porepatch_lib.files import read_array, read_json, write_array
from porepatch_lib.geometry import Camera
from porepatch_lib.patches.sampler import sample_patches
from porepatch_lib.tables import PATCHES, TEST_PAIRS, write_table
from porepatch_lib.verification.describe import SweepSettings, describe_test_set
from porepatch_lib.verification.hpatches import HPatchesSettings
from porepatch_lib.verification.metrics import fpr95
from porepatch_lib.verification.verify import (
    LabelledPairs,
    VerificationSettings,
    headline_report,
    thinned,
    verify,
)

POINTS = 60
SETTINGS = VerificationSettings(bootstrap_repeats=20, strata_repeats=5, roc_points=10)
HPATCHES = HPatchesSettings(image_pairs=1, retrieval_queries=10, retrieval_pool=50)


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    """Two copies of one photograph of 60 points: every match has distance 0, no non-match has."""
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
    write_table(folder / "pairs.parquet", labelled_pairs(), TEST_PAIRS)
    return folder


def labelled_pairs() -> pd.DataFrame:
    """Every match, as many non-matches, and as many hard ones: the matches once more, which a descriptor cannot tell apart."""
    even = 2 * np.arange(POINTS)
    pairs = pd.DataFrame({"patch_1": np.tile(even, 3), "patch_2": np.concatenate([even + 1, np.roll(even, 1), even + 1])})
    kind = np.repeat(["match", "same_subject", "hard"], POINTS)
    return pairs.assign(is_match=kind == "match", kind=kind, angle_deg=15.0, octaves=0.1, region="")


def run(folder: Path, output: Path, descriptor: str, weights: Path | None = None, pairs: Path | None = None):
    """Describe and verify; returns the report."""
    pairs = pairs or folder / "pairs.parquet"
    store, index = folder / "patches.npy", folder / "index.parquet"
    rows, card = output.with_suffix(".npy"), output.with_suffix(".card")
    sweep = SweepSettings(sigmas_px=(3.5,), pairs=20)
    images = {"anna": folder / "images.parquet"}
    describe_test_set(store, index, pairs, images, descriptor, weights, rows, card, sweep, seed=0, threads=1, device="cpu")
    verify("rendered", "truth", ["anna"], index, pairs, rows, card, output, SETTINGS, HPATCHES, seed=0, threads=1)
    return read_json(output)


def check_perfect(report, name: str, dimension: int):
    assert (report["descriptor"], report["test_set"], report["dimension"]) == (name, "rendered", dimension)
    assert (report["positives"], report["negatives"], report["patches"]) == (POINTS, POINTS, 2 * POINTS)
    assert report["fpr95"] == report["fpr95_low"] == 0.0
    assert 0.0 < report["fpr95_high"] < 0.2
    assert report["average_precision"] == report["auc"] == 1.0
    assert report["variants"]["fdr95"] == report["fpr"]["99"] == 0.0
    assert len(report["roc"]["recall"]) <= 10
    assert report["roc"]["recall"][-1] == report["roc"]["false_positive_rate"][-1] == 1.0
    assert report["bootstrap"]["fpr95"] == [0.0] * 20
    assert report["hpatches"]["matching"] == report["hpatches"]["retrieval"] == 1.0
    assert report["hpatches"]["verification"] == {"same_subject": 1.0, "cross_subject": None}


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


def test_hard_non_matches_are_a_stratum_and_not_in_the_headline(test_set, tmp_path):
    strata = {(one["kind"], one["group"]): one for one in run(test_set, tmp_path / "ncc.json", "ncc")["strata"]}
    assert strata["angle", "10-20"]["fpr95"] == 0.0
    assert ("negatives", "same_subject") not in strata  # that is the headline
    assert strata["negatives", "hard"]["fpr95"] == 1.0
    assert strata["negatives", "hard"]["negatives"] == POINTS


def test_wrong_labels_are_seen(test_set, tmp_path):
    pairs = labelled_pairs()[: 2 * POINTS]
    wrong = {"is_match": ~pairs["is_match"], "kind": pairs["kind"].to_numpy()[::-1]}
    write_table(tmp_path / "pairs.parquet", pairs.assign(**wrong), TEST_PAIRS)
    assert run(test_set, tmp_path / "sift.json", "sift", pairs=tmp_path / "pairs.parquet")["fpr95"] == 1.0


def test_one_kind_of_pairs_is_refused(test_set, tmp_path):
    pairs = labelled_pairs()
    for chosen in (pairs[pairs["is_match"]], pairs[:0]):
        write_table(tmp_path / "pairs.parquet", chosen, TEST_PAIRS)
        with pytest.raises(PorePatchError, match=r"pairs\.parquet need both"):
            run(test_set, tmp_path / "sift.json", "sift", pairs=tmp_path / "pairs.parquet")


def test_damaged_descriptors_are_one_sentence(test_set, tmp_path):
    run(test_set, tmp_path / "ncc.json", "ncc")
    rows, card = tmp_path / "ncc.npy", tmp_path / "ncc.card"
    index, pairs = test_set / "index.parquet", test_set / "pairs.parquet"

    def again():
        verify(
            "rendered", "truth", ["anna"], index, pairs, rows, card, tmp_path / "ncc.json", SETTINGS, HPATCHES, seed=0, threads=1
        )

    descriptors = read_array(rows).copy()
    write_array(rows, descriptors[1:])
    with pytest.raises(PorePatchError, match=r"ncc\.npy have shape \(119, 1024\) but .*index\.parquet has 120 rows"):
        again()
    descriptors[7, 3] = np.nan
    write_array(rows, descriptors)
    with pytest.raises(PorePatchError, match="Descriptor 7 has a value that is not a finite"):
        again()
    write_table(tmp_path / "pairs.parquet", labelled_pairs().assign(patch_2=120), TEST_PAIRS)
    pairs = tmp_path / "pairs.parquet"
    with pytest.raises(PorePatchError, match="names patch 120"):
        again()


def test_report_holds_the_interval_and_the_variants():
    rng = np.random.default_rng(1)
    is_match = np.arange(600) < 300
    distances = rng.normal(np.where(is_match, 0.0, 2.0), 1.0)
    point_1 = rng.integers(60, size=600)
    point_2 = np.where(is_match, point_1, (point_1 + 1) % 60)
    pairs = LabelledPairs(is_match, point_1, point_2)
    report = headline_report(distances.astype(np.float32), pairs, SETTINGS, seed=0, threads=1)
    assert report["fpr95"] == fpr95(distances.astype(np.float32), is_match)
    assert report["fpr95_low"] < report["fpr95"] < report["fpr95_high"]
    assert report["variants"]["fpr95_hardnet"] == report["fpr95"] <= report["variants"]["fpr95_hynet"]
    assert report["roc"]["false_positive_rate"] == sorted(report["roc"]["false_positive_rate"])


def test_hynet_variant_is_absent_where_it_does_not_exist():
    is_match = np.arange(10) < 5
    pairs = LabelledPairs(is_match, np.arange(10), np.arange(10))
    report = headline_report(np.arange(10, dtype=np.float32), pairs, SETTINGS, seed=0, threads=1)
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
    for change in (
        {"bootstrap_repeats": 0},
        {"strata_repeats": 0},
        {"confidence": 1.0},
        {"roc_points": 1},
        {"recalls_percent": [0]},
    ):
        with pytest.raises(PorePatchError, match="out of range"):
            VerificationSettings(**change)
