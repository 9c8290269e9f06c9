"""The dataset of one split: the patches of its subjects in one store, and labelled pairs of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, read_array
from porepatch_lib.patches.pairs import PairSettings, draw_pairs
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.patches.store import open_store
from porepatch_lib.progress import progress
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, empty_frame, write_table

logger = logging.getLogger(__name__)

_BLOCK = 4096
_NAMED_SUBJECTS = 8


def build_dataset(
    split: str,
    subjects: Sequence[str],
    patches: Sequence[Path],
    indexes: Sequence[Path],
    patches_output: Path,
    index_output: Path,
    pairs_output: Path,
    settings: PairSettings,
    seed: int,
    allow_empty: bool = False,
    hint: str = "",
) -> None:
    """Merge the patches of several subjects into one store, subject after subject, and draw labelled pairs.

    Args:
        split: name for messages, for instance "train split of round 1".
        subjects, patches, indexes: names and stores of the subjects, in step.
        patches_output, index_output, pairs_output: uint8 (N,64,64) and the tables `patches` and `patch pairs`.
        settings: how pairs are drawn.
        seed: same seed, same pairs.
        allow_empty: write an empty dataset instead of raising.
        hint: what is known about the subjects (for instance the status of their reconstructions), for the message.

    Raises:
        PorePatchError: if fewer than two surface points are seen twice, or a store is not the named subject's.
    """
    index = merged_index(subjects, patches, indexes)
    if len(index[["subject", "point_id"]].drop_duplicates()) < 2 and not allow_empty:
        raise PorePatchError(_nothing_to_learn(split, subjects, len(index), hint))
    pairs = draw_pairs(index, settings, np.random.default_rng(seed))
    merge_stores(patches, index, patches_output, index_output, split)
    write_table(pairs_output, pairs, PATCH_PAIRS)
    logger.info("%s: %d patches of %d subjects, %d pairs", split, len(index), index["subject"].nunique(), len(pairs))


def merged_index(subjects: Sequence[str], patches: Sequence[Path], indexes: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of the stores of subjects, in step, one after the other.

    Raises:
        PorePatchError: if a store is not the named subject's, or its two files do not belong together.
    """
    frames = [empty_frame(PATCHES)]
    for subject, array, path in zip(subjects, patches, indexes, strict=True):
        frame = open_store(array, path)[1]
        if (frame["subject"] != subject).any():
            raise PorePatchError(f"The patch index {path} holds other subjects than {subject}; delete it and run again.")
        if len(frame):
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def merge_stores(patches: Sequence[Path], index: pd.DataFrame, patches_output: Path, index_output: Path, title: str) -> None:
    """Write the patches of stores as one, uint8 (N,64,64), and their `merged_index`; `title` is for the progress bar.

    Whatever the size of the stores, the process holds one block of patches: a memory map would keep what it has seen of its file.
    """
    with atomic_path(patches_output) as temporary:
        with temporary.open("wb") as merged:
            shape = (len(index), PATCH_SIZE, PATCH_SIZE)
            np.lib.format.write_array_header_1_0(merged, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for path in progress(patches, f"patches of the {title}", "subject", total=len(patches)):
                for start in range(0, len(read_array(path)), _BLOCK):
                    merged.write(read_array(path)[start : start + _BLOCK].tobytes())
        write_table(index_output, index, PATCHES)


def _nothing_to_learn(split: str, subjects: Sequence[str], patches: int, hint: str) -> str:
    found = "no patches at all" if patches == 0 else "the patches of one surface point only"
    named = ", ".join(subjects[:_NAMED_SUBJECTS]) + (", ..." if len(subjects) > _NAMED_SUBJECTS else "")
    return (
        f"The {split} has {found}: its {len(subjects)} subjects ({named}) kept too few points seen in two photographs; "
        f"{hint or 'look at the status of their reconstructions'}, then give photographs that overlap more, a lower crop factor, "
        "or looser matching."
    )
