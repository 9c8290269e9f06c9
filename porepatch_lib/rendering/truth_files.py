"""The files of the ground truth of one rendered subject, in its `truth` folder.

`depth_{image_id}.npy` (H,W) float32, z-depth in mm along the optical axis at pixel centres, NaN on the background;
`vertices.npy` (N,3) float32 world mm at the moment of the first view; `vertices_{image_id}.npy` the same for views taken when
the face had moved; `triangles.npy` (M,3) int32, outward by the right hand; `uv.npy` (N,2) float32 texture coordinates in mm;
`regions.npy` (N,) uint8, indices of `porepatch_lib.rendering.features.REGIONS`; `pores.parquet`, see PORES;
`cameras/`, the calibrated rig as a COLMAP text model. Views are those of the subject's `images.parquet`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, read_array, require_room, write_array
from porepatch_lib.geometry import FloatArray
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.truth import Depth, Mesh, SubjectTruth, appear, positions, regions_of, viewing_cosine
from porepatch_lib.sfm.colmap import posed_model
from porepatch_lib.tables import Table, write_table

LEAST_COSINE = 0.2  # skin seen more grazingly does not count as seen

# One row per pore. x, y, z: its centre on the mesh in world mm at the reference moment; radius (sigma of the pit) and depth in
# mm; contrast: darkness 0..1; region: a name of REGIONS; views: ascending image ids of the views that see it.
_NUMBERS = ("x", "y", "z", "radius_mm", "depth_mm", "contrast")
_COLUMNS: list[tuple[str, pa.DataType]] = [(name, pa.float32()) for name in _NUMBERS]
_COLUMNS += [("region", pa.string()), ("views", pa.list_(pa.int32()))]
PORES = Table("pores", pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS]))


def read_truth(images: str | Path, folder: str | Path) -> SubjectTruth:
    """Read the truth of one subject from its images table and its `truth` folder; raises as `truth_of`."""
    return truth_of(read_views(images), folder)


def truth_of(subject_views: Sequence[View], folder: str | Path) -> SubjectTruth:
    """Read the truth of the views of one subject from its `truth` folder; depths are memory-mapped.

    Raises:
        PorePatchError: if a file is missing or a view has no pose.
    """
    folder = Path(folder)
    views = {view.image_id: view for view in subject_views}
    triangles = _read(folder / "triangles.npy")
    moved = {image_id: folder / f"vertices_{image_id}.npy" for image_id in views}
    truth = SubjectTruth(
        views=views,
        depths={image_id: _read(depth_path(folder, image_id)) for image_id in views},
        reference=Mesh(_read(folder / "vertices.npy"), triangles),
        moved={image_id: Mesh(_read(path), triangles) for image_id, path in moved.items() if path.exists()},
        regions=_read(folder / "regions.npy"),
    )
    for image_id in views:
        truth.pose(image_id)
    return truth


def depth_path(folder: str | Path, image_id: int) -> Path:
    """Return the path of a view's depth in the `truth` folder."""
    return Path(folder) / f"depth_{image_id}.npy"


def write_depth(folder: str | Path, image_id: int, depth: Depth) -> None:
    """Write the z-depth (H,W) of a view."""
    write_array(depth_path(folder, image_id), depth.astype(np.float32))


def write_mesh(
    folder: str | Path,
    vertices: Mapping[int, FloatArray],
    triangles: NDArray[np.int32],
    uv: FloatArray,
    regions: NDArray[np.uint8],
) -> None:
    """Write the mesh of one head: vertices (N,3) mm by image_id, the lowest one's being the reference; uv (N,2) mm."""
    folder = Path(folder)
    reference = vertices[min(vertices)].astype(np.float32)
    write_array(folder / "vertices.npy", reference)
    write_array(folder / "triangles.npy", triangles.astype(np.int32))
    write_array(folder / "uv.npy", uv.astype(np.float32))
    write_array(folder / "regions.npy", regions.astype(np.uint8))
    for image_id, of_view in vertices.items():
        if not np.array_equal(of_view.astype(np.float32), reference):
            write_array(folder / f"vertices_{image_id}.npy", of_view.astype(np.float32))


def write_pores(
    folder: str | Path, truth: SubjectTruth, places: Places, radius_mm: FloatArray, depth_mm: FloatArray, contrast: FloatArray
) -> None:
    """Write the pores (N) of one head, and which views see them (not hidden, viewing cosine of at least LEAST_COSINE)."""
    centres = positions(truth.reference, places)
    frame = pd.DataFrame(
        {
            **{name: centres[:, axis] for axis, name in enumerate("xyz")},
            "radius_mm": radius_mm,
            "depth_mm": depth_mm,
            "contrast": contrast,
            "region": np.array(REGIONS, object)[regions_of(truth, places)],
            "views": seeing_views(truth, places),
        }
    )
    write_table(Path(folder) / "pores.parquet", frame, PORES)


def seeing_views(truth: SubjectTruth, places: Places) -> list[list[int]]:
    """Return for each place (N) the ascending image ids of the views that see it."""
    image_ids = np.array(sorted(truth.views), np.int32)
    seen = [
        np.isfinite(appear(truth, int(image_id), places)[:, 0]) & (viewing_cosine(truth, int(image_id), places) >= LEAST_COSINE)
        for image_id in image_ids
    ]
    return [image_ids[column].tolist() for column in np.array(seen).T]


def write_cameras(folder: str | Path, views: Sequence[View]) -> None:
    """Write the calibrated rig into `folder`/cameras as a COLMAP text model without points; images by their file names."""
    model = posed_model(views)
    with atomic_folder(Path(folder) / "cameras") as temporary:
        model.write_text(temporary)
        require_room(temporary)  # COLMAP does not see that a disk is full


def _read(path: Path) -> NDArray[Any]:
    if not path.exists():
        raise PorePatchError(f"There is no truth file {path}: only rendered captures have it; render the subject again.")
    return read_array(path)
