"""The three tasks of HPatches: small cases by hand, sets where the answer is known, and what may not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.patches.pairs import PatchPoints
from porepatch_lib.tables import PATCHES, TEST_PAIRS
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.hpatches import (
    LEAST_SHARED_POINTS,
    HPatchesSettings,
    hpatches_tasks,
    matching_precision,
    retrieval_precision,
)
from porepatch_lib.verification.metrics import average_precision

EVERYTHING = HPatchesSettings(image_pairs=1000, retrieval_queries=10_000, retrieval_pool=10_000)


def index_of(points: int = 24, images: int = 3, subjects: str = "ab", apart_px: float = 20.0) -> pd.DataFrame:
    """Every point in every image, `apart_px` from the next."""
    subject, point, image = (
        grid.ravel() for grid in np.meshgrid(np.array(list(subjects), object), range(points), range(images), indexing="ij")
    )
    frame = pd.DataFrame({"subject": subject, "point_id": point, "image_id": image, "x": apart_px * point + 100.0 * image})
    frame = frame.assign(y=50.0, keypoint_id=point, sigma=2.0, octave=0, level=0, crop_factor=24.0)
    return frame[PATCHES.schema.names]


def pairs_of(index: pd.DataFrame, rng: np.random.Generator, count: int = 400) -> pd.DataFrame:
    """Random pairs with their true labels."""
    first, second = rng.integers(len(index), size=(2, count))
    second[: count // 2] = first[: count // 2] // 3 * 3 + (first[: count // 2] + 1) % 3
    same = [(index[name].to_numpy()[first] == index[name].to_numpy()[second]) for name in ("subject", "point_id")]
    is_match = same[0] & same[1]
    kind = np.where(is_match, "match", np.where(same[0], "same_subject", "cross_subject"))
    frame = pd.DataFrame({"patch_1": first, "patch_2": second, "is_match": is_match, "kind": kind})
    return frame.assign(angle_deg=np.float32(-1), octaves=np.float32(-1), region="")[TEST_PAIRS.schema.names]


def point_descriptors(index: pd.DataFrame, rng: np.random.Generator, noise: float = 0.0) -> np.ndarray:
    """A random unit row per surface point, with noise of its own in every patch."""
    point = index.groupby(["subject", "point_id"]).ngroup().to_numpy()
    rows = rng.normal(size=(point.max() + 1, 16))[point] + noise * rng.normal(size=(len(index), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tasks(descriptors, index, pairs, settings=EVERYTHING, seed=0, threads=1):
    distances = pair_distances(descriptors, pairs["patch_1"].to_numpy(), pairs["patch_2"].to_numpy())
    return hpatches_tasks(descriptors, index, pairs, distances, settings, seed, threads)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_matching_by_hand():
    # 20 takes 20.1 (wrong, first), 0 takes 0.5 (right, second), 10 takes 0.5 (wrong): one of three found, at precision 1/2.
    assert matching_precision(column(0, 10, 20), column(0.5, 20.1, 30)) == pytest.approx(1 / 2 / 3)
    assert matching_precision(column(0, 10, 20), column(1, 11, 24)) == 1.0
    # All right but one, whose wrong match is the farthest: recall stops at 2/3.
    assert matching_precision(column(0, 10, 20), column(0, 10, 40)) == pytest.approx(2 / 3)


def test_ties_help_nobody_in_matching(rng):
    assert matching_precision(column(0, 2), column(1, 50)) == 0.25  # the right and the wrong match at one distance, together
    assert matching_precision(np.ones((70, 3)), np.ones((70, 3))) == 0.0  # the nearest is not its own more than any other
    rows = rng.normal(size=(300, 100)).astype(np.float32)
    rows[200:] = rows[100:200]  # two equal descriptors, whatever block they fall in: neither is matched
    assert matching_precision(rows, rows) == pytest.approx(100 * (100 / 300) / 300)


def test_retrieval_by_hand():
    assert retrieval_precision(np.float32([3, 1]), np.float32([4, 2])) == pytest.approx((1 + 2 / 3) / 2)
    assert retrieval_precision(np.float32([1]), np.float32([1, 2, 1])) == pytest.approx(1 / 3)
    assert retrieval_precision(np.float32([1, 1]), np.ones(8, np.float32)) == pytest.approx(2 / 10)
    assert retrieval_precision(np.float32([1, 5]), np.float32([6])) == 1.0


def test_retrieval_is_the_average_precision_of_the_metrics(rng):
    for _ in range(50):
        distances = rng.integers(12, size=30).astype(np.float32)  # many ties
        relevant = rng.random(30) < 0.3
        if 0 < relevant.sum() < 30:
            found = retrieval_precision(distances[relevant], distances[~relevant])
            assert found == pytest.approx(average_precision(distances, relevant))


def test_perfect_descriptors_score_one(rng):
    index = index_of()
    found = tasks(point_descriptors(index, rng), index, pairs_of(index, rng))
    assert found["verification"] == {"same_subject": 1.0, "cross_subject": 1.0}
    assert (found["matching"], found["retrieval"]) == (1.0, 1.0)
    assert (found["matching_image_pairs"], found["retrieval_queries"], found["retrieval_pool"]) == (6, 48, 144)


def test_a_constant_descriptor_scores_chance(rng):
    index = index_of()
    pairs = pairs_of(index, rng)
    found = tasks(np.full((len(index), 77), 0.1, np.float32), index, pairs)
    matches, others = pairs["is_match"].sum(), (pairs["kind"] == "cross_subject").sum()
    assert found["verification"]["cross_subject"] == pytest.approx(matches / (matches + others))
    assert found["matching"] == 0.0
    assert found["retrieval"] == pytest.approx(2 / (2 + 141))  # of 144 patches three show the query's point


def test_random_descriptors_score_near_chance(rng):
    index = index_of(points=200)
    pairs = pairs_of(index, rng, 4000)
    found = tasks(rng.normal(size=(len(index), 8)).astype(np.float32), index, pairs)
    balance = pairs["is_match"].sum() / (pairs["kind"] != "cross_subject").sum()
    assert found["verification"]["same_subject"] == pytest.approx(balance, abs=0.03)
    assert found["matching"] < 0.01  # chance: about one right of 200, somewhere among them
    harmonic = np.sum(1 / np.arange(1, 1200))  # Bestgen 2015: mean average precision of a random order, 2 relevant of 1199
    assert found["retrieval"] == pytest.approx((1 / 1198 * (1199 - harmonic) + harmonic) / 1199, rel=0.3)


def test_verification_without_a_kind_has_no_number(rng):
    index = index_of(subjects="a")
    pairs = pairs_of(index, rng).assign(kind=lambda frame: np.where(frame["is_match"], "match", "given"))
    distances = rng.random(len(pairs)).astype(np.float32)
    found = hpatches_tasks(point_descriptors(index, rng), index, pairs, distances, EVERYTHING, 0)["verification"]
    assert found == {"same_subject": None, "cross_subject": None}


def test_points_near_the_query_are_no_distractors(rng):
    """Naively, with the labels' own definition of near: points that share a descriptor count where they are not near."""
    index = index_of(points=40, images=2)
    index["x"], index["y"] = rng.uniform(0, 60, (2, len(index)))
    index = index[rng.random(len(index)) < 0.9].reset_index(drop=True)
    cluster = rng.integers(6, size=80)[index.groupby(["subject", "point_id"]).ngroup().to_numpy()]
    descriptors = np.eye(6, dtype=np.float32)[cluster]
    points, rows = PatchPoints(index), np.arange(len(index))
    scores = []
    for query in points.first[points.count > 1]:
        near = points.near(np.full(len(rows), query), rows, 10.0)
        alike = (cluster == cluster[query]) & (points.point != points.point[query])
        scores.append(1 / (1 + np.count_nonzero(alike & ~near)))
    found = tasks(descriptors, index, pairs_of(index_of(2), rng), EVERYTHING)
    assert found["retrieval"] == pytest.approx(np.mean(scores))
    assert found["retrieval_queries"] == len(scores)
    assert (
        tasks(descriptors, index, pairs_of(index_of(2), rng), replace(EVERYTHING, min_distance_px=0.0))["retrieval"]
        < found["retrieval"]
    )
    assert (
        tasks(descriptors, index, pairs_of(index_of(2), rng), replace(EVERYTHING, min_distance_px=1e3))["retrieval"]
        > found["retrieval"]
    )


def test_a_query_without_distractors_is_left_out(rng):
    index = index_of(subjects="a", apart_px=0.1)  # all points near each other
    found = tasks(point_descriptors(index, rng), index, pairs_of(index, rng))
    assert (found["retrieval"], found["retrieval_queries"]) == (None, 0)
    lonely = index_of(images=1)
    found = tasks(point_descriptors(lonely, rng), lonely, pairs_of(index_of(2), rng))
    assert (found["matching"], found["retrieval"], found["retrieval_pool"]) == (None, None, 0)


def test_image_pairs_with_few_points_are_left_out(rng):
    for points, expected in ((LEAST_SHARED_POINTS, 3), (LEAST_SHARED_POINTS - 1, 0)):
        index = index_of(points=points, subjects="a")
        found = tasks(point_descriptors(index, rng), index, pairs_of(index, rng))
        assert found["matching_image_pairs"] == expected
    # Two heads never share a point, whatever its number.
    assert tasks(point_descriptors(index_of(), rng), index_of(), pairs_of(index_of(), rng))["matching_image_pairs"] == 2 * 3


def test_matching_looks_at_shared_points_only(rng):
    index = index_of(points=30, images=2, subjects="a")
    descriptors = point_descriptors(index, rng)
    # Points 0..9 are in image 1 only, 10..19 in both, 20..29 in image 2 only; these two look alike.
    kept = ((index["point_id"] < 20) & (index["image_id"] == 0)) | ((index["point_id"] >= 10) & (index["image_id"] == 1))
    descriptors[(index["point_id"] >= 20).to_numpy()] = descriptors[(index["point_id"] < 10).to_numpy()]
    found = tasks(descriptors[kept], index[kept].reset_index(drop=True), pairs_of(index_of(2), rng))
    assert (found["matching"], found["matching_image_pairs"]) == (1.0, 1)


def test_a_set_without_photographs_has_no_matching_and_nothing_near(rng):
    index = index_of().assign(x=0.0, y=0.0, image_id=0, crop_factor=0.0)
    found = tasks(np.ones((len(index), 4), np.float32), index, pairs_of(index, rng))
    assert (found["matching"], found["matching_image_pairs"]) == (None, 0)
    assert found["retrieval"] == pytest.approx(2 / (2 + 141))


def test_order_of_rows_and_threads_change_nothing(rng):
    index = index_of(points=90)
    pairs, descriptors = pairs_of(index, rng), point_descriptors(index, rng, noise=0.7)
    drawn = HPatchesSettings(image_pairs=4, retrieval_queries=70, retrieval_pool=200)
    expected = tasks(descriptors, index, pairs, drawn, seed=3)
    assert 0.05 < expected["matching"] < 0.95
    assert (expected["matching_image_pairs"], expected["retrieval_queries"], expected["retrieval_pool"]) == (4, 70, 200)
    order = rng.permutation(len(index))
    place = np.argsort(order)
    moved = pairs.assign(patch_1=place[pairs["patch_1"]], patch_2=place[pairs["patch_2"]]).sample(frac=1, random_state=1)
    assert tasks(descriptors[order], index.iloc[order].reset_index(drop=True), moved, drawn, seed=3) == expected
    assert tasks(descriptors, index, pairs, drawn, seed=3, threads=2) == expected
    other = tasks(descriptors, index, pairs, drawn, seed=4)
    assert other["matching"] != expected["matching"]
    assert other["retrieval"] != expected["retrieval"]


def test_zero_switches_a_task_off_and_leaves_the_other_alone(rng):
    index = index_of(points=90)
    pairs, descriptors = pairs_of(index, rng), point_descriptors(index, rng, noise=0.7)
    drawn = HPatchesSettings(image_pairs=4, retrieval_queries=70, retrieval_pool=200)
    both = tasks(descriptors, index, pairs, drawn)
    no_matching = tasks(descriptors, index, pairs, replace(drawn, image_pairs=0))
    assert no_matching == both | {"matching": None, "matching_image_pairs": 0}
    for off in (replace(drawn, retrieval_queries=0), replace(drawn, retrieval_pool=0)):
        nothing = {"retrieval": None, "retrieval_queries": 0, "retrieval_pool": 0}
        assert tasks(descriptors, index, pairs, off) == both | nothing


def test_errors_are_one_sentence(rng):
    index = index_of()
    pairs, descriptors = pairs_of(index, rng), point_descriptors(index, rng)
    broken = descriptors.copy()
    broken[7] = np.nan
    with pytest.raises(PorePatchError, match="not a finite number"):
        hpatches_tasks(broken, index, pairs, np.zeros(len(pairs), np.float32), EVERYTHING, 0)
    with pytest.raises(PorePatchError, match="retrieval_pool is -1"):
        HPatchesSettings(retrieval_pool=-1)
