"""A drawn face whose parts are known to the pixel, for the tests of faces and masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SKIN, HAIR, LIPS, WALL = (120, 150, 205), (25, 30, 45), (95, 80, 170), (190, 185, 180)


@dataclass(frozen=True)
class DrawnFace:
    """The picture (H,W,3) BGR; its bare facial skin (H,W); the pupils, image-left first; masks of single parts."""

    image: NDArray[np.uint8]
    skin: NDArray[np.bool_]
    pupils: tuple[tuple[float, float], tuple[float, float]]
    parts: dict[str, NDArray[np.bool_]]


def draw_face(
    size: tuple[int, int] = (600, 720),
    centre: tuple[float, float] = (300.0, 330.0),
    unit: float = 120.0,
    skin: tuple[int, int, int] = SKIN,
) -> DrawnFace:
    """Draw a face before a wall; `unit` is its pupil distance, `centre` lies between the pupils, size is (width, height)."""
    shape = (size[1], size[0])
    y, x = (np.mgrid[: shape[0], : shape[1]] - np.array([centre[1], centre[0]])[:, None, None]) / unit

    def ellipse(cx: float, cy: float, a: float, b: float) -> NDArray[np.bool_]:
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1.0

    head, face = ellipse(0.0, 0.15, 1.45, 2.05), ellipse(0.0, 0.35, 1.1, 1.6)
    neck = (np.abs(x) < 0.7) & (y > 1.0)
    light = 1.0 - 0.18 * (x / 1.1) ** 2 - 0.10 * ((y - 0.35) / 1.6) ** 2 - 0.25 * ellipse(0.0, 2.2, 1.0, 0.45)
    light -= 0.12 * (ellipse(-0.5, -0.05, 0.4, 0.3) | ellipse(0.5, -0.05, 0.4, 0.3))
    light += 0.06 * ellipse(0.0, 0.3, 0.12, 0.4)
    image = np.ones((*shape, 3)) * WALL
    image[head & (y < 1.0)] = HAIR
    image[neck] = np.multiply(skin, 0.8)
    image[face] = skin
    parts = {
        "eyes": ellipse(-0.5, 0.0, 0.23, 0.1) | ellipse(0.5, 0.0, 0.23, 0.1),
        "brows": ellipse(-0.5, -0.34, 0.34, 0.07) | ellipse(0.5, -0.34, 0.34, 0.07),
        "lips": ellipse(0.0, 1.15, 0.4, 0.17),
        "nostrils": ellipse(-0.13, 0.72, 0.07, 0.035) | ellipse(0.13, 0.72, 0.07, 0.035),
    }
    image[parts["brows"]] = HAIR
    image[parts["lips"]] = np.multiply(LIPS, np.mean(skin) / np.mean(SKIN))
    image[parts["lips"] & (np.abs(y - 1.15) < 0.018)] = (30, 25, 50)
    image[parts["nostrils"]] = (20, 22, 35)
    for side in (-0.5, 0.5):
        image[ellipse(side, 0.0, 0.24, 0.11)] = (40, 40, 55)
        image[ellipse(side, 0.01, 0.2, 0.085)] = (205, 210, 215)
        image[ellipse(side, 0.0, 0.095, 0.095)] = (35, 40, 50)
    image[face | neck] *= light[face | neck, None]
    bare = face & ~np.any(list(parts.values()), axis=0)
    noise = np.random.default_rng(1).normal(0.0, 3.0, image.shape)
    smooth = cv2.GaussianBlur(np.clip(image + noise, 0.0, 255.0), (0, 0), 0.8)
    pupils = (centre[0] - 0.5 * unit, centre[1]), (centre[0] + 0.5 * unit, centre[1])
    parts |= {"hair": head & ~face & (y < 1.0), "wall": ~head & ~face & ~neck, "neck": neck & ~face}
    return DrawnFace(np.asarray(smooth, np.uint8), bare, pupils, parts)
