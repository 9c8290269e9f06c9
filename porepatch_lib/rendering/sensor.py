"""From linear light to an 8-bit photograph: lens blur, vignette, gain, shot and read noise, gamma."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera
from porepatch_lib.rendering.rig import Lens

Image = NDArray[np.float32]

_BLUR_LEVELS_PX = (0.0, 0.5, 0.8, 1.2, 1.8, 2.7)
_VIGNETTE = 0.25  # light lost in the corners
_FULL_WELL_ELECTRONS = 9000.0
_READ_NOISE = 0.0012  # of the full scale
_GAMMA = 2.2


def expose(
    light: Image,
    depth: NDArray[np.float32],
    camera: Camera,
    lens: Lens,
    exposure: float,
    defocus_px_per_mm: float,
    noise: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the photograph (H,W,3) uint8 BGR of linear light (H,W,3) RGB with z-depth (H,W) mm, NaN on the background."""
    image = blur_by_depth(light, depth, lens, defocus_px_per_mm)
    image *= vignette(camera)[..., None]
    image *= (exposure * lens.gain).astype(np.float32)
    if noise > 0.0:
        variance = np.maximum(image, 0.0) / _FULL_WELL_ELECTRONS + _READ_NOISE**2
        image += np.float32(noise) * np.sqrt(variance) * rng.standard_normal(image.shape, dtype=np.float32)
    encoded = 255.0 * cv2.pow(np.clip(_shoulder(image), 0.0, 1.0), 1.0 / _GAMMA)
    return np.ascontiguousarray(np.rint(encoded).astype(np.uint8)[..., ::-1])


def blur_by_depth(image: Image, depth: NDArray[np.float32], lens: Lens, defocus_px_per_mm: float) -> Image:
    """Blur (H,W,C) with a Gaussian whose sigma grows with the distance from the focus, between fixed levels linearly."""
    focus = np.float32(lens.focus_mm)
    away = np.where(np.isnan(depth), np.float32(0.0), depth - focus)
    sigma = np.hypot(np.float32(lens.blur_px), np.float32(defocus_px_per_mm) * away)
    position = np.interp(sigma, _BLUR_LEVELS_PX, np.arange(len(_BLUR_LEVELS_PX))).astype(np.float32)
    result = np.zeros_like(image)
    for index, level_px in enumerate(_BLUR_LEVELS_PX):
        weight = np.maximum(1.0 - np.abs(position - index), 0.0)
        if weight.any():
            blurred = cv2.GaussianBlur(image, (0, 0), level_px, borderType=cv2.BORDER_REPLICATE) if level_px else image
            result += weight[..., None] * blurred
    return result


def vignette(camera: Camera) -> Image:
    """Return the relative illumination (H,W) that falls off with the fourth power of the radius."""
    x = (np.arange(camera.width, dtype=np.float32) - camera.principal_point_px[0]) / camera.width
    y = (np.arange(camera.height, dtype=np.float32) - camera.principal_point_px[1]) / camera.height
    square = 2.0 * (x[None, :] ** 2 + y[:, None] ** 2)
    return np.asarray(1.0 - _VIGNETTE * square**2, np.float32)


def _shoulder(image: Image) -> Image:
    """Compress highlights above 0.7 smoothly, as a camera's tone curve does."""
    over = np.maximum(image - 0.7, 0.0)
    return np.minimum(image, 0.7) + 0.3 * over / (0.3 + over)
