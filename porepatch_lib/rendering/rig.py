"""The capture rig: calibrated cameras in staggered rows before the face.

The rig is a property of the seed, not of the subject: every subject sits before the same cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.rendering.settings import RenderSettings

FloatArray = NDArray[np.float64]

_TARGET_MM = np.array([0.0, -2.0, 62.0])  # what the cameras look at, in head coordinates
_FACE_BEFORE_TARGET_MM = 25.0  # the skin lies about this much nearer than the target
_ROWS = (1.0, -1.0, 0.0)  # elevations of neighbouring cameras, as a share of the largest


@dataclass(frozen=True)
class Lens:
    """What makes one camera's pictures differ from another's.

    gain (3,) per linear channel (red, green, blue); blur_px the sigma in focus; focus_mm the z-depth in focus.
    """

    gain: FloatArray
    blur_px: float
    focus_mm: float


@dataclass(frozen=True)
class Station:
    """One camera of the rig."""

    name: str
    camera: Camera
    pose: Pose
    lens: Lens


def build_rig(settings: RenderSettings, rng: np.random.Generator) -> list[Station]:
    """Place the cameras from the left to the right, in rows above, below and at the height of the face."""
    spread = np.linspace(-1.0, 1.0, settings.views) if settings.views > 1 else np.zeros(1)
    stations = []
    for index in range(settings.views):
        azimuth = np.deg2rad(settings.azimuth_deg * spread[index] + rng.uniform(-1.5, 1.5))
        row = _ROWS[index % len(_ROWS)] if settings.views > 1 else 0.0
        elevation = np.deg2rad(settings.elevation_deg * row + rng.uniform(-1.5, 1.5))
        distance = settings.distance_mm * rng.uniform(0.97, 1.03)
        direction = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
        pose = look_at(_TARGET_MM + distance * direction, _TARGET_MM, np.deg2rad(rng.uniform(-2.0, 2.0)))
        lens = _sample_lens(settings, distance, rng)
        stations.append(Station(f"camera_{index:02d}", _sample_camera(settings, rng), pose, lens))
    return stations


def look_at(centre: FloatArray, target: FloatArray, roll_rad: float) -> Pose:
    """Return the pose of a camera at `centre` (3,) that looks at `target` (3,), the world's y up, rolled by `roll_rad`."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(forward, np.array([0.0, 1.0, 0.0]))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll_rad), np.sin(roll_rad)
    rotation = np.stack([cosine * right + sine * down, cosine * down - sine * right, forward])
    return Pose(rotation, -rotation @ centre)


def _sample_camera(settings: RenderSettings, rng: np.random.Generator) -> Camera:
    focal = settings.height * settings.distance_mm / settings.field_height_mm * rng.uniform(0.98, 1.02)
    centre = 0.5 * (np.array([settings.width, settings.height]) - 1.0) + 0.005 * settings.width * rng.uniform(-1.0, 1.0, 2)
    k1 = settings.distortion * float(rng.uniform(-1.0, 1.0))
    return Camera("SIMPLE_RADIAL", settings.width, settings.height, (float(focal), float(centre[0]), float(centre[1]), k1))


def _sample_lens(settings: RenderSettings, distance_mm: float, rng: np.random.Generator) -> Lens:
    brightness = 1.0 + settings.exposure_spread * float(np.clip(rng.standard_normal(), -2.0, 2.0))
    balance = 1.0 + settings.colour_spread * np.clip(rng.standard_normal(3), -2.0, 2.0)
    blur = settings.blur_px * float(rng.uniform(0.75, 1.3))
    focus = distance_mm - _FACE_BEFORE_TARGET_MM + float(rng.uniform(-12.0, 12.0))
    return Lens(brightness * balance, blur, focus)
