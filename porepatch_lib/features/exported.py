"""Our features and matches of a subject for others: a whole dataset of the ETH layout, or files of hloc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.decode import read_image_bytes, write_png
from porepatch_lib.captures.views import View, load_colour
from porepatch_lib.features import eth_files, hloc_files
from porepatch_lib.features.arrays import Features
from porepatch_lib.features.names import exported_names
from porepatch_lib.features.plain_images import without_metadata
from porepatch_lib.files import atomic_folder
from porepatch_lib.keypoints.keypoints import Keypoints, read_views_and_keypoints
from porepatch_lib.matching.match import descriptors_by_image, matches_by_pair
from porepatch_lib.progress import progress
from porepatch_lib.sfm.eth_database import write_eth_database

_UPRIGHT = 1

Pair = tuple[int, int]


@dataclass(frozen=True)
class _Subject:
    """Everything of a subject, by image_id; `descriptors` (N,D) as stored, `matches` by pair: indices (M,2), distance (M,)."""

    views: Sequence[View]
    names: Mapping[int, str]
    keypoints: Mapping[int, Keypoints]
    descriptors: Mapping[int, NDArray[Any]]
    matches: Mapping[Pair, tuple[NDArray[np.int64], NDArray[np.float32]]]

    def pairs(self) -> list[Pair]:
        """All pairs of views."""
        return list(combinations([view.image_id for view in self.views], 2))

    def pair_matches(self, pair: Pair) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Matches of a pair, none where it has none."""
        return self.matches.get(pair, (np.empty((0, 2), np.int64), np.empty(0, np.float32)))


def export_features(
    images: str | Path,
    keypoints: str | Path,
    descriptors: str | Path,
    matches: str | Path,
    output_eth: str | Path,
    output_features: str | Path,
    output_matches: str | Path,
) -> None:
    """Write features and matches of a subject as a whole dataset of the ETH layout, and as hloc's HDF5 files for its images.

    Keypoints and matches of the ETH layout come back as they were, positions bit for bit; descriptors as float32. Those of hloc
    keep the precision of descriptors; its orientations are in degrees, so they come back within 1e-6 rad.

    Args:
        images, keypoints, descriptors, matches: as of the stages; row i of `descriptors` describes row i of `keypoints`.
        output_eth: the folder to write, from which anybody's features can be evaluated. `images/`: the upright photographs, JPEG
            and PNG files of the same pixels where they are upright already and PNG where not, without EXIF. `database.db`: their
            cameras. `keypoints/`, `descriptors/`: one file per image. `matches/` and `image-pairs.txt`: every pair of images,
            with 0 rows where it has no matches.
        output_features: keypoints and scales (float32), orientations and descriptors, by image.
        output_matches: matches by pair; those of L2-normalised descriptors at distance d get hloc's score 1 - d^2 / 4.

    Raises:
        PorePatchError: if the files do not belong together, two images would get one name, or a keypoint has two matches in an
            image.
    """
    subject = _read(images, keypoints, descriptors, matches)
    _write_eth(subject, output_eth)
    _write_hloc(subject, output_features, output_matches)


def _write_eth(subject: _Subject, output_folder: str | Path) -> None:
    width = next((rows.shape[1] for rows in subject.descriptors.values()), 0)
    with atomic_folder(output_folder) as folder:
        (folder / "images").mkdir()
        for view in progress(subject.views, "exporting", "image"):
            _write_image(view, folder / "images" / subject.names[view.image_id])
        write_eth_database(folder / "database.db", subject.views, subject.names)
        for view in subject.views:
            name, found = subject.names[view.image_id], subject.keypoints.get(view.image_id)
            rows = subject.descriptors.get(view.image_id, np.empty((0, width), np.float32))
            eth_files.write_matrix(folder / eth_files.KEYPOINTS / f"{name}.bin", _eth_keypoints(found), "<f4")
            eth_files.write_matrix(folder / eth_files.DESCRIPTORS / f"{name}.bin", rows, "<f4")
        for pair in subject.pairs():
            joined = eth_files.JOINT.join(subject.names[image_id] for image_id in pair)
            eth_files.write_matrix(folder / eth_files.MATCHES / f"{joined}.bin", subject.pair_matches(pair)[0], "<u4")
        listed = [(subject.names[one], subject.names[two]) for one, two in subject.pairs()]
        eth_files.write_image_pairs(folder / eth_files.PAIR_LIST, listed)


def _write_hloc(subject: _Subject, output_features: str | Path, output_matches: str | Path) -> None:
    width = next((rows.shape[1] for rows in subject.descriptors.values()), 0)
    features = {}
    for view in subject.views:
        found = subject.keypoints.get(view.image_id, _no_keypoints())
        rows = subject.descriptors.get(view.image_id, np.empty((0, width), np.float32))
        plain = Features(found.xy, found.sigma, found.angle, np.asarray(rows))
        features[subject.names[view.image_id]] = (plain, found.response, (view.camera.width, view.camera.height))
    counts = {view.image_id: len(subject.keypoints.get(view.image_id, ())) for view in subject.views}
    scored = {}
    for one, two in subject.pairs():
        indices, distance = subject.pair_matches((one, two))
        score = np.clip(1.0 - distance**2 / 4.0, 0.0, 1.0)
        scored[subject.names[one], subject.names[two]] = (indices, score, (counts[one], counts[two]))
    hloc_files.write_features(Path(output_features), features)
    hloc_files.write_matches(Path(output_matches), scored)


def _read(images: str | Path, keypoints: str | Path, descriptors: str | Path, matches: str | Path) -> _Subject:
    views, found = read_views_and_keypoints(images, keypoints)
    grouped = {
        pair: (rows[["keypoint_id_1", "keypoint_id_2"]].to_numpy(np.int64), rows["distance"].to_numpy(np.float32))
        for pair, rows in matches_by_pair(matches, found).items()
    }
    ordered = list(views.values())
    return _Subject(ordered, exported_names(ordered), found, descriptors_by_image(keypoints, descriptors), grouped)


def _write_image(view: View, target: Path) -> None:
    plain = without_metadata(read_image_bytes(view.path)) if view.orientation == _UPRIGHT else None
    if plain is None:
        write_png(target, load_colour(view))
    else:
        target.write_bytes(plain)


def _eth_keypoints(keypoints: Keypoints | None) -> NDArray[np.float32]:
    found = keypoints if keypoints is not None else _no_keypoints()
    return np.column_stack([found.x, found.y, found.sigma, found.angle])


def _no_keypoints() -> Keypoints:
    none, index = np.empty(0, np.float32), np.empty(0, np.int8)
    return Keypoints(none, none, none, none, none, index, index)
