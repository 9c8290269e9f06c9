"""A look at one subject's captures before the long run: measures of every view, a contact sheet, and warnings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures import quality
from porepatch_lib.captures.survey_sheet import MOST_CELLS, Cell, Dots, Header, Panels, cell_width, draw_panels, write_sheet
from porepatch_lib.captures.views import View, load_colour, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import FloatArray
from porepatch_lib.tables import KEYPOINTS, QUALITY, read_table, write_table
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)

_FAR_FEWER_KEYPOINTS = 0.25  # of the subject's median
_NAMES_IN_A_WARNING = 4
_SHARES = {"dark_share": "black", "saturated_share": "burnt out"}
_LEAST_SHARE_SHOWN = 0.005

# Kinds of fault: what a warning calls such views, and what to do.
_ADVICE = {
    "empty mask": ("views whose mask keeps nothing", "look at the masks"),
    "blurred": ("views blurred beside the others", "photograph again, or leave them out"),
    "too dark": ("views that are too dark", "photograph with more light"),
    "too bright": ("views that are burnt out", "photograph with less light"),
    "near copy": ("views that nearly repeat an earlier one", "keep one of each"),
    "few keypoints": ("views with far fewer keypoints than the others", "look for blur, bad light or a wrong mask"),
    "no keypoints": ("views without keypoints", "look for blur, bad light or a wrong mask"),
}


@dataclass(frozen=True)
class SurveySettings:
    """What the survey warns of.

    Attributes:
        min_pixels_per_mm: a face with fewer pixels per millimetre is too coarse for pores.
        blurred_below: a view is blurred whose sharpness is less than this share of the subject's median.
        near_copy_above: two views whose reduced images correlate by more than this are near copies. Neighbouring views of a rig
            reach about 0.8, two shots of a burst 0.98.

    Raises:
        PorePatchError: if a value is out of its range.
    """

    min_pixels_per_mm: float = 7.0
    blurred_below: float = 0.5
    near_copy_above: float = 0.95

    def __post_init__(self) -> None:
        if not self.min_pixels_per_mm > 0.0:
            raise PorePatchError(f"survey.min_pixels_per_mm must be above 0, not {self.min_pixels_per_mm}.")
        for name in ("blurred_below", "near_copy_above"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise PorePatchError(f"survey.{name} must lie in 0..1, not {getattr(self, name)}.")


@dataclass(frozen=True)
class Look:
    """What one view shows by itself. `middle` is the mask's centroid (2,) in pixels; `between_eyes` is in pixels per mm."""

    sharpness: float
    exposure: quality.Exposure
    mask_share: float
    middle: FloatArray | None
    reduced: NDArray[np.float32]
    between_eyes: float
    panels: Panels


@dataclass(frozen=True)
class Verdict:
    """One row of the quality table, and the faults of its view in a word or two each."""

    row: dict[str, Any]
    faults: tuple[str, ...]


def survey_subject(
    subject: str,
    images: str | Path,
    keypoints: str | Path,
    quality_output: str | Path,
    sheet_output: str | Path,
    settings: SurveySettings,
    threads: int,
) -> None:
    """Measure the views of a subject, draw them on a contact sheet, and log a warning per kind of fault.

    Args:
        subject: its name in warnings and on the sheet.
        images: its `images.parquet`.
        keypoints: its table of keypoints.
        quality_output: the quality table to write.
        sheet_output: the PNG to write.
        settings: what to warn of.
        threads: views that are looked at side by side.

    Raises:
        PorePatchError: if a table or an image cannot be read.
    """
    views = read_views(images)
    dots = _dots_of(views, read_table(keypoints, KEYPOINTS))
    looks = map_threads(partial(_look_at, dots=dots, views=views), views, threads)
    verdicts = _judge(views, looks, dots, settings)
    frame = pd.DataFrame([verdict.row for verdict in verdicts], columns=QUALITY.schema.names)
    warnings = _warnings(subject, views, verdicts, settings)
    for warning in warnings:
        logger.warning("%s", warning)
    if not frame["pixels_per_mm"].any():
        logger.info("The scale of the face of %s is unknown, so its pixels per millimetre are not judged.", subject)
    write_table(quality_output, frame, QUALITY)
    _draw_sheet(Path(sheet_output), subject, views, looks, verdicts, dots, warnings)


def _dots_of(views: Sequence[View], keypoints: pd.DataFrame) -> dict[int, Dots]:
    sigma = keypoints["sigma"].to_numpy()
    low, high = (float(value) for value in np.quantile(sigma, (0.02, 0.98))) if len(sigma) else (0.0, 0.0)
    groups = dict(iter(keypoints.groupby("image_id")))
    found = {}
    for view in views:
        group = groups.get(view.image_id, keypoints.iloc[:0])
        found[view.image_id] = Dots(group[["x", "y"]].to_numpy(np.float32), group["sigma"].to_numpy(np.float32), (low, high))
    return found


def _look_at(view: View, dots: dict[int, Dots], views: Sequence[View]) -> Look:
    """Load a view once and take everything from it that is needed later."""
    image, mask = load_colour(view), load_mask(view)
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    return Look(
        sharpness=quality.sharpness(grey, mask),
        exposure=quality.exposure(grey, mask),
        mask_share=1.0 if mask is None else cv2.countNonZero(mask) / mask.size,
        middle=None if mask is None else quality.centroid(mask),
        reduced=quality.reduce_for_comparison(grey),
        between_eyes=0.0 if _is_placed(view) and sum(map(_is_placed, views)) > 1 else _between_eyes(grey),
        panels=draw_panels(image, mask, dots[view.image_id], cell_width(min(len(views), MOST_CELLS))),
    )


def _between_eyes(grey: NDArray[np.uint8]) -> float:
    from porepatch_lib.captures.faces import find_face

    face = find_face(grey)
    return quality.pixels_per_mm_between(face.eyes) if face is not None and face.eyes is not None else 0.0


def _is_placed(view: View) -> bool:
    return view.pose is not None and view.metric


def _scales(views: Sequence[View], looks: Sequence[Look]) -> list[tuple[float, str]]:
    """Pixels per mm of the face in every view, and what they are known from: "rig", "eyes" or ""."""
    placed = [(view, look) for view, look in zip(views, looks, strict=True) if _is_placed(view)]
    masked = [(view, look) for view, look in placed if look.middle is not None]
    used = masked if len(masked) > 1 else placed
    place = quality.face_place(
        [view.camera for view, _ in used],
        [view.pose for view, _ in used if view.pose is not None],
        [np.array(view.camera.principal_point_px) if look.middle is None else look.middle for view, look in used],
    )
    scales = []
    for view, look in zip(views, looks, strict=True):
        if view.pose is not None and view.metric and place is not None:
            scale, source = quality.pixels_per_mm_at(view.camera, view.pose, place), "rig"
        else:
            scale, source = look.between_eyes, "eyes"
        scales.append((scale, source if scale > 0.0 else ""))
    return scales


def _judge(views: Sequence[View], looks: Sequence[Look], dots: dict[int, Dots], settings: SurveySettings) -> list[Verdict]:
    """Compare the views of a subject with each other."""
    counts = [len(dots[view.image_id].xy) for view in views]
    typical_sharpness = float(np.median([look.sharpness for look in looks if look.mask_share > 0.0] or [0.0]))
    copies = quality.near_copies([look.reduced for look in looks], settings.near_copy_above)
    verdicts = []
    scales = _scales(views, looks)
    for view, look, count, copied, (scale, source) in zip(views, looks, counts, copies, scales, strict=True):
        is_blurred = look.mask_share > 0.0 and look.sharpness < settings.blurred_below * typical_sharpness
        row = {
            "image_id": view.image_id,
            "name": view.name,
            "sharpness": look.sharpness,
            "is_blurred": is_blurred,
            "mean_grey": look.exposure.mean_grey,
            "dark_share": look.exposure.dark_share,
            "saturated_share": look.exposure.saturated_share,
            "mask_share": look.mask_share,
            "near_copy_of": views[copied].image_id if copied >= 0 else -1,
            "pixels_per_mm": scale,
            "scale_from": source,
            "keypoints": count,
        }
        faults = [
            "blurred" if is_blurred else "",
            quality.exposure_fault(look.exposure, view.mask_path is not None) if look.mask_share > 0.0 else "empty mask",
            f"near copy of {views[copied].name}" if copied >= 0 else "",
            "no keypoints" if count == 0 else "few keypoints" if count < _FAR_FEWER_KEYPOINTS * np.median(counts) else "",
        ]
        verdicts.append(Verdict(row, tuple(fault for fault in faults if fault)))
    return verdicts


def _warnings(subject: str, views: Sequence[View], verdicts: Sequence[Verdict], settings: SurveySettings) -> list[str]:
    """One sentence per kind of fault."""
    warnings = []
    for kind, (views_called, advice) in _ADVICE.items():
        names = [view.name for view, verdict in zip(views, verdicts, strict=True) if _has(verdict, kind)]
        if names:
            shown = ", ".join(names[:_NAMES_IN_A_WARNING]) + (", ..." if len(names) > _NAMES_IN_A_WARNING else "")
            warnings.append(f"{subject} has {views_called}, {len(names)} of {len(views)} ({shown}): {advice}.")
    best = max((verdict.row["pixels_per_mm"] for verdict in verdicts), default=0.0)
    if 0.0 < best < settings.min_pixels_per_mm:
        warnings.append(
            f"The face of {subject} has about {best:.1f} pixels per millimetre; pores need about "
            f"{settings.min_pixels_per_mm:g}: photograph from nearer or with more pixels."
        )
    return warnings


def _has(verdict: Verdict, kind: str) -> bool:
    return any(fault.startswith(kind) for fault in verdict.faults)


def _draw_sheet(
    output: Path,
    subject: str,
    views: Sequence[View],
    looks: Sequence[Look],
    verdicts: Sequence[Verdict],
    dots: dict[int, Dots],
    warnings: Sequence[str],
) -> None:
    shown = np.unique(np.linspace(0, len(views) - 1, min(len(views), MOST_CELLS)).astype(int))
    cells = [Cell(looks[i].panels, views[i].name, _figures(views[i], verdicts[i].row), _flags(verdicts[i])) for i in shown]
    sigma_range = next(iter(dots.values())).sigma_range if dots else (0.0, 0.0)
    write_sheet(output, Header(subject, _facts(views, verdicts, len(shown)), tuple(warnings), sigma_range), cells)


def _flags(verdict: Verdict) -> str:
    return ", ".join(verdict.faults)


def _figures(view: View, row: dict[str, Any]) -> tuple[str, str]:
    about = "~" if row["scale_from"] == "eyes" else ""
    scale = f", {about}{row['pixels_per_mm']:.1f} px/mm" if row["scale_from"] else ""
    shares = [f", {row[key]:.0%} {what}" for key, what in _SHARES.items() if row[key] >= _LEAST_SHARE_SHOWN]
    return (
        f"{view.camera.width} \N{MULTIPLICATION SIGN} {view.camera.height} px{scale}, {row['keypoints']} keypoints",
        f"sharpness {row['sharpness']:.2f}, mean grey {row['mean_grey']:.0f}{''.join(shares)}",
    )


def _facts(views: Sequence[View], verdicts: Sequence[Verdict], shown: int) -> str:
    """Number of views and cameras, and what is known of poses and scale, in one line."""
    cameras = len({view.camera_id for view in views})
    posed = sum(view.pose is not None for view in views)
    metric = sum(_is_placed(view) for view in views)
    masked = sum(view.mask_path is not None for view in views)
    facts = [
        f"{len(views)} views" + (f" ({shown} shown)" if shown < len(views) else ""),
        f"{cameras} camera" + ("s" if cameras != 1 else ""),
        f"poses {_all_of(posed, len(views), 'known', 'unknown')}",
        f"{_all_of(metric, len(views), 'metric', 'not metric')}",
        f"{_all_of(masked, len(views), 'masked', 'no masks')}",
    ]
    scales = [verdict.row["pixels_per_mm"] for verdict in verdicts if verdict.row["scale_from"]]
    if scales:
        facts.append(f"at best {max(scales):.1f} px/mm")
    return "  \N{MIDDLE DOT}  ".join(facts)


def _all_of(count: int, total: int, yes: str, no: str) -> str:
    return no if count == 0 else yes if count == total else f"{yes} for {count}"
