"""AFSRNet's parts in closed form: crops, fusion, sizes, and what must not change its descriptors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from porepatch_lib.descriptors import afsrnet
from porepatch_lib.descriptors.afsrnet import AFSRNet

MARGINS = {1: 0, 2: 8, 3: 16}  # of the crops that trunks 1, 2, 3 see: the whole patch, [8:56], [16:48]


@pytest.fixture(scope="module")
def network() -> AFSRNet:
    torch.manual_seed(0)
    return AFSRNet().eval()


def _patches(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 1, 64, 64), generator=torch.Generator().manual_seed(1)).float()


def _trunk_outputs(network: AFSRNet, patches: Tensor) -> dict[int, Tensor]:
    """Return what the trunks 1, 2, 3 make of patches."""
    outputs: dict[int, Tensor] = {}

    def keep(number: int) -> torch.utils.hooks.RemovableHandle:
        trunk = network.get_submodule(f"input{number}_cov2")
        return trunk.register_forward_hook(lambda _module, _inputs, output: outputs.update({number: output}))

    handles = [keep(number) for number in MARGINS]
    with torch.no_grad():
        network(patches)
    for handle in handles:
        handle.remove()
    return outputs


def test_shapes_sizes_and_names(network: AFSRNet) -> None:
    with torch.no_grad():
        descriptors, nothing = network(_patches(3)), network(_patches(3)[:0])
    assert descriptors.shape == (3, network.dimension) == (3, 384)
    assert descriptors.dtype == torch.float32
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(3))
    assert nothing.shape == (0, 384)
    # Weights of 3x3 and 11x11 convolutions, of fusion nodes and of the last, full-size convolution, counted by hand:
    stems = 32 * (9 + 121 + 9) + 3 * 3 * 32
    trunk = 9 * (32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 3 * (32 + 64 + 64 + 128 + 128)
    fusion = 3 * (128 * 128 + 3 * 128) + (9 * 128 * 512 + 3 * 512) + (2 + 3 + 2 + 3)
    last = 384 * 512 * 64
    assert sum(parameter.numel() for parameter in network.parameters()) == stems + 3 * trunk + fusion + last == 14_090_154
    assert all(output.shape == (2, 128, 8, 8) for output in _trunk_outputs(network, _patches(2)).values())
    names = set(network.state_dict())
    assert {"p13_w", "input2_cov1.conv.1.running_var", "input3_cov2.features.14.tau", "descriptornet.1.weight"} <= names
    assert len(names) == 132


@pytest.mark.parametrize("row", [0, 7, 8, 15, 16, 47, 48, 55, 56, 63])
def test_a_trunk_sees_its_crop_and_no_more(network: AFSRNet, row: int) -> None:
    patches = _patches(1)
    changed = patches.clone()
    changed[0, 0, row, 32] += 100.0
    before, after = _trunk_outputs(network, patches), _trunk_outputs(network, changed)
    seen = {number for number in MARGINS if not torch.equal(before[number], after[number])}
    assert seen == {number for number, margin in MARGINS.items() if margin <= row < 64 - margin}


def test_the_head_is_the_last_batch_norm_alone(network: AFSRNet) -> None:
    patches = _patches(4)
    norm = network.descriptornet[2]
    with torch.no_grad():
        features = network.features(patches)
        torch.testing.assert_close(network.head(features), (features - norm.running_mean) / (norm.running_var + 1e-5).sqrt())
        torch.testing.assert_close(network.raw(patches), network.head(features))


def test_fusion_by_hand() -> None:
    # The negative weight counts as 0; with the published 1e-4 in the sum the others are 3 and 1 parts of 5.
    maps = [torch.full((1, 1, 1, 1), value) for value in (2.0, 100.0, -4.0)]
    mean = torch.tensor((3 * 2.0 + 1 * -4.0) / 5)
    fused = afsrnet._fuse(torch.tensor([3e-4, -5e-4, 1e-4]), *maps)
    torch.testing.assert_close(fused.squeeze(), mean * torch.sigmoid(mean))


def test_micro_batches_change_nothing(network: AFSRNet, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = _patches(7)
    with torch.no_grad():
        whole = network(patches)
        monkeypatch.setattr(afsrnet, "_MICRO_BATCH", 3)  # 3, 3 and 1 patches
        torch.testing.assert_close(network(patches), whole, rtol=0, atol=1e-6)
        torch.testing.assert_close(network(patches[5:6]), whole[5:6], rtol=0, atol=1e-6)


def test_training_sees_the_whole_batch(network: AFSRNet, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    fresh = AFSRNet(dropout=0.0).train()
    patches = _patches(5)
    monkeypatch.setattr(afsrnet, "_MICRO_BATCH", 2)
    with torch.no_grad():
        fresh(patches)
        stem = fresh.input3_cov1.conv
        response = stem[0](patches[:, :, 16:48, 16:48])
    assert stem[1].num_batches_tracked == 1
    torch.testing.assert_close(stem[1].running_mean, 0.1 * response.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-4)


def test_dropout_is_in_front_of_the_last_convolution() -> None:
    torch.manual_seed(0)
    network = AFSRNet()
    assert isinstance(network.descriptornet[0], nn.Dropout)
    assert network.descriptornet[0].p == 0.2  # published
    patches = _patches(2)
    with torch.no_grad():
        assert not torch.equal(network.features(patches), network.features(patches))
        network.descriptornet[0].p = 1.0  # nothing left
        assert network.features(patches).abs().max() == 0
        network.eval()
        torch.testing.assert_close(network.features(patches), network.features(patches), rtol=0, atol=0)
        assert network.features(patches).abs().max() > 0
    without = AFSRNet(dropout=0.0).train()
    with torch.no_grad():
        torch.testing.assert_close(without.features(patches), without.features(patches), rtol=0, atol=0)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = AFSRNet().train()
    target = torch.randn(4, 384)
    (network(_patches(4)) * target).sum().backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []


def test_half_precision_describes_nearly_the_same(network: AFSRNet) -> None:
    patches = _patches(4)
    with torch.no_grad():
        exact = network(patches)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(patches)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=1e-2)
