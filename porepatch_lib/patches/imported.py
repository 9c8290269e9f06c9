"""Patch sets of other people as stores of ours: UBC PhotoTour, PorePatch, or what `export_phototour` wrote."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path
from porepatch_lib.patches.phototour_reader import (
    Interest,
    find_pair_list,
    list_sheets,
    read_cells,
    read_interest,
    read_pair_list,
    read_point_ids,
)
from porepatch_lib.patches.store import create_patches, open_store
from porepatch_lib.tables import PATCHES, TEST_PAIRS, UNKNOWN, write_table

logger = logging.getLogger(__name__)

_SPLITS = ("train", "validation", "verification")
_COMPARED = 500
_ALIKE = 0.05


@dataclass(frozen=True)
class PatchSetSettings:
    """A patch set of the configuration.

    path: folder with info.txt and the sheets.
    split: "train", "validation" or "verification".
    pairs: name of the pair list in the folder, for verification; None takes the only one, or m50_100000_100000_0.txt.
    crop_factor: patch side / sigma; None where unknown, stored as 0.
    validation_share: share of the surface points of a training set that is held out where nothing else validates.
    """

    path: str
    split: str
    pairs: str | None = None
    crop_factor: float | None = None
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        if not self.path:
            raise PorePatchError("A patch set has an empty path; give the folder that holds its info.txt.")
        if self.split not in _SPLITS:
            raise PorePatchError(f"The split of the patch set {self.path} is '{self.split}'; give one of {', '.join(_SPLITS)}.")
        if self.crop_factor is not None and not self.crop_factor > 0:
            raise PorePatchError(f"The crop_factor of the patch set {self.path} is {self.crop_factor}; give over 0, or null.")
        if not 0 < self.validation_share < 1:
            raise PorePatchError(
                f"The validation_share of the patch set {self.path} is {self.validation_share}; give a share between 0 and 1."
            )


def patch_set_folder(name: str, path: str) -> Path:
    """Return the folder of a patch set.

    Raises:
        PorePatchError: if it is not there.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise PorePatchError(f"The folder {folder} of the patch set {name} is not there; unpack the set and mend its path.")
    return folder


def patch_set_folders(sets: Mapping[str, Mapping[str, Any]], subjects: Collection[str]) -> dict[str, str]:
    """Return the folders of the patch sets of a configuration, by name.

    Raises:
        PorePatchError: if one is not there, has the name of a subject, beside whose results its own would stand, or if those that
            train one network have several crop factors.
    """
    for name in sets:
        if name in subjects:
            raise PorePatchError(f"The patch set '{name}' has the name of a subject of the sheet; choose another name.")
    trained = {name: one.get("crop_factor") for name, one in sets.items() if one["split"] in ("train", "validation")}
    if len(set(trained.values())) > 1:
        told = ", ".join(f"{name}: {factor or 'unknown'}" for name, factor in trained.items())
        raise PorePatchError(
            f"One network is trained on the patch sets of other crop_factors ({told}); give all the same, or none."
        )
    return {name: str(patch_set_folder(name, one["path"])) for name, one in sets.items()}


def patch_set_files(folder: str, pairs: str | None = None) -> list[str]:
    """Return what a patch set is made of, so that another version of any file is read again: its folder, lists and sheets."""
    root = Path(folder)
    lists = [root / name for name in ("info.txt", "interest.txt", *([pairs] if pairs else []))]
    found = {path for path in (*lists, *root.glob("*m50_*.txt"), *list_sheets(root)) if path.is_file()}
    return [folder, *sorted(str(path) for path in found)]


def import_patch_set(
    name: str,
    part: str,
    output_patches: Path,
    output_index: Path,
    output_pairs: Path | None,
    settings: PatchSetSettings,
    hold_out: bool,
    seed: int,
) -> None:
    """Write a patch set, or its part, as a store sorted by surface point and photograph.

    `keypoint_id` is the row of the patch in the original set, and the subject is `name`. Photographs are known where those of
    `interest.txt` tell all patches of a point apart; elsewhere every patch counts as its own photograph. There the file speaks of
    reference images, as UBC documents for its sets, not of the patch's own: its scales do not say how two views differ, and the
    column octaves is unknown.

    Args:
        name: name of the set.
        part: "train", "validation" or "verification".
        output_patches, output_index: uint8 (N,64,64) and the table `patches`.
        output_pairs: table `test pairs`, the given list in the rows of the store; None writes none.
        settings: where the set is and what is known of it.
        hold_out: validation_share of the points goes to the part "validation", the others to "train"; False takes all points.
        seed: same seed, same hold-out.

    Raises:
        PorePatchError: if a file is missing or damaged, files contradict each other, or the part would be empty.
    """
    folder = patch_set_folder(name, settings.path)
    point_ids = _points(name, folder)
    interest = read_interest(folder, len(point_ids))
    pair_list = find_pair_list(folder, settings.pairs) if output_pairs else None
    pairs = read_pair_list(pair_list, point_ids) if pair_list else None
    if pairs is not None and pairs.empty:
        raise PorePatchError(f"The pair list {pair_list} of the patch set {name} is empty; restore it, or name another one.")
    by_photograph = interest if interest and _tells_views(point_ids, interest.photograph) else None
    if by_photograph is None:
        logger.info("%s: the photographs of the patches are unknown; every patch counts as its own.", name)
    index = patch_index(name, point_ids, interest, settings.crop_factor, by_photograph is not None)
    if hold_out and part != "verification":
        chosen = held_out(point_ids, settings.validation_share, seed, name)
        index = index[index["point_id"].isin(chosen) == (part == "validation")].reset_index(drop=True)
    with atomic_path(output_patches) as temporary:
        _write_patches(temporary, folder, index["keypoint_id"].to_numpy(np.int64), len(point_ids))
        write_table(output_index, index, PATCHES)
        if output_pairs and pairs is not None:
            octaves = np.full(len(pairs), UNKNOWN) if by_photograph is None else scale_ratio(pairs, by_photograph.log2_scale)
            write_table(output_pairs, given_pairs(pairs, index["keypoint_id"].to_numpy(np.int64), octaves), TEST_PAIRS)
    _warn_of_wrong_order(name, folder, output_patches, output_index)
    logger.info("%s, %s: %d patches of %d points", name, part, len(index), index["point_id"].nunique())


def patch_index(
    name: str, point_ids: NDArray[np.int64], interest: Interest | None, crop_factor: float | None, photographs_known: bool
) -> pd.DataFrame:
    """Return the table `patches` of a whole set, sorted by point and photograph; no two are equal in both."""
    rows = np.arange(len(point_ids))
    index = pd.DataFrame(
        {
            "subject": name,
            "point_id": point_ids,
            "image_id": interest.photograph if interest and photographs_known else rows,
            "keypoint_id": rows,
            "x": interest.x if interest else 0.0,
            "y": interest.y if interest else 0.0,
            "sigma": np.exp2(interest.log2_scale) if interest else 1.0,
            "octave": 0,
            "level": 0,
            "crop_factor": crop_factor or 0.0,
        }
    )
    return index.sort_values(["point_id", "image_id"], ignore_index=True)


def held_out(point_ids: NDArray[np.int64], share: float, seed: int, name: str = "") -> NDArray[np.int64]:
    """Draw the surface points of a set that validate, round(share * points) of them, ascending.

    Raises:
        PorePatchError: if that is none or all of them.
    """
    points = np.unique(point_ids)
    count = round(share * len(points))
    if not 0 < count < len(points):
        raise PorePatchError(
            f"The patch set {name} has {len(points)} surface points, of which a validation_share of {share} leaves nothing to "
            f"{'train on' if count else 'validate on'}; give another share, or a set with split validation."
        )
    return np.sort(np.random.default_rng(seed).choice(points, count, replace=False))


def scale_ratio(pairs: pd.DataFrame, log2_scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |log2(sigma_1 / sigma_2)| of pairs of rows, in octaves."""
    return np.abs(log2_scale[pairs["patch_1"]] - log2_scale[pairs["patch_2"]])


def given_pairs(pairs: pd.DataFrame, order: NDArray[np.int64], octaves: NDArray[np.float64]) -> pd.DataFrame:
    """Return pairs of rows of a set as the table `test pairs` of the store whose row i is row order[i] of the set."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return pd.DataFrame(
        {
            "patch_1": place[pairs["patch_1"]],
            "patch_2": place[pairs["patch_2"]],
            "is_match": pairs["is_match"],
            "kind": np.where(pairs["is_match"], "match", "given"),
            "angle_deg": UNKNOWN,
            "octaves": octaves,
            "region": "",
        }
    )


def resemblance(patches: NDArray[np.uint8], point_ids: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    """Return the median correlation of two patches (N,64,64) of one point, and of two of different points; NaN where none are.

    At most 500 pairs of each are drawn; point_ids (N,) is sorted.
    """
    follows = np.flatnonzero(point_ids[:-1] == point_ids[1:])
    first = rng.permutation(follows)[:_COMPARED]
    pairs = rng.integers(len(point_ids), size=(2, _COMPARED))
    other = pairs[:, point_ids[pairs[0]] != point_ids[pairs[1]]]
    return _median_correlation(patches, first, first + 1), _median_correlation(patches, other[0], other[1])


def _median_correlation(patches: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    if len(first) == 0:
        return float("nan")
    a, b = (patches[rows].reshape(len(rows), -1).astype(np.float32) for rows in (first, second))
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    energy = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return float(np.median((a * b).sum(axis=1) / np.maximum(energy, 1.0)))


def _points(name: str, folder: Path) -> NDArray[np.int64]:
    if not (folder / "info.txt").is_file():
        below = sorted(str(path.parent) for path in folder.rglob("info.txt"))
        hint = f"give the path {' or '.join(below)}" if below else "without it nobody knows which patches match: restore it"
        raise PorePatchError(f"The folder {folder} of the patch set {name} has no info.txt; {hint}.")
    point_ids = read_point_ids(folder)
    if len(point_ids) == 0:
        raise PorePatchError(f"{folder / 'info.txt'} of the patch set {name} lists no patches; restore it.")
    return point_ids


def _tells_views(point_ids: NDArray[np.int64], photographs: NDArray[np.int64]) -> bool:
    """Whether no point has two patches of one photograph."""
    return not pd.DataFrame({"point": point_ids, "photograph": photographs}).duplicated().any()


def _write_patches(path: Path, folder: Path, order: NDArray[np.int64], count: int) -> None:
    """Write the store whose row i is patch order[i] of the set of `count` patches."""
    place = np.full(count, -1)
    place[order] = np.arange(len(order))
    create_patches(path, len(order))
    for first, cells in read_cells(folder, count):
        rows = place[first : first + len(cells)]
        # Opened anew for each sheet: pages of one map would stay in the memory of this process until all is written.
        patches = np.lib.format.open_memmap(path, mode="r+")
        patches[rows[rows >= 0]] = cells[rows >= 0]


def _warn_of_wrong_order(name: str, folder: Path, patches: Path, index: Path) -> None:
    array, frame = open_store(patches, index)
    same, other = resemblance(array, frame["point_id"].to_numpy(np.int64), np.random.default_rng(0))
    if same < other + _ALIKE:
        logger.warning(
            "%s: two patches of one point are no more alike (median correlation %.2f) than two of different points (%.2f); the "
            "sheets of %s may be in another order than info.txt, which follows their names sorted as text.",
            *(name, same, other, folder),
        )
