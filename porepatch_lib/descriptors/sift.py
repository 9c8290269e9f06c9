"""SIFT and RootSIFT through OpenCV at given keypoints, upright: the baselines.

OpenCV's keypoint size is 2 sigma; its 4 x 4 bins are then 3 sigma wide (Lowe 2004). It rounds the centre to a whole pixel of the
octave.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.keypoints.keypoints import Keypoints

DIMENSION = 128

_LAYERS = 3
_BASE_SIGMA = 1.6
_SMALLEST_OCTAVE_PX = 8


def describe_sift(grey: NDArray[np.uint8], keypoints: Keypoints, root: bool) -> NDArray[np.float32]:
    """Describe `keypoints` of `grey` (H,W). Returns unit rows float32 (N,128), zero where the image is flat.

    `root` gives RootSIFT (Arandjelovic & Zisserman 2012): the square root of the L1-normalised histogram.
    """
    descriptors = np.zeros((len(keypoints), DIMENSION), np.float32)
    octave, layer = octave_and_layer(keypoints.sigma, min(grey.shape))
    # OpenCV builds its pyramid from the finest octave asked for: apart, a row does not depend on the other keypoints.
    for rows in (np.flatnonzero(octave < 0), np.flatnonzero(octave >= 0)):
        if len(rows):
            descriptors[rows] = _compute(grey, keypoints.select(rows), octave[rows], layer[rows])
    return rooted(descriptors) if root else _unit(descriptors)


def octave_and_layer(sigma: NDArray[np.floating], shorter_side_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return OpenCV's octave (-1 = doubled image) and layer (N,) whose sigma 1.6 * 2^(octave + layer/3) is nearest in ratio."""
    steps = np.rint(_LAYERS * np.log2(np.asarray(sigma, np.float64) / _BASE_SIGMA)).astype(np.int64)
    coarsest = max(int(np.log2(max(shorter_side_px, 1) / _SMALLEST_OCTAVE_PX)), 0)
    octave = np.clip((steps - 1) // _LAYERS, -1, coarsest)
    return octave, np.clip(steps - _LAYERS * octave, 0, _LAYERS + 2)


def rooted(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return RootSIFT (N,128) of SIFT at any length: the square root of the L1-normalised histogram; a zero row stays zero."""
    sums = descriptors.sum(axis=1, keepdims=True)
    return np.sqrt(descriptors / np.where(sums > 0, sums, 1)).astype(np.float32, copy=False)


def _compute(
    grey: NDArray[np.uint8], keypoints: Keypoints, octave: NDArray[np.int64], layer: NDArray[np.int64]
) -> NDArray[np.float32]:
    packed = (octave & 255) | (layer << 8)
    points = [
        cv2.KeyPoint(float(x), float(y), 2.0 * float(sigma), 0.0, 0.0, int(code), row)
        for row, (x, y, sigma, code) in enumerate(zip(keypoints.x, keypoints.y, keypoints.sigma, packed, strict=True))
    ]
    # The precise upscale puts pixel x of the image at 2 x of the doubled one, where the keypoints are looked for.
    sift = cv2.SIFT.create(nOctaveLayers=_LAYERS, sigma=_BASE_SIGMA, enable_precise_upscale=True)
    described, descriptors = sift.compute(grey, points)
    if [point.class_id for point in described] != list(range(len(points))):
        raise RuntimeError("OpenCV dropped or reordered keypoints")
    return np.asarray(descriptors, np.float32)


def _unit(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return (descriptors / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)
