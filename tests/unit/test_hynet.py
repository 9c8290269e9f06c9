"""HyNet's layers in closed form, and the fused CPU kernel against plain tensor operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from porepatch_lib.descriptors.filter_response import FRN, TLU, filter_response
from porepatch_lib.descriptors.hynet import HyNet
from porepatch_lib.descriptors.micro_batches import in_micro_batches


def test_filter_response_by_hand() -> None:
    # mean square of (1, 7, 5, 5) is 25: the normalised values are 0.2, 1.4, 1, 1; doubled plus 1; then at least 2
    frn, tlu = FRN(1), TLU(1)
    frn.weight.data.fill_(2.0)
    frn.bias.data.fill_(1.0)
    tlu.tau.data.fill_(2.0)
    y = filter_response(torch.tensor([[[[1.0, 7.0], [5.0, 5.0]]]]), frn, tlu)
    torch.testing.assert_close(y, torch.tensor([[[[2.0, 3.8], [3.0, 3.0]]]]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 32, 6, 4), (3, 1, 8, 8), (1, 7, 3, 3)])
def test_fused_kernel_equals_plain_operations(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    frn, tlu = _jittered_pair(shape[1], generator)
    x = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
    upstream = torch.randn(shape, generator=generator).to(dtype)
    inputs = [x, frn.weight, frn.bias, tlu.tau]
    fused = filter_response(x, frn, tlu)
    fused_gradients = torch.autograd.grad(fused, inputs, upstream)

    x64, frn64, tlu64 = x.detach().double().requires_grad_(), frn.double(), tlu.double()
    plain = filter_response(x64, frn64, tlu64)
    plain_gradients = torch.autograd.grad(plain, [x64, frn64.weight, frn64.bias, tlu64.tau], upstream.double())

    # In bfloat16 only what is given and returned is rounded, to 8 bits: by 2^-8 of the value at most.
    rounding = 2**-8 if dtype == torch.bfloat16 else 0.0
    assert fused.dtype == fused_gradients[0].dtype == dtype
    torch.testing.assert_close(fused.double(), plain, rtol=1e-5 + rounding, atol=1e-5)
    torch.testing.assert_close(fused_gradients[0].double(), plain_gradients[0], rtol=1e-5 + rounding, atol=1e-5)
    for one, other in zip(fused_gradients[1:], plain_gradients[1:], strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_rounded_to_the_nearest_and_ties_to_even() -> None:
    frn, tlu = FRN(64), TLU(64)
    frn.weight.data.copy_(torch.linspace(0.5, 1.5, 64)[None, :, None, None])
    x = torch.linspace(-2, 3, 64 * 64).reshape(1, 64, 8, 8).bfloat16()
    with torch.no_grad():
        exact = filter_response(x.float(), frn, tlu)
        torch.testing.assert_close(filter_response(x, frn, tlu), exact.bfloat16(), rtol=0, atol=0)


def test_traced_operations_are_plain_and_equal() -> None:
    generator = torch.Generator().manual_seed(1)
    frn, tlu = _jittered_pair(4, generator)
    x = torch.randn(3, 4, 5, 5, generator=generator)
    traced = torch.export.export(_Pair(frn, tlu), (x,))
    assert "rsqrt" in traced.graph_module.code
    torch.testing.assert_close(traced.module()(x), filter_response(x, frn, tlu), rtol=0, atol=1e-5)


class _Pair(nn.Module):
    def __init__(self, frn: FRN, tlu: TLU) -> None:
        super().__init__()
        self.frn, self.tlu = frn, tlu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return filter_response(x, self.frn, self.tlu)


def _jittered_pair(channels: int, generator: torch.Generator) -> tuple[FRN, TLU]:
    frn, tlu = FRN(channels), TLU(channels)
    for parameter in (frn.weight, frn.bias, tlu.tau):
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    return frn, tlu


def test_network_contract() -> None:
    torch.manual_seed(0)
    network = HyNet().eval()
    patches = torch.randint(0, 256, (70, 1, 32, 32)).float()  # more than one micro-batch, the last one partial
    with torch.no_grad():
        descriptors = network(patches)
        alone = network(patches[67:68])
        nothing = network(patches[:0])
    assert descriptors.shape == (70, 128)
    assert nothing.shape == (0, 128)
    assert descriptors.dtype == torch.float32
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(70))
    torch.testing.assert_close(descriptors[67:68], alone, rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_336_355


def test_gain_of_a_patch_does_not_matter() -> None:
    torch.manual_seed(0)
    network = HyNet().eval()
    patches = torch.randint(20, 200, (4, 1, 32, 32)).float()
    with torch.no_grad():
        torch.testing.assert_close(network(patches), network(1.25 * patches), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_threads_that_own_micro_batches_give_what_one_thread_gives(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    network = HyNet().eval()
    patches = torch.randint(0, 256, (100, 1, 32, 32)).float()
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.inference_mode(), torch.autocast("cpu", precision, precision == torch.bfloat16):
                found.append(network(patches))
            assert torch.get_num_threads() == threads  # theirs is one, ours is as it was
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6 if precision == torch.float32 else 1e-3)


def test_micro_batches_pass_a_gradient() -> None:
    patches = torch.rand(7, 1, 4, 4, requires_grad=True)
    in_micro_batches(lambda part: part.square().sum((1, 2, 3))[:, None], patches, size=3).sum().backward()
    torch.testing.assert_close(patches.grad, 2 * patches.detach())


def test_bfloat16_descriptors_are_near_those_of_float32() -> None:
    torch.manual_seed(0)
    network = HyNet().eval()
    patches = torch.randint(0, 256, (64, 1, 32, 32)).float()
    with torch.inference_mode():
        exact = network(patches)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(patches)
    difference = (exact - rounded).abs().max().item()
    assert 0 < difference < 1e-2


def test_threads_that_own_micro_batches_use_one_thread_and_no_gradient() -> None:
    seen = []

    def look(part: Tensor) -> Tensor:
        for _ in range(2):  # the second look finds what a first use of the number of threads has changed
            seen.append((torch.is_grad_enabled(), torch.get_num_threads()))
        return part

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            in_micro_batches(look, torch.zeros(8, 1, 4, 4), 2)
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {(False, 1)}
