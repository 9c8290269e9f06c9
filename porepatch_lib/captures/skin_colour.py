"""Skin by its colour: relative to the skin of one person under one light, so that neither tone nor light matters."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from porepatch_lib.geometry import FloatArray

BoolArray = NDArray[np.bool_]

_DARK_OFFSET = 4.0  # grey values; keeps noise of near-black pixels out of the logarithms
_LEAST_DEVIATION = np.array([0.12, 0.03, 0.04])
_GRABCUT_SCALE = np.array([70.0, 280.0, 200.0])  # grey levels per unit of log luminance, log(R/G), log(B/G)


@dataclass(frozen=True)
class SkinModel:
    """Log colour of skin: median (3,) and deviation (3,) of log luminance, log(R/G), log(B/G)."""

    median: FloatArray
    deviation: FloatArray

    def distance(self, colour: FloatArray) -> FloatArray:
        """Mahalanobis distance (H,W) of log colours (H,W,3)."""
        return np.asarray(np.sqrt((((colour - self.median) / self.deviation) ** 2).sum(axis=-1)))


def log_colour(image: NDArray[np.uint8]) -> FloatArray:
    """Log luminance, log(R/G) and log(B/G) (H,W,3) of a BGR image; light and tone become offsets."""
    blue, green, red = (np.log(image[..., channel].astype(np.float64) + _DARK_OFFSET) for channel in range(3))
    luminance = np.log(image.astype(np.float64) @ [0.114, 0.587, 0.299] + _DARK_OFFSET)
    return np.stack([luminance, red - green, blue - green], axis=-1)


def fit_skin(colours: FloatArray) -> SkinModel:
    """The model of skin samples (N,3): median, and deviation from the quartiles, so that a fifth of strangers does no harm."""
    lower, median, upper = np.percentile(colours, [25.0, 50.0, 75.0], axis=0)
    return SkinModel(median, np.maximum((upper - lower) / 1.349, _LEAST_DEVIATION))


def looks_like_skin(image: NDArray[np.uint8]) -> BoolArray:
    """Skin of any person in daylight or studio light: a chroma box like that of Chai and Ngan (IEEE CSVT 9(4), 1999).

    Grey and blueish things fall outside; wood, sand and brick fall inside.
    """
    chroma = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    red, blue = chroma[..., 1], chroma[..., 2]
    return np.asarray((red >= 136) & (red <= 175) & (blue >= 77) & (blue <= 125) & (chroma[..., 0] >= 30))


def to_pixels(colour: FloatArray, model: SkinModel) -> NDArray[np.uint8]:
    """Log colours as 8-bit pixels (H,W,3) whose grey 128 is the model's skin; luminance is clipped, chroma spread."""
    return np.clip(128.0 + (colour - model.median) * _GRABCUT_SCALE, 0.0, 255.0).astype(np.uint8)


def grab_cut(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> BoolArray:
    """The foreground (H,W) of GrabCut (Rother et al., SIGGRAPH 2004) from labels of OpenCV's GC_* kinds.

    GrabCut draws its first clusters from OpenCV's generator, which every thread has of its own; its seed is set here.
    """
    sure_or_likely = np.isin(labels, (cv2.GC_PR_FGD, cv2.GC_FGD))
    if min(sure_or_likely.sum(), (~sure_or_likely).sum()) < 50:
        return np.asarray(sure_or_likely)
    cv2.setRNGSeed(0)
    cut, _, _ = cv2.grabCut(pixels, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    return np.isin(cut, (cv2.GC_PR_FGD, cv2.GC_FGD))


@dataclass(frozen=True)
class SkinOdds:
    """How often colours of one person's photographs are bare skin: `share` (32,32,32) of pixels that are, relative to `model`.

    Histograms of skin and of everything else (Jones and Rehg, IJCV 46(1), 2002), learnt on views whose masks are known.
    """

    model: SkinModel
    share: FloatArray

    def of(self, colour: FloatArray) -> FloatArray:
        """Share (H,W) of skin among pixels of these log colours (H,W,3)."""
        first, second, third = np.moveaxis(to_pixels(colour, self.model) // 8, -1, 0)
        return np.asarray(self.share[first, second, third])


def learn_odds(skin: FloatArray, other: FloatArray) -> SkinOdds:
    """Odds learnt from log colours of bare skin (N,3) and of anything else (M,3)."""
    model = fit_skin(skin)
    counts = [gaussian_filter(_histogram(to_pixels(colours, model)), 1.0) for colours in (skin, other)]
    shares = [count / max(count.sum(), 1e-9) for count in counts]
    unseen = 1e-6
    return SkinOdds(model, shares[0] / (shares[0] + shares[1] + unseen))


def _histogram(pixels: NDArray[np.uint8]) -> FloatArray:
    bins = pixels.astype(np.int64) // 8 @ [1024, 32, 1]
    return np.bincount(bins, minlength=32**3).reshape(32, 32, 32).astype(np.float64)
