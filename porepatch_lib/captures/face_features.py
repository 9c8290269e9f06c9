"""What is no bare skin in a face seen from the front: eyes, brows, nostrils and lips, in the pixels of the face frame.

All take log colours (H,W,3) of the frame (`skin_colour.log_colour`), so brightness and casts are offsets that cancel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.face_frame import UNIT_PX, coordinates
from porepatch_lib.captures.faces import Point
from porepatch_lib.geometry import FloatArray

BoolArray = NDArray[np.bool_]

_EYE = (0.28, 0.145)  # half axes, in units of the pupil distance
_MOUTH_RANGE = (0.90, 1.55)  # height of the line between the lips
_MOUTH_MEAN, _MOUTH_DEVIATION = 1.17, 0.28
_MOUTH_SHIFT = 0.35  # of a head that is turned
_MOUTH_WIDTH = 0.75  # over which the line is looked for
_DARK_ENOUGH = 0.20  # log luminance; darker counts no more
_LIPS = (0.42, 0.19, 0.22)  # usual half width, height above and below the line between them
_LIP_ROUNDS = 6


def eyes() -> BoolArray:
    """Eyes with their lashes: ellipses about the pupils."""
    x, y = coordinates()
    return np.asarray(((np.abs(x) - 0.5) / _EYE[0]) ** 2 + (y / _EYE[1]) ** 2 < 1.0)


def brows(colour: FloatArray) -> BoolArray:
    """Brows: much darker than what lies above and below, in the band over the eyes."""
    x, y = coordinates()
    band = (y > -0.62) & (y < -0.10) & (np.abs(x) > 0.05) & (np.abs(x) < 0.96) & ~eyes()
    return _dark_in(colour[..., 0], band, kernel=0.34, least=0.14, grow_px=2)


def nostrils(colour: FloatArray, mouth: Point) -> BoolArray:
    """Nostrils: small and very dark, about three fifths down to the mouth."""
    x, y = coordinates()
    region = (y > 0.45 * mouth[1]) & (y < 0.80 * mouth[1]) & (np.abs(x - 0.9 * mouth[0]) < 0.36)
    return _dark_in(colour[..., 0], region, kernel=0.22, least=0.35, grow_px=1)


def find_mouth(colour: FloatArray) -> Point:
    """Middle (x, y in units) of the line between the lips: thin and dark in every third of its width, as nostrils are not."""
    x, y = coordinates()
    luminance = cv2.GaussianBlur(colour[..., 0], (0, 0), 1.0)
    tall = cv2.getStructuringElement(cv2.MORPH_RECT, (1, _odd(0.16)))
    darkness = np.minimum(cv2.morphologyEx(luminance, cv2.MORPH_BLACKHAT, tall), _DARK_ENOUGH)
    third = cv2.GaussianBlur(cv2.blur(darkness, (_odd(_MOUTH_WIDTH / 3.0), 1)), (0, 0), 2.0)
    step = round(_MOUTH_WIDTH / 3.0 * UNIT_PX)
    line = np.min([np.roll(third, shift, axis=1) for shift in (-step, 0, step)], axis=0)
    usual = np.exp(-0.5 * (((y - _MOUTH_MEAN) / _MOUTH_DEVIATION) ** 2 + (x / _MOUTH_SHIFT) ** 2))
    usual[(y < _MOUTH_RANGE[0]) | (y > _MOUTH_RANGE[1])] = 0.0
    best = np.unravel_index(int(np.argmax(line * usual)), line.shape)
    return float(x[best]), float(y[best])


def lips(colour: FloatArray, mouth: Point) -> BoolArray:
    """Lips about the line between them: what differs in colour from the skin around, by two Gaussian classes of one covariance.

    The classes are learnt by expectation maximisation that begins at, and is held by, where lips lie as a rule; so lips of any
    colour are found, and where they have none of their own, the rule is the answer.
    """
    x, y = coordinates()
    rows = slice(*np.searchsorted(y[:, 0], [mouth[1] - 0.45, mouth[1] + 0.5]))
    columns = slice(*np.searchsorted(x[0], [mouth[0] - 0.7, mouth[0] + 0.7]))
    x, below = x[rows, columns] - mouth[0], y[rows, columns] - mouth[1]
    radius = (x / _LIPS[0]) ** 2 + (below / np.where(below < 0.0, _LIPS[1], _LIPS[2])) ** 2
    rule = 5.0 * (1.0 - np.sqrt(radius))
    samples = np.asarray(cv2.GaussianBlur(colour[rows, columns], (0, 0), 2.0), np.float64).reshape(-1, 3)
    inside = 1.0 / (1.0 + np.exp(-rule.ravel()))
    for _ in range(_LIP_ROUNDS):
        inside = 1.0 / (1.0 + np.exp(-np.clip(rule.ravel() + 0.7 * _log_ratio(samples, inside), -30.0, 30.0)))
    found = (inside.reshape(rule.shape) > 0.5) | (radius < 0.3)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    closed = cv2.dilate(cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, disc), disc[:5, :5])
    result = np.zeros(colour.shape[:2], bool)
    result[rows, columns] = closed > 0
    return result


def _log_ratio(samples: FloatArray, inside: FloatArray) -> FloatArray:
    """Log likelihood ratio (N,) of the two classes that the weights `inside` and 1 - `inside` describe."""
    weights = np.stack([inside, 1.0 - inside])
    means = weights @ samples / weights.sum(axis=1, keepdims=True)
    covariance = sum(
        (weight[:, None] * (samples - mean)).T @ (samples - mean) for weight, mean in zip(weights, means, strict=True)
    )
    precision = np.linalg.inv(np.asarray(covariance) / len(samples) + 1e-5 * np.eye(3))
    distances = [np.einsum("ni,ij,nj->n", samples - mean, precision, samples - mean) for mean in means]
    return np.asarray(0.5 * (distances[1] - distances[0]))


def _dark_in(luminance: FloatArray, region: BoolArray, kernel: float, least: float, grow_px: int) -> BoolArray:
    """Pixels of a region that are darker than their surroundings (black top hat), by Otsu's threshold or by `least`."""
    smooth = cv2.GaussianBlur(luminance, (0, 0), 1.2)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(kernel), _odd(kernel)))
    darkness = cv2.morphologyEx(smooth, cv2.MORPH_BLACKHAT, disc)
    levels = np.clip(darkness[region] * 200.0, 0.0, 255.0).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    dark = ((darkness > max(threshold / 200.0, least)) & region).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    grown = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow_px + 1, 2 * grow_px + 1))
    return np.asarray(cv2.dilate(dark, grown) > 0)


def _odd(units: float) -> int:
    return 2 * round(0.5 * units * UNIT_PX) + 1
