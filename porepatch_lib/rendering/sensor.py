"""From linear light to an 8-bit photograph: lens, exposure, shot and read noise behind a Bayer filter, and development."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera
from porepatch_lib.rendering.rig import Lens
from porepatch_lib.rendering.settings import RenderSettings

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

_BLUR_LEVELS_PX = (0.0, 0.45, 0.75, 1.1, 1.6, 2.4, 3.6)
_VIGNETTE = 0.25  # light lost in the corners
# The sensor collects less red and blue than green; white balance multiplies them back, and their noise.
_WHITE_BALANCE = np.array([1.9, 1.0, 1.6], np.float32)
_HEADROOM = 1.5  # a full pixel of green, relative to white
_FULL_WELL_ELECTRONS = 15000.0
_READ_NOISE_ELECTRONS = 8.0
_BLACK_LEVEL = 0.02  # of the full scale, so that noise around black is not cut off
_TABLE_STEPS = 65535
_CONTRAST = 0.2  # share of a smooth step in the tone curve
_KNEE = 0.75  # the tone curve is linear up to here


def expose(
    light: Image,
    depth: NDArray[np.float32],
    camera: Camera,
    lens: Lens,
    exposure: float,
    settings: RenderSettings,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the photograph (H,W,3) uint8 BGR of linear light (H,W,3) RGB with z-depth (H,W) mm, NaN on the background.

    `exposure` multiplies all channels; `rng` draws the noise.
    """
    image = blur_by_depth(light, depth, lens, settings.defocus_px_per_mm)
    image *= vignette(camera)[..., None]
    image *= (exposure * lens.gain).astype(np.float32)
    raw = image / (_HEADROOM * _WHITE_BALANCE)
    raw = read_mosaic(raw, settings.noise, rng) if settings.mosaic else add_noise(raw, settings.noise, rng)
    raw *= _HEADROOM * _WHITE_BALANCE
    return develop(remove_false_colours(raw) if settings.mosaic else raw)


def blur_by_depth(image: Image, depth: NDArray[np.float32], lens: Lens, defocus_px_per_mm: float) -> Image:
    """Spread the light of every pixel of (H,W,C) by a Gaussian whose sigma grows with the distance from the focus.

    Between fixed levels the variance is interpolated. The background counts as in focus.
    """
    focus = np.float32(lens.focus_mm)
    away = np.where(np.isnan(depth), np.float32(0.0), depth - focus)
    variance = np.float32(lens.blur_px**2) + (np.float32(defocus_px_per_mm) * away) ** 2
    levels = np.square(_BLUR_LEVELS_PX)
    position = np.interp(variance, levels, np.arange(len(levels))).astype(np.float32)
    result, total = np.zeros_like(image), np.zeros(depth.shape, np.float32)
    for index, level_px in enumerate(_BLUR_LEVELS_PX):
        weight = np.maximum(1.0 - np.abs(position - index), 0.0)
        if weight.any():
            result += _blur(image * weight[..., None], level_px)
            total += _blur(weight, level_px)
    result /= total[..., None]
    return result


def vignette(camera: Camera) -> Image:
    """Return the relative illumination (H,W) that falls off with the fourth power of the radius."""
    x = (np.arange(camera.width, dtype=np.float32) - camera.principal_point_px[0]) / camera.width
    y = (np.arange(camera.height, dtype=np.float32) - camera.principal_point_px[1]) / camera.height
    square = 2.0 * (x[None, :] ** 2 + y[:, None] ** 2)
    return np.asarray(1.0 - _VIGNETTE * square**2, np.float32)


def add_noise(raw: Image, noise: float, rng: np.random.Generator) -> Image:
    """Return raw values (1 = a full pixel) with shot noise, variance raw / full well, and read noise, between -black and 1."""
    if noise > 0.0:
        variance = np.maximum(raw, 0.0) / np.float32(_FULL_WELL_ELECTRONS)
        variance += np.float32((_READ_NOISE_ELECTRONS / _FULL_WELL_ELECTRONS) ** 2)
        raw = raw + np.float32(noise) * np.sqrt(variance) * rng.standard_normal(raw.shape, dtype=np.float32)
    return np.clip(raw, np.float32(-_BLACK_LEVEL), np.float32(1.0))


def read_mosaic(raw: Image, noise: float, rng: np.random.Generator) -> Image:
    """Measure one colour per pixel of raw values (H,W,3) RGB behind an RGGB filter, and interpolate the others.

    Edge-aware demosaicing by OpenCV on 16 bits, as RAW files have.
    """
    plane = np.empty(raw.shape[:2], np.float32)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        plane[row::2, column::2] = raw[row::2, column::2, channel]
    plane = add_noise(plane, noise, rng)
    full = 65535.0 / (1.0 + _BLACK_LEVEL)
    stored = np.rint((plane + np.float32(_BLACK_LEVEL)) * np.float32(full)).astype(np.uint16)
    # Mirrored about its border pixels the pattern goes on; OpenCV would repeat the row and the column before the last.
    framed = cv2.copyMakeBorder(stored, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    colour = cv2.cvtColor(framed, cv2.COLOR_BayerRGGB2BGR_EA)[2:-2, 2:-2, ::-1]
    return np.asarray(colour.astype(np.float32) / np.float32(full) - np.float32(_BLACK_LEVEL))


def remove_false_colours(image: Image) -> Image:
    """Replace red - green and blue - green of (H,W,3) by their 5x5 medians, as cameras do after demosaicing.

    Freeman, US patent 4724395, 1988: demosaicing errs most in single pixels of these differences.
    """
    green = image[..., 1]
    red, blue = (cv2.medianBlur(image[..., channel] - green, 5) + green for channel in (0, 2))
    return np.stack([red, green, blue], axis=-1)


def develop(image: Image) -> NDArray[np.uint8]:
    """Return 8-bit BGR of white-balanced linear RGB (H,W,3) by the tone curve, from a table of 16-bit values.

    There is no sharpening: capture rigs do not sharpen, and halos around pores would be detected as detail.
    """
    steps = np.float32(_TABLE_STEPS / _HEADROOM)
    table = np.rint(255.0 * tone_curve(np.arange(_TABLE_STEPS + 1) / steps)).astype(np.uint8)
    position = np.clip(image * steps + np.float32(0.5), np.float32(0.0), np.float32(_TABLE_STEPS)).astype(np.uint16)
    return np.ascontiguousarray(table[position[..., ::-1]])


def tone_curve(linear: FloatArray) -> FloatArray:
    """Map linear light, 0.._HEADROOM, to 0..1: a shoulder that keeps highlights, the sRGB curve, a little contrast.

    The shoulder is the extended operator of Reinhard et al., SIGGRAPH 2002, above the knee.
    """
    rest = 1.0 - _KNEE
    over, most = np.maximum(linear - _KNEE, 0.0) / rest, (_HEADROOM - _KNEE) / rest
    tone = np.minimum(linear, _KNEE) + rest * over * (1.0 + over / most**2) / (1.0 + over)
    encoded = np.where(tone <= 0.0031308, 12.92 * tone, 1.055 * np.maximum(tone, 0.0) ** (1.0 / 2.4) - 0.055)
    return np.asarray(encoded + _CONTRAST * (encoded**2 * (3.0 - 2.0 * encoded) - encoded))


def _blur(image: Image, sigma_px: float) -> Image:
    if sigma_px == 0.0:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)
