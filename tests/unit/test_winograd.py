"""Winograd's convolution in closed form and against the direct convolution in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from porepatch_lib.descriptors.winograd import suits, transform_weights, winograd_convolution

CHANNELS = 32


@pytest.fixture(autouse=True)
def evaluation_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def _noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _one_tap(row: int, column: int) -> Tensor:
    """Kernels (C,C,3,3) by which every channel takes its own pixel at (row - 1, column - 1) from the centre."""
    weight = torch.zeros(CHANNELS, CHANNELS, 3, 3)
    weight[:, :, row, column] = torch.eye(CHANNELS)
    return weight


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_one_tap_shifts_the_image_and_brings_in_zeros(row: int, column: int) -> None:
    x = _noise(2, CHANNELS, 8, 12)
    y = winograd_convolution(x, transform_weights(_one_tap(row, column)), None)
    expected = functional.pad(x, (1, 1, 1, 1))[:, :, row : row + 8, column : column + 12]
    torch.testing.assert_close(y, expected, rtol=0, atol=2e-5)


def test_constant_image_counts_the_taps_inside() -> None:
    y = winograd_convolution(torch.ones(1, CHANNELS, 4, 8), transform_weights(torch.ones(CHANNELS, CHANNELS, 3, 3)), None)
    inside = torch.tensor([2.0, 3, 3, 2])[:, None] * torch.tensor([2.0, 3, 3, 3, 3, 3, 3, 2]) * CHANNELS
    torch.testing.assert_close(y, inside.expand_as(y), rtol=3e-6, atol=0)


def test_bias_is_added_to_its_channel() -> None:
    bias = torch.arange(float(CHANNELS))
    y = winograd_convolution(torch.zeros(3, CHANNELS, 4, 4), transform_weights(_one_tap(1, 1)), bias)
    assert torch.equal(y, bias[None, :, None, None].expand_as(y))


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "height", "width"), [(32, 32, 32, 32), (64, 64, 16, 16), (128, 128, 8, 8)]
)
@pytest.mark.parametrize("samples", [1, 3, 70])
def test_as_accurate_as_the_direct_convolution(
    channels_in: int, channels_out: int, height: int, width: int, samples: int
) -> None:
    _compare(samples, channels_in, channels_out, height, width)


@pytest.mark.parametrize("shape", [(2, 33, 47, 4, 4), (40, 64, 32, 8, 20), (9, 32, 128, 24, 4), (0, 32, 32, 8, 8)])
def test_other_shapes(shape: tuple[int, int, int, int, int]) -> None:
    _compare(*shape)


def _compare(samples: int, channels_in: int, channels_out: int, height: int, width: int) -> None:
    x = _noise(samples, channels_in, height, width).contiguous(memory_format=torch.channels_last)
    weight, bias = _noise(channels_out, channels_in, 3, 3, seed=2), _noise(channels_out, seed=3)
    y = winograd_convolution(x, transform_weights(weight), bias)
    assert y.dtype == torch.float32
    assert y.is_contiguous(memory_format=torch.channels_last)
    expected = functional.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    # The sum of 9 Cin products of unit variance; direct float32 is off by up to 5e-6 of that deviation, this by 8e-6.
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=1.5e-5 * (9 * channels_in) ** 0.5)


def test_incomplete_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4, not 6 and 8"):
        winograd_convolution(torch.zeros(1, CHANNELS, 6, 8), torch.zeros(36, CHANNELS, CHANNELS), None)


def test_memory_order_of_the_input_does_not_matter() -> None:
    x, transformed = _noise(2, CHANNELS, 8, 8), transform_weights(_noise(CHANNELS, CHANNELS, 3, 3, seed=2))
    last = winograd_convolution(x.contiguous(memory_format=torch.channels_last), transformed, None)
    assert torch.equal(winograd_convolution(x, transformed, None), last)


def test_transformed_weights_are_the_kernel_at_the_points() -> None:
    # The kernel (1 + 2y + 3y^2) (1 + x^2) at y, x among 0, 5/8, -5/8, 3/2, -3/2, over prod(point - others); at infinity 3 and 1.
    weight = torch.outer(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 0, 1])).expand(1, 1, 3, 3)
    points = (0.0, 0.625, -0.625, 1.5, -1.5)
    near, far = 2 * 0.625**2 * (0.625**2 - 1.5**2), 2 * 1.5**2 * (1.5**2 - 0.625**2)
    norms = (0.625**2 * 1.5**2, near, near, far, far)
    along_y = torch.tensor([*((1 + 2 * p + 3 * p * p) / norm for p, norm in zip(points, norms, strict=True)), 3])
    along_x = torch.tensor([*((1 + p * p) / norm for p, norm in zip(points, norms, strict=True)), 1])
    transformed = transform_weights(weight)
    assert transformed.shape == (36, 1, 1)
    torch.testing.assert_close(transformed.view(6, 6), torch.outer(along_y, along_x), rtol=3e-7, atol=0)


def _convolution(channels_in: int = CHANNELS, channels_out: int = CHANNELS, side: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, side, **{"padding": 1, **options})  # type: ignore[arg-type]


def test_suits_what_it_computes() -> None:
    assert suits(_convolution(), torch.zeros(1, CHANNELS, 8, 4))


@pytest.mark.parametrize(
    "convolution",
    [
        _convolution(stride=2),
        _convolution(padding=0),
        _convolution(padding="same"),
        _convolution(padding_mode="reflect"),
        _convolution(dilation=2),
        _convolution(groups=2),
        _convolution(side=5),
        _convolution(channels_in=16),
        _convolution(channels_out=16),
        _convolution().double(),
    ],
    ids=str,
)
def test_does_not_suit_other_convolutions(convolution: nn.Conv2d) -> None:
    assert not suits(convolution, torch.zeros(1, convolution.in_channels, 8, 8))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, CHANNELS, 6, 8),
        torch.zeros(1, CHANNELS, 8, 6),
        torch.zeros(CHANNELS, 8, 8),
        torch.zeros(1, CHANNELS, 8, 8, dtype=torch.float64),
        torch.zeros(1, CHANNELS, 8, 8, dtype=torch.bfloat16),
        torch.zeros(1, CHANNELS, 8, 8, device="meta"),
    ],
    ids=lambda x: f"{tuple(x.shape)} {x.dtype} {x.device}",
)
def test_does_not_suit_other_inputs(x: Tensor) -> None:
    assert not suits(_convolution(), x)


def _with_gradient(check: Callable[[], bool]) -> bool:
    with torch.enable_grad():
        return check()


def _with_autocast(check: Callable[[], bool]) -> bool:
    with torch.autocast("cpu", torch.bfloat16):
        return check()


def _with_two_threads(check: Callable[[], bool]) -> bool:
    torch.set_num_threads(2)
    return check()


@pytest.mark.parametrize("mode", [_with_gradient, _with_autocast, _with_two_threads])
def test_does_not_suit_other_modes(mode: Callable[[Callable[[], bool]], bool]) -> None:
    assert not mode(lambda: suits(_convolution(), torch.zeros(1, CHANNELS, 8, 8)))


def test_does_not_suit_a_traced_network() -> None:
    said: list[bool] = []
    convolution = _convolution()

    def traced(x: Tensor) -> Tensor:
        said.append(suits(convolution, x))
        return x + 1

    torch.jit.trace(traced, torch.zeros(1, CHANNELS, 8, 8), check_trace=False)
    assert said == [False]
