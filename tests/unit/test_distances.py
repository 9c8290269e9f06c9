"""Distances of pairs of descriptors: exact for near copies, the same on any number of threads, clear about broken input."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.verification.distances import pair_distances


def drawn(rows=500, dimension=128, pairs=40_000):
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(rows, dimension)).astype(np.float32)
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True), *rng.integers(rows, size=(2, pairs))


def test_distances_are_euclidean():
    descriptors = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
    found = pair_distances(descriptors, np.array([0, 1, 1]), np.array([1, 1, 2]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [5, 0, 18**0.5], rtol=1e-6)


@pytest.mark.parametrize("dimension", [1, 7, 128, 512])
def test_distances_agree_with_double_precision(dimension):
    descriptors, first, second = drawn(60, dimension, 300)
    exact = np.linalg.norm(descriptors[first].astype(np.float64) - descriptors[second], axis=1)
    np.testing.assert_allclose(pair_distances(descriptors, first, second), exact, rtol=2e-6)


def test_near_copies_keep_their_distance():
    # 2 - 2 a.b of unit descriptors in float32 knows no distance below 3e-4.
    descriptors = drawn(1)[0].repeat(3, axis=0)
    descriptors[1, 0] += 1e-5
    descriptors[2, 0] -= 3e-5
    exact = np.abs(descriptors[1:, 0].astype(np.float64) - descriptors[0, 0])
    np.testing.assert_allclose(pair_distances(descriptors, np.zeros(2, int), np.array([1, 2])), exact, rtol=1e-6)


def test_threads_and_order_change_nothing():
    descriptors, first, second = drawn()
    whole = pair_distances(descriptors, first, second)
    np.testing.assert_array_equal(pair_distances(descriptors, first, second, threads=2), whole)
    np.testing.assert_array_equal(pair_distances(descriptors, second[::-1], first[::-1], threads=3), whole[::-1])


def test_every_kind_of_array_is_read(tmp_path):
    descriptors, first, second = drawn(50, 16, 100)
    expected = pair_distances(descriptors, first, second)
    np.save(tmp_path / "descriptors.npy", descriptors)
    mapped = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    for rows in (mapped, np.asfortranarray(descriptors), descriptors.astype(np.float64)):
        np.testing.assert_array_equal(pair_distances(rows, first.astype(np.int32), second.astype(np.int32)), expected)
    half = pair_distances(descriptors.astype(np.float16), first, second)
    np.testing.assert_allclose(half, expected, atol=2e-3)
    assert pair_distances(descriptors, first[:0], second[:0]).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_broken_descriptors_are_named(value):
    descriptors, first, second = drawn()
    descriptors[321, 5] = value
    with pytest.raises(PorePatchError, match="Descriptor 321 has a value that is not a finite number"):
        pair_distances(descriptors, first, second, threads=2)
    kept = (first != 321) & (second != 321)
    assert np.isfinite(pair_distances(descriptors, first[kept], second[kept])).all()
    both = np.array([321])
    if not np.isfinite(value):
        with pytest.raises(PorePatchError, match="Descriptor 321"):
            pair_distances(descriptors, both, both)


def test_pairs_out_of_range_are_refused():
    descriptors = np.zeros((4, 2), np.float32)
    for wrong in (-1, 4, 2**40):
        for ids in (([0, wrong], [1, 2]), ([0, 1], [1, wrong])):
            with pytest.raises(PorePatchError, match=f"names patch {wrong}, but there are 4 descriptors"):
                pair_distances(descriptors, *(np.array(rows) for rows in ids))
    with pytest.raises(PorePatchError, match="there are 0 descriptors"):
        pair_distances(descriptors[:0], np.array([0]), np.array([0]))
    with pytest.raises(PorePatchError, match="as many first as second"):
        pair_distances(descriptors, np.array([0, 1]), np.array([0]))
