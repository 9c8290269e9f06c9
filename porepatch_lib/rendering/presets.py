"""Named difficulties of the rendered captures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from porepatch_lib.errors import PorePatchError
from porepatch_lib.rendering.settings import RenderSettings

# `nersemble` stands in for a frame of that rig, at the pixels per millimetre of its 2200x3208 photographs.
PRESETS = {
    "easy": RenderSettings(
        azimuth_deg=25.0,
        elevation_deg=10.0,
        specular=0.3,
        noise=0.5,
        blur_px=0.45,
        defocus_px_per_mm=0.0,
        exposure_spread=0.02,
        colour_spread=0.005,
        mosaic=False,
        image_format="png",
    ),
    "nersemble": RenderSettings(),
    "hard": RenderSettings(
        azimuth_deg=60.0,
        elevation_deg=22.0,
        time_offset=0.05,
        specular=1.5,
        noise=2.0,
        blur_px=0.9,
        defocus_px_per_mm=0.03,
        exposure_spread=0.15,
        colour_spread=0.05,
        jpeg_quality=80,
    ),
}


def render_settings(config: Mapping[str, Any]) -> RenderSettings:
    """Return the settings of a configuration: its key `preset` names the difficulty, its other keys replace single values.

    Raises:
        PorePatchError: if there is no such preset or key, or a value is out of its range.
    """
    values = dict(config)
    preset = values.pop("preset")
    if preset not in PRESETS:
        raise PorePatchError(f"There is no rendering preset '{preset}'; use one of {', '.join(PRESETS)}.")
    known = [field.name for field in dataclasses.fields(RenderSettings)]
    for name in values:
        if name not in known:
            raise PorePatchError(f"There is no render setting '{name}'; use some of {', '.join(known)}.")
    return dataclasses.replace(PRESETS[preset], **values)
