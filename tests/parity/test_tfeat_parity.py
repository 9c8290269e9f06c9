"""TFeat and HardTFeat with their published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.descriptors.tfeat import HardTFeat, TFeat

TOLERANCE = 2e-5


@pytest.fixture
def patches(shared: Path) -> Tensor:
    return torch.from_numpy(np.load(shared / "reference" / "descriptors" / "nets" / "patches.npz")["patches32"])


def _load(network: DescriptorNetwork, weights: Path) -> DescriptorNetwork:
    network.load_state_dict(load_file(weights), strict=True)
    return network.eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, TOLERANCE), (torch.float64, 1e-6)])
def test_tfeat(shared: Path, patches: Tensor, dtype: torch.dtype, tolerance: float) -> None:
    vectors = np.load(shared / "reference" / "descriptors" / "nets" / "tfeat_liberty_io.npz")
    network = _load(TFeat(), shared / "weights" / "tfeat-liberty.safetensors").to(dtype)
    with torch.no_grad():
        descriptors = network(patches.to(dtype)).numpy()
    np.testing.assert_allclose(descriptors, vectors["desc_eval_f64"], rtol=0, atol=tolerance)


def test_tfeat_in_kornia_with_the_same_weights(shared: Path, patches: Tensor) -> None:
    feature: Any = pytest.importorskip("kornia.feature")
    weights = shared / "weights" / "tfeat-liberty.safetensors"
    theirs = feature.TFeat(pretrained=False)
    theirs.load_state_dict(load_file(weights), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(_load(TFeat(), weights)(patches), theirs.eval()(patches), rtol=0, atol=5e-6)


def test_hardtfeat_is_the_plain_formula(shared: Path, patches: Tensor) -> None:
    weights = shared / "weights" / "hardtfeat.safetensors"
    w = {name: tensor.double() for name, tensor in load_file(weights).items()}
    assert any(name.startswith("SIFT.") for name in w)
    x = patches.double()
    x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.flatten(1).std(1, correction=1)[:, None, None, None] + 1e-7)
    x = functional.max_pool2d(torch.tanh(functional.conv2d(x, w["features.0.weight"], w["features.0.bias"])), 2)
    x = torch.tanh(functional.conv2d(x, w["features.3.weight"], w["features.3.bias"]))
    x = torch.tanh(functional.conv2d(x, w["classifier.1.weight"], w["classifier.1.bias"])).flatten(1)
    expected = x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()
    with torch.no_grad():
        descriptors = _load(HardTFeat(), weights)(patches)
    torch.testing.assert_close(descriptors.double(), expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(len(patches)))


def test_published_weights_know_the_same_place_again(shared: Path, patches: Tensor) -> None:
    vectors = np.load(shared / "reference" / "descriptors" / "nets" / "patches.npz")
    again = torch.from_numpy(vectors["positives32"])
    for network, name in ((TFeat(), "tfeat-liberty"), (HardTFeat(), "hardtfeat")):
        _load(network, shared / "weights" / f"{name}.safetensors")
        with torch.no_grad():
            nearest = torch.cdist(network(patches), network(again)).argmin(1)
        assert (nearest == torch.arange(len(patches))).float().mean() >= 0.75
