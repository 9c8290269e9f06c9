"""Imported patch sets: forms of sheets, sorting, photographs, hold-out, round trip of our export, one sentence per damage."""

from __future__ import annotations

import logging
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from patch_set_files import mosaic, seen_patches, write_info, write_pairs, write_sheets

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array
from porepatch_lib.patches.imported import PatchSetSettings, held_out, import_patch_set, patch_set_folders, resemblance
from porepatch_lib.patches.pairs import PairSettings, draw_pairs
from porepatch_lib.patches.phototour import HYNET_PAIR_FILE, export_phototour
from porepatch_lib.patches.phototour_reader import cells_of_sheet, find_pair_list, find_sheets, read_cells, sheet_of_cells
from porepatch_lib.patches.store import open_store
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, TEST_PAIRS, read_table, write_table

# Unsorted, three points seen twice, one seen three times, one once.
POINTS = [7, 3, 7, 3, 3, 900, 5, 5, 2, 2]
PHOTOGRAPHS = [4, 1, 2, 0, 2, 1, 9, 3, 1, 0]
SORTED = [9, 8, 3, 1, 4, 7, 6, 2, 0, 5]
PAIRS = [(0, 2), (3, 4), (5, 6), (9, 0), (7, 6)]


def take_over(folder, target, part="verification", hold_out=False, seed=1, pairs=True, **settings):
    outputs = target / "patches.npy", target / "index.parquet", target / "pairs.parquet" if pairs else None
    settings = PatchSetSettings(**{"path": str(folder), "split": part} | settings)
    import_patch_set("foreign", part, *outputs, settings, hold_out, seed)
    return *open_store(*outputs[:2]), read_table(outputs[2], TEST_PAIRS) if pairs else None


@pytest.fixture
def small(tmp_path):
    """A set of ten patches in one sheet of 2x5 cells, with interest.txt and a pair list of another name."""
    folder = tmp_path / "set"
    patches = seen_patches(POINTS)
    write_info(folder, POINTS)
    write_sheets(folder, patches, ["patches0000.bmp"], 2, 5)
    lines = [f"{image} {row + 0.25} {2.5 * row} 0.1 {row / 8}\n" for row, image in enumerate(PHOTOGRAPHS)]
    (folder / "interest.txt").write_text("".join(lines))
    write_pairs(folder / "PsPDv4_m50_100000_100000.txt", PAIRS, POINTS)
    return folder, patches


def test_sheet_and_cells_are_inverse_and_row_major():
    cells = np.arange(6, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    sheet = sheet_of_cells(cells, 3)
    np.testing.assert_array_equal(sheet, [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2)
    np.testing.assert_array_equal(cells_of_sheet(sheet, 2), cells)


def test_store_is_sorted_by_point_and_photograph_and_pairs_follow(small):
    folder, patches = small
    array, index, pairs = take_over(folder, folder.parent, crop_factor=24.0)
    np.testing.assert_array_equal(array, patches[SORTED])
    rows = np.array(SORTED)
    assert index["keypoint_id"].tolist() == SORTED and (index["subject"] == "foreign").all()
    assert index["point_id"].tolist() == np.array(POINTS)[rows].tolist()
    assert index["image_id"].tolist() == np.array(PHOTOGRAPHS)[rows].tolist()
    np.testing.assert_allclose(index["x"], rows + 0.25)
    np.testing.assert_allclose(index["y"], 2.5 * rows)
    np.testing.assert_allclose(index["sigma"], 2.0 ** (rows / 8), rtol=1e-6)
    assert (index["crop_factor"] == 24).all() and (index[["octave", "level"]] == 0).all(axis=None)
    assert [tuple(rows[[a, b]]) for a, b in zip(pairs["patch_1"], pairs["patch_2"], strict=True)] == PAIRS
    assert pairs["is_match"].tolist() == [True, True, False, False, True]
    assert pairs["kind"].tolist() == ["match", "match", "given", "given", "match"]
    np.testing.assert_allclose(pairs["octaves"], [2 / 8, 1 / 8, 1 / 8, 9 / 8, 1 / 8])
    assert (pairs["angle_deg"] == -1).all() and (pairs["region"] == "").all()


def test_without_photographs_every_patch_is_its_own(small, caplog):
    folder, patches = small
    (folder / "interest.txt").unlink()
    with caplog.at_level(logging.INFO):
        array, index, pairs = take_over(folder, folder.parent)
    assert "photographs of the patches are unknown" in caplog.text
    order = [8, 9, 1, 3, 4, 6, 7, 0, 2, 5]
    assert index["keypoint_id"].tolist() == index["image_id"].tolist() == order
    np.testing.assert_array_equal(array, patches[order])
    assert (
        (index[["x", "y", "crop_factor"]] == 0).all(axis=None) and (index["sigma"] == 1).all() and (pairs["octaves"] == -1).all()
    )


def test_a_reference_image_shared_by_the_patches_of_a_point_is_no_photograph(small):
    folder, _ = small
    (folder / "interest.txt").write_text("0 5 6 0 1.0\n" * 10)
    _, index, pairs = take_over(folder, folder.parent)
    assert index["image_id"].tolist() == index["keypoint_id"].tolist() and index["image_id"].is_unique
    assert (index["x"] == 5).all() and (index["sigma"] == 2).all() and (pairs["octaves"] == -1).all()


def test_our_export_comes_back_identical(tmp_path):
    rng = np.random.default_rng(3)
    rows = np.arange(300)
    index = pd.DataFrame(
        {"subject": np.where(rows < 200, "b", "a"), "point_id": rows % 200 // 2 * 10, "image_id": rows % 2 * 3 + 5}
    )
    index = index.assign(
        keypoint_id=rows, x=rng.uniform(0, 3000, 300), y=rng.uniform(0, 3000, 300), sigma=rng.uniform(1, 16, 300)
    )
    index = index.assign(octave=1, level=2, crop_factor=24.0)
    drawn = draw_pairs(index, PairSettings(pairs=200), rng)
    patches = rng.integers(0, 256, (300, 64, 64)).astype(np.uint8)
    write_array(tmp_path / "patches.npy", patches)
    write_table(tmp_path / "index.parquet", index, PATCHES)
    write_table(tmp_path / "pairs.parquet", drawn, PATCH_PAIRS)
    export_phototour(tmp_path / "patches.npy", tmp_path / "index.parquet", tmp_path / "pairs.parquet", tmp_path / "set")
    array, back, pairs = take_over(tmp_path / "set", tmp_path / "back", crop_factor=24.0)
    np.testing.assert_array_equal(array, patches)
    assert back["keypoint_id"].tolist() == rows.tolist()
    for columns, mine in ((["subject", "point_id"], ["point_id"]), (["subject", "image_id"], ["image_id"])):
        together = pd.concat([index[columns].add_prefix("our_"), back[mine]], axis=1)
        groups = len(index[columns].drop_duplicates())
        assert len(together.drop_duplicates()) == groups == back[mine[0]].nunique()
    np.testing.assert_allclose(back[["x", "y"]], index[["x", "y"]], atol=6e-4)
    np.testing.assert_allclose(np.log2(back["sigma"]), np.log2(index["sigma"]), atol=6e-5)
    pd.testing.assert_frame_equal(pairs[list(drawn)], drawn)
    ratio = np.log2(index["sigma"].to_numpy())
    np.testing.assert_allclose(pairs["octaves"], np.abs(ratio[drawn["patch_1"]] - ratio[drawn["patch_2"]]), atol=2e-4)


@pytest.mark.parametrize("suffix", ["bmp", "png", "tif", "JPG"])
def test_mosaics_of_sixty_rows_in_nested_folders_with_a_ragged_last_sheet(tmp_path, suffix):
    folder = tmp_path / "PsPDv4"
    count = 60 * 7 + 9
    points = [row // 3 * 5 for row in range(count)]
    patches = seen_patches(points)
    names = [f"018/2/left_up01801010008.{suffix}", f"024/1/left_down02401020006.{suffix}"]
    write_sheets(folder, patches, names, 60, 7)
    write_info(folder, points, " 018 left_up 皮 1.5")
    assert [path.relative_to(folder).as_posix() for path in find_sheets(folder)] == names
    assert cv2.imread(str(folder / names[1])).shape[:2] == (128, 448)
    array, index, _ = take_over(folder, tmp_path, "train", pairs=False)
    assert index["keypoint_id"].tolist() == list(range(count)) and index["point_id"].tolist() == points
    difference = np.abs(array.astype(int) - patches)
    assert difference.mean() < 3 if suffix == "JPG" else not difference.any()


def test_sheets_of_any_width_may_follow_each_other(tmp_path):
    patches = seen_patches([0] * 11)
    for name, (first, rows, columns) in {"a/9.png": (6, 1, 4), "a/10.png": (0, 2, 3), "b.png": (10, 1, 2)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), mosaic(patches[first : first + rows * columns], rows, columns))
    assert [path.name for path in find_sheets(tmp_path)] == ["10.png", "9.png", "b.png"]
    read = list(read_cells(tmp_path, 11))
    assert [first for first, _ in read] == [0, 6, 10]
    np.testing.assert_array_equal(np.concatenate([cells for _, cells in read]), patches)


def test_colour_and_deep_sheets_become_grey(small):
    folder, patches = small
    sheet = mosaic(patches, 2, 5)
    (folder / "patches0000.bmp").unlink()
    for image in (cv2.merge([sheet, sheet, sheet]), sheet.astype(np.uint16) * 257):
        cv2.imwrite(str(folder / "patches0000.png"), image)
        np.testing.assert_array_equal(next(read_cells(folder, 10))[1], patches)


def test_sheets_of_the_folder_come_before_other_images_and_litter_is_ignored(small):
    folder, _ = small
    for name in ("picture.png", "below/patches0001.bmp", "._patches0000.bmp", "__MACOSX/patches0000.bmp"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "patches0000.bmp", folder / name)
    (folder / "patches.txt").write_text("")
    assert [path.name for path in find_sheets(folder)] == ["patches0000.bmp"]
    (folder / "patches0000.bmp").unlink()
    assert [path.name for path in find_sheets(folder)] == ["patches0001.bmp", "picture.png"]


def test_pair_list_is_named_or_found(small):
    folder, _ = small
    only = folder / "PsPDv4_m50_100000_100000.txt"
    assert find_pair_list(folder) == only
    shutil.copy(only, folder / "m50_1000_1000_0.txt")
    with pytest.raises(PorePatchError, match=r"PsPDv4_m50_100000_100000\.txt, m50_1000_1000_0\.txt; name the one"):
        find_pair_list(folder)
    shutil.copy(only, folder / HYNET_PAIR_FILE)
    assert find_pair_list(folder).name == HYNET_PAIR_FILE
    assert find_pair_list(folder, "m50_1000_1000_0.txt").name == "m50_1000_1000_0.txt"
    with pytest.raises(PorePatchError, match=r"no pair list .*m50_7\.txt.*m50_1000_1000_0\.txt; mend the setting pairs"):
        find_pair_list(folder, "m50_7.txt")


def test_hold_out_divides_the_points_and_pairs_can_be_drawn(tmp_path):
    folder = tmp_path / "set"
    points = [row // 4 for row in range(160)]
    write_info(folder, points)
    patches = seen_patches(points)
    write_sheets(folder, patches, ["patches0000.bmp"], 16, 10)
    stores = {part: take_over(folder, tmp_path / part, part, True, pairs=False) for part in ("train", "validation")}
    kept = {part: set(index["point_id"]) for part, (_, index, _) in stores.items()}
    assert (
        len(kept["validation"]) == 4
        and kept["train"] | kept["validation"] == set(points)
        and not kept["train"] & kept["validation"]
    )
    for part, (array, index, _) in stores.items():
        np.testing.assert_array_equal(array, patches[index["keypoint_id"]])
        drawn = draw_pairs(index, PairSettings(pairs=20), np.random.default_rng(0))
        assert len(drawn) == 20 and drawn["is_match"].sum() == 10, part
    assert not (tmp_path / "train/pairs.parquet").exists()
    again = take_over(folder, tmp_path / "again", "validation", True, pairs=False, seed=1)[1]
    other = take_over(folder, tmp_path / "other", "validation", True, pairs=False, seed=2)[1]
    assert set(again["point_id"]) == kept["validation"] != set(other["point_id"])
    assert len(take_over(folder, tmp_path / "all", "validation", False, pairs=False)[1]) == 160


@pytest.mark.parametrize(("points", "share", "nothing"), [(4, 0.1, "validate on"), (4, 0.9, "train on"), (1, 0.5, "validate on")])
def test_hold_out_that_leaves_nothing_is_refused(points, share, nothing):
    with pytest.raises(PorePatchError, match=f"leaves nothing to {nothing}"):
        held_out(np.arange(points), share, 0)
    assert len(held_out(np.arange(100), share, 0)) == 100 * share


def test_warning_where_the_sheets_are_in_another_order_than_the_points(tmp_path, caplog):
    points = [row // 4 for row in range(40)]
    patches = seen_patches(points)
    write_info(tmp_path, points)
    write_sheets(tmp_path, patches, ["1.png", "2.png"], 4, 5)
    take_over(tmp_path, tmp_path / "out", "train", pairs=False)
    assert "another order" not in caplog.text
    same, other = resemblance(patches, np.array(points), np.random.default_rng(0))
    assert same > 0.95 and abs(other) < 0.2
    write_sheets(tmp_path, np.roll(patches, 2, axis=0)[np.argsort(np.arange(40) % 7)], ["1.png", "2.png"], 4, 5)
    take_over(tmp_path, tmp_path / "out", "train", pairs=False)
    assert "sheets" in caplog.text and "another order" in caplog.text


def lose(name):
    return lambda folder: (folder / name).unlink()


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def sheet(name, height, width):
    return lambda folder: cv2.imwrite(str(folder / name), np.zeros((height, width), np.uint8))


def move_below(folder):
    shutil.copytree(folder, folder / "below")
    (folder / "info.txt").unlink()


BROKEN = {
    "folder missing": (shutil.rmtree, "set of the patch set foreign is not there; unpack"),
    "info missing": (lose("info.txt"), "has no info.txt; without it"),
    "info below": (move_below, "has no info.txt; give the path .*set/below"),
    "info empty": (text("info.txt", "\n"), "info.txt of the patch set foreign lists no patches"),
    "no sheets": (lose("patches0000.bmp"), "has no sheets"),
    "wrong size": (sheet("patches0000.bmp", 128, 321), "patches0000.bmp is 321x128 pixels, not whole cells of 64x64"),
    "no image": (text("patches0000.bmp", "BM no image"), "patches0000.bmp cannot be decoded"),
    "too few cells": (sheet("patches0000.bmp", 128, 256), "1 in all, have 8 cells for the 10 patches"),
    "too many cells": (sheet("patches0001.bmp", 64, 64), "patches0001.bmp comes after the 10 patches"),
    "spare cells in the midst": (sheet("patches.bmp", 640, 640), "patches0000.bmp comes after the 10 patches"),
    "id no number": (text("info.txt", "7 0\n3.5 0\n" * 5), "Cannot read .*info.txt .*'3.5' to int64"),
    "id is text": (text("info.txt", "point 0\n" * 10), "Cannot read .*info.txt .*'point'"),
    "interest short": (text("interest.txt", "0 1 1 0 1\n" * 9), "interest.txt has 9 rows for the 10 patches"),
    "interest columns": (text("interest.txt", "0 1 1 0\n" * 10), "Cannot read .*interest.txt .*restore the file, or remove it"),
    "interest nan": (text("interest.txt", "0 1 1 0 1\n" * 9 + "0 nan 1 0 1\n"), "Row 10 of .*interest.txt is not photograph, x"),
    "interest half photograph": (text("interest.txt", "0.5 1 1 0 1\n" * 10), "Row 1 of .*interest.txt is not photograph, x"),
    "pair outside": (
        text("a_m50_1.txt", "0 7 0 2 7 0\n0 7 0 10 7 0\n"),
        "Pair 2 of .* names the patches 0 and 10 of a set of 10",
    ),
    "pair negative": (text("a_m50_1.txt", "-1 7 0 2 7 0\n"), "Pair 1 of .* names the patches -1 and 2"),
    "pair of other points": (text("a_m50_1.txt", "0 7 0 2 7 0\n0 7 0 1 7 0\n"), "Pair 2 of .* does not agree with info.txt"),
    "pair no number": (text("a_m50_1.txt", "0 7 0 2.5 7 0\n"), "Cannot read .*a_m50_1.txt .*'2.5'"),
    "pair short": (text("a_m50_1.txt", "0 7 2 7\n"), "Cannot read .*a_m50_1.txt"),
    "pairs empty": (text("a_m50_1.txt", ""), "pair list .*a_m50_1.txt of the patch set foreign is empty"),
    "several lists": (text("b_m50_1.txt", ""), "has the pair lists a_m50_1.txt, b_m50_1.txt; name the one"),
    "no list": (lose("a_m50_1.txt"), r"has no pair list \*m50_\*.txt; name the one"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_damage_is_one_clear_sentence_and_leaves_no_file(small, damage):
    folder, _ = small
    (folder / "PsPDv4_m50_100000_100000.txt").rename(folder / "a_m50_1.txt")
    take_over(folder, folder.parent / "sound")
    action, sentence = BROKEN[damage]
    action(folder)
    with pytest.raises(PorePatchError, match=sentence) as caught:
        take_over(folder, folder.parent / "out")
    assert str(caught.value).count("; ") >= 1 and str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert not list((folder.parent / "out").glob("*"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"path": ""}, "empty path"),
        ({"split": "test"}, "one of train, validation, verification"),
        ({"crop_factor": 0.0}, "crop_factor"),
        ({"crop_factor": float("nan")}, "crop_factor"),
        ({"validation_share": 1.0}, "validation_share"),
        ({"validation_share": 0.0}, "validation_share"),
    ],
)
def test_settings_are_strict(changed, sentence):
    with pytest.raises(PorePatchError, match=sentence):
        PatchSetSettings(**{"path": "set", "split": "train"} | changed)
    with pytest.raises(TypeError):
        PatchSetSettings(path="set", split="train", crop=1)


def test_folders_are_looked_for_before_anything_runs(tmp_path):
    sets = {"liberty": {"path": str(tmp_path), "split": "train"}}
    assert patch_set_folders(sets, ["face01"]) == {"liberty": str(tmp_path)}
    with pytest.raises(PorePatchError, match="'liberty' has the name of a subject"):
        patch_set_folders(sets, ["liberty"])
    with pytest.raises(PorePatchError, match=r"The folder .*away of the patch set liberty is not there"):
        patch_set_folders({"liberty": {"path": str(tmp_path / "away"), "split": "train"}}, [])
    two = {name: sets["liberty"] | {"crop_factor": factor} for name, factor in (("a", 24.0), ("b", None))}
    with pytest.raises(PorePatchError, match=r"other crop_factors \(a: 24.0, b: unknown\)"):
        patch_set_folders(two, [])
    assert set(patch_set_folders(two | {"b": two["b"] | {"split": "verification"}}, [])) == {"a", "b"}
