"""A simple right ear as a mesh of its own, in millimetres in the axes of the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

FloatArray = NDArray[np.float64]

_CENTRE = np.array([74.5, 6.0, -13.0])
_TURN_RAD = np.deg2rad(28.0)  # how far the rim stands off the head
_LEAN_RAD = np.deg2rad(-10.0)  # the top leans backwards

# Outline: angle in degrees from the front (towards the face), over the top to the back; distance from the centre in mm.
_OUTLINE = ((0, 11), (40, 16), (65, 26), (90, 31), (115, 29), (145, 24), (180, 20), (215, 17.5), (250, 20), (270, 27), (285, 29),
            (305, 21), (335, 12.5), (360, 11))  # fmt: skip
# Height over the plane of the ear in mm, over the distance from the centre relative to the outline.
_RELIEF_BACK = ((0.0, -5.5), (0.3, -5.0), (0.5, -0.5), (0.62, 1.6), (0.76, 0.2), (0.92, 3.2), (1.0, 2.4))
_RELIEF_FRONT = ((0.0, -5.5), (0.3, -5.0), (0.55, -2.5), (0.75, 2.0), (0.9, 1.0), (1.0, -2.0))
_RELIEF_LOBE = ((0.0, -5.5), (0.3, -3.5), (0.5, 0.8), (0.75, 1.0), (0.9, 0.8), (1.0, -0.6))
_BACK_DEPTH_MM = 14.0  # how far the back of the ear reaches towards the head


def ear(step_mm: float) -> tuple[FloatArray, FloatArray, NDArray[np.int32]]:
    """Return the right ear's points (N,3), plane coordinates (N,2) in mm and triangles (M,3), outward by the right hand."""
    columns = max(round(150.0 / step_mm), 24)
    rows = max(round(44.0 / step_mm), 12)
    angle = np.linspace(0.0, 2.0 * np.pi, columns, endpoint=False)
    degrees, distances = np.array(_OUTLINE, np.float64).T
    outline = CubicSpline(np.deg2rad(degrees), distances, bc_type="periodic")(angle)
    share = np.linspace(0.0, 1.0, rows + 1)[1:]
    front = np.clip(0.5 + 0.9 * np.cos(angle), 0.0, 1.0)
    lobe = np.exp(-0.5 * ((angle - np.deg2rad(278.0)) / 0.45) ** 2)
    relief = [CubicSpline(*np.array(profile).T)(share)[:, None] for profile in (_RELIEF_BACK, _RELIEF_FRONT, _RELIEF_LOBE)]
    height = relief[0] + front * (relief[1] - relief[0])
    height += lobe * (relief[2] - height)
    roll = np.linspace(0.0, 1.0, rows // 2 + 1)[1:, None]
    scale = np.concatenate([share[:, None] * np.ones(columns), np.broadcast_to(_rolled(roll), (len(roll), columns))])
    depth = np.concatenate([height, height[-1] - _BACK_DEPTH_MM * roll**1.3 - 1.5 * np.sqrt(roll * (1.0 - roll))])
    flat = np.stack([scale * outline * np.cos(angle), scale * outline * np.sin(angle), depth], axis=-1).reshape(-1, 3)
    local = np.concatenate([[[0.0, 0.0, _RELIEF_BACK[0][1]]], flat])
    chart = np.concatenate([share, 1.0 + 0.4 * roll[:, 0]])[:, None] * outline
    plane = np.stack([chart * np.cos(angle), chart * np.sin(angle)], axis=-1).reshape(-1, 2)
    return _placed(local), np.concatenate([[[0.0, 0.0]], plane]), _triangles(len(scale), columns)


def _rolled(roll: FloatArray) -> FloatArray:
    """Return how the outline shrinks from the rim to the foot of the back."""
    return np.asarray(1.0 + 0.05 * np.sin(np.pi * np.minimum(2.0 * roll, 1.0)) - 0.45 * roll**1.5)


def _placed(local: FloatArray) -> FloatArray:
    """Return points (N,3) of the head from (towards the face, up, away from the head)."""
    forward, up, out = local.T
    up, forward = np.cos(_LEAN_RAD) * up - np.sin(_LEAN_RAD) * forward, np.cos(_LEAN_RAD) * forward + np.sin(_LEAN_RAD) * up
    x = np.cos(_TURN_RAD) * out - np.sin(_TURN_RAD) * forward
    z = np.cos(_TURN_RAD) * forward + np.sin(_TURN_RAD) * out
    return np.asarray(_CENTRE + np.stack([x, up, z], axis=1))


def _triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Return the triangles of rings around vertex 0."""
    index = 1 + np.arange(rows)[:, None] * columns + np.arange(columns)[None, :]
    following = np.roll(index, -1, axis=1)
    fan = np.stack([np.zeros(columns, int), following[0], index[0]], axis=1)
    inner, outer = index[:-1].ravel(), index[1:].ravel()
    inner_next, outer_next = following[:-1].ravel(), following[1:].ravel()
    rings = [np.stack([inner, outer_next, outer], axis=1), np.stack([inner, inner_next, outer_next], axis=1)]
    return np.concatenate([fan, *rings]).astype(np.int32)
