"""Our own test sets: kinds of pairs, and what is known about each, on scenes whose angles and regions are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from truth_scenes import joined, looking_view, photographed, quad, write_scene

from porepatch_lib.captures.views import read_views, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array, write_array, write_json
from porepatch_lib.geometry import project
from porepatch_lib.patches.pairs import PatchPoints
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.sfm.colmap import posed_model
from porepatch_lib.tables import KEYPOINTS, PATCHES, TEST_PAIRS, TRACKS, read_table, write_table
from porepatch_lib.verification.pairs import VerificationPairSettings as Settings
from porepatch_lib.verification.pairs import build_test_set, camera_centres, draw_test_pairs, patch_regions

AZIMUTH_DEG = (0.0, 25.0, 50.0)
ANGLES_DEG = np.abs(np.subtract.outer(AZIMUTH_DEG, AZIMUTH_DEG))
SIGMA = (1.0, 2.0, 2.0**0.25)  # of the patches of view 0, 1, 2
# Regions 1 at x < 0 and 2 at x > 0.
FACE = joined(quad([-200, 0, 0], [200, 0, 0], [0, 300, 0]), quad([200, 0, 0], [200, 0, 0], [0, 300, 0]))
PLACES_MM = [(-30.0, -20.0), (-15.0, 10.0), (15.0, 0.0), (30.0, 20.0), (2.0, 40.0)]


def views():
    angles = np.deg2rad(AZIMUTH_DEG)
    return [looking_view(i, [900 * np.sin(angle), 0, 900 * np.cos(angle)]) for i, angle in enumerate(angles)]


def index_of(rows, subject):
    """Index from (point, image, x, y, sigma)."""
    frame = pd.DataFrame(rows, columns=["point_id", "image_id", "x", "y", "sigma"])
    return frame.assign(subject=subject, keypoint_id=0, octave=0, level=0, crop_factor=24.0)[PATCHES.schema.names]


def random_index(points, rng, subject="a", images=3):
    return index_of([(k, i, *rng.uniform(0, 200, 2), 1.0) for k in range(points) for i in range(images)], subject)


def write_subject(folder, subject, places=PLACES_MM):
    """A subject whose points (x, y mm) every view sees: captures, truth, tracks, patches."""
    truth = photographed(views(), FACE, regions=np.repeat([1, 2], 4))
    write_scene(folder / subject, truth)
    xyz = np.array([(*place, 0.0) for place in places]).reshape(-1, 3)
    seen = [project(view.camera, view.pose, xyz)[0] for view in views()]
    index = index_of([(10 * k, i, *seen[i][k], SIGMA[i]) for k in range(len(places)) for i in range(3)], subject)
    write_table(folder / subject / "index.parquet", index, PATCHES)
    write_array(
        folder / subject / "patches.npy", np.random.default_rng(0).integers(0, 256, (len(index), 64, 64)).astype(np.uint8)
    )
    number = np.repeat(np.arange(len(places)), 3)
    tracks = index[["point_id", "image_id"]].assign(keypoint_id=number, reprojection_error_px=0.0, triangulation_angle_rad=0.0)
    tracks = tracks.assign(track_length=3, x=xyz[number, 0], y=xyz[number, 1], z=xyz[number, 2])
    write_table(folder / subject / "tracks.parquet", tracks, TRACKS)
    keypoints = index[["image_id", "x", "y", "sigma", "octave", "level"]].assign(keypoint_id=number, angle=0.0, response=1.0)
    write_table(folder / subject / "keypoints.parquet", keypoints.sort_values(["image_id", "keypoint_id"]), KEYPOINTS)


def build(folder, subjects, truth=(), models=(), settings=None, seed=1):
    outputs = [folder / "out" / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    names = ("patches.npy", "index.parquet", "tracks.parquet", "keypoints.parquet", "images.parquet")
    files = [[folder / s / name for s in subjects] for name in names]
    truths = [folder / s / "truth" if s in truth else None for s in subjects]
    sfm = [folder / s / "sfm" if s in models else None for s in subjects]
    build_test_set("test set rendered", subjects, *files, truths, sfm, *outputs, settings or Settings(10_000), seed)
    return read_table(outputs[1], PATCHES), read_table(outputs[2], TEST_PAIRS)


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captured")
    write_subject(folder, "anna")
    write_subject(folder, "bert", PLACES_MM[:3])
    write_subject(folder, "none", [])
    return folder


def test_every_pair_is_annotated(captured):
    index, pairs = build(captured, ["anna", "none", "bert"], truth=["anna"])
    stored = [read_array(captured / s / "patches.npy") for s in ("anna", "bert")]
    np.testing.assert_array_equal(read_array(captured / "out/patches.npy"), np.concatenate(stored))
    one, two = (index.iloc[pairs[name]].reset_index(drop=True) for name in ("patch_1", "patch_2"))
    same_subject = (one["subject"] == two["subject"]).to_numpy()
    assert set(pairs["kind"]) == {"match", "same_subject", "cross_subject", "hard"}
    assert (same_subject == (pairs["kind"] != "cross_subject")).all()
    same_point = same_subject & (one["point_id"] == two["point_id"])
    assert (same_point == pairs["is_match"]).all() and (pairs["is_match"] == (pairs["kind"] == "match")).all()
    assert pairs["is_match"].sum() == len(PLACES_MM) + 3 == (~pairs["is_match"] & (pairs["kind"] != "hard")).sum()
    # The points lie up to 45 mm from where the cameras look, 900 mm away.
    expected = ANGLES_DEG[one["image_id"], two["image_id"]]
    matches = pairs["is_match"].to_numpy()
    np.testing.assert_allclose(pairs["angle_deg"][matches], expected[matches], atol=1.5)
    np.testing.assert_allclose(pairs["angle_deg"][same_subject], expected[same_subject], atol=6)
    assert (pairs["angle_deg"][~same_subject] == -1).all()
    octaves = np.abs(np.log2(np.array(SIGMA)[one["image_id"]] / np.array(SIGMA)[two["image_id"]]))
    np.testing.assert_allclose(pairs["octaves"], octaves, atol=1e-6)
    of_point = {10 * k: REGIONS[1] if x < 0 else REGIONS[2] for k, (x, _) in enumerate(PLACES_MM)}
    regions = [of_point[p] if s == "anna" else "" for s, p in zip(one["subject"], one["point_id"], strict=True)]
    assert pairs["region"].tolist() == regions and set(regions) == {REGIONS[1], REGIONS[2], ""}


def test_angles_are_between_the_rays_from_each_patchs_own_point(captured):
    index, pairs = build(captured, ["anna"])
    centres = camera_centres(captured / "anna/images.parquet", None)
    for pair in pairs.itertuples():
        rays = []
        for row in index.iloc[[pair.patch_1, pair.patch_2]].itertuples():
            rays.append(centres[row.image_id] - [*PLACES_MM[row.point_id // 10], 0.0])
        cosine = rays[0] @ rays[1] / np.linalg.norm(rays[0]) / np.linalg.norm(rays[1])
        assert pair.angle_deg == pytest.approx(np.rad2deg(np.arccos(cosine)), abs=1e-2)
    assert set(pairs["region"]) == {""} and set(pairs["kind"]) == {"match", "same_subject", "hard"}


def test_a_patch_beside_the_face_has_no_region():
    truth = photographed(views(), FACE, regions=np.repeat([1, 2], 4))
    patches = index_of([(0, 0, 60.0, 100.0, 1.0), (0, 1, -5.0, 100.0, 1.0), (1, 2, 180.0, 100.0, 1.0)], "anna")
    assert patch_regions(patches, truth).tolist() == [REGIONS[1], "", REGIONS[2]]


def test_poses_come_from_the_model_where_the_images_have_none(tmp_path):
    write_subject(tmp_path, "anna")
    _, rig = build(tmp_path, ["anna"])
    path, folder = tmp_path / "anna/images.parquet", tmp_path / "anna/sfm"
    known = read_views(path)
    (folder / "model").mkdir(parents=True)
    posed_model(known).write_binary(folder / "model")
    write_json(folder / "status.json", {"status": "ok"})
    write_views(path, [replace(view, pose=None) for view in known])
    _, unknown = build(tmp_path, ["anna"])
    assert (unknown["angle_deg"] == -1).all() and (unknown["octaves"] >= 0).all()
    _, found = build(tmp_path, ["anna"], models=["anna"])
    pd.testing.assert_frame_equal(found, rig, atol=1e-4)
    write_json(folder / "status.json", {"status": "failed", "reason": "no view has keypoints"})
    assert camera_centres(path, folder) == {}


def test_same_seed_same_bytes_and_headline_pairs_do_not_depend_on_hard_ones(captured):
    names, output = ["anna", "bert"], captured / "out/pairs.parquet"
    _, pairs = build(captured, names)
    before = output.read_bytes()
    build(captured, names)
    assert output.read_bytes() == before
    assert not build(captured, names, seed=2)[1].equals(pairs)
    _, bare = build(captured, names, settings=Settings(10_000, hard=0))
    assert set(pairs["kind"]) - set(bare["kind"]) == {"hard"}
    pd.testing.assert_frame_equal(bare, pairs[pairs["kind"] != "hard"].reset_index(drop=True))


def test_kinds_are_balanced_unique_and_in_random_roles():
    rng = np.random.default_rng(0)
    index = pd.concat([random_index(140, rng, "a"), random_index(80, rng, "b")], ignore_index=True)
    pairs = draw_test_pairs(index, Settings(400, hard=150), rng)
    kinds = pairs["kind"].value_counts().to_dict()
    assert 140 <= kinds.pop("hard") <= 150  # a hard pair may have been drawn for the headline before
    assert kinds == {"match": 200, "same_subject": 100, "cross_subject": 100}
    one, two = pairs["patch_1"].to_numpy(), pairs["patch_2"].to_numpy()
    assert len(set(zip(np.minimum(one, two), np.maximum(one, two), strict=True))) == len(pairs)
    points = PatchPoints(index)
    others = ~pairs["is_match"].to_numpy()
    assert not points.near(one[others], two[others], 10.0).any()
    assert ((points.point[one] == points.point[two]) == pairs["is_match"]).all()
    for kind in set(pairs["kind"]):
        assert 0.3 < (one < two)[pairs["kind"] == kind].mean() < 0.7
    assert pairs["kind"][:200].nunique() == 3 and (pairs["kind"][400:] == "hard").all()


def test_a_kind_that_runs_out_is_filled_up_by_the_other(caplog):
    caplog.set_level("INFO")
    rng = np.random.default_rng(0)
    few_cross = pd.concat([random_index(20, rng, "a", 2), index_of([(0, 0, 0, 0, 1)], "b")], ignore_index=True)
    few_cross.loc[few_cross["subject"] == "b", "image_id"] = 7
    kinds = draw_test_pairs(few_cross, Settings(1000, 0.0, 0), rng)["kind"].value_counts()
    assert kinds.to_dict() == {"match": 20, "same_subject": 10, "cross_subject": 10}
    assert "40 pairs, not 1000" in caplog.text
    caplog.clear()
    few_same = pd.concat([random_index(1, rng, name) for name in "abcd"], ignore_index=True)
    kinds = draw_test_pairs(few_same, Settings(8, 0.0, 0), rng)["kind"].value_counts()
    assert kinds.to_dict() == {"match": 4, "cross_subject": 4}
    assert "2 short" in caplog.text and "pairs, not" not in caplog.text


def test_two_points_that_meet_where_there_is_no_patch_are_no_pair(tmp_path):
    """Patches may be left out at the border of a photograph; that two points are one place is seen there all the same."""
    write_subject(tmp_path, "anna", [(-30.0, 0.0), (-29.0, 0.0), (40.0, 40.0)])
    index = read_table(tmp_path / "anna/index.parquet", PATCHES)
    kept = (index["point_id"] != 10) | (index["image_id"] == 0)  # point 1 has one patch, of a photograph...
    kept &= (index["point_id"] != 0) | (index["image_id"] != 0)  # ...of which point 0 has none
    write_table(tmp_path / "anna/index.parquet", index[kept], PATCHES)
    write_array(tmp_path / "anna/patches.npy", np.zeros((kept.sum(), 64, 64), np.uint8))
    index, pairs = build(tmp_path, ["anna"], settings=Settings(100, 10.0))
    points = index["point_id"].to_numpy()
    met = {frozenset(points[[one, two]]) for one, two in zip(pairs["patch_1"], pairs["patch_2"], strict=True)}
    assert frozenset([0, 10]) not in met and {frozenset([0, 20]), frozenset([10, 20])} <= met


def test_nothing_to_test_on_is_one_clear_sentence(tmp_path):
    for name, places in {"none": [], "one": PLACES_MM[:1], "near": [(0.0, 0.0), (2.0, 0.0)]}.items():
        write_subject(tmp_path, name, places)
    for names, counts in ((["none"], "0 patches of 0"), (["one", "none"], "3 patches of 1"), (["near"], "6 patches of 2")):
        with pytest.raises(PorePatchError, match=f"test pairs of the test set rendered need both matching.*{counts}"):
            build(tmp_path, names)
    assert not (tmp_path / "out").exists()
    tracks = read_table(tmp_path / "near/tracks.parquet", TRACKS)
    write_table(tmp_path / "near/tracks.parquet", tracks[tracks["point_id"] > 0], TRACKS)
    with pytest.raises(PorePatchError, match=r"The tracks .* lack points"):
        build(tmp_path, ["near"], settings=Settings(10, 1.0))


def test_senseless_settings_are_refused():
    for senseless in ({"pairs": 3}, {"hard": -1}, {"min_distance_px": -1.0}):
        with pytest.raises(PorePatchError, match="setting"):
            Settings(**senseless)
