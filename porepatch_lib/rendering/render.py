"""Render one subject: photographs, masks and exact ground truth, described by `images.parquet`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.files import atomic_path, sha256_of, write_image, write_json
from porepatch_lib.progress import progress
from porepatch_lib.rendering.features import region_of
from porepatch_lib.rendering.lights import Lights, light_on_vertices, studio_lights
from porepatch_lib.rendering.rig import Station, build_rig
from porepatch_lib.rendering.sensor import expose
from porepatch_lib.rendering.settings import RenderSettings, generator
from porepatch_lib.rendering.shading import Shaded, shade_view, vertex_attributes
from porepatch_lib.rendering.sitting import Sitting, describe_sitting, draw_moments, draw_shape, face_model
from porepatch_lib.rendering.skin import Skin, paint_skin
from porepatch_lib.rendering.surface import Head
from porepatch_lib.rendering.textures import Textures, build_textures
from porepatch_lib.rendering.truth_files import LEAST_COSINE, truth_of, write_cameras, write_depth, write_mesh, write_pores
from porepatch_lib.rendering.visibility import build_scene

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sitter:
    """A subject ready to be photographed: skin, its textures, the lights, and the share of each (N,L+1) on every vertex."""

    skin: Skin
    textures: Textures
    lights: Lights
    light: NDArray[np.float32]


@dataclass(frozen=True)
class Photograph:
    """One rendered view: BGR uint8 (H,W,3), mask uint8 (H,W) 255 = skin, z-depth float32 (H,W) mm, NaN on the background."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]


def render_subject(sitting: Sitting, output: Path, settings: RenderSettings, seed: int, threads: int) -> None:
    """Render all views of a subject into the folder of `output`, an `images.parquet`.

    Beside it: images/, masks/ and truth/ (see `porepatch_lib.rendering.truth_files`). The same seed, sitting and settings give
    the same files with any number of threads.

    Raises:
        PorePatchError: if the head model or the skin photographs of the settings cannot be read, or a file not written.
    """
    folder = Path(output).parent
    truth = folder / "truth"
    if settings.skin_photographs:  # a folder per person, so that no skin is on two persons
        settings = replace(settings, skin_photographs=str(Path(settings.skin_photographs) / sitting.skin_of))
    model = face_model(settings)
    shape = draw_shape(model, sitting, settings, seed)
    moments = draw_moments(sitting, settings, seed)
    head = shape.at(model, 0.0)
    sitter = prepare_sitter(head, settings, generator(seed, sitting.skin_of, "skin"), generator(seed, "lights"), threads)
    at_rest = vertex_attributes(head, sitter.light)
    vertices, views = {}, []
    stations = build_rig(settings, generator(seed, "rig"))
    for image_id, station in enumerate(progress(stations, f"rendering {sitting.subject}", "view")):
        now, attributes = head, at_rest
        if moments[image_id] > 0.0:
            now = shape.at(model, moments[image_id])
            attributes = vertex_attributes(now, sitter.light)
        rng = generator(seed, sitting.subject, "sensor", station.name)
        photograph = take_photograph(sitter, now, attributes, station, settings, rng, threads)
        vertices[image_id] = now.vertices
        write_depth(truth, image_id, photograph.depth)
        views.append(_write_photograph(folder, image_id, station, photograph, settings))
    write_mesh(truth, vertices, head.triangles, head.uv, region_of(head.place, head.landmarks))
    write_cameras(truth, views)
    drawn = describe_sitting(model, sitting, shape, moments, settings, seed)
    write_json(truth / "parameters.json", drawn | {"skin_drawn": sitter.skin.parameters})
    pores = sitter.skin.pores
    write_pores(truth, truth_of(views, truth), pores.places, pores.radius_mm, pores.depth_mm, pores.contrast)
    write_views(output, views)
    LOGGER.info("Rendered %d views of %s with %d pores.", len(views), sitting.subject, len(pores.places))


def prepare_sitter(
    head: Head, settings: RenderSettings, skin_rng: np.random.Generator, light_rng: np.random.Generator, threads: int
) -> Sitter:
    """Paint the skin of a head and light it; the light stays for all moments of a capture."""
    skin = paint_skin(head, settings, skin_rng, threads)
    lights = studio_lights()
    light = light_on_vertices(build_scene(head.vertices, head.triangles, threads), head, lights, light_rng, threads)
    return Sitter(skin, build_textures(skin, threads), lights, light)


def take_photograph(
    sitter: Sitter,
    head: Head,
    attributes: NDArray[np.float32],
    station: Station,
    settings: RenderSettings,
    rng: np.random.Generator,
    threads: int,
) -> Photograph:
    """Render one view of a subject with its head's `vertex_attributes`; `rng` draws the sensor's noise."""
    shaded = shade_view(
        head,
        attributes,
        station.camera,
        station.pose,
        sitter.textures,
        sitter.lights,
        settings.specular,
        settings.cross_polarised,
        settings.supersampling,
        threads,
    )
    image = expose(shaded.image, shaded.depth, station.camera, station.lens, sitter.skin.exposure, settings, rng)
    return Photograph(image, skin_mask(sitter.skin, shaded), shaded.depth)


def skin_mask(skin: Skin, shaded: Shaded) -> NDArray[np.uint8]:
    """Return (H,W) 255 where bare skin is seen not too grazingly."""
    texels = (np.nan_to_num(shaded.uv, nan=-1e4) - skin.bare_low_mm.astype(np.float32)) / np.float32(skin.bare_step_mm)
    region = cv2.remap(
        skin.bare, texels[..., 0], texels[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.where((region > 0) & (shaded.cosine >= LEAST_COSINE), np.uint8(255), np.uint8(0))


def _write_photograph(folder: Path, image_id: int, station: Station, photograph: Photograph, settings: RenderSettings) -> View:
    path = folder / "images" / f"{station.name}.{settings.image_format}"
    mask_path = folder / "masks" / f"{station.name}.png"
    lossless = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    quality = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    _write_image(path, photograph.image, lossless if settings.image_format == "png" else quality)
    _write_image(mask_path, photograph.mask, lossless)
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
        metric=True,
    )


def _write_image(path: Path, image: NDArray[np.uint8], parameters: list[int]) -> None:
    with atomic_path(path) as temporary:
        write_image(temporary, image, path.suffix, parameters)
