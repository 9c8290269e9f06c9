"""Filter Response Normalisation with its Thresholded Linear Unit (Singh and Krishnan, CVPR 2020).

On a CPU the pair runs as one fused kernel, forward and backward: as separate tensor operations it costs more than
the convolutions around it. The kernels are compiled by numba, which brings its own compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# float32 numbers, or bfloat16 numbers as uint16: NumPy has no such type
Array = NDArray[Any]


class FRN(nn.Module):
    """y = weight x / sqrt(mean over pixels of x^2 + |eps|) + bias, for x (B,C,H,W)."""

    eps: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("eps", torch.tensor([1e-6]))

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.square().mean(dim=(2, 3), keepdim=True)
        return self.weight * (x * torch.rsqrt(mean_square + self.eps.abs())) + self.bias


class TLU(nn.Module):
    """y = max(x, tau), tau learned per channel, for x (B,C,H,W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tau = nn.Parameter(-torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.tau)


def filter_response(x: Tensor, frn: FRN, tlu: TLU) -> Tensor:
    """Return tlu(frn(x)) for x (B,C,H,W) in the dtype of x, computed in float32 at least.

    While the network is traced (torch.compile, export) and on other devices than the CPU it is plain tensor operations.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and not traced:
        return _FusedFilterResponse.apply(x, frn.weight, frn.bias, tlu.tau, frn.eps)
    return tlu(frn(x if x.dtype == torch.float64 else x.float())).to(x.dtype)


class _FusedFilterResponse(torch.autograd.Function):
    """The fused pair on the CPU. Where x equals tau exactly, the whole gradient goes to tau."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, tau: Tensor, eps: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        # With one channel both orders of memory are one; only from `empty_like` do the strides say channels last.
        y = torch.empty_like(x, memory_format=torch.channels_last)
        inverse_rms = torch.empty(x.shape[:2])
        kernel = _forward_bfloat16 if x.dtype == torch.bfloat16 else _forward_float32
        channels = [_vector(weight), _vector(bias), _vector(tau)]
        _over_samples(kernel, [_rows(x), _rows(y), inverse_rms.numpy()], [*channels, abs(_vector(eps)[0])])
        ctx.save_for_backward(x, weight, bias, tau, inverse_rms)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, weight, bias, tau, inverse_rms = ctx.saved_tensors
        grad_y = grad_y.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x, memory_format=torch.channels_last)
        grad_channels = torch.empty(3, *x.shape[:2])  # of weight, bias and tau, sample by sample
        kernel = _backward_bfloat16 if x.dtype == torch.bfloat16 else _backward_float32
        per_sample = [_rows(x), _rows(grad_y), _rows(grad_x), inverse_rms.numpy(), *grad_channels.numpy()]
        _over_samples(kernel, per_sample, [_vector(weight), _vector(bias), _vector(tau)])
        grad_weight, grad_bias, grad_tau = (grad.view_as(weight) for grad in grad_channels.sum(1))
        return grad_x, grad_weight, grad_bias, grad_tau, None


def _rows(x: Tensor) -> Array:
    """View a channels-last (B,C,H,W) tensor as a NumPy array (B, H*W, C) without copying; bfloat16 as uint16."""
    samples, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).view(samples, height * width, channels)
    return (rows.view(torch.uint16) if x.dtype == torch.bfloat16 else rows).numpy()


def _vector(parameter: Tensor) -> Array:
    return parameter.detach().reshape(-1).numpy()


def _over_samples(kernel: Callable[..., None], per_sample: list[Array], shared: list[Any]) -> None:
    """Call `kernel` on slices of the samples, one slice for each of torch's threads."""
    samples = len(per_sample[0])
    threads = max(1, min(torch.get_num_threads(), samples))
    bounds = [samples * part // threads for part in range(threads + 1)]
    slices = [slice(start, stop) for start, stop in pairwise(bounds)]
    jobs = [_pool(threads).submit(kernel, *(array[part] for array in per_sample), *shared) for part in slices[1:]]
    kernel(*(array[slices[0]] for array in per_sample), *shared)
    for job in jobs:
        job.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Kept between calls: a kernel runs for a fraction of a millisecond, less than starting threads takes.
    return ThreadPoolExecutor(threads, thread_name_prefix="filter-response")


@numba.njit(cache=True, nogil=True)
def _forward_float32(x: Array, y: Array, inverse_rms: Array, weight: Array, bias: Array, tau: Array, eps: np.float32) -> None:
    for n in range(len(x)):
        _forward_sample(x[n], y[n], inverse_rms[n], weight, bias, tau, eps)


@numba.njit(cache=True, nogil=True)
def _forward_bfloat16(x: Array, y: Array, inverse_rms: Array, weight: Array, bias: Array, tau: Array, eps: np.float32) -> None:
    wide_x, wide_y = np.empty(x.shape[1:], np.float32), np.empty(x.shape[1:], np.float32)
    for n in range(len(x)):
        _widen(x[n], wide_x)
        _forward_sample(wide_x, wide_y, inverse_rms[n], weight, bias, tau, eps)
        _round(wide_y, y[n])


@numba.njit(cache=True, nogil=True)
def _backward_float32(
    x: Array,
    grad_y: Array,
    grad_x: Array,
    inverse_rms: Array,
    grad_weight: Array,
    grad_bias: Array,
    grad_tau: Array,
    weight: Array,
    bias: Array,
    tau: Array,
) -> None:
    for n in range(len(x)):
        grad_channels = (grad_weight[n], grad_bias[n], grad_tau[n])
        _backward_sample(x[n], grad_y[n], grad_x[n], inverse_rms[n], grad_channels, weight, bias, tau)


@numba.njit(cache=True, nogil=True)
def _backward_bfloat16(
    x: Array,
    grad_y: Array,
    grad_x: Array,
    inverse_rms: Array,
    grad_weight: Array,
    grad_bias: Array,
    grad_tau: Array,
    weight: Array,
    bias: Array,
    tau: Array,
) -> None:
    shape = x.shape[1:]
    wide_x, wide_grad_y, wide_grad_x = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32)
    for n in range(len(x)):
        _widen(x[n], wide_x)
        _widen(grad_y[n], wide_grad_y)
        grad_channels = (grad_weight[n], grad_bias[n], grad_tau[n])
        _backward_sample(wide_x, wide_grad_y, wide_grad_x, inverse_rms[n], grad_channels, weight, bias, tau)
        _round(wide_grad_x, grad_x[n])


@numba.njit(cache=True, nogil=True)
def _forward_sample(x: Array, y: Array, inverse_rms: Array, weight: Array, bias: Array, tau: Array, eps: np.float32) -> None:
    pixels, channels = x.shape
    squares = np.zeros(channels, np.float64)  # as float32 a sum over 1024 pixels loses two digits
    for p in range(pixels):
        for c in range(channels):
            squares[c] += np.float64(x[p, c] * x[p, c])
    scale = np.empty(channels, np.float32)
    for c in range(channels):
        inverse_rms[c] = 1 / np.sqrt(squares[c] / pixels + eps)
        scale[c] = inverse_rms[c] * weight[c]
    for p in range(pixels):
        for c in range(channels):
            z = scale[c] * x[p, c] + bias[c]
            y[p, c] = z if z > tau[c] else tau[c]


@numba.njit(cache=True, nogil=True)
def _backward_sample(
    x: Array,
    grad_y: Array,
    grad_x: Array,
    inverse_rms: Array,
    grad_channels: tuple[Array, Array, Array],
    weight: Array,
    bias: Array,
    tau: Array,
) -> None:
    pixels, channels = x.shape
    grad_weight, grad_bias, grad_tau = grad_channels
    scale = inverse_rms * weight
    projection = np.zeros(channels, np.float32)
    grad_bias[:] = 0
    grad_tau[:] = 0
    for p in range(pixels):
        for c in range(channels):
            g = grad_y[p, c] if scale[c] * x[p, c] + bias[c] > tau[c] else np.float32(0)
            projection[c] += g * x[p, c]
            grad_bias[c] += g
            grad_tau[c] += grad_y[p, c] - g
    for c in range(channels):
        grad_weight[c] = projection[c] * inverse_rms[c]
        projection[c] *= scale[c] * inverse_rms[c] * inverse_rms[c] / np.float32(pixels)
    for p in range(pixels):
        for c in range(channels):
            g = grad_y[p, c] if scale[c] * x[p, c] + bias[c] > tau[c] else np.float32(0)
            grad_x[p, c] = scale[c] * g - projection[c] * x[p, c]


@numba.njit(cache=True, nogil=True)
def _widen(bits: Array, values: Array) -> None:
    """Turn bfloat16 bits (pixels, channels) into float32 values: the upper half of their bits."""
    out, given = values.reshape(-1).view(np.uint32), bits.reshape(-1)
    for i in range(len(given)):
        out[i] = np.uint32(given[i]) << np.uint32(16)


@numba.njit(cache=True, nogil=True)
def _round(values: Array, bits: Array) -> None:
    """Turn float32 values (pixels, channels), all finite, into bfloat16 bits, to the nearest and ties to even."""
    given, out = values.reshape(-1).view(np.uint32), bits.reshape(-1)
    for i in range(len(given)):
        half = np.uint32(0x7FFF) + ((given[i] >> np.uint32(16)) & np.uint32(1))
        out[i] = np.uint16((given[i] + half) >> np.uint32(16))
