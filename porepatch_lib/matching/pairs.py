"""Which views are matched with which."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.tables import VIEW_PAIRS, read_table, write_table


def exhaustive_pairs(image_ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return every unordered pair of images once, the smaller id first, in ascending order."""
    return list(combinations(sorted(set(image_ids)), 2))


def write_view_pairs(images: str | Path, output: str | Path) -> None:
    """Write all pairs of the views in the table `images` as the `view pairs` table `output`."""
    pairs = exhaustive_pairs(view.image_id for view in read_views(images))
    frame = pd.DataFrame(pairs, columns=VIEW_PAIRS.schema.names)
    write_table(output, frame.astype("int32"), VIEW_PAIRS)


def read_view_pairs(path: str | Path, known: Collection[int]) -> list[tuple[int, int]]:
    """Return the pairs of a `view pairs` table in ascending order; `known`: every image_id there is.

    Raises:
        PorePatchError: if a pair names another.
    """
    pairs = sorted(read_table(path, VIEW_PAIRS).itertuples(index=False, name=None))
    unknown = {image_id for pair in pairs for image_id in pair} - set(known)
    if unknown:
        raise PorePatchError(
            f"The view pairs {path} name images {sorted(unknown)} that were not captured; delete them and run again."
        )
    return pairs


def drawn_pairs(pairs: list[tuple[int, int]], most: int, seed: int) -> list[tuple[int, int]]:
    """Return `most` of the pairs in their order, drawn with the seed; all of them where there are not more, or `most` is 0."""
    if not 0 < most < len(pairs):
        return pairs
    return [pairs[i] for i in np.sort(np.random.default_rng(seed).choice(len(pairs), most, replace=False))]
