"""The dataset of one split: the patches of its subjects in one store, and labelled pairs of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path
from porepatch_lib.patches.pairs import PairSettings, draw_pairs
from porepatch_lib.patches.store import create_patches, open_store
from porepatch_lib.progress import progress
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, empty_frame, write_table

logger = logging.getLogger(__name__)

_BLOCK = 4096
_NAMED_SUBJECTS = 8

Store = tuple[NDArray[np.uint8], pd.DataFrame]  # patches (N,64,64), memory-mapped, and their rows of the table `patches`


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
    stores = open_stores(subjects, patches, indexes)
    index = merged_index(stores)
    if len(index[["subject", "point_id"]].drop_duplicates()) < 2 and not allow_empty:
        raise PorePatchError(_nothing_to_learn(split, subjects, len(index), hint))
    pairs = draw_pairs(index, settings, np.random.default_rng(seed))
    merge_stores(stores, index, patches_output, index_output, split)
    write_table(pairs_output, pairs, PATCH_PAIRS)
    logger.info("%s: %d patches of %d subjects, %d pairs", split, len(index), index["subject"].nunique(), len(pairs))


def open_stores(subjects: Sequence[str], patches: Sequence[Path], indexes: Sequence[Path]) -> list[Store]:
    """Open the stores of subjects, in step.

    Raises:
        PorePatchError: if a store is not the named subject's, or its two files do not belong together.
    """
    stores = [open_store(array, index) for array, index in zip(patches, indexes, strict=True)]
    for subject, path, (_, frame) in zip(subjects, indexes, stores, strict=True):
        if (frame["subject"] != subject).any():
            raise PorePatchError(f"The patch index {path} holds other subjects than {subject}; delete it and run again.")
    return stores


def merged_index(stores: Sequence[Store]) -> pd.DataFrame:
    """Return the rows of all stores, one after the other."""
    return pd.concat([empty_frame(PATCHES), *(frame for _, frame in stores if len(frame))], ignore_index=True)


def merge_stores(stores: Sequence[Store], index: pd.DataFrame, patches_output: Path, index_output: Path, title: str) -> None:
    """Write stores as one, block by block: uint8 (N,64,64) and its `merged_index`; `title` is for the progress bar."""
    with atomic_path(patches_output) as temporary:
        merged = create_patches(temporary, len(index))
        first = 0
        for array, _ in progress(stores, f"patches of the {title}", "subject", total=len(stores)):
            for start in range(0, len(array), _BLOCK):
                block = array[start : start + _BLOCK]
                merged[first : first + len(block)] = block
                first += len(block)
        write_table(index_output, index, PATCHES)


def _nothing_to_learn(split: str, subjects: Sequence[str], patches: int, hint: str) -> str:
    found = "no patches at all" if patches == 0 else "the patches of one surface point only"
    named = ", ".join(subjects[:_NAMED_SUBJECTS]) + (", ..." if len(subjects) > _NAMED_SUBJECTS else "")
    return (
        f"The {split} has {found}: its {len(subjects)} subjects ({named}) kept too few points seen in two photographs; "
        f"{hint or 'look at the status of their reconstructions'}, then give photographs that overlap more, a lower crop factor, "
        "or looser matching."
    )
