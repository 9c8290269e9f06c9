"""The stage that draws the clouds of a reconstruction from three sides: in the colours of the photographs, and by their error."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.decode import write_png
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, read_json
from porepatch_lib.geometry import FloatArray
from porepatch_lib.reconstruction.clouds import read_cloud
from porepatch_lib.reporting.clouds_render import Colours, Points, Window, brightness, extent, front_view, render, turned
from porepatch_lib.reporting.clouds_sheet import ERROR, MOST_MM, Band, Sheet, colour_map, drawn

_LOG = logging.getLogger(__name__)

SPARSE, DENSE = "Sparse", "Dense"
PHOTOGRAPHS, SHADING = "photographs", "shading"  # rows beside ERROR

_REQUIRED = ("subject", "descriptor", "variant", "reason", "row")
_ANGLES_DEG = (40.0, 0.0, -40.0)  # from the left, front, from the right
_PANEL, _LEAST_WIDTH = (330, 430), 290  # pixels: largest width and height of a panel; room for the heading
_LEFT_OUT, _BORDER = 0.002, 1.08  # share of points that may lie beyond either end of a panel; room around the others
_LEAST_EXTENT = 1e-6  # world units, of a cloud that is one point
_DOT_PX = 1.6  # largest radius
_UNKNOWN, _CLAY, _DOT = 190, 215, 90  # greys: error unknown; without photographs, with normals and without
_SHADED = {PHOTOGRAPHS: 0.35, SHADING: 1.0, ERROR: 0.45}  # how far light darkens the colours


def draw_clouds(evaluation: Path, output: Path, shown: bool) -> None:
    """Draw the sparse and the dense cloud of a reconstruction from three sides as one PNG.

    The upper row has the colours of the photographs, or plain shading where the subject may not be shown; the lower one, where
    the true surface is known, the distance to it. A reconstruction without points gives a picture that says why.

    Args:
        evaluation: folder of the evaluation: `metrics.json`, whose `front` has the mean direction of view and the upward
            direction of the cameras in the frame of the clouds; `sparse.ply` and `dense.ply`, absent where there is none.
        shown: the subject may be shown.

    Raises:
        PorePatchError: if a cloud is damaged, or the metrics lack what is needed.
    """
    metrics = evaluation / "metrics.json"
    facts = read_json(metrics)
    clouds = {SPARSE: read_points(evaluation / "sparse.ply"), DENSE: read_points(evaluation / "dense.ply")}
    clouds = {name: points for name, points in clouds.items() if len(points)}
    missing = [key for key in (*_REQUIRED, *(["front"] if clouds else [])) if key not in facts]
    if missing:
        raise PorePatchError(
            f"The metrics {metrics} have no '{missing[0]}': another version wrote them; delete them and run again."
        )
    picture = picture_of(facts, clouds, shown)
    with atomic_path(output) as path:
        write_png(path, picture[:, :, ::-1])
    counts = " and ".join(f"{len(points):,} {name.lower()}" for name, points in clouds.items()) or "no"
    _LOG.info("wrote %s: %s points", output, counts)


def read_points(path: Path) -> Points:
    """Read a cloud; a file that is not there has no points.

    Raises:
        PorePatchError: if the file is damaged, its points have no position or colour, or a place that is no number.
    """
    if not path.exists():
        return Points(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    cloud, error_mm = read_cloud(path)
    normals, errors = (None if values is None else values.astype(np.float32) for values in (cloud.normals, error_mm))
    return Points(cloud.xyz.astype(np.float32), cloud.rgb, normals, errors)


def picture_of(facts: Mapping[str, Any], clouds: Mapping[str, Points], shown: bool) -> Colours:
    """Return the picture (H,W,3), RGB, of clouds by name, none of them empty; `facts` as in `metrics.json`."""
    title = ", ".join(str(facts[key]) for key in ("subject", "descriptor", "variant"))
    if not clouds:
        return drawn(Sheet(title, note=f"Nothing was reconstructed: {facts['reason'] or 'no points'}."))
    front = front_view(*(np.array(facts["front"][key], np.float64) for key in ("direction", "up")))
    views = [turned(front, angle) for angle in _ANGLES_DEG]
    rows = (ERROR,) if any(points.error_mm is not None for points in clouds.values()) else ()
    rows = (PHOTOGRAPHS if shown else SHADING, *rows)
    windows = _windows(clouds, views)
    bands = [Band(heading(name, points), _panels(points, views, windows, rows)) for name, points in clouds.items()]
    metric = facts.get("alignment") and facts["row"].get("position_error_mm") is not None
    return drawn(Sheet(title, bands, rows, windows[0].scale if metric else None))


def colours_of(points: Points, row: str) -> Colours:
    """Return the colours (N,3) of points in a row before they are shaded.

    Errors are coloured from 0 to `MOST_MM`, larger ones in a colour of their own; unknown ones are grey. Without photographs,
    points are of clay where normals can shade them, and dark where not.
    """
    if row == PHOTOGRAPHS:
        return points.rgb
    if row == SHADING:
        return np.full((len(points), 3), _DOT if points.normals is None else _CLAY, np.uint8)
    colours = np.full((len(points), 3), _UNKNOWN, np.uint8)
    if points.error_mm is not None:
        known = np.isfinite(points.error_mm)
        colours[known] = colour_map()(points.error_mm[known] / MOST_MM, bytes=True)[:, :3]
    return colours


def heading(name: str, points: Points) -> str:
    """Return what stands above a cloud: its number of points, and their errors where known."""
    parts = [f"{name}: {len(points):,} points"]
    known = np.empty(0) if points.error_mm is None else points.error_mm[np.isfinite(points.error_mm)]
    if len(known):
        parts += [f"median error {np.median(known):.3f} mm", f"{100 * np.mean(known > MOST_MM):.1f} % above {MOST_MM:g} mm"]
    return ", ".join(parts)


def _panels(points: Points, views: Sequence[FloatArray], windows: Sequence[Window], rows: Sequence[str]) -> list[list[Colours]]:
    """Return the pictures by row and side."""
    colours = {row: colours_of(points, row) for row in rows}
    sides = []
    for view, window in zip(views, windows, strict=True):
        light = None if points.normals is None else brightness(points.normals, view)
        shaded = [own if light is None else _shaded(own, light, _SHADED[row]) for row, own in colours.items()]
        sides.append(render(points, view, window, shaded, _DOT_PX))
    return [list(pictures) for pictures in zip(*sides, strict=True)]


def _shaded(colours: Colours, light: NDArray[np.float32], share: float) -> Colours:
    return np.asarray(colours * (1.0 - share + share * light)[:, None] + 0.5, np.uint8)


def _windows(clouds: Mapping[str, Points], views: Sequence[FloatArray]) -> list[Window]:
    """Return a window per view, all of one scale and size, that holds most points of every cloud."""
    boxes = np.array([[extent(points.xyz, view, _LEFT_OUT) for view in views] for points in clouds.values()])
    low, high = boxes[:, :, 0].min(axis=0), boxes[:, :, 1].max(axis=0)  # each by view and axis
    width, height, _ = _BORDER * np.maximum((high - low).max(axis=0), _LEAST_EXTENT)
    scale = min(_PANEL[0] / width, _PANEL[1] / height)
    size = max(_LEAST_WIDTH, round(scale * width)), max(1, round(scale * height))
    return [Window(middle @ view, float(scale), *size) for middle, view in zip((low + high) / 2.0, views, strict=True)]
