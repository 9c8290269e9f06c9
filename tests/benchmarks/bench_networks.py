"""HyNet beside its peers: description beside kornia's, a training step beside plain torch, and both beside the matrix product.

python tests/benchmarks/bench_networks.py --verification results/verification/rendered --weights hynet.safetensors
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import kornia
import numpy as np
import torch
from eager_hynet import EagerHyNet, eager_hynet_loss
from numpy.typing import NDArray
from timing import Row, race, row, table
from torch import Tensor
from torch.nn import functional

from porepatch_lib.descriptors.hynet import HyNet
from porepatch_lib.descriptors.networks import halve_patches, load_network
from porepatch_lib.tables import TEST_PAIRS, read_table
from porepatch_lib.training.losses.hynet import hynet_loss
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.metrics import fpr95

GFLOP_PER_PATCH = 0.0782  # of HyNet, forward
_PATCHES, _POINTS, _PART = 4096, 512, 64
_FIRST_USE = (
    "import time, torch; from porepatch_lib.descriptors.hynet import HyNet\n"
    "network, patches = HyNet().eval(), torch.rand(64, 1, 32, 32)\n"
    "started = time.perf_counter()\n"
    "with torch.inference_mode(): network(patches)\n"
    "print(time.perf_counter() - started)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verification", type=Path, help="a folder of labelled patches instead of drawn ones")
    parser.add_argument("--weights", type=Path, help="of a trained HyNet; without it they are random")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(table(network_rows(arguments.threads, arguments.verification, arguments.weights)))


def network_rows(threads: int, verification: Path | None, weights: Path | None) -> list[Row]:
    torch.manual_seed(1)
    network = HyNet(dropout=0.0)
    if weights:
        network.load_state_dict(load_network(weights).state_dict())
    patches, first, second, is_match = _read_pairs(verification) if verification else _draw_pairs(_PATCHES // 2)
    products = _matrix_products()
    return [
        *products,
        *_description(network.eval(), patches[:_PATCHES], products),
        _accuracy(network, patches, first, second, is_match),
        _first_use(threads),
        *_training(network.train()),
    ]


def _matrix_products() -> list[Row]:
    one = torch.rand(2048, 2048)
    half = one.bfloat16()
    seconds = race(lambda: one @ one, lambda: half @ half, repeats=8)
    flops = 2 * 2048**3
    names = ("float32", "bfloat16")
    return [
        row(f"matrix product, {name}", s, rate=flops / s / 1e9, unit="GFLOP/s") for name, s in zip(names, seconds, strict=True)
    ]


def _description(network: HyNet, patches: Tensor, products: list[Row]) -> list[Row]:
    peer = kornia.feature.HyNet(pretrained=False).eval()  # its defaults but for the download: speed does not depend on weights
    peer.load_state_dict(network.state_dict())
    compiled = torch.compile(network._trunk, dynamic=False)
    runners: dict[str, Callable[[], Tensor]] = {
        "fused kernels (numba, no C compiler)": lambda: network(patches),
        "plain layers, channels last, in parts": lambda: _in_parts(network, _plain_trunk, patches),
        "torch.compile (C compiler), in parts": lambda: _in_parts(network, lambda _, part: compiled(part), patches),
    }
    rows = []
    with torch.inference_mode():
        reference = peer(patches)
        for dtype, product in zip((torch.float32, torch.bfloat16), products, strict=True):
            with torch.autocast("cpu", torch.bfloat16, dtype == torch.bfloat16):
                started = time.perf_counter()
                runners["torch.compile (C compiler), in parts"]()
                compile_seconds = time.perf_counter() - started
                differences = [_difference(run(), reference) for run in runners.values()]
            timed = race(lambda: peer(patches), *(_with_precision(run, dtype) for run in runners.values()), repeats=3)
            for name, seconds, difference in zip(runners, timed[1:], differences, strict=True):
                rate = len(patches) / seconds
                share = rate * GFLOP_PER_PATCH / product["rate"]
                notes = f"{share:.0%} of the matrix product, differs by {difference:.1e}"
                notes += f", compiled in {compile_seconds:.0f} s" if "torch.compile" in name else ""
                what = f"HyNet description, {str(dtype).removeprefix('torch.')}, {name}: {notes}"
                rows.append(row(what, seconds, "kornia HyNet float32", timed[0], rate, "patches/s"))
    return rows


def _with_precision(run: Callable[[], Any], dtype: torch.dtype) -> Callable[[], Any]:
    def timed() -> None:
        with torch.autocast("cpu", torch.bfloat16, dtype == torch.bfloat16):
            run()

    return timed


def _in_parts(network: HyNet, trunk: Callable[[HyNet, Tensor], Tensor], patches: Tensor) -> Tensor:
    channels_last = patches[:, 0, :, :, None].movedim(-1, 1)
    x = torch.cat([trunk(network, part) for part in channels_last.split(_PART)])
    with torch.autocast("cpu", enabled=False):
        return functional.normalize(network.head(network.layer7[1](x.float()).flatten(1)))


def _plain_trunk(network: HyNet, x: Tensor) -> Tensor:
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4, network.layer5, network.layer6):
        x = layer(x)
    return x


def _difference(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _accuracy(network: HyNet, patches: Tensor, *pairs: NDArray[Any]) -> Row:
    first, second, is_match = pairs
    rates, seconds = [], 0.0
    for dtype in (torch.float32, torch.bfloat16):
        started = time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, dtype == torch.bfloat16):
            descriptors = torch.cat([network(part) for part in patches.split(_PATCHES)]).numpy()
        seconds = time.perf_counter() - started
        rates.append(fpr95(pair_distances(descriptors, first, second), is_match))
    what = f"FPR95 of {len(first)} pairs: float32 {rates[0]:.2%}, bfloat16 {rates[1]:.2%}"
    return row(what, seconds, rate=len(patches) / seconds, unit="patches/s")


def _first_use(threads: int) -> Row:
    """Seconds of the first 64 patches in a fresh process that finds no compiled kernels."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", _FIRST_USE]
        printed = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    return row(f"HyNet, first 64 patches; with compiled kernels kept {float(printed[1]):.2f} s", float(printed[0]))


def _training(network: HyNet) -> list[Row]:
    generator = torch.Generator().manual_seed(1)
    anchors, positives = (torch.randint(0, 256, (_POINTS, 1, 32, 32), generator=generator).float() for _ in range(2))
    free = torch.zeros(_POINTS, _POINTS, dtype=torch.bool)
    plain = EagerHyNet(dropout=0.0).train()
    plain.load_state_dict(dict(zip(plain.state_dict(), network.state_dict().values(), strict=True)))

    def ours(dtype: torch.dtype) -> float:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, dtype == torch.bfloat16, cache_enabled=False):
            raw = network.raw(anchors), network.raw(positives)
        loss = hynet_loss(*raw, free)
        loss.backward()
        return loss.item()

    def eager() -> float:
        plain.zero_grad()
        loss = eager_hynet_loss(plain.raw(anchors), plain.raw(positives))
        loss.backward()
        return loss.item()

    expected = eager()
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        error = abs(ours(dtype) / expected - 1)
        seconds, peer = race(lambda dtype=dtype: ours(dtype), eager, repeats=3)  # type: ignore[misc]
        name = str(dtype).removeprefix("torch.")
        what = f"HyNet training step, {_POINTS} x 2, {name}: loss differs by {error:.1e} of it"
        rows.append(row(what, seconds, "eager float32 NCHW, sorting loss", peer, 2 * _POINTS / seconds, "patches/s"))
    return rows


def _read_pairs(folder: Path) -> tuple[Tensor, NDArray[Any], NDArray[Any], NDArray[Any]]:
    pairs = read_table(folder / "pairs.parquet", TEST_PAIRS)
    patches = torch.from_numpy(halve_patches(np.load(folder / "patches.npy", mmap_mode="r")))[:, None].float()
    return patches, pairs["patch_1"].to_numpy(), pairs["patch_2"].to_numpy(), pairs["is_match"].to_numpy()


def _draw_pairs(points: int) -> tuple[Tensor, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Draw textures, each seen twice: shifted and turned a little, with other gain and noise."""
    generator = np.random.default_rng(1)
    seen = np.empty((points, 2, 32, 32), np.float32)
    for point in range(points):
        texture = cv2.GaussianBlur(generator.normal(0, 1, (48, 48)), (0, 0), 2)
        for view in range(2):
            affine = np.array([[1, 0, 0], [0, 1, 0]]) + generator.normal(0, 1, (2, 3)) * [0.05, 0.05, 1.0]
            warped = cv2.warpAffine(texture, affine, (48, 48), borderMode=cv2.BORDER_REFLECT)[8:40, 8:40]
            grey = 128 + 40 * generator.uniform(0.7, 1.3) * warped / texture.std() + generator.normal(0, 8, warped.shape)
            seen[point, view] = np.clip(np.rint(grey), 0, 255)
    first = np.arange(0, 2 * points, 2)
    second = first + 1
    pairs = np.concatenate([first, first]), np.concatenate([second, np.roll(second, 1)])
    return torch.from_numpy(seen.reshape(-1, 1, 32, 32)), *pairs, np.repeat([True, False], points)


if __name__ == "__main__":
    main()
