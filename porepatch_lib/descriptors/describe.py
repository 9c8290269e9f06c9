"""The describe stage: keypoints of a subject, or rows of a patch index, to descriptors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from porepatch_lib.captures.views import View, load_grey, load_mask, read_views
from porepatch_lib.descriptors.contract import Descriptor
from porepatch_lib.descriptors.registry import descriptor_of_stage
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array
from porepatch_lib.keypoints.keypoints import Keypoints, keypoints_of, read_views_and_keypoints
from porepatch_lib.progress import progress

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
    networks: Mapping[str, str] | None = None,
    architecture: str | None = None,
) -> str:
    """Describe all keypoints of a subject and write unit rows, float16 (N,D), aligned with the rows of `keypoints`.

    With `weights` the network in them describes patches of side crop_factor * sigma; without, it is the hand-made `descriptor`.
    `networks` gives third-party architectures, name -> "package.module:Class", `architecture` that of weights that name none.

    Returns the name of the device that described them, by `device_name`.

    Raises:
        PorePatchError: if the descriptor is unknown, the weights are missing or wrong, or an image is.
    """
    name = descriptor if weights is None else str(weights)
    chosen = descriptor_of_stage(
        name,
        weights,
        crop_factor=crop_factor,
        threads=threads,
        device=device,
        networks=networks,
        architecture=architecture,
    )
    rows = [found.astype(np.float16) for _, found in describe_views(images, keypoints, chosen)]
    descriptors = np.concatenate([np.empty((0, chosen.dimension), np.float16), *rows])
    write_array(output, descriptors)
    _LOG.info("described %d keypoints of %d images with %s (%d-D)", len(descriptors), len(rows), name, chosen.dimension)
    return chosen.device


def describe_views(
    images: str | Path, keypoints: str | Path, descriptor: Descriptor
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield image_id and the descriptors (N,D) of the keypoints of every image of a subject that has any, in the table's order.

    Raises:
        PorePatchError: if the keypoints belong to other images, or an image is missing.
    """
    views, per_image = read_views_and_keypoints(images, keypoints)
    for image_id, rows in progress(per_image.items(), f"describe ({descriptor.name})", "image", len(per_image)):
        yield image_id, _describe_view(descriptor, views[image_id], rows)


def describe_rows(
    images: Mapping[str, str | Path],
    index: pd.DataFrame,
    descriptor: Descriptor,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Describe the rows of a patch index (columns of the `patches` table) from the full images.

    `images` gives the images table of every subject in the index. Returns float32 (N,D), row i = row i of `index`: `out`, which
    may be a memory map, where it is given.

    Raises:
        PorePatchError: if a subject or image of the index is missing.
    """
    descriptors = np.empty((len(index), descriptor.dimension), np.float32) if out is None else out
    views = {(subject, view.image_id): view for subject, path in images.items() for view in read_views(path)}
    positions = index.groupby(["subject", "image_id"], sort=True).indices
    for key, rows in progress(positions.items(), f"describe ({descriptor.name})", "image", len(positions)):
        if key not in views:
            raise PorePatchError(
                f"The patch index holds (subject, image) {key}, which no images table given lists; cut it again."
            )
        points = keypoints_of(index.iloc[rows].assign(angle=np.float32(0), response=np.float32(0)))
        descriptors[rows] = _describe_view(descriptor, views[key], points)
    return descriptors


def _describe_view(descriptor: Descriptor, view: View, keypoints: Keypoints) -> NDArray[np.float32]:
    mask = load_mask(view) if descriptor.needs_mask else None
    return descriptor.describe(load_grey(view), keypoints, mask)
