"""The L2-Net family and TFeat: shapes, names, layers in closed form, chunks, dropout and gradients."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors import l2net
from porepatch_lib.descriptors.l2net import HardNet, L2Net, SOSNet, standardise
from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.descriptors.tfeat import HardTFeat, TFeat

TRUNKS = [HardNet, SOSNet, L2Net]
NETWORKS = [*TRUNKS, TFeat, HardTFeat]


@cache
def _network(kind: type[DescriptorNetwork]) -> DescriptorNetwork:
    """Return a network whose running statistics are not the initial ones; tests that change it take a copy."""
    torch.manual_seed(0)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


def _patches(count: int) -> Tensor:
    return torch.randint(20, 200, (count, 1, 32, 32), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("kind", NETWORKS)
def test_contract(kind: type[DescriptorNetwork]) -> None:
    network, patches = _network(kind), _patches(70)  # more than one chunk, the last one partial
    with torch.no_grad():
        descriptors, alone, nothing = network(patches), network(patches[67:68]), network(patches[:0])
    assert descriptors.shape == (70, network.dimension) == (70, 128)
    assert nothing.shape == (0, 128)
    assert descriptors.dtype == torch.float32
    torch.testing.assert_close(descriptors[67:68], alone, rtol=0, atol=1e-6)
    if kind is TFeat:
        assert (descriptors.norm(dim=1) - 1).abs().min() > 0.1
        assert descriptors.abs().max() < 1
    else:
        torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(70))


@pytest.mark.parametrize(
    ("kind", "parameters", "first", "last"),
    [
        (HardNet, 1_334_560, "features.0.weight", "features.20.num_batches_tracked"),
        (SOSNet, 1_334_560, "layers.1.weight", "layers.21.num_batches_tracked"),
        (L2Net, 1_334_560, "layer1.1.weight", "layer7.2.num_batches_tracked"),
        (TFeat, 599_808, "features.1.weight", "descr.0.bias"),
        (HardTFeat, 599_808, "features.0.weight", "classifier.1.bias"),
    ],
)
def test_published_names_and_sizes(kind: type[DescriptorNetwork], parameters: int, first: str, last: str) -> None:
    network = kind()
    names = set(network.state_dict())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert {first, last} <= names
    assert not any(name.startswith("trunk.") for name in names)


@pytest.mark.parametrize("kind", NETWORKS)
def test_state_goes_round_also_inside_another_module(kind: type[DescriptorNetwork]) -> None:
    network, patches = _network(kind), _patches(2)
    other = nn.ModuleDict({"inner": copy.deepcopy(kind())}).eval()
    other.load_state_dict(nn.ModuleDict({"inner": network}).state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other["inner"](patches), network(patches), rtol=0, atol=0)


def test_state_with_missing_and_unknown_tensors_is_refused() -> None:
    state = HardTFeat().state_dict()
    HardTFeat().load_state_dict({**state, "SIFT.gx.0.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="Unexpected"):
        HardTFeat().load_state_dict({**state, "SIFTED.weight": torch.zeros(1)})
    del state["features.0.weight"]
    with pytest.raises(RuntimeError, match="Missing"):
        HardTFeat().load_state_dict(state)
    with pytest.raises(RuntimeError, match="Unexpected"):
        TFeat().load_state_dict({**TFeat().state_dict(), "SIFT.gx.0.weight": torch.zeros(1)})


def test_standardise_by_hand() -> None:
    # mean 5, unbiased variance (16 + 4 + 4 + 16) / 3
    patch = torch.tensor([[[[1.0, 3.0], [7.0, 9.0]]]])
    expected = torch.tensor([[[[-4.0, -2.0], [2.0, 4.0]]]]) / (40 / 3) ** 0.5
    torch.testing.assert_close(standardise(patch), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(standardise(torch.full((1, 1, 2, 2), 9.0)), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("kind", NETWORKS)
def test_gain_and_offset_of_a_patch_do_not_matter(kind: type[DescriptorNetwork]) -> None:
    network, patches = _network(kind), _patches(4)
    with torch.no_grad():
        torch.testing.assert_close(network(patches), network(1.2 * patches + 7), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", TRUNKS)
def test_folded_batch_norms_equal_the_layers_one_after_another(kind: type[DescriptorNetwork]) -> None:
    network, patches = _network(kind), _patches(5)
    x = network.normalise(patches)  # type: ignore[operator]
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)):
            x = module(x)
    with torch.no_grad():
        torch.testing.assert_close(network.raw(patches), x.flatten(1), rtol=0, atol=1e-5)
        descriptors = functional.normalize(x.flatten(1), dim=1)
        torch.testing.assert_close(network(patches), descriptors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", TRUNKS)
def test_training_uses_the_statistics_of_the_whole_batch(kind: type[DescriptorNetwork], monkeypatch: pytest.MonkeyPatch) -> None:
    network, patches = kind(dropout=0.0).train(), _patches(6)
    monkeypatch.setattr(l2net, "_MICRO_BATCH", 2)
    raw = network.raw(patches)
    # a batch norm without gain and offset leaves mean 0 and biased variance 1 over the batch
    torch.testing.assert_close(raw.mean(0), torch.zeros(128), rtol=0, atol=1e-5)
    torch.testing.assert_close(raw.var(0, correction=0), torch.ones(128), rtol=0, atol=1e-2)
    steps = [int(tensor) for name, tensor in network.state_dict().items() if name.endswith("num_batches_tracked")]
    assert steps == [1] * 7


@pytest.mark.parametrize("kind", NETWORKS)
def test_dropout_in_training_only(kind: type[DescriptorNetwork]) -> None:
    network, patches = copy.deepcopy(_network(kind)), _patches(3)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    with torch.no_grad():
        assert torch.equal(network(patches), network(patches))
        network.train()
        assert (network(patches) - network(patches)).abs().max() > 1e-2


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", NETWORKS)
def test_gradient_reaches_every_parameter(kind: type[DescriptorNetwork], training: bool) -> None:
    network = copy.deepcopy(_network(kind)).train(training)
    network.raw(_patches(4)).square().mul(torch.arange(128.0)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", [HardNet, TFeat])
def test_convolutions_run_channels_last(kind: type[DescriptorNetwork]) -> None:
    network, layouts = copy.deepcopy(_network(kind)).train(), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output: layouts.append(output.stride(1)))
    network.raw(_patches(3))
    assert layouts == [1] * len(layouts)
    assert len(layouts) >= 2


def test_flat_patches_give_finite_descriptors() -> None:
    for kind in NETWORKS:
        with torch.no_grad():
            assert torch.isfinite(_network(kind)(torch.full((2, 1, 32, 32), 128.0))).all()


def test_hardnet_starts_with_orthogonal_filters() -> None:
    weight = HardNet().state_dict()["features.3.weight"].flatten(1)  # (32, 288)
    torch.testing.assert_close(weight @ weight.T, 0.36 * torch.eye(32), rtol=0, atol=1e-5)
