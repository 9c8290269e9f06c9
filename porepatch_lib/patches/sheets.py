"""Contact sheets: patches of the same surface point side by side, to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.files import atomic_path, write_image
from porepatch_lib.patches.card import read_card, released_subjects
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.patches.store import open_store, point_numbers

_COLUMNS = 10
_GAP_PX = 2
_BACKGROUND = 255


def write_contact_sheet(patches: Path, index: Path, output: Path, points: int, seed: int, card: Path | None = None) -> None:
    """Write a PNG with one row per surface point, up to `points` points drawn with `seed`, up to ten patches each.

    Only subjects whom the dataset's `card` releases are shown, where it is given. Nothing to show gives one blank row.
    """
    array, frame = open_store(patches, index)
    rows = np.flatnonzero(frame["subject"].isin(released_subjects(read_card(card)))) if card else np.arange(len(frame))
    numbers = point_numbers(frame.iloc[rows])
    available = int(numbers.max(initial=-1)) + 1
    chosen = np.sort(np.random.default_rng(seed).choice(available, min(points, available), replace=False))
    sheet = contact_sheet([array[rows[numbers == point][:_COLUMNS]] for point in chosen])
    with atomic_path(output) as path:
        write_image(path, sheet, ".png")


def contact_sheet(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay out rows of patches, each (n,64,64) uint8 with n <= 10, on a white sheet with thin separators."""
    pitch = PATCH_SIZE + _GAP_PX
    sheet = np.full((max(1, len(rows)) * pitch + _GAP_PX, _COLUMNS * pitch + _GAP_PX), _BACKGROUND, np.uint8)
    for r, row in enumerate(rows):
        for c, patch in enumerate(row):
            top, left = _GAP_PX + r * pitch, _GAP_PX + c * pitch
            sheet[top : top + PATCH_SIZE, left : left + PATCH_SIZE] = patch
    return sheet
