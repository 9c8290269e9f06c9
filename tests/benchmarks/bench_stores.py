"""Seconds and peak memory of what reads a large patch store: by hand, 10 million patches (40 GB) in a sparse file.

python tests/benchmarks/bench_stores.py --patches 10000000
python tests/benchmarks/bench_stores.py --merge 266     subjects of 2000 patches each, really written (2.2 GB twice)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from porepatch_lib.files import write_json
from porepatch_lib.patches.card import dataset_card
from porepatch_lib.patches.dataset import build_dataset, merged_index
from porepatch_lib.patches.pairs import PairSettings, draw_pairs
from porepatch_lib.patches.phototour import export_phototour
from porepatch_lib.patches.sheets import write_contact_sheet
from porepatch_lib.patches.store import open_store
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table
from porepatch_lib.training.data import open_source
from porepatch_lib.training.sampling import make_sampler

SUBJECTS, VIEWS = 266, 16
_FEWEST_SEEN, _MOST_SEEN = 3, 6
_WIDTH, _HEIGHT = 2200, 3208
_SHOWN = 3  # subjects of the export, whose sheets are written in full

Row = dict[str, Any]


def store_rows(patches: int, subjects: int = SUBJECTS) -> list[Row]:
    """Measure every reader of a store of `patches` patches; none of its patches was ever written."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        array, index, pairs, card = (folder / name for name in ("patches.npy", "index.parquet", "pairs.parquet", "card.json"))
        share = np.diff(np.linspace(0, patches, subjects + 1).astype(np.int64))
        names = _write_subjects(folder, share.tolist(), write_sparse_patches)
        write_sparse_patches(array, patches)

        def merge() -> None:
            frame = merged_index(names, *_stores(folder, names))
            write_table(pairs, draw_pairs(frame, PairSettings(pairs=100_000), np.random.default_rng(1)), PATCH_PAIRS)
            write_table(index, frame, PATCHES)

        def describe() -> None:
            write_json(card, dataset_card([_person(name) for name in names], open_store(array, index)[1], 100_000))

        def train() -> None:
            store, frame = open_store(array, index)
            source = open_source(store, 32, torch.device("cpu"), "auto")
            sampler = make_sampler(frame, 1024, 5.0, 1, source.rows_device)
            for step in range(10):
                batch = sampler.batch(step)
                source.take(batch.anchors)
                source.take(batch.positives)

        steps: dict[str, Callable[[], Any]] = {
            "merge the indexes, draw 100,000 pairs": merge,
            "open and check": lambda: open_store(array, index),
            "card": describe,
            "sampler and 10 batches of 1024 x 2": train,
            "contact sheet": lambda: write_contact_sheet(array, index, folder / "sheet.png", 16, 1),
            f"PhotoTour of {_SHOWN} of {subjects} subjects": lambda: export_phototour(array, index, pairs, folder / "tour", card),
        }
        return [_measured(what, step) for what, step in steps.items()]


def merge_rows(subjects: int, patches: int = 2000) -> list[Row]:
    """Measure the merging of stores that are really there."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        block = np.random.default_rng(1).integers(0, 256, (patches, 64, 64), np.uint8)
        names = _write_subjects(folder, [patches] * subjects, lambda path, _: np.save(path, block))
        outputs = [folder / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
        merge = partial(build_dataset, "train split", names, *_stores(folder, names), *outputs, PairSettings(), 1)
        return [_measured(f"merge {subjects} subjects of {patches} patches", merge)]


def write_sparse_patches(path: Path, patches: int) -> None:
    """Write a `.npy` file of patches that is a hole behind its header."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (patches, 64, 64)})
        stream.truncate(stream.tell() + patches * 64 * 64)


def subject_rows(seed: int, subject: str, count: int) -> pd.DataFrame:
    """Return `count` rows of the table `patches`: points of one person, each seen in a few of 16 photographs."""
    rng = np.random.default_rng(seed)
    seen = rng.integers(_FEWEST_SEEN, _MOST_SEEN + 1, count)
    point = np.repeat(np.arange(count), seen)[:count]
    within = np.arange(count) - np.searchsorted(point, point)
    image = (rng.integers(VIEWS - _MOST_SEEN, size=count)[point] + within).astype(np.int32)
    x, y = rng.uniform(0, (_WIDTH, _HEIGHT), (count, 2)).astype(np.float32).T
    columns = {"subject": subject, "point_id": point, "image_id": image, "keypoint_id": np.arange(count, dtype=np.int32)}
    columns |= {"x": x, "y": y, "sigma": np.float32(2.0), "octave": np.int8(0), "level": np.int8(1)}
    return pd.DataFrame(columns | {"crop_factor": np.float32(24.0)})


def _write_subjects(folder: Path, counts: list[int], write: Callable[[Path, int], Any]) -> list[str]:
    names = [f"face{number:03d}" for number in range(len(counts))]
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        write(folder / f"{name}.npy", count)
        write_table(folder / f"{name}.parquet", subject_rows(number, name, count), PATCHES)
    return names


def _stores(folder: Path, names: list[str]) -> list[list[Path]]:
    return [[folder / f"{name}.{ending}" for name in names] for ending in ("npy", "parquet")]


def _person(name: str) -> Row:
    released = int(name.removeprefix("face")) < _SHOWN
    return {"subject": name, "shows": "nobody", "consent": "given", "licence": "research", "release": released}


def _measured(what: str, action: Callable[[], Any]) -> Row:
    """Return seconds and the peak memory (MB) of a process that does nothing else, in all and above what importing took."""
    context = multiprocessing.get_context("fork")
    results, sent = context.Pipe(duplex=False)
    worker = context.Process(target=_measure, args=(action, sent))
    worker.start()
    sent.close()
    seconds, before, peak = results.recv()
    worker.join()
    return {"what": what, "seconds": round(seconds, 2), "peak_mb": round(peak), "grown_mb": round(peak - before)}


def _measure(action: Callable[[], Any], sent: Connection) -> None:
    before, started = _memory_mb("VmRSS"), time.perf_counter()
    action()
    sent.send((time.perf_counter() - started, before, _memory_mb("VmHWM")))


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=0)
    parser.add_argument("--merge", type=int, default=0)
    asked = parser.parse_args()
    rows = (store_rows(asked.patches) if asked.patches else []) + (merge_rows(asked.merge) if asked.merge else [])
    print(json.dumps(rows, indent=2))
