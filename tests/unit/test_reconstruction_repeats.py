"""Figures over seeds."""

from __future__ import annotations

from porepatch_lib.reconstruction.repeats import row_over_seeds, spread


def test_spread_of_known_values():
    assert spread([3.0, 1.0, 8.0]) == {"median": 3.0, "lowest": 1.0, "highest": 8.0, "values": [3.0, 1.0, 8.0]}
    assert spread([4, 1]) == {"median": 2.5, "lowest": 1, "highest": 4, "values": [4, 1]}


def test_unknown_values_keep_their_place_and_count_for_nothing():
    assert spread([None, 2.0, None]) == {"median": 2.0, "lowest": 2.0, "highest": 2.0, "values": [None, 2.0, None]}
    assert spread([None, None]) is None
    assert spread([]) is None
    assert spread([0.0, None]) == {"median": 0.0, "lowest": 0.0, "highest": 0.0, "values": [0.0, None]}


def test_a_column_that_a_seed_lacks_is_unknown_there():
    row = row_over_seeds(["a", "b", "c"], [{"a": 1.0, "d": 9.0}, {"a": 3.0, "b": 5.0}])
    assert row["a"] is not None
    assert row["a"]["values"] == [1.0, 3.0]
    assert row["b"] is not None
    assert row["b"]["values"] == [None, 5.0]
    assert row["c"] is None
    assert list(row) == ["a", "b", "c"]
