"""The fixed verification test set: keypoints of rendered subjects labelled by their true surface points.

The labels come from exact depth, not from matching or reconstruction: they are the same for every round and favour no descriptor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.correspondence import Features, correspond, group, keep_points, possible_duplicates
from porepatch_lib.geometry import largest_angles, project
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints
from porepatch_lib.progress import progress
from porepatch_lib.rendering.places import Places, join_places
from porepatch_lib.rendering.truth import (
    OCCLUSION_MM,
    Mesh,
    SubjectTruth,
    appear,
    locate,
    pixel_scale_mm,
    positions,
)
from porepatch_lib.rendering.truth_files import read_truth
from porepatch_lib.tables import TRACKS, write_table

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TruthSettings:
    """When two keypoints of two views show one surface point (UBC PhotoTour uses 5 px and 0.25 octave).

    match_distance_px: largest distance from where the other keypoint appears, and from the point's projection.
    match_octaves: largest difference of sigma on the surface, in octaves.
    duplicate_distance_px: points nearer than this, in pixels of a typical view, that share no image may be one point found twice;
        the one seen less often is dropped.
    occlusion_mm: a place is hidden in a view when the surface lies more than this before it.
    """

    match_distance_px: float = 1.5
    match_octaves: float = 0.25
    duplicate_distance_px: float = 10.0
    occlusion_mm: float = OCCLUSION_MM

    def __post_init__(self) -> None:
        for name in ("match_distance_px", "match_octaves", "occlusion_mm"):
            if not getattr(self, name) > 0:
                raise PorePatchError(f"The truth setting {name} is {getattr(self, name)}; give a positive number.")
        if self.duplicate_distance_px < 0:
            raise PorePatchError(f"The truth setting duplicate_distance_px is {self.duplicate_distance_px}; give 0 or more.")


@dataclass(frozen=True)
class _Rows:
    """All keypoints of a subject, one row each: image and keypoint ids, pixels, place on the skin, size in mm and pixels."""

    image_id: IntArray
    keypoint_id: IntArray
    xy: FloatArray
    places: Places
    size_mm: FloatArray
    sigma_px: FloatArray
    of_image: dict[int, slice]


def write_truth_tracks(images: Path, keypoints: Path, truth_folder: Path, output: Path, settings: TruthSettings) -> None:
    """Label the keypoints of one rendered subject and write them as a `tracks` table.

    Raises:
        PorePatchError: if a view has no pose or no truth, or the keypoints belong to other images.
    """
    _, per_image = read_views_and_keypoints(images, keypoints)
    tracks = build_truth_tracks(read_truth(images, truth_folder), per_image, settings)
    write_table(output, tracks, TRACKS)
    _LOG.info(
        "%d of %d keypoints show one of %d surface points seen in at least two views",
        len(tracks),
        sum(len(rows) for rows in per_image.values()),
        tracks["point_id"].nunique(),
    )


def build_truth_tracks(truth: SubjectTruth, keypoints: Mapping[int, Keypoints], settings: TruthSettings) -> pd.DataFrame:
    """Return the columns of the `tracks` table, made from truth, sorted by point_id then image_id.

    x, y, z is the mean of the skin's places under a point's keypoints, at the reference moment; reprojection_error_px the
    distance of a keypoint from the projection of that mean, where the face has moved from the mean of the moved places.
    A point has at most one keypoint per image and no error above match_distance_px.
    """
    rows = _located(truth, keypoints)
    point = group(rows.image_id, _links(truth, rows, settings))
    point = keep_points(point, _largest_error(truth, rows, point) <= settings.match_distance_px)
    point = keep_points(point, ~_unsafe(truth, rows, point, settings.duplicate_distance_px))
    return _tracks(truth, rows, point)


def _located(truth: SubjectTruth, keypoints: Mapping[int, Keypoints]) -> _Rows:
    image_ids = sorted(keypoints)
    counts = [len(keypoints[image_id]) for image_id in image_ids]
    ends = np.cumsum(counts, dtype=np.int64)
    xy = {image_id: keypoints[image_id].xy.astype(np.float64) for image_id in image_ids}
    sigma = {image_id: keypoints[image_id].sigma.astype(np.float64) for image_id in image_ids}
    places = [locate(truth, i, xy[i]) for i in image_ids]
    scales = [pixel_scale_mm(truth, i, of_image) for i, of_image in zip(image_ids, places, strict=True)]
    return _Rows(
        image_id=np.repeat(np.array(image_ids, np.int64), counts),
        keypoint_id=np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)]),
        xy=np.concatenate([np.empty((0, 2)), *xy.values()]),
        places=join_places(places),
        size_mm=np.concatenate([np.empty(0), *(sigma[i] * scale for i, scale in zip(image_ids, scales, strict=True))]),
        sigma_px=np.concatenate([np.empty(0), *sigma.values()]),
        of_image={i: slice(int(end) - count, int(end)) for i, end, count in zip(image_ids, ends, counts, strict=True)},
    )


def _links(truth: SubjectTruth, rows: _Rows, settings: TruthSettings) -> list[tuple[IntArray, IntArray]]:
    """Return corresponding rows for every pair of views."""

    def features(image_id: int, other: int) -> Features:
        own = rows.of_image[image_id]
        return Features(rows.xy[own], appear(truth, other, rows.places[own], settings.occlusion_mm), rows.size_mm[own])

    pairs = list(combinations(sorted(rows.of_image), 2))
    links = []
    for i, j in progress(pairs, "true correspondences", "pair", total=len(pairs)):
        index_i, index_j = correspond(features(i, j), features(j, i), settings.match_distance_px, settings.match_octaves)
        links.append((rows.of_image[i].start + index_i, rows.of_image[j].start + index_j))
    return links


def _mean_surface(mesh: Mesh, rows: _Rows, point: IntArray) -> FloatArray:
    """Return the mean position (P,3) on a mesh of the places of each point's keypoints."""
    chosen = point >= 0
    count = np.bincount(point[chosen])
    where = positions(mesh, rows.places)
    sums = [np.bincount(point[chosen], weights=where[chosen, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / count[:, None]


def _errors(truth: SubjectTruth, rows: _Rows, point: IntArray) -> FloatArray:
    """Return the distance (N,) in pixels from each keypoint to the projection of its point, NaN for keypoints of no point."""
    errors = np.full(len(point), np.nan)
    for image_id, own in rows.of_image.items():
        index = np.arange(own.start, own.stop)[point[own] >= 0]
        xyz = _mean_surface(truth.mesh(image_id), rows, point)
        seen, _ = project(truth.views[image_id].camera, truth.pose(image_id), xyz[point[index]])
        errors[index] = np.linalg.norm(seen - rows.xy[index], axis=1)
    return errors


def _largest_error(truth: SubjectTruth, rows: _Rows, point: IntArray) -> FloatArray:
    """Return each point's largest reprojection error (P,) in pixels."""
    largest = np.zeros(_count(point))
    chosen = point >= 0
    np.maximum.at(largest, point[chosen], _errors(truth, rows, point)[chosen])
    return largest


def _unsafe(truth: SubjectTruth, rows: _Rows, point: IntArray, distance_px: float) -> NDArray[np.bool_]:
    """Return which points (P,) may be another point found twice."""
    chosen = point >= 0
    if not chosen.any():
        return np.zeros(0, bool)
    pixel_mm = float(np.median(rows.size_mm[chosen] / rows.sigma_px[chosen]))
    seen = np.zeros((_count(point), len(rows.of_image)), bool)
    seen[point[chosen], np.searchsorted(sorted(rows.of_image), rows.image_id[chosen])] = True
    return possible_duplicates(_mean_surface(truth.reference, rows, point), seen, distance_px * pixel_mm)


def _tracks(truth: SubjectTruth, rows: _Rows, point: IntArray) -> pd.DataFrame:
    chosen = np.flatnonzero(point >= 0)
    chosen = chosen[np.lexsort((rows.image_id[chosen], point[chosen]))]
    number = point[chosen]
    position = _mean_surface(truth.reference, rows, point)[number]
    centres = {i: truth.pose(i).centre for i in rows.of_image}
    to_camera = np.array([centres[i] for i in rows.image_id[chosen]]).reshape(-1, 3) - position
    return pd.DataFrame(
        {
            "point_id": number,
            "image_id": rows.image_id[chosen].astype(np.int32),
            "keypoint_id": rows.keypoint_id[chosen].astype(np.int32),
            "x": position[:, 0],
            "y": position[:, 1],
            "z": position[:, 2],
            "reprojection_error_px": _errors(truth, rows, point)[chosen].astype(np.float32),
            "triangulation_angle_rad": largest_angles(number, to_camera, np.ones(len(number), bool)).astype(np.float32),
            "track_length": np.bincount(number)[number].astype(np.int32),
        }
    )


def _count(point: IntArray) -> int:
    return int(point.max(initial=-1)) + 1
