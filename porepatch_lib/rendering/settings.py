"""Settings of the rendered captures, and where their randomness comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from porepatch_lib.errors import PorePatchError

_POSITIVE = (
    "views",
    "width",
    "height",
    "distance_mm",
    "field_height_mm",
    "supersampling",
    "texel_mm",
    "mesh_step_mm",
    "pore_density_per_cm2",
    "blur_px",
)
_NOT_NEGATIVE = (
    "azimuth_deg",
    "elevation_deg",
    "distortion",
    "pore_contrast",
    "relief",
    "specular",
    "noise",
    "defocus_px_per_mm",
    "exposure_spread",
)


@dataclass(frozen=True)
class RenderSettings:
    """How a subject is rendered. Factors (contrast, relief, specular, noise) are 1 for the standard look, 0 for off.

    Attributes:
        views: number of cameras, spread over `azimuth_deg` to both sides in two staggered rows at +-`elevation_deg`.
        width, height: size of every photograph in pixels.
        distance_mm: from the cameras to the middle of the face.
        field_height_mm: height of the field of view at that distance.
        distortion: spread of the radial distortion k1 between cameras.
        supersampling: the texture is sampled on this many by this many points per pixel.
        texel_mm: size of a texel of the skin.
        mesh_step_mm: grid step of the head's mesh.
        pore_density_per_cm2: pores in the densest regions.
        blur_px: mean sigma of the lens blur; cameras differ around it.
        defocus_px_per_mm: additional blur sigma per millimetre out of focus.
        exposure_spread: relative standard deviation of the cameras' gains.
        image_format: "png" (lossless) or "jpg".
        jpeg_quality: 1..100, used by "jpg".

    Raises:
        PorePatchError: if a value is out of its range.
    """

    views: int = 8
    width: int = 1104
    height: int = 1504
    azimuth_deg: float = 45.0
    elevation_deg: float = 12.0
    distance_mm: float = 900.0
    field_height_mm: float = 205.0
    distortion: float = 0.15
    supersampling: int = 2
    texel_mm: float = 0.07
    mesh_step_mm: float = 1.2
    pore_density_per_cm2: float = 150.0
    pore_contrast: float = 1.0
    relief: float = 1.0
    specular: float = 1.0
    noise: float = 1.0
    blur_px: float = 0.6
    defocus_px_per_mm: float = 0.015
    exposure_spread: float = 0.08
    image_format: str = "png"
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise PorePatchError(f"The render setting '{name}' must be above 0, got {getattr(self, name)}.")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise PorePatchError(f"The render setting '{name}' must not be negative, got {getattr(self, name)}.")
        if self.image_format not in ("png", "jpg"):
            raise PorePatchError(f"The render setting 'image_format' must be 'png' or 'jpg', got '{self.image_format}'.")
        if not 1 <= self.jpeg_quality <= 100:
            raise PorePatchError(f"The render setting 'jpeg_quality' must lie in 1..100, got {self.jpeg_quality}.")


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator of one purpose, for example (seed, subject, "skin"); stable across processes."""
    words = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
