"""Where things lie on a face: regions, outlines of the features, and how the skin differs from place to place.

All functions take face coordinates in mm (see `surface`), u to the right and v up. Faces are symmetric about u = 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.rendering.surface import Landmarks

FloatArray = NDArray[np.float64]

REGIONS = ("other", "forehead", "nose", "cheek_left", "cheek_right", "chin", "mouth", "eye_left", "eye_right")
"""Names of the values of `region_of`; left is where u < 0, as in the picture of a face that looks ahead."""

_TEMPLE_MM = 92.0  # hair or ears from here on, to both sides
_JAW_LIMIT_MM = 14.0  # skin counts this far below the middle of the chin
_MARGINS_MM = {"eyes": 1.5, "lips": 1.5, "nostrils": 1.5, "brows": 2.5, "lashes": 1.5}
_HAIR_MARGIN_MM = 2.0


def signed_features(marks: Landmarks, u: FloatArray, v: FloatArray) -> dict[str, FloatArray]:
    """Return about the distances (mm, negative inside) to the outlines of what is not bare skin."""
    side = np.abs(u)
    return {
        "eyes": _ellipse(side, v, marks.eye_u, marks.eye_v, 0.47 * marks.eye_u, 8.5),
        "lashes": np.maximum(np.abs(v - lash_line(marks, side)) - 0.8, np.abs(side - marks.eye_u) - 0.41 * marks.eye_u),
        "brows": _brows(marks, side, v),
        "lips": _lips(marks, side, v),
        "nostrils": _ellipse(side, v, 6.0, marks.nostril_v, 3.6, 2.0),
    }


def hairline(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return about the distance (mm, negative inside) to the hair of a head whose mesh has none."""
    return np.asarray(np.minimum(marks.hairline_v - 0.004 * u * u - v, _TEMPLE_MM - np.abs(u)))


def is_bare(marks: Landmarks, u: FloatArray, v: FloatArray, hair: FloatArray) -> NDArray[np.bool_]:
    """Return where there is bare skin, with a margin around all features and down to just below the chin.

    `hair` is the distance to the hair in mm, negative inside.
    """
    bare = (v > marks.chin_v - _JAW_LIMIT_MM) & (hair > _HAIR_MARGIN_MM)
    for name, signed in signed_features(marks, u, v).items():
        bare &= signed > _MARGINS_MM[name]
    return np.asarray(bare)


def lash_line(marks: Landmarks, side: FloatArray) -> FloatArray:
    """Return v of the lower rim of a closed lid."""
    return np.asarray(marks.eye_v - 4.5 + 0.018 * (side - marks.eye_u) ** 2)


def mouth_line(marks: Landmarks, side: FloatArray) -> FloatArray:
    """Return v of the line between the lips."""
    return np.asarray(marks.mouth_v - 0.8 * np.cos(np.pi * side / (0.6 * marks.mouth_half_width)) * _inside(marks, side))


def region_of(place: FloatArray, marks: Landmarks) -> NDArray[np.uint8]:
    """Return the index (N,) into `REGIONS` of face coordinates (N,2)."""
    u, v = place[:, 0], place[:, 1]
    side = np.abs(u)
    left = u < 0.0
    nose_half_width = np.interp(v, [marks.nose_tip_v - 14.0, marks.nose_tip_v, marks.eye_v], [19.0, 19.0, 9.0])
    conditions = {
        "nose": (side < nose_half_width) & (v > marks.nostril_v - 3.0) & (v < marks.eye_v + 4.0),
        "forehead": v > marks.brow_v + 6.0,
        "eye": v > marks.eye_v - 17.0,
        "cheek": (v > marks.mouth_v - 14.0) & (side > np.where(v > marks.nostril_v - 3.0, 0.0, marks.mouth_half_width + 8.0)),
        "mouth": v > marks.mouth_v - 14.0,
        "chin": (v > marks.chin_v - _JAW_LIMIT_MM) & (side < 30.0),
    }
    names = {"eye": ("eye_left", "eye_right"), "cheek": ("cheek_left", "cheek_right")}
    region = np.zeros(len(u), np.uint8)
    free = (side < _TEMPLE_MM - 12.0) & (v < marks.hairline_v)
    for name, inside in conditions.items():
        left_name, right_name = names.get(name, (name, name))
        index = np.where(left, REGIONS.index(left_name), REGIONS.index(right_name))
        region = np.where(free & inside, index, region).astype(np.uint8)
        free &= ~inside
    return region


def pore_strength(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return how porous the skin is: about 1 on nose and inner cheeks, 0.12 at temples and jaw."""
    side = np.abs(u)
    strength = 0.12 + 0.9 * _hill(side, v, 0.0, marks.nose_tip_v + 3.0, 15.0, 17.0)
    strength += 0.75 * _hill(side, v, 26.0, marks.nose_tip_v + 4.0, 15.0, 16.0)
    strength += 0.4 * _hill(side, v, 0.0, marks.brow_v + 16.0, 34.0, 16.0)
    strength += 0.45 * _hill(side, v, 0.0, marks.chin_v + 2.0, 20.0, 13.0)
    return np.asarray(np.minimum(strength, 1.0))


def oiliness(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return how much the skin shines, 1 = standard: forehead, nose and chin most."""
    side = np.abs(u)
    shine = 0.75 + 0.5 * _hill(side, v, 0.0, marks.nose_tip_v + 8.0, 13.0, 22.0)
    shine += 0.4 * _hill(side, v, 0.0, marks.brow_v + 18.0, 32.0, 16.0)
    shine += 0.25 * _hill(side, v, 0.0, marks.chin_v, 14.0, 12.0)
    return np.asarray(shine + 0.2 * _hill(side, v, 44.0, 4.0, 12.0, 9.0))


def redness(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return how much blood shows, 1 = standard: more on cheeks, nose and chin, less on the forehead."""
    side = np.abs(u)
    blood = 0.85 + 0.4 * _hill(side, v, 36.0, marks.nose_tip_v + 2.0, 18.0, 15.0)
    blood += 0.35 * _hill(side, v, 0.0, marks.nose_tip_v - 1.0, 12.0, 9.0) + 0.2 * _hill(side, v, 0.0, marks.chin_v, 18.0, 11.0)
    blood += 0.35 * _hill(side, v, 14.0, marks.nostril_v, 5.0, 6.0)
    return np.asarray(blood - 0.15 * _hill(side, v, 0.0, marks.mouth_v, 30.0, 9.0))


def under_eyes(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return 0..1 where the skin is thin and bluish: below and at the inner corners of the eyes."""
    side = np.abs(u)
    return np.asarray(_hill(side, v, marks.eye_u - 5.0, marks.eye_v - 12.0, 12.0, 5.0))


def beard(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return the density 0..1 of beard hair: upper lip, chin, jaw and lower cheeks."""
    side = np.abs(u)
    lower_cheek = _step(v - (marks.mouth_v + 0.55 * (side - 42.0)), 6.0) * _step(marks.chin_v - 40.0 - v, 6.0)
    lower_cheek *= _step(marks.mouth_half_width + 2.0 - side - 0.45 * np.maximum(marks.mouth_v - v, 0.0), 5.0)
    moustache = _hill(side, v, 0.0, marks.mouth_v + 10.5, 100.0, 3.6) * _step(side - marks.mouth_half_width, 3.0)
    moustache *= 1.0 - 0.6 * _hill(side, v, 0.0, marks.mouth_v + 11.0, 2.2, 4.0)
    chin = _step(v - (marks.mouth_v - 17.0), 2.0) * _step(side - 34.0, 4.0) * _step(marks.chin_v - 40.0 - v, 6.0)
    soul_patch = 0.7 * _hill(side, v, 0.0, marks.mouth_v - 15.0, 5.0, 4.0)
    return np.asarray(np.clip(np.maximum.reduce([lower_cheek, moustache, chin, soul_patch]), 0.0, 1.0))


def line_direction(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return the angle (rad, from +u towards +v) along which fine lines run and pores are long: lines of least skin tension."""
    side, sign = np.abs(u), np.where(u < 0.0, -1.0, 1.0)
    cheek = np.deg2rad(-62.0) + 0.006 * (side - 40.0)
    from_eye_u, from_eye_v = side - marks.eye_u, v - marks.eye_v
    around_eye = np.arctan2(from_eye_u, -from_eye_v)
    crow = np.arctan2(v - marks.eye_v, side - (marks.eye_u + 8.0))
    around_mouth = np.arctan2(v - marks.mouth_v, 0.35 * side + 1e-3)
    parts = [
        (0.6, cheek),
        (3.0 * _step(marks.brow_v + 2.0 - v, 4.0), np.zeros_like(u)),  # forehead
        (2.0 * _hill(side, v, marks.eye_u, marks.eye_v - 6.0, 15.0, 10.0), around_eye),
        (4.0 * _hill(side, v, marks.eye_u + 22.0, marks.eye_v - 1.0, 8.0, 9.0), crow),
        (2.5 * _hill(side, v, 0.0, marks.nose_tip_v + 8.0, 11.0, 20.0), np.zeros_like(u)),
        (2.5 * _hill(side, v, 0.0, marks.mouth_v, 22.0, 11.0), around_mouth),
        (2.0 * _hill(side, v, 0.0, marks.chin_v + 4.0, 18.0, 12.0), np.zeros_like(u)),
    ]
    # Lines have no sign: angles are averaged doubled.
    cosine = sum(weight * np.cos(2.0 * angle) for weight, angle in parts)
    sine = sum(weight * np.sin(2.0 * angle) for weight, angle in parts)
    return np.asarray(0.5 * np.arctan2(sign * sine, cosine))


def line_strength(marks: Landmarks, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return how deep larger lines are, 1 = deepest: forehead and outer corners of the eyes."""
    side = np.abs(u)
    forehead = _step(marks.brow_v + 9.0 - v, 3.0) * _step(v - marks.hairline_v + 10.0, 4.0) * _step(side - 40.0, 6.0)
    crow = _hill(side, v, marks.eye_u + 22.0, marks.eye_v - 1.0, 6.5, 8.0)
    below = 0.6 * _hill(side, v, marks.eye_u, marks.eye_v - 12.0, 13.0, 5.0)
    return np.asarray(np.maximum.reduce([0.8 * forehead, crow, below]))


def _lips(marks: Landmarks, side: FloatArray, v: FloatArray) -> FloatArray:
    """Two arcs that meet at the corners of the mouth; the upper has a cupid's bow."""
    half = marks.mouth_half_width
    inside = _inside(marks, side)
    bow = 1.4 * np.exp(-0.5 * ((side - 0.2 * half) / (0.13 * half)) ** 2) - 0.9 * np.exp(-0.5 * (side / (0.1 * half)) ** 2)
    upper = marks.mouth_v + 7.2 * inside**0.75 + bow * inside
    lower = marks.mouth_v - 9.4 * inside**0.62
    return np.asarray(np.maximum.reduce([v - upper, lower - v, side - half]) * 0.8)


def _brows(marks: Landmarks, side: FloatArray, v: FloatArray) -> FloatArray:
    half_mm = 0.73 * marks.eye_u
    along = side / half_mm - 1.26
    within = np.clip(along, -1.0, 1.0)
    arch = marks.brow_v + 2.5 + 2.0 * within - 3.2 * within**2
    across = np.abs(v - arch) - 3.6 * (1.0 - 0.35 * within) * (1.0 - within**2)
    return np.asarray(np.maximum(across, half_mm * (np.abs(along) - 1.0)))


def _inside(marks: Landmarks, side: FloatArray) -> FloatArray:
    return np.maximum(1.0 - (side / marks.mouth_half_width) ** 2, 0.0)


def _ellipse(side: FloatArray, v: FloatArray, u0: float, v0: float, half_u: float, half_v: float) -> FloatArray:
    return np.asarray((np.hypot((side - u0) / half_u, (v - v0) / half_v) - 1.0) * min(half_u, half_v))


def _hill(side: FloatArray, v: FloatArray, u0: float, v0: float, sigma_u: float, sigma_v: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * (((side - u0) / sigma_u) ** 2 + ((v - v0) / sigma_v) ** 2)))


def _step(signed_mm: FloatArray, width_mm: float) -> FloatArray:
    """Return a soft step: 1 where `signed_mm` is well below 0."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(signed_mm / width_mm, -30.0, 30.0))))
