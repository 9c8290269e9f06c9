"""A tiny patch set to train on: random textures, each seen from three views."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from porepatch_lib.files import write_array
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, write_table

VIEWS = 3


def write_split(folder: Path, subject: str, points: int, seed: int) -> None:
    """Write `points` random blob textures, each seen from three views with shift, blur, gain and noise."""
    generator = np.random.default_rng(seed)
    patches, rows = [], []
    for point in range(points):
        texture = cv2.GaussianBlur(generator.normal(0, 1, (80, 80)), (0, 0), 3)
        texture = 128 + 40 * texture / texture.std()
        for view in range(VIEWS):
            affine = np.array([[1, 0, 0], [0, 1, 0]]) + generator.normal(0, 1, (2, 3)) * [0.03, 0.03, 1.5]
            seen = cv2.warpAffine(texture, affine, (80, 80), borderMode=cv2.BORDER_REFLECT)[8:72, 8:72]
            seen = seen * generator.uniform(0.7, 1.2) + generator.normal(0, 6, seen.shape)
            patches.append(np.clip(np.rint(seen), 0, 255).astype(np.uint8))
            rows.append((subject, point, view, point, 50.0 * point, 10.0, 2.0, 0, 0, 12.0))
    first = np.arange(points) * VIEWS
    other = (np.roll(np.arange(points), 1) * VIEWS) + 1
    pairs = pd.DataFrame(
        {
            "patch_1": np.concatenate([first, first, first]),
            "patch_2": np.concatenate([first + 1, first + 2, other]),
            "is_match": np.repeat([True, True, False], points),
        }
    )
    write_array(folder / "patches.npy", np.stack(patches))
    write_table(folder / "index.parquet", pd.DataFrame(rows, columns=PATCHES.schema.names), PATCHES)
    write_table(folder / "pairs.parquet", pairs, PATCH_PAIRS)


def write_dataset(folder: Path, points: int = 200) -> dict[str, Path]:
    """Write a train and a validation split; returns the paths a training job reads."""
    write_split(folder / "train", "anna", points, seed=1)
    write_split(folder / "validation", "bert", 80, seed=2)
    return {
        "train_patches": folder / "train" / "patches.npy",
        "train_index": folder / "train" / "index.parquet",
        "validation_patches": folder / "validation" / "patches.npy",
        "validation_index": folder / "validation" / "index.parquet",
        "validation_pairs": folder / "validation" / "pairs.parquet",
    }
