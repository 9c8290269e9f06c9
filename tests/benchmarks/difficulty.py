"""How hard rendered captures are for descriptors: FPR95 on full photographs and on bare patches.

Renders subjects (or takes folders of rendered captures), detects pores, labels them by the true surface, cuts patches of 24 and
12 sigmas, and compares descriptors on the same pairs:

    python tests/benchmarks/difficulty.py --preset nersemble --set views=8 --work results-difficulty
    python tests/benchmarks/difficulty.py --captures results/captures/face06

Renders of an earlier run in the same --work are taken again where the settings agree.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from porepatch_lib.descriptors.bare_patches import ncc_descriptors
from porepatch_lib.descriptors.describe import describe_rows
from porepatch_lib.descriptors.networks import halve_patches
from porepatch_lib.descriptors.registry import make_descriptor
from porepatch_lib.files import read_json, write_json
from porepatch_lib.keypoints.detect import KeypointSettings, detect_subject
from porepatch_lib.patches.dataset import build_dataset
from porepatch_lib.patches.extract import PatchSettings, extract_subject_patches
from porepatch_lib.patches.pairs import PairSettings
from porepatch_lib.patches.store import open_store, point_numbers
from porepatch_lib.rendering.presets import render_settings
from porepatch_lib.rendering.render import render_subject
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.sitting import Sitting
from porepatch_lib.reporting.markdown import markdown_table, percent
from porepatch_lib.tables import PATCH_PAIRS, read_table
from porepatch_lib.threads import limit_threads
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.metrics import fpr95
from porepatch_lib.verification.sweep import best_sigma, sweep_sigma
from porepatch_lib.verification.truth_tracks import TruthSettings, write_truth_tracks
from porepatch_lib.verification.verify import LabelledPairs, VerificationSettings, headline_report

CROP_FACTORS = (48, 24, 12)
FULL_IMAGE = ("psift", "psift128", "rootsift", "sift")
SIGMAS_PX = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)

Rates = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    limit_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        captures = arguments.captures or _render(arguments, work)
        datasets = _build_test_set(captures, work, arguments)
        rates = _full_image(datasets[24], {folder.name: folder / "images.parquet" for folder in captures}, arguments)
        for factor, dataset in datasets.items():
            rates |= _bare_patches(factor, dataset, arguments)
    print(_table(rates))
    if arguments.output:
        write_json(arguments.output, rates)


def _render(arguments: argparse.Namespace, work: Path) -> list[Path]:
    """Render the subjects whose captures are not in `work` yet; return their folders."""
    given = dict(item.split("=", 1) for item in arguments.set)
    settings = render_settings({"preset": arguments.preset, **{key: yaml.safe_load(value) for key, value in given.items()}})
    folders = [work / subject for subject in arguments.subjects]
    for folder in folders:
        _render_once(folder, settings, arguments.seed, arguments.threads)
    return folders


def _render_once(folder: Path, settings: RenderSettings, seed: int, threads: int) -> None:
    record, wanted = folder / "settings.json", asdict(settings) | {"seed": seed}
    if record.exists() and read_json(record) == wanted:
        return
    render_subject(Sitting(folder.name), folder / "images.parquet", settings, seed, threads)
    write_json(record, wanted)


def _build_test_set(captures: list[Path], work: Path, arguments: argparse.Namespace) -> dict[int, Path]:
    """Make the patches and pairs of all subjects; return a dataset's folder per crop factor, all with the same rows and pairs."""
    for folder in captures:
        own = work / folder.name
        images, keypoints, tracks = folder / "images.parquet", own / "keypoints.parquet", own / "tracks.parquet"
        detect_subject(images, keypoints, KeypointSettings(target_count=arguments.target), arguments.threads)
        write_truth_tracks(images, keypoints, folder / "truth", tracks, TruthSettings())
        for factor in CROP_FACTORS:
            # Squares that leave the image are kept, or the crop factors would not have the same rows.
            cut = PatchSettings(crop_factor=factor, allow_border=True)
            output = (own / f"patches_{factor}.npy", own / f"patches_{factor}.parquet")
            extract_subject_patches(folder.name, images, keypoints, tracks, *output, cut, arguments.threads)
    datasets = {factor: work / f"dataset_{factor}" for factor in CROP_FACTORS}
    for factor, dataset in datasets.items():
        stores = [work / folder.name / f"patches_{factor}.npy" for folder in captures]
        build_dataset(
            "test set",
            [folder.name for folder in captures],
            stores,
            [store.with_suffix(".parquet") for store in stores],
            dataset / "patches.npy",
            dataset / "index.parquet",
            dataset / "pairs.parquet",
            PairSettings(pairs=arguments.pairs),
            arguments.seed,
        )
    return datasets


def _full_image(dataset: Path, images: dict[str, Path], arguments: argparse.Namespace) -> Rates:
    rates: Rates = {}
    _, index = open_store(dataset / "patches.npy", dataset / "index.parquet")
    first, second, is_match = _pairs(dataset)
    points = point_numbers(index)
    labelled = LabelledPairs(is_match, points[first], points[second])
    for name in FULL_IMAGE:
        descriptor = make_descriptor(name, crop_factor=24, threads=arguments.threads)
        distances = pair_distances(describe_rows(images, index, descriptor), first, second, arguments.threads)
        report = headline_report(distances, labelled, VerificationSettings(), arguments.seed, arguments.threads)
        rates |= {"patches": len(index)} | {key: report[key] for key in ("positives", "negatives")}
        rates[f"{name}, photograph"] = [report[key] for key in ("fpr95", "fpr95_low", "fpr95_high")]
    return rates


def _pairs(dataset: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    pairs = read_table(dataset / "pairs.parquet", PATCH_PAIRS)
    first, second = (pairs[name].to_numpy(np.int64) for name in ("patch_1", "patch_2"))
    return first, second, pairs["is_match"].to_numpy(bool)


def _bare_patches(factor: int, dataset: Path, arguments: argparse.Namespace) -> Rates:
    """FPR95 on bare patches; the sweeps of PSIFT as {sigma: rate} beside the best of them."""
    patches, _ = open_store(dataset / "patches.npy", dataset / "index.parquet")
    first, second, is_match = _pairs(dataset)
    rates: Rates = {}
    for name in ("psift", "psift128"):
        sweep = sweep_sigma(f"{name}-bare", patches, first, second, is_match, SIGMAS_PX, arguments.threads)
        best = best_sigma(sweep)
        rates[f"{name}, bare {factor}, best at {best} px"] = sweep[best]
        rates[f"{name}, bare {factor}, sweep"] = {f"{sigma}": rate for sigma, rate in sweep.items()}
    described = {"ncc": ncc_descriptors(patches)}
    if arguments.weights:
        described[arguments.weights.stem] = describe_hardtfeat(patches, arguments.weights)
    for name, rows in described.items():
        rates[f"{name}, bare {factor}"] = fpr95(pair_distances(rows, first, second), is_match)
    return rates


def describe_hardtfeat(patches: NDArray[np.uint8], weights: Path) -> NDArray[np.float32]:
    """Describe patches (N,64,64) with the published HardTFeat, a HardNet of TFeat's size. Returns unit rows float32 (N,128)."""
    import torch
    from safetensors.torch import load_file
    from torch.nn.functional import conv2d, max_pool2d, normalize

    tensors = load_file(weights)
    layers = ("features.0", "features.3", "classifier.1")
    (w1, b1), (w2, b2), (w3, b3) = ((tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]) for layer in layers)
    rows = []
    for start in range(0, len(patches), 1024):
        x = torch.from_numpy(halve_patches(patches[start : start + 1024])).float()
        x = (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1e-7)
        x = max_pool2d(conv2d(x[:, None], w1, b1).tanh(), 2)
        x = conv2d(conv2d(x, w2, b2).tanh(), w3, b3)
        rows.append(normalize(x.flatten(1)).numpy())
    return np.concatenate(rows)


def _table(rates: Rates) -> str:
    counts = ", ".join(f"{rates[key]:,} {key}" for key in ("patches", "positives", "negatives"))
    rows = []
    for name, value in rates.items():
        if isinstance(value, float):
            rows.append([name, percent(value), "-"])
        elif isinstance(value, list):
            rows.append([name, percent(value[0]), f"{percent(value[1])} .. {percent(value[2])}"])
        elif isinstance(value, dict):
            rows.append([name, " ".join(percent(rate, 1) for rate in value.values()), "-"])
    sigmas = " ".join(f"{sigma:g}" for sigma in SIGMAS_PX)
    return f"{counts}; sweeps over sigma {sigmas} px\n\n{markdown_table(['descriptor', 'FPR95 %', '95 % interval'], rows)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nersemble", help="named rendering settings")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="single rendering settings instead")
    parser.add_argument("--subjects", nargs="+", default=["face06"], help="what to render")
    parser.add_argument("--captures", nargs="+", type=Path, help="folders of rendered captures, instead of rendering")
    parser.add_argument("--work", type=Path, help="folder that keeps the renders and the test set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", type=int, default=4000, help="keypoints per photograph")
    parser.add_argument("--pairs", type=int, default=40_000)
    parser.add_argument("--weights", type=Path, help="safetensors of HardTFeat")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON of all numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
