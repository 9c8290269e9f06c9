"""Files of the ETH local-feature evaluation: keypoints, descriptors and matches in `.bin`, and the list of image pairs.

Schonberger et al., "Comparative Evaluation of Hand-Crafted and Learned Local Features", CVPR 2017; layout from
https://github.com/ahojnnes/local-feature-evaluation, INSTRUCTIONS.md: int32 rows, int32 columns, then the matrix row by row,
little-endian; float32, or uint32 counted from 0 for matches. Keypoints are x, y, scale, orientation. Their own keypoints were
exported from COLMAP with half a pixel subtracted (scripts/colmap_export.py): the centre of the first pixel is (0, 0), as here,
so positions are taken and given bit for bit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.features.arrays import Features, checked_features, read_bytes
from porepatch_lib.features.names import split_pair
from porepatch_lib.files import atomic_path, write_text

KEYPOINTS, DESCRIPTORS, MATCHES = "keypoints", "descriptors", "matches"
PAIR_LIST = "image-pairs.txt"
JOINT = "---"
_HEADER = struct.Struct("<ii")
_KEYPOINT_COLUMNS, _MATCH_COLUMNS = 4, 2
_MINUS_ONE = 2**32 - 1
_MEND_FEATURES = "every image needs one, with 0 rows where it has no keypoint"


def read_features(folder: Path, names: Sequence[str]) -> Features:
    """Read keypoints and descriptors of one image, called by the first of `names` that has a file.

    Raises:
        PorePatchError: if a file is missing or damaged, or the two do not fit together.
    """
    name = next((name for name in names if (folder / KEYPOINTS / f"{name}.bin").is_file()), names[0])
    places = [folder / kind / f"{name}.bin" for kind in (KEYPOINTS, DESCRIPTORS)]
    keypoints = read_matrix(places[0], "<f4", _KEYPOINT_COLUMNS)
    descriptors = read_matrix(places[1], "<f4")
    if len(descriptors) and descriptors.shape[1] == 0:
        raise PorePatchError(f"The descriptors {places[1]} have no columns; describe the image again.")
    return checked_features(keypoints[:, :2], keypoints[:, 2], keypoints[:, 3], descriptors, f"The image {name} in {folder}")


def read_matches(path: Path, counts: tuple[int, int]) -> NDArray[np.int64]:
    """Read the matches (M,2) of two images that have `counts` keypoints.

    Raises:
        PorePatchError: if the file is missing or damaged, or names a keypoint that does not exist.
    """
    matches = read_matrix(path, "<u4", _MATCH_COLUMNS).astype(np.int64)
    for column, count in enumerate(counts):
        beyond = matches[:, column] >= count
        if beyond.any():
            index = int(matches[np.argmax(beyond), column])
            meant = " (-1, which stands for no match and has no place here)" if index == _MINUS_ONE else ""
            raise PorePatchError(
                f"The matches {path} name keypoint {index}{meant} of an image with {count} keypoints, counted from 0; match "
                "these keypoints again."
            )
    return matches


def read_matrix(path: Path, dtype: str, columns: int | None = None) -> NDArray[Any]:
    """Read a matrix (rows, columns) of `dtype` "<f4" or "<u4"; without rows the file's own number of columns does not matter.

    Raises:
        PorePatchError: if the file is missing, is cut short or too long, or has another number of columns.
    """
    data = read_bytes(path, path.parent.name, _MEND_FEATURES)
    if len(data) < _HEADER.size:
        raise PorePatchError(f"The file {path} is cut short: it has {len(data)} bytes and not even its counts; write it again.")
    rows, width = _HEADER.unpack_from(data)
    if rows < 0 or width < 0:
        raise PorePatchError(
            f"The file {path} says it has {rows} rows and {width} columns; write int32 rows, int32 columns, then the matrix."
        )
    if rows and columns is not None and width != columns:
        raise PorePatchError(f"The file {path} has {width} columns where {columns} belong; write it again.")
    wanted = _HEADER.size + rows * width * np.dtype(dtype).itemsize
    if len(data) != wanted:
        trouble = "cut short" if len(data) < wanted else "too long"
        raise PorePatchError(
            f"The file {path} is {trouble}: {rows} rows of {width} columns take {wanted} bytes, not {len(data)}; write it again."
        )
    shape = (rows, width if rows or columns is None else columns)
    return np.frombuffer(data, dtype, offset=_HEADER.size).reshape(shape)


def write_matrix(path: Path, matrix: NDArray[Any], dtype: str) -> None:
    """Write a matrix (rows, columns) as `dtype`, "<f4" or "<u4"."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_HEADER.pack(*matrix.shape) + np.ascontiguousarray(matrix, dtype).tobytes())


def list_matches(folder: Path, known: Mapping[str, View]) -> dict[Path, tuple[View, View]]:
    """Return the files of matches in a folder, sorted by name, with the views they are of.

    Raises:
        PorePatchError: if there are none, or one is of an unknown image, of an image with itself, or of a pair that has another.
    """
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(".bin") and JOINT in path.name)
    if not paths:
        raise PorePatchError(f"The folder {folder} has no matches (<image>{JOINT}<image>.bin); match the images first.")
    found = {path: _known_pair(path.name.removesuffix(".bin"), JOINT, known, f"The file {path}") for path in paths}
    _require_pairs(list(found.values()), str(folder))
    return found


def read_image_pairs(path: Path, known: Mapping[str, View]) -> list[tuple[View, View]]:
    """Read a list of image pairs, one "<image> <image>" per line.

    Raises:
        PorePatchError: if there is no file, it is no text or lists nothing, or as `list_matches`.
    """
    try:
        text = read_bytes(path, "list of image pairs", "write one pair of image names per line").decode("utf-8")
    except UnicodeDecodeError:
        raise PorePatchError(f"The list of image pairs {path} is not UTF-8 text; write a pair of image names per line.") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise PorePatchError(f"The list of image pairs {path} is empty; write one pair of image names per line.")
    pairs = [_known_pair(line, " ", known, f"Line {number} of {path}") for number, line in lines]
    _require_pairs(pairs, str(path))
    return pairs


def write_image_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write a list of image pairs."""
    write_text(path, "".join(f"{one} {two}\n" for one, two in pairs))


def _known_pair(text: str, joint: str, known: Mapping[str, View], where: str) -> tuple[View, View]:
    pair = split_pair(text, joint, known)
    if pair is None:
        raise PorePatchError(
            f"{where} names the pair '{text}', not both of them images of the subject; correct the names, or take it away."
        )
    return pair


def _require_pairs(pairs: Sequence[tuple[View, View]], where: str) -> None:
    seen = set()
    for one, two in pairs:
        if one.image_id == two.image_id:
            raise PorePatchError(f"{where} has a pair of the image {one.name} with itself; take it away.")
        key = frozenset((one.image_id, two.image_id))
        if key in seen:
            raise PorePatchError(f"{where} has the pair of {one.name} and {two.name} twice; keep one.")
        seen.add(key)
