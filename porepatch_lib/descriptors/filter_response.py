"""Filter Response Normalisation with its Thresholded Linear Unit (Singh and Krishnan, CVPR 2020).

On a CPU the pair runs as one fused kernel, forward and backward: as separate tensor operations it costs more than
the convolutions around it.
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

Array = NDArray[np.float32]


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
    """Return tlu(frn(x)) for x (B,C,H,W), in float32 for float32 and bfloat16 input."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16):
        return _FusedFilterResponse.apply(x, frn.weight, frn.bias, tlu.tau, float(frn.eps.abs()))
    return tlu(frn(x if x.dtype == torch.float64 else x.float()))


class _FusedFilterResponse(torch.autograd.Function):
    """The fused pair on the CPU. Where x equals tau exactly, the whole gradient goes to tau."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, tau: Tensor, eps: float) -> Tensor:
        ctx.dtype = x.dtype
        x = x.float().contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x)
        inverse_rms = torch.empty(x.shape[:2])
        channels = [_vector(weight), _vector(bias), _vector(tau)]
        _over_samples(_forward_kernel, [_rows(x), _rows(y), inverse_rms.numpy()], [*channels, np.float32(eps)])
        ctx.save_for_backward(x, weight, bias, tau, inverse_rms)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, weight, bias, tau, inverse_rms = ctx.saved_tensors
        grad_y = grad_y.float().contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x)
        grad_weight, grad_bias, grad_tau = (torch.empty(x.shape[:2]) for _ in range(3))
        per_sample = [_rows(x), _rows(grad_y), inverse_rms.numpy(), _rows(grad_x)]
        per_sample += [grad_weight.numpy(), grad_bias.numpy(), grad_tau.numpy()]
        _over_samples(_backward_kernel, per_sample, [_vector(weight), _vector(bias), _vector(tau)])
        return (
            grad_x.to(ctx.dtype),
            grad_weight.sum(0).view_as(weight),
            grad_bias.sum(0).view_as(bias),
            grad_tau.sum(0).view_as(tau),
            None,
        )


def _rows(x: Tensor) -> Array:
    """View a channels-last (B,C,H,W) tensor as a NumPy array (B, H*W, C) without copying."""
    samples, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).view(samples, height * width, channels).numpy()


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
def _forward_kernel(x: Array, y: Array, inverse_rms: Array, weight: Array, bias: Array, tau: Array, eps: np.float32) -> None:
    samples, pixels, channels = x.shape
    scale = np.empty(channels, np.float32)
    for n in range(samples):
        scale[:] = 0
        for p in range(pixels):
            for c in range(channels):
                scale[c] += x[n, p, c] * x[n, p, c]
        for c in range(channels):
            inverse_rms[n, c] = np.float32(1) / np.sqrt(scale[c] / np.float32(pixels) + eps)
            scale[c] = inverse_rms[n, c] * weight[c]
        for p in range(pixels):
            for c in range(channels):
                z = scale[c] * x[n, p, c] + bias[c]
                y[n, p, c] = z if z > tau[c] else tau[c]


@numba.njit(cache=True, nogil=True)
def _backward_kernel(
    x: Array,
    grad_y: Array,
    inverse_rms: Array,
    grad_x: Array,
    grad_weight: Array,
    grad_bias: Array,
    grad_tau: Array,
    weight: Array,
    bias: Array,
    tau: Array,
) -> None:
    samples, pixels, channels = x.shape
    scale = np.empty(channels, np.float32)
    projection = np.empty(channels, np.float32)
    passed = np.empty(channels, np.float32)
    total = np.empty(channels, np.float32)
    for n in range(samples):
        for c in range(channels):
            scale[c] = inverse_rms[n, c] * weight[c]
        projection[:] = 0
        passed[:] = 0
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                g = grad_y[n, p, c] if scale[c] * x[n, p, c] + bias[c] > tau[c] else np.float32(0)
                passed[c] += g
                projection[c] += g * x[n, p, c]
                total[c] += grad_y[n, p, c]
        for c in range(channels):
            grad_weight[n, c] = projection[c] * inverse_rms[n, c]
            grad_bias[n, c] = passed[c]
            grad_tau[n, c] = total[c] - passed[c]
            projection[c] *= scale[c] * inverse_rms[n, c] * inverse_rms[n, c] / np.float32(pixels)
        for p in range(pixels):
            for c in range(channels):
                g = grad_y[n, p, c] if scale[c] * x[n, p, c] + bias[c] > tau[c] else np.float32(0)
                grad_x[n, p, c] = scale[c] * g - projection[c] * x[n, p, c]
