"""What colour, height and shine a texel has, as a function of where it lies on the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering.blemishes import Person
from porepatch_lib.rendering.guide import Guide
from porepatch_lib.rendering.noise import cell_gaps, flow_noise, gradient_noise, named_seed, octave_noise
from porepatch_lib.rendering.stamps import BLOOD, DARK_HAIR, HEIGHT, LIGHT_HAIR, MELANIN, SHADOW, Stamps, stamp
from porepatch_lib.rendering.surface import EYE, Texels

FloatArray = NDArray[np.float64]
Map = NDArray[np.float32]
Fields = dict[str, Map]

_DERMIS = (0.72, 0.61, 0.575)  # what skin without pigments reflects, linear red, green, blue
_MELANIN = (1.0, 1.36, 1.72)  # absorption of red, green, blue per unit
_BROWN = (0.85, 1.35, 2.0)  # of freckles, moles and stains
_BLOOD = (0.12, 0.74, 0.62)
_SHADOW = (0.72, 1.0, 1.18)  # light that scatters in the skin fills a pit most in red, least in blue
_LIPS = (0.16, 0.50, 0.36)
_FINEST_OCTAVE_TEXELS = 2.0  # noise with smaller cells is left out
_COARSEST_LINES_MM = 0.2  # texels that can still show fine lines and vessels
_SCATTER_MM = 0.35  # relief finer than this is not shown by light that has been in the skin
_CAVITY_PER_MM = 4.5  # share of the light that a texel loses per mm below its surroundings
_INSIDE = (0.03, 0.012, 0.011)  # of mouth and nostrils
_EYEBALL = (0.55, 0.52, 0.50)
_STRANDS = ((0.45, 0.4, 14.0), (0.65, 1.0, 18.0), (0.45, 2.8, 35.0))  # weight; width and length in mm


@dataclass(frozen=True)
class Recipe:
    """All that the skin of one subject is painted from."""

    person: Person
    guide: Guide
    stamps: Stamps
    seed: int


@dataclass(frozen=True)
class Patch:
    """The covered texels of a strip: position on the neutral face (N,3), face coordinates (N,2), part (N,), guide fields."""

    neutral: Map
    place: Map
    part: NDArray[np.uint8]
    guide: Fields
    axis: Map
    texel_mm: float
    seed: int

    def noise(self, octaves: dict[float, float], name: str) -> Map:
        """Return the sum of gradient noise: amplitudes by size of the cells in mm; sizes below the texels are left out."""
        fit = {cell: amplitude for cell, amplitude in octaves.items() if cell >= _FINEST_OCTAVE_TEXELS * self.texel_mm}
        return octave_noise(self.neutral, fit, named_seed(self.seed, name))

    def streaks(self, where: NDArray[np.int64], width_mm: float, length_mm: float, name: str) -> Map:
        """Return noise of unit variance at some of the texels, in streaks along v; zeros if they are finer than the texels."""
        if width_mm < _FINEST_OCTAVE_TEXELS * self.texel_mm:
            return np.zeros(len(where), np.float32)
        points = np.zeros((len(where), 3), np.float32)
        points[:, 0], points[:, 1] = self.place[where, 0], self.place[where, 1] * np.float32(width_mm / length_mm)
        return gradient_noise(points, width_mm, named_seed(self.seed, name))


def paint_strip(texels: Texels, rows: slice, recipe: Recipe, detail: Map | None, maps: Map, height: Map) -> None:
    """Paint some rows of a layer, in place: albedo and shine of `maps` (rows, columns, 8) and `height` (rows, columns) mm.

    `detail` (rows, columns, 3), if given, replaces the painted fine detail by factors on the albedo.
    """
    covered = texels.covered[rows]
    row, column = np.nonzero(covered)
    if not len(row):
        return
    guide = recipe.guide.at(texels.low_mm, texels.texel_mm, row + rows.start, column)
    axis = np.stack([guide.pop("axis_x"), guide.pop("axis_y"), guide.pop("axis_z")], axis=1)
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
    patch = Patch(
        texels.neutral[rows][covered],
        texels.place[rows][covered],
        texels.part[rows][covered],
        guide,
        axis,
        texels.texel_mm,
        recipe.seed,
    )
    stamped = stamp(recipe.stamps, texels.neutral[rows], texels.low_mm, texels.texel_mm, rows.start)[covered]
    fine = detail is None
    relief = _relief(patch, recipe.person, fine)
    albedo = _bare_albedo(patch, recipe.person, stamped, fine)
    if detail is not None:
        albedo *= detail[covered]
    shine = _shine(patch, recipe.person)
    _paint_features(patch, recipe.person, albedo, relief, shine)
    _paint_hair(patch, recipe.person, stamped, albedo, relief, shine)
    relief += stamped[:, HEIGHT]
    maps[covered, :3] = albedo
    maps[covered, 7] = shine * np.exp(-1.5 * stamped[:, SHADOW])
    height[covered] = relief


def finish_relief(height: Map, texels: Texels, relief: float, maps: Map) -> None:
    """Fill the slopes of `maps` from `height` (H,W) mm, and darken hollows, in place."""
    sigma = _SCATTER_MM / texels.texel_mm
    weight = cv2.GaussianBlur(texels.covered.astype(np.float32), (0, 0), max(sigma, 0.3))
    smooth = cv2.GaussianBlur(height, (0, 0), max(sigma, 0.3)) / np.maximum(weight, 1e-3)
    _finish(height, smooth, texels.covered, texels.texel_mm, relief, _CAVITY_PER_MM, maps)


def _relief(patch: Patch, person: Person, fine: bool) -> Map:
    """Return the height (N,) mm of the lines and undulations of the skin; without the fine ones if not `fine`."""
    guide = patch.guide
    height = guide["swell_mm"] + _wrinkles(patch, person)
    if not fine or patch.texel_mm > _COARSEST_LINES_MM:
        return height
    vary = np.clip(0.8 + guide["line_patches"], 0.2, 1.6) * np.float32(0.7 + 0.6 * person.age)
    coarse = 1.0 + 0.3 * guide["porous"]
    lines = cell_gaps(patch.neutral, patch.axis, 0.8, 1.45, named_seed(patch.seed, "lines"))
    height -= 0.020 * vary * coarse * np.exp(-0.5 * (lines / 0.07) ** 2)
    lines = cell_gaps(patch.neutral, patch.axis, 0.42, 1.3, named_seed(patch.seed, "finer lines"))
    height -= 0.009 * vary * np.exp(-0.5 * (lines / 0.045) ** 2)
    height += 0.010 * vary * flow_noise(patch.neutral, patch.axis, 0.11, 0.30, named_seed(patch.seed, "texture"))
    height += patch.noise({2.2: 0.016, 1.0: 0.010, 0.5: 0.006, 0.25: 0.003}, "relief")
    return height


def _wrinkles(patch: Patch, person: Person) -> Map:
    """Return the height (N,) of lines across the forehead and around the eyes."""
    height = np.zeros(len(patch.neutral), np.float32)
    index = np.flatnonzero(patch.guide["lines"] > 0.03)
    if not len(index):
        return height
    u, v = patch.place[index].T
    points = np.zeros((len(index), 3), np.float32)
    points[:, 0], points[:, 1] = u / 16.0, v / 3.4
    points[:, 1] += 0.35 * gradient_noise(np.ascontiguousarray(patch.neutral[index]), 14.0, named_seed(patch.seed, "bends"))
    ridge = 1.0 - np.abs(gradient_noise(points, 1.0, named_seed(patch.seed, "wrinkles")))
    furrow = np.clip(ridge - 0.45, 0.0, None) ** 2
    height[index] = -0.35 * person.age**1.5 * patch.guide["lines"][index] * furrow
    return height


def _bare_albedo(patch: Patch, person: Person, stamped: Map, fine: bool) -> Map:
    """Return the albedo (N,3) of the skin from its pigments, by Beer and Lambert's law."""
    guide = patch.guide
    mottle = np.float32(person.mottle)
    shade, stain, flush = guide["melanin_patches"], guide["melanin_stains"], guide["blood_patches"]
    if fine:
        octaves = {2.2: 0.03, 1.0: 0.03, 0.5: 0.028, 0.25: 0.022}
        shade = shade + patch.noise(octaves, "shade")
        stain = stain + patch.noise({2.2: 0.4, 1.0: 0.35, 0.5: 0.3}, "stain")
        flush = flush + patch.noise({1.9: 0.075, 0.9: 0.065, 0.45: 0.045}, "flush")
    melanin = np.float32(person.tone) * (1.0 + mottle * shade) + 0.08 * guide["under_eyes"]
    brown = np.float32(0.03 * person.mottle) * stain + stamped[:, MELANIN]
    blood = 0.27 * person.blood * guide["red"] * (1.0 + mottle * flush)
    blood += 0.05 * guide["under_eyes"] + stamped[:, BLOOD]
    if fine and patch.texel_mm <= _COARSEST_LINES_MM:
        blood += _capillaries(patch)
    shadow = stamped[:, SHADOW]
    if person.stubble_per_cm2 > 0.0:
        shadow = shadow + 0.004 * person.stubble_per_cm2 * person.hair_dark * guide["beard"]
    albedo = np.empty((len(melanin), 3), np.float32)
    for channel in range(3):
        absorbed = melanin * _MELANIN[channel] + brown * _BROWN[channel]
        absorbed += blood * _BLOOD[channel] + shadow * _SHADOW[channel]
        albedo[:, channel] = _DERMIS[channel] * np.exp(-np.maximum(absorbed, 0.0))
    return albedo


def _capillaries(patch: Patch) -> Map:
    """Return additional blood of fine vessels, where the skin is red."""
    where = np.clip(patch.guide["red"] - 1.05, 0.0, 0.5)
    index = np.flatnonzero(where > 0.02)
    vessels = np.zeros(len(where), np.float32)
    ridge = octave_noise(patch.neutral[index], {1.7: 1.0, 0.7: 0.35}, named_seed(patch.seed, "vessels"))
    vessels[index] = 0.16 * where[index] * np.exp(-0.5 * (ridge / 0.06) ** 2)
    return vessels


def _shine(patch: Patch, person: Person) -> Map:
    vary = 1.0 + patch.guide["shine_patches"] + patch.noise({2.0: 0.12}, "shine")
    return np.asarray(person.oil * patch.guide["oil"] * np.clip(vary, 0.3, 2.0))


def _paint_features(patch: Patch, person: Person, albedo: Map, relief: Map, shine: Map) -> None:
    """Paint lips, closed eyes, nostrils, eyeballs and the inside of the mouth over the bare skin, in place."""
    guide = patch.guide
    lips = _step(guide["lips"], 0.35)
    furrows = np.zeros(len(lips), np.float32)
    index = np.flatnonzero(lips > 0.01)
    furrows[index] = 0.6 * patch.streaks(index, 0.9, 4.5, "fine furrows") + 0.8 * patch.streaks(index, 2.4, 9.0, "furrows")
    mouth = np.exp(-0.5 * (guide["mouth"] / 0.45) ** 2) * lips
    covers = {
        "lips": (lips * (1.0 - 0.12 * furrows), person.lip_red * np.array(_LIPS)),
        "mouth": (mouth, np.array([0.9, 1.1, 1.1])),
        "eyes": (_step(guide["eyes"], 1.5), np.array([0.10, 0.16, 0.13])),
        "lashes": (_step(guide["lashes"] + 0.55, 0.1), np.array([0.9, 0.9, 0.9])),
        "nostrils": (_step(guide["nostrils"], 0.5), np.array([2.0, 2.4, 2.4])),
        "brows": (_step(guide["brows"] + 1.5, 0.8), 0.30 * person.hair_dark * np.array([1.0, 1.05, 1.1])),
    }
    for cover, absorbed in covers.values():
        albedo *= np.exp(-cover[:, None] * absorbed.astype(np.float32))
    relief += lips * (0.03 * furrows - 0.5 * relief)
    shine += lips * (1.35 - shine)
    shine *= 1.0 - 0.9 * _step(guide["nostrils"], 0.5)
    inside = _step(guide["dark"], 0.5)
    albedo += inside[:, None] * (np.array(_INSIDE, np.float32) - albedo)
    shine *= 1.0 - inside
    eye = patch.part == EYE
    albedo[eye], relief[eye], shine[eye] = _EYEBALL, 0.0, 3.0


def _paint_hair(patch: Patch, person: Person, stamped: Map, albedo: Map, relief: Map, shine: Map) -> None:
    """Paint the hair of the head and single hairs over the skin, in place."""
    colour = _hair_colour(person)
    beside = patch.guide["hair"]
    index = np.flatnonzero(beside < 4.0)
    fray = np.clip(1.3 * patch.streaks(index, 0.7, 9.0, "fray"), -2.5, 2.5)
    hair = _step(beside[index] + fray, 0.5)
    strands = sum(weight * patch.streaks(index, width, length, f"strands {width}") for weight, width, length in _STRANDS)
    shade = np.clip(1.0 + 0.55 * strands, 0.15, 2.4)
    albedo[index] += hair[:, None] * (shade[:, None] * colour - albedo[index])
    relief[index] += hair * (0.10 * strands - relief[index])
    shine[index] += hair * (0.4 - shine[index])
    fuzz = np.minimum(stamped[:, LIGHT_HAIR], 1.0)[:, None]
    albedo += fuzz * (_fuzz_colour(albedo) - albedo)
    single = np.minimum(stamped[:, DARK_HAIR], 1.0)
    albedo += single[:, None] * (np.float32(0.8) * colour - albedo)
    shine *= 1.0 - 0.7 * single


def _hair_colour(person: Person) -> Map:
    """Return the linear albedo (3,) between blond and black."""
    blond, black = np.array([0.40, 0.25, 0.12]), np.array([0.018, 0.012, 0.009])
    return np.asarray(blond ** (1.0 - person.hair_dark) * black**person.hair_dark, np.float32)


def _fuzz_colour(albedo: Map) -> Map:
    """Pale hairs look brighter than the skin below them."""
    return np.asarray(np.minimum(1.35 * albedo + 0.08, 0.9), np.float32)


def _step(signed_mm: Map, width_mm: float) -> Map:
    """Return a soft step: 1 where `signed_mm` is well below 0."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(signed_mm / np.float32(width_mm), -30.0, 30.0))), np.float32)


@njit(cache=True, nogil=True)
def _slope(height, covered, row, column, row_step, column_step, texel_mm):  # type: ignore[no-untyped-def]
    """Return the slope per mm from the covered neighbours."""
    total, count = 0.0, 0
    for sign in (-1, 1):
        i, j = row + sign * row_step, column + sign * column_step
        if 0 <= i < height.shape[0] and 0 <= j < height.shape[1] and covered[i, j]:
            total += sign * (height[i, j] - height[row, column])
            count += 1
    return total / (count * texel_mm) if count else 0.0


@njit(cache=True, nogil=True)
def _finish(height, smooth, covered, texel_mm, relief, cavity_per_mm, maps):  # type: ignore[no-untyped-def]
    for row in range(height.shape[0]):
        for column in range(height.shape[1]):
            if not covered[row, column]:
                maps[row, column, 7] = 1.0
                continue
            maps[row, column, 3] = relief * _slope(height, covered, row, column, 0, 1, texel_mm)
            maps[row, column, 4] = relief * _slope(height, covered, row, column, 1, 0, texel_mm)
            maps[row, column, 5] = relief * _slope(smooth, covered, row, column, 0, 1, texel_mm)
            maps[row, column, 6] = relief * _slope(smooth, covered, row, column, 1, 0, texel_mm)
            hollow = relief * (height[row, column] - smooth[row, column])
            light = np.exp(min(max(cavity_per_mm * hollow, -0.5), 0.2))
            for channel in range(3):
                maps[row, column, channel] *= light ** _SHADOW[channel]
            maps[row, column, 7] *= light * light
