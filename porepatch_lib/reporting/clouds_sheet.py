"""How the pictures of clouds stand on their sheet: panels side by side, headings, colour bar and scale bar."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from porepatch_lib.reporting.clouds_render import Colours
from porepatch_lib.reporting.styles import RC

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ERROR = "error"  # the row with a colour bar
MOST_MM = 0.5  # end of the colour bar
_DARKEST, _ABOVE = 0.15, "#e0218a"  # where viridis begins, so that shading stays visible; the colour beyond its end
_SIDES = ("from the left", "front", "from the right")
_BAR_LABEL = "distance to the true surface in mm"

_DPI = 150
_MARGIN, _GAP, _BETWEEN = 24, 10, 44  # pixels: around the sheet, between panels, between clouds
_TITLE, _HEADING, _SIDE, _LABEL = 56, 38, 32, 38  # pixels: lines of text, and the column of the rows' names
_FOOT, _BAR = 90, 18  # pixels: what the bars take below the panels, and the height of a bar
_TITLE_PX, _HEADING_PX, _SMALL_PX = 30, 23, 21  # sizes of letters
_LEAST_WIDTH, _NOTE = 900, 72  # pixels and letters of a sheet without clouds


@dataclass(frozen=True)
class Band:
    """One cloud: its heading, and its pictures (height, width, 3) by row and side, all of one size."""

    heading: str
    panels: Sequence[Sequence[Colours]]


@dataclass(frozen=True)
class Sheet:
    """What stands on a sheet: names of the rows, pixels per mm where the clouds are in mm, a note where there are no clouds."""

    title: str
    bands: Sequence[Band] = ()
    rows: Sequence[str] = ()
    pixels_per_mm: float | None = None
    note: str = ""


def colour_map() -> Colormap:
    """Return the colours of errors over `MOST_MM`: perceptually even from 0 to 1, one of their own above."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    colours = matplotlib.colormaps["viridis"](np.linspace(_DARKEST, 1.0, 256))
    return ListedColormap(colours).with_extremes(over=_ABOVE)


def drawn(sheet: Sheet) -> Colours:
    """Return the sheet as pixels (H,W,3), RGB."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = _Layout(sheet)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(layout.width / _DPI, layout.height / _DPI), dpi=_DPI)
        paper = _Paper(figure, layout.width, layout.height)
        paper.write(_MARGIN, _MARGIN, sheet.title, _TITLE_PX, weight="bold")
        paper.write(_MARGIN, layout.headings, textwrap.fill(sheet.note, _NOTE), _SMALL_PX)
        _write_names(paper, layout, sheet)
        if ERROR in sheet.rows:
            paper.add_colour_bar(layout.left + layout.band_width / 3, layout.bottom, layout.band_width / 2)
        if sheet.pixels_per_mm is not None:
            paper.add_scale_bar(layout.left, layout.bottom, sheet.pixels_per_mm, layout.wide / 2)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    _place_panels(pixels, layout, sheet)
    return pixels


class _Layout:
    """Where things stand on a sheet, in pixels from the top left."""

    def __init__(self, sheet: Sheet) -> None:
        self.high, self.wide = sheet.bands[0].panels[0][0].shape[:2] if sheet.bands else (0, 0)
        self.band_width = len(_SIDES) * (self.wide + _GAP) - _GAP
        self.left = _MARGIN + _LABEL
        self.headings = _MARGIN + _TITLE
        self.top = self.headings + (_HEADING + _SIDE if sheet.bands else 4 * _HEADING)
        self.bottom = self.top + len(sheet.rows) * (self.high + _GAP)
        has_foot = ERROR in sheet.rows or sheet.pixels_per_mm is not None
        self.height = self.bottom + (_FOOT if has_foot else 0) + _MARGIN
        self.width = max(_LEAST_WIDTH, self.left + len(sheet.bands) * (self.band_width + _BETWEEN) - _BETWEEN + _MARGIN)

    def panel(self, band: int, row: int, side: int) -> tuple[int, int]:
        """Return the left upper corner (x, y) of a panel."""
        x = self.left + band * (self.band_width + _BETWEEN) + side * (self.wide + _GAP)
        return x, self.top + row * (self.high + _GAP)


@dataclass(frozen=True)
class _Paper:
    """A figure of `width` by `height` pixels that is drawn on in pixels from the top left."""

    figure: Figure
    width: int
    height: int

    def write(self, x: float, y: float, text: str, size_px: float, **style: Any) -> None:
        place = (x / self.width, 1.0 - y / self.height)
        self.figure.text(*place, text, fontsize=_points(size_px), **{"va": "top", "ha": "left"} | style)

    def add_colour_bar(self, x: float, y: float, length: float) -> None:
        """Add the bar of errors, `y` above it."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        axes = self.figure.add_axes((x / self.width, 1.0 - (y + _BAR) / self.height, length / self.width, _BAR / self.height))
        colours = ScalarMappable(Normalize(0.0, MOST_MM), colour_map())
        bar = self.figure.colorbar(colours, axes, orientation="horizontal", extend="max", extendfrac=0.06)
        bar.set_label(_BAR_LABEL, fontsize=_points(_SMALL_PX))
        bar.ax.tick_params(labelsize=_points(_SMALL_PX))

    def add_scale_bar(self, x: float, y: float, pixels_per_mm: float, most: float) -> None:
        """Add a bar of a round number of mm, of at most `most` pixels."""
        from matplotlib.lines import Line2D

        length = round_below(most / pixels_per_mm)
        ends = x, x + length * pixels_per_mm
        level = 1.0 - (y + _BAR / 2) / self.height
        line = Line2D([end / self.width for end in ends], [level, level], color="black", linewidth=2.0, solid_capstyle="butt")
        self.figure.add_artist(line)
        self.write(sum(ends) / 2, y + _BAR, f"{length:g} mm", _SMALL_PX, ha="center")


def round_below(value: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above a value over 0."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * max(step for step in (1, 2, 5) if step * power <= value))


def _write_names(paper: _Paper, layout: _Layout, sheet: Sheet) -> None:
    """Write headings above the clouds, sides above the panels, and names of rows to their left."""
    for number, band in enumerate(sheet.bands):
        paper.write(layout.panel(number, 0, 0)[0], layout.headings, band.heading, _HEADING_PX)
        for side, name in enumerate(_SIDES):
            middle = layout.panel(number, 0, side)[0] + layout.wide / 2
            paper.write(middle, layout.headings + _HEADING, name, _SMALL_PX, ha="center", color="#666666")
    for row, name in enumerate(sheet.rows):
        middle = layout.panel(0, row, 0)[1] + layout.high / 2
        paper.write(_MARGIN + _LABEL / 3, middle, name, _SMALL_PX, ha="center", va="center", rotation=90)


def _place_panels(pixels: Colours, layout: _Layout, sheet: Sheet) -> None:
    for number, band in enumerate(sheet.bands):
        for row, pictures in enumerate(band.panels):
            for side, picture in enumerate(pictures):
                x, y = layout.panel(number, row, side)
                pixels[y : y + layout.high, x : x + layout.wide] = picture


def _points(size_px: float) -> float:
    return size_px * 72.0 / _DPI
