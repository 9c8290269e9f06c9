"""Files of hloc (cvg/Hierarchical-Localization): features and matches in HDF5.

Features: one group per image, called by its name ("/" in it makes groups in groups), with `keypoints` (N,2), the centre of the
first pixel at (0, 0) as here (hloc adds 0.5 on its way to COLMAP), `descriptors` (D,N), maybe `scales` (N,) in pixels and `oris`
(N,) in degrees. Floats are often in half precision. Matches: one group `<image 1>/<image 2>` per pair, "/" in names replaced by
"-" (before 2021 one group `<image 1>_<image 2>`), with `matches0` (N,), the index in image 2 of every keypoint of image 1 or -1.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.features.arrays import Features, checked_features
from porepatch_lib.features.names import split_pair, view_of
from porepatch_lib.files import atomic_path

if TYPE_CHECKING:
    import h5py

_log = logging.getLogger(__name__)

_KEYPOINTS, _DESCRIPTORS, _MATCHES = "keypoints", "descriptors", "matches0"
_OLD_JOINT = "_"
_INT16_MAX = 2**15 - 1


def read_features(path: Path, known: Mapping[str, View]) -> dict[int, Features]:
    """Read the features of all views, by image_id. `known`: the views by their names.

    Raises:
        PorePatchError: if the file is no whole HDF5 file, a view has no group or two, or a group lacks a part, has one of a
            wrong shape or type, numbers that are not finite, or not as many descriptors as keypoints.
    """
    with _opened(path) as file:
        groups: dict[int, str] = {}
        for key in _groups_with(file, _KEYPOINTS):
            view = view_of(key, known, "/", str(path))
            if view is not None and view.image_id in groups:
                raise PorePatchError(
                    f"The file {path} has two groups for the image {view.name} ({groups[view.image_id]}, {key}); remove one."
                )
            if view is not None:
                groups[view.image_id] = key
        for view in known.values():
            if view.image_id not in groups:
                raise PorePatchError(
                    f"The file {path} has no group '{view.name}' with keypoints; extract those of every image (of length 0 "
                    "where there are none)."
                )
        _warn_of_halves(file, groups.values(), path)
        return {image_id: _features(file[key], f"The group {key} of {path}") for image_id, key in sorted(groups.items())}


def read_matches(path: Path, known: Mapping[str, View], counts: Mapping[int, int]) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Read the matches (M,2) of all pairs, by the two image_ids as the file orders them. `counts`: keypoints by image_id.

    Raises:
        PorePatchError: if the file is no whole HDF5 file or has no matches, or a pair is of unknown images, of an image with
            itself or there twice, has not one entry per keypoint, or names a keypoint that does not exist.
    """
    with _opened(path) as file:
        keys = _groups_with(file, _MATCHES)
        if not keys:
            raise PorePatchError(f"The file {path} has no pair of images (groups with {_MATCHES}); match the images first.")
        found: dict[tuple[int, int], NDArray[np.int64]] = {}
        for key in keys:
            one, two = _pair(key, known, path)
            pair = (one.image_id, two.image_id)
            if pair in found or pair[::-1] in found:
                raise PorePatchError(f"The file {path} has the pair of {one.name} and {two.name} twice; remove one group.")
            where = f"The pair {key} of {path}"
            found[pair] = _pair_matches(file[key], (counts.get(one.image_id, 0), counts.get(two.image_id, 0)), where)
        return found


def write_features(path: Path, features: Mapping[str, tuple[Features, NDArray[np.float32], tuple[int, int]]]) -> None:
    """Write features by image name, with the response (N,) of every keypoint and the image's (width, height).

    Keypoints are float32; descriptors keep their type.
    """
    with _written(path) as file:
        for name, (found, response, size) in features.items():
            group = file.create_group(name)
            group.create_dataset(_KEYPOINTS, data=found.xy.astype(np.float32)).attrs["uncertainty"] = 1.0
            group.create_dataset(_DESCRIPTORS, data=np.ascontiguousarray(found.descriptors.T))
            group.create_dataset("scales", data=found.sigma.astype(np.float32))
            group.create_dataset("oris", data=np.rad2deg(found.angle).astype(np.float32))
            group.create_dataset("scores", data=response.astype(np.float32))
            group.create_dataset("image_size", data=np.array(size, np.int64))


def write_matches(
    path: Path, matches: Mapping[tuple[str, str], tuple[NDArray[np.int64], NDArray[np.float32], tuple[int, int]]]
) -> None:
    """Write the matches of every pair of image names: keypoint indices (M,2), scores (M,) and how many keypoints the two have.

    Raises:
        PorePatchError: if a keypoint of the first image has two matches, for which the layout has no place.
    """
    with _written(path) as file:
        for (one, two), (indices, score, counts) in matches.items():
            if len(np.unique(indices[:, 0])) != len(indices):
                raise PorePatchError(
                    f"A keypoint of {one} has two matches in {two}, for which {path} has no place; match mutual neighbours."
                )
            nearest = np.full(counts[0], -1, np.int16 if counts[1] <= _INT16_MAX else np.int32)
            scores = np.zeros(counts[0], np.float16)
            nearest[indices[:, 0]], scores[indices[:, 0]] = indices[:, 1], score
            group = file.create_group(f"{one.replace('/', '-')}/{two.replace('/', '-')}")
            group.create_dataset(_MATCHES, data=nearest)
            group.create_dataset("matching_scores0", data=scores)


@contextmanager
def _written(path: Path) -> Iterator[h5py.File]:
    """Fill a file in memory and write it whole: HDF5 itself crashes where the disk is full."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; whatever HDF5 raises of damaged content becomes one sentence."""
    import h5py

    if not path.is_file():
        raise PorePatchError(f"There is no file {path}; correct the path of the features or matches.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, UnicodeError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PorePatchError(f"The file {path} is not a whole HDF5 file ({what}); write or copy it again.") from error


def _groups_with(file: h5py.File, dataset: str) -> list[str]:
    """Names of all groups that hold a dataset called so, in the order of the file."""
    import h5py

    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.rpartition("/")[2] == dataset:
            names.append(name.rpartition("/")[0])

    file.visititems(visit)
    return names


def _features(group: Any, where: str) -> Features:
    xy = _array(group, _KEYPOINTS, "f", where)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise PorePatchError(f"{where} has keypoints of shape {xy.shape}, not (N, 2); extract the features again.")
    if _DESCRIPTORS not in group:
        raise PorePatchError(f"{where} has keypoints but no {_DESCRIPTORS}; extract the features again with a descriptor.")
    descriptors = _array(group, _DESCRIPTORS, "f", where)
    if descriptors.ndim != 2 or (len(xy) and descriptors.shape[0] == 0):
        raise PorePatchError(f"{where} has descriptors of shape {descriptors.shape}, not (D, N); extract the features again.")
    if descriptors.shape[1] != len(xy) == descriptors.shape[0]:
        raise PorePatchError(f"{where} has descriptors of shape {descriptors.shape}, one per row; hloc stores (D, N): turn them.")
    columns = {}
    for name in ("scales", "oris"):
        columns[name] = _array(group, name, "f", where) if name in group else np.zeros(len(xy), np.float32)
        if columns[name].shape != (len(xy),):
            raise PorePatchError(f"{where} has {name} of shape {columns[name].shape} for {len(xy)} keypoints; write it again.")
    angle = np.deg2rad(columns["oris"]).astype(np.float32)
    return checked_features(xy, columns["scales"], angle, np.ascontiguousarray(descriptors.T), where)


def _pair_matches(group: Any, counts: tuple[int, int], where: str) -> NDArray[np.int64]:
    nearest = _array(group, _MATCHES, "iu", where).astype(np.int64)
    if nearest.shape != (counts[0],):
        raise PorePatchError(
            f"{where} has {_MATCHES} of shape {nearest.shape} for an image with {counts[0]} keypoints; match its features again."
        )
    outside = (nearest < -1) | (nearest >= counts[1])
    if outside.any():
        raise PorePatchError(
            f"{where} names keypoint {nearest[np.argmax(outside)]} of an image with {counts[1]} keypoints, counted from 0 (hloc "
            f"keeps numbers up to {_INT16_MAX} only); match these features again."
        )
    first = np.flatnonzero(nearest >= 0)
    return np.stack([first, nearest[first]], axis=1)


def _array(group: Any, name: str, kinds: str, where: str) -> NDArray[Any]:
    """A dataset as float32, or as it is for integers."""
    import h5py

    item = group[name]
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in kinds:
        kind = item.dtype if isinstance(item, h5py.Dataset) else "a group"
        raise PorePatchError(
            f"{where} has {name} that are {kind}, not {'floats' if kinds == 'f' else 'integers'}; write it again."
        )
    values = item[()]
    return np.asarray(values, np.float32) if kinds == "f" else np.asarray(values)


def _warn_of_halves(file: h5py.File, keys: Any, path: Path) -> None:
    """Half precision has 11 bits: beyond 1024 px its steps are a pixel, beyond 2048 px two."""
    largest = 0.0
    for key in keys:
        keypoints = file[key][_KEYPOINTS]
        if getattr(keypoints, "dtype", None) == np.float16 and keypoints.size:
            largest = max(largest, float(np.nanmax(np.abs(keypoints[()]))))
    if largest:
        _log.warning(
            "The keypoints of %s are in half precision: at %.0f px their steps are %g px; extract them in full precision.",
            path,
            largest,
            float(np.spacing(np.float16(largest))),
        )


def _pair(key: str, known: Mapping[str, View], path: Path) -> tuple[View, View]:
    dashed = {name.replace("/", "-"): view for name, view in known.items()}
    parts: Sequence[str] = key.split("/")
    if len(parts) == 2:
        views = [view_of(part, dashed, "-", str(path)) for part in parts]
        pair = (views[0], views[1]) if views[0] and views[1] else None
    else:
        pair = split_pair(key, _OLD_JOINT, dashed)
    if pair is None or pair[0] is None or pair[1] is None:
        raise PorePatchError(f"The file {path} has a pair {key}, not both of them images of the subject; correct the names.")
    if pair[0].image_id == pair[1].image_id:
        raise PorePatchError(f"The file {path} has a pair of the image {pair[0].name} with itself; remove that group.")
    return pair[0], pair[1]
