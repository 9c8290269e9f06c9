"""The whole loop on tiny rendered captures, as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from disturb import data_of
from golden import GOLDEN, measure

from porepatch_lib.files import sha256_of
from porepatch_lib.provenance.explain import explain, find_record
from porepatch_lib.provenance.records import DONE
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, read_table
from porepatch_lib.versions import STAGE_VERSIONS


def _jobs(dry_run: str) -> dict[str, int]:
    """Job counts of a dry run's closing table."""
    table = dry_run.split("Job stats:")[-1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_run_ends_with_the_table(finished):
    process, results = finished
    summary = (results / "report/summary.md").read_text()
    assert summary in process.stdout
    for descriptor in ("psift", "rootsift", "round0-hynet", "round1-hynet"):
        assert descriptor in summary


def test_contracts(finished):
    _, results = finished
    for split in ("train", "validation"):
        folder = results / "round1/dataset" / split
        patches = np.load(folder / "patches.npy", mmap_mode="r")
        index = read_table(folder / "index.parquet", PATCHES)
        pairs = read_table(folder / "pairs.parquet", PATCH_PAIRS)
        assert patches.shape == (len(index), 64, 64)
        assert patches.dtype == np.uint8
        point = index["subject"] + index["point_id"].astype(str)
        same = point.to_numpy()[pairs["patch_1"]] == point.to_numpy()[pairs["patch_2"]]
        assert (same == pairs["is_match"]).all()


def test_splits_share_no_subject(finished):
    _, results = finished
    stores = [results / "round1/dataset/train", results / "round1/dataset/validation", results / "verification/rendered"]
    subjects = [set(read_table(store / "index.parquet", PATCHES)["subject"]) for store in stores]
    assert not subjects[0] & subjects[1]
    assert not (subjects[0] | subjects[1]) & subjects[2]


def test_verification_is_one_fixed_set(finished):
    _, results = finished
    reports = [json.loads(path.read_text()) for path in sorted((results / "verification/rendered").glob("*.json"))]
    assert len({(report["positives"], report["negatives"]) for report in reports}) == 1
    assert all(0.0 <= report["fpr95_low"] <= report["fpr95"] <= report["fpr95_high"] <= 1.0 for report in reports)


def test_reconstruction_is_a_table_with_truth(finished):
    _, results = finished
    table = pd.read_csv(results / "reconstruction/table.csv").set_index(["descriptor", "variant"])
    assert set(table.index) == {(name, variant) for name in ("psift", "round1-hynet") for variant in ("eth", "densified")}
    row = table.loc[("psift", "densified")]
    assert (row["registered"], row["status"], row["truth"]) == (4, "ok", "surface")
    assert row["sparse_points_lowest"] <= row["sparse_points"] <= row["sparse_points_highest"]
    assert row["dense_points"] > 1000
    assert row["dense_accuracy_0.5mm"] > 0.8
    assert (results / "reconstruction/tiny04/psift/densified/clouds.png").stat().st_size > 10_000
    assert "tiny04" in (results / "reconstruction/table.md").read_text()


def test_an_exported_dataset_comes_in_again_and_what_registers_nothing_is_a_row(finished, snakemake, tiny_folder):
    _, results = finished
    dataset = results / "reconstruction/tiny04/psift/eth/eth"
    process = snakemake(str(dataset))
    assert process.returncode == 0, process.stdout[-4000:]

    config = yaml.safe_load((tiny_folder / "config.yaml").read_text())
    sheet = tiny_folder / "eth.tsv"
    sheet.write_text(f"subject\tsplit\tsource\tpath\tmasks\tcameras\ntheirs\treconstruction\teth\t{dataset}\n")
    given = {"path": str(dataset), "matches": str(dataset / "matches")}
    config |= {"subjects": str(sheet), "pathvars": {"results": str(tiny_folder / "eth")}, "rounds": 1}
    variants = {"eth": {"dense": False, "min_matches": 8, "mapper": "incremental"}}
    config["reconstruction"] = {
        "descriptors": [],
        "features": {"given": given},
        "variants": variants,
        "compared": ["eth"],
        "repeats": 1,
    }
    again = tiny_folder / "eth.yaml"
    again.write_text(yaml.safe_dump(config))
    process = snakemake("reconstructions", config=again)
    assert process.returncode == 0, process.stdout[-4000:]

    first = json.loads((results / "reconstruction/tiny04/psift/eth/sfm0/status.json").read_text())
    second = json.loads((tiny_folder / "eth/reconstruction/theirs/given/eth/sfm0/status.json").read_text())
    for figure in ("views", "verified_pairs", "verified_matches"):  # so keypoints, matches and cameras are the same
        assert second[figure] == first[figure]
    row = pd.read_csv(tiny_folder / "eth/reconstruction/table.csv").iloc[0]
    assert (row["status"], row["registered"], row["sparse_points"], row["features"]) == ("failed", 0, 0, "given")
    assert row["reason"] == "the mapper registered fewer than 3 views"


def test_every_file_can_be_explained(finished):
    _, results = finished
    records = {results / name: find_record(results / name)[1] for name in data_of(results)}
    assert len(records) > 200
    assert {record.outcome for record in records.values()} == {DONE}
    weights = results / "round1/model/hynet.safetensors"
    assert records[weights].outputs[0].sha256 == sha256_of(weights)
    assert (records[weights].seed, records[weights].settings["version"]) == (3, STAGE_VERSIONS["train"])
    patches = next(one for one in records[weights].inputs if one.name == "train_patches")
    assert "rule merge for r 1, split train" in explain(results / patches.path)


def test_status_of_a_finished_run_from_its_files(finished, snakemake):
    process = snakemake("status")
    assert process.returncode == 0, process.stdout[-2000:]
    jobs = re.search(r"(\d+) of (\d+) jobs of these stages done \(100 %\)", process.stdout)
    assert jobs and jobs[1] == jobs[2]
    assert re.search(r"\| extract +\| +1 \| 2 / 2 .* patches/s", process.stdout)


def test_second_run_does_nothing(finished, snakemake):
    process = snakemake()
    assert process.returncode == 0
    assert "Nothing to be done" in process.stdout


def test_one_more_round_runs_only_that_round(finished, snakemake, tiny_folder):
    config = yaml.safe_load((tiny_folder / "config.yaml").read_text())
    config["rounds"] += 1
    longer = tiny_folder / "longer.yaml"
    longer.write_text(yaml.safe_dump(config))
    process = snakemake("--dry-run", config=longer)
    assert process.returncode == 0, process.stdout[-2000:]
    missing = re.findall(r"Missing output files: ([^;\n]+)", process.stdout)
    produced = [Path(name).relative_to(tiny_folder / "results") for line in missing for name in line.split(", ")]
    assert {path.parts[0] for path in produced} == {"round2", "verification", "reconstruction"}
    assert {path.name.split(".")[0] for path in produced if path.parts[0] == "verification"} == {
        "round2-hynet",
        "round2-hynet_worst",
    }
    jobs = _jobs(process.stdout)
    assert jobs == {
        "describe": 3, "match": 3, "reconstruct": 3, "tracks": 2, "extract": 2, "merge": 2,
        "card": 2, "contact_sheet": 2, "audit": 2, "train": 1, "describe_test": 1, "verify": 1, "worst_pairs": 1,
        "matching_score": 2, "verification_table": 1, "summary": 1, "all": 1,
        "describe_features": 1, "describe_calibration": 1, "calibrate_ratio": 1, "match_features": 2, "reconstruct_first": 1,
        "match_guided": 1, "reconstruct_unrefined": 1, "refine_keypoints": 1, "reconstruct_features": 4, "dense": 2,
        "evaluate_reconstruction": 2, "draw_clouds": 2, "reconstruction_table": 1, "total": 50,
    }  # fmt: skip


def test_one_stage_by_its_file(finished, snakemake, tiny_folder):
    target = tiny_folder / "results/round1/model/hynet.safetensors"
    process = snakemake("--dry-run", "--force", str(target))
    assert process.returncode == 0
    assert _jobs(process.stdout) == {"train": 1, "total": 1}


def test_unknown_key_is_one_sentence(snakemake, tiny_folder):
    config = yaml.safe_load((tiny_folder / "config.yaml").read_text())
    config["roundz"] = 3
    wrong = tiny_folder / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(config))
    process = snakemake("--dry-run", config=wrong)
    assert process.returncode != 0
    assert "roundz" in process.stdout
    assert "did you mean 'rounds'" in process.stdout


def test_unknown_subject_is_refused(snakemake, tiny_folder):
    process = snakemake("--dry-run", str(tiny_folder / "results/keypoints/nobody.parquet"))
    assert process.returncode != 0


def test_stages_change_only_with_their_version(finished):
    _, results = finished
    golden, found = json.loads(GOLDEN.read_text()), measure(results)
    for stage, expected in golden.items():
        advice = f"the stage '{stage}' makes something else: raise its version in versions.py and store it with golden.py"
        assert STAGE_VERSIONS[stage] == expected["version"], advice
        assert found[stage] == pytest.approx(expected["numbers"], rel=0.02), advice
