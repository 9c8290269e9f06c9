"""Draw the conventions of pixels, poses and EXIF turns.

python docs/images/make_conventions.py --output docs/images/conventions.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle

OURS, COLMAP, INK, PALE = "#0b6e99", "#c8553d", "#222222", "#8a8a8a"
PIXELS = (5, 4)  # width, height of the image drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11, "mathtext.fontset": "dejavusans"})
    figure, axes = plt.subplots(1, 3, figsize=(15.6, 5.5))
    draw_pixels(axes[0])
    draw_pose(axes[1])
    draw_turn(axes[2])
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.02, wspace=0.03)
    figure.savefig(arguments.output, dpi=110, facecolor="white")


def draw_pixels(axes: Axes) -> None:
    """The grid of an image: our origin in the middle of the first pixel, COLMAP's at its corner."""
    prepare(axes, "Pixels", (1.9, 1.9), 7.0)
    width, height = PIXELS
    for row in range(height):
        for column in range(width):
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#f4f4f1", edgecolor="#b9b9b4", linewidth=1.0))
            axes.plot(column, row, ".", color="#b9b9b4", markersize=4)
    for start, colour, length in (((0.0, 0.0), OURS, 1.55), ((-0.5, -0.5), COLMAP, 1.75)):
        x, y = start
        arrow(axes, start, (x + length, y), colour)
        arrow(axes, start, (x, y + length), colour)
        axes.plot(x, y, "o", color=colour, markersize=8, zorder=5)
    axes.text(1.62, 0.0, "x", color=OURS, va="center")
    axes.text(0.0, 1.62, "y", color=OURS, ha="center", va="top")
    axes.text(0.18, -0.27, "(0, 0) ours", color=OURS, va="center", bbox={"facecolor": "#f4f4f1", "edgecolor": "none", "pad": 1.0})
    axes.text(-0.5, -0.78, "(0, 0) COLMAP's", color=COLMAP, ha="left", va="center")
    axes.plot(3, 2, "o", color=INK, markersize=5)
    axes.text(3.0, 2.32, "(3, 2)", color=OURS, ha="center", va="center")
    axes.text(3.0, 1.67, "(3.5, 2.5)", color=COLMAP, ha="center", va="center")
    ruler(axes, (-0.5, 3.85), (4.5, 3.85), "$W$ = 5 pixels")
    axes.text(-0.5, 4.15, "$-0.5$", color=OURS, ha="center", va="center")
    axes.text(4.5, 4.15, "$W-0.5$", color=OURS, ha="center", va="center")
    ruler(axes, (-0.85, -0.5), (-0.85, 3.5), "$H$ = 4", rotation=90)
    axes.text(2.0, 4.95, "COLMAP's position = ours + (0.5, 0.5)", ha="center", va="center", color=INK)


def draw_pose(axes: Axes) -> None:
    """World and camera: axes, and the pose that takes one to the other."""
    prepare(axes, "Poses", (5.0, 4.6), 10.0)
    # Drawn obliquely: the camera looks to the right of the page, so its own right comes out of it.
    drawn = np.array([[-0.5, 0.42], [0.0, 1.0], [0.98, -0.16]])
    centre = np.array([1.9, 3.5])
    depth, plane = 3.1, np.array([(-1.3, -1.1), (1.3, -1.1), (1.3, 1.1), (-1.3, 1.1)])
    corners = np.column_stack([plane, np.full(4, depth)]) @ drawn + centre
    for corner in corners:
        axes.plot(*zip(centre, corner, strict=True), color="#c9c9c4", linewidth=1.0)
    axes.add_patch(Polygon(corners, facecolor="#e7f0f4", edgecolor=OURS, linewidth=1.2, alpha=0.85))
    point = np.array([-1.5, -1.0, 6.4])
    pixel = point * depth / point[2]
    axes.plot(*zip(centre, point @ drawn + centre, strict=True), "--", color=INK, linewidth=1.0)
    axes.plot(*(point @ drawn + centre), "o", color=INK, markersize=7)
    axes.plot(*(pixel @ drawn + centre), "o", color=INK, markersize=5)
    axes.text(*(point @ drawn + centre + [0.0, -0.42]), "$x_{world}$", ha="center", va="center", color=INK, fontsize=13)
    for axis, length, name, offset in (
        (0, 2.9, "x right", (0.0, 0.32)),
        (1, 1.9, "y down", (0.1, 0.3)),
        (2, 4.7, "z forward", (0.2, 0.36)),
    ):
        end = length * drawn[axis] + centre
        arrow(axes, tuple(centre), tuple(end), OURS)
        axes.text(*(end + offset), name, color=OURS, ha="center", va="center")
    axes.plot(*centre, "o", color=OURS, markersize=8)
    axes.text(centre[0], centre[1] - 0.35, "camera centre\n$-R^{T} t$", color=OURS, ha="center", va="bottom")
    world = np.array([7.9, 6.6])
    for direction in ((1.5, 0.2), (-0.75, 0.7), (0.0, -1.5)):
        arrow(axes, tuple(world), tuple(world + np.array(direction)), PALE)
    axes.text(world[0] - 0.25, world[1] - 0.15, "world", color=PALE, ha="right", va="center")
    axes.text(5.0, 8.7, "$x_{camera} = R\\;x_{world} + t$", fontsize=15, ha="center", va="center", color=INK)


def draw_turn(axes: Axes) -> None:
    """A photograph as stored and upright, after EXIF orientation 6."""
    prepare(axes, "EXIF orientation 6", (4.6, 4.4), 9.6)
    portrait(axes, np.array([[0.0, -1.0], [1.0, 0.0]]).T, (0.1, 2.4), (4.2, 3.0), "stored", "$W \\times H$", "$(x, y)$")
    portrait(axes, np.eye(2), (5.9, 1.2), (3.0, 4.2), "upright", "$H \\times W$", "$(H-1-y,\\; x)$")
    axes.annotate(
        "",
        (5.85, 1.2),
        (3.6, 1.75),
        arrowprops={"arrowstyle": "-|>", "color": INK, "connectionstyle": "arc3,rad=-0.3", "lw": 1.4},
    )
    axes.text(4.1, 0.85, "a quarter\nclockwise", ha="center", color=INK)
    axes.text(
        4.6,
        7.6,
        "$f_x' = f_y \\quad f_y' = f_x \\quad c_x' = H-1-c_y \\quad c_y' = c_x$\n\n$p_1' = p_2 \\quad p_2' = -p_1$",
        ha="center",
        va="center",
        color=INK,
    )


def portrait(
    axes: Axes, turn: np.ndarray, corner: tuple[float, float], size: tuple[float, float], name: str, shape: str, pixel: str
) -> None:
    """A frame with a head in it; `turn` (2,2) takes upright offsets from the middle to those drawn."""
    middle = np.array(corner) + np.array(size) / 2.0
    axes.add_patch(Rectangle(corner, *size, facecolor="#f4f4f1", edgecolor="#b9b9b4", linewidth=1.2))
    angle = np.linspace(0.0, 2.0 * np.pi, 80)
    head = np.column_stack([0.85 * np.cos(angle), -0.25 + 1.15 * np.sin(angle)])
    shoulders = np.array([[-1.35, 2.09], [-1.1, 1.45], [-0.4, 1.15], [0.4, 1.15], [1.1, 1.45], [1.35, 2.09]])
    for outline in (shoulders, head):
        axes.add_patch(Polygon(outline @ turn.T + middle, facecolor="#d9d4c7", edgecolor=PALE, linewidth=1.0))
    eyes = np.array([[-0.35, -0.4], [0.35, -0.4]]) @ turn.T + middle
    axes.plot(*eyes.T, "o", color=INK, markersize=4)
    nose = np.array([[0.0, -0.2], [-0.12, 0.15], [0.08, 0.15]]) @ turn.T + middle
    axes.plot(*nose.T, color=INK, linewidth=1.0)
    mouth = np.array([[-0.3, 0.45], [0.0, 0.53], [0.3, 0.45]]) @ turn.T + middle
    axes.plot(*mouth.T, color=INK, linewidth=1.2)
    mark = np.array([1.2, -1.8]) @ turn.T + middle
    axes.plot(*mark, "s", color=COLMAP, markersize=7)
    below = corner[1] + size[1]
    axes.text(middle[0], below + 0.38, f"{name}, {shape}", ha="center", va="center", color=INK)
    side = "left" if mark[0] < middle[0] else "right"
    axes.text(mark[0] + (0.28 if side == "left" else -0.28), mark[1], pixel, ha=side, va="center", color=COLMAP, fontsize=10)


def prepare(axes: Axes, title: str, middle: tuple[float, float], span: float) -> None:
    """Make the axes a square of `span` with y downwards."""
    x, y = middle
    axes.set(xlim=(x - span / 2, x + span / 2), ylim=(y + span / 2, y - span / 2), aspect="equal")
    axes.set_title(title, fontsize=14, color=INK, pad=4)
    axes.axis("off")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0})


def ruler(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str, rotation: float = 0.0) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "<|-|>", "color": PALE, "lw": 1.2, "shrinkA": 0, "shrinkB": 0})
    x, y = (start[0] + end[0]) / 2.0, (start[1] + end[1]) / 2.0
    offset = (0.0, 0.3) if rotation == 0.0 else (-0.28, 0.0)
    axes.text(x + offset[0], y + offset[1], text, color=PALE, ha="center", va="center", rotation=rotation)


if __name__ == "__main__":
    main()
