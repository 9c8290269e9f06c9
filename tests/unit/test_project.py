"""A new project from folders of photographs: what is found, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from nersemble_replica import SERIALS, write_replica
from PIL import Image

from porepatch_lib.__main__ import main
from porepatch_lib.captures.project import choose_splits, keypoints_for, new_project, summary
from porepatch_lib.captures.sheet import read_subjects
from porepatch_lib.config import SCHEMAS, validate_config
from porepatch_lib.geometry import Camera, Pose

_PROJECT = Path(__file__).resolve().parents[2]
_WIDTH, _HEIGHT = 64, 48


def _photographs(folder: Path, count: int = 2, **options: object) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for index in range(count):
        image = Image.fromarray(rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8))
        image.save(folder / f"{index}.jpg", **options)
    return folder


def _masks(photographs: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in photographs.iterdir():
        Image.new("L", (_WIDTH, _HEIGHT), 255).save(folder / f"{file.stem}.png")
    return folder


def _rig(photographs: Path, file: Path, width: int = _WIDTH) -> Path:
    camera = {"model": "SIMPLE_PINHOLE", "width": width, "height": _HEIGHT, "params": [90.0, 31.5, 23.5]}
    pose = {"rotation": np.eye(3).tolist(), "translation": [0.0, 0.0, 1.0]}
    file.write_text(json.dumps({path.name: camera | pose for path in photographs.glob("*.jpg")}))
    return file


def _matrix(file: Path) -> Path:
    file.write_text("90 0 31.5\n0 90 23.5\n0 0 1\n")
    return file


def _sheet(project: Path) -> list[dict[str, str]]:
    return read_subjects(project / "subjects.tsv").to_dict("records")


def _config(project: Path) -> dict:
    return yaml.safe_load((project / "config.yaml").read_text(encoding="utf-8"))


def test_what_is_written_passes_the_checks_of_the_workflow(tmp_path):
    for number in (10, 1, 2, 3, 4):
        _photographs(tmp_path / f"people/person {number}")
    new_project(tmp_path / "mine", [tmp_path / "people"])
    defaults = yaml.safe_load((_PROJECT / "config/config.yaml").read_text())
    config = _config(tmp_path / "mine")
    validate_config(
        defaults | config | {"keypoints": defaults["keypoints"] | config["keypoints"]}, SCHEMAS / "config.schema.yaml"
    )
    assert set(config) == {"subjects", "pathvars", "threads", "rounds", "keypoints"}
    assert config["subjects"] == str(tmp_path / "mine/subjects.tsv")
    assert config["pathvars"] == {"results": str(tmp_path / "mine/results")}
    rows = _sheet(tmp_path / "mine")
    assert [row["subject"] for row in rows] == ["s001", "s002", "s003", "s004", "s005"]
    assert [row["path"] for row in rows] == [str(tmp_path / f"people/person {number}") for number in (1, 2, 3, 4, 10)]
    assert [row["split"] for row in rows] == ["train", "train", "validation", "verification", "reconstruction"]
    assert {row["source"] for row in rows} == {"photographs"}
    assert {row["release"] for row in rows} == {"false"}


@pytest.mark.parametrize(
    ("count", "train", "tests"),
    [(1, 1, (0, 0, 0)), (2, 1, (1, 0, 0)), (3, 1, (1, 1, 0)), (4, 1, (1, 1, 1)), (12, 9, (1, 1, 1)), (266, 185, (27, 27, 27))],
)
def test_splits(count, train, tests):
    splits = choose_splits(count)
    assert len(splits) == count
    assert splits.count("train") == train
    assert tuple(splits.count(split) for split in ("validation", "verification", "reconstruction")) == tests
    assert splits == sorted(splits, key=["train", "validation", "verification", "reconstruction"].index)


@pytest.mark.parametrize(("count", "rounds"), [(1, 1), (2, 2)])
def test_a_second_round_needs_a_second_subject(tmp_path, count, rounds):
    folders = [_photographs(tmp_path / f"p{number}") for number in range(count)]
    new_project(tmp_path / "mine", folders)
    assert _config(tmp_path / "mine")["rounds"] == rounds


@pytest.mark.parametrize(
    ("size", "keypoints"), [((2200, 3208), 9900), ((1728, 2592), 6300), ((640, 480), 1000), ((8000, 6000), 10_000)]
)
def test_keypoints_go_by_the_size(size, keypoints):
    assert keypoints_for([size, size, (100, 100)]) == keypoints


@pytest.mark.parametrize(
    ("photographs", "masks", "found"),
    [
        ("p01", "p01-masks", True),
        ("p01", "p01_masks", True),
        ("p01/images", "p01/masks", True),
        ("p01", "masks", False),
        ("p01", "p02-masks", False),
    ],
)
def test_masks_are_known_by_the_name_of_their_folder(tmp_path, photographs, masks, found):
    images = _photographs(tmp_path / photographs)
    folder = _masks(images, tmp_path / masks)
    new_project(tmp_path / "mine", [tmp_path / "p01"])
    (row,) = _sheet(tmp_path / "mine")
    assert row["path"] == str(images)
    assert row["masks"] == (str(folder) if found else "")


def test_masks_beside_people_are_no_people(tmp_path):
    masks = _masks(_photographs(tmp_path / "people/p1"), tmp_path / "people/p1-masks")
    _photographs(tmp_path / "people/p2")
    new_project(tmp_path / "mine", [tmp_path / "people"])
    assert [row["masks"] for row in _sheet(tmp_path / "mine")] == [str(masks), ""]


def test_incomplete_masks_are_left_out(tmp_path, caplog):
    images = _photographs(tmp_path / "p01")
    (_masks(images, tmp_path / "p01-masks") / "1.png").unlink()
    new_project(tmp_path / "mine", [images])
    assert _sheet(tmp_path / "mine")[0]["masks"] == ""
    assert "p01-masks are left out" in caplog.text
    assert "1.jpg" in caplog.text


def test_masks_are_made_where_a_face_is_seen(shared, tmp_path):
    for name in ("london_002.jpg", "london_034.jpg"):
        (tmp_path / "p01").mkdir(exist_ok=True)
        (tmp_path / "p01" / name).symlink_to(shared / "data/skin" / name)
    new_project(tmp_path / "mine", [tmp_path / "p01", _photographs(tmp_path / "noise")])
    assert [row["masks"] for row in _sheet(tmp_path / "mine")] == ["auto", ""]


@pytest.mark.parametrize(
    "place", ["p01/cameras.json", "p01-cameras.json", "p01_cameras.json", "cameras.json", "p01/K.txt", "p01-K.txt", "K.txt"]
)
def test_known_cameras_are_found(tmp_path, place):
    images = _photographs(tmp_path / "p01")
    file = _matrix(tmp_path / place) if place.endswith(".txt") else _rig(images, tmp_path / place)
    project = new_project(tmp_path / "mine", [images])
    assert _sheet(tmp_path / "mine")[0]["cameras"] == str(file)
    assert "calibrated" in summary(project)


def test_cameras_with_poses_come_first_and_wrong_ones_are_left_out(tmp_path, caplog):
    images = _photographs(tmp_path / "p01")
    matrix, rig = _matrix(images / "K.txt"), _rig(images, tmp_path / "cameras.json")
    new_project(tmp_path / "one", [images])
    assert _sheet(tmp_path / "one")[0]["cameras"] == str(rig)
    _rig(images, rig, width=65)
    new_project(tmp_path / "two", [images])
    assert _sheet(tmp_path / "two")[0]["cameras"] == str(matrix)
    matrix.unlink()
    new_project(tmp_path / "three", [images])
    assert _sheet(tmp_path / "three")[0]["cameras"] == ""
    assert "cameras.json are left out" in caplog.text
    assert "65x48" in caplog.text


def test_strecha_cameras_beside_the_photographs(shared, tmp_path):
    new_project(tmp_path, [shared / "data/fountain-P11"])
    (row,) = _sheet(tmp_path)
    assert row["path"].endswith("fountain-P11/images")
    assert row["cameras"].endswith("fountain-P11/gt_dense_cameras")


def test_summary_tells_size_and_focal_length(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 50
    known = _photographs(tmp_path / "known", 3, exif=exif)
    unknown = _photographs(tmp_path / "unknown")
    Image.new("RGB", (80, 60)).save(unknown / "2.png")
    project = new_project(tmp_path / "mine", [known, unknown])
    header, first, second = summary(project).splitlines()
    assert header.split()[:4] == ["subject", "split", "views", "size"]
    assert first.split()[:7] == ["s001", "train", "3", "48x64", "none", "none", "EXIF"]
    assert "64x48 and others" in second
    assert "a guess" in second


def test_names_are_kept_on_demand(tmp_path):
    _photographs(tmp_path / "people/anna/images")
    _photographs(tmp_path / "people/Ben_2")
    new_project(tmp_path / "mine", [tmp_path / "people"], keep_names=True)
    assert [row["subject"] for row in _sheet(tmp_path / "mine")] == ["anna", "Ben_2"]


def test_paths_inside_the_project_are_relative(tmp_path, monkeypatch):
    _photographs(tmp_path / "photographs/p01")
    monkeypatch.chdir(tmp_path)
    new_project("elsewhere", ["photographs"])
    assert _sheet(tmp_path / "elsewhere")[0]["path"] == str(tmp_path / "photographs/p01")
    (tmp_path / "Snakefile").touch()
    new_project("mine", [tmp_path / "photographs"])
    assert _sheet(tmp_path / "mine")[0]["path"] == "photographs/p01"
    assert _config(tmp_path / "mine")["pathvars"]["results"] == "mine/results"


def test_odd_names_survive_sheet_config_and_commands(tmp_path, capsys):
    images = _photographs(tmp_path / "Zoë: #1 'links'")
    target = tmp_path / "mein Projekt: #1"
    assert main(["new-project", str(target), "--images", str(images)]) == 0
    assert _sheet(target)[0]["path"] == str(images)
    assert _config(target)["subjects"] == str(target / "subjects.tsv")
    printed = capsys.readouterr().out
    assert f"snakemake captures --configfile '{target}/config.yaml'" in printed
    assert str(_PROJECT) in printed


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (lambda f: None, ["nowhere"], "nowhere does not exist; correct --images"),
        (lambda f: (f / "empty").mkdir(), ["empty"], "empty holds no two photographs"),
        (lambda f: _photographs(f / "single", 1), ["single"], "holds no two photographs"),
        (lambda f: _photographs(f / "p"), ["p", "p/."], "p is named twice"),
        (lambda f: _photographs(f / "ann b"), ["ann b", "--names"], "ann b cannot name a subject"),
        (lambda f: [_photographs(f / p) for p in ("x/a", "y/A")], ["x/a", "y/A", "--names"], "leave out --names"),
        (lambda f: (_photographs(f / "p") / "0.jpg").write_text("x"), ["p"], "p/0.jpg"),
        (lambda f: _photographs(f / "tab\tbed"), ["tab\tbed"], "rename the folder"),
        (lambda f: _photographs(f / "p{x}"), ["p{x}"], "which Snakemake takes for its own; rename the folder"),
        (lambda f: (_photographs(f / "p"), (f / "mine").write_text("")), ["p"], "Cannot write to"),
        (lambda f: (_photographs(f / "p"), (f / "mine").mkdir(), _matrix(f / "mine/config.yaml")), ["p"], "not overwritten"),
    ],
)
def test_refusals_are_one_sentence(tmp_path, monkeypatch, capsys, prepare, arguments, words):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    assert main(["new-project", "mine", "--images", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err.splitlines()[-1]
    assert not (tmp_path / "mine/subjects.tsv").exists()


def test_a_folder_that_snakemake_cannot_name(tmp_path, capsys):
    images = _photographs(tmp_path / "p")
    assert main(["new-project", str(tmp_path / "<mine>"), "--images", str(images)]) == 1
    assert "rename the folder" in capsys.readouterr().err
    assert not (tmp_path / "<mine>").exists()


def test_participants_of_nersemble(tmp_path, caplog):
    camera = Camera("SIMPLE_PINHOLE", _WIDTH, _HEIGHT, (90.0, 31.5, 23.5))
    images = [np.full((_HEIGHT, _WIDTH, 3), 100, np.uint8)] * 3
    poses = [Pose(np.eye(3), np.array([-100.0 * i, 0.0, 1000.0])) for i in range(3)]
    for name, sequence in (
        ("018", "EXP-2-eyes"),
        ("020", "EXP-2-eyes"),
        ("100", "EXP-2-eyes"),
        ("018", "SEN-1"),
        ("020", "SEN-1"),
    ):
        write_replica(tmp_path / "data" / name, images, SERIALS[:3], [camera] * 3, poses, sequence=sequence)
    project = new_project(tmp_path / "mine", [tmp_path / "data"])
    assert summary(project).splitlines()[1].split()[:6] == ["s001", "train", "3", "64x48", "auto", "calibrated"]
    rows = _sheet(tmp_path / "mine")
    assert [(row["source"], row["masks"], row["cameras"]) for row in rows] == [("nersemble", "auto", "")] * 3
    assert "nersemble" not in _config(tmp_path / "mine")
    for name in ("018", "020"):
        shutil.rmtree(tmp_path / "data" / name / "sequences/EXP-2-eyes")
    new_project(tmp_path / "others", [tmp_path / "data/018", tmp_path / "data/020"])
    assert _config(tmp_path / "others")["nersemble"] == {"sequence": "SEN-1"}
    new_project(tmp_path / "all", [tmp_path / "data"])
    assert "no sequence in common" in caplog.text


def test_help_is_readable():
    command = [sys.executable, "-m", "porepatch_lib", "new-project", "--help"]
    printed = subprocess.run(command, cwd=_PROJECT, capture_output=True, text=True, check=True).stdout
    assert "--images DIR" in printed and "--names" in printed
