"""The benchmark: what the configuration asks for, the speed of a descriptor, and the table from reports written by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from porepatch_lib.benchmark.settings import benchmark_training
from porepatch_lib.benchmark.speed import measure_speed, rows_of_whole_images, timed
from porepatch_lib.benchmark.table import BENCHMARK, write_benchmark
from porepatch_lib.captures.views import View, write_views
from porepatch_lib.config import SCHEMAS, validate_config
from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_array, write_json
from porepatch_lib.geometry import Camera
from porepatch_lib.tables import PATCHES, write_table

PROJECT = Path(__file__).resolve().parents[2]


class TinyNetwork(DescriptorNetwork):
    """A third party's network: means of four stripes."""

    dimension = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def features(self, patches: Tensor) -> Tensor:
        return self.weight * patches.reshape(len(patches), 4, -1).mean(dim=2)


def _section(**changes):
    return {"descriptors": ["sift", "hynet", "hardnet"], "training": {"steps": 7}, "overrides": {}} | changes


def test_networks_share_a_budget_and_overrides_replace_it() -> None:
    section = _section(descriptors=["mine", "sift", "hynet"], overrides={"hynet": {"steps": 9, "margin": None}})
    assert benchmark_training(section, {"mine": "package.module:Class"}) == {
        "mine": {"steps": 7, "architecture": "mine"},
        "hynet": {"steps": 9, "margin": None, "architecture": "hynet"},
    }


@pytest.mark.parametrize(
    ("changes", "networks", "sentence"),
    [
        ({"descriptors": ["hynett"]}, {}, "no descriptor 'hynett'.*benchmark.descriptors; did you mean 'hynet'"),
        ({"descriptors": ["mine"]}, {}, "no descriptor 'mine'.*known are psift, .*afsrnet"),
        ({"overrides": {"sift": {"steps": 1}}}, {}, "no network 'sift'.*benchmark.overrides"),
        ({"training": {"architecture": "hynet"}}, {}, "remove 'architecture' from its 'training'"),
        ({"overrides": {"hynet": {"architecture": "hynet"}}}, {}, "remove 'architecture' from its 'hynet'"),
        ({}, {"rootsift": "package.module:Class"}, "'rootsift' in networks belongs to"),
    ],
)
def test_wrong_name_is_one_sentence(changes, networks, sentence) -> None:
    with pytest.raises(PorePatchError, match=sentence):
        benchmark_training(_section(**changes), networks)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("benchmark", {"training": {"stepz": 3}}, "Unknown key 'stepz'.*'benchmark.training'; did you mean 'steps'"),
        ("benchmark", {"overrides": {"hynet": {"steps": 0}}}, "'benchmark.overrides.hynet.steps'.*at least 1"),
        ("benchmark", {"trainings": {}}, "Unknown key 'trainings'.*'benchmark'; did you mean 'training'"),
        ("benchmark", {"descriptors": ["sift", "sift"]}, "benchmark.descriptors"),
        ("networks", {"Mine": "package.module:Class"}, "'Mine'; it must be a name of small letters"),
        ("networks", {"mine": "package.module"}, "'networks.mine'.*a class as \"package.module:Class\""),
    ],
)
def test_schema(key, value, sentence) -> None:
    config = yaml.safe_load((PROJECT / "config/config.yaml").read_text())
    benchmark_training(config["benchmark"], config["networks"])
    validate_config(config | {"networks": {"mine": "package.module:Class"}}, SCHEMAS / "config.schema.yaml")
    with pytest.raises(PorePatchError, match=sentence):
        validate_config(config | {key: value}, SCHEMAS / "config.schema.yaml")


@pytest.fixture(scope="module")
def test_set(tmp_path_factory) -> Path:
    """Two photographs with 30 and 20 patches, in mixed order."""
    folder = tmp_path_factory.mktemp("timed")
    rng = np.random.default_rng(0)
    camera = Camera("SIMPLE_PINHOLE", 200, 200, (500.0, 100.0, 100.0))
    views = []
    for image_id in (4, 7):
        path = folder / f"{image_id}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (200, 200), np.uint8))
        views.append(View(image_id, path.name, path, None, "", 1, 1, camera, True, None))
    write_views(folder / "images.parquet", views)
    image_id = rng.permutation(np.repeat([4, 7], [30, 20]))
    index = pd.DataFrame({"subject": "anna", "point_id": range(50), "image_id": image_id, "keypoint_id": range(50)})
    index = index.assign(x=rng.uniform(50, 150, 50), y=rng.uniform(50, 150, 50), sigma=2.0, octave=0, level=0, crop_factor=12.0)
    write_table(folder / "index.parquet", index, PATCHES)
    write_array(folder / "patches.npy", rng.integers(0, 256, (50, 64, 64), np.uint8))
    return folder


def _speed(folder: Path, output: Path, descriptor: str, weights: Path | None = None, networks=None):
    images = {"anna": folder / "images.parquet"}
    arguments = {"output": output, "threads": 1, "device": "cpu", "networks": networks}
    measure_speed(descriptor, weights, folder / "patches.npy", folder / "index.parquet", images, **arguments)
    return read_json(output)


def test_speed_of_a_network(test_set, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("porepatch_lib.benchmark.speed.PATCHES", 25)
    weights = tmp_path / "tiny.safetensors"
    save_file(TinyNetwork().state_dict(), weights, {"architecture": "tiny"})
    report = _speed(test_set, tmp_path / "tiny.json", "tiny", weights, {"tiny": f"{__name__}:TinyNetwork"})
    assert (report["descriptor"], report["kind"], report["patches"], report["threads"]) == ("tiny", "learned", 25, 1)
    assert report["weights_bytes"] == weights.stat().st_size
    assert report["passes"] >= 3
    assert report["patches_per_second"] == pytest.approx(25 / report["median_seconds"], rel=0.01)


def test_speed_of_a_hand_made_descriptor(test_set, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("porepatch_lib.benchmark.speed.PATCHES", 25)
    report = _speed(test_set, tmp_path / "sift.json", "sift")
    assert (report["kind"], report["patches"], report["weights_bytes"]) == ("hand-made", 30, 0)


def test_whole_photographs_are_timed() -> None:
    index = pd.DataFrame({"subject": [*"aaab"], "image_id": [3, 1, 3, 1]})
    expected = {1: [1], 2: [0, 1, 2], 3: [0, 1, 2], 4: [0, 1, 2, 3], 9: [0, 1, 2, 3]}
    assert {least: rows_of_whole_images(index, least).tolist() for least in expected} == expected


def test_first_pass_is_told_apart() -> None:
    """A clock that the work itself advances: 5 s at first, then 0.25 s."""
    calls: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("porepatch_lib.benchmark.speed.time.perf_counter", lambda: sum(calls))
        assert timed(lambda: calls.append(0.25 if calls else 5.0)) == (5.0, [0.25] * 4)


def _verification(descriptor: str, fpr95: float, test_set: str, dimension: int = 128):
    numbers = {"fpr95": fpr95, "fpr95_low": fpr95 / 2, "fpr95_high": 2 * fpr95, "average_precision": 1 - fpr95}
    roc = {"false_positive_rate": [0.0, fpr95, 1.0], "recall": [0.5, 0.95, 1.0]}
    counts = {"confidence": 0.95, "positives": 50, "negatives": 50}
    return {"descriptor": descriptor, "test_set": test_set, "dimension": dimension, "roc": roc} | numbers | counts


def _card(architecture: str, status: str):
    numbers = {"parameters": 334000, "steps": 300, "points_per_batch": 256, "patches_per_second": 512.5, "seconds": 299.7}
    return {"architecture": architecture, "status": status, "patch_side": 32, "normalisation": "none"} | numbers


@pytest.fixture
def reports(tmp_path):
    """Two test sets of two networks, one of them collapsed, and SIFT; the best is not the first."""
    files = {"verification": [], "speeds": [], "cards": []}
    for test_set in ("rendered", "nersemble"):
        for descriptor, fpr95 in (("hardnet", 0.95), ("sift", 0.25), ("hynet", 0.0125)):
            files["verification"].append(tmp_path / test_set / f"{descriptor}.json")
            write_json(files["verification"][-1], _verification(descriptor, fpr95, test_set))
    for descriptor, weights in (("sift", 0), ("hynet", 5_400_000), ("hardnet", 5_300_000)):
        files["speeds"].append(tmp_path / "speed" / f"{descriptor}.json")
        facts = {"kind": "learned" if weights else "hand-made", "weights_bytes": weights, "patches_per_second": 2000.5}
        write_json(files["speeds"][-1], {"descriptor": descriptor} | facts)
    for architecture, status in (("hynet", "trained"), ("hardnet", "collapsed")):
        files["cards"].append(tmp_path / "model" / f"{architecture}.json")
        write_json(files["cards"][-1], _card(architecture, status))
    outputs = {
        "table": tmp_path / "out/descriptors.csv",
        "page": tmp_path / "out/descriptors.md",
        "figures": tmp_path / "out/figures",
    }
    return files | outputs


def test_table_has_a_row_per_test_set_and_descriptor(reports) -> None:
    write_benchmark(**reports)
    table = pd.read_csv(reports["table"], keep_default_na=False)
    assert list(table.columns) == BENCHMARK.schema.names
    assert list(table["descriptor"]) == ["hardnet", "sift", "hynet"] * 2  # as given
    assert list(table["test_set"]) == ["rendered"] * 3 + ["nersemble"] * 3
    assert list(table["status"][:3]) == ["collapsed", "hand-made", "trained"]
    assert dict(table.iloc[2]) == {
        "descriptor": "hynet", "kind": "learned", "test_set": "rendered", "status": "trained",
        "fpr95": 0.0125, "fpr95_low": 0.00625, "fpr95_high": 0.025, "average_precision": 0.9875,
        "dimension": 128, "descriptor_bytes": 512, "parameters": 334000, "weights_bytes": 5_400_000,
        "patches_per_second": 2000.5, "training_patches_per_second": 512.5, "training_seconds": 299.7, "steps": 300,
        "points_per_batch": 256, "patch_side": 32, "normalisation": "none",
    }  # fmt: skip
    trained = table.loc[
        1, ["parameters", "weights_bytes", "training_patches_per_second", "training_seconds", "steps", "patch_side"]
    ]
    assert (trained == 0).all()
    assert table.loc[1, "normalisation"] == ""


def test_page_shows_the_best_first(reports) -> None:
    write_benchmark(**reports)
    page = reports["page"].read_text()
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines if "--" not in line] == ["descriptor", "hynet", "sift", "hardnet"] * 2
    assert "## Test set rendered" in page
    hynet, sift = ([cell.strip() for cell in lines[row].split("|")] for row in (2, 3))
    assert hynet[3:7] == ["1.25", "0.62 .. 2.50", "128", "512"]
    assert sift[3:5] == ["25.00", "12.50 .. 50.00"]
    assert sift.count("-") == 6
    assert {path.name for path in reports["figures"].iterdir()} == {
        f"roc_{name}.{kind}" for name in ("rendered", "nersemble") for kind in ("png", "svg")
    }
    for path in reports["figures"].glob("*.png"):
        assert f"figures/{path.name}" in page


@pytest.mark.parametrize(
    ("kind", "key"),
    [("verification", "fpr95_low"), ("speeds", "patches_per_second"), ("cards", "status"), ("cards", "architecture")],
)
def test_missing_key_is_one_sentence(reports, kind, key) -> None:
    path = reports[kind][-1]
    content = read_json(path)
    del content[key]
    write_json(path, content)
    with pytest.raises(PorePatchError, match=f"{path.name} has no '{key}'.*delete it"):
        write_benchmark(**reports)
    assert not reports["table"].exists()


@pytest.mark.parametrize(("kind", "what"), [("speeds", "speed report"), ("cards", "model card")])
def test_missing_report_is_one_sentence(reports, kind, what) -> None:
    reports[kind].pop()
    with pytest.raises(PorePatchError, match=f"no {what} of 'hardnet'"):
        write_benchmark(**reports)


def test_column_of_the_wrong_type_is_refused(reports) -> None:
    write_json(reports["cards"][0], read_json(reports["cards"][0]) | {"steps": "many"})
    with pytest.raises(PorePatchError, match=r"benchmark table .* wrong type"):
        write_benchmark(**reports)
