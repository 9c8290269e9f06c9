"""The patch store: `patches.npy` (N,64,64) uint8, memory-mapped, and its row-aligned index table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import create_array, read_array
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.tables import PATCHES, read_table


def create_patches(path: Path, count: int) -> NDArray[np.uint8]:
    """Create a `.npy` file of `count` patches and return it as a writable memory map (N,64,64)."""
    return create_array(path, np.uint8, (count, PATCH_SIZE, PATCH_SIZE))


def open_store(patches: Path, index: Path) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Open patches (memory-mapped, read-only) and their index.

    Raises:
        PorePatchError: if the two do not belong together.
    """
    array, frame = read_array(patches), read_table(index, PATCHES)
    if array.dtype != np.uint8 or array.shape != (len(frame), PATCH_SIZE, PATCH_SIZE):
        raise PorePatchError(
            f"The patches {patches} are {array.dtype} {array.shape} but {index} has {len(frame)} rows; delete both and run again."
        )
    return array, frame


def point_numbers(index: pd.DataFrame) -> NDArray[np.int64]:
    """Number the surface points (subject, point_id) 0, 1, 2... in order of first appearance, (N,) int64."""
    return np.asarray(index.groupby(["subject", "point_id"], sort=False).ngroup(), np.int64)


def subject_numbers(index: pd.DataFrame) -> NDArray[np.int64]:
    """Number the subjects 0, 1, 2... in order of first appearance, (N,) int64."""
    return np.asarray(index.groupby("subject", sort=False).ngroup(), np.int64)


def image_numbers(index: pd.DataFrame) -> NDArray[np.int64]:
    """Number the photographs 0, 1, 2... subject after subject in order of appearance, by image_id within, (N,) int64."""
    keys = pd.DataFrame({"subject": subject_numbers(index), "image_id": index["image_id"].to_numpy(np.int64)})
    return np.asarray(keys.groupby(["subject", "image_id"], sort=True).ngroup(), np.int64)
