"""The skin of one subject: colour, relief and shine over texture coordinates, the same in every view."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.rendering.blemishes import bare_triangles, blemish_stamps, draw_person
from porepatch_lib.rendering.features import is_bare
from porepatch_lib.rendering.guide import build_guide, hair_distance
from porepatch_lib.rendering.paint import Recipe, finish_relief, paint_strip
from porepatch_lib.rendering.pores import Pores, pore_stamps, sample_pores
from porepatch_lib.rendering.quilting import height_from_detail, quilt, read_exemplars
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.stamps import join_stamps
from porepatch_lib.rendering.surface import SKIN, Head, Texels, rasterise
from porepatch_lib.threads import map_threads

FloatArray = NDArray[np.float64]
Map = NDArray[np.float32]

MAPS = 8
_COARSE_MM = 0.4
_BARE_STEP_MM = 0.25
_MARGIN_MM = 4.0  # of the fine layer around bare skin
_STRIP_ROWS = 64
_MEAN_ALBEDO = 0.31  # of the skin that needs no other exposure
_BLOCK_MM, _OVERLAP_MM = 4.0, 1.2  # of quilted photographs
_PHOTOGRAPH_RELIEF_MM = 0.012


@dataclass(frozen=True)
class Layer:
    """Texture maps on a grid of texture coordinates; row and column i lie at low_mm + i * texel_mm.

    maps (rows, columns, 8) float32: 0-2 linear red, green, blue albedo; 3, 4 the slopes of the fine relief along u and v; 5, 6
    the slopes that scattered light still shows; 7 shine (1 = standard), less in pits.
    """

    low_mm: FloatArray
    texel_mm: float
    maps: Map


@dataclass(frozen=True)
class Skin:
    """The skin of one subject.

    fine: the layer of bare skin at `settings.texel_mm`; coarse: the whole head, for what lies outside the fine layer.
    bare (rows, columns) uint8: 255 where bare skin is, 0 on eyes, brows, lips, nostrils and hair; its rows and columns lie at
    bare_low_mm + i * bare_step_mm. exposure: the camera gain that suits the skin's tone. parameters: what was drawn.
    """

    fine: Layer
    coarse: Layer
    bare: NDArray[np.uint8]
    bare_low_mm: FloatArray
    bare_step_mm: float
    pores: Pores
    exposure: float
    parameters: dict[str, float]


def paint_skin(head: Head, settings: RenderSettings, rng: np.random.Generator, threads: int) -> Skin:
    """Draw the skin of one subject. Peak memory is about 75 bytes per texel of the fine layer.

    Raises:
        PorePatchError: if `settings.skin_photographs` are missing, unreadable or too few.
    """
    person_rng, pore_rng, blemish_rng, field_rng, photograph_rng = rng.spawn(5)
    person = draw_person(settings, person_rng)
    inside = bare_triangles(head)
    pores = sample_pores(
        head,
        inside * (0.0 if settings.skin_photographs else 1.0),
        settings.pore_density_per_cm2 * person.pore_factor,
        settings.pore_contrast,
        person.pore_size,
        pore_rng,
    )
    stamps = join_stamps([pore_stamps(head, pores), *blemish_stamps(head, person, blemish_rng)])
    bare, bare_low = _bare_skin(head)
    seed = int(field_rng.integers(2**62))
    recipe = Recipe(person, build_guide(head, _COARSE_MM, seed), stamps, seed)
    coarse_box = head.uv.min(axis=0) - 1.0, head.uv.max(axis=0) + 1.0
    coarse = _paint_layer(rasterise(head, *coarse_box, _COARSE_MM), recipe, None, settings, threads)
    texels = rasterise(head, *_fine_box(head, inside), settings.texel_mm)
    detail = _photographed_detail(texels, settings, photograph_rng) if settings.skin_photographs else None
    fine = _paint_layer(texels, recipe, detail, settings, threads)
    mean = _mean_luminance(coarse, bare, bare_low)
    return Skin(fine, coarse, bare, bare_low, _BARE_STEP_MM, pores, (_MEAN_ALBEDO / mean) ** 0.6, asdict(person))


def _paint_layer(texels: Texels, recipe: Recipe, detail: Map | None, settings: RenderSettings, threads: int) -> Layer:
    rows, columns = texels.covered.shape
    maps = np.zeros((rows, columns, MAPS), np.float32)
    height = np.zeros((rows, columns), np.float32)
    strips = [slice(first, min(first + _STRIP_ROWS, rows)) for first in range(0, rows, _STRIP_ROWS)]

    def paint(strip: slice) -> None:
        strip_detail = None if detail is None else detail[strip]
        paint_strip(texels, strip, recipe, strip_detail, maps[strip], height[strip])

    map_threads(paint, strips, threads)
    if detail is not None:
        height += height_from_detail(detail, texels.texel_mm, _PHOTOGRAPH_RELIEF_MM)
    finish_relief(height, texels, settings.relief, maps)
    return Layer(texels.low_mm, texels.texel_mm, maps)


def _photographed_detail(texels: Texels, settings: RenderSettings, rng: np.random.Generator) -> Map:
    """Return the detail (H,W,3) of the user's photographs, quilted over the bare skin."""
    exemplars = read_exemplars(Path(settings.skin_photographs), texels.texel_mm, settings.skin_mm_per_px)
    block, overlap = round(_BLOCK_MM / texels.texel_mm), round(_OVERLAP_MM / texels.texel_mm)
    needed = texels.covered & (texels.part == SKIN)
    # Photographs are upright, rows of texels rise.
    return quilt(exemplars, texels.covered.shape, block, overlap, rng, needed[::-1])[::-1]


def _fine_box(head: Head, inside: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the corners of the texture coordinates of bare skin, with a margin, within those of the head."""
    uv = head.uv[head.triangles[inside > 0.0]].reshape(-1, 2)
    if not len(uv):
        uv = head.uv
    low = np.maximum(uv.min(axis=0) - _MARGIN_MM, head.uv.min(axis=0))
    high = np.minimum(uv.max(axis=0) + _MARGIN_MM, head.uv.max(axis=0))
    return low, high


def _bare_skin(head: Head) -> tuple[NDArray[np.uint8], FloatArray]:
    low = head.uv.min(axis=0)
    texels = rasterise(head, low, head.uv.max(axis=0), _BARE_STEP_MM)
    u, v = texels.place[..., 0].astype(np.float64), texels.place[..., 1].astype(np.float64)
    bare = texels.covered & (texels.part == SKIN) & is_bare(head.landmarks, u, v, hair_distance(head, texels))
    return np.where(bare, np.uint8(255), np.uint8(0)), low


def _mean_luminance(layer: Layer, bare: NDArray[np.uint8], bare_low: FloatArray) -> float:
    """Return the mean luminance of a layer's bare skin."""
    row, column = np.nonzero(bare[::4, ::4])
    place = bare_low + 4.0 * _BARE_STEP_MM * np.column_stack([column, row])
    column, row = np.rint((place - layer.low_mm) / layer.texel_mm).astype(int).T
    colours = layer.maps[row, column, :3]
    return float(np.mean(colours @ np.array([0.2126, 0.7152, 0.0722]))) if len(colours) else _MEAN_ALBEDO
