"""Progress of long work: what, how far, how fast, how long still."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], what: str, unit: str, total: int | None = None, done: int = 0, units_per_item: int = 1
) -> Iterator[Item]:
    """Iterate over `items` with a progress line on standard error; sparse lines when it is not a terminal.

    `done` of the `total` items came before these; the line counts `units_per_item` units for each.
    """
    interval = 0.5 if sys.stderr.isatty() else 15.0
    scale = units_per_item if units_per_item > 1 else False
    bar = tqdm(items, what, total, initial=done, unit=unit, unit_scale=scale, mininterval=interval, maxinterval=60.0, ascii=True)
    return iter(bar)
