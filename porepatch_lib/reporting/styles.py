"""How descriptors are drawn: the same colour, dashes and marker in every figure of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "porepatch",  # the same drawing gives the same file
}
LEAST_PERCENT = 0.01  # logarithmic axes of rates end here; zero is drawn here

PATCH, PHOTOGRAPH, TRANSFERRED, IMPORTED, ROUND = "patch", "photograph", "transferred", "imported", "round"
FAMILIES = (PATCH, PHOTOGRAPH, TRANSFERRED, IMPORTED, ROUND)  # the order of rows in figures
HAND_MADE = (PATCH, PHOTOGRAPH)

_DPI = 150
_BARE = "-bare"
_DARK, _LIGHT, _FLOOR = "#444444", "#999999", "#c4c4c4"  # sees the photograph, the bare patch, raw pixels
_HAND_MADE_LINES: Mapping[str, tuple[Any, str]] = {  # dashes and marker of a hand-made descriptor, bare or not
    "rootsift": ("--", "s"),
    "sift": (":", "D"),
    "psift": ((0, (6, 1.5)), "^"),
    "psift128": ("-.", "v"),
    "psift_reference": ((0, (3, 1, 1, 1, 1, 1)), "<"),
    "ncc": ((0, (1, 3)), "X"),
}
_OTHER_LINE: tuple[Any, str] = ((0, (2, 1)), "P")
_TRANSFERRED = ("#e8601c", "#c2185b", "#f4a736", "#7b4b2a", "#6a51a3", "#1f77b4", "#17a2b8", "#2e8b57", "#a0a020")
_IMPORTED = ("#9467bd", "#d48fd0", "#5e3c99", "#b2abd2")
_NETWORK_MARKERS = "oshDv^P*X"


@dataclass(frozen=True)
class LineStyle:
    """Colour (hexadecimal), matplotlib's line style and marker, and line width in points."""

    colour: str
    dashes: Any
    marker: str
    width: float


def family_of(name: str, learned: bool) -> str:
    """Return the family of a descriptor: one of `FAMILIES`, networks being of a round, of an import, or transferred."""
    if not learned:
        return PATCH if name.endswith(_BARE) or name == "ncc" else PHOTOGRAPH
    if round_number(name) is not None:
        return ROUND
    return IMPORTED if name.startswith("imported-") else TRANSFERRED


def round_number(name: str) -> int | None:
    """Return r of a network named round{r}-{architecture}, None for other names."""
    match = re.match(r"round(\d+)-", name)
    return int(match[1]) if match else None


def line_styles(names: Iterable[str], learned: Collection[str]) -> dict[str, LineStyle]:
    """Return a style per descriptor, equal for equal sets of names; `learned` holds the networks among them.

    Networks of a round go from dark blue to yellow-green by round, others have colours of their own; hand-made descriptors are
    grey and broken, dark where they see the photograph and light where they see the bare patch.
    """
    unique = sorted(set(names))
    families = {name: family_of(name, name in learned) for name in unique}
    styles = {name: _hand_made(name) for name in unique if families[name] in HAND_MADE}
    for family, colours in ((TRANSFERRED, _TRANSFERRED), (IMPORTED, _IMPORTED)):
        members = [name for name in unique if families[name] == family]
        styles |= {name: _network(colours[n % len(colours)], n) for n, name in enumerate(members)}
    return styles | _of_rounds([name for name in unique if families[name] == ROUND])


def round_colours(count: int) -> list[str]:
    """Return hexadecimal colours from dark blue to yellow-green, in order of rounds."""
    import matplotlib
    from matplotlib.colors import to_hex

    colours: NDArray[np.float64] = np.asarray(matplotlib.colormaps["viridis"](np.linspace(0.1, 0.8, count)))
    return [to_hex(colour) for colour in colours]


def save_figures(drawings: Mapping[str, Callable[[], Figure]], folder: Path) -> list[str]:
    """Draw and save every figure as PNG and SVG into an existing folder; return the names of the PNG files.

    The same drawing gives the same bytes.
    """
    import matplotlib

    with matplotlib.rc_context(RC):
        for name, draw in drawings.items():
            figure = draw()
            figure.savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [f"{name}.png" for name in drawings]


def _hand_made(name: str) -> LineStyle:
    base = name.removesuffix(_BARE)
    dashes, marker = _HAND_MADE_LINES.get(base, _OTHER_LINE)
    colour = _FLOOR if base == "ncc" else _LIGHT if name.endswith(_BARE) else _DARK
    return LineStyle(colour, dashes, marker, 1.3)


def _network(colour: str, number: int) -> LineStyle:
    return LineStyle(colour, "-", _NETWORK_MARKERS[number % len(_NETWORK_MARKERS)], 1.5)


def _of_rounds(names: Iterable[str]) -> dict[str, LineStyle]:
    """Colour by round; architectures of one round differ by marker and dashes."""
    numbers = {name: number for name in names if (number := round_number(name)) is not None}
    ordered = sorted(numbers, key=lambda name: (numbers[name], name))
    rounds = sorted(set(numbers.values()))
    architectures = sorted({name.split("-", 1)[1] for name in ordered})
    colours = dict(zip(rounds, round_colours(len(rounds)), strict=True))
    styles = {}
    for name in ordered:
        number = architectures.index(name.split("-", 1)[1])
        dashes = ("-", (0, (8, 1)), (0, (5, 1, 1, 1)), (0, (2, 0.7)))[number % 4]
        styles[name] = LineStyle(colours[numbers[name]], dashes, _NETWORK_MARKERS[number % len(_NETWORK_MARKERS)], 1.5)
    return styles
