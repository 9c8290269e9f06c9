"""Strata of test pairs: every pair in the group of its value, in closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.tables import TEST_PAIRS, empty_frame
from porepatch_lib.verification.strata import strata


def table(rows):
    """Test pairs from (kind, angle_deg, octaves, region)."""
    frame = pd.DataFrame(rows, columns=["kind", "angle_deg", "octaves", "region"])
    frame = frame.assign(patch_1=range(len(frame)), patch_2=range(1, len(frame) + 1), is_match=frame["kind"] == "match")
    return frame.astype({"angle_deg": np.float32, "octaves": np.float32})[TEST_PAIRS.schema.names]


def groups(pairs, kind, least=1):
    return {stratum.group: stratum.rows.tolist() for stratum in strata(pairs, least) if stratum.kind == kind}


PAIRS = table(
    [
        ("match", 0.0, 0.0, "nose"),
        ("same_subject", 5.0, 3.0, "nose"),
        ("match", 10.0, 0.25, "chin"),
        ("hard", 10.0, 0.25, "chin"),
        ("cross_subject", -1.0, 0.1, "chin"),
        ("match", 180.0, 1.0, ""),
        ("match", -1.0, -1.0, "nose"),
        ("same_subject", -1.0, -1.0, "chin"),
        ("match", 179.0, 4.0, "nose"),
    ]
)
HEADLINE = {1, 4, 7}


def test_angles_and_octaves_compare_their_matches_with_all_headline_non_matches():
    expected = {"0-10": {0}, "10-20": {2}, "90-180": {5, 8}}
    assert groups(PAIRS, "angle") == {group: sorted(rows | HEADLINE) for group, rows in expected.items()}
    expected = {"0-0.25": {0}, "0.25-0.5": {2}, "1+": {5, 8}}
    assert groups(PAIRS, "octaves") == {group: sorted(rows | HEADLINE) for group, rows in expected.items()}


def test_regions_hold_the_pairs_of_one_subject_that_begin_there():
    assert groups(PAIRS, "region") == {"nose": [0, 1, 6, 8], "chin": [2, 7]}


def test_kinds_of_non_matches_meet_all_matches():
    expected = {"same_subject": {1, 7}, "cross_subject": {4}, "hard": {3}}
    assert groups(PAIRS, "negatives") == {kind: sorted(rows | {0, 2, 5, 6, 8}) for kind, rows in expected.items()}
    given = table([("match", -1, -1, ""), ("given", -1, -1, ""), ("match", -1, 0.3, ""), ("hard", 3, 0.3, "nose")])
    assert groups(given, "negatives") == {"hard": [0, 2, 3]}  # the given ones are the headline
    assert groups(given, "octaves") == {"0.25-0.5": [1, 2]}
    assert groups(given, "angle") == groups(given, "region") == {}


def test_small_groups_are_left_out():
    assert set(groups(PAIRS, "angle", 2)) == {"90-180"}
    assert set(groups(PAIRS, "region", 1)) == {"nose", "chin"} and not groups(PAIRS, "region", 2)
    assert set(groups(PAIRS, "negatives", 2)) == {"same_subject"}
    assert list(strata(PAIRS)) == []
    assert list(strata(PAIRS.iloc[[0, 2]], 0)) == [] == list(strata(empty_frame(TEST_PAIRS), 0))


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_one_kind_share_no_match_and_lose_none(seed):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["match", "same_subject", "cross_subject", "hard"], 3000, p=[0.5, 0.2, 0.2, 0.1])
    rows = zip(kind, rng.uniform(0, 180, 3000), rng.exponential(0.5, 3000), rng.choice(["nose", "chin"], 3000), strict=True)
    pairs = table(rows)
    for name in ("angle", "octaves", "region"):
        found = np.concatenate(list(groups(pairs, name).values()))
        assert sorted(found[kind[found] == "match"]) == np.flatnonzero(kind == "match").tolist()
        assert "hard" not in kind[found]
    assert all((np.diff(stratum.rows) > 0).all() for stratum in strata(pairs))
