"""Which views are matched with which."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pandas as pd

from porepatch_lib.captures.views import read_views
from porepatch_lib.tables import VIEW_PAIRS, write_table


def exhaustive_pairs(image_ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return every unordered pair of images once, the smaller id first, in ascending order."""
    return list(combinations(sorted(set(image_ids)), 2))


def write_view_pairs(images: str | Path, output: str | Path) -> None:
    """Write all pairs of the views in the table `images` as the `view pairs` table `output`."""
    pairs = exhaustive_pairs(view.image_id for view in read_views(images))
    frame = pd.DataFrame(pairs, columns=VIEW_PAIRS.schema.names)
    write_table(output, frame.astype("int32"), VIEW_PAIRS)
