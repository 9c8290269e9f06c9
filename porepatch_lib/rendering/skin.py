"""The skin of one subject: colour, relief and shine over face coordinates, the same in every view."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.rendering.head import Landmarks
from porepatch_lib.rendering.noise import cell_borders, smooth_noise
from porepatch_lib.rendering.pores import Pores, pore_strength, sample_pores, stamp_pores
from porepatch_lib.rendering.settings import RenderSettings

FloatArray = NDArray[np.float64]
Map = NDArray[np.float32]

_LOW_MM = np.array([-102.0, -102.0])  # corners of the painted face coordinates
_HIGH_MM = np.array([102.0, 96.0])
_REGION_STEP_MM = 0.25
_CHEEK_LIMIT_MM = 92.0
_JAW_LIMIT_MM = 14.0  # skin counts this far below the middle of the chin
_MELANIN = (0.36, 0.68, 1.05)  # absorption of red, green, blue per unit
_BLOOD = (0.10, 0.80, 0.55)
_DERMIS = (0.86, 0.74, 0.66)  # what unpigmented skin reflects
_HAIR = (0.075, 0.05, 0.035)
_ABSORBED_BY_FEATURES = {
    "lips": (0.22, 0.55, 0.42),
    "eyes": (0.2, 0.2, 0.2),
    "lashes": (0.9, 0.9, 0.9),
    "nostrils": (0.9, 0.9, 0.9),
}


@dataclass(frozen=True)
class Skin:
    """Texture maps on a grid of face coordinates; row and column i lie at low_mm + i * texel_mm.

    maps (rows, columns, 6) float32: linear red, green, blue albedo, the relief's slopes along u and v, shine (1 = standard).
    region (rows, columns) uint8 at `region_step_mm` from the same corner: 255 where bare skin is, 0 on eyes, brows, lips,
    nostrils and hair. exposure is the camera gain that suits the skin's tone.
    """

    low_mm: FloatArray
    texel_mm: float
    maps: Map
    region: NDArray[np.uint8]
    region_step_mm: float
    pores: Pores
    exposure: float


def paint_skin(marks: Landmarks, settings: RenderSettings, rng: np.random.Generator) -> Skin:
    """Draw the skin of one subject. Peak memory is about 48 bytes per texel."""
    texel = settings.texel_mm
    columns, rows = (np.ceil((_HIGH_MM - _LOW_MM) / texel).astype(int) + 1).tolist()
    pores = sample_pores(marks, _LOW_MM, _HIGH_MM, settings.pore_density_per_cm2, settings.pore_contrast, rng)
    height = _fine_relief((rows, columns), texel, rng)
    darkness = np.ones((rows, columns), np.float32)
    stamp_pores(pores, _LOW_MM, texel, height, darkness)
    maps = np.empty((rows, columns, 6), np.float32)
    maps[..., 3] = np.gradient(height, texel, axis=1) * np.float32(settings.relief)
    maps[..., 4] = np.gradient(height, texel, axis=0) * np.float32(settings.relief)
    del height
    coarse = _coarse_grid(_REGION_STEP_MM)
    maps[..., 5] = _to_texels(_shine(marks, coarse), maps.shape, texel) * (0.25 + 0.75 * darkness)
    maps[..., 5] *= 1.0 + 0.15 * smooth_noise((rows, columns), (3.0 / texel, 3.0 / texel), rng)
    tone = float(rng.uniform(0.15, 1.35))
    _paint_albedo(maps, marks, tone, darkness, texel, rng)
    mean = float(np.mean(maps[::50, ::50, :3]))
    _paint_features(maps, marks, texel, rng)
    return Skin(_LOW_MM, texel, maps, _bare_skin(marks, coarse), _REGION_STEP_MM, pores, (0.31 / mean) ** 0.75)


def _fine_relief(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> Map:
    """Return the height (mm) of the fine lines and undulations of bare skin."""
    strength = 0.6 + 0.25 * smooth_noise(shape, (12.0 / texel, 12.0 / texel), rng)
    height = -0.024 * strength * cell_borders(shape, 0.75 / texel, 0.07 / texel, rng)
    height -= 0.012 * strength * cell_borders(shape, 0.42 / texel, 0.05 / texel, rng)
    height += 0.012 * smooth_noise(shape, (1.6 / texel, 0.9 / texel), rng)
    height += 0.035 * smooth_noise(shape, (4.0 / texel, 4.0 / texel), rng)
    return height


def _paint_albedo(maps: Map, marks: Landmarks, tone: float, darkness: Map, texel: float, rng: np.random.Generator) -> None:
    shape = (maps.shape[0], maps.shape[1])

    def noise(wavelength_mm: float) -> Map:
        return smooth_noise(shape, (wavelength_mm / texel, wavelength_mm / texel), rng)

    melanin = 1.0 + 0.06 * noise(25.0) + 0.05 * noise(6.0) + 0.05 * noise(1.8) + 0.04 * noise(0.6)
    melanin *= np.float32(tone)
    melanin += _spots(shape, texel, tone, rng)
    flush = _to_texels(_flush(marks, _coarse_grid(_REGION_STEP_MM)), maps.shape, texel)
    blood = flush * (0.36 + 0.045 * noise(14.0) + 0.035 * noise(4.0) + 0.03 * noise(1.2))
    shadow = -np.log(np.maximum(darkness, 0.05))
    for channel in range(3):
        # light that scatters in the skin fills a pore most in red
        absorbed = melanin * _MELANIN[channel] + blood * _BLOOD[channel] + shadow * (0.75, 1.0, 1.1)[channel]
        maps[..., channel] = _DERMIS[channel] * np.exp(-np.maximum(absorbed, 0.0))


def _spots(shape: tuple[int, int], texel: float, tone: float, rng: np.random.Generator) -> Map:
    """Return additional melanin of freckles and moles."""
    spots = np.zeros(shape, np.float32)
    freckles, moles = int(rng.gamma(1.5, 120.0)), int(rng.integers(4, 25))
    for index in range(freckles + moles):
        mole = index >= freckles
        radius = float(rng.uniform(0.5, 1.3) if mole else rng.uniform(0.25, 0.9)) / texel
        amount = float(rng.uniform(0.5, 1.6) if mole else rng.uniform(0.08, 0.3)) * (0.5 + 0.5 * tone)
        x, y = float(rng.uniform(0, shape[1])), float(rng.uniform(0, shape[0]))
        reach = int(3.0 * radius) + 1
        rows = slice(max(int(y) - reach, 0), min(int(y) + reach + 1, shape[0]))
        columns = slice(max(int(x) - reach, 0), min(int(x) + reach + 1, shape[1]))
        window = (rows, columns)
        row, column = np.mgrid[window]
        square = ((column - x) ** 2 + ((row - y) * float(rng.uniform(0.8, 1.25))) ** 2) / radius**2
        spots[window] += amount / (1.0 + np.exp(6.0 * (square - 1.0).clip(-5.0, 5.0)))
    return spots


def _paint_features(maps: Map, marks: Landmarks, texel: float, rng: np.random.Generator) -> None:
    """Paint lips, closed eyes, brows, nostrils and hair over the bare skin, in place."""
    shape = (maps.shape[0], maps.shape[1])
    streaks = smooth_noise(shape, (0.9 / texel, 9.0 / texel), rng)
    signed = _signed_features(marks, _coarse_grid(_REGION_STEP_MM))

    def feature(name: str) -> Map:
        return _to_texels(_step(signed[name], 0.4), shape, texel)

    maps[..., 3] += feature("lips") * 0.12 * streaks
    for name, absorbed in _ABSORBED_BY_FEATURES.items():
        cover = feature(name)
        for channel in range(3):
            maps[..., channel] *= 1.0 - absorbed[channel] * cover
    hair = np.maximum(feature("hair"), feature("brows") * _brow_hairs(shape, marks, texel, rng))
    darkness = float(rng.uniform(0.4, 2.5))
    for channel in range(3):
        colour = darkness * _HAIR[channel] * np.clip(1.0 + 0.4 * streaks, 0.2, 2.0)
        maps[..., channel] += hair * (colour - maps[..., channel])


def _brow_hairs(shape: tuple[int, int], marks: Landmarks, texel: float, rng: np.random.Generator) -> Map:
    """Return single brow hairs (1 = hair) as short strokes that lean outwards."""
    drawing = np.zeros(shape, np.uint8)
    for side in (-1.0, 1.0):
        for _ in range(420):
            start = np.array([side * rng.uniform(9.0, 50.0), marks.brow_v + rng.uniform(-5.0, 5.0)])
            lean = float(rng.uniform(0.2, 1.2))
            end = start + rng.uniform(4.0, 8.0) * np.array([side * np.cos(lean), np.sin(lean)])
            first, last = (np.round((point - _LOW_MM) / texel).astype(int).tolist() for point in (start, end))
            cv2.line(drawing, first, last, 255, max(round(0.14 / texel), 1), cv2.LINE_AA)
    return drawing.astype(np.float32) / 255.0


def _coarse_grid(step_mm: float) -> tuple[FloatArray, FloatArray]:
    columns, rows = (np.ceil((_HIGH_MM - _LOW_MM) / step_mm).astype(int) + 1).tolist()
    u, v = np.meshgrid(_LOW_MM[0] + step_mm * np.arange(columns), _LOW_MM[1] + step_mm * np.arange(rows))
    return u, v


def _to_texels(coarse: FloatArray, shape: tuple[int, ...], texel: float) -> Map:
    ratio = texel / _REGION_STEP_MM
    scale = np.array([[ratio, 0.0, 0.0], [0.0, ratio, 0.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shape[1], shape[0])
    return np.asarray(
        cv2.warpAffine(coarse.astype(np.float32), scale, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _step(signed_mm: FloatArray, width_mm: float) -> FloatArray:
    """Return a soft step: 1 where `signed_mm` is well below 0."""
    return 1.0 / (1.0 + np.exp(np.clip(signed_mm / width_mm, -30.0, 30.0)))


def _ellipse(u: FloatArray, v: FloatArray, u0: float, v0: float, half_u: float, half_v: float) -> FloatArray:
    """Return about the distance (mm) to an ellipse, negative inside."""
    return (np.hypot((u - u0) / half_u, (v - v0) / half_v) - 1.0) * min(half_u, half_v)


def _signed_features(marks: Landmarks, grid: tuple[FloatArray, FloatArray]) -> dict[str, FloatArray]:
    """Return signed distances (mm, negative inside) to what is not bare skin."""
    u, v = np.abs(grid[0]), grid[1]
    brow = np.abs(v - (marks.brow_v + 3.0 - 0.004 * (u - 28.0) ** 2)) - 4.0 * (1.0 - ((u - 29.0) / 24.0) ** 2)
    lash = marks.eye_v - 4.5 + 0.018 * (u - marks.eye_u) ** 2
    hairline = marks.hairline_v - 0.004 * u * u
    return {
        "eyes": _ellipse(u, v, marks.eye_u, marks.eye_v, 15.0, 8.5),
        "lips": _ellipse(u, v, 0.0, marks.mouth_v - 1.0, marks.mouth_half_width, 10.0),
        "nostrils": _ellipse(u, v, 6.0, marks.nostril_v, 3.6, 2.0),
        "lashes": np.maximum(np.abs(v - lash) - 0.8, np.abs(u - marks.eye_u) - 13.0),
        "brows": brow,
        "hair": np.minimum(hairline - v, _CHEEK_LIMIT_MM - u),
    }


def _bare_skin(marks: Landmarks, grid: tuple[FloatArray, FloatArray]) -> NDArray[np.uint8]:
    margin_mm = {"eyes": 1.5, "lips": 1.5, "nostrils": 1.5, "lashes": 1.5, "brows": 2.5, "hair": 2.0}
    bare = grid[1] > marks.chin_v - _JAW_LIMIT_MM
    for name, signed in _signed_features(marks, grid).items():
        bare &= signed > margin_mm[name]
    return np.where(bare, np.uint8(255), np.uint8(0))


def _shine(marks: Landmarks, grid: tuple[FloatArray, FloatArray]) -> FloatArray:
    u, v = grid
    zone = np.exp(-0.5 * ((u / 16.0) ** 2 + ((v - marks.nose_tip_v) / 20.0) ** 2))
    forehead = np.exp(-0.5 * ((u / 30.0) ** 2 + ((v - 60.0) / 16.0) ** 2))
    return 0.75 + 0.5 * zone + 0.4 * forehead


def _flush(marks: Landmarks, grid: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return how much blood shows: more on cheeks, nose and chin."""
    u, v = np.abs(grid[0]), grid[1]
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    return 0.75 + 0.5 * pore_strength(marks, uv).reshape(u.shape)
