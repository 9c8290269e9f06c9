"""HardNet, SOSNet and L2-Net against the authors' own numbers, and against kornia."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from porepatch_lib.descriptors.l2net import HardNet, L2Net, SOSNet
from porepatch_lib.descriptors.network import DescriptorNetwork

TOLERANCE = 1e-5
NETWORKS = {"hardnet": HardNet, "sosnet": SOSNet}
# of HardNet's loader: grey values 0..1 minus the first, divided by the second
LOADER_MEAN, LOADER_DEVIATION = 0.443728476019, 0.20197947209


@pytest.fixture
def nets(shared: Path) -> Path:
    return shared / "reference" / "descriptors" / "nets"


def _network(nets: Path, name: str, dtype: torch.dtype = torch.float32) -> DescriptorNetwork:
    network = NETWORKS[name](dropout=0.0)
    network.load_state_dict(load_file(nets / f"{name}.safetensors"), strict=True)
    return network.to(dtype)


def _patches(nets: Path, suffix: str = "") -> Tensor:
    patches = torch.from_numpy(np.load(nets / "patches.npz")["patches32"])
    return (patches / 255 - LOADER_MEAN) / LOADER_DEVIATION if suffix == "_pre" else patches


@pytest.mark.parametrize(("name", "suffix"), [("hardnet", ""), ("hardnet", "_pre"), ("sosnet", "")])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_descriptors(nets: Path, name: str, suffix: str, mode: str) -> None:
    expected = np.load(nets / f"{name}_io.npz")[f"desc_{mode}{suffix}_f64"]
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, 1e-9 if not suffix else 1e-6)):
        network = _network(nets, name, dtype).train(mode == "train")
        with torch.no_grad():
            descriptors = network(_patches(nets, suffix).to(dtype)).numpy()
        np.testing.assert_allclose(descriptors, expected, rtol=0, atol=tolerance)


def test_the_loader_of_hardnet_makes_no_difference(nets: Path) -> None:
    network = _network(nets, "hardnet").eval()
    with torch.no_grad():
        torch.testing.assert_close(network(_patches(nets)), network(_patches(nets, "_pre")), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", NETWORKS)
def test_running_statistics_after_one_pass(nets: Path, name: str) -> None:
    expected = np.load(nets / f"{name}_io.npz")
    network = _network(nets, name).train()
    with torch.no_grad():
        network(_patches(nets))
    after = [key for key in expected.files if key.startswith("after_train.")]
    assert len(after) == 14
    for key in after:
        np.testing.assert_allclose(network.state_dict()[key.removeprefix("after_train.")], expected[key], rtol=1e-5, atol=1e-5)


def test_l2net_has_the_published_tensors(nets: Path) -> None:
    listed = json.loads((nets / "index.json").read_text())["l2net_hynetrepo"]["tensors"]
    ours = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in L2Net().state_dict().items()}
    assert ours == listed


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_l2net_is_sosnet_under_other_names(nets: Path, mode: str) -> None:
    # the same layers with the same eps: SOSNet's vectors hold for this class too
    by_layer = zip(L2Net().state_dict(), SOSNet().state_dict(), strict=True)
    weights = load_file(nets / "sosnet.safetensors")
    network = L2Net(dropout=0.0)
    network.load_state_dict({ours: weights[theirs] for ours, theirs in by_layer}, strict=True)
    with torch.no_grad():
        descriptors = network.train(mode == "train")(_patches(nets)).numpy()
    np.testing.assert_allclose(descriptors, np.load(nets / "sosnet_io.npz")[f"desc_{mode}_f64"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "kornia_name"), [("hardnet", "HardNet"), ("sosnet", "SOSNet")])
def test_kornia_with_the_same_weights(nets: Path, name: str, kornia_name: str) -> None:
    feature: Any = pytest.importorskip("kornia.feature")
    theirs = getattr(feature, kornia_name)(pretrained=False)
    theirs.load_state_dict(load_file(nets / f"{name}.safetensors"), strict=True)
    with torch.no_grad():
        ours = _network(nets, name).eval()(_patches(nets))
        torch.testing.assert_close(ours, theirs.eval()(_patches(nets)), rtol=0, atol=2e-6)
