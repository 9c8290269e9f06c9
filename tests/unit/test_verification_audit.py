"""Labels of a dataset against truth: planes seen from known angles, with known wrong labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from truth_scenes import joined, looking_view, photographed, quad, write_scene

from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.audit import AUDIT, AuditSettings, audit_dataset, audit_report, measure_pairs, tally
from porepatch_lib.files import read_json
from porepatch_lib.geometry import project
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, read_table, write_table

# Regions 1 at x < 0 and 2 at x > 0. Views 0 and 1 differ by 25 degrees, 0 and 2 by 50.
FACE = joined(quad([-200, 0, 0], [200, 0, 0], [0, 300, 0]), quad([200, 0, 0], [200, 0, 0], [0, 300, 0]))
REGION = np.repeat([1, 2], 4)
AZIMUTH_DEG = (0.0, 25.0, 50.0)


def views():
    angles = np.deg2rad(AZIMUTH_DEG)
    return [looking_view(i, [900 * np.sin(angle), 0, 900 * np.cos(angle)]) for i, angle in enumerate(angles)]


def patches(subject, places):
    """Index rows of patches centred on (image_id, x mm, y mm)."""
    rows = []
    for image_id, x, y in places:
        view = views()[image_id]
        (px,), _ = project(view.camera, view.pose, np.array([[x, y, 0.0]]))
        rows.append({"subject": subject, "point_id": 0, "image_id": image_id, "x": px[0], "y": px[1]})
    return rows


def as_index(rows):
    return pd.DataFrame(rows).assign(keypoint_id=0, sigma=2.0, octave=0, level=0, crop_factor=12.0)


def as_pairs(rows):
    return pd.DataFrame(rows, columns=PATCH_PAIRS.schema.names)


def measure(places, pairs, truth):
    return measure_pairs(as_index(patches("anna", places)), as_pairs(pairs), [("anna", truth)], 0.5)


def test_pairs_are_measured_in_mm_px_and_degrees():
    truth = photographed(views(), FACE, regions=REGION)
    measured = measure([(0, -20, 0), (1, -20, 3), (2, 5, 0), (0, 6, 0)], [(0, 1, True), (3, 2, False), (2, 3, False)], truth)
    np.testing.assert_allclose(measured["distance_mm"], [3.0, 1.0, 1.0], atol=2e-3)
    # A pixel is 0.9 mm; view 2 sees the plane foreshortened by cos 50 degrees.
    np.testing.assert_allclose(measured["distance_px"], [3 / 0.9, np.cos(np.deg2rad(50)) / 0.9, 1 / 0.9], rtol=0.03)
    np.testing.assert_allclose(measured["angle_deg"], [25, 50, 50], atol=1.0)
    assert [REGIONS[region] for region in measured["region"]] == [REGIONS[1], REGIONS[2], REGIONS[2]]


def test_a_hidden_place_is_far_in_pixels_and_a_moved_one_is_not():
    plate = quad([60, 0, 150], [30, 0, 0], [0, 300, 0])  # before the middle for view 1 only
    hidden = measure([(0, 0, 0), (1, 0, 0)], [(0, 1, True)], photographed(views(), joined(FACE, plate)))
    assert hidden["distance_mm"][0] > 50
    assert np.isinf(hidden["distance_px"][0])
    moved = photographed(views(), FACE, {1: FACE[0] + [0, 7.0, 0]}, REGION)
    followed = measure([(0, 0.5, 0), (1, 0.5, 7)], [(0, 1, True)], moved)
    np.testing.assert_allclose(followed[["distance_mm", "distance_px"]], 0.0, atol=0.01)


def test_wrong_labels_by_angle_and_region():
    """4 matches at 25 degrees, one wrong, all in region 1; 3 at 50 degrees, two wrong, in region 2; 2 non-matches, one wrong."""
    right, wrong = [(0, -30, 0), (1, -30, 0)], [(0, -30, 0), (1, -30, 9)]
    places = [*right, *right, *right, *wrong]
    places += [(0, 30, 0), (2, 30, 0), (0, 30, 0), (2, 30, 8), (0, 30, 0), (2, 30, 2)]
    places += [(0, 30, 20), (2, 30, 20.2), (0, 30, 20), (2, -30, 20)]
    pairs = [(2 * i, 2 * i + 1, i < 7) for i in range(9)]
    groups = tally(measure(places, pairs, photographed(views(), FACE, regions=REGION)), AuditSettings(0.5, 5.0))
    report = audit_report(groups)
    assert report["all"]["matches"]["pairs"] == 7
    assert report["all"]["matches"]["wrong_mm"] == pytest.approx(3 / 7)
    assert report["all"]["matches"]["wrong_px"] == pytest.approx(2 / 7)
    assert report["all"]["matches"]["median_mm"] == pytest.approx(0.0, abs=0.01)
    assert report["all"]["non_matches"] == {"pairs": 2, "wrong_mm": 0.5, "wrong_px": 0.5}
    assert set(report["angle"]) == {"20-30", "45-60"}
    assert report["angle"]["45-60"]["matches"]["wrong_mm"] == pytest.approx(2 / 3)
    assert report["angle"]["45-60"]["matches"]["median_mm"] == pytest.approx(2.0, abs=0.01)
    assert report["angle"]["45-60"]["matches"]["p95_mm"] == pytest.approx(8.0, abs=0.01)
    assert report["region"][REGIONS[1]]["matches"] == report["angle"]["20-30"]["matches"]
    assert report["region"][REGIONS[1]]["matches"]["wrong_mm"] == 0.25
    assert "non_matches" not in report["region"][REGIONS[1]]
    assert report["region"][REGIONS[2]] == report["angle"]["45-60"]


def test_the_stage_writes_json_and_parquet(tmp_path):
    heads = ("anna", "bert")
    for head in heads:
        write_scene(tmp_path / head, photographed(views(), FACE, regions=REGION))
    rows = [*patches("anna", [(0, 0, 5), (1, 0, 5), (1, 0, 9)]), *patches("bert", [(0, 0, 5), (1, 0, 5)])]
    rows += [{**row, "subject": "carl"} for row in rows[:2]]
    rows.append({**rows[0], "x": 1.0, "y": -1.0})  # outside the picture: unknown
    write_table(tmp_path / "index.parquet", as_index(rows), PATCHES)
    pairs = [(0, 1, True), (0, 2, True), (3, 4, True), (5, 6, True), (1, 7, True), (1, 3, False), (5, 0, False)]
    write_table(tmp_path / "pairs.parquet", as_pairs(pairs), PATCH_PAIRS)
    audit_dataset(
        tmp_path / "index.parquet",
        tmp_path / "pairs.parquet",
        {head: tmp_path / head / "images.parquet" for head in heads},
        {head: tmp_path / head / "truth" for head in heads},
        tmp_path / "audit.json",
        tmp_path / "audit.parquet",
        (1, "train"),
        AuditSettings(),
    )
    report = read_json(tmp_path / "audit.json")
    assert (report["round"], report["split"], report["unknown_pairs"]) == (1, "train", 3)  # carl has no truth
    assert report["all"]["matches"]["pairs"] == 3
    assert report["all"]["matches"]["wrong_mm"] == pytest.approx(1 / 3)
    assert report["all"]["non_matches"]["wrong_mm"] == 0.0  # the same coordinates on another head are another place
    table = read_table(tmp_path / "audit.parquet", AUDIT)
    assert set(table["kind"]) == {"all", "angle", "region"}
    assert set(table["round"]) == {1}
    matches = table[(table["kind"] == "all") & table["is_match"]].iloc[0]
    assert (matches["pairs"], matches["wrong_mm"]) == (3, report["all"]["matches"]["wrong_mm"])
    assert np.isinf(table[~table["is_match"]]["median_mm"]).all()
    for kind in ("angle", "region"):
        assert table[table["kind"] == kind]["pairs"].sum() == 4


def test_nothing_known_gives_empty_tables():
    index, pairs = as_index(patches("carl", [(0, 0, 0), (1, 0, 0)])), as_pairs([(0, 1, True)])
    groups = tally(measure_pairs(index, pairs, [], 0.5), AuditSettings())
    assert len(groups) == 0
    assert audit_report(groups) == {"all": {}, "angle": {}, "region": {}}


def test_settings_are_checked():
    with pytest.raises(PorePatchError, match="tolerance_px"):
        AuditSettings(tolerance_px=0.0)
