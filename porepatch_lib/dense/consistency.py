"""Which depths of a view other views' depths confirm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LARGEST_RATIO = 0.01  # of two depths, as COLMAP's fusion


@njit(cache=True, nogil=True)
def confirmations(
    inverse_depth: Floats, others: Sequence[Floats], there: Floats, back: Floats, max_error_px: float
) -> NDArray[np.uint8]:
    """Return at how many source views each pixel's depth is confirmed, (H,W).

    A pixel is taken to the source view by its depth and back by the depth of the nearest pixel there; it must come back within
    `max_error_px`, and the two depths in the source view must agree within 1 %.

    Args:
        inverse_depth: (H,W), 0 where unknown.
        others: inverse depths of S source views, (Hs,Ws) each.
        there, back: (S,12), see `patch_match.transform`, to and from the source views.
    """
    height, width = inverse_depth.shape
    count = np.zeros((height, width), np.uint8)
    for s in range(len(others)):
        other = others[s]
        for y in range(height):
            for x in range(width):
                w = inverse_depth[y, x]
                if w <= 0.0:
                    continue
                u, v, scale = _move(there[s], x, y, w)
                if scale <= 0.0 or not (-0.5 <= u < other.shape[1] - 0.5 and -0.5 <= v < other.shape[0] - 0.5):
                    continue
                column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
                found = other[row, column]
                # The point's inverse depth in the source view is w / scale.
                if found <= 0.0 or abs(found * scale / w - 1.0) > _LARGEST_RATIO:
                    continue
                x_again, y_again, scale_again = _move(back[s], u, v, found)
                if scale_again > 0.0 and (x_again - x) ** 2 + (y_again - y) ** 2 <= max_error_px**2:
                    count[y, x] += 1
    return count


@njit(cache=True, nogil=True, inline="always")
def _move(transform: Floats, x: float, y: float, w: float) -> tuple[float, float, float]:
    """The place of a pixel in another view, and its depth there over its depth here."""
    third = transform[6] * x + transform[7] * y + transform[8] + transform[11] * w
    u = (transform[0] * x + transform[1] * y + transform[2] + transform[9] * w) / third
    v = (transform[3] * x + transform[4] * y + transform[5] + transform[10] * w) / third
    return u, v, third
