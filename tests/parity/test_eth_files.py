"""Files of the published ETH layout are read as their authors' programs read them, and written byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.features import eth_files
from porepatch_lib.features.imported import import_features, import_matches
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.keypoints import read_keypoints
from porepatch_lib.tables import MATCHES, read_table

NAMES = ("01.png", "02.png", "03.png")
PAIRS = (("01.png", "02.png"), ("01.png", "03.png"), ("02.png", "03.png"))
_CAMERA = Camera("SIMPLE_RADIAL", 2200, 3208, (4000.0, 1099.5, 1603.5, 0.0))


@pytest.fixture(scope="module")
def eth(shared) -> Path:
    return shared / "reference" / "eth"


@pytest.fixture(scope="module")
def expected(eth) -> dict[str, np.ndarray]:
    with np.load(eth / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("eth") / "images.parquet"
    views = [View(i, name, path.parent / name, None, "", 1, 0, _CAMERA, True, None) for i, name in enumerate(NAMES)]
    write_views(path, views)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_keypoints_and_descriptors_are_those_their_reader_reads(eth, expected, name):
    found = eth_files.read_features(eth, [name])
    np.testing.assert_array_equal(np.column_stack([found.xy, found.sigma, found.angle]), expected[f"keypoints/{name}"])
    np.testing.assert_array_equal(found.descriptors, expected[f"descriptors/{name}"])


@pytest.mark.parametrize("pair", PAIRS)
def test_matches_are_those_their_reader_reads(eth, expected, pair):
    joined = "---".join(pair)
    counts = tuple(len(expected[f"keypoints/{name}"]) for name in pair)
    found = eth_files.read_matches(eth / "matches" / f"{joined}.bin", counts)
    np.testing.assert_array_equal(found, expected[f"matches/{joined}"])


def test_every_file_is_written_byte_for_byte(eth, expected, tmp_path):
    for key, array in expected.items():
        written = tmp_path / f"{key}.bin"
        eth_files.write_matrix(written, array.astype(np.float64), "<u4" if key.startswith("matches") else "<f4")
        assert written.read_bytes() == (eth / f"{key}.bin").read_bytes(), key
    eth_files.write_image_pairs(tmp_path / "image-pairs.txt", PAIRS)
    assert (tmp_path / "image-pairs.txt").read_bytes() == (eth / "image-pairs.txt").read_bytes()


def test_the_folder_becomes_our_tables(eth, expected, images, tmp_path):
    import_features(images, eth, tmp_path / "keypoints.parquet", tmp_path / "descriptors.npy")
    import_matches(images, tmp_path / "keypoints.parquet", eth, tmp_path / "matches.parquet")

    keypoints = read_keypoints(tmp_path / "keypoints.parquet")
    assert set(keypoints) == {0, 1}
    for image_id, found in keypoints.items():
        rows = np.column_stack([found.x, found.y, found.sigma, found.angle])
        np.testing.assert_array_equal(rows, expected[f"keypoints/{NAMES[image_id]}"])
    descriptors = np.concatenate([expected[f"descriptors/{name}"] for name in NAMES])
    np.testing.assert_array_equal(np.load(tmp_path / "descriptors.npy"), descriptors)
    matches = read_table(tmp_path / "matches.parquet", MATCHES)
    np.testing.assert_array_equal(matches[["keypoint_id_1", "keypoint_id_2"]], expected["matches/01.png---02.png"])
    assert matches[["image_id_1", "image_id_2"]].drop_duplicates().values.tolist() == [[0, 1]]
    assert pd.unique(matches["distance"]).tolist() == [0.0]
