"""What a GPU computes is what the CPU does, within the tolerance that the documentation states. Skips where there is no GPU."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from patch_sets import write_dataset

from porepatch_lib.descriptors.networks import build_network, describe_patches
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.train import train

# Convolutions of a GPU take 11 bits of a float32 (TF32), and 8 in training (bfloat16), where the CPU may take 24.
LARGEST_DIFFERENCE = 0.005  # of a component of a unit descriptor as stored, in float16 (11 bits)
LEAST_COSINE = 0.9999
LOSS_TOLERANCE = 0.02  # relative, of the first step

_GPUS = [name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there]
_on_a_gpu = pytest.mark.parametrize("gpu", _GPUS or [pytest.param("", marks=pytest.mark.skip(reason="no GPU here"))])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def _descriptors(dataset: dict[str, Path], device: str, precision: str = "float32") -> np.ndarray:
    torch.manual_seed(0)
    patches = np.load(dataset["train_patches"])
    found = describe_patches(build_network("hynet", {}), patches, 256, device, 1, precision)
    return found.astype(np.float16).astype(np.float64)


def _first_loss(dataset: dict[str, Path], folder: Path, device: str) -> float:
    settings = TrainingSettings(steps=1, points_per_batch=64, warmup_steps=0, validate_every=1, checkpoint_every=1, dropout=0.0)
    outputs = {"output_weights": folder / "w.safetensors", "output_card": folder / "w.json", "output_curve": folder / "w.csv"}
    train(TrainingJob(**dataset, **outputs, checkpoint_folder=folder / "c", settings=settings, seed=3, threads=1, device=device))
    with (folder / "w.csv").open(newline="") as stream:
        return float(list(csv.DictReader(stream))[1]["loss"])


def _assert_alike(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= LARGEST_DIFFERENCE
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(axis=1) / lengths).min() >= LEAST_COSINE


@_on_a_gpu
def test_a_gpu_describes_as_the_cpu_within_the_tolerance(dataset: dict[str, Path], gpu: str) -> None:
    _assert_alike(_descriptors(dataset, gpu), _descriptors(dataset, "cpu"))


@_on_a_gpu
def test_a_gpu_repeats_itself_bit_for_bit(dataset: dict[str, Path], gpu: str, tmp_path: Path) -> None:
    assert np.array_equal(_descriptors(dataset, gpu), _descriptors(dataset, gpu))
    for name in ("one", "two"):
        _first_loss(dataset, tmp_path / name, gpu)
    assert (tmp_path / "one/w.safetensors").read_bytes() == (tmp_path / "two/w.safetensors").read_bytes()


@_on_a_gpu
def test_a_step_on_a_gpu_is_a_step_on_the_cpu_within_the_tolerance(dataset: dict[str, Path], gpu: str, tmp_path: Path) -> None:
    on_gpu, on_cpu = (_first_loss(dataset, tmp_path / device, device) for device in (gpu, "cpu"))
    assert on_gpu == pytest.approx(on_cpu, rel=LOSS_TOLERANCE)
