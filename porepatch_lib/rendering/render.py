"""Render one subject: photographs, masks and exact ground truth, described by `images.parquet`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, sha256_of, write_array
from porepatch_lib.progress import progress
from porepatch_lib.rendering.head import Head, build_head, sample_identity
from porepatch_lib.rendering.rig import Lights, Station, build_rig, studio_lights
from porepatch_lib.rendering.sensor import expose
from porepatch_lib.rendering.settings import RenderSettings, generator
from porepatch_lib.rendering.shading import shade_view, vertex_attributes
from porepatch_lib.rendering.skin import Skin, paint_skin
from porepatch_lib.rendering.truth import depth_path, write_surface
from porepatch_lib.rendering.visibility import build_scene, cast_view, light_on_vertices

LOGGER = logging.getLogger(__name__)

_LEAST_COSINE = 0.2  # skin seen more grazingly is masked


@dataclass(frozen=True)
class Sitter:
    """A subject ready to be photographed: mesh, skin, lights, the ray casting scene and attributes per vertex."""

    head: Head
    skin: Skin
    lights: Lights
    scene: Any
    attributes: NDArray[np.float32]


@dataclass(frozen=True)
class Photograph:
    """One rendered view: BGR uint8 (H,W,3), mask uint8 (H,W) 255 = skin, z-depth float32 (H,W) mm, NaN on the background."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]


def render_subject(subject: str, output: Path, settings: RenderSettings, seed: int, threads: int) -> None:
    """Render all views of `subject` into the folder of `output`, an `images.parquet` that is written last.

    Beside it: images/, masks/ and truth/ (see `porepatch_lib.rendering.truth`). The same seed, subject and settings give
    the same files with any number of threads.
    """
    folder = Path(output).parent
    sitter = create_sitter(subject, settings, seed, threads)
    write_surface(folder / "truth", sitter.head, sitter.skin.pores)
    stations = build_rig(settings, generator(seed, "rig"))
    views = []
    for image_id, station in enumerate(progress(stations, f"rendering {subject}", "view")):
        photograph = take_photograph(sitter, station, settings, generator(seed, subject, "sensor", station.name), threads)
        views.append(_write_photograph(folder, image_id, station, photograph, settings))
    write_views(output, views)
    LOGGER.info("Rendered %d views of %s with %d pores.", len(views), subject, len(sitter.skin.pores.uv))


def create_sitter(subject: str, settings: RenderSettings, seed: int, threads: int) -> Sitter:
    """Build the head and the skin of a subject; both follow from the seed and the subject's name only."""
    identity = sample_identity(generator(seed, subject, "head"))
    head = build_head(identity, settings.mesh_step_mm)
    skin = paint_skin(identity.landmarks, settings, generator(seed, subject, "skin"))
    scene = build_scene(head.vertices, head.triangles, threads)
    lights = studio_lights()
    light = light_on_vertices(scene, head, lights, generator(seed, "lights"), threads)
    return Sitter(head, skin, lights, scene, vertex_attributes(head, light))


def take_photograph(
    sitter: Sitter, station: Station, settings: RenderSettings, rng: np.random.Generator, threads: int
) -> Photograph:
    """Render one view of a subject; `rng` draws the sensor's noise."""
    hits = cast_view(sitter.scene, station.camera, station.pose, threads)
    light, uv, cosine = shade_view(
        hits,
        station.pose.centre,
        sitter.head.triangles,
        sitter.attributes,
        sitter.skin,
        sitter.lights,
        settings.specular,
        settings.supersampling,
        threads,
    )
    image = expose(
        light, hits.depth, station.camera, station.lens, sitter.skin.exposure, settings.defocus_px_per_mm, settings.noise, rng
    )
    return Photograph(image, skin_mask(sitter.skin, uv, cosine), hits.depth)


def skin_mask(skin: Skin, uv: NDArray[np.float32], cosine: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 255 where bare skin is seen not too grazingly: face coordinates (H,W,2) mm, viewing cosine (H,W)."""
    texels = (np.nan_to_num(uv, nan=-1e4) - skin.low_mm.astype(np.float32)) / np.float32(skin.region_step_mm)
    region = cv2.remap(
        skin.region, texels[..., 0], texels[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.where((region > 0) & (cosine >= _LEAST_COSINE), np.uint8(255), np.uint8(0))


def _write_photograph(folder: Path, image_id: int, station: Station, photograph: Photograph, settings: RenderSettings) -> View:
    path = folder / "images" / f"{station.name}.{settings.image_format}"
    mask_path = folder / "masks" / f"{station.name}.png"
    lossless = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    quality = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    _write_image(path, photograph.image, lossless if settings.image_format == "png" else quality)
    _write_image(mask_path, photograph.mask, lossless)
    write_array(depth_path(folder / "truth", image_id), photograph.depth)
    return View(
        image_id=image_id,
        name=path.name,
        path=path,
        mask_path=mask_path,
        sha256=sha256_of(path),
        orientation=1,
        camera_id=image_id,
        camera=station.camera,
        focal_is_prior=True,
        pose=station.pose,
    )


def _write_image(path: Path, image: NDArray[np.uint8], parameters: list[int]) -> None:
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), image, parameters):
            raise PorePatchError(f"Cannot write the image {path}; check the free space and the permissions of its folder.")
