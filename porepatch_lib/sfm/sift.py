"""COLMAP's own SIFT as a stage: keypoints and descriptors of a subject, as `colmap feature_extractor` would find them."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.decode import write_png
from porepatch_lib.captures.views import View, load_colour, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import require_room, write_array
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.progress import progress
from porepatch_lib.reconstruction.variants import COLMAP_SIFT
from porepatch_lib.sfm.colmap import from_colmap_pixels, set_quiet
from porepatch_lib.threads import map_threads

_log = logging.getLogger(__name__)

_DIMENSION = 128
_UNIT = np.float32(512.0)  # COLMAP stores descriptor values times 512 as bytes


@dataclass(frozen=True)
class ColmapSiftSettings:
    """Settings of COLMAP's SIFT on the CPU (VLFeat); the defaults are COLMAP's.

    `max_features`: largest number of keypoints of an image, the largest scales first. `max_image_px`: an image with a longer side
    is reduced before. `first_octave`: -1 doubles the image. `peak_threshold`, `edge_threshold`: of the difference of Gaussians.
    `max_orientations`: per keypoint. `upright`: no orientation at all. `domain_size_pooling`: DSP-SIFT (Dong and Soatto 2015),
    several times slower.
    """

    max_features: int = 8192
    max_image_px: int = 3200
    first_octave: int = -1
    peak_threshold: float = 0.02 / 3.0
    edge_threshold: float = 10.0
    max_orientations: int = 2
    upright: bool = False
    domain_size_pooling: bool = False

    def __post_init__(self) -> None:
        if not (self.max_features > 0 and self.max_image_px > 0 and self.max_orientations > 0 and self.first_octave >= -1):
            raise PorePatchError(
                "The colmap_sift settings need max_features, max_image_px and max_orientations above 0 and first_octave of at "
                "least -1; mend the config."
            )
        if not (self.peak_threshold > 0.0 and self.edge_threshold > 0.0):
            raise PorePatchError("The colmap_sift settings need a peak_threshold and an edge_threshold above 0; mend the config.")


def extract_colmap_sift(
    images: str | Path,
    output_keypoints: str | Path,
    output_descriptors: str | Path,
    settings: ColmapSiftSettings,
    threads: int,
) -> None:
    """Write the SIFT keypoints of every view as the `keypoints` table, and their descriptors (.npy, float16).

    COLMAP sees the upright photographs and their masks; keypoints off the mask are dropped, as it does. Descriptors are
    RootSIFT as its database holds them, whole numbers over 512, which float16 holds exactly. Response is 1, octave and level
    are 0. Nothing is random: the result does not depend on `threads`.

    Raises:
        PorePatchError: if an image cannot be read, or COLMAP fails.
    """
    set_quiet(True)
    views = read_views(images)
    batches = [views[start : start + threads] for start in range(0, len(views), threads)]
    extract = partial(extract_view, settings=settings)
    # Batch by batch, so that the progress shown is that of finished work.
    found = [one for batch in progress(batches, COLMAP_SIFT, "batch") for one in map_threads(extract, batch, threads)]
    _log.info("%d keypoints in %d images.", sum(len(keypoints) for keypoints, _ in found), len(views))
    write_keypoints(output_keypoints, {view.image_id: keypoints for view, (keypoints, _) in zip(views, found, strict=True)})
    write_array(output_descriptors, np.concatenate([descriptors for _, descriptors in found]).astype(np.float16))


def extract_view(view: View, settings: ColmapSiftSettings) -> tuple[Keypoints, NDArray[np.float32]]:
    """Return the keypoints of one view and their descriptors (N,128)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "images").mkdir()
        write_png(folder / "images" / "view.png", load_colour(view))
        mask = load_mask(view)
        reader = pycolmap.ImageReaderOptions()
        if mask is not None:
            (folder / "masks").mkdir()
            write_png(folder / "masks" / "view.png.png", mask)
            reader.mask_path = folder / "masks"
        try:
            pycolmap.extract_features(
                folder / "database.db",
                folder / "images",
                ["view.png"],
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=_options(settings),
                device=pycolmap.Device.cpu,
            )
            return _read(folder / "database.db", view)
        except (RuntimeError, ValueError) as error:
            require_room(folder)
            raise PorePatchError(f"COLMAP cannot extract SIFT from {view.path} ({error}); look at the image.") from error


def _options(settings: ColmapSiftSettings) -> pycolmap.FeatureExtractionOptions:
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu = False
    options.num_threads = 1
    options.max_image_size = settings.max_image_px
    options.sift.max_num_features = settings.max_features
    options.sift.first_octave = settings.first_octave
    options.sift.peak_threshold = settings.peak_threshold
    options.sift.edge_threshold = settings.edge_threshold
    options.sift.max_num_orientations = settings.max_orientations
    options.sift.upright = settings.upright
    options.sift.domain_size_pooling = settings.domain_size_pooling
    return options


def _read(path: Path, view: View) -> tuple[Keypoints, NDArray[np.float32]]:
    with pycolmap.Database.open(path) as database:
        images = database.read_all_images()
        if len(images) != 1:
            raise RuntimeError(f"{view.name} was not read")
        rows = np.asarray(database.read_keypoints(images[0].image_id), np.float64)
        stored = np.asarray(database.read_descriptors(images[0].image_id).data)
    return _keypoints(rows), (stored.reshape(len(rows), _DIMENSION) / _UNIT).astype(np.float32)


def _keypoints(rows: NDArray[np.float64]) -> Keypoints:
    """Rows (N,6) of x, y and the affine shape a11, a12, a21, a22: its columns are the scale times a rotation."""
    count = len(rows)
    x, y, a11, a12, a21, a22 = rows.reshape(count, -1).T if count else np.empty((6, 0))
    xy = from_colmap_pixels(np.stack([x, y], axis=1)).astype(np.float32)
    sigma = ((np.hypot(a11, a21) + np.hypot(a12, a22)) / 2.0).astype(np.float32)
    none = np.zeros(count, np.int8)
    angle = np.arctan2(a21, a11).astype(np.float32)
    return Keypoints(xy[:, 0].copy(), xy[:, 1].copy(), sigma, angle, np.ones(count, np.float32), none, none)
