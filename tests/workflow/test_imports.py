"""Training and verification on patch sets alone: the tiny run's own exports, as if somebody else had made them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from porepatch_lib.files import read_json

_MEMBERS = "patches*.bmp"


@pytest.fixture(scope="module")
def exports(snakemake, tiny_folder) -> Path:
    """The results of the tiny run, with what it may release in the PhotoTour layout."""
    process = snakemake("dataset", str(tiny_folder / "results/verification/rendered/sift-bare.json"))
    assert process.returncode == 0, process.stdout[-4000:]
    return tiny_folder / "results"


@pytest.fixture(scope="module")
def imported(snakemake, tiny_folder, exports):
    """Call Snakemake without any capture, the exports as patch sets."""
    config = yaml.safe_load((tiny_folder / "config.yaml").read_text())
    config |= {"subjects": None, "pathvars": {"results": str(tiny_folder / "imported")}}
    config["patch_sets"] = {
        "mine": {"path": str(exports / "round1/phototour/train"), "split": "train", "validation_share": 0.2},
        "ours": {"path": str(exports / "verification/rendered/phototour"), "split": "verification", "crop_factor": 24.0},
    }

    def call(*arguments: str, **changes: object):
        path = tiny_folder / "imported.yaml"
        path.write_text(yaml.safe_dump(config | changes))
        return snakemake(*arguments, config=path)

    return call


@pytest.fixture(scope="module")
def finished_import(imported, tiny_folder) -> Path:
    """The results of the run without captures."""
    process = imported()
    assert process.returncode == 0, process.stdout[-8000:]
    return tiny_folder / "imported"


def test_a_network_is_trained_and_compared_without_any_capture(finished_import):
    table = pd.read_csv(finished_import / "verification/table.csv")
    assert set(table["descriptor"]) == {"sift-bare", "imported-hynet"}  # psift and rootsift need the photographs
    assert set(table["test_set"]) == {"ours"}
    assert set(table["labels"]) == {"given"}
    assert (table["positives"] > 0).all()
    assert not (finished_import / "captures").exists()
    assert "imported-hynet" in (finished_import / "report/summary.md").read_text()


def test_a_test_set_that_went_out_and_came_back_is_the_same(finished_import, exports):
    here = read_json(finished_import / "verification/ours/sift-bare.json")
    there = read_json(exports / "verification/rendered/sift-bare.json")
    for name in ("fpr95", "fpr95_low", "fpr95_high", "auc", "variants", "roc", "bootstrap", "sigma_px", "sweep"):
        assert here[name] == there[name], name


def test_held_out_points_choose_the_checkpoint(finished_import):
    index = {part: pd.read_parquet(finished_import / f"imported/mine/{part}.parquet") for part in ("train", "validation")}
    points = {part: set(frame["point_id"]) for part, frame in index.items()}
    assert not points["train"] & points["validation"]
    share = len(points["validation"]) / (len(points["train"]) + len(points["validation"]))
    assert share == pytest.approx(0.2, abs=0.01)


def test_a_broken_set_is_one_sentence(finished_import, imported, exports, tmp_path):
    for member in exports.joinpath("verification/rendered/phototour").glob(_MEMBERS):
        (tmp_path / member.name).write_bytes(member.read_bytes())
    process = imported(patch_sets={"yours": {"path": str(tmp_path), "split": "verification"}})
    assert process.returncode != 0
    assert re.search(r"info\.txt", process.stdout)
    assert "Traceback" not in process.stdout


def test_a_folder_that_is_not_there_is_one_sentence(imported, tmp_path):
    process = imported("--dry-run", patch_sets={"yours": {"path": str(tmp_path / "away"), "split": "verification"}})
    assert process.returncode != 0
    assert "Traceback" not in process.stdout
    assert str(tmp_path / "away") in process.stdout
