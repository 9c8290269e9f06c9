"""Features of one image as arrays, in our conventions, before they become tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """Features of one image, N rows, float32.

    `xy` (N,2) in pixels, pixel centre = integer; `sigma` (N,) in pixels; `angle` (N,) in radians; `descriptors` (N,D).
    """

    xy: FloatArray
    sigma: FloatArray
    angle: FloatArray
    descriptors: FloatArray

    def __len__(self) -> int:
        return len(self.xy)


def checked_features(xy: FloatArray, scale: FloatArray, angle: FloatArray, descriptors: FloatArray, where: str) -> Features:
    """Check features and give those without a scale (0) a sigma of 1.

    Args:
        xy: (N,2), pixel centre = integer.
        scale: (N,), 0 where unknown.
        angle: (N,) in radians.
        descriptors: (M,D).
        where: what they are called in the error sentence.

    Raises:
        PorePatchError: if there is not one descriptor per keypoint, a number is not finite, or a scale is negative.
    """
    if len(descriptors) != len(xy):
        raise PorePatchError(
            f"{where} has {len(xy)} keypoints but {len(descriptors)} descriptors; describe its keypoints again, row by row."
        )
    for what, values in (("keypoint", np.column_stack([xy, scale, angle])), ("descriptor", descriptors)):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise PorePatchError(
                f"{where} has a number that is not finite in {what} {int(np.argmax(bad))} (counted from 0); compute it again."
            )
    if (scale < 0.0).any():
        raise PorePatchError(
            f"{where} has a negative scale in keypoint {int(np.argmax(scale < 0.0))} (counted from 0); the columns are x, y, "
            "scale, orientation: write them in this order."
        )
    return Features(xy, np.where(scale > 0.0, scale, np.float32(1.0)), angle, descriptors)


def read_bytes(path: Path, what: str, mend: str) -> bytes:
    """Read a file of features. Raises PorePatchError with `mend` if it is missing, or if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PorePatchError(f"There is no {what} file {path}; {mend}.") from None
    except OSError as error:
        raise PorePatchError(f"Cannot read the {what} file {path} ({error.strerror}); make it readable.") from error
