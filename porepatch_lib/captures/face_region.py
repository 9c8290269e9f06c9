"""The skin of a face seen from the front, in the pixels of the face frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures import face_features
from porepatch_lib.captures.face_frame import Outline, coordinates, to_pixels, turned_outline, usual_outline
from porepatch_lib.captures.faces import Point
from porepatch_lib.captures.skin_colour import BoolArray, FloatArray, SkinModel, fit_skin, grab_cut, log_colour
from porepatch_lib.captures.skin_colour import to_pixels as colour_pixels

_CORE, _RIM = 0.75, 1.12  # of the average face's radius: surely face within, surely none beyond
_CORE_TOP = -0.6  # foreheads may be covered from here up
_HAIR_DARKER = 0.85  # log luminance below the skin that is hair even amid the face
_JAW_RATIOS = np.linspace(0.86, 1.14, 57)  # where the jaw is searched, of the average face's radius
_JAW_ANGLES = np.radians(np.arange(-180.0, 180.0, 1.0))
_JAW_PRIOR, _JAW_STEP = 0.06, 3.0  # deviations: of the ratio; of neighbours, in steps of the ratio
_EDGE_SIGMA_PX, _EDGE_STEP, _EDGE_ENOUGH = 2.5, 4, 2.0
_EDGE_SCALE = np.array([0.2, 0.06, 0.06])  # of log colour


def skin_samples(colour: FloatArray) -> FloatArray:
    """Log colours (N,3) of the cheeks and the nose, which hair seldom covers."""
    x, y = coordinates()
    cheeks = (np.abs(np.abs(x) - 0.55) < 0.25) & (np.abs(y - 0.6) < 0.18)
    nose = (np.abs(x) < 0.15) & (np.abs(y - 0.3) < 0.25)
    return np.asarray(colour[cheeks | nose])


def face_skin(image: NDArray[np.uint8], mouth: Point | None = None) -> BoolArray:
    """Bare skin (H,W) of the face in a BGR image of the face frame: no eyes, brows, nostrils, lips, hair, ears or neck.

    mouth: its middle in units of the frame, where it is known better than by this image alone.
    """
    colour = log_colour(image)
    model = fit_skin(skin_samples(colour))
    mouth = mouth or face_features.find_mouth(colour)
    features = face_features.eyes() | face_features.brows(colour) | face_features.nostrils(colour, mouth)
    features |= face_features.lips(colour, mouth)
    usual = usual_outline(mouth)
    skin = _not_hair(colour, model, features, usual)
    outline = turned_outline(usual, *_extents(skin, usual))
    return largest_parts(skin & jaw_line(colour, model, outline) & ~features)


def jaw_line(colour: FloatArray, model: SkinModel, outline: Outline) -> BoolArray:
    """The inside (H,W) of the face's outline: near the average one, along the strongest edges below the eyes.

    A shortest closed path in polar coordinates about the nose: distance from the average outline, less the edge strength.
    """
    radius = outline.radius(_JAW_ANGLES)[:, None] * _JAW_RATIOS
    x = outline.centre[0] + radius * np.cos(_JAW_ANGLES)[:, None]
    y = outline.centre[1] + radius * np.sin(_JAW_ANGLES)[:, None]
    smooth = cv2.GaussianBlur((colour - model.median) / _EDGE_SCALE, (0, 0), _EDGE_SIGMA_PX).astype(np.float32)
    columns, rows = (place.astype(np.float32) for place in to_pixels(x, y))
    ring = cv2.remap(smooth, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    edge = np.zeros(ring.shape[:2])
    edge[:, _EDGE_STEP:-_EDGE_STEP] = np.linalg.norm(ring[:, 2 * _EDGE_STEP :] - ring[:, : -2 * _EDGE_STEP], axis=-1)
    strength = np.clip(edge, 0.0, _EDGE_ENOUGH) * (y > 0.1)
    path = _shortest_path(0.5 * ((_JAW_RATIOS - 1.0) / _JAW_PRIOR) ** 2 - strength)
    chosen = np.arange(len(path)), path
    inside = np.zeros(colour.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(np.column_stack(to_pixels(x[chosen], y[chosen]))).astype(np.int32)], 1)
    return inside > 0


def _not_hair(colour: FloatArray, model: SkinModel, features: BoolArray, outline: Outline) -> BoolArray:
    """Skin against hair and background by GrabCut; the neck counts as skin."""
    x, y = coordinates()
    core = outline.contains(x, y, _CORE) & (y > _CORE_TOP)
    beyond = ~outline.contains(x, y, _RIM)
    luminance = cv2.GaussianBlur(colour[..., 0], (0, 0), 2.0) - model.median[0]
    distance = model.distance(colour)
    labels = np.where(core | (distance < 2.5), np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    labels[core & (distance < 4.0)] = cv2.GC_FGD
    labels[beyond & (distance > 3.0)] = cv2.GC_BGD
    labels[luminance < -_HAIR_DARKER] = cv2.GC_BGD
    labels[features] = cv2.GC_FGD
    pixels = colour_pixels(colour, model)
    pixels[features] = 128
    return grab_cut(pixels, labels)


def _extents(skin: BoolArray, outline: Outline) -> tuple[float, float]:
    """How far skin reaches to the left and right of the face's middle at the height of the cheeks (median over rows)."""
    x, y = coordinates()
    rows = (y[:, 0] > 0.1) & (y[:, 0] < 0.8)
    beside = x[0] - outline.x
    found = [beside[row] for row in skin[rows] if row.any()]
    if not found:
        return outline.left, outline.right
    return float(np.median([-row[0] for row in found])), float(np.median([row[-1] for row in found]))


def _shortest_path(cost: FloatArray) -> NDArray[np.int64]:
    """Column of the cheapest closed path through every row (N,) of a cost (N,M), by dynamic programming run round twice."""
    rows, columns = cost.shape
    change = 0.5 * (np.subtract.outer(np.arange(columns), np.arange(columns)) / _JAW_STEP) ** 2
    total, origins = np.zeros(columns), np.zeros((2 * rows, columns), np.int64)
    for index in range(2 * rows):
        candidates = total[None, :] + change
        origins[index] = np.argmin(candidates, axis=1)
        total = candidates.min(axis=1) + cost[index % rows]
    path = np.empty(2 * rows, np.int64)
    path[-1] = np.argmin(total)
    for index in range(2 * rows - 1, 0, -1):
        path[index - 1] = origins[index, path[index]]
    half = rows // 2
    return np.concatenate([path[rows : rows + half], path[half:rows]])


def largest_parts(mask: BoolArray) -> BoolArray:
    """The mask without islands smaller than a fifth of its largest part, and with smooth rims."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray(np.isin(labels, np.flatnonzero(areas > 0.2 * areas.max())))
