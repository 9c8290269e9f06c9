"""3x3 convolutions by Winograd's minimal filtering F(4x4,3x3) (Lavin and Gray, CVPR 2016), for evaluation on the CPU.

A tile of 4x4 outputs takes 36 multiplications for every pair of channels instead of 144. Every row and column of a tile is a
polynomial, taken at the points 0, a, -a, b, -b and infinity with a = 5/8 and b = 3/2. The factors of the transforms of data are
then exact in float32, and the error is about that of the direct sum; the points 0, 1, -1, 2, -2 of the paper double it.

The transforms are compiled by numba, which brings its own compiler. Their loops write one row each: with more, LLVM would have
to prove too many pairs of rows apart, and leave the loop scalar.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]

_TILE = 4  # outputs per side
_SPAN = 6  # inputs per side
_LEAST_CHANNELS = 32  # with fewer the transforms cost more than the multiplications they save
_BLOCK_NUMBERS = 1 << 18  # float32 numbers of the transformed tiles of a block, 1 MB: they stay in cache for the product

_NEAR, _FAR = 5 / 8, 3 / 2
_A, _B = np.float32(_NEAR), np.float32(_FAR)
_A2, _B2 = np.float32(_NEAR**2), np.float32(_FAR**2)
_A3, _B3 = np.float32(_NEAR**3), np.float32(_FAR**3)
_SUM, _PRODUCT = np.float32(_NEAR**2 + _FAR**2), np.float32(_NEAR**2 * _FAR**2)


def may_run(x: Tensor) -> bool:
    """Return whether x is float32 on a CPU, no gradient or lower precision is wanted, and nothing is being traced."""
    wanted = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == "cpu" and x.dtype == torch.float32 and not wanted and not traced


def suits(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Return whether `winograd_convolution` may stand in for `convolution` on x (B,C,H,W), and gains by it.

    Only with one of torch's threads, as in a thread of `in_micro_batches`: the transforms run on one, other convolutions on all.
    """
    geometry = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    if geometry != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or convolution.padding_mode != "zeros":
        return False
    if min(convolution.in_channels, convolution.out_channels) < _LEAST_CHANNELS or torch.get_num_threads() > 1:
        return False
    return may_run(x) and may_run(convolution.weight) and x.dim() == 4 and x.shape[2] % _TILE == x.shape[3] % _TILE == 0


def transform_weights(weight: Tensor) -> Tensor:
    """Map weights (Cout,Cin,3,3) to G w G^T as float32 (36,Cin,Cout), computed in float64; row 6i+j for the points i and j."""
    points = (0.0, _NEAR, -_NEAR, _FAR, -_FAR)
    rows = [[p**k / np.prod([p - q for q in points if q != p]) for k in range(3)] for p in points]
    g = torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)
    channels_out, channels_in = weight.shape[:2]
    taps = weight.detach().permute(2, 3, 1, 0).reshape(9, -1).double()
    return (torch.kron(g, g) @ taps).float().view(_SPAN**2, channels_in, channels_out)


def winograd_convolution(x: Tensor, transformed: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve x (B,Cin,H,W) with 3x3 kernels at stride 1 and padding 1; return float32 (B,Cout,H,W), channels last.

    `transformed` (36,Cin,Cout) comes from `transform_weights`. No gradient; see `suits` for what x has to be.
    Raises ValueError unless H and W are multiples of 4.
    """
    samples, channels_in, height, width = x.shape
    if height % _TILE or width % _TILE:
        raise ValueError(f"height and width have to be multiples of {_TILE}, not {height} and {width}")
    channels_out = transformed.shape[2]
    rows_in = x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
    y = torch.empty(samples, height, width, channels_out)
    rows_out = y.numpy()
    offset = (torch.zeros(channels_out) if bias is None else bias.detach()).numpy()
    tiles = (height // _TILE) * (width // _TILE)
    block = _samples_together(samples, _SPAN**2 * tiles * max(channels_in, channels_out))
    v, m = (torch.empty(_SPAN**2, block * tiles, channels) for channels in (channels_in, channels_out))
    planes_v, planes_m = v.flatten(1).numpy(), m.flatten(1).numpy()
    for start in range(0, samples, block):
        stop = min(start + block, samples)
        _transform_input(rows_in, start, stop, planes_v)
        torch.bmm(v, transformed, out=m)  # of a smaller last block some rows are left over from the one before, and not read
        _transform_output(planes_m, offset, start, stop, rows_out)
    return y.permute(0, 3, 1, 2)


def _samples_together(samples: int, numbers: int) -> int:
    """Return the size of equal blocks of samples, of so many transformed numbers each, that stay in cache."""
    most = max(1, _BLOCK_NUMBERS // numbers)
    blocks = max(1, -(-samples // most))
    return -(-samples // blocks) or 1


@numba.njit(cache=True, nogil=True)
def _transform_input(x: Array, start: int, stop: int, v: Array) -> None:
    """Write B^T d B of every 6x6 tile d of samples start to stop of x (B,H,W,C), padded by zeros, to v (36, samples*tiles*C).

    A row is kept with column 0 of all its tiles first, then column 1 and so on: a loop then runs over all tiles of the row.
    """
    _, height, width, channels = x.shape
    tile_rows, tile_columns = height // 4, width // 4
    length = tile_columns * channels
    # Columns 4 and 5 of a tile are columns 0 and 1 of the next one.
    starts = (0, length + channels, 2 * length + 2 * channels, 3 * length + 2 * channels, channels, length + 2 * channels)
    padded = np.zeros((height + 2, (width + 2) * channels), np.float32)
    lines = np.empty((6, (width + 2) * channels), np.float32)
    for n in range(start, stop):
        done = 0
        for tile_row in range(tile_rows):
            top = 4 * tile_row
            while done < min(top + 5, height):
                _split_columns(x[n, done], padded[done + 1], starts)
                done += 1
            first = ((n - start) * tile_rows + tile_row) * length
            _six_inputs(lines, padded[top], padded[top + 1], padded[top + 2], padded[top + 3], padded[top + 4], padded[top + 5])
            for i in range(6):
                _six_columns(v, 6 * i, slice(first, first + length), lines[i], starts)


@numba.njit(cache=True, nogil=True)
def _split_columns(row: Array, split: Array, starts: tuple[int, ...]) -> None:
    """Copy a row (W,C) to `split`, where padded column 4t+k starts at starts[k] + t C."""
    width, channels = row.shape
    for column in range(width):
        start = starts[(column + 1) % 4] + (column + 1) // 4 * channels
        target = split[start : start + channels]
        source = row[column]
        for c in range(channels):
            target[c] = source[c]


@numba.njit(cache=True, nogil=True)
def _six_columns(v: Array, k: int, part: slice, line: Array, starts: tuple[int, ...]) -> None:
    """Combine the six columns of all tiles of a row; write the numbers `part` of planes k to k+5."""
    length = part.stop - part.start
    s0, s1, s2, s3, s4, s5 = starts
    d0, d1, d2 = line[s0 : s0 + length], line[s1 : s1 + length], line[s2 : s2 + length]
    d3, d4, d5 = line[s3 : s3 + length], line[s4 : s4 + length], line[s5 : s5 + length]
    _end(v[k, part], d0, d2, d4)
    _inner(v[k + 1, part], d1, d2, d3, d4, _A, _B2)
    _inner(v[k + 2, part], d1, d2, d3, d4, -_A, _B2)
    _inner(v[k + 3, part], d1, d2, d3, d4, _B, _A2)
    _inner(v[k + 4, part], d1, d2, d3, d4, -_B, _A2)
    _end(v[k + 5, part], d1, d3, d5)


@numba.njit(cache=True, nogil=True)
def _six_inputs(out: Array, d0: Array, d1: Array, d2: Array, d3: Array, d4: Array, d5: Array) -> None:
    """Apply B^T to six rows of pixels."""
    _end(out[0], d0, d2, d4)
    _inner(out[1], d1, d2, d3, d4, _A, _B2)
    _inner(out[2], d1, d2, d3, d4, -_A, _B2)
    _inner(out[3], d1, d2, d3, d4, _B, _A2)
    _inner(out[4], d1, d2, d3, d4, -_B, _A2)
    _end(out[5], d1, d3, d5)


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _end(out: Array, d0: Array, d2: Array, d4: Array) -> None:
    """Apply row 0 of B^T, (x^2 - a^2) (x^2 - b^2), or one number further row 5."""
    for i in range(len(out)):
        out[i] = d4[i] - _SUM * d2[i] + _PRODUCT * d0[i]


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _inner(out: Array, d1: Array, d2: Array, d3: Array, d4: Array, point: np.float32, square: np.float32) -> None:
    """Apply one of rows 1 to 4 of B^T, x (x + p) (x^2 - q^2): p the point, `square` that of the other one."""
    for i in range(len(out)):
        out[i] = (d4[i] - square * d2[i]) + point * (d3[i] - square * d1[i])


@numba.njit(cache=True, nogil=True)
def _transform_output(m: Array, bias: Array, start: int, stop: int, y: Array) -> None:
    """Write A^T m A of every tile of m (36, samples*tiles*C), plus bias (C,), to samples start to stop of y (B,H,W,C)."""
    _, height, width, channels = y.shape
    tile_rows, tile_columns = height // 4, width // 4
    length = tile_columns * channels
    lines = np.empty((6, 4, length), np.float32)
    split = np.empty((4, length), np.float32)
    for n in range(start, stop):
        for tile_row in range(tile_rows):
            first = ((n - start) * tile_rows + tile_row) * length
            part = slice(first, first + length)
            for j in range(6):
                m0, m1, m2, m3, m4, m5 = (
                    m[j, part],
                    m[6 + j, part],
                    m[12 + j, part],
                    m[18 + j, part],
                    m[24 + j, part],
                    m[30 + j, part],
                )
                _four_outputs(lines[j], m0, m1, m2, m3, m4, m5)
            for p in range(4):
                _four_outputs(split, lines[0, p], lines[1, p], lines[2, p], lines[3, p], lines[4, p], lines[5, p])
                _join_columns(split, bias, y[n, 4 * tile_row + p])


@numba.njit(cache=True, nogil=True)
def _four_outputs(out: Array, m0: Array, m1: Array, m2: Array, m3: Array, m4: Array, m5: Array) -> None:
    """Apply A^T to six rows of numbers: sums weighted with the powers 0 to 3 of the points."""
    _even(out[0], m0, m1, m2, m3, m4)
    _odd(out[1], m1, m2, m3, m4)
    _square(out[2], m1, m2, m3, m4)
    _cube(out[3], m1, m2, m3, m4, m5)


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _even(out: Array, m0: Array, m1: Array, m2: Array, m3: Array, m4: Array) -> None:
    for i in range(len(out)):
        out[i] = m0[i] + (m1[i] + m2[i]) + (m3[i] + m4[i])


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _odd(out: Array, m1: Array, m2: Array, m3: Array, m4: Array) -> None:
    for i in range(len(out)):
        out[i] = _A * (m1[i] - m2[i]) + _B * (m3[i] - m4[i])


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _square(out: Array, m1: Array, m2: Array, m3: Array, m4: Array) -> None:
    for i in range(len(out)):
        out[i] = _A2 * (m1[i] + m2[i]) + _B2 * (m3[i] + m4[i])


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _cube(out: Array, m1: Array, m2: Array, m3: Array, m4: Array, m5: Array) -> None:
    for i in range(len(out)):
        out[i] = _A3 * (m1[i] - m2[i]) + _B3 * (m3[i] - m4[i]) + m5[i]


@numba.njit(cache=True, nogil=True)
def _join_columns(split: Array, bias: Array, row: Array) -> None:
    """Write column 4t+k of a row (W,C) from split[k], where it starts at t C, plus bias."""
    width, channels = row.shape
    for column in range(width):
        start = column // 4 * channels
        source = split[column % 4, start : start + channels]
        target = row[column]
        for c in range(channels):
            target[c] = source[c] + bias[c]
