"""HyNet's layers in closed form, and the fused CPU kernel against plain tensor operations."""

from __future__ import annotations

import pytest
import torch

from porepatch_lib.descriptors.filter_response import FRN, TLU, filter_response
from porepatch_lib.descriptors.hynet import HyNet


def test_filter_response_by_hand() -> None:
    # mean square of (1, 7, 5, 5) is 25: the normalised values are 0.2, 1.4, 1, 1; doubled plus 1; then at least 2
    frn, tlu = FRN(1), TLU(1)
    frn.weight.data.fill_(2.0)
    frn.bias.data.fill_(1.0)
    tlu.tau.data.fill_(2.0)
    y = filter_response(torch.tensor([[[[1.0, 7.0], [5.0, 5.0]]]]), frn, tlu)
    torch.testing.assert_close(y, torch.tensor([[[[2.0, 3.8], [3.0, 3.0]]]]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(5, 32, 6, 4), (1, 7, 3, 3)])
def test_fused_kernel_equals_plain_operations(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    frn, tlu = FRN(shape[1]), TLU(shape[1])
    for parameter in (frn.weight, frn.bias, tlu.tau):
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
    upstream = torch.randn(shape, generator=generator)
    inputs = [x, frn.weight, frn.bias, tlu.tau]
    fused = filter_response(x, frn, tlu)
    fused_gradients = torch.autograd.grad(fused, inputs, upstream)

    x64, frn64, tlu64 = x.detach().double().requires_grad_(), frn.double(), tlu.double()
    plain = filter_response(x64, frn64, tlu64)
    plain_gradients = torch.autograd.grad(plain, [x64, frn64.weight, frn64.bias, tlu64.tau], upstream.double())

    torch.testing.assert_close(fused.double(), plain, rtol=1e-5, atol=1e-5)
    for one, other in zip(fused_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)
    assert fused.dtype == torch.float32
    assert fused_gradients[0].dtype == dtype


def test_network_contract() -> None:
    torch.manual_seed(0)
    network = HyNet().eval()
    patches = torch.randint(0, 256, (70, 1, 32, 32)).float()  # more than two chunks, the last one partial
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
