"""Settings of the rendered captures, and where their randomness comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from porepatch_lib.errors import PorePatchError

PARAMETRIC = "parametric"

_POSITIVE = (
    "views",
    "width",
    "height",
    "distance_mm",
    "field_height_mm",
    "supersampling",
    "mesh_step_mm",
    "texel_mm",
    "pore_density_per_cm2",
    "skin_mm_per_px",
    "blur_px",
)
_NOT_NEGATIVE = (
    "azimuth_deg",
    "elevation_deg",
    "distortion",
    "expression",
    "pose_deg",
    "time_offset",
    "pore_contrast",
    "relief",
    "specular",
    "noise",
    "defocus_px_per_mm",
    "exposure_spread",
    "colour_spread",
)


@dataclass(frozen=True)
class RenderSettings:
    """How a subject is rendered; the defaults are those of the preset `nersemble`. Factors are 0 for off.

    Attributes:
        views: number of cameras, spread over `azimuth_deg` to both sides in staggered rows up to +-`elevation_deg`.
        width, height: size of every photograph in pixels.
        distance_mm: from the cameras to the middle of the face.
        field_height_mm: height of the field of view at that distance.
        distortion: spread of the radial distortion k1 between cameras.
        supersampling: this many by this many rays per pixel.
        head_model: "parametric", or the path of a morphable model (see `porepatch_lib.rendering.morphable`).
        mesh_step_mm: edge length of the head's mesh.
        expression: strength of the expression of subjects that have one, 1 is a clear everyday expression.
        pose_deg: standard deviation of the turn, nod and tilt of the head of subjects that have an expression.
        time_offset: strength of the small change of expression between views; 0 takes all views at one moment.
        texel_mm: size of a texel of the skin.
        pore_density_per_cm2: pores in the densest regions.
        pore_contrast: darkness and depth of the pores; 1 looks like the skin of adults.
        relief: depth of pores and fine lines; 1 looks like the skin of adults.
        stubble: share of the subjects that have stubble, 0..1.
        skin_photographs: folder with a folder per person of the user's own photographs of skin that drive colour and relief;
            empty for painted skin.
        skin_mm_per_px: size of their pixels on the skin.
        specular: strength of the highlights; 1 reflects as much as skin does.
        cross_polarised: light without highlights, as between crossed polarisers.
        noise: shot and read noise; 1 is a full well of 15000 electrons.
        mosaic: one colour per pixel is measured and the others interpolated, as behind a Bayer filter.
        blur_px: mean sigma of the lens blur; cameras differ around it.
        defocus_px_per_mm: additional blur sigma per millimetre out of focus.
        exposure_spread: relative standard deviation of the cameras' gains.
        colour_spread: relative standard deviation of the cameras' gains per colour.
        image_format: "png" (lossless) or "jpg".
        jpeg_quality: 1..100, used by "jpg".

    Raises:
        PorePatchError: if a value is out of its range.
    """

    views: int = 8
    width: int = 1100
    height: int = 1604
    azimuth_deg: float = 45.0
    elevation_deg: float = 16.0
    distance_mm: float = 900.0
    field_height_mm: float = 218.0
    distortion: float = 0.15
    supersampling: int = 2
    head_model: str = PARAMETRIC
    mesh_step_mm: float = 0.6
    expression: float = 1.0
    pose_deg: float = 4.0
    time_offset: float = 0.0
    texel_mm: float = 0.05
    pore_density_per_cm2: float = 150.0
    pore_contrast: float = 1.0
    relief: float = 1.0
    stubble: float = 0.25
    skin_photographs: str = ""
    skin_mm_per_px: float = 0.1
    specular: float = 1.0
    cross_polarised: bool = False
    noise: float = 1.0
    mosaic: bool = True
    blur_px: float = 0.6
    defocus_px_per_mm: float = 0.015
    exposure_spread: float = 0.08
    colour_spread: float = 0.02
    image_format: str = "jpg"
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise PorePatchError(f"The render setting '{name}' must be above 0, got {getattr(self, name)}.")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise PorePatchError(f"The render setting '{name}' must not be negative, got {getattr(self, name)}.")
        if not 0 <= self.stubble <= 1:
            raise PorePatchError(f"The render setting 'stubble' must lie in 0..1, got {self.stubble}.")
        if self.image_format not in ("png", "jpg"):
            raise PorePatchError(f"The render setting 'image_format' must be 'png' or 'jpg', got '{self.image_format}'.")
        if not 1 <= self.jpeg_quality <= 100:
            raise PorePatchError(f"The render setting 'jpeg_quality' must lie in 1..100, got {self.jpeg_quality}.")


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator of one purpose, for example (seed, subject, "skin"); stable across processes."""
    words = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
