"""Labels of a dataset against truth, on a plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.evaluation.audit import audit_dataset, label_error
from porepatch_lib.files import read_json, write_array
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table


def test_label_error_by_hand():
    one = np.zeros((6, 3))
    two = np.array([[0, 0, 0], [0.3, 0, 0], [2, 0, 0], [np.nan, 0, 0], [0.1, 0, 0], [9, 0, 0]])
    found = label_error(one, two, np.array([True, True, True, True, False, False]), 0.5)
    assert (found.matches, found.non_matches) == (3, 2)
    assert found.wrong_matches == pytest.approx(1 / 3)
    assert found.wrong_non_matches == 0.5
    assert found.median_match_distance_mm == pytest.approx(0.3)
    assert np.isnan(label_error(one, two, np.ones(6, bool), 0.5).wrong_non_matches)


def test_audit_of_two_heads(tmp_path):
    # One pixel is half a millimetre on a plane at 500 mm.
    camera, pose = Camera("SIMPLE_PINHOLE", 100, 100, (1000.0, 50.0, 50.0)), Pose(np.eye(3), np.array([0.0, 0.0, 500.0]))
    heads = ("anna", "bert")
    for head in heads:
        views = [View(i, "", Path("x.png"), None, "", 1, 1, camera, True, pose) for i in (0, 1)]
        write_views(tmp_path / head / "images.parquet", views)
        for i in (0, 1):
            write_array(tmp_path / head / "truth" / f"depth_{i}.npy", np.full((100, 100), 500.0, np.float32))
    index = pd.DataFrame({"subject": np.repeat([*heads, "carl"], 4), "point_id": np.tile([0, 0, 1, 1], 3)})
    index["image_id"] = np.tile([0, 1], 6)
    x = [20, 20, 60, 63, 20, 20.2, 60, 60, 0, 50, 0, 50]  # the second point of anna is wrong by 1.5 mm
    index = index.assign(keypoint_id=0, x=x, y=50.0, sigma=2.0, octave=0, level=0, crop_factor=12.0)
    write_table(tmp_path / "index.parquet", index, PATCHES)
    pairs = [(0, 1, True), (2, 3, True), (4, 5, True), (8, 9, True), (0, 2, False), (0, 4, False), (8, 0, False)]
    write_table(tmp_path / "pairs.parquet", pd.DataFrame(pairs, columns=PATCH_PAIRS.schema.names), PATCH_PAIRS)
    audit_dataset(
        tmp_path / "index.parquet",
        tmp_path / "pairs.parquet",
        {head: tmp_path / head / "images.parquet" for head in heads},
        {head: tmp_path / head / "truth" for head in heads},
        tmp_path / "audit.json",
    )
    report = read_json(tmp_path / "audit.json")
    assert (report["matches"], report["non_matches"]) == (3, 2)  # carl has no truth
    assert report["wrong_matches"] == pytest.approx(1 / 3)
    assert report["wrong_non_matches"] == 0.0  # the same coordinates on another head are another place
