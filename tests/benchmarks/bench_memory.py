"""Peak memory of training, each run in a process of its own: over epochs, and on 450,000 patches."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from timing import Row, row

from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table

_SMALL, _LARGE = 6_000, 450_000
_VIEWS, _BLOCK = 3, 6_000
_TRAIN = (
    "import pathlib, sys; from porepatch_lib.training.job import TrainingJob; from porepatch_lib.training.train import train\n"
    "if __name__ == '__main__': train(TrainingJob.load(pathlib.Path(sys.argv[1])))\n"
)
_REPORT_PEAK = "import re; print('peak', int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)\n"


def memory_rows(threads: int, large: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [_train(folder, _SMALL, steps, threads) for steps in (4, 20)]
        if large:
            rows.append(_train(folder, _LARGE, 4, threads))
    return rows


def peak_memory_mb(program: str, *arguments: str) -> float:
    """Peak resident MB of a fresh process that runs `program` (Linux keeps it in VmHWM)."""
    command = [sys.executable, "-c", program + _REPORT_PEAK, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(printed.rpartition("peak")[2])


def _train(folder: Path, patches: int, steps: int, threads: int) -> Row:
    from porepatch_lib.training.job import TrainingJob
    from porepatch_lib.training.settings import TrainingSettings

    train, validation = folder / f"train_{patches}", folder / "validation"
    for split, count in ((train, patches), (validation, 900)):
        if not split.exists():
            _write_split(split, split.name, count)
    settings = TrainingSettings(steps=steps, validate_every=steps, checkpoint_every=steps)
    inputs = {"train_patches": train / "patches.npy", "train_index": train / "index.parquet"}
    inputs |= {
        f"validation_{name.split('.')[0]}": validation / name for name in ("patches.npy", "index.parquet", "pairs.parquet")
    }
    output = folder / f"{patches}_{steps}"
    outputs: dict[str, Any] = {f"output_{name}": output / f"hynet.{name}" for name in ("weights", "card", "curve")}
    outputs["checkpoint_folder"] = output / "checkpoint"
    job = TrainingJob(**inputs, **outputs, settings=settings, seed=1, threads=threads, device="cpu", keep_collapsed=True)
    job.save(folder / "job.json")
    peak = peak_memory_mb(_TRAIN, str(folder / "job.json"))
    epochs = steps * settings.points_per_batch / (patches / _VIEWS)
    result = row(f"HyNet training, {patches} patches 64x64, {steps} steps, {epochs:.2g} epochs", 0.0)
    return result | {"seconds": None, "peak_mb": peak}


def _write_split(folder: Path, subject: str, count: int) -> None:
    """Write `count` patches of noise, three views of every point, block by block."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(len(subject))
    store = np.lib.format.open_memmap(folder / "patches.npy", "w+", np.uint8, (count, 64, 64))
    for start in range(0, count, _BLOCK):
        block = store[start : start + _BLOCK]
        block[:] = generator.integers(0, 256, block.shape, np.uint8)
    store.flush()
    number = np.arange(count)
    constant = {"keypoint_id": 0, "sigma": 2.0, "octave": 0, "level": 0, "crop_factor": 24.0}
    index = pd.DataFrame({"subject": subject, "point_id": number // _VIEWS, "image_id": number % _VIEWS}).assign(**constant)
    index = index.assign(x=20.0 * (number // _VIEWS % 1000), y=20.0 * (number // _VIEWS // 1000))
    write_table(folder / "index.parquet", index[PATCHES.schema.names], PATCHES)
    first = np.arange(0, count, _VIEWS)
    pairs = {"patch_1": np.concatenate([first, first]), "patch_2": np.concatenate([first + 1, np.roll(first, 1) + 1])}
    is_match = np.repeat([True, False], len(first))
    write_table(folder / "pairs.parquet", pd.DataFrame(pairs | {"is_match": is_match}), PATCH_PAIRS)


if __name__ == "__main__":
    print(json.dumps(memory_rows(threads=2, large="--large" in sys.argv), indent=2))
