"""Our PhotoTour reader and writer against what HyNet's published loader returned for the same files."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.files import write_array
from porepatch_lib.patches.imported import PatchSetSettings, import_patch_set
from porepatch_lib.patches.phototour import HYNET_PAIR_FILE, PhotoTour, export_phototour, read_phototour, write_phototour
from porepatch_lib.patches.store import open_store
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, TEST_PAIRS, read_table, write_table


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "reference" / "ubc" / "tinyface"


@pytest.fixture(scope="module")
def expected(shared):
    with np.load(shared / "reference" / "ubc" / "expected.npz") as arrays:
        return dict(arrays)


def load_as_hynet(folder):
    """HyNet's loader restated: every file named bmp, sorted; first and fourth word of each line of one fixed pair file."""
    patches = []
    for name in sorted(path.name for path in folder.iterdir()):
        if "bmp" in name:
            sheet = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
            patches += [sheet[v : v + 64, h : h + 64] for v in range(0, sheet.shape[0], 64) for h in range(0, sheet.shape[1], 64)]
    point_ids = np.array([int(line.split(" ")[0]) for line in (folder / "info.txt").open()])
    words = [line.split(" ") for line in (folder / "m50_100000_100000_0.txt").open()]
    pairs = np.array([[int(word[0]), int(word[3])] for word in words])
    used, positions = np.unique(pairs, return_inverse=True)
    return np.array(patches)[used], point_ids[used], positions.reshape(pairs.shape), np.array(patches), point_ids


def labels_as_hynet(point_ids, index):
    return point_ids[index[:, 0]] == point_ids[index[:, 1]]


@pytest.mark.parametrize("pair_file", [HYNET_PAIR_FILE, "m50_200_200_0.txt", "PsPDv0_m50_100000_100000.txt"])
def test_reader_gives_the_arrays_of_the_published_loader(folder, expected, pair_file):
    read = read_phototour(folder, pair_file)
    np.testing.assert_array_equal(read.patches, expected["train.patch64"][:, 0])
    np.testing.assert_array_equal(read.point_ids, expected["train.pointID"])
    rows = read.pairs[["patch_1", "patch_2"]].to_numpy()
    used = np.unique(rows)
    np.testing.assert_array_equal(read.patches[used], expected["test.patch64"][:, 0])
    np.testing.assert_array_equal(read.point_ids[used], expected["test.pointID"])
    np.testing.assert_array_equal(np.searchsorted(used, rows), expected["test.index"])
    assert read.pairs["is_match"].sum() == 100


def test_written_again_every_file_is_the_same_to_the_byte(folder, tmp_path):
    read = read_phototour(folder)
    interest = (folder / "interest.txt").read_text().splitlines(keepends=True)
    write_phototour(tmp_path / "set", read.patches, read.point_ids, read.pairs, interest)
    written = sorted(path.name for path in (tmp_path / "set").iterdir())
    assert written == sorted(path.name for path in folder.iterdir() if not path.name.startswith("PsPD"))
    for name in written:
        assert (tmp_path / "set" / name).read_bytes() == (folder / name).read_bytes(), name


def store_of(read: PhotoTour, folder):
    rows = np.arange(len(read.patches))
    constant = {"keypoint_id": 0, "x": 1.0, "y": 2.0, "sigma": 2.0, "octave": 0, "level": 0, "crop_factor": 24.0}
    index = pd.DataFrame({"subject": "face", "point_id": read.point_ids * 7 + 3, "image_id": rows}).assign(**constant)
    write_array(folder / "patches.npy", read.patches)
    write_table(folder / "index.parquet", index[PATCHES.schema.names], PATCHES)
    write_table(folder / "pairs.parquet", read.pairs, PATCH_PAIRS)
    return folder / "patches.npy", folder / "index.parquet", folder / "pairs.parquet"


def test_published_loader_reads_our_export(folder, expected, tmp_path):
    export_phototour(*store_of(read_phototour(folder), tmp_path), tmp_path / "set")
    patches, point_ids, index, cells, all_points = load_as_hynet(tmp_path / "set")
    np.testing.assert_array_equal(patches, expected["test.patch64"][:, 0])
    np.testing.assert_array_equal(point_ids, expected["test.pointID"])
    np.testing.assert_array_equal(index, expected["test.index"])
    np.testing.assert_array_equal(cells[: len(all_points)], expected["train.patch64"][:, 0])
    np.testing.assert_array_equal(all_points, expected["train.pointID"])
    assert labels_as_hynet(point_ids, index).sum() == 100


@pytest.mark.parametrize("pair_file", [None, "PsPDv0_m50_100000_100000.txt"])
def test_imported_pairs_show_the_patches_of_the_published_loader(folder, expected, tmp_path, pair_file):
    outputs = tmp_path / "patches.npy", tmp_path / "index.parquet", tmp_path / "pairs.parquet"
    settings = PatchSetSettings(str(folder), "verification", pair_file)
    import_patch_set("tinyface", "verification", *outputs, settings, hold_out=False, seed=0)
    patches, index = open_store(*outputs[:2])
    pairs = read_table(outputs[2], TEST_PAIRS)
    rows = pairs[["patch_1", "patch_2"]].to_numpy()
    np.testing.assert_array_equal(patches[rows], expected["test.patch64"][:, 0][expected["test.index"]])
    np.testing.assert_array_equal(index["point_id"].to_numpy()[rows], expected["test.pointID"][expected["test.index"]])
    np.testing.assert_array_equal(pairs["is_match"], labels_as_hynet(expected["test.pointID"], expected["test.index"]))
    interest = np.loadtxt(folder / "interest.txt")[index["keypoint_id"]]
    np.testing.assert_allclose(pairs["octaves"], np.abs(interest[rows[:, 0], 4] - interest[rows[:, 1], 4]), rtol=1e-6)
    np.testing.assert_array_equal(index["image_id"], interest[:, 0])
