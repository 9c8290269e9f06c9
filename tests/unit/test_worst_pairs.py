"""The sheet of the worst pairs: which pairs it shows, and whom."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array
from porepatch_lib.reporting.worst import WORST_PAIRS, worst_pairs, write_worst_pairs
from porepatch_lib.reporting.worst_sheet import caption_of, stretched
from porepatch_lib.tables import PATCHES, TEST_PAIRS, write_table

POINTS = 30


@pytest.fixture
def index() -> pd.DataFrame:
    """Two patches each of 30 points; the last ten points are another subject's."""
    point = np.repeat(np.arange(POINTS), 2)
    frame = pd.DataFrame({"subject": np.where(point < 20, "anna", "bert"), "point_id": 100 + point})
    frame = frame.assign(image_id=np.tile([3, 5], POINTS), keypoint_id=0, x=0.0, y=0.0, sigma=1.0)
    return frame.assign(octave=0, level=0, crop_factor=24.0)


@pytest.fixture
def descriptors() -> np.ndarray:
    """Point p at 10 p, its second patch off by p / 10: the matching distances are 0, 0.1, ... 2.9."""
    point = np.repeat(np.arange(POINTS), 2)
    value = 10.0 * point + np.tile([0.0, 0.1], POINTS) * point
    return value.astype(np.float32)[:, None]


def table(rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["patch_1", "patch_2", "kind"])
    return frame.assign(is_match=frame["kind"] == "match", angle_deg=20.0, octaves=-1.0, region="nose")[TEST_PAIRS.schema.names]


MATCHES = [(2 * p, 2 * p + 1, "match") for p in range(POINTS)]
OTHERS = [
    (0, 2, "same_subject"),  # distance 10
    (0, 4, "same_subject"),  # 20, but point 0 is shown already
    (1, 2, "same_subject"),  # 10 too, points 0 and 1 again
    (8, 14, "same_subject"),  # 30
    (10, 44, "cross_subject"),  # 170
    (20, 22, "hard"),  # 10, but hard
]


def test_worst_come_first_and_no_point_twice(index, descriptors):
    found = worst_pairs(table(MATCHES + OTHERS[:5]), index, descriptors, 3, ["anna", "bert"])
    assert found[["patch_1", "patch_2"]].to_numpy().tolist() == [[0, 2], [8, 14], [10, 44], [58, 59], [56, 57], [54, 55]]
    assert list(found["error"]) == ["false positive"] * 3 + ["false negative"] * 3
    np.testing.assert_allclose(found["distance"], [10, 30, 170, 2.9, 2.8, 2.7], rtol=1e-5)
    np.testing.assert_allclose(found["threshold"], 2.8, rtol=1e-5)  # the 29th smallest of 30
    assert list(found["accepted"]) == [False, False, False, False, True, True]
    assert list(found["point_1"]) == [100, 104, 105, 129, 128, 127]
    assert (found["image_1"].iloc[0], found["image_2"].iloc[3], found["subject_2"].iloc[2]) == (3, 5, "bert")


def test_a_match_is_shown_once_per_point(index, descriptors):
    index.loc[2:3, "point_id"] = 100  # points 0 and 1 are one, its patches 10 apart: many bad matches of one point
    pairs = table([*MATCHES, (0, 2, "match"), (1, 2, "match"), (0, 3, "match"), *OTHERS[3:4]])
    found = worst_pairs(pairs, index, descriptors, 2, ["anna", "bert"])
    assert list(found["point_1"])[1:] == [100, 129]


def test_only_released_subjects_are_shown_but_all_set_the_threshold(index, descriptors):
    found = worst_pairs(table(MATCHES + OTHERS[:5]), index, descriptors, 50, ["anna"])
    assert set(found["subject_1"]) | set(found["subject_2"]) == {"anna"}
    assert [10, 44] not in found[["patch_1", "patch_2"]].to_numpy().tolist()  # one of the two is bert's
    assert list(found["error"]).count("false negative") == 20
    np.testing.assert_allclose(found["threshold"], 2.8, rtol=1e-5)
    assert worst_pairs(table(MATCHES + OTHERS[:5]), index, descriptors, 50, []).empty


@pytest.fixture
def files_of_set(tmp_path, index, descriptors):
    """The files of a test set: the input arguments of write_worst_pairs."""
    files = {name: tmp_path / "rendered" / name for name in ("patches.npy", "index.parquet", "pairs.parquet")}
    patches = np.random.default_rng(0).integers(100, 140, (2 * POINTS, 64, 64), np.uint8)
    write_array(files["patches.npy"], patches)
    write_table(files["index.parquet"], index, PATCHES)
    write_table(files["pairs.parquet"], table(MATCHES + OTHERS), TEST_PAIRS)
    described = tmp_path / "rendered" / "descriptors" / "mine.npy"
    write_array(described, descriptors)
    return {name.split(".")[0]: path for name, path in files.items()} | {"descriptors": described}


def draw(files_of_set, folder, shown, count=3):
    outputs = {"output": folder / "worst.png", "report": folder / "worst.csv"}
    write_worst_pairs(**files_of_set, **outputs, count=count, shown_subjects=shown)
    return cv2.imread(str(outputs["output"]), cv2.IMREAD_GRAYSCALE), pd.read_csv(outputs["report"])


def contains(sheet, patch) -> bool:
    """Whether a patch, drawn at twice its size, stands on the sheet."""
    drawn = stretched(patch).repeat(2, axis=0).repeat(2, axis=1)
    return bool(cv2.matchTemplate(sheet, drawn, cv2.TM_SQDIFF_NORMED).min() < 1e-4)


def test_sheet_shows_its_pairs_and_no_others(files_of_set, tmp_path):
    sheet, found = draw(files_of_set, tmp_path, ["anna", "bert"])
    assert list(found.columns) == WORST_PAIRS.schema.names
    assert "hard" not in set(found["kind"])
    patches = np.load(files_of_set["patches"])
    assert all(contains(sheet, patches[row]) for row in (0, 2, 44, 58, 59))
    assert not contains(sheet, patches[22])
    assert sheet[:20].min() == 255  # a white margin, then the title
    assert sheet[20:60].min() < 100


def test_sheet_is_reproducible(files_of_set, tmp_path):
    draw(files_of_set, tmp_path / "one", ["anna"])
    draw(files_of_set, tmp_path / "two", ["anna"])
    for name in ("worst.png", "worst.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nobody_to_show_gives_a_sheet_that_says_so(files_of_set, tmp_path):
    sheet, found = draw(files_of_set, tmp_path, [])
    assert found.empty and list(found.columns) == WORST_PAIRS.schema.names
    assert sheet.shape[0] < 200 and sheet.min() < 100


def test_captions():
    pair = {"distance": 0.5, "threshold": 2.0, "accepted": True, "kind": "cross_subject", "angle_deg": 42.4, "octaves": 0.25}
    row = next(pd.DataFrame([pair | {"region": "cheek_left"}]).itertuples())
    assert caption_of(row) == "0.25 of the threshold, accepted\ncross subject, 42°, 0.25 octaves, cheek left"
    unknown = pair | {"kind": "match", "angle_deg": -1.0, "octaves": -1.0, "region": "", "accepted": False}
    assert caption_of(next(pd.DataFrame([unknown]).itertuples())) == "0.25 of the threshold, rejected\n"


def test_contrast_is_stretched_and_a_flat_patch_stays():
    ramp = np.tile(np.linspace(100, 140, 64).astype(np.uint8), (64, 1))
    assert (stretched(ramp).min(), stretched(ramp).max()) == (0, 255)
    flat = np.full((64, 64), 77, np.uint8)
    np.testing.assert_array_equal(stretched(flat), flat)


def test_descriptors_of_other_patches_and_one_label_are_sentences(files_of_set, tmp_path, descriptors):
    write_array(files_of_set["descriptors"], descriptors[:-1])
    with pytest.raises(PorePatchError, match=r"mine.npy are \(59, 1\) but .*index.parquet has 60 rows"):
        draw(files_of_set, tmp_path, ["anna"])
    write_array(files_of_set["descriptors"], descriptors)
    write_table(files_of_set["pairs"], table(MATCHES + OTHERS[5:]), TEST_PAIRS)
    with pytest.raises(PorePatchError, match=r"pairs.parquet need both matching and non-matching"):
        draw(files_of_set, tmp_path, ["anna"])
