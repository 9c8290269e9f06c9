"""A sheet of the pairs that a descriptor gets most wrong, as pictures of their patches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, read_array
from porepatch_lib.patches.store import open_store, point_numbers
from porepatch_lib.reporting.worst_sheet import worst_sheet
from porepatch_lib.tables import HARD, TEST_PAIRS, Table, read_table, to_arrow
from porepatch_lib.verification.distances import pair_distances
from porepatch_lib.verification.metrics import RECALL_PERCENT, threshold_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOG = logging.getLogger(__name__)

# One row per pair of the sheet, in its order. `error` is "false positive" or "false negative"; `threshold` is the distance at
# which 95 % of the matching pairs are accepted, `accepted` whether the pair is. The other columns are those of the test pairs
# and of the patches.
WORST_PAIRS = Table(
    "worst pairs",
    pa.schema(
        [
            pa.field(name, kind, nullable=False)
            for name, kind in {
                "error": pa.string(),
                "patch_1": pa.int64(),
                "patch_2": pa.int64(),
                "subject_1": pa.string(),
                "subject_2": pa.string(),
                "point_1": pa.int64(),
                "point_2": pa.int64(),
                "image_1": pa.int32(),
                "image_2": pa.int32(),
                "distance": pa.float32(),
                "threshold": pa.float32(),
                "accepted": pa.bool_(),
                "kind": pa.string(),
                "angle_deg": pa.float32(),
                "octaves": pa.float32(),
                "region": pa.string(),
            }.items()
        ]
    ),
)


def write_worst_pairs(
    patches: Path,
    index: Path,
    pairs: Path,
    descriptors: Path,
    output: Path,
    report: Path,
    count: int,
    shown_subjects: Sequence[str],
) -> None:
    """Write a PNG of the worst false positives and the worst false negatives, and what they are as CSV.

    Hard non-matches are not among them: as in the headline numbers. Where a descriptor makes fewer than `count` errors of a kind,
    the pairs nearest to being wrong fill the sheet; the captions tell them apart.

    Args:
        patches, index, pairs: the test set, uint8 (N,64,64) and the tables `patches` and `test pairs`.
        descriptors: `.npy` (N,D), row-aligned with the patches.
        output, report: PNG, and CSV with the columns of `WORST_PAIRS`.
        count: pairs of each kind at most.
        shown_subjects: subjects whose patches may be shown; both patches of a pair are theirs.

    Raises:
        PorePatchError: if the files do not belong together, or the pairs are not of both labels.
    """
    store, frame = open_store(patches, index)
    labelled = read_table(pairs, TEST_PAIRS)
    labelled = labelled[labelled["kind"] != HARD]
    described = read_array(descriptors)
    if described.ndim != 2 or len(described) != len(frame):
        raise PorePatchError(
            f"The descriptors {descriptors} are {described.shape} but {index} has {len(frame)} rows; delete them and run again."
        )
    if labelled["is_match"].nunique() < 2:
        raise PorePatchError(f"The test pairs {pairs} need both matching and non-matching pairs; make the test set again.")
    worst = worst_pairs(labelled, frame, described, count, shown_subjects)
    arrow = to_arrow(worst, WORST_PAIRS, report)
    _save(worst_sheet(store, worst, f"Test set {Path(pairs).parent.name}, descriptor {Path(descriptors).stem}"), output)
    with atomic_path(report) as path:
        arrow.to_pandas().to_csv(path, index=False, lineterminator="\n")
    _LOG.info("wrote %s: %d pairs", output, len(worst))


def worst_pairs(
    pairs: pd.DataFrame, index: pd.DataFrame, descriptors: NDArray[np.floating], count: int, shown_subjects: Sequence[str]
) -> pd.DataFrame:
    """Return the columns of `WORST_PAIRS`: up to `count` false positives, worst first, then as many false negatives.

    A surface point is in at most one false positive and in at most one false negative, so that one bad point does not fill the
    sheet.

    Args:
        pairs: test pairs of both labels, all of which set the threshold.
        index: columns of `patches`.
        descriptors: (N,D), row-aligned with `index`.
        shown_subjects: both patches of a returned pair are of these.
    """
    first, second = (pairs[name].to_numpy(np.int64) for name in ("patch_1", "patch_2"))
    is_match = pairs["is_match"].to_numpy(bool)
    distances = pair_distances(descriptors, first, second)
    threshold = threshold_at(distances[is_match], RECALL_PERCENT)
    points = point_numbers(index)
    allowed = index["subject"].isin(shown_subjects).to_numpy()
    allowed = allowed[first] & allowed[second]
    positives, negatives = (
        _apart(candidates[np.argsort(sign * distances[candidates], kind="stable")], points[first], points[second], count)
        for sign, candidates in ((1, np.flatnonzero(allowed & ~is_match)), (-1, np.flatnonzero(allowed & is_match)))
    )
    chosen = np.array(positives + negatives, np.int64)
    table = pairs[["patch_1", "patch_2", "kind", "angle_deg", "octaves", "region"]].iloc[chosen].reset_index(drop=True)
    for number, rows in ((1, first[chosen]), (2, second[chosen])):
        patch = index.iloc[rows]
        for name, column in (("subject", "subject"), ("point", "point_id"), ("image", "image_id")):
            table[f"{name}_{number}"] = patch[column].to_numpy()
    table["error"] = ["false positive"] * len(positives) + ["false negative"] * len(negatives)
    table["distance"] = distances[chosen]
    table["threshold"] = threshold
    table["accepted"] = distances[chosen] <= threshold
    return table[WORST_PAIRS.schema.names]


def _apart(candidates: NDArray[np.int64], point_1: NDArray[np.int64], point_2: NDArray[np.int64], count: int) -> list[int]:
    """Return the first `count` of `candidates` of which no two share a surface point."""
    chosen: list[int] = []
    used: set[int] = set()
    for candidate in candidates.tolist():
        if len(chosen) == count:
            break
        points = {int(point_1[candidate]), int(point_2[candidate])}
        if used.isdisjoint(points):
            chosen.append(candidate)
            used |= points
    return chosen


def _save(figure: Figure, output: Path) -> None:
    with atomic_path(output) as path:
        figure.savefig(path, format="png", metadata={"Software": None})
