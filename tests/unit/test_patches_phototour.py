"""PhotoTour layout: round trip through a plain re-reading of it, ragged last sheet, contact sheets."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array
from porepatch_lib.patches.phototour import HYNET_PAIR_FILE, export_phototour, read_phototour, write_phototour
from porepatch_lib.patches.sheets import write_contact_sheet
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, empty_frame, write_table

PAIRS = pd.DataFrame({"patch_1": [0, 0, 3], "patch_2": [1, 4, 5], "is_match": [True, False, False]})


@pytest.fixture
def store(tmp_path):
    """300 patches of 150 points of two subjects that share point and image numbers."""
    patches = np.random.default_rng(0).integers(0, 256, (300, 64, 64)).astype(np.uint8)
    rows = np.arange(300)
    index = pd.DataFrame(
        {
            "subject": np.where(rows < 200, "b", "a"),
            "point_id": (rows % 200) // 2 * 10,
            "image_id": rows % 2 + 5,
            "keypoint_id": rows,
            "x": rows + 0.5,
            "y": 2.0 * rows,
            "sigma": 2.0 ** (1 + rows % 3),
            "octave": 0,
            "level": 0,
            "crop_factor": 24.0,
        }
    )
    write_array(tmp_path / "patches.npy", patches)
    write_table(tmp_path / "index.parquet", index, PATCHES)
    write_table(tmp_path / "pairs.parquet", PAIRS, PATCH_PAIRS)
    return tmp_path, patches


def export(folder):
    export_phototour(folder / "patches.npy", folder / "index.parquet", folder / "pairs.parquet", folder / "set")
    return folder / "set"


def test_export_holds_every_patch_in_its_cell_and_black_after_the_last(store):
    folder, patches = store
    exported = export(folder)
    sheets = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(exported.glob("*.bmp"))]
    assert [path.name for path in sorted(exported.glob("*.bmp"))] == ["patches0000.bmp", "patches0001.bmp"]
    cells = [sheet[v : v + 64, h : h + 64] for sheet in sheets for v in range(0, 1024, 64) for h in range(0, 1024, 64)]
    np.testing.assert_array_equal(np.array(cells[:300]), patches)
    assert len(cells) == 512 and not np.any(cells[300:])


def test_export_numbers_points_and_photographs_across_subjects(store):
    exported = export(store[0])
    info = [line.split(" ") for line in (exported / "info.txt").read_text().splitlines()]
    assert [int(point) for point, _ in info] == [row // 2 for row in range(300)]
    interest = (exported / "interest.txt").read_text().splitlines()
    assert interest[0] == "0 0.500 0.000 0.00000 1.0000" and interest[299] == "3 299.500 598.000 0.00000 3.0000"
    assert len(interest) == 300
    expected = "0 0 0 1 0 0 \n0 0 0 4 2 0 \n3 1 0 5 2 0 \n"
    assert (exported / "m50_3_3_0.txt").read_text() == (exported / HYNET_PAIR_FILE).read_text() == expected


def test_export_reads_back(store):
    folder, patches = store
    back = read_phototour(export(folder))
    np.testing.assert_array_equal(back.patches, patches)
    assert back.point_ids.tolist() == [row // 2 for row in range(300)] and back.point_ids.dtype == np.int64
    pd.testing.assert_frame_equal(back.pairs, PAIRS)
    assert len(read_phototour(folder / "set", None).pairs) == 0


@pytest.mark.parametrize("count", [1, 255, 256, 257])
def test_full_and_ragged_last_sheets(tmp_path, count):
    patches = np.full((count, 64, 64), 7, np.uint8)
    write_phototour(tmp_path / "set", patches, np.arange(count) // 2, empty_frame(PATCH_PAIRS), ["0 0 0 0 0\n"] * count)
    assert len(list((tmp_path / "set").glob("*.bmp"))) == (count + 255) // 256
    np.testing.assert_array_equal(read_phototour(tmp_path / "set", "m50_0_0_0.txt").patches, patches)


def test_empty_store_and_contradicting_files_are_refused(store):
    folder, _ = store
    exported = export(folder)
    (exported / "patches0001.bmp").unlink()
    with pytest.raises(PorePatchError, match="1 in all, have 256 cells for the 300 patches"):
        read_phototour(exported)
    exported = export(folder)
    (exported / HYNET_PAIR_FILE).write_text("0 0 0 1 5 0 \n")
    with pytest.raises(PorePatchError, match="does not agree"):
        read_phototour(exported)
    with pytest.raises(PorePatchError, match="no pair list"):
        read_phototour(exported, "missing.txt")
    write_table(folder / "pairs.parquet", PAIRS.assign(patch_2=[1, 4, 300]), PATCH_PAIRS)
    with pytest.raises(PorePatchError, match="lacks"):
        export(folder)
    write_array(folder / "patches.npy", np.empty((0, 64, 64), np.uint8))
    write_table(folder / "index.parquet", empty_frame(PATCHES), PATCHES)
    with pytest.raises(PorePatchError, match="no patches"):
        export(folder)


def test_contact_sheet_shows_the_patches_of_a_point_side_by_side(store):
    folder, patches = store
    output = folder / "sheet.png"
    write_contact_sheet(folder / "patches.npy", folder / "index.parquet", output, points=150, seed=1)
    sheet = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert sheet.shape == (150 * 66 + 2, 10 * 66 + 2)
    for row in (0, 77, 149):
        for column in (0, 1):
            cell = sheet[2 + row * 66 : 66 + row * 66, 2 + column * 66 : 66 + column * 66]
            np.testing.assert_array_equal(cell, patches[2 * row + column])
    assert (sheet[:, 134:] == 255).all() and (sheet[66:68] == 255).all()
    first = output.read_bytes()
    write_contact_sheet(folder / "patches.npy", folder / "index.parquet", output, points=150, seed=1)
    assert output.read_bytes() == first


def test_contact_sheet_of_nothing_is_blank(tmp_path):
    write_array(tmp_path / "patches.npy", np.empty((0, 64, 64), np.uint8))
    write_table(tmp_path / "index.parquet", empty_frame(PATCHES), PATCHES)
    write_contact_sheet(tmp_path / "patches.npy", tmp_path / "index.parquet", tmp_path / "sheet.png", points=5, seed=0)
    assert (cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_UNCHANGED) == 255).all()
