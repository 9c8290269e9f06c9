"""HyNet and its loss against the authors' own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from porepatch_lib.descriptors.hynet import HyNet
from porepatch_lib.training.losses.hynet import hynet_loss

DESCRIPTOR_TOLERANCE, RAW_TOLERANCE = 1e-5, 3e-5


@pytest.fixture
def nets(shared: Path) -> Path:
    return shared / "reference" / "descriptors" / "nets"


def _network(nets: Path, dropout: float = 0.3) -> HyNet:
    network = HyNet(dropout)
    network.load_state_dict(load_file(nets / "hynet.safetensors"), strict=True)
    return network


@pytest.mark.parametrize(("suffix", "gain"), [("", 1.0), ("_unit", 1 / 255)])
def test_descriptors_in_evaluation_mode(nets: Path, suffix: str, gain: float) -> None:
    expected = np.load(nets / "hynet_io.npz")
    patches = torch.from_numpy(np.load(nets / "patches.npz")["patches32"]) * gain
    network = _network(nets).eval()
    with torch.no_grad():
        raw, descriptors = network.raw(patches).numpy(), network(patches).numpy()
    np.testing.assert_allclose(descriptors, expected[f"desc_eval{suffix}_f64"], rtol=0, atol=DESCRIPTOR_TOLERANCE)
    np.testing.assert_allclose(raw, expected[f"raw_eval{suffix}_f64"], rtol=0, atol=RAW_TOLERANCE)


def test_training_mode_uses_and_updates_batch_statistics(nets: Path) -> None:
    expected = np.load(nets / "hynet_io.npz")
    patches = torch.from_numpy(np.load(nets / "patches.npz")["patches32"])
    network = _network(nets, dropout=0.0).train()
    raw = network.raw(patches).detach().numpy()
    np.testing.assert_allclose(raw, expected["raw_train_f64"], rtol=0, atol=RAW_TOLERANCE)
    for name in ("layer7.2.running_mean", "layer7.2.running_var"):
        np.testing.assert_allclose(network.state_dict()[name], expected[f"after_train.{name}"], rtol=1e-5, atol=1e-5)


def test_one_training_step(nets: Path) -> None:
    step = load_file(nets / "hynet_step.safetensors")
    network = _network(nets, dropout=0.0).train()
    loss = hynet_loss(network.raw(step["patches_a"]), network.raw(step["patches_p"]))
    loss.backward()
    assert loss.item() == pytest.approx(step["loss_f64"].item(), rel=1e-5)
    for name, parameter in network.named_parameters():
        expected = step[f"grad.{name}"].numpy()
        np.testing.assert_allclose(parameter.grad, expected, rtol=0, atol=1e-4 * max(abs(expected).max(), 1e-6), err_msg=name)
    for name in ("layer7.2.running_mean", "layer7.2.running_var"):
        np.testing.assert_allclose(network.state_dict()[name], step[f"after.{name}"], rtol=1e-5, atol=1e-5)
