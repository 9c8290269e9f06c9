"""FPR95 and its variants against the numbers of the original authors' programs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.verification.metrics import fpr95, fpr95_hardnet, fpr95_hynet
from porepatch_lib.verification.scores import score_pairs

SETS = [
    "ties_200_300",
    "tiny_20_20",
    "tiny_7_5",
    "ties_40_61",
    "plain_1000_1500",
    "large_5000_5000",
    "one_1_3",
    "alltied_30_30",
]


@pytest.fixture(params=SETS)
def case(request, shared):
    folder = shared / "reference" / "fpr95"
    arrays = np.load(folder / f"{request.param}.npz")
    return arrays["distances"], arrays["labels"] == 1, json.loads((folder / "expected.json").read_text())[request.param]


def test_exact(case):
    distances, is_match, expected = case
    assert fpr95(distances, is_match) == expected["fpr95_exact"]
    assert fpr95(distances, is_match) == expected["porepatch_calculate_fpr95_direct_octave"]


def test_hynet_variant(case):
    distances, is_match, expected = case
    if expected["hynet_cal_fpr95"] is None:
        with pytest.raises(PorePatchError, match="20 matching pairs"):
            fpr95_hynet(distances, is_match)
    else:
        assert fpr95_hynet(distances, is_match) == expected["hynet_cal_fpr95"]


def test_hardnet_variant(case):
    distances, is_match, expected = case
    low, high = fpr95_hardnet(distances, is_match), fpr95(distances, is_match)
    assert low == expected["hardnet_rule_positives_first_in_ties"]
    assert high == expected["hardnet_rule_negatives_first_in_ties"]
    assert low <= expected["hardnet_ErrorRateAt95Recall"] <= high


def test_order_of_pairs_is_irrelevant(case):
    distances, is_match, expected = case
    order = np.random.default_rng(1).permutation(len(distances))
    assert fpr95(distances[order], is_match[order]) == expected["fpr95_exact"]


def test_scores_out_of_one_sort(case):
    distances, is_match, expected = case
    scores = score_pairs(distances, is_match)
    assert scores.fpr95 == scores.fpr[95] == expected["fpr95_exact"]
    assert scores.fpr95_hynet == expected["hynet_cal_fpr95"]
    assert scores.fpr95_hardnet == expected["hardnet_rule_positives_first_in_ties"]
