"""The UBC PhotoTour layout (Winder and Brown, 2007), as HyNet's published loader reads it.

A folder with 1024x1024 sheets of 16x16 patches, row-major, the last sheet padded with black; `info.txt` with one row
per patch, point number first; `interest.txt` with the photograph, x, y, orientation and log2 scale of each patch;
`m50_N_N_0.txt` with N pairs, half of them matches: patch, point, 0, patch, point, 0. Ours adds `card.json`, which says
whom the patches show.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, read_array, write_image, write_json
from porepatch_lib.patches.card import export_card, read_card, released_subjects, unstated_subjects
from porepatch_lib.patches.phototour_reader import (
    HYNET_PAIR_FILE,
    find_pair_list,
    read_cells,
    read_pair_list,
    read_point_ids,
    sheet_of_cells,
)
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.patches.store import image_numbers, open_store, point_numbers
from porepatch_lib.progress import progress
from porepatch_lib.tables import HARD, PATCH_PAIRS, TEST_PAIRS, empty_frame, read_table

logger = logging.getLogger(__name__)

Take = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # row numbers (n,) to their patches (n,64,64)

_CELLS = 16
_PER_SHEET = _CELLS * _CELLS
_NAMED_SUBJECTS = 8


@dataclass(frozen=True)
class PhotoTour:
    """A set in the PhotoTour layout: patches (N,64,64) uint8, point_ids (N,) int64, pairs as `patch pairs` columns."""

    patches: NDArray[np.uint8]
    point_ids: NDArray[np.int64]
    pairs: pd.DataFrame


def export_phototour(
    patches: Path, index: Path, pairs: Path, output_folder: Path, card: Path | None = None, is_test_set: bool = False
) -> None:
    """Write what may be released of a patch store in the PhotoTour layout, with the card of what was written.

    Patches of subjects whom the store's `card` holds back stay out, and so does every pair that touches one (non-matches across
    subjects go first, so that fewer than half may be left). Patches, points and photographs are numbered 0, 1, 2... over what is
    left. The pair list is written as m50_N_N_0.txt (N pairs) and under the name HyNet opens. Without a card, a store of your own
    making, everything is written. Of a test set, whose `pairs` are the table `test pairs`, the hard non-matches stay out.

    Raises:
        PorePatchError: if nothing may be released, or the files do not belong together.
    """
    frame = open_store(patches, index)[1]
    labelled = read_table(pairs, TEST_PAIRS if is_test_set else PATCH_PAIRS)
    labelled = labelled[labelled["kind"] != HARD] if is_test_set else labelled
    if len(frame) == 0:
        raise PorePatchError(f"There are no patches in {patches} to export; look at the subjects behind it.")
    _check_pairs(labelled, len(frame))
    described = read_card(card) if card else None
    rows = np.flatnonzero(frame["subject"].isin(released_subjects(described))) if described else np.arange(len(frame))
    if len(rows) == 0:
        raise PorePatchError(
            f"Nobody in {index} may be released, see {card}; give the split subjects whose release is not false."
        )
    held_back = frame["subject"].nunique() - frame["subject"].iloc[rows].nunique()
    frame, labelled = frame.iloc[rows], _renumbered(labelled, rows, len(frame))
    with atomic_folder(output_folder) as folder:
        # A map of its own for every sheet: one of the whole store would keep all that it has seen of the file.
        _write_set(folder, lambda some: read_array(patches)[some], rows, point_numbers(frame), labelled, _interest(frame))
        if described:
            described = export_card(described, frame, len(labelled))
            write_json(folder / "card.json", described)
    logger.info("exported %d patches; subjects: %d, held back: %d", len(rows), frame["subject"].nunique(), held_back)
    _warn_of_unstated(unstated_subjects(described) if described else [])


def write_phototour(
    output_folder: Path,
    patches: NDArray[np.uint8],
    point_ids: NDArray[np.int64],
    pairs: pd.DataFrame,
    interest: Iterable[str],
) -> None:
    """Write the layout from patches (N,64,64), point_ids (N,), pairs and the lines of `interest.txt`; whole or not at all."""
    _check_pairs(pairs, len(patches))
    with atomic_folder(output_folder) as folder:
        _write_set(folder, patches.__getitem__, np.arange(len(patches)), point_ids, pairs, interest)


def read_phototour(folder: Path, pair_file: str | None = HYNET_PAIR_FILE) -> PhotoTour:
    """Read a whole set into memory, without the padding of the last sheet; for small sets.

    Args:
        folder: holds the sheets and `info.txt`, in any form that `phototour_reader` knows.
        pair_file: name of the pair list inside it, or None for no pairs.

    Raises:
        PorePatchError: if a file is missing or damaged, or the files contradict each other.
    """
    point_ids = read_point_ids(folder)
    patches = np.empty((len(point_ids), PATCH_SIZE, PATCH_SIZE), np.uint8)
    for first, cells in read_cells(folder, len(point_ids)):
        patches[first : first + len(cells)] = cells
    pairs = read_pair_list(find_pair_list(folder, pair_file), point_ids) if pair_file else empty_frame(PATCH_PAIRS)
    return PhotoTour(patches, point_ids, pairs)


def _check_pairs(pairs: pd.DataFrame, count: int) -> None:
    rows = pairs[["patch_1", "patch_2"]].to_numpy(np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise PorePatchError("The patch pairs name rows that the patch store lacks; delete the dataset and run again.")


def _renumbered(pairs: pd.DataFrame, rows: NDArray[np.int64], count: int) -> pd.DataFrame:
    """Return the pairs between the kept `rows` (ascending) of a store of `count`, numbered among those."""
    number = np.full(count, -1)
    number[rows] = np.arange(len(rows))
    moved = pairs.assign(patch_1=number[pairs["patch_1"]], patch_2=number[pairs["patch_2"]])
    return moved[(moved["patch_1"] >= 0) & (moved["patch_2"] >= 0)]


def _interest(frame: pd.DataFrame) -> Iterator[str]:
    x, y, sigma = (frame[name].to_numpy(np.float64) for name in ("x", "y", "sigma"))
    for image, column, row, octave in zip(image_numbers(frame), x, y, np.log2(sigma), strict=True):
        yield f"{image} {column:.3f} {row:.3f} 0.00000 {octave:.4f}\n"


def _warn_of_unstated(subjects: Sequence[str]) -> None:
    if subjects:
        named = ", ".join(subjects[:_NAMED_SUBJECTS]) + (", ..." if len(subjects) > _NAMED_SUBJECTS else "")
        logger.warning(
            "The export shows people whose consent or licence is not stated (%s); fill these columns of the sheet, or hold them "
            "back with release false.",
            named,
        )


def _write_set(
    folder: Path,
    patches: Take,
    rows: NDArray[np.int64],
    point_ids: NDArray[np.int64],
    pairs: pd.DataFrame,
    interest: Iterable[str],
) -> None:
    """Write patches(rows); point_ids, interest and pairs are those of the N rows."""
    both = pairs[["patch_1", "patch_2"]].to_numpy(np.int64)
    points = point_ids[both]
    pair_lines = [
        f"{a} {point_a} 0 {b} {point_b} 0 \n" for (a, b), (point_a, point_b) in zip(both.tolist(), points.tolist(), strict=True)
    ]
    _write_sheets(folder, patches, rows)
    _write_lines(folder / "info.txt", (f"{point} 0\n" for point in point_ids))
    _write_lines(folder / "interest.txt", interest)
    for name in sorted({f"m50_{len(both)}_{len(both)}_0.txt", HYNET_PAIR_FILE}):
        _write_lines(folder / name, pair_lines)


def _write_sheets(folder: Path, patches: Take, rows: NDArray[np.int64]) -> None:
    count = -(-len(rows) // _PER_SHEET)
    # Readers sort the names as text: every number needs the same width.
    digits = max(4, len(str(count - 1)))
    for number in progress(range(count), "PhotoTour sheets", "sheet", total=count):
        cells = np.zeros((_PER_SHEET, PATCH_SIZE, PATCH_SIZE), np.uint8)
        block = patches(rows[number * _PER_SHEET : (number + 1) * _PER_SHEET])
        cells[: len(block)] = block
        write_image(folder / f"patches{number:0{digits}d}.bmp", sheet_of_cells(cells, _CELLS), ".bmp")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="ascii", newline="\n") as stream:
        stream.writelines(lines)
