"""The ground-truth audit: how many labels of a dataset built by matching and reconstruction are wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.geometry import FloatArray, angles_between, project
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.truth import SubjectTruth, hidden, locate, positions, regions_of
from porepatch_lib.rendering.truth_files import read_truth
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, Table, read_table, write_table

_LOG = logging.getLogger(__name__)

ANGLES_DEG = (0, 10, 20, 30, 45, 60, 90, 180)  # bounds of the groups of viewing angle differences

# One row per group of pairs of one label. kind: "all", "angle" (group: "10-20" degrees between the two viewing directions) or
# "region" (group: name of the region of the first patch). wrong_mm, wrong_px: share of the pairs whose label the truth
# contradicts by the tolerance in mm or in px. median_mm, p95_mm: distances on the skin, infinite between two heads.
_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("round", pa.int32()),
    ("split", pa.string()),
    ("kind", pa.string()),
    ("group", pa.string()),
]
_COLUMNS += [("is_match", pa.bool_()), ("pairs", pa.int64())]
_COLUMNS += [(name, pa.float64()) for name in ("wrong_mm", "wrong_px", "median_mm", "p95_mm")]
AUDIT = Table("audit", pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS]))


@dataclass(frozen=True)
class AuditSettings:
    """When two patches show two places.

    tolerance_mm: they are farther apart than this on the skin.
    tolerance_px: the place of the first appears farther than this from the centre of the second in its photograph; 5 px is the
        tolerance of UBC PhotoTour's matches (Winder and Brown, CVPR 2007).
    """

    tolerance_mm: float = 0.5
    tolerance_px: float = 5.0

    def __post_init__(self) -> None:
        for name in ("tolerance_mm", "tolerance_px"):
            if not getattr(self, name) > 0:
                raise PorePatchError(f"The audit setting {name} is {getattr(self, name)}; give a positive number.")


def audit_dataset(
    index: Path,
    pairs: Path,
    images: Mapping[str, Path],
    truth_folders: Mapping[str, Path],
    report: Path,
    table: Path,
    labels: tuple[int, str],
    settings: AuditSettings,
) -> None:
    """Audit the labelled pairs of a dataset against the truth of its rendered subjects; write JSON and an `audit` table.

    Args:
        index, pairs: tables `patches` and `patch pairs`.
        images, truth_folders: images table and `truth` folder of every rendered subject; pairs with other subjects are left out.
        report: JSON of `audit_report`.
        table: Parquet of the same numbers, see AUDIT.
        labels: round and split of the dataset.
        settings: tolerances.
    """
    frame, labelled = read_table(index, PATCHES), read_table(pairs, PATCH_PAIRS)
    truths = ((subject, read_truth(images[subject], folder)) for subject, folder in truth_folders.items())
    measured = measure_pairs(frame, labelled, truths, settings.tolerance_mm)
    groups = tally(measured, settings)
    write_table(table, groups.assign(round=labels[0], split=labels[1]), AUDIT)
    found = audit_report(groups) | asdict(settings) | {"round": labels[0], "split": labels[1]}
    write_json(report, found | {"unknown_pairs": len(labelled) - len(measured)})
    _LOG.info("checked %d of %d pairs against the truth", len(measured), len(labelled))


def measure_pairs(
    index: pd.DataFrame, pairs: pd.DataFrame, truths: Iterable[tuple[str, SubjectTruth]], tolerance_mm: float
) -> pd.DataFrame:
    """Measure labelled pairs of patches; pairs of which the truth does not know both places are left out.

    Args:
        index, pairs: columns of the tables `patches` and `patch pairs`.
        truths: subjects with truth, used one after the other.
        tolerance_mm: a surface that lies more than this before a place hides it.

    Returns:
        The columns is_match; distance_mm on the skin at the reference moment; distance_px between the centre of patch 2 and
        where the place of patch 1 appears in its photograph, infinite where it is hidden there; angle_deg between the two
        viewing directions; region of patch 1. Two heads have no place in common: their distances are infinite.
    """
    used, place = np.unique(pairs[["patch_1", "patch_2"]].to_numpy(np.int64), return_inverse=True)
    first, second = place.reshape(-1, 2).T
    index = index.iloc[used]  # of millions of patches, pairs name few
    subject = index["subject"].to_numpy()
    distance_mm, distance_px = np.full(len(pairs), np.inf), np.full(len(pairs), np.inf)
    to_camera, region = np.full((len(index), 3), np.nan), np.zeros(len(index), np.uint8)
    for name, truth in truths:
        rows = np.flatnonzero(subject == name)
        patches = _locate_patches(truth, index.iloc[rows])
        to_camera[rows], region[rows] = patches.to_camera, patches.region
        chosen = np.flatnonzero((subject[first] == name) & (subject[second] == name))
        one, two = np.searchsorted(rows, first[chosen]), np.searchsorted(rows, second[chosen])
        distance_mm[chosen] = np.linalg.norm(patches.reference[one] - patches.reference[two], axis=1)
        distance_px[chosen] = _distances_px(truth, patches, one, two, tolerance_mm)
    angle_rad = angles_between(to_camera[first], to_camera[second])
    measured = pd.DataFrame(
        {"is_match": pairs["is_match"].to_numpy(bool), "distance_mm": distance_mm, "distance_px": distance_px}
    )
    measured = measured.assign(angle_deg=np.rad2deg(angle_rad), region=region[first])
    return measured[np.isfinite(angle_rad)]


def tally(measured: pd.DataFrame, settings: AuditSettings) -> pd.DataFrame:
    """Count wrong labels; returns the columns of AUDIT from `kind` on, a row for every group that has pairs.

    A matching pair is wrong when its distance is above the tolerance, a non-matching pair when it is not.
    """
    apart_mm = measured["distance_mm"] > settings.tolerance_mm
    apart_px = measured["distance_px"] > settings.tolerance_px
    judged = measured.assign(wrong_mm=apart_mm == measured["is_match"], wrong_px=apart_px == measured["is_match"])
    bins = np.clip(np.digitize(judged["angle_deg"], ANGLES_DEG) - 1, 0, len(ANGLES_DEG) - 2)
    groups = {
        "all": np.full(len(judged), "all", object),
        "angle": np.array([f"{low}-{high}" for low, high in pairwise(ANGLES_DEG)], object)[bins],
        "region": np.array(REGIONS, object)[judged["region"]],
    }
    rows = [
        {
            "kind": kind,
            "group": group,
            "is_match": is_match,
            "pairs": len(chosen),
            "wrong_mm": chosen["wrong_mm"].mean(),
            "wrong_px": chosen["wrong_px"].mean(),
            "median_mm": np.quantile(chosen["distance_mm"], 0.5, method="higher"),
            "p95_mm": np.quantile(chosen["distance_mm"], 0.95, method="higher"),
        }
        for kind, group_of in groups.items()
        for (group, is_match), chosen in judged.groupby([group_of, "is_match"])
    ]
    return pd.DataFrame(rows, columns=AUDIT.schema.names[2:])


def audit_report(groups: pd.DataFrame) -> dict[str, Any]:
    """Return `{"all": G, "angle": {"0-10": G, ...}, "region": {"nose": G, ...}}` of the result of `tally`.

    G holds the keys "matches" and "non_matches" as far as there are such pairs, each with pairs, wrong_mm, wrong_px; matches
    also with median_mm and p95_mm.
    """
    report: dict[str, Any] = {"all": {}, "angle": {}, "region": {}}
    for row in groups.to_dict("records"):
        of_kind = report[row["kind"]]
        group = of_kind if row["kind"] == "all" else of_kind.setdefault(row["group"], {})
        names = ("pairs", "wrong_mm", "wrong_px", *(("median_mm", "p95_mm") if row["is_match"] else ()))
        group["matches" if row["is_match"] else "non_matches"] = {name: row[name] for name in names}
    return report


@dataclass(frozen=True)
class _Patches:
    """Patches (N) of one subject: centres in pixels, places, and of those the mm at the reference moment, the ray to the camera
    (both NaN for no place) and the region."""

    image_id: NDArray[np.int32]
    xy: FloatArray
    places: Places
    reference: FloatArray
    to_camera: FloatArray
    region: NDArray[np.uint8]


def _locate_patches(truth: SubjectTruth, index: pd.DataFrame) -> _Patches:
    image_id, xy = index["image_id"].to_numpy(), index[["x", "y"]].to_numpy(np.float64)
    triangle, barycentric = np.empty(len(index), np.int64), np.empty((len(index), 2))
    to_camera = np.empty((len(index), 3))
    for view in np.unique(image_id):
        rows = image_id == view
        found = locate(truth, view, xy[rows])
        triangle[rows], barycentric[rows] = found.triangle, found.barycentric
        to_camera[rows] = truth.pose(view).centre - positions(truth.mesh(view), found)
    places = Places(triangle, barycentric)
    return _Patches(image_id, xy, places, positions(truth.reference, places), to_camera, regions_of(truth, places))


def _distances_px(
    truth: SubjectTruth, patches: _Patches, one: NDArray[np.int64], two: NDArray[np.int64], tolerance_mm: float
) -> FloatArray:
    """Return the distance (P,) of patches `two` from where the places of patches `one` appear in their photographs."""
    distance = np.empty(len(one))
    for view in np.unique(patches.image_id[two]):
        chosen = np.flatnonzero(patches.image_id[two] == view)
        points = positions(truth.mesh(view), patches.places[one[chosen]])
        seen, _ = project(truth.views[view].camera, truth.pose(view), points)
        offset = np.linalg.norm(seen - patches.xy[two[chosen]], axis=1)
        distance[chosen] = np.where(hidden(truth, view, points, tolerance_mm), np.inf, offset)
    return distance
