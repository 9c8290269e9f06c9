"""The training stage on a tiny synthetic patch set: learning, choice of the checkpoint, resuming after a kill."""

from __future__ import annotations

import csv
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_array
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.train import train

VIEWS = 3
SETTINGS = TrainingSettings(
    steps=30, points_per_batch=32, warmup_steps=3, validate_every=10, checkpoint_every=5, learning_rate=0.003
)

# Run in a process of its own, which kills itself as soon as the checkpoint of step 5 lies on the disk.
KILLED_RUN = """
import json, os, pathlib, signal, sys, threading, time
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.train import train

def kill_after_checkpoint(path):
    while not path.exists():
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)

paths, settings = json.loads(sys.argv[1])
paths = {name: pathlib.Path(path) for name, path in paths.items()}
checkpoint = paths["checkpoint_folder"] / "checkpoint.safetensors"
threading.Thread(target=kill_after_checkpoint, args=[checkpoint], daemon=True).start()
train(**paths, settings=TrainingSettings(**settings), initial_weights=None, seed=3, threads=1, device="cpu")
"""


def _write_split(folder: Path, subject: str, points: int, seed: int) -> None:
    """Write `points` random blob textures, each seen from three views with shift, blur, gain and noise."""
    generator = np.random.default_rng(seed)
    patches, rows = [], []
    for point in range(points):
        texture = cv2.GaussianBlur(generator.normal(0, 1, (80, 80)), (0, 0), 3)
        texture = 128 + 40 * texture / texture.std()
        for view in range(VIEWS):
            affine = np.array([[1, 0, 0], [0, 1, 0]]) + generator.normal(0, 1, (2, 3)) * [0.03, 0.03, 1.5]
            seen = cv2.warpAffine(texture, affine, (80, 80), borderMode=cv2.BORDER_REFLECT)[8:72, 8:72]
            seen = seen * generator.uniform(0.7, 1.2) + generator.normal(0, 6, seen.shape)
            patches.append(np.clip(np.rint(seen), 0, 255).astype(np.uint8))
            rows.append((subject, point, view, point, 50.0 * point, 10.0, 2.0, 0, 0, 12.0))
    first = np.arange(points) * VIEWS
    other = (np.roll(np.arange(points), 1) * VIEWS) + 1
    pairs = pd.DataFrame(
        {
            "patch_1": np.concatenate([first, first, first]),
            "patch_2": np.concatenate([first + 1, first + 2, other]),
            "is_match": np.repeat([True, True, False], points),
        }
    )
    write_array(folder / "patches.npy", np.stack(patches))
    write_table(folder / "index.parquet", pd.DataFrame(rows, columns=PATCHES.schema.names), PATCHES)
    write_table(folder / "pairs.parquet", pairs, PATCH_PAIRS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dataset")
    _write_split(folder / "train", "anna", 200, seed=1)
    _write_split(folder / "validation", "bert", 80, seed=2)
    return {
        "train_patches": folder / "train" / "patches.npy",
        "train_index": folder / "train" / "index.parquet",
        "validation_patches": folder / "validation" / "patches.npy",
        "validation_index": folder / "validation" / "index.parquet",
        "validation_pairs": folder / "validation" / "pairs.parquet",
    }


def _outputs(folder: Path) -> dict[str, Path]:
    return {
        "output_weights": folder / "hynet.safetensors",
        "output_card": folder / "hynet.json",
        "output_curve": folder / "hynet.csv",
        "checkpoint_folder": folder / "checkpoint",
    }


def _train(
    dataset: dict[str, Path], folder: Path, settings: TrainingSettings, initial_weights: Path | None = None, seed: int = 3
) -> dict[str, Any]:
    """Train on the CPU and return the card."""
    outputs = _outputs(folder)
    train(**dataset, **outputs, settings=settings, initial_weights=initial_weights, seed=seed, threads=1, device="cpu")
    return read_json(outputs["output_card"])


@pytest.fixture(scope="module")
def trained(dataset: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    _train(dataset, folder, SETTINGS)
    return folder


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


def test_killed_run_resumes_to_the_same_weights(dataset: dict[str, Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=12, validate_every=4)
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    _train(dataset, straight, settings)

    paths = {name: str(path) for name, path in (dataset | _outputs(resumed)).items()}
    arguments = json.dumps([paths, dataclasses.asdict(settings)])
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN, arguments], cwd=Path(__file__).parents[2], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (resumed / "hynet.safetensors").exists()
    card = _train(dataset, resumed, settings)

    assert card["resumed_at"] in (5, 10)
    for name in ("hynet.safetensors", "hynet.csv"):
        assert (straight / name).read_bytes() == (resumed / name).read_bytes()


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


def test_collapse_is_told(dataset: dict[str, Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=1, learning_rate=1e-9)
    pairs = pd.read_parquet(dataset["validation_pairs"])
    pairs["is_match"] = np.random.default_rng(0).permutation(pairs["is_match"])  # nothing can be learnt from these
    write_table(tmp_path / "pairs.parquet", pairs, PATCH_PAIRS)
    card = _train(dataset | {"validation_pairs": tmp_path / "pairs.parquet"}, tmp_path, settings)
    assert card["validation_fpr95"] >= 0.9
    assert "did not learn" in card["warning"]


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
