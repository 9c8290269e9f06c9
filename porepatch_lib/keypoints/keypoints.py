"""Keypoints of one image as arrays, and their table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.tables import KEYPOINTS, empty_frame, read_table, write_table


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image, N rows. x, y, sigma in pixels (pixel centre = integer), angle in radians.

    Floats are float32, `octave` and `level` int8 (the detector's own scale indices).
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    sigma: NDArray[np.float32]
    angle: NDArray[np.float32]
    response: NDArray[np.float32]
    octave: NDArray[np.int8]
    level: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def xy(self) -> NDArray[np.float32]:
        """Positions (N,2) in pixels."""
        return np.stack([self.x, self.y], axis=1)

    def select(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Keypoints:
        """Return the keypoints at `index` (integers or a boolean mask)."""
        return Keypoints(*(getattr(self, field.name)[index] for field in fields(self)))


def write_keypoints(path: str | Path, keypoints: Mapping[int, Keypoints]) -> None:
    """Write the keypoints of all images of a subject, {image_id: keypoints}, as the `keypoints` table."""
    frames = [_frame(image_id, keypoints[image_id]) for image_id in sorted(keypoints)]
    write_table(path, pd.concat(frames, ignore_index=True) if frames else empty_frame(KEYPOINTS), KEYPOINTS)


def read_keypoints(path: str | Path) -> dict[int, Keypoints]:
    """Read the keypoints of a subject as {image_id: keypoints}; images without keypoints are absent.

    Concatenated in ascending image_id the rows are the rows of the file, and of the descriptor files.
    """
    frame = read_table(path, KEYPOINTS)
    return {int(str(image_id)): keypoints_of(rows) for image_id, rows in frame.groupby("image_id", sort=True)}


def read_views_and_keypoints(images: str | Path, keypoints: str | Path) -> tuple[dict[int, View], dict[int, Keypoints]]:
    """Read the views of a subject and their keypoints, both by image_id; views without keypoints are absent in the latter.

    Raises:
        PorePatchError: if the keypoints belong to other images.
    """
    views = {view.image_id: view for view in read_views(images)}
    found = read_keypoints(keypoints)
    unknown = sorted(set(found) - set(views))
    if unknown:
        raise PorePatchError(f"The keypoints {keypoints} name images {unknown} that {images} lacks; detect them again.")
    return views, found


def keypoints_of(frame: pd.DataFrame) -> Keypoints:
    """Take the keypoint columns (x, y, sigma, angle, response, octave, level) out of a frame."""
    return Keypoints(
        *(frame[field.name].to_numpy(KEYPOINTS.schema.field(field.name).type.to_pandas_dtype()) for field in fields(Keypoints))
    )


def _frame(image_id: int, keypoints: Keypoints) -> pd.DataFrame:
    columns = {field.name: getattr(keypoints, field.name) for field in fields(keypoints)}
    rows = len(keypoints)
    return pd.DataFrame(
        {"image_id": np.full(rows, image_id, np.int32), "keypoint_id": np.arange(rows, dtype=np.int32), **columns}
    )
