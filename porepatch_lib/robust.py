"""Weights that keep strays out of a fit by least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import FloatArray

# Where Tukey's biweight becomes 0, in standard deviations: 95 % as good as least squares where errors are normal
# (Huber and Ronchetti, Robust Statistics, 2009).
TUKEY = 4.685
# Median absolute deviation of a normal distribution to its standard deviation.
MAD_TO_SIGMA = 1.4826


def tukey_weights(residual: FloatArray, cut_off: NDArray[Any] | float) -> FloatArray:
    """Return Tukey's biweight (1 - (r / c)^2)^2 of absolute residuals r, 0 from the cut-off c on.

    Args:
        residual: float64 of any shape, at least 0.
        cut_off: of a shape that broadcasts to it, `TUKEY` robust standard deviations; where it is 0 all weigh 1.
    """
    share = np.divide(residual, cut_off, out=np.zeros_like(residual), where=np.asarray(cut_off) > 0.0)
    return np.asarray((1.0 - np.minimum(share, 1.0) ** 2) ** 2)
