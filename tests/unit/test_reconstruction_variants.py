"""Variants of the reconstruction protocol."""

from __future__ import annotations

import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.reconstruction.variants import Variant


def test_the_default_is_the_protocol() -> None:
    protocol = Variant()
    assert (protocol.matcher, protocol.ratio, protocol.min_matches, protocol.refined) == ("mutual", 0.8, 15, False)
    assert protocol.sfm == {"mapper": "incremental", "two_view_points": False, "refine_intrinsics": True}


@pytest.mark.parametrize("ratio", [None, "calibrated", 1, 0.8])
def test_ratios(ratio: float | str | None) -> None:
    assert Variant(ratio=ratio).ratio == ratio


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"matcher": "nearest"}, "matcher 'nearest'"),
        ({"mapper": "hierarchical"}, "mapper 'hierarchical'"),
        ({"ratio": "calibratd"}, "ratio 'calibratd'"),
        ({"ratio": 0.0}, "ratio '0.0'"),
        ({"ratio": 1.2}, "ratio '1.2'"),
    ],
)
def test_what_is_no_variant_is_told(keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(PorePatchError, match=sentence):
        Variant(**keys)  # type: ignore[arg-type]
