"""The describe stage: keypoints of a subject, or rows of a patch index, to descriptors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, load_grey, load_mask, read_views
from porepatch_lib.descriptors.networks import describe_patches, dimension_of, load_network
from porepatch_lib.descriptors.registry import describe_image, descriptor_spec
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array
from porepatch_lib.keypoints.keypoints import Keypoints, keypoints_of, read_views_and_keypoints
from porepatch_lib.progress import progress

BATCH_SIZE = 1024

Describe = Callable[[View, Keypoints], NDArray[np.float32]]

_LOG = logging.getLogger(__name__)


def describe_subject(
    images: str | Path,
    keypoints: str | Path,
    output: str | Path,
    descriptor: str,
    weights: str | Path | None,
    crop_factor: float,
    threads: int,
    device: str = "auto",
) -> None:
    """Describe all keypoints of a subject and write unit rows, float16 (N,D), aligned with the rows of `keypoints`.

    With `weights` the network in them describes patches of side crop_factor * sigma; without, it is the hand-made `descriptor`.

    Raises:
        PorePatchError: if the descriptor is unknown, the weights are missing or wrong, or an image is.
    """
    dimension, describe = _describer(descriptor, weights, crop_factor, threads, device)
    views, per_image = read_views_and_keypoints(images, keypoints)
    name = descriptor if weights is None else str(weights)
    descriptors = np.empty((sum(len(rows) for rows in per_image.values()), dimension), np.float16)
    start = 0
    for image_id, rows in progress(per_image.items(), f"describe ({name})", "image", len(per_image)):
        descriptors[start : start + len(rows)] = describe(views[image_id], rows)
        start += len(rows)
    write_array(output, descriptors)
    _LOG.info("described %d keypoints of %d images with %s (%d-D)", len(descriptors), len(per_image), name, dimension)


def describe_rows(images: Mapping[str, str | Path], index: pd.DataFrame, descriptor: str, threads: int) -> NDArray[np.float32]:
    """Describe the rows of a patch index (columns of the `patches` table) from the full images with a hand-made descriptor.

    `images` gives the images table of every subject in the index. Returns unit rows float32 (N,D), row i = row i of `index`.

    Raises:
        PorePatchError: if the descriptor is unknown or a network, or a subject or image of the index is missing.
    """
    dimension, describe = _hand_made_describer(descriptor, threads)
    descriptors = np.empty((len(index), dimension), np.float32)
    views = {(subject, view.image_id): view for subject, path in images.items() for view in read_views(path)}
    positions = index.groupby(["subject", "image_id"], sort=True).indices
    for key, rows in progress(positions.items(), f"describe ({descriptor})", "image", len(positions)):
        if key not in views:
            raise PorePatchError(
                f"The patch index holds (subject, image) {key}, which no images table given lists; cut it again."
            )
        points = keypoints_of(index.iloc[rows].assign(angle=np.float32(0), response=np.float32(0)))
        descriptors[rows] = describe(views[key], points)
    return descriptors


def _describer(
    descriptor: str, weights: str | Path | None, crop_factor: float, threads: int, device: str
) -> tuple[int, Describe]:
    """Return the descriptor's length and the function that describes the keypoints of one view."""
    if weights is None:
        return _hand_made_describer(descriptor, threads)
    network = load_network(Path(weights))

    def describe(view: View, keypoints: Keypoints) -> NDArray[np.float32]:
        from porepatch_lib.patches.sampler import sample_patches

        patches = sample_patches(load_grey(view), keypoints.x, keypoints.y, keypoints.sigma, crop_factor, threads=threads)
        return describe_patches(network, patches, BATCH_SIZE, device, threads)

    return dimension_of(network), describe


def _hand_made_describer(descriptor: str, threads: int) -> tuple[int, Describe]:
    spec = descriptor_spec(descriptor)
    if not spec.needs_image:
        raise PorePatchError(f"The descriptor '{descriptor}' is a network and needs weights; name a safetensors file.")

    def describe(view: View, keypoints: Keypoints) -> NDArray[np.float32]:
        mask = load_mask(view) if spec.needs_mask else None
        return describe_image(descriptor, load_grey(view), keypoints, threads, mask)

    return spec.dimension, describe
