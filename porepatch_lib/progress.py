"""Progress of long work: what, how far, how fast, how long still."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Iterate over `items` with a progress line on standard error; sparse lines when it is not a terminal."""
    interactive = sys.stderr.isatty()
    return iter(
        tqdm(items, desc=what, unit=unit, total=total, mininterval=0.5 if interactive else 15.0, maxinterval=60.0, ascii=True)
    )
