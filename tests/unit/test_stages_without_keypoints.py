"""A subject without a single keypoint goes through every stage and ends as a row with its reason."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs
from porepatch_lib.descriptors.describe import describe_subject
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.keypoints.detect import KeypointSettings, detect_subject
from porepatch_lib.matching.match import MatchSettings, match_subject
from porepatch_lib.matching.pairs import write_view_pairs
from porepatch_lib.patches.dataset import build_dataset
from porepatch_lib.patches.extract import PatchSettings, extract_subject_patches
from porepatch_lib.patches.pairs import PairSettings
from porepatch_lib.sfm.reconstruct import SfmSettings, reconstruct_subject
from porepatch_lib.sfm.tracks import TrackSettings, extract_tracks
from porepatch_lib.tables import PATCHES, TRACKS, read_table


def test_blank_subject_is_a_row(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for level in (90, 100, 110):
        cv2.imwrite(str(photographs / f"{level}.png"), np.full((120, 90), level, np.uint8))
    images, keypoints, descriptors = tmp_path / "blank/images.parquet", tmp_path / "keypoints.parquet", tmp_path / "d.npy"
    pairs, matches, sfm, tracks = tmp_path / "pairs.parquet", tmp_path / "m.parquet", tmp_path / "sfm", tmp_path / "t.parquet"
    patches, index = tmp_path / "patches.npy", tmp_path / "patches.parquet"

    ingest_photographs("blank", photographs, None, None, images, PhotographSettings())
    detect_subject(images, keypoints, KeypointSettings(), threads=1)
    describe_subject(images, keypoints, descriptors, "psift", None, 24.0, threads=1)
    write_view_pairs(images, pairs)
    match_subject(images, keypoints, descriptors, pairs, matches, MatchSettings(), threads=1)
    reconstruct_subject("blank", images, keypoints, matches, sfm, SfmSettings(), seed=1, threads=1)
    extract_tracks(images, keypoints, sfm, tracks, TrackSettings())
    extract_subject_patches("blank", images, keypoints, tracks, patches, index, PatchSettings(), threads=1)

    status = read_json(sfm / "status.json")
    assert status["status"] == "failed"
    assert "keypoint" in status["reason"]
    assert len(read_table(tracks, TRACKS)) == 0
    assert len(read_table(index, PATCHES)) == 0
    outputs = [tmp_path / name for name in ("all.npy", "all.parquet", "all-pairs.parquet")]
    with pytest.raises(PorePatchError, match=r"train split of round 0 has no patches at all.*blank"):
        build_dataset("train split of round 0", ["blank"], [patches], [index], *outputs, PairSettings(), seed=1)
    assert not any(path.exists() for path in outputs)
