"""Labelled pairs: exhaustively checked on small sets, and merged datasets."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array, write_array
from porepatch_lib.patches.dataset import build_dataset
from porepatch_lib.patches.pairs import (
    PairSettings,
    PatchPoints,
    draw_hard_non_matches,
    draw_matches,
    draw_non_matches,
    draw_pairs,
    draw_single_matches,
    nearest_apart,
)
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, read_table, write_table


def index_of(rows):
    """Index from (subject, point, image, x, y)."""
    frame = pd.DataFrame(rows, columns=["subject", "point_id", "image_id", "x", "y"])
    constant = {"keypoint_id": 0, "sigma": 1.0, "octave": 0, "level": 0, "crop_factor": 24.0}
    return frame.assign(**constant)[PATCHES.schema.names]


def random_index(points, images, rng, subject="s", spread=40.0):
    rows = []
    for point in range(points):
        for image in sorted(rng.choice(images, rng.integers(2, images + 1), replace=False)):
            rows.append((subject, point * 3, int(image), *rng.uniform(0, spread, 2)))
    return index_of(rows)


def allowed_pairs(index, distance):
    """All matches and all allowed non-matches, the slow and obvious way."""
    rows = list(index.itertuples())
    points = [(row.subject, row.point_id) for row in rows]
    near = set()
    for a, b in itertools.combinations(range(len(rows)), 2):
        same_image = (rows[a].subject, rows[a].image_id) == (rows[b].subject, rows[b].image_id)
        if same_image and np.hypot(rows[a].x - rows[b].x, rows[a].y - rows[b].y) < distance:
            near |= {(points[a], points[b]), (points[b], points[a])}
    pairs = list(itertools.combinations(range(len(rows)), 2))
    matches = {pair for pair in pairs if points[pair[0]] == points[pair[1]]}
    others = {pair for pair in pairs if pair not in matches and (points[pair[0]], points[pair[1]]) not in near}
    return matches, others


def drawn(pairs):
    both = list(zip(pairs["patch_1"], pairs["patch_2"], strict=True))
    labels = pairs["is_match"].to_numpy()
    assert len(set(both)) == len(both)
    return {pair for pair, label in zip(both, labels, strict=True) if label}, {
        pair for pair, label in zip(both, labels, strict=True) if not label
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", [0.0, 10.0, 25.0])
def test_small_sets_give_exactly_the_possible_pairs(seed, distance):
    rng = np.random.default_rng(seed)
    index = pd.concat([random_index(6, 4, rng, "a"), random_index(3, 3, rng, "b")], ignore_index=True)
    matches, others = allowed_pairs(index, distance)
    got_matches, got_others = drawn(draw_pairs(index, PairSettings(10_000, distance), rng))
    count = min(len(matches), len(others))
    assert len(got_matches) == len(got_others) == count > 0
    assert got_matches <= matches and got_others <= others
    if len(matches) == count:
        assert got_matches == matches


def test_neighbours_seen_apart_in_one_photograph_but_close_in_another_make_no_pair_in_any():
    index = index_of(
        [("s", 1, 0, 0, 0), ("s", 1, 1, 0, 0), ("s", 2, 0, 5, 0), ("s", 2, 2, 50, 0), ("s", 9, 1, 90, 0), ("s", 9, 2, 90, 0)]
    )
    _, others = drawn(draw_pairs(index, PairSettings(100, 10.0), np.random.default_rng(0)))
    assert others and not others & {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_same_image_number_of_two_subjects_is_not_the_same_photograph():
    index = index_of([("a", 1, 0, 0, 0), ("a", 1, 1, 0, 0), ("b", 1, 0, 0, 0), ("b", 1, 1, 0, 0)])
    matches, others = drawn(draw_pairs(index, PairSettings(100), np.random.default_rng(0)))
    assert matches == {(0, 1), (2, 3)} and len(others) == 2 and others <= {(0, 2), (0, 3), (1, 2), (1, 3)}


@pytest.mark.parametrize("distance", [0.0, 12.0])
def test_large_set_by_rejection_is_right_unique_and_seeded(distance):
    rng = np.random.default_rng(3)
    index = random_index(900, 5, rng, spread=300.0)  # 5 million pairs of rows: more than are enumerated
    settings = PairSettings(4000, distance)
    pairs = draw_pairs(index, settings, np.random.default_rng(7))
    matches, others = drawn(pairs)
    assert len(matches) == len(others) == 2000
    points = index["point_id"].to_numpy()
    assert all(points[a] != points[b] for a, b in others)
    all_matches, allowed = allowed_pairs(index.iloc[:600], distance)
    assert all(pair in all_matches for pair in matches if max(pair) < 600)
    inside = [pair for pair in others if max(pair) < 600]
    assert len(inside) > 20 and all(pair in allowed for pair in inside)
    pd.testing.assert_frame_equal(pairs, draw_pairs(index, settings, np.random.default_rng(7)))
    assert not pairs.equals(draw_pairs(index, settings, np.random.default_rng(8)))


def test_points_are_drawn_evenly_whatever_their_number_of_patches():
    rows = [("s", 0, image, 0, 0) for image in range(12)]  # 66 pairs
    rows += [("s", point, image, 100 * point, 0) for point in range(1, 12) for image in range(2)]  # one pair each
    points, rng = PatchPoints(index_of(rows)), np.random.default_rng(0)
    first = sum(int(draw_matches(points, 1, rng)[0, 0] < 12) for _ in range(600))
    assert abs(first / 600 - 1 / 12) < 4 * np.sqrt(1 / 12 * 11 / 12 / 600)


def test_single_matches_are_one_of_every_point_and_even_over_its_pairs():
    rng = np.random.default_rng(0)
    index = index_of(
        [("s", point, image, 50.0 * point, 0.0) for point, images in enumerate((3, 1, 2, 4)) for image in range(images)]
    )
    points, found = PatchPoints(index), []
    for _ in range(600):
        rows = draw_single_matches(points, 10, rng)
        assert sorted(points.point[rows[:, 0]]) == [0, 2, 3]
        assert (points.point[rows[:, 0]] == points.point[rows[:, 1]]).all() and (rows[:, 0] < rows[:, 1]).all()
        found += [tuple(row) for row in rows[points.point[rows[:, 0]] == 3]]
    shares = np.unique(found, axis=0, return_counts=True)[1] / 600
    assert len(shares) == 6 and abs(shares - 1 / 6).max() < 4 * np.sqrt(1 / 6 * 5 / 6 / 600)
    firsts = [points.point[draw_single_matches(points, 1, rng)[0, 0]] for _ in range(600)]
    assert abs(np.mean(np.equal(firsts, 3)) - 1 / 3) < 4 * np.sqrt(1 / 3 * 2 / 3 / 600)


@pytest.mark.parametrize(("points", "spread", "expected"), [(8, 40.0, "71df3c08bcb54b6f"), (900, 300.0, "c65377b4718b5342")])
def test_the_pairs_of_a_seed_do_not_move_between_versions(points, spread, expected):
    """Enumerated and by rejection; raise the stage number of `dataset` if this ever has to change."""
    parts = [random_index(points, 5, np.random.default_rng(1), "a", spread)]
    parts.append(random_index(points // 2, 4, np.random.default_rng(2), "b", spread))
    pairs = draw_pairs(pd.concat(parts, ignore_index=True), PairSettings(4000, 10.0), np.random.default_rng(0))
    assert hashlib.sha256(pairs.to_numpy(np.int64).tobytes()).hexdigest()[:16] == expected


def as_set(rows):
    found = set(map(tuple, rows.tolist()))
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("distance", [0.0, 10.0])
def test_non_matches_of_one_and_of_two_subjects(distance):
    rng = np.random.default_rng(1)
    parts = [random_index(5, 4, rng, "a"), random_index(3, 3, rng, "b"), random_index(1, 3, rng, "c")]
    index = pd.concat(parts, ignore_index=True)
    _, others = allowed_pairs(index, distance)
    subject, points = index["subject"].to_numpy(), PatchPoints(index)
    same = {(a, b) for a, b in others if subject[a] == subject[b]}
    assert as_set(draw_non_matches(points, 10_000, distance, rng, "same")) == same
    assert as_set(draw_non_matches(points, 10_000, distance, rng, "cross")) == others - same
    assert points.share("any") == 1.0
    assert points.share("same") == pytest.approx((5 * 4 + 3 * 2) / (9 * 8))
    assert points.share("same") + points.share("cross") == pytest.approx(1.0)
    alone = PatchPoints(parts[0])
    assert len(draw_non_matches(alone, 10, distance, rng, "cross")) == 0


@pytest.mark.parametrize("subjects", ["same", "cross"])
def test_a_rare_kind_of_a_large_set_is_found_by_rejection(subjects):
    rng = np.random.default_rng(5)
    names = ["a", "b"] if subjects == "cross" else [f"s{i:03d}" for i in range(150)]
    sizes = [900, 12] if subjects == "cross" else [6] * 150
    parts = [random_index(size, 5, rng, name, 300.0) for name, size in zip(names, sizes, strict=True)]
    points = PatchPoints(pd.concat(parts, ignore_index=True))
    rows = draw_non_matches(points, 3000, 10.0, rng, subjects)
    assert len(as_set(rows)) == 3000
    assert ((points.subject[rows[:, 0]] == points.subject[rows[:, 1]]) == (subjects == "same")).all()
    assert (points.point[rows[:, 0]] != points.point[rows[:, 1]]).all() and (rows[:, 0] < rows[:, 1]).all()
    assert not points.near(rows[:, 0], rows[:, 1], 10.0).any()


@pytest.mark.parametrize("distance", [0.0, 10.0, 25.0, 200.0])
def test_the_nearest_surely_other_patch_of_a_photograph(distance):
    rng = np.random.default_rng(2)
    index = pd.concat([random_index(30, 4, rng, "a"), random_index(8, 3, rng, "b")], ignore_index=True)
    _, others = allowed_pairs(index, distance)
    subject, image, xy = index["subject"].to_numpy(), index["image_id"].to_numpy(), index[["x", "y"]].to_numpy()
    expected = []
    for row in range(len(index)):
        allowed = [k for k in range(len(index)) if subject[k] == subject[row] and image[k] == image[row]]
        allowed = [k for k in allowed if (min(row, k), max(row, k)) in others]
        expected.append(min(allowed, key=lambda k: np.hypot(*(xy[k] - xy[row])), default=-1))
    assert nearest_apart(PatchPoints(index), np.arange(len(index)), distance).tolist() == expected
    assert (max(expected) == -1) == (distance == 200.0)


def test_hard_non_matches_follow_from_matches():
    rng = np.random.default_rng(4)
    index = pd.concat([random_index(40, 5, rng, "a", 60.0), random_index(20, 4, rng, "b", 60.0)], ignore_index=True)
    points = PatchPoints(index)
    matches = draw_matches(points, 150, rng)
    rows = draw_hard_non_matches(points, matches, 100, 10.0, np.random.default_rng(0))
    possible, sides = set(), {0: set(), 1: set()}
    for side in (0, 1):
        nearest = nearest_apart(points, matches[:, 1 - side], 10.0)
        sides[side] = {tuple(sorted(pair)) for pair in zip(matches[:, side].tolist(), nearest.tolist(), strict=True)}
        possible |= sides[side]
    assert len(as_set(rows)) == 100 and as_set(rows) <= possible
    assert all(len(as_set(rows) & sides[side] - sides[1 - side]) > 20 for side in sides)  # both roles
    assert (rows[:, 0] < rows[:, 1]).all() and not points.near(rows[:, 0], rows[:, 1], 10.0).any()
    assert (points.subject[rows[:, 0]] == points.subject[rows[:, 1]]).all()
    assert len(draw_hard_non_matches(points, matches, 10_000, 10.0, rng)) <= len(matches)
    assert len(draw_hard_non_matches(points, matches, 0, 10.0, rng)) == 0
    assert len(draw_hard_non_matches(points, matches[:0], 10, 10.0, rng)) == 0


def test_unsorted_index_and_senseless_settings_are_refused():
    index = index_of([("s", 1, 1, 0, 0), ("s", 1, 0, 0, 0), ("s", 2, 0, 50, 0), ("s", 2, 1, 50, 0)])
    with pytest.raises(PorePatchError, match="sorted"):
        draw_pairs(index, PairSettings(2), np.random.default_rng(0))
    for settings in ({"pairs": 3}, {"pairs": 0}, {"min_distance_px": -1.0}):
        with pytest.raises(PorePatchError, match="setting"):
            PairSettings(**settings)


def write_store(folder, name, index, rng):
    patches = rng.integers(0, 256, (len(index), 64, 64)).astype(np.uint8)
    write_array(folder / f"{name}.npy", patches)
    write_table(folder / f"{name}.parquet", index, PATCHES)
    return patches


def build(folder, names, **options):
    outputs = [folder / "out" / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    arrays, indexes = [folder / f"{name}.npy" for name in names], [folder / f"{name}.parquet" for name in names]
    build_dataset("train split of round 1", names, arrays, indexes, *outputs, PairSettings(20), 5, **options)
    return read_array(outputs[0]), read_table(outputs[1], PATCHES), read_table(outputs[2], PATCH_PAIRS)


def test_dataset_is_its_subjects_one_after_another(tmp_path):
    rng = np.random.default_rng(0)
    indexes = [random_index(5, 4, rng, "b"), index_of([]), random_index(4, 3, rng, "a")]
    stores = [write_store(tmp_path, name, index, rng) for name, index in zip("bea", indexes, strict=True)]
    patches, index, pairs = build(tmp_path, ["b", "e", "a"])
    np.testing.assert_array_equal(patches, np.concatenate(stores))
    assert index["subject"].tolist() == ["b"] * len(indexes[0]) + ["a"] * len(indexes[2])
    assert index["point_id"].tolist() == [*indexes[0]["point_id"], *indexes[2]["point_id"]]
    assert len(pairs) == 20 and pairs["is_match"].sum() == 10
    before = [(tmp_path / "out" / name).read_bytes() for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    build(tmp_path, ["b", "e", "a"])
    assert before == [(tmp_path / "out" / name).read_bytes() for name in ("patches.npy", "index.parquet", "pairs.parquet")]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (index_of([]), "no patches at all"),
        (index_of([("a", 1, 0, 0, 0), ("a", 1, 1, 0, 0)]), "the patches of one surface point only"),
    ],
)
def test_nothing_to_learn_from_is_one_clear_sentence(tmp_path, index, words):
    write_store(tmp_path, "a", index, np.random.default_rng(0))
    with pytest.raises(PorePatchError, match=f"train split of round 1 has {words}.*a: failed, 3 matches"):
        build(tmp_path, ["a"], hint="a: failed, 3 matches")
    assert not (tmp_path / "out").exists()
    patches, _, pairs = build(tmp_path, ["a"], allow_empty=True)
    assert len(patches) == len(index) and len(pairs) == 0


def test_stores_that_do_not_belong_together_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    write_store(tmp_path, "a", random_index(3, 3, rng, "a"), rng)
    write_store(tmp_path, "b", random_index(3, 3, rng, "c"), rng)
    with pytest.raises(PorePatchError, match="other subjects"):
        build(tmp_path, ["a", "b"])
    write_array(tmp_path / "a.npy", np.zeros((1, 64, 64), np.uint8))
    with pytest.raises(PorePatchError, match="rows"):
        build(tmp_path, ["a"])
