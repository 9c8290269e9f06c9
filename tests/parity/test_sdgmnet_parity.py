"""SDGMNet against the authors' own numbers; both forms of its published state dict load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from porepatch_lib.descriptors.sdgmnet import SDGMNet

TOLERANCE = 1e-5


@pytest.fixture
def nets(shared: Path) -> Path:
    return shared / "reference" / "descriptors" / "nets"


@pytest.fixture
def state(nets: Path) -> dict[str, Tensor]:
    return load_file(nets / "sdgmnet.safetensors")


def _other_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` under its second names: layer1.0.weight as features.0.0.weight."""
    return {f"features.{int(name[5]) - 1}{name[6:]}": tensor for name, tensor in state.items()}


def _network(state: dict[str, Tensor], dropout: float = 0.3) -> SDGMNet:
    network = SDGMNet(dropout)
    network.load_state_dict(state, strict=True)
    return network


@pytest.mark.parametrize(("suffix", "gain"), [("", 1.0), ("_unit", 1 / 255)])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_descriptors(nets: Path, state: dict[str, Tensor], mode: str, suffix: str, gain: float) -> None:
    expected = np.load(nets / "sdgmnet_io.npz")
    patches = torch.from_numpy(np.load(nets / "patches.npz")["patches32"]) * gain
    network = _network(state, dropout=0.0).train(mode == "train")
    with torch.no_grad():
        descriptors = network(patches)
    np.testing.assert_allclose(descriptors, expected[f"desc_{mode}{suffix}_f64"], rtol=0, atol=TOLERANCE)
    if mode == "train" and not suffix:
        for name in ("layer7.2.running_mean", "layer7.2.running_var"):
            np.testing.assert_allclose(network.state_dict()[name], expected[f"after_train.{name}"], rtol=1e-5, atol=1e-5)


def test_every_form_of_the_state_dict_loads(state: dict[str, Tensor]) -> None:
    for form in (state, _other_names(state), state | _other_names(state)):
        given = set(form)
        saved = _network(form).state_dict()
        assert set(form) == given  # the caller's dict stays as it is
        assert set(saved) == set(state)  # every tensor once, as layerK.*
        assert all(torch.equal(saved[name], tensor) for name, tensor in state.items())


def test_two_copies_that_differ_are_refused(state: dict[str, Tensor]) -> None:
    doubled = state | _other_names(state)
    doubled["features.2.0.weight"] = doubled["features.2.0.weight"] + 1
    with pytest.raises(RuntimeError, match=r"features\.2\.0\.weight and layer3\.0\.weight .* differ"):
        _network(doubled)


def test_a_missing_tensor_is_told(state: dict[str, Tensor]) -> None:
    del state["layer5.1.weight"]
    with pytest.raises(RuntimeError, match=r"layer5\.1\.weight"):
        _network(state)


def test_dropout_is_the_published_one() -> None:
    assert SDGMNet().layer7[0].p == 0.3
    assert SDGMNet(dropout=0.0).layer7[0].p == 0.0
