"""Time the stages beside their peers on a rendered photograph, as ratios, and write them as JSON (`make bench`).

Ours and the peer run in turn in one process on the same number of threads; the fastest of a few repeats counts.
A ratio is the peer's time over ours: above 1 we are faster.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from bench_memory import memory_rows, peak_memory_mb
from bench_networks import network_rows
from bench_verification import verification_rows
from timing import Row, race, row, table

from porepatch_lib.captures.views import load_grey, load_mask, read_views
from porepatch_lib.descriptors.psift import psift_descriptors, scale_levels
from porepatch_lib.files import write_json
from porepatch_lib.keypoints.pore import PoreSettings, detect_pores
from porepatch_lib.keypoints.psift_image import doubled_masked_image
from porepatch_lib.keypoints.psift_reference import ReferenceSettings, detect_psift_reference
from porepatch_lib.matching.nearest import mutual_nearest
from porepatch_lib.patches.sampler import sample_patches
from porepatch_lib.rendering.render import render_subject
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.sitting import Sitting
from porepatch_lib.threads import limit_threads

Image = np.ndarray
_COUNT = 10_000
_CROP_FACTOR = 12.0


def main() -> None:
    arguments = _arguments()
    limit_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.parquet"
        render_subject(
            Sitting("bench"), images, RenderSettings(views=2, width=2200, height=3208), seed=1, threads=arguments.threads
        )
        view = read_views(images)[0]
        grey, mask = load_grey(view), load_mask(view)
        detectors = _detectors(grey, mask, arguments.threads)
        detectors[0]["peak_mb"] = _peak_memory(images, arguments.threads)
    keypoints = detect_pores(grey, mask, PoreSettings(target_count=_COUNT), arguments.threads)
    rows = [
        *detectors,
        _psift(grey, arguments.threads),
        _matching(arguments.threads),
        _sampling(grey, keypoints, arguments.threads),
        *network_rows(arguments.threads, *_trained(arguments.results)),
        *verification_rows(arguments.threads),
        *memory_rows(arguments.threads, arguments.large),
    ]
    stages = _stages(arguments.results)
    machine = _machine(arguments.threads)
    print(f"{machine}\n\n{table(rows)}")
    print(f"Stages of the last run in {arguments.results}, all jobs together:\n\n{table(stages)}" if stages else "")
    write_json(arguments.output, {"machine": machine, "peers": rows, "stages": stages})


def _trained(results: Path) -> tuple[Path | None, Path | None]:
    """Return the labelled test patches and the last HyNet of a finished run; without both, patches are drawn."""
    patches, weights = results / "verification/rendered", sorted(results.glob("round*/model/hynet.safetensors"))
    return (patches, weights[-1]) if weights and (patches / "pairs.parquet").exists() else (None, None)


def _detectors(grey: Image, mask: Image | None, threads: int) -> list[Row]:
    pore, reference = PoreSettings(target_count=_COUNT), ReferenceSettings(target_count=_COUNT)
    sift = cv2.SIFT_create()
    ours, exact, peer = race(
        lambda: detect_pores(grey, mask, pore, threads),
        lambda: detect_psift_reference(grey, mask, reference, threads),
        lambda: sift.detect(grey),
        repeats=3,
    )
    size = f"{grey.shape[1]}x{grey.shape[0]}"
    return [
        row(f"pore detector, {size}", ours, "cv2 SIFT.detect", peer),
        row(f"psift_reference detector, {size}", exact, "cv2 SIFT.detect", peer),
    ]


def _psift(grey: Image, threads: int) -> Row:
    image = grey[:1500, :1100]
    keypoints = detect_psift_reference(image, None, ReferenceSettings(target_count=_COUNT), threads)
    doubled = doubled_masked_image(image, None).astype(np.float32) / np.float32(255)
    wanted = set(zip(keypoints.octave.tolist(), keypoints.level.tolist(), strict=True))
    levels = list(scale_levels(doubled, wanted, np.float32, threads))
    x, y, sigma = 2 * keypoints.x, 2 * keypoints.y, 2 * keypoints.sigma
    (seconds,) = race(lambda: psift_descriptors(levels, x, y, sigma, keypoints.octave, keypoints.level, 8, threads), repeats=3)
    return row("PSIFT-512 descriptors, scale space given", seconds, rate=len(keypoints) / seconds, unit="descriptors/s")


def _matching(threads: int) -> Row:
    rng = np.random.default_rng(1)
    one = rng.random((_COUNT, 128), np.float32)
    other = (one[rng.permutation(_COUNT)] + 0.3 * rng.random((_COUNT, 128))).astype(np.float32)
    one, other = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (one, other))
    matcher = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    ours, peer = race(lambda: mutual_nearest(one, other, None, threads), lambda: matcher.match(one, other), repeats=4)
    found = mutual_nearest(one, other, None, threads)
    same = {(m.queryIdx, m.trainIdx) for m in matcher.match(one, other)} == set(
        zip(found.index_1.tolist(), found.index_2.tolist(), strict=True)
    )
    return row(f"mutual nearest, 10k x 10k x 128, same matches: {same}", ours, "cv2 BFMatcher crossCheck", peer)


def _sampling(grey: Image, keypoints: Any, threads: int) -> Row:
    x, y, sigma = keypoints.x, keypoints.y, keypoints.sigma

    def warp() -> None:
        for at_x, at_y, scale in zip(x, y, sigma, strict=True):
            step = _CROP_FACTOR * scale / 64
            matrix = np.array([[step, 0, at_x - 31.5 * step], [0, step, at_y - 31.5 * step]])
            cv2.warpAffine(grey, matrix, (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)

    ours, peer = race(lambda: sample_patches(grey, x, y, sigma, _CROP_FACTOR, 64, threads), warp, repeats=4)
    return row("patches 64x64, anti-aliased", ours, "cv2.warpAffine loop", peer, len(x) / ours, "patches/s")


def _peak_memory(images: Path, threads: int) -> float:
    """Peak resident MB of a fresh process that detects pores on one photograph."""
    program = (
        "import sys; from porepatch_lib.captures.views import *; from porepatch_lib.keypoints.pore import *\n"
        "view = read_views(sys.argv[1])[0]\n"
        f"detect_pores(load_grey(view), load_mask(view), PoreSettings(target_count={_COUNT}), int(sys.argv[2]))\n"
    )
    return peak_memory_mb(program, str(images), str(threads))


def _stages(results: Path) -> list[Row]:
    """Total seconds and peak memory of every rule, from the benchmark files of a run."""
    rows = []
    for folder in sorted(path for path in results.glob("benchmarks/*") if path.is_dir()):
        jobs = pd.concat([pd.read_csv(path, sep="\t", na_values="-") for path in sorted(folder.rglob("*.tsv"))])
        rows.append({"stage": folder.name, "jobs": len(jobs), "seconds": jobs["s"].sum(), "peak MB": jobs["max_rss"].max()})
    return rows


def _machine(threads: int) -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, OpenCV {cv2.__version__}, NumPy {np.__version__}"
    return (
        f"{platform.system()} {platform.machine()}, {names[0] if names else platform.processor()}, {threads} threads; {versions}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="a finished run: its stage timings, test patches and HyNet"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", action="store_true", help="train on 450,000 patches too (1.84 GB in the temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
