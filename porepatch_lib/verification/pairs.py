"""Test sets of our own: the merged patches of the test subjects, and labelled pairs with what they are divided by.

Whether two patches show one surface point is known from the true surface (`porepatch_lib.verification.truth_tracks`) or, on
photographs, from the tracks of round 0. Between matches and non-matches lies a grey zone that is never used: points nearer than a
minimum distance in some photograph make no pair. Nothing here looks at a descriptor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.geometry import FloatArray, angles_between
from porepatch_lib.patches.dataset import merge_stores, merged_index
from porepatch_lib.patches.pairs import PairSettings, PatchPoints, draw_hard_non_matches, draw_non_matches, draw_single_matches
from porepatch_lib.patches.store import subject_numbers
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.rendering.truth import SubjectTruth, locate, regions_of
from porepatch_lib.rendering.truth_files import read_truth
from porepatch_lib.sfm.model import read_model
from porepatch_lib.tables import HARD, KEYPOINTS, TEST_PAIRS, TRACKS, UNKNOWN, read_table, write_table

IntArray = NDArray[np.int64]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerificationPairSettings(PairSettings):
    """How test pairs are drawn: as the pairs of a dataset, and besides them `hard` non-matches at most."""

    hard: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hard < 0:
            raise PorePatchError(f"The setting hard is {self.hard}; give 0 or more pairs.")


def build_test_set(
    title: str,
    subjects: Sequence[str],
    patches: Sequence[Path],
    indexes: Sequence[Path],
    tracks: Sequence[Path],
    keypoints: Sequence[Path],
    images: Sequence[Path],
    truths: Sequence[Path | None],
    models: Sequence[Path | None],
    patches_output: Path,
    index_output: Path,
    pairs_output: Path,
    settings: VerificationPairSettings,
    seed: int,
) -> None:
    """Merge the patches of the test subjects into one store, draw labelled pairs and annotate them.

    Args:
        title: name for messages, for instance "test set rendered".
        subjects: names; all further lists are in step with them.
        patches, indexes, tracks, keypoints, images: store of each subject, and the tables that its points come from.
        truths: the `truth` folder of each subject, None where there is none.
        models: the structure-from-motion folder the tracks come from, None where they lie in the world of the images' poses.
        patches_output, index_output, pairs_output: uint8 (N,64,64) and the tables `patches` and `test pairs`.
        settings, seed: how pairs are drawn; same seed, same pairs, and the headline pairs do not depend on `hard`.

    Raises:
        PorePatchError: if there are no matching or no non-matching pairs, or the files of a subject do not belong together.
    """
    index = merged_index(subjects, patches, indexes)
    seen = [sightings(*files) for files in zip(subjects, tracks, keypoints, strict=True)]
    pairs = draw_test_pairs(index, settings, np.random.default_rng(seed), pd.concat(seen, ignore_index=True))
    if len(pairs) == 0:
        points = len(index[["subject", "point_id"]].drop_duplicates())
        raise PorePatchError(
            f"The test pairs of the {title} need both matching and non-matching pairs, but its {len(subjects)} subjects have "
            f"{len(index)} patches of {points} surface points; give the verification split more subjects or photographs."
        )
    ray, region = np.full((len(index), 3), np.nan), np.full(len(index), "", object)
    is_first = np.zeros(len(index), bool)
    is_first[pairs["patch_1"]] = True
    for subject, track_path, image_path, truth_path, model_path in zip(subjects, tracks, images, truths, models, strict=True):
        rows = np.flatnonzero(index["subject"] == subject)
        if len(rows) == 0:
            continue
        centres = camera_centres(image_path, model_path)
        ray[rows] = viewing_rays(index.iloc[rows], read_table(track_path, TRACKS), centres, track_path)
        if truth_path is not None:
            located = rows[is_first[rows]]
            region[located] = patch_regions(index.iloc[located], read_truth(image_path, truth_path))
    merge_stores(patches, index, patches_output, index_output, title)
    write_table(pairs_output, annotated(pairs, index, ray, region), TEST_PAIRS)
    counts = ", ".join(f"{count} {kind}" for kind, count in pairs["kind"].value_counts().items())
    _LOG.info("%s: %d patches of %d subjects; pairs: %s", title, len(index), index["subject"].nunique(), counts)


def sightings(subject: str, tracks: Path, keypoints: Path) -> pd.DataFrame:
    """Return every observation of a subject's points, of which there need not be a patch: subject, point_id, image_id, x, y."""
    places = read_table(keypoints, KEYPOINTS)[["image_id", "keypoint_id", "x", "y"]]
    seen = read_table(tracks, TRACKS)[["point_id", "image_id", "keypoint_id"]].merge(places, on=["image_id", "keypoint_id"])
    return seen.drop(columns="keypoint_id").assign(subject=subject)


def draw_test_pairs(
    index: pd.DataFrame,
    settings: VerificationPairSettings,
    rng: np.random.Generator,
    seen: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Draw unique pairs of rows of `index` (columns of the `patches` table, sorted as in the store).

    One match of a surface point at most, so that points seen often, and from far apart, do not outweigh the others, and the
    task does not change with the number of pairs. As many non-matches; half of them show one subject and half two, as far as
    there are such. Then hard non-matches, one for a match at most: the neighbour of one of its patches in the photograph
    (`draw_hard_non_matches`), chosen in space and not by a descriptor. `seen` are all observations, see `PatchPoints`.

    Returns:
        The columns patch_1, patch_2, is_match and kind of the `test pairs` table: the headline pairs, then the hard ones, both
        in random order; which patch comes first is random too. No rows where there are no matches or no non-matches.
    """
    points = PatchPoints(index, seen)
    matches = draw_single_matches(points, settings.pairs // 2, rng)
    same, cross = _both_kinds(points, len(matches), settings.min_distance_px, rng)
    matches = matches[: len(same) + len(cross)]
    if 2 * len(matches) < settings.pairs:
        _LOG.info("%d pairs, not %d: one match for each surface point seen twice.", 2 * len(matches), settings.pairs)
    headline = _shuffled({"match": matches, "same_subject": same, "cross_subject": cross}, rng)
    near_by = draw_hard_non_matches(points, matches, settings.hard, settings.min_distance_px, rng)
    drawn = same[:, 0] * len(index) + same[:, 1]
    near_by = near_by[~np.isin(near_by[:, 0] * len(index) + near_by[:, 1], drawn)]
    return pd.concat([headline, _shuffled({HARD: near_by}, rng)], ignore_index=True)


def viewing_rays(frame: pd.DataFrame, tracks: pd.DataFrame, centres: Mapping[int, FloatArray], origin: Path) -> FloatArray:
    """Return the vectors (N,3) from the surface points of patches to the cameras that see them, NaN for a camera of no pose.

    Args:
        frame: the patches of one subject, columns point_id and image_id.
        tracks: columns point_id, x, y, z of the `tracks` table. Of a face that moves they hold at the reference moment, so a ray
            to a later view is wrong by as much as the point moved over its distance from the camera: less than a degree.
        centres: camera centre (3,) by image_id, in the world of the tracks.
        origin: where the tracks are from, for the message.

    Raises:
        PorePatchError: if a point of the patches is not among the tracks.
    """
    xyz = (
        tracks.drop_duplicates("point_id").set_index("point_id")[["x", "y", "z"]].reindex(frame["point_id"]).to_numpy(np.float64)
    )
    if np.isnan(xyz).any():
        raise PorePatchError(f"The tracks {origin} lack points of the patches cut from them; delete the patches and run again.")
    nowhere = np.full(3, np.nan)
    image_ids, number = np.unique(frame["image_id"], return_inverse=True)
    return np.array([centres.get(int(image_id), nowhere) for image_id in image_ids])[number] - xyz


def camera_centres(images: Path, model: Path | None) -> dict[int, FloatArray]:
    """Return the camera centre (3,) of every view whose pose is known, by image_id: of the model if given, else of the images."""
    if model is None:
        return {view.image_id: view.pose.centre for view in read_views(images) if view.pose is not None}
    if read_json(Path(model) / "status.json")["status"] != "ok":
        return {}
    return {image_id: pose.centre for image_id, pose in read_model(Path(model) / "model").poses.items()}


def patch_regions(frame: pd.DataFrame, truth: SubjectTruth) -> NDArray[np.object_]:
    """Return the part of the face (N,) under the centres of patches of one subject, a name of REGIONS; "" for no place."""
    image_id, xy = frame["image_id"].to_numpy(), frame[["x", "y"]].to_numpy(np.float64)
    region = np.full(len(frame), "", object)
    for view in np.unique(image_id):
        rows = np.flatnonzero(image_id == view)
        places = locate(truth, int(view), xy[rows])
        names = np.array(REGIONS, object)[regions_of(truth, places)]
        region[rows] = np.where(places.known, names, "")
    return region


def annotated(pairs: pd.DataFrame, index: pd.DataFrame, ray: FloatArray, region: NDArray[np.object_]) -> pd.DataFrame:
    """Add to pairs of rows of `index` the columns angle_deg, octaves and region of the `test pairs` table.

    `ray` (N,3) points from the surface point of each patch to its camera, in the world of its subject, NaN where unknown;
    `region` (N,) names the part of the face under it.
    """
    first, second = pairs["patch_1"].to_numpy(), pairs["patch_2"].to_numpy()
    subject, sigma = subject_numbers(index), index["sigma"].to_numpy(np.float64)
    angle_deg = np.rad2deg(angles_between(ray[first], ray[second]))
    known = (subject[first] == subject[second]) & np.isfinite(angle_deg)
    return pairs.assign(
        angle_deg=np.where(known, angle_deg, UNKNOWN).astype(np.float32),
        octaves=np.abs(np.log2(sigma[first] / sigma[second])).astype(np.float32),
        region=region[first],
    )


def _both_kinds(points: PatchPoints, wanted: int, distance_px: float, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Draw non-matches of one subject and of two, half of each; where one kind runs out the other fills up."""
    half = wanted // 2 if points.share("cross") else 0
    cross = draw_non_matches(points, half, distance_px, rng, "cross")
    same = draw_non_matches(points, wanted - len(cross), distance_px, rng, "same")
    if half and len(same) + len(cross) < wanted:
        cross = draw_non_matches(points, wanted - len(same), distance_px, rng, "cross")
    if half and (short := wanted // 2 - min(len(same), len(cross))) > 0:
        _LOG.warning(
            "One kind of non-matches is %d short, so there are %d of one subject, %d of two.", short, len(same), len(cross)
        )
    return same, cross


def _shuffled(kinds: Mapping[str, IntArray], rng: np.random.Generator) -> pd.DataFrame:
    """Return pairs (N,2) of several kinds in random order and with their patches in random roles."""
    rows = np.concatenate(list(kinds.values()))
    kind = np.repeat(np.array(list(kinds), object), [len(of_kind) for of_kind in kinds.values()])
    order = rng.permutation(len(rows))
    # The lower row is that of the point first seen: without this, patch 1 would not lie everywhere on the face alike.
    first, second = rng.permuted(rows[order], axis=1).T
    return pd.DataFrame({"patch_1": first, "patch_2": second, "is_match": kind[order] == "match", "kind": kind[order]})
