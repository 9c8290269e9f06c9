"""Displacement fields that make one average head into many people and give them expressions.

A field is a sum of terms. A term moves the surface around its centre: w(p) * (shift + scale * (p - centre)), where p is a point
of the average head and w a Gaussian window with standard deviations `sigma_mm` along x, y and z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Term:
    """One moved place, in mm; `scale` is relative. Terms with centre x > 0 have a mirror image of `mirror` times the amount.

    lip is +1 (-1) for what moves only above (below) the mouth line, 0 for what moves all.
    """

    centre: Point
    sigma_mm: Point
    shift: Point = (0.0, 0.0, 0.0)
    scale: Point = (0.0, 0.0, 0.0)
    mirror: float = 1.0
    lip: int = 0


Fields = Mapping[str, tuple[Term, ...]]

_ALL = (1e4, 1e4, 1e4)

IDENTITY_FIELDS: Fields = {
    "head_width": (Term((0, 0, 0), _ALL, scale=(0.04, 0, 0)),),
    "face_length": (Term((0, 10, 0), _ALL, scale=(0, 0.035, 0)),),
    "head_depth": (Term((0, 0, 0), _ALL, scale=(0, 0, 0.02)),),
    "forehead_slope": (Term((0, 95, 60), (60, 28, 60), shift=(0, 0, -4.9)), Term((0, 50, 90), (40, 14, 30), shift=(0, 0, 1.4))),
    "forehead_width": (Term((0, 62, 55), (90, 26, 60), scale=(0.049, 0, 0)),),
    "brow_ridge": (Term((20, 43, 90), (18, 8, 14), shift=(0, -0.56, 2.52)),),
    "brow_height": (Term((27, 43, 90), (22, 9, 25), shift=(0, 1.82, 0)),),
    "eye_distance": (Term((31.5, 27, 78), (17, 14, 22), shift=(1.3, 0, 0)),),
    "eye_depth": (Term((31.5, 27, 78), (13, 10, 20), shift=(0, 0, -1.68)),),
    "eye_size": (Term((31.5, 25, 78), (13, 9, 20), scale=(0.07, 0.112, 0)),),
    "eye_tilt": (Term((44, 26, 72), (9, 8, 16), shift=(0, 1.54, 0)), Term((18, 26, 76), (8, 8, 12), shift=(0, -0.84, 0))),
    "eye_bags": (Term((30, 13, 78), (13, 4, 12), shift=(0, 0, 0.98)),),
    "nose_length": (Term((0, -15, 105), (17, 12, 30), shift=(0, -3.08, 0)),),
    "nose_width": (Term((0, -17, 95), (20, 9, 20), scale=(0.126, 0, 0)),),
    "nose_protrusion": (Term((0, -14, 105), (13, 13, 25), shift=(0, 0, 2.66)),),
    "nose_tip_up": (Term((0, -14, 110), (11, 9, 16), shift=(0, 2.38, 0.28)),),
    "nose_tip_size": (Term((0, -13, 104), (11, 9, 13), scale=(0.168, 0.126, 0.07)),),
    "bridge_height": (Term((0, 20, 90), (9, 16, 16), shift=(0, 0, 2.38)),),
    "bridge_width": (Term((0, 12, 90), (14, 18, 20), scale=(0.14, 0, 0)),),
    "bridge_hump": (Term((0, 6, 98), (6, 6, 14), shift=(0, 0, 1.54)),),
    "cheekbones": (Term((50, 4, 66), (15, 11, 28), shift=(2.24, 0.42, 2.24)),),
    "cheek_fullness": (Term((45, -25, 66), (17, 18, 30), shift=(3.08, 0, 2.8)),),
    "jaw_width": (Term((0, -60, 20), (80, 26, 55), scale=(0.07, 0, 0)),),
    "chin_length": (Term((0, -84, 85), (30, 17, 40), shift=(0, -3.36, 0)),),
    "chin_protrusion": (Term((0, -78, 90), (22, 13, 30), shift=(0, 0, 3.08)),),
    "chin_width": (Term((0, -80, 80), (26, 14, 30), scale=(0.126, 0, 0)),),
    "jaw_protrusion": (Term((0, -55, 85), (40, 26, 45), shift=(0, 0, 2.52)),),
    "mouth_width": (Term((0, -43, 90), (30, 12, 30), scale=(0.077, 0, 0)),),
    "mouth_height": (Term((0, -44, 92), (34, 13, 30), shift=(0, 1.82, 0)),),
    "lip_fullness": (
        Term((0, -38, 95), (18, 4.5, 14), shift=(0, 1.12, 1.26)),
        Term((0, -49.5, 95), (16, 4.5, 14), shift=(0, -1.26, 1.26)),
    ),
    "upper_lip": (Term((0, -38, 95), (18, 4.5, 14), shift=(0, 1.12, 0.84)),),
    "nasolabial": (
        Term((35, -22, 80), (9, 14, 18), shift=(0.28, -0.42, 1.68)),
        Term((27, -32, 84), (4, 10, 10), shift=(0, 0, -0.98)),
    ),
    "temples": (Term((62, 45, 42), (12, 16, 26), shift=(-2.38, 0, -1.12)),),
    "asymmetry_jaw": (Term((0, -70, 80), (60, 30, 60), shift=(1.1, 0, 0)),),
    "asymmetry_nose": (Term((0, -10, 105), (16, 14, 26), shift=(0.8, 0, 0)),),
    "asymmetry_brow": (Term((27, 40, 88), (20, 12, 25), shift=(0, 0.7, 0), mirror=-1.0),),
    "asymmetry_mouth": (Term((22, -43, 86), (10, 9, 16), shift=(0.3, 0.8, 0.2), mirror=-1.0),),
    "asymmetry_cheek": (Term((45, -15, 70), (18, 22, 30), shift=(0.9, 0, 0.9), mirror=-1.0),),
}

EXPRESSION_FIELDS: Fields = {
    "smile": (
        Term((25, -43, 84), (9, 8, 16), shift=(4.2, 4.6, -3.2)),
        Term((38, -16, 78), (12, 11, 22), shift=(0.8, 3.2, 2.6)),
        Term((27, -28, 84), (3.6, 9, 10), shift=(0.3, 0.4, -1.6)),
        Term((31, 14, 78), (15, 5, 18), shift=(0, 1.4, 0.5)),
        Term((0, -43, 92), (14, 8, 16), shift=(0, 0.2, -1.2)),
    ),
    "jaw_open": (
        Term((0, -62, 80), (48, 26, 70), shift=(0, -5.0, -1.4), lip=-1),
        Term((0, -43, 92), (20, 5, 20), shift=(0, 0.8, 0), lip=1),
    ),
    "pucker": (
        Term((0, -43, 92), (28, 13, 24), scale=(-0.22, 0.02, 0)),
        Term((0, -43, 95), (13, 9, 16), shift=(0, 0, 4.2)),
    ),
    "brow_raise": (
        Term((24, 43, 90), (22, 10, 26), shift=(0, 4.2, 0.3)),
        Term((0, 60, 94), (45, 14, 40), shift=(0, 1.4, 0.2)),
        Term((31, 34, 80), (13, 5, 14), shift=(0, 1.5, 0)),
    ),
    "frown": (
        Term((13, 43, 94), (11, 9, 16), shift=(-2.4, -2.2, 1.2)),
        Term((0, 43, 95), (4.5, 9, 14), shift=(0, 0, -1.0)),
    ),
    "squint": (
        Term((31, 17, 78), (15, 6, 18), shift=(0, 1.9, 0.6)),
        Term((31, 36, 84), (17, 6, 18), shift=(0, -1.8, 0.3)),
        Term((47, 22, 68), (7, 8, 14), shift=(-0.9, 0, -0.3)),
    ),
    "cheek_puff": (Term((41, -38, 70), (16, 15, 28), shift=(4.4, 0, 4.2)), Term((0, -35, 94), (22, 7, 14), shift=(0, 0, 1.2))),
    "sneer": (
        Term((14, -14, 94), (8, 10, 16), shift=(1.0, 2.6, 0.4)),
        Term((14, -38, 92), (11, 6, 12), shift=(0.2, 1.7, 0.3)),
        Term((22, 2, 84), (9, 8, 14), shift=(-0.4, 1.6, 1.0)),
    ),
    "mouth_side": (Term((0, -43, 92), (27, 13, 28), shift=(3.6, 0, 0)), Term((0, -75, 90), (30, 18, 40), shift=(1.2, 0, 0))),
    "mouth_down": (
        Term((25, -45, 83), (9, 8, 16), shift=(0.4, -3.0, -0.3)),
        Term((0, -62, 88), (18, 6, 14), shift=(0, 0.5, 1.1)),
    ),
}


def displaced(points: FloatArray, lip: FloatArray, fields: Fields, coefficients: FloatArray) -> FloatArray:
    """Return points (N,3) moved by the fields times their coefficients (K,).

    lip (N,) runs smoothly from -1 below the mouth line to +1 above it.
    """
    rows = [
        row
        for terms, amount in zip(fields.values(), coefficients.tolist(), strict=True)
        if amount
        for term in terms
        for row in _rows(term, amount)
    ]
    moved = points.copy()
    if rows:
        _displace(points, lip, np.array(rows, np.float64), moved)
    return moved


def _rows(term: Term, amount: float) -> list[list[float]]:
    """Return a term, and its mirror image, as centre, sigma, shift, scale (3 each) and lip."""
    shift = [amount * value for value in term.shift]
    scale = [amount * value for value in term.scale]
    rows = [[*term.centre, *term.sigma_mm, *shift, *scale, term.lip]]
    if term.centre[0] > 0.0:
        x, y, z = (term.mirror * value for value in shift)
        stretch = [term.mirror * value for value in scale]
        rows.append([-term.centre[0], *term.centre[1:], *term.sigma_mm, -x, y, z, *stretch, term.lip])
    return rows


@njit(cache=True, nogil=True)
def _displace(points, lip, rows, moved):  # type: ignore[no-untyped-def]
    """Add every term to `moved` (N,3)."""
    for index in range(len(points)):
        for row in rows:
            square = 0.0
            for axis in range(3):
                distance = (points[index, axis] - row[axis]) / row[3 + axis]
                square += distance * distance
            if square > 20.0:
                continue
            window = np.exp(-0.5 * square)
            if row[12] != 0.0:
                window *= 0.5 + 0.5 * row[12] * lip[index]
            for axis in range(3):
                moved[index, axis] += window * (row[6 + axis] + row[9 + axis] * (points[index, axis] - row[axis]))
