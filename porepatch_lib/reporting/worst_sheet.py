"""How the sheet of the worst pairs is laid out and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.patches.sampler import PATCH_SIZE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4  # pairs in a row
_SCALE = 2  # a pixel of a patch is so many pixels of the sheet
_SIDE = PATCH_SIZE * _SCALE
_GAP, _MARGIN, _CAPTION, _HEADING = 4, 26, 48, 28  # pixels of the sheet
_WIDTH = _MARGIN + _COLUMNS * (2 * _SIDE + _GAP + _MARGIN)
_DPI = 100
_HEADINGS = {
    "false positive": "Worst false positives: different surface points, the smallest distances",
    "false negative": "Worst false negatives: the same surface point, the largest distances",
}
_EXPLANATION = (
    "The contrast of every patch is stretched by itself. Accepted: at or below the threshold that accepts 95 % of the matches."
)
_NOTHING = "No pair is shown: none of their subjects is released."


@dataclass
class _Page:
    """What stands where, in pixels from the top left: patches (x, y, pixels), texts (x, y, text, points). It grows downwards."""

    patches: list[tuple[int, int, NDArray[np.uint8]]] = field(default_factory=list)
    texts: list[tuple[int, int, str, float]] = field(default_factory=list)
    height: int = _MARGIN

    def write_line(self, text: str, size: float) -> None:
        self.texts.append((_MARGIN, self.height, text, size))
        self.height += _HEADING

    def skip(self) -> None:
        self.height += _HEADING // 2

    def add_pairs(self, pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], str]]) -> None:
        """Add rows of pairs of patches (64,64), each over its caption."""
        for number, (one, other, caption) in enumerate(pairs):
            row, column = divmod(number, _COLUMNS)
            x, y = _MARGIN + column * (2 * _SIDE + _GAP + _MARGIN), self.height + row * (_SIDE + _CAPTION)
            self.patches += [(x, y, one), (x + _SIDE + _GAP, y, other)]
            self.texts.append((x, y + _SIDE + 5, caption, 8.0))
        self.height += -(-len(pairs) // _COLUMNS) * (_SIDE + _CAPTION)


def worst_sheet(store: NDArray[np.uint8], worst: pd.DataFrame, title: str) -> Figure:
    """Return a figure of the pairs side by side, a block per kind of error, each pair with its distance, angle and kind.

    Args:
        store: patches (N,64,64).
        worst: columns of `WORST_PAIRS`; without rows, the sheet says so.
        title: stands above.
    """
    page = _Page()
    page.write_line(title, 12.0)
    page.write_line(_EXPLANATION, 8.0)
    if worst.empty:
        page.write_line(_NOTHING, 10.0)
    for error, heading in _HEADINGS.items():
        block = worst[worst["error"] == error]
        if len(block):
            page.skip()
            page.write_line(heading, 10.0)
            rows = zip(block["patch_1"], block["patch_2"], block.itertuples(), strict=True)
            page.add_pairs([(store[one], store[other], caption_of(pair)) for one, other, pair in rows])
    return _drawn(page)


def caption_of(pair: Any) -> str:
    """Return two lines on a row of `WORST_PAIRS`: the distance in thresholds and the verdict, then what is known of the pair."""
    facts = [] if pair.kind == "match" else [pair.kind.replace("_", " ")]
    facts += [f"{pair.angle_deg:.0f}°"] if pair.angle_deg >= 0 else []
    facts += [f"{pair.octaves:.2f} octaves"] if pair.octaves >= 0 else []
    facts += [pair.region.replace("_", " ")] if pair.region else []
    verdict = "accepted" if pair.accepted else "rejected"
    return f"{pair.distance / max(pair.threshold, 1e-12):.2f} of the threshold, {verdict}\n{', '.join(facts)}"


def stretched(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a patch whose 1st and 99th percentile of grey have become black and white; a flat patch stays as it is."""
    low, high = np.percentile(patch, [1, 99])
    if high <= low:
        return patch
    grey = np.clip((patch - low) / (high - low), 0.0, 1.0)
    return np.rint(255.0 * grey).astype(np.uint8)


def _drawn(page: _Page) -> Figure:
    from matplotlib.figure import Figure

    canvas = np.full((page.height, _WIDTH), 255, np.uint8)
    for x, y, patch in page.patches:
        canvas[y : y + _SIDE, x : x + _SIDE] = stretched(patch).repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
    figure = Figure(figsize=(_WIDTH / _DPI, page.height / _DPI), dpi=_DPI)
    figure.figimage(canvas, cmap="gray", vmin=0, vmax=255, origin="upper")
    for x, y, text, size in page.texts:
        figure.text(x / _WIDTH, 1 - y / page.height, text, fontsize=size, va="top", linespacing=1.25)
    return figure
