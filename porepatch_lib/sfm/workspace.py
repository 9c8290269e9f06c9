"""COLMAP's workspace of dense reconstruction: undistorted views, sparse model, depth and normal maps; and what runs in it.

COLMAP's multi-view stereo takes the centre of the first pixel to be (0, 0), unlike the rest of COLMAP, and reads the principal
point of the sparse model without moving it: with a model in COLMAP's own convention all rays are half a pixel off. The
workspace's cameras are therefore written in our convention, which is what stereo and fusion compute with.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.decode import write_png
from porepatch_lib.failures import disk_full
from porepatch_lib.files import require_room
from porepatch_lib.geometry import Camera, Pose, project
from porepatch_lib.sfm.colmap import to_colmap_id, to_colmap_pose
from porepatch_lib.sfm.failure import ReconstructionError
from porepatch_lib.sfm.model import SparseModel, write_model

_GREY = np.full(3, 128, np.uint8)
_PLY_POINT = 27  # bytes: position, normal, colour

Map = NDArray[np.float32]


class UndistortedView(Protocol):
    """PINHOLE camera (pixel centre = integer), pose, BGR image (H,W,3) uint8, and the mask (H,W) of where to find depth."""

    @property
    def image_id(self) -> int: ...
    @property
    def camera(self) -> Camera: ...
    @property
    def pose(self) -> Pose: ...
    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...


def has_cuda() -> bool:
    """Return whether COLMAP's own patch match can run: pycolmap was built with CUDA and the driver finds a device."""
    if not pycolmap.has_cuda:
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def image_name(image_id: int) -> str:
    """Return a view's name in the workspace; photographs may be called anything, also what COLMAP's lists cannot hold."""
    return f"view_{image_id:04d}.png"


def write_workspace(
    folder: Path, views: Sequence[UndistortedView], model: SparseModel, sources: Mapping[int, Sequence[int]]
) -> None:
    """Write `images/`, `sparse/` (points and who sees them as in `model`), and the lists `stereo/*.cfg`.

    Args:
        views: all registered in `model`.
        sources: image_ids of the source views, by image_id.

    Raises:
        PorePatchError: if an image cannot be written.
    """
    for name in ("images", "sparse", "stereo/depth_maps", "stereo/normal_maps", "stereo/consistency_graphs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for view in views:
        write_png(folder / "images" / image_name(view.image_id), view.image)
    write_model(_sparse_model(views, model), folder / "sparse")
    names = [image_name(view.image_id) for view in views]
    lists = [", ".join(image_name(source) for source in sources[view.image_id]) for view in views]
    pairs = [f"{name}\n{listed}\n" for name, listed in zip(names, lists, strict=True) if listed]
    (folder / "stereo/fusion.cfg").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (folder / "stereo/patch-match.cfg").write_text("".join(pairs), encoding="utf-8")


def write_maps(folder: Path, image_id: int, depth: Map, normals: Map) -> None:
    """Write the z-depth (H,W), 0 where unknown, and the normals (H,W,3) in the camera's frame, towards it, of a view."""
    depth_path, normal_path = _map_paths(folder, image_id, "geometric")
    write_map(depth_path, depth[..., None])
    write_map(normal_path, normals)


def mask_maps(folder: Path, views: Sequence[UndistortedView], kind: str) -> None:
    """Take depth and normals outside the views' masks out of maps that COLMAP wrote; `kind`: "geometric" or "photometric"."""
    for view in views:
        for path in _map_paths(folder, view.image_id, kind):
            if path.exists():  # a view without sources has none
                write_map(path, read_map(path) * view.mask[..., None])


def write_map(path: Path, values: Map) -> None:
    """Write a map (H,W,C) as COLMAP does: `width&height&channels&`, then float32, one channel after the other.

    (pycolmap's `NormalMap.from_array` and `to_array` take the three channels to lie side by side, which the file does not.)
    """
    height, width, channels = values.shape
    planes = np.ascontiguousarray(np.moveaxis(values, -1, 0), "<f4")
    path.write_bytes(f"{width}&{height}&{channels}&".encode() + planes.tobytes())


def read_map(path: Path) -> Map:
    """Read a map (H,W,C) that COLMAP or `write_map` wrote."""
    width, height, channels, values = path.read_bytes().split(b"&", 3)
    planes = np.frombuffer(values, "<f4").reshape(int(channels), int(height), int(width))
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def match_with_cuda(folder: Path, radius_px: int, geometric: bool) -> str:
    """Run COLMAP's patch match in a workspace; returns the kind of maps it leaves for fusion.

    Raises:
        ReconstructionError: if COLMAP stops, for instance because it has no CUDA.
    """
    options = pycolmap.PatchMatchOptions()
    options.window_radius, options.geom_consistency = radius_px, geometric
    try:
        pycolmap.patch_match_stereo(folder, options=options)
        require_room(folder)  # COLMAP does not see that a disk is full
    except (RuntimeError, ValueError) as error:
        require_room(folder)
        raise ReconstructionError(f"COLMAP's patch match stopped ({str(error).strip()})") from error
    return "geometric" if geometric else "photometric"


def fuse(folder: Path, output: Path, kind: str, min_pixels: int, max_error_px: float) -> int:
    """Fuse the depth maps of a workspace into a PLY; returns the number of points, and writes no file where there is none.

    On one thread, so that the same maps give the same points. All pixels within `max_error_px` of a point's first one, in any
    view, become one point: this also thins the cloud.

    Raises:
        ReconstructionError: if COLMAP stops.
        OSError: ENOSPC if the disk is full.
    """
    options = pycolmap.StereoFusionOptions()
    options.num_threads = 1
    options.min_num_pixels = min_pixels
    options.max_reproj_error = max_error_px
    try:
        cloud = pycolmap.stereo_fusion(output, folder, input_type=kind, options=options, output_type="ply")
    except (RuntimeError, ValueError) as error:
        require_room(folder)
        raise ReconstructionError(f"COLMAP's fusion stopped ({str(error).strip()})") from error
    points = int(cloud.num_points3D())
    if output.stat().st_size < _PLY_POINT * points:  # COLMAP does not see that a disk is full
        raise disk_full(output)
    output.with_name(output.name + ".vis").unlink(missing_ok=True)
    if points == 0:
        output.unlink(missing_ok=True)
    return points


def _map_paths(folder: Path, image_id: int, kind: str) -> tuple[Path, Path]:
    name = f"{image_name(image_id)}.{kind}.bin"
    return folder / "stereo/depth_maps" / name, folder / "stereo/normal_maps" / name


def _sparse_model(views: Sequence[UndistortedView], model: SparseModel) -> pycolmap.Reconstruction:
    """The sparse model with the undistorted cameras, pixel centre = integer (see above), one camera per view."""
    written = pycolmap.Reconstruction()
    tracks: dict[int, list[tuple[int, int]]] = {}
    for view in views:
        image_id, camera = to_colmap_id(view.image_id), view.camera
        written.add_camera_with_trivial_rig(
            pycolmap.Camera(
                model=camera.model, width=camera.width, height=camera.height, params=camera.params, camera_id=image_id
            )
        )
        rows = model.observed_point[model.image_id == view.image_id]
        pixels, _ = project(camera, view.pose, model.xyz[rows])
        image = pycolmap.Image(name=image_name(view.image_id), keypoints=pixels, camera_id=image_id, image_id=image_id)
        written.add_image_with_trivial_frame(image, to_colmap_pose(view.pose))
        for number, row in enumerate(rows.tolist()):
            tracks.setdefault(row, []).append((image_id, number))
    for row, observations in sorted(tracks.items()):
        track = pycolmap.Track([pycolmap.TrackElement(*observation) for observation in observations])
        written.add_point3D(model.xyz[row], track, _GREY)
    return written
