"""The benchmark on the tiny captures: a hand-made descriptor, two of our networks, and one of somebody else."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from porepatch_lib.benchmark.table import BENCHMARK
from porepatch_lib.descriptors.networks import load_network
from porepatch_lib.files import read_json

_NETWORKS = {"stripes": "tests.workflow.third_party:Stripes"}
_BUDGET = {"steps": 4, "points_per_batch": 32, "warmup_steps": 1, "validate_every": 2, "checkpoint_every": 2}
_BENCHMARK = {
    "descriptors": ["sift", "hynet", "tfeat", "stripes"],
    "training": _BUDGET,
    "overrides": {"stripes": {"steps": 6, "loss": "hardnet"}},
}


@pytest.fixture(scope="module")
def benchmark(snakemake, tiny_folder):
    """Call Snakemake for the table with a changed benchmark section; what the tiny run has made is not made again."""
    base = yaml.safe_load((tiny_folder / "config.yaml").read_text())

    def call(*arguments: str, **changes: object):
        config = base | {"networks": _NETWORKS, "benchmark": _BENCHMARK | changes}
        path = tiny_folder / "benchmark.yaml"
        path.write_text(yaml.safe_dump(config))
        return snakemake(str(tiny_folder / "results/benchmark/descriptors.csv"), *arguments, config=path)

    return call


@pytest.fixture(scope="module")
def finished_benchmark(benchmark, tiny_folder) -> Path:
    """The folder of the benchmark, run once for all tests of this file."""
    process = benchmark()
    assert process.returncode == 0, process.stdout[-8000:]
    return tiny_folder / "results/benchmark"


def _jobs(dry_run: str) -> dict[str, int]:
    """Job counts of a dry run's closing table."""
    table = dry_run.split("Job stats:")[-1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_one_row_per_descriptor(finished_benchmark):
    table = pd.read_csv(finished_benchmark / "descriptors.csv", keep_default_na=False)
    assert list(table.columns) == BENCHMARK.schema.names
    assert list(table["descriptor"]) == _BENCHMARK["descriptors"]
    assert list(table["kind"]) == ["hand-made", "learned", "learned", "learned"]
    assert list(table["dimension"]) == [128, 128, 128, 16]
    assert list(table["steps"]) == [0, 4, 4, 6]
    assert (table["patches_per_second"] > 0).all()
    assert (table["fpr95_low"] <= table["fpr95"]).all()
    assert (table["fpr95"] <= table["fpr95_high"]).all()
    learned = table[table["kind"] == "learned"]
    assert (learned[["parameters", "weights_bytes", "training_patches_per_second", "training_seconds"]] > 0).all(axis=None)
    assert set(learned["status"]) <= {"trained", "collapsed"}


def test_budget_is_the_same_but_for_overrides(finished_benchmark):
    cards = {name: read_json(finished_benchmark / f"model/{name}.json") for name in ("hynet", "tfeat", "stripes")}
    assert [card["architecture"] for card in cards.values()] == list(cards)
    assert {card["points_per_batch"] for card in cards.values()} == {32}
    assert cards["stripes"]["settings"]["loss"] == "hardnet"
    assert cards["hynet"]["settings"]["loss"] == "hynet"
    assert cards["hynet"]["initial_weights_sha256"] is None


def test_weights_belong_to_their_network(finished_benchmark):
    network = load_network(finished_benchmark / "model/stripes.safetensors", _NETWORKS)
    assert type(network).__name__ == "Stripes"


def test_page_and_figures(finished_benchmark):
    page = (finished_benchmark / "descriptors.md").read_text()
    assert all(name in page for name in _BENCHMARK["descriptors"])
    assert (finished_benchmark / "figures/roc_rendered.png").exists()


def test_only_what_changes_is_done(finished_benchmark, benchmark):
    assert "Nothing to be done" in benchmark().stdout
    another = benchmark("--dry-run", descriptors=[*_BENCHMARK["descriptors"], "ncc"])
    assert _jobs(another.stdout) == {"describe_test": 1, "verify": 1, "speed": 1, "benchmark": 1, "total": 4}
    longer = benchmark("--dry-run", overrides=_BENCHMARK["overrides"] | {"tfeat": {"steps": 5}})
    again = {"train_benchmark": 1, "describe_test": 1, "verify": 1, "speed": 1, "benchmark": 1, "total": 5}
    assert _jobs(longer.stdout) == again


def test_unknown_descriptor_is_one_sentence(benchmark):
    process = benchmark("--dry-run", descriptors=["sift", "hynett"])
    assert process.returncode != 0
    assert (
        "There is no descriptor 'hynett', which the config has in benchmark.descriptors; did you mean 'hynet'?" in process.stdout
    )
    assert "Traceback" not in process.stdout
