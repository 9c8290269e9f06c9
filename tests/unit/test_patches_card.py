"""The dataset card: whom it names, what it counts, what it never says; and what an export leaves out."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.sheet import CARE, COLUMNS
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_array
from porepatch_lib.patches.card import read_card, released_subjects, unstated_subjects, write_card
from porepatch_lib.patches.phototour import HYNET_PAIR_FILE, export_phototour, read_phototour
from porepatch_lib.patches.sheets import write_contact_sheet
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table

# Patches of three subjects, in the order of the store; every point has two. The value of a patch is its row.
ROWS = {"p03": 2, "p02": 4, "p01": 6}
KEPT = [0, 1, *range(6, 12)]  # without p02
PAIRS = [(0, 1, True), (6, 7, True), (2, 3, True), (0, 4, False), (4, 6, False), (0, 10, False), (8, 11, False)]
PEOPLE = [
    "p01\ttrain\tphotographs\t{0}/one\t\t\tform 7, 2024-05-01\tCC-BY-4.0\t",
    "p02\ttrain\tphotographs\t{0}/two\t\t\tform 8\t\tfalse",
    "p03\ttrain\tnersemble\t{0}/three\t\t\t\tNeRSemble\ttrue",
    "p04\ttrain\trendered",
    "p05\tvalidation\trendered",
]


def write_dataset(folder: Path, people: list[str]) -> None:
    for name in ("one", "two", "three"):
        (folder / name).mkdir(exist_ok=True)
    header = "\t".join([*COLUMNS, *CARE])
    (folder / "subjects.tsv").write_text("\n".join([header, *people]).format(folder) + "\n")
    subject = np.repeat(list(ROWS), list(ROWS.values()))
    row = np.arange(len(subject))
    constant = {"keypoint_id": 0, "x": 1.0, "y": 2.0, "sigma": 2.0, "octave": 0, "level": 0, "crop_factor": 24.0}
    index = pd.DataFrame({"subject": subject, "point_id": row // 2, "image_id": row % 2}).assign(**constant)
    write_array(folder / "patches.npy", np.full((len(row), 64, 64), row[:, None, None], np.uint8))
    write_table(folder / "index.parquet", index[PATCHES.schema.names], PATCHES)
    write_table(folder / "pairs.parquet", pd.DataFrame(PAIRS, columns=PATCH_PAIRS.schema.names), PATCH_PAIRS)


def make_card(folder: Path, people: list[str] = PEOPLE, **options) -> dict:
    write_dataset(folder, people)
    inputs = [folder / name for name in ("index.parquet", "pairs.parquet", "subjects.tsv")]
    write_card(*inputs, folder / "card.json", "train split of round 1", (1, "train"), **options)
    return read_card(folder / "card.json")


def export(folder: Path) -> Path:
    files = [folder / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    export_phototour(*files, folder / "set", folder / "card.json")
    return folder / "set"


def held_back(*names: str) -> list[str]:
    rows = [row.split("\t") for row in PEOPLE]
    return ["\t".join([*(row + [""] * 8)[:8], "false" if row[0] in names else ""]) for row in rows]


def test_card_of_a_dataset(tmp_path):
    card = make_card(tmp_path)
    assert [card[name] for name in ("title", "round", "split")] == ["train split of round 1", 1, "train"]
    assert [card[name] for name in ("patches", "points", "pairs")] == [12, 6, 7]
    assert set(card["stage_versions"]) >= {"capture", "detect", "dataset"} and card["porepatch"]
    names = ("subject", "source", "shows", "consent", "licence", "release", "patches", "points")
    person = "a photographed person"
    assert [tuple(row[name] for name in names) for row in card["subjects"]] == [
        ("p01", "photographs", person, "form 7, 2024-05-01", "CC-BY-4.0", True, 6, 3),
        ("p02", "photographs", person, "form 8", "not stated", False, 4, 2),
        ("p03", "nersemble", person, "not stated", "NeRSemble", True, 2, 1),
        ("p04", "rendered", "nobody: the face is rendered", "not needed", "not stated", True, 0, 0),
    ]
    assert all(set(row) == set(names) for row in card["subjects"])
    assert released_subjects(card) == ["p01", "p03", "p04"]
    assert unstated_subjects(card) == ["p02", "p03"]
    assert str(tmp_path) not in (tmp_path / "card.json").read_text()


def test_rendered_subject_under_photographed_skin_shows_somebody(tmp_path):
    card = make_card(tmp_path, photographed_skin=True)
    rendered = card["subjects"][3]
    assert (rendered["shows"], rendered["consent"]) == ("a rendered face under photographed skin", "not stated")
    assert card["subjects"][0]["shows"] == "a photographed person"
    assert "p04" in unstated_subjects(card)


def test_card_needs_everybody_in_the_sheet(tmp_path):
    with pytest.raises(PorePatchError, match=r"train split of the sheet .*subjects\.tsv has no 'p02'.*index\.parquet"):
        make_card(tmp_path, [row for row in PEOPLE if not row.startswith("p02")])
    assert not (tmp_path / "card.json").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"subjects": [{"subject": "p01"}]}'], ids=["empty", "list", "blank", "no release"]
)
def test_nothing_is_exported_without_a_readable_card(tmp_path, text):
    make_card(tmp_path)
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(PorePatchError, match=r"card\.json; delete it"):
        export(tmp_path)
    assert not (tmp_path / "set").exists()


def test_export_leaves_out_whom_the_card_holds_back(tmp_path, caplog):
    make_card(tmp_path)
    with caplog.at_level(logging.INFO):
        exported = read_phototour(export(tmp_path))
    assert [int(patch[0, 0]) for patch in exported.patches] == KEPT
    assert exported.point_ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    expected = [(KEPT.index(a), KEPT.index(b), same) for a, b, same in PAIRS if {a, b} <= set(KEPT)]
    assert list(exported.pairs.itertuples(index=False, name=None)) == expected and len(expected) == 4
    assert (tmp_path / "set/m50_4_4_0.txt").read_text() == (tmp_path / "set" / HYNET_PAIR_FILE).read_text()
    photographs = [int(line.split()[0]) for line in (tmp_path / "set/interest.txt").read_text().splitlines()]
    assert photographs == [0, 1, 2, 3, 2, 3, 2, 3]
    assert not np.isin(cv2.imread(str(tmp_path / "set/patches0000.bmp"), cv2.IMREAD_UNCHANGED), range(2, 6)).any()
    assert "held back: 1" in caplog.text and "p02" not in caplog.text


def test_card_of_an_export_names_only_whom_it_shows(tmp_path):
    card = make_card(tmp_path)
    exported = read_json(export(tmp_path) / "card.json")
    assert [row["subject"] for row in exported["subjects"]] == ["p01", "p03"]
    assert [row["patches"] for row in exported["subjects"]] == [6, 2]
    assert [exported[name] for name in ("patches", "points", "pairs")] == [8, 4, 4]
    assert set(exported) == set(card) and exported["title"] == card["title"]
    text = json.dumps(exported)
    assert "p02" not in text and "form 8" not in text and "p04" not in text


@pytest.mark.parametrize(
    ("cells", "warned"),
    [
        (("form 9", "CC0"), False),
        (("", "CC0"), True),
        (("form 9", ""), True),
    ],
)
def test_export_warns_where_consent_or_licence_is_not_stated(tmp_path, caplog, cells, warned):
    people = [row.replace("\t\tNeRSemble\t", f"\t{cells[0]}\t{cells[1]}\t") for row in PEOPLE]
    make_card(tmp_path, people)
    export(tmp_path)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == warned
    assert all("people whose consent or licence is not stated (p03)" in message for message in warnings)


def test_everybody_released_is_exported_as_without_a_card(tmp_path):
    make_card(tmp_path, held_back())
    files = [tmp_path / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    export_phototour(*files, tmp_path / "plain")
    export(tmp_path)
    plain = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    carded = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    assert carded.pop("card.json") and carded == plain


@pytest.mark.parametrize("names", [("p01", "p02", "p03"), ("p01", "p02", "p03", "p04")])
def test_nobody_to_export_is_one_sentence(tmp_path, names):
    make_card(tmp_path, held_back(*names))
    with pytest.raises(PorePatchError, match=r"Nobody in .*index\.parquet may be released, see .*card\.json"):
        export(tmp_path)
    assert not (tmp_path / "set").exists()


def test_contact_sheet_shows_only_whom_it_may(tmp_path):
    make_card(tmp_path)
    output = tmp_path / "sheet.png"
    files = (tmp_path / "patches.npy", tmp_path / "index.parquet", output)
    write_contact_sheet(*files, points=50, seed=1, card=tmp_path / "card.json")
    sheet = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert sheet.shape[0] == 4 * 66 + 2
    assert sorted(set(np.unique(sheet).tolist()) - {255}) == KEPT
    make_card(tmp_path, held_back("p01", "p02", "p03", "p04"))
    write_contact_sheet(*files, points=50, seed=1, card=tmp_path / "card.json")
    blank = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert blank.shape[0] == 66 + 2 and (blank == 255).all()
