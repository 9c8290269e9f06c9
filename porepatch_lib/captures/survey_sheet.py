"""The contact sheet of a subject's captures: every view with its mask, its keypoints, and its skin at full size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.quality import centroid
from porepatch_lib.files import atomic_path

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Colour = NDArray[np.uint8]
Box = tuple[int, int, int, int]

MOST_CELLS = 120

_PAGE_WIDTH = 2000
_MARGIN = 48
_GUTTER = 32  # between cells
_GAP = 6  # between the panels of a cell
_COLUMNS = ((3, 1), (12, 2), (30, 3), (MOST_CELLS, 4))  # up to so many views: columns
_TALLEST_PX = 620

_PAPER = (250, 249, 246)
_INK = (38, 40, 44)
_FAINT_INK = (118, 120, 124)
_RED = (190, 40, 40)
_RULE = (214, 212, 206)
_OUTLINE_BGR = (190, 170, 20)
_FRAME_BGR = (255, 255, 255)
_FADE = 0.72  # of what the mask leaves out, towards the paper
_DOT_PX = 0.9
_RING_SIGMAS = 3.0  # wide enough that the pore inside stays visible
_RING_WEIGHT = 0.7
_FRACTION_BITS = 4  # fractional bits of OpenCV's drawing coordinates
_COLOURS = (0.3, 1.0)  # of the colour map; what is below is too dark on a face


@dataclass(frozen=True)
class Dots:
    """Keypoints of one view: positions xy (N,2) and scales sigma (N,) in pixels; the range of sigma that colours span."""

    xy: NDArray[np.float32]
    sigma: NDArray[np.float32]
    sigma_range: tuple[float, float]


@dataclass(frozen=True)
class Panels:
    """The pictures of one cell, BGR uint8, with their places (x, y, width, height) inside the cell."""

    pictures: tuple[Colour, Colour, Colour]
    boxes: tuple[Box, Box, Box]

    @property
    def height(self) -> int:
        """Height of the cell's pictures in pixels."""
        return max(y + height for _, y, _, height in self.boxes)


@dataclass(frozen=True)
class Cell:
    """One view on the sheet: its panels, its name, lines of figures, and what is wrong with it."""

    panels: Panels
    name: str
    lines: tuple[str, ...]
    flags: str


@dataclass(frozen=True)
class Header:
    """What stands above the views."""

    title: str
    facts: str
    warnings: tuple[str, ...]
    sigma_range: tuple[float, float]


def cell_width(views: int) -> int:
    """Width in pixels of the cells of a sheet of so many views."""
    columns = _columns(views)
    return (_PAGE_WIDTH - 2 * _MARGIN - (columns - 1) * _GUTTER) // columns


def draw_panels(image: Colour, mask: NDArray[np.uint8] | None, dots: Dots, width: int) -> Panels:
    """Draw the three panels of a view, BGR uint8 (H,W,3), for a cell of `width` pixels.

    The view with its mask's outline and the outside faded; the view in grey with its keypoints; and, pixel for pixel, the place
    with the most keypoints, half of it without them.
    """
    boxes = _arrange(width, image.shape[1] / image.shape[0])
    corner, side = _closest_look(image.shape[:2], mask, dots.xy, min(boxes[2][2:]))
    x, y, _, _ = boxes[2]
    pictures = (
        _masked_view(image, mask, boxes[0][2:]),
        _dotted_view(image, dots, boxes[1][2:], (*corner, side)),
        _close_view(image, dots, corner, side),
    )
    return Panels(pictures, (boxes[0], boxes[1], (x, y, side, side)))


def write_sheet(output: Path, header: Header, cells: Sequence[Cell]) -> None:
    """Write the sheet as a PNG; the same content gives the same bytes."""
    from PIL import Image, ImageDraw

    columns, width = _columns(len(cells)), cell_width(len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    scratch = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    top = _draw_header(scratch, header)
    heights = [max(cell.panels.height for cell in row) + _text_height(row) for row in rows]
    page = Image.new("RGB", (_PAGE_WIDTH, top + sum(heights) + _GUTTER * len(rows) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    _draw_header(draw, header)
    if header.sigma_range[1] > 0.0:
        _draw_legend(draw, header.sigma_range)
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = _MARGIN + column * (width + _GUTTER)
            for picture, (x, y, wide, high) in zip(cell.panels.pictures, cell.panels.boxes, strict=True):
                page.paste(Image.fromarray(np.ascontiguousarray(picture[..., ::-1])), (left + x, top + y))
                draw.rectangle((left + x - 1, top + y - 1, left + x + wide, top + y + high), outline=_RULE)
            _draw_caption(draw, cell, left, top + cell.panels.height, width)
        top += height + _GUTTER
    with atomic_path(output) as path:
        page.save(path, format="PNG")


def _columns(views: int) -> int:
    return next((columns for most, columns in _COLUMNS if views <= most), _COLUMNS[-1][1])


def _arrange(width: int, aspect: float) -> tuple[Box, Box, Box]:
    """Places of two views of an aspect (width / height) and a square: in a row, or a landscape's two views on each other."""
    if aspect <= 1.0:
        high = min(_TALLEST_PX, int((width - 2 * _GAP) / (2.0 * aspect + 1.0)))
        wide = max(1, round(aspect * high))
        return (0, 0, wide, high), (wide + _GAP, 0, wide, high), (2 * (wide + _GAP), 0, high, high)
    wide = int((width - 2 * _GAP) / (1.0 + 2.0 / aspect))
    high = max(1, min((_TALLEST_PX - _GAP) // 2, round(wide / aspect)))
    wide = max(1, round(high * aspect))
    return (0, 0, wide, high), (0, high + _GAP, wide, high), (wide + _GAP, 0, 2 * high + _GAP, 2 * high + _GAP)


def _closest_look(
    shape: tuple[int, int], mask: NDArray[np.uint8] | None, xy: NDArray[np.float32], side: int
) -> tuple[tuple[int, int], int]:
    """Corner (x, y) and side of the square inside an image (H,W) that holds the most keypoints, or the middle of the mask."""
    height, width = shape
    side = min(side, height, width)
    if len(xy) == 0:
        middle = centroid(mask) if mask is not None else None
        if middle is None:
            middle = np.array([width, height]) / 2.0
        x, y = np.clip(middle - side / 2.0, 0, [width - side, height - side]).astype(int)
        return (int(x), int(y)), side
    step = max(1, side // 8)
    rows, columns = height // step + 1, width // step + 1
    extent = ((0, rows * step), (0, columns * step))
    counts, _, _ = np.histogram2d(xy[:, 1], xy[:, 0], bins=(rows, columns), range=extent)
    total = np.pad(counts.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    i, j = np.arange((height - side) // step + 1), np.arange((width - side) // step + 1)
    k, m = i + side // step, j + side // step
    held = total[np.ix_(k, m)] - total[np.ix_(i, m)] - total[np.ix_(k, j)] + total[np.ix_(i, j)]
    row, column = np.unravel_index(int(np.argmax(held)), held.shape)
    return (int(column) * step, int(row) * step), side


def _masked_view(image: Colour, mask: NDArray[np.uint8] | None, size: tuple[int, int]) -> Colour:
    view = _reduced(image, size)
    if mask is None:
        return view
    keep = _reduced(mask, size)
    weight = (_FADE * (1.0 - keep.astype(np.float32) / 255.0))[..., None]
    faded = view * (1.0 - weight) + np.array(_PAPER[::-1], np.float32) * weight
    view = np.ascontiguousarray(np.rint(faded).astype(np.uint8))
    contours, _ = cv2.findContours((keep > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(view, contours, -1, _OUTLINE_BGR, 1, cv2.LINE_AA)
    return view


def _dotted_view(image: Colour, dots: Dots, size: tuple[int, int], frame: tuple[int, int, int]) -> Colour:
    """The view in grey with a dot per keypoint and the frame (x, y, side) of the close look."""
    view = cv2.cvtColor(cv2.cvtColor(_reduced(image, size), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    scale = np.array(size) / np.array(image.shape[1::-1])
    places = (dots.xy + 0.5) * scale - 0.5
    for (x, y), colour in zip(places, _colours(dots.sigma, dots.sigma_range), strict=True):
        cv2.circle(view, _fixed(x, y), round(_DOT_PX * 2**_FRACTION_BITS), colour, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)
    x, y, side = frame
    first, last = np.rint(np.array([x, y]) * scale), np.rint(np.array([x + side, y + side]) * scale) - 1
    cv2.rectangle(view, (int(first[0]), int(first[1])), (int(last[0]), int(last[1])), _FRAME_BGR, 1)
    return np.asarray(view, np.uint8)


def _close_view(image: Colour, dots: Dots, corner: tuple[int, int], side: int) -> Colour:
    """A square of the image, pixel for pixel: its left half as it is, its right half with a ring per keypoint."""
    x, y = corner
    view = image[y : y + side, x : x + side].copy()
    rings = view.copy()
    places = dots.xy - np.array(corner)
    inside = np.all((places > -20.0) & (places < side + 20.0), axis=1)
    colours = _colours(dots.sigma[inside], dots.sigma_range)
    for (px, py), sigma, colour in zip(places[inside], dots.sigma[inside], colours, strict=True):
        radius = max(1, round(_RING_SIGMAS * float(sigma) * 2**_FRACTION_BITS))
        cv2.circle(rings, _fixed(px, py), radius, colour, 1, cv2.LINE_AA, _FRACTION_BITS)
    half = side // 2
    view[:, half:] = cv2.addWeighted(rings, _RING_WEIGHT, view, 1.0 - _RING_WEIGHT, 0.0)[:, half:]
    view[:, half : half + 1] = _FRAME_BGR
    return np.asarray(view, np.uint8)


def _reduced(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize to (width, height); an image that is smaller already keeps its pixels visible."""
    kind = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)


def _fixed(x: float, y: float) -> tuple[int, int]:
    return round(float(x) * 2**_FRACTION_BITS), round(float(y) * 2**_FRACTION_BITS)


def _colours(sigma: NDArray[np.float32], sigma_range: tuple[float, float]) -> list[tuple[int, int, int]]:
    """BGR colours of scales (N,), logarithmic over the range."""
    low, high = np.log(np.maximum(sigma_range, 1e-6))
    share = (np.log(np.maximum(sigma, 1e-6)) - low) / max(high - low, 1e-6)
    level = np.rint(255.0 * (_COLOURS[0] + (_COLOURS[1] - _COLOURS[0]) * np.clip(share, 0.0, 1.0))).astype(np.uint8)
    if len(level) == 0:
        return []
    colours = cv2.applyColorMap(level[:, None], cv2.COLORMAP_VIRIDIS)[:, 0]
    return [(int(blue), int(green), int(red)) for blue, green, red in colours]


def _draw_header(draw: ImageDraw, header: Header) -> int:
    """Draw the header and return the row below it."""
    right = _PAGE_WIDTH - _MARGIN
    draw.text((_MARGIN, 34), _fitting(draw, header.title, _font(40, True), 1300), _INK, _font(40, True))
    draw.text((_MARGIN, 92), _fitting(draw, header.facts, _font(21), right - _MARGIN), _FAINT_INK, _font(21))
    y = 136
    for warning in header.warnings:
        for line in _wrapped(draw, warning, _font(21), right - _MARGIN - 26):
            if line.is_first:
                draw.ellipse((_MARGIN + 2, y + 8, _MARGIN + 11, y + 17), _RED)
            draw.text((_MARGIN + 26, y), line.text, _RED, _font(21))
            y += 30
    y += 8
    draw.line((_MARGIN, y, right, y), _RULE, 1)
    return y + _GUTTER


def _draw_legend(draw: ImageDraw, sigma_range: tuple[float, float]) -> None:
    """The colours of the keypoints, at the top right."""
    wide, high, top = 220, 12, 50
    left = _PAGE_WIDTH - _MARGIN - wide
    sigma = np.geomspace(*sigma_range, wide).astype(np.float32)
    for x, (blue, green, red) in enumerate(_colours(sigma, sigma_range)):
        draw.line((left + x, top, left + x, top + high), (red, green, blue))
    font = _font(16)
    draw.text((left, top + high + 5), f"{sigma_range[0]:.1f}", _FAINT_INK, font)
    draw.text((left + wide, top + high + 5), f"{sigma_range[1]:.1f} px", _FAINT_INK, font, anchor="ra")
    draw.text((left - 14, top + high // 2), "keypoint \N{GREEK SMALL LETTER SIGMA}", _FAINT_INK, font, anchor="rm")


def _draw_caption(draw: ImageDraw, cell: Cell, left: int, top: int, width: int) -> None:
    top += 8
    draw.text((left, top), _fitting(draw, cell.name, _font(19, True), width), _INK, _font(19, True))
    for line in cell.lines:
        top += 25
        draw.text((left, top), _fitting(draw, line, _font(17), width), _FAINT_INK, _font(17))
    if cell.flags:
        draw.text((left, top + 25), _fitting(draw, cell.flags, _font(17, True), width), _RED, _font(17, True))


def _text_height(row: Sequence[Cell]) -> int:
    return 8 + 25 * max(1 + len(cell.lines) + bool(cell.flags) for cell in row)


@dataclass(frozen=True)
class _Line:
    text: str
    is_first: bool


def _wrapped(draw: ImageDraw, text: str, font: FreeTypeFont, width: int) -> list[_Line]:
    """Break a text at spaces into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in _printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(_fitting(draw, word, font, width))
    return [_Line(line, index == 0) for index, line in enumerate(lines)]


def _fitting(draw: ImageDraw, text: str, font: FreeTypeFont, width: int) -> str:
    """The text, its middle left out where it is longer than `width` pixels."""
    text = _printable(text)
    kept = len(text)
    shown = text
    while kept > 2 and draw.textlength(shown, font) > width:
        kept -= 1
        shown = f"{text[: kept // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (kept - kept // 2) :]}"
    return shown


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


@cache
def _font(size: int, is_bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: unlike Pillow's own font it has more than ASCII."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
