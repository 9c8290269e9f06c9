"""The training stage on a tiny synthetic patch set: learning, choice of the checkpoint, resuming after a kill."""

from __future__ import annotations

import csv
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from patch_sets import write_dataset
from safetensors import safe_open
from safetensors.numpy import load_file

from porepatch_lib.descriptors.hynet import HyNet
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.train import train

SETTINGS = TrainingSettings(
    steps=30, points_per_batch=32, warmup_steps=3, validate_every=10, checkpoint_every=5, learning_rate=0.003
)

# Run in a process of its own, which gets a signal as soon as the checkpoint of step 5 lies on the disk, or the next is written.
KILLED_RUN = """
import os, pathlib, sys, threading, time
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.train import train

def kill(folder, number, names):
    for name in names:
        while not any(folder.glob(name)):
            time.sleep(0.0005)
    os.kill(os.getpid(), number)

job = TrainingJob.load(pathlib.Path(sys.argv[1]))
threading.Thread(target=kill, args=[job.checkpoint_folder, int(sys.argv[2]), sys.argv[3:]], daemon=True).start()
train(job)
"""
AFTER_CHECKPOINT = ["checkpoint.safetensors"]
DURING_CHECKPOINT = [*AFTER_CHECKPOINT, ".checkpoint.part-*"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def _outputs(folder: Path) -> dict[str, Path]:
    return {
        "output_weights": folder / "hynet.safetensors",
        "output_card": folder / "hynet.json",
        "output_curve": folder / "hynet.csv",
        "checkpoint_folder": folder / "checkpoint",
    }


def _job(dataset: dict[str, Path], folder: Path, settings: TrainingSettings, **others: Any) -> TrainingJob:
    return TrainingJob(**dataset, **_outputs(folder), settings=settings, **{"seed": 3, "threads": 1, "device": "cpu"} | others)


def _train(dataset: dict[str, Path], folder: Path, settings: TrainingSettings, **others: Any) -> dict[str, Any]:
    """Train on the CPU and return the card."""
    job = _job(dataset, folder, settings, **others)
    train(job)
    return read_json(job.output_card)


@pytest.fixture(scope="module")
def trained(dataset: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    _train(dataset, folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def straight_runs(dataset: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[TrainingSettings], Path]:
    """The outputs of undisturbed runs, each trained once."""

    @cache
    def run(settings: TrainingSettings) -> Path:
        folder = tmp_path_factory.mktemp("straight")
        _train(dataset, folder, settings)
        return folder

    return run


def _curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "hynet.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_training_learns(trained: Path) -> None:
    rows = _curve(trained)
    losses = [float(row["loss"]) for row in rows[1:]]
    assert [int(row["step"]) for row in rows] == list(range(31))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    card = read_json(trained / "hynet.json")
    assert card["validation_fpr95"] < 0.5 * card["validation_fpr95_initial"]
    assert card["warning"] == ""
    assert (card["architecture"], card["crop_factor"], card["steps"]) == ("hynet", 12.0, 30)
    assert (card["status"], card["normalisation"]) == ("trained", HyNet.normalisation)
    assert card["validation_curve"][-1] == [30, card["validation_fpr95_last"]]
    assert set(card["versions"]) >= {"torch", "numpy", "porepatch"}
    assert not (trained / "checkpoint").exists()
    with safe_open(trained / "hynet.safetensors", "np") as weights:
        assert weights.metadata() == {"architecture": "hynet"}


def test_best_validation_is_kept(dataset: dict[str, Path], trained: Path, tmp_path: Path) -> None:
    # A learning rate that ruins good weights: the initial ones win, and are written unchanged.
    ruinous = dataclasses.replace(SETTINGS, steps=2, validate_every=1, warmup_steps=0, warm_start_learning_rate=3.0)
    card = _train(dataset, tmp_path, ruinous, initial_weights=trained / "hynet.safetensors")
    assert card["best_step"] == 0
    assert card["validation_fpr95_last"] > card["validation_fpr95"]
    assert card["validation_fpr95"] == read_json(trained / "hynet.json")["validation_fpr95"]
    before, after = load_file(trained / "hynet.safetensors"), load_file(tmp_path / "hynet.safetensors")
    assert all(np.array_equal(before[name], after[name]) for name in before)
    validated = {row["step"]: row["validation_fpr95"] for row in _curve(tmp_path) if row["validation_fpr95"]}
    assert min(validated, key=lambda step: float(validated[step])) == "0"


@pytest.mark.parametrize(
    ("recipe", "number", "moment"),
    [
        ({}, signal.SIGKILL, DURING_CHECKPOINT),
        ({"loss": "sdgm", "optimiser": "sgd", "momentum": 0.9}, signal.SIGKILL, AFTER_CHECKPOINT),
        ({}, signal.SIGTERM, AFTER_CHECKPOINT),
    ],
)
def test_killed_run_resumes_to_the_same_weights(
    dataset: dict[str, Path],
    straight_runs: Callable[[TrainingSettings], Path],
    tmp_path: Path,
    recipe: dict[str, Any],
    number: signal.Signals,
    moment: list[str],
) -> None:
    """With Adam, and with a loss that keeps statistics and an optimiser with momentum; told to end it loses no step."""
    settings = dataclasses.replace(SETTINGS, steps=8, validate_every=4, **recipe)
    straight, resumed = straight_runs(settings), tmp_path / "resumed"
    _job(dataset, resumed, settings).save(tmp_path / "job.json")
    program = [sys.executable, "-c", KILLED_RUN, str(tmp_path / "job.json"), str(int(number)), *moment]
    killed = subprocess.run(program, cwd=Path(__file__).parents[2], capture_output=True)
    left = [path.name for path in (resumed / "checkpoint").iterdir()]
    if number == signal.SIGKILL:
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert (moment == DURING_CHECKPOINT) == (len(left) == 2)
    else:
        assert b"Terminated" in killed.stderr and left == ["checkpoint.safetensors"]
    assert not (resumed / "hynet.safetensors").exists()
    card = _train(dataset, resumed, settings)

    assert card["resumed_at"] in (5, 8) if number == signal.SIGKILL else card["resumed_at"] >= 5
    for name in ("hynet.safetensors", "hynet.csv"):
        assert (straight / name).read_bytes() == (resumed / name).read_bytes()
    assert sorted(path.name for path in resumed.iterdir()) == ["hynet.csv", "hynet.json", "hynet.safetensors"]


def test_stale_or_damaged_checkpoint_is_not_continued(dataset: dict[str, Path], tmp_path: Path, caplog: Any) -> None:
    from torch import nn, optim

    from porepatch_lib.training.checkpoints import History, save_checkpoint

    settings = dataclasses.replace(SETTINGS, steps=1)
    network = nn.Linear(1, 1)
    folder = _outputs(tmp_path)["checkpoint_folder"]
    save_checkpoint(folder, "other data", network, optim.Adam(network.parameters()), History([0.5], [(0, 0.9)]))
    with caplog.at_level("INFO"):
        assert _train(dataset, tmp_path, settings)["resumed_at"] == 0
    assert "belongs to other data or settings" in caplog.text
    folder.mkdir()
    (folder / "checkpoint.safetensors").write_bytes(b"half a file")
    assert _train(dataset, tmp_path, settings)["resumed_at"] == 0
    assert "cannot be read" in caplog.text


def _unlearnable(dataset: dict[str, Path], folder: Path) -> dict[str, Path]:
    """The same set with validation labels that say nothing."""
    pairs = pd.read_parquet(dataset["validation_pairs"])
    pairs["is_match"] = np.random.default_rng(0).permutation(pairs["is_match"])
    write_table(folder / "pairs.parquet", pairs, PATCH_PAIRS)
    return dataset | {"validation_pairs": folder / "pairs.parquet"}


def test_collapse_stops_the_run_and_says_so(dataset: dict[str, Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=30, validate_every=1, collapse_patience=3, learning_rate=1e-9)
    unlearnable = _unlearnable(dataset, tmp_path)
    with pytest.raises(PorePatchError, match=r"'hynet' has learnt nothing: its validation FPR95 stayed at 9\d.* over 3 steps"):
        _train(unlearnable, tmp_path, settings)
    card = _train(unlearnable, tmp_path, settings, keep_collapsed=True)
    assert (card["status"], card["steps"]) == ("collapsed", 3)
    assert "learnt nothing" in card["warning"]


def test_divergence_is_told(dataset: dict[str, Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=10, optimiser="sgd", learning_rate=1e30, warmup_steps=0)
    with pytest.raises(PorePatchError, match="not finite at step"):
        _train(dataset, tmp_path, settings)
    assert _train(dataset, tmp_path, settings, keep_collapsed=True)["status"] == "collapsed"


def test_training_stops_where_nothing_is_gained(dataset: dict[str, Path], trained: Path, tmp_path: Path) -> None:
    ruinous = dataclasses.replace(SETTINGS, validate_every=1, warmup_steps=0, warm_start_learning_rate=3.0, patience=2)
    card = _train(dataset, tmp_path, ruinous, initial_weights=trained / "hynet.safetensors")
    assert (card["status"], card["steps"], card["best_step"]) == ("stopped early", 2, 0)


def test_tensorboard_and_curve_tell_the_same(dataset: dict[str, Path], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = dataclasses.replace(SETTINGS, steps=6, validate_every=3, checkpoint_every=2)
    for _ in range(2):  # a new run begins its folder anew
        _train(dataset, tmp_path, settings, tensorboard_folder=tmp_path / "events")
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    validations = {event.step: event.value for event in events.Scalars("validation/fpr95")}
    assert list(losses) == [1, 2, 3, 4, 5, 6]
    for row in _curve(tmp_path)[1:]:
        assert losses[int(row["step"])] == pytest.approx(float(row["loss"]), rel=1e-5)
    assert validations == {
        int(row["step"]): pytest.approx(float(row["validation_fpr95"])) for row in _curve(tmp_path)[1:] if row["validation_fpr95"]
    }
    assert len(events.Scalars("train/patches_per_second")) == 2


def test_two_processes_train_as_one(dataset: dict[str, Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(
        SETTINGS, steps=3, validate_every=3, points_per_batch=33, log2_gain=0.1, dropout=0.0, precision="float32"
    )
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        card = _train(dataset, folder, dataclasses.replace(settings, processes=processes), threads=2)
        assert card["processes"] == processes
    one, two = ([float(row["loss"]) for row in _curve(tmp_path / name)[1:]] for name in ("1", "2"))
    assert two == pytest.approx(one, rel=2e-3)
    assert two[0] == pytest.approx(one[0], rel=1e-5)


def test_an_error_in_one_of_two_processes_is_told(dataset: dict[str, Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, processes=2, steps=30, validate_every=1, collapse_patience=2, learning_rate=1e-9)
    with pytest.raises(PorePatchError, match="learnt nothing"):
        _train(_unlearnable(dataset, tmp_path), tmp_path, settings)


def test_validation_needs_both_kinds_of_pairs(dataset: dict[str, Path], tmp_path: Path) -> None:
    pairs = pd.read_parquet(dataset["validation_pairs"])
    write_table(tmp_path / "pairs.parquet", pairs[pairs["is_match"]], PATCH_PAIRS)
    with pytest.raises(PorePatchError, match="both matching and non-matching"):
        _train(dataset | {"validation_pairs": tmp_path / "pairs.parquet"}, tmp_path, SETTINGS)


def test_crop_factors_must_agree(dataset: dict[str, Path], tmp_path: Path) -> None:
    index = pd.read_parquet(dataset["validation_index"])
    index["crop_factor"] = np.float32(24)
    write_table(tmp_path / "index.parquet", index, PATCHES)
    with pytest.raises(PorePatchError, match="crop factors"):
        _train(dataset | {"validation_index": tmp_path / "index.parquet"}, tmp_path, SETTINGS)
