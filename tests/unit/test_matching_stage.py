"""View pairs and the matching stage, from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.matching.match import MatchSettings, match_subject
from porepatch_lib.matching.pairs import exhaustive_pairs, write_view_pairs
from porepatch_lib.tables import MATCHES, VIEW_PAIRS, read_table


@pytest.fixture
def subject(tmp_path: Path) -> dict[str, Path]:
    """Images 2, 3, 5, 8. Image 3 has no keypoints; images 2 and 5 share 20 descriptors, image 8 shares 5 with each."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((20, 16))
    descriptors = {2: shared, 5: shared[::-1], 8: np.concatenate([shared[:5], rng.standard_normal((7, 16))])}
    paths = {name: tmp_path / name for name in ("images.parquet", "keypoints.parquet", "descriptors.npy", "pairs.parquet")}
    camera = Camera("SIMPLE_PINHOLE", 100, 100, (100.0, 50.0, 50.0))
    views = [View(i, f"{i}.png", tmp_path / f"{i}.png", None, "", 1, 0, camera, True, None) for i in (5, 3, 2, 8)]
    write_views(paths["images.parquet"], views)
    write_keypoints(paths["keypoints.parquet"], {image_id: _keypoints(len(rows)) for image_id, rows in descriptors.items()})
    write_array(paths["descriptors.npy"], np.concatenate([descriptors[i] for i in (2, 5, 8)]).astype(np.float16))
    write_view_pairs(paths["images.parquet"], paths["pairs.parquet"])
    return {path.stem: path for path in paths.values()} | {"output": tmp_path / "matches.parquet"}


def _keypoints(count: int) -> Keypoints:
    zeros, levels = np.zeros(count, np.float32), np.zeros(count, np.int8)
    return Keypoints(zeros, zeros, zeros + 1, zeros, zeros, levels, levels)


def test_exhaustive_pairs_are_all_once_and_ordered():
    assert exhaustive_pairs([5, 2, 8]) == [(2, 5), (2, 8), (5, 8)]
    assert exhaustive_pairs([4]) == []
    assert len(exhaustive_pairs(range(16))) == 120


def test_view_pairs_are_written_for_all_views(subject):
    pairs = read_table(subject["pairs"], VIEW_PAIRS)
    assert list(pairs.itertuples(index=False, name=None)) == exhaustive_pairs([2, 3, 5, 8])


def test_one_view_has_no_pairs(tmp_path):
    camera = Camera("SIMPLE_PINHOLE", 100, 100, (100.0, 50.0, 50.0))
    write_views(tmp_path / "images.parquet", [View(0, "0.png", tmp_path / "0.png", None, "", 1, 0, camera, True, None)])
    write_view_pairs(tmp_path / "images.parquet", tmp_path / "pairs.parquet")
    assert read_table(tmp_path / "pairs.parquet", VIEW_PAIRS).empty


def test_pairs_with_too_few_matches_contribute_none(subject):
    match_subject(**subject, settings=MatchSettings(ratio=0.8, min_matches=15), threads=2)
    matches = read_table(subject["output"], MATCHES)
    assert set(zip(matches.image_id_1, matches.image_id_2, strict=True)) == {(2, 5)}
    assert matches.keypoint_id_1.tolist() == list(range(20))
    assert matches.keypoint_id_2.tolist() == list(range(19, -1, -1))
    assert (matches.distance == 0).all()


def test_every_pair_finds_its_own_rows(subject):
    match_subject(**subject, settings=MatchSettings(ratio=0.3, min_matches=1), threads=1)
    matches = read_table(subject["output"], MATCHES)
    third = matches[(matches.image_id_1 == 5) & (matches.image_id_2 == 8)]
    assert third.keypoint_id_1.tolist() == [15, 16, 17, 18, 19]
    assert third.keypoint_id_2.tolist() == [4, 3, 2, 1, 0]
    assert matches.groupby(["image_id_1", "image_id_2"]).size().to_dict() == {(2, 5): 20, (2, 8): 5, (5, 8): 5}


def test_no_match_at_all_is_an_empty_table(subject):
    match_subject(**subject, settings=MatchSettings(min_matches=100), threads=1)
    assert read_table(subject["output"], MATCHES).empty


def test_descriptors_of_other_keypoints_are_refused(subject):
    write_array(subject["descriptors"], np.zeros((51, 16), np.float16))
    with pytest.raises(PorePatchError, match="52 keypoints"):
        match_subject(**subject, settings=MatchSettings(), threads=1)


def test_pairs_of_unknown_views_are_refused(subject):
    pd.DataFrame({"image_id_1": [2], "image_id_2": [9]}, dtype=np.int32).to_parquet(subject["pairs"])
    with pytest.raises(PorePatchError, match=r"\[9\]"):
        match_subject(**subject, settings=MatchSettings(), threads=1)


@pytest.mark.parametrize("bad", [{"ratio": 0.0}, {"ratio": 1.2}, {"min_matches": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(PorePatchError, match=next(iter(bad))):
        MatchSettings(**bad)
