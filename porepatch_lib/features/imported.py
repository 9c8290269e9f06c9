"""Anybody's features and matches of a subject of ours: ETH folders or hloc files -> our tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.features import eth_files, hloc_files
from porepatch_lib.features.arrays import Features
from porepatch_lib.features.names import known_names
from porepatch_lib.files import write_array
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints, write_keypoints
from porepatch_lib.matching.match import matches_frame
from porepatch_lib.matching.nearest import Matches
from porepatch_lib.progress import progress
from porepatch_lib.tables import MATCHES, empty_frame, write_table

_log = logging.getLogger(__name__)

# Positions of other programs may lie on the rim, or be counted from 1.
_SLACK_PX = 1.0
_HDF5_SUFFIXES = (".h5", ".hdf5")


def import_features(images: str | Path, source: str | Path, output_keypoints: str | Path, output_descriptors: str | Path) -> None:
    """Read the features of every view and write them as the `keypoints` table and its descriptors (.npy, float32).

    Response is 1, octave and level are 0; a scale that is not given, or 0, becomes a sigma of 1.

    Args:
        images: the views; features are found by their names.
        source: a folder of the ETH layout, with `keypoints/` and `descriptors/`, or an HDF5 file of hloc.
        output_keypoints: the table to write.
        output_descriptors: row i describes row i of the table.

    Raises:
        PorePatchError: if `source` is neither, is damaged, lacks a view, or has keypoints outside of their image or
            descriptors of several lengths.
    """
    views, source = read_views(images), Path(source)
    known = known_names(views)
    is_hdf5 = _is_hdf5(source)
    features = hloc_files.read_features(source, known) if is_hdf5 else _eth_features(source, views, known)
    for view in views:
        _require_inside(view, features[view.image_id], source, _SLACK_PX + (_half_step_px(views) if is_hdf5 else 0.0))
    descriptors = _stacked({view.name: features[view.image_id].descriptors for view in views}, source)
    _log.info("%d features of %d images, %d values each.", len(descriptors), len(views), descriptors.shape[1])
    write_keypoints(output_keypoints, {view.image_id: _keypoints(features[view.image_id]) for view in views})
    write_array(output_descriptors, descriptors)


def import_matches(images: str | Path, keypoints: str | Path, source: str | Path, output: str | Path) -> None:
    """Read matches of the imported keypoints and write the `matches` table; distance and ratio, being unknown, are 0.

    Args:
        images: the views.
        keypoints: the table that `import_features` wrote.
        source: the folder `matches` of the ETH layout or one that holds it, or an HDF5 file of hloc. A list
            `image-pairs.txt` beside the files or their folder says which pairs count; without it all do.
        output: the table to write, sorted by pair.

    Raises:
        PorePatchError: if `source` is neither, is damaged or has no pair, a pair is unknown, there twice or of one image with
            itself, a listed pair has no file, or a keypoint does not exist.
    """
    views, source = read_views(images), Path(source)
    known = known_names(views)
    counts = {view.image_id: 0 for view in views} | {key: len(found) for key, found in read_keypoints(keypoints).items()}
    matches = hloc_files.read_matches(source, known, counts) if _is_hdf5(source) else _eth_matches(source, known, counts)
    ordered = dict(sorted((pair if pair[0] < pair[1] else pair[::-1], pair) for pair in matches))
    frames = [
        matches_frame(*key, _of_unknown_distance(matches[pair] if key == pair else matches[pair][:, ::-1]))
        for key, pair in ordered.items()
    ]
    _log.info("%d matches of %d pairs.", sum(map(len, frames)), len(frames))
    full = [frame for frame in frames if len(frame)]
    write_table(output, pd.concat(full, ignore_index=True) if full else empty_frame(MATCHES), MATCHES)


def _is_hdf5(source: Path) -> bool:
    """Whether `source` is to be an HDF5 file. Raises PorePatchError if it is neither that nor a folder."""
    if source.is_dir():
        return False
    if not source.exists():
        raise PorePatchError(f"There are no features or matches at {source}; correct the path.")
    if source.suffix.lower() not in _HDF5_SUFFIXES:
        raise PorePatchError(f"{source} is neither a folder of the ETH layout nor an HDF5 file (.h5) of hloc; give one of them.")
    return True


def _eth_features(source: Path, views: list[View], known: Mapping[str, View]) -> dict[int, Features]:
    for kind in (eth_files.KEYPOINTS, eth_files.DESCRIPTORS):
        if not (source / kind).is_dir():
            raise PorePatchError(f"The folder {source} has no folder {kind}; give one that holds keypoints/ and descriptors/.")
    unknown = [path.name for path in (source / eth_files.KEYPOINTS).glob("*.bin") if path.name.removesuffix(".bin") not in known]
    if unknown:
        _log.warning("%s has keypoints of %d images that are no views (%s ...).", source, len(unknown), min(unknown))
    names = {view.image_id: [view.name, *(name for name, other in known.items() if other is view)] for view in views}
    return {view.image_id: eth_files.read_features(source, names[view.image_id]) for view in progress(views, "reading", "image")}


def _eth_matches(source: Path, known: Mapping[str, View], counts: Mapping[int, int]) -> dict[tuple[int, int], NDArray[np.int64]]:
    folder = source / eth_files.MATCHES if (source / eth_files.MATCHES).is_dir() else source
    files = {(one.image_id, two.image_id): path for path, (one, two) in eth_files.list_matches(folder, known).items()}
    listed = _listed_pairs([folder, folder.parent], known)
    if listed is not None:
        missing = [pair for pair in listed if not files.keys() & {pair, pair[::-1]}]
        if missing:
            one, two = ({view.image_id: view.name for view in known.values()}[image_id] for image_id in missing[0])
            raise PorePatchError(f"{folder} has no matches of {one} and {two}, which the list of pairs names; match them.")
        files = {pair: path for pair, path in files.items() if listed & {pair, pair[::-1]}}
    read = progress(files.items(), "reading", "pair", len(files))
    return {pair: eth_files.read_matches(path, (counts[pair[0]], counts[pair[1]])) for pair, path in read}


def _listed_pairs(folders: list[Path], known: Mapping[str, View]) -> set[tuple[int, int]] | None:
    for folder in folders:
        if (folder / eth_files.PAIR_LIST).is_file():
            pairs = eth_files.read_image_pairs(folder / eth_files.PAIR_LIST, known)
            return {(one.image_id, two.image_id) for one, two in pairs}
    return None


def _half_step_px(views: list[View]) -> float:
    """Half the step of half precision at the far side of the largest image: rounding may go beyond the rim by that."""
    longest = max(max(view.camera.width, view.camera.height) for view in views)
    return float(np.spacing(np.float16(longest))) / 2.0


def _require_inside(view: View, features: Features, source: Path, slack_px: float) -> None:
    size = np.array([view.camera.width, view.camera.height])
    outside = ((features.xy < -slack_px) | (features.xy > size - 1 + slack_px)).any(axis=1)
    if outside.any():
        x, y = features.xy[np.argmax(outside)]
        raise PorePatchError(
            f"{outside.sum()} of {len(features)} keypoints of {view.name} in {source} lie outside its {size[0]}x{size[1]} pixels "
            f"(one at {x:.1f}, {y:.1f}): they are of an image of another size, or not upright; extract them from this one."
        )


def _stacked(descriptors: Mapping[str, NDArray[np.float32]], source: Path) -> NDArray[np.float32]:
    """All rows; images without rows may have any number of columns."""
    lengths: dict[int, str] = {}
    for name, rows in descriptors.items():
        if len(rows):
            lengths.setdefault(rows.shape[1], name)
    if len(lengths) > 1:
        (one, first), (two, second) = list(lengths.items())[:2]
        raise PorePatchError(
            f"The descriptors of {source} have {one} values for {first} but {two} for {second}; describe all images alike."
        )
    width = next(iter(lengths), max((rows.shape[1] for rows in descriptors.values()), default=0))
    return np.concatenate([np.empty((0, width), np.float32), *(rows for rows in descriptors.values() if len(rows))])


def _keypoints(features: Features) -> Keypoints:
    rows = len(features)
    none = np.zeros(rows, np.int8)
    x, y = np.ascontiguousarray(features.xy.T)
    return Keypoints(x, y, features.sigma, features.angle, np.ones(rows, np.float32), none, none)


def _of_unknown_distance(indices: NDArray[np.int64]) -> Matches:
    unknown = np.zeros(len(indices), np.float32)
    return Matches(indices[:, 0], indices[:, 1], unknown, unknown)
