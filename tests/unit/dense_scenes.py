"""Scenes with a known surface for tests of dense reconstruction: a textured sphere or plane, seen by posed cameras.

The texture is a sum of random waves in space, so the colour of a pixel is exact: its ray meets the surface in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.files import write_json
from porepatch_lib.geometry import Camera, Pose, project, rays
from porepatch_lib.sfm.colmap import posed_model, to_colmap_id, to_colmap_pixels

RADIUS_MM = 40.0
DISTANCE_MM = 400.0

Floats = NDArray[np.float64]
Surface = Callable[[Floats, Floats], Floats]  # origin (3,), directions (N,3) -> distance along them (N,), NaN where missed


@dataclass(frozen=True)
class Scene:
    """A subject on disk: its images table, sfm folder, views, and what rays meet."""

    images: Path
    sfm: Path
    views: list[View]
    surface: Surface

    def depth(self, camera: Camera, pose: Pose) -> Floats:
        """True z-depth (H,W) in mm, NaN where there is no surface."""
        rows, columns = np.indices((camera.height, camera.width))
        beams = rays(camera, np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float))
        return self.surface(pose.centre, beams @ pose.rotation).reshape(rows.shape)


def sphere(origin: Floats, directions: Floats) -> Floats:
    """Where rays meet the sphere of RADIUS_MM around the origin."""
    a, b = (directions**2).sum(axis=1), directions @ origin
    root = b**2 - a * (origin @ origin - RADIUS_MM**2)
    with np.errstate(invalid="ignore"):
        return (-b - np.sqrt(np.where(root >= 0.0, root, np.nan))) / a


def plane(origin: Floats, directions: Floats) -> Floats:
    """Where rays meet the plane z = x / 2, a slope of 27 degrees."""
    normal = np.array([-0.5, 0.0, 1.0])
    return -(origin @ normal) / (directions @ normal)


def write_scene(
    folder: Path,
    surface: Surface,
    views: int = 4,
    size: tuple[int, int] = (150, 130),
    params: tuple[float, ...] = (),
    masked: bool = True,
    registered: int | None = None,
) -> Scene:
    """Draw the subject into `folder`: photographs (PNG), masks of the surface, and the sparse model of its first views."""
    camera = Camera("SIMPLE_RADIAL", *size, params or (540.0, 74.3, 66.1, 0.0))
    drawn = []
    for image_id, degrees in enumerate(np.linspace(-15.0, 15.0, views)):
        pose = _pose(degrees, -4.0 if image_id % 2 else 4.0)
        drawn.append(_draw(folder, image_id, camera, pose, surface, masked))
    write_views(folder / "images.parquet", drawn)
    _write_sfm(folder / "sfm", drawn[:registered], surface)
    return Scene(folder / "images.parquet", folder / "sfm", drawn, surface)


def _pose(azimuth_deg: float, height_deg: float) -> Pose:
    azimuth, height = np.deg2rad([azimuth_deg, height_deg])
    back = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-back, right), -back])
    return Pose(rotation, -rotation @ (DISTANCE_MM * back))


def _colour(points: Floats) -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    waves, phases = rng.normal(0.0, 0.8, (40, 3)), rng.uniform(0.0, 6.28, (3, 40))
    sums = np.stack([np.sin(points @ waves.T + phase).sum(axis=1) for phase in phases], axis=1)
    return np.rint(128.0 + 14.0 * sums).clip(0, 255).astype(np.uint8)


def _draw(folder: Path, image_id: int, camera: Camera, pose: Pose, surface: Surface, masked: bool) -> View:
    rows, columns = np.indices((camera.height, camera.width))
    beams = rays(camera, np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)) @ pose.rotation
    depth = surface(pose.centre, beams)
    points = pose.centre + beams * depth[:, None]
    image = np.where(np.isfinite(depth)[:, None], _colour(np.nan_to_num(points)), 30).astype(np.uint8)
    path, mask = folder / f"view {image_id}, left.png", folder / f"mask_{image_id}.png"
    cv2.imwrite(str(path), image.reshape(*rows.shape, 3))
    cv2.imwrite(str(mask), (np.isfinite(depth) * 255).astype(np.uint8).reshape(rows.shape))
    return View(image_id, path.name, path, mask if masked else None, "0" * 64, 1, image_id, camera, True, pose, True)


def _write_sfm(folder: Path, views: list[View], surface: Surface, points: int = 150) -> None:
    """Points of the surface, each seen by every view that has it in its image, on the near side."""
    folder.mkdir()
    write_json(folder / "status.json", {"status": "ok", "reason": ""})
    rng = np.random.default_rng(3)
    towards = np.array([*rng.uniform(-25.0, 25.0, (points, 2)).T, np.zeros(points)]).T - (0.0, 0.0, 1e3)
    xyz = np.array([0.0, 0.0, 1e3]) + towards * surface(np.array([0.0, 0.0, 1e3]), towards)[:, None]
    model = posed_model(views)
    tracks = [pycolmap.Track() for _ in range(points)]
    for view in views:
        pixels, _ = project(view.camera, view.pose, xyz)
        model.images[to_colmap_id(view.image_id)].points2D = [pycolmap.Point2D(pixel) for pixel in to_colmap_pixels(pixels)]
        inside = ((pixels >= 0) & (pixels <= (view.camera.width - 1, view.camera.height - 1))).all(axis=1)
        for row in np.flatnonzero(inside).tolist():
            tracks[row].add_element(to_colmap_id(view.image_id), row)
    for place, track in zip(xyz, tracks, strict=True):
        model.add_point3D(place, track, np.full(3, 128, np.uint8))
    (folder / "model").mkdir()
    model.write_binary(folder / "model")
