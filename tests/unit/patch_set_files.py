"""Patch sets of other people as files: mosaics of any shape and format, laid out cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PATCH = 64


def seen_patches(point_ids: Sequence[int], seed: int = 0) -> NDArray[np.uint8]:
    """Draw patches (N,64,64): those of one point share a blob texture, each with noise of its own."""
    rng = np.random.default_rng(seed)
    textures = {
        point: cv2.GaussianBlur(rng.normal(0, 1, (PATCH, PATCH)), (0, 0), 4) * 400 + 128 for point in sorted(set(point_ids))
    }
    seen = [textures[point] + rng.normal(0, 5, (PATCH, PATCH)) for point in point_ids]
    return np.clip(np.rint(np.stack(seen)), 0, 255).astype(np.uint8)


def mosaic(patches: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Lay patches out in rows x columns cells, row-major; what is left over stays black."""
    sheet = np.zeros((rows * PATCH, columns * PATCH), np.uint8)
    for number, patch in enumerate(patches):
        top, left = number // columns * PATCH, number % columns * PATCH
        sheet[top : top + PATCH, left : left + PATCH] = patch
    return sheet


def write_sheets(folder: Path, patches: NDArray[np.uint8], names: Sequence[str], rows: int, columns: int) -> None:
    """Write mosaics under the names in turn; the last sheet has no more rows than it needs."""
    for number, name in enumerate(names):
        block = patches[number * rows * columns : (number + 1) * rows * columns]
        needed = rows if number < len(names) - 1 else -(-len(block) // columns)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), mosaic(block, needed, columns))


def write_info(folder: Path, point_ids: Sequence[int], further: str = " 0") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "info.txt").write_text("".join(f"{point}{further}\n" for point in point_ids), encoding="utf-8")


def write_pairs(path: Path, pairs: Sequence[tuple[int, int]], point_ids: Sequence[int]) -> None:
    path.write_text("".join(f"{a} {point_ids[a]} 0 {b} {point_ids[b]} 0 \n" for a, b in pairs))
