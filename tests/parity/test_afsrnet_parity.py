"""AFSRNet against the authors' own numbers, with the reference folder's recipe for its 14 million weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from porepatch_lib.descriptors.afsrnet import AFSRNet

TOLERANCE = 1e-5


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return one tensor of the recipe in the reference README ('afsrnet_io.npz'): n is standard normal, drawn by `seed`."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    n = np.random.RandomState(seed).standard_normal(shape)
    if name.endswith(".eps"):
        values = np.full(shape, 1e-6)
    elif name.endswith("running_mean"):
        values = 0.1 * n
    elif name.endswith("running_var"):
        values = np.exp(0.2 * n)
    elif name.endswith("_w"):
        values = 0.6 + 0.3 * n
    elif name.endswith(".tau"):
        values = -1 + 0.12 * n
    elif name.endswith(".bias"):
        values = 0.1 * n
    elif len(shape) == 4 and shape[0] > 1:
        values = n * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = 1 + 0.12 * n
    return torch.from_numpy(np.asarray(values, np.float32))


@pytest.fixture(scope="module")
def expected(shared: Path) -> Mapping[str, Any]:
    with np.load(shared / "reference" / "descriptors" / "nets" / "afsrnet_io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def state(expected: Mapping[str, Any]) -> dict[str, Tensor]:
    shapes = [tuple(int(side) for side in text.split(",") if side) for text in expected["tensor_shapes"]]
    named = enumerate(zip(expected["tensor_names"], shapes, strict=True))
    return {str(name): _tensor(str(name), shape, int(expected["seed_base"]) + i) for i, (name, shape) in named}


@pytest.fixture(scope="module")
def patches(shared: Path) -> Tensor:
    with np.load(shared / "reference" / "descriptors" / "nets" / "patches.npz") as arrays:
        return torch.from_numpy(arrays["patches64"])


def _network(state: dict[str, Tensor], dropout: float = 0.2) -> AFSRNet:
    network = AFSRNet(dropout)
    network.load_state_dict(state, strict=True)
    return network


def test_the_recipe_makes_the_weights_that_were_used(expected: Mapping[str, Any], state: dict[str, Tensor]) -> None:
    sums = [tensor.double().sum().item() for tensor in state.values()]
    np.testing.assert_allclose(sums, expected["checksum"], rtol=1e-9, atol=1e-7)


def test_tensor_names_and_shapes(expected: Mapping[str, Any]) -> None:
    ours = AFSRNet().state_dict()
    assert sorted(ours) == expected["tensor_names"].tolist()
    assert [",".join(map(str, ours[name].shape)) for name in sorted(ours)] == expected["tensor_shapes"].tolist()


def test_descriptors_in_evaluation_mode(expected: Mapping[str, Any], state: dict[str, Tensor], patches: Tensor) -> None:
    with torch.no_grad():
        descriptors = _network(state).eval()(patches)
    np.testing.assert_allclose(descriptors, expected["desc_eval_f64"], rtol=0, atol=TOLERANCE)


def test_descriptors_in_training_mode(expected: Mapping[str, Any], state: dict[str, Tensor], patches: Tensor) -> None:
    network = _network(state, dropout=0.0).train()
    with torch.no_grad():
        descriptors = network(patches)
    np.testing.assert_allclose(descriptors, expected["desc_train_f64"], rtol=0, atol=TOLERANCE)


def test_double_precision_is_the_same_computation(expected: Mapping[str, Any], state: dict[str, Tensor], patches: Tensor) -> None:
    with torch.no_grad():
        descriptors = _network(state).double().eval()(patches[:4].double())
    np.testing.assert_allclose(descriptors, expected["desc_eval_f64"][:4], rtol=0, atol=1e-12)
