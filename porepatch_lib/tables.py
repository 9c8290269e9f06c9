"""The tables that flow between stages: columns, types and units, checked on read and on write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path


@dataclass(frozen=True)
class Table:
    """A named table: its Arrow schema. Every column is required and none may be null."""

    name: str
    schema: pa.Schema


def _table(title: str, **columns: pa.DataType) -> Table:
    return Table(title, pa.schema([pa.field(key, kind, nullable=False) for key, kind in columns.items()]))


# One row per photograph. `path` and `mask_path` are relative to the table's folder, or absolute;
# `mask_path` is "" where there is no mask. `orientation` is the EXIF code to apply on loading (1..8);
# width and height hold after it. Camera parameters follow COLMAP's models, except that the centre of
# the first pixel is (0, 0). `rotation` (row-major 3x3) and `translation` take world to camera, are
# NaN where no pose is known; `metric` says that world units are millimetres. `focal_is_prior` says the focal
# length is more than a guess. `sha256` is that of the user's file.
IMAGES = _table(
    "images",
    image_id=pa.int32(),
    name=pa.string(),
    path=pa.string(),
    mask_path=pa.string(),
    sha256=pa.string(),
    orientation=pa.int8(),
    width=pa.int32(),
    height=pa.int32(),
    camera_id=pa.int32(),
    camera_model=pa.string(),
    camera_params=pa.list_(pa.float64()),
    focal_is_prior=pa.bool_(),
    has_pose=pa.bool_(),
    metric=pa.bool_(),
    rotation=pa.list_(pa.float64()),
    translation=pa.list_(pa.float64()),
)

# How good a view is, one row per photograph, sorted by image_id. `sharpness` compares fine with coarse contrast inside the
# mask. `mean_grey` 0..255 and the shares of nearly black and of saturated pixels are of the mask too; `mask_share` is of the
# image. `near_copy_of` is the image_id of an earlier view of almost the same pixels, or -1. `pixels_per_mm` is that of the
# face, 0 where unknown; `scale_from` says how it is known: "rig", "eyes" or "".
QUALITY = _table(
    "quality",
    image_id=pa.int32(),
    name=pa.string(),
    sharpness=pa.float32(),
    is_blurred=pa.bool_(),
    mean_grey=pa.float32(),
    dark_share=pa.float32(),
    saturated_share=pa.float32(),
    mask_share=pa.float32(),
    near_copy_of=pa.int32(),
    pixels_per_mm=pa.float32(),
    scale_from=pa.string(),
    keypoints=pa.int32(),
)

# One row per keypoint, sorted by image_id then keypoint_id (0..n-1 inside an image). x, y, sigma in
# pixels of the image, pixel centre = integer; angle in radians (0 = upright). `octave` and `level` are
# the detector's own scale indices.
KEYPOINTS = _table(
    "keypoints",
    image_id=pa.int32(),
    keypoint_id=pa.int32(),
    x=pa.float32(),
    y=pa.float32(),
    sigma=pa.float32(),
    angle=pa.float32(),
    response=pa.float32(),
    octave=pa.int8(),
    level=pa.int8(),
)

# Image pairs to match, image_id_1 < image_id_2.
VIEW_PAIRS = _table("view pairs", image_id_1=pa.int32(), image_id_2=pa.int32())

# One row per putative match. `distance` is the descriptor distance, `ratio` is distance over the
# second-nearest distance, seen from image 1 (of guided matches the larger of both sides'; 0 where unknown).
MATCHES = _table(
    "matches",
    image_id_1=pa.int32(),
    image_id_2=pa.int32(),
    keypoint_id_1=pa.int32(),
    keypoint_id_2=pa.int32(),
    distance=pa.float32(),
    ratio=pa.float32(),
)

# One row per observation of a triangulated point, sorted by point_id then image_id. x, y, z in world
# units (mm where the rig is metric). Errors in pixels, the largest angle between viewing rays in radians.
TRACKS = _table(
    "tracks",
    point_id=pa.int64(),
    image_id=pa.int32(),
    keypoint_id=pa.int32(),
    x=pa.float64(),
    y=pa.float64(),
    z=pa.float64(),
    reprojection_error_px=pa.float32(),
    triangulation_angle_rad=pa.float32(),
    track_length=pa.int32(),
)

# One row per patch, row-aligned with patches.npy. x, y, sigma locate the keypoint in its image; the
# patch side is crop_factor * sigma pixels. (subject, point_id) names a surface point.
PATCHES = _table(
    "patches",
    subject=pa.string(),
    point_id=pa.int64(),
    image_id=pa.int32(),
    keypoint_id=pa.int32(),
    x=pa.float32(),
    y=pa.float32(),
    sigma=pa.float32(),
    octave=pa.int8(),
    level=pa.int8(),
    crop_factor=pa.float32(),
)

# Labelled pairs of rows of the patch store.
PATCH_PAIRS = _table("patch pairs", patch_1=pa.int64(), patch_2=pa.int64(), is_match=pa.bool_())

HARD = "hard"  # kind of the non-matches that stand beside the headline, never in it

UNKNOWN = -1.0  # an angle or a difference of scale of test pairs that is not known

# Labelled pairs of rows of a test set, with what they are divided by. `kind`: "match", "same_subject", "cross_subject", "hard" (a
# non-match near by in the same photograph; never part of the headline), or "given" (a non-match of somebody else's list).
# `angle_deg` is the angle between the two viewing directions, `octaves` |log2(sigma_1 / sigma_2)|, both -1 where unknown;
# `region` is the part of the face under patch 1, "" where unknown.
TEST_PAIRS = _table(
    "test pairs",
    patch_1=pa.int64(),
    patch_2=pa.int64(),
    is_match=pa.bool_(),
    kind=pa.string(),
    angle_deg=pa.float32(),
    octaves=pa.float32(),
    region=pa.string(),
)


def to_arrow(frame: pd.DataFrame, table: Table, origin: str | Path) -> pa.Table:
    """Convert `frame` to exactly the declared columns; `origin` names it in the error message."""
    _require_columns(list(frame.columns), table, origin)
    for name in table.schema.names:
        if frame[name].isna().any():
            raise PorePatchError(f"The {table.name} table {origin} has empty cells in column '{name}'.")
    try:
        return pa.Table.from_pandas(frame[table.schema.names], schema=table.schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise PorePatchError(f"The {table.name} table {origin} has a column of the wrong type: {error}.") from error


def write_table(path: str | Path, frame: pd.DataFrame, table: Table) -> None:
    """Check `frame` against `table` and write it as Parquet, whole or not at all."""
    arrow = to_arrow(frame, table, path)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)


def read_table(path: str | Path, table: Table) -> pd.DataFrame:
    """Read a Parquet file and check that it holds exactly the declared columns and types."""
    try:
        arrow = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise PorePatchError(f"Cannot read the {table.name} table {path} ({error}); delete it and run again.") from error
    _require_columns(arrow.schema.names, table, path)
    for field in table.schema:
        if arrow.schema.field(field.name).type != field.type:
            raise PorePatchError(
                f"Column '{field.name}' of {path} is {arrow.schema.field(field.name).type}, not {field.type}; "
                "it was written by another version: delete it and run again."
            )
    return arrow.to_pandas()


def empty_frame(table: Table) -> pd.DataFrame:
    """Return a frame with the declared columns and no rows."""
    return table.schema.empty_table().to_pandas()


def _require_columns(found: list[str], table: Table, origin: str | Path) -> None:
    missing = [name for name in table.schema.names if name not in found]
    unknown = [name for name in found if name not in table.schema.names]
    if missing or unknown:
        raise PorePatchError(
            f"The {table.name} table {origin} has missing columns {missing} and unknown columns {unknown}; "
            "it was written by another version: delete it and run again."
        )
