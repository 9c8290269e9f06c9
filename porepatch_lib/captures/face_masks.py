"""Face masks made from the photographs themselves, by colour or by a maker of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.colour_masks import colour_masks
from porepatch_lib.captures.mask_makers import MaskMaker, own_function, parsing_network
from porepatch_lib.captures.views import View, load_colour
from porepatch_lib.errors import PorePatchError

COLOUR = "colour"


@dataclass(frozen=True)
class MaskSettings:
    """How masks are made, and how every mask is shrunk.

    maker: "colour", "package.module:function" of the user's own, or the path of a face parsing network (.onnx).
    erosion_px, dilation_px: every mask, made or given, is eroded, then dilated by so much (L1 distance).
    onnx_input_px, onnx_mean, onnx_deviation: side of the network's input; mean and deviation of red, green, blue in 0..1.
    onnx_skin_classes: classes of the network's output that are skin.
    """

    maker: str = COLOUR
    erosion_px: int = 0
    dilation_px: int = 0
    onnx_input_px: int = 512
    onnx_mean: Sequence[float] = (0.485, 0.456, 0.406)
    onnx_deviation: Sequence[float] = (0.229, 0.224, 0.225)
    onnx_skin_classes: Sequence[int] = (1, 10)

    def __post_init__(self) -> None:
        if not (self.maker == COLOUR or ":" in self.maker or _is_network(self.maker)):
            raise PorePatchError(
                f"masks.maker is '{self.maker}'; use colour, package.module:function or the path of an .onnx file."
            )
        for name in ("erosion_px", "dilation_px"):
            if getattr(self, name) < 0:
                raise PorePatchError(f"masks.{name} is {getattr(self, name)}; it must not be negative.")
        if self.onnx_input_px < 16:
            raise PorePatchError(f"masks.onnx_input_px is {self.onnx_input_px}; it must be at least 16.")
        for name in ("onnx_mean", "onnx_deviation"):
            values = getattr(self, name)
            if len(values) != 3 or not np.all(np.isfinite(values)):
                raise PorePatchError(f"masks.{name} is {list(values)}; it must be three numbers, of red, green and blue.")
        if min(self.onnx_deviation) <= 0.0:
            raise PorePatchError(f"masks.onnx_deviation is {list(self.onnx_deviation)}; its numbers must be positive.")
        if not self.onnx_skin_classes or min(self.onnx_skin_classes) < 0:
            raise PorePatchError(f"masks.onnx_skin_classes is {list(self.onnx_skin_classes)}; name at least one class, from 0.")


def make_masks(views: Sequence[View], settings: MaskSettings, threads: int) -> list[NDArray[np.uint8]]:
    """Return a mask (H,W) uint8 of upright pixels, 255 = keep, for every view of one subject.

    Raises:
        PorePatchError: if the maker is not to be had, fails, or gives what is no mask.
    """
    if settings.maker == COLOUR:
        return colour_masks(views, threads)
    make = _own_maker(settings)
    return [make(load_colour(view)) for view in views]


def _own_maker(settings: MaskSettings) -> MaskMaker:
    if _is_network(settings.maker):
        return parsing_network(
            Path(settings.maker),
            settings.onnx_input_px,
            settings.onnx_mean,
            settings.onnx_deviation,
            settings.onnx_skin_classes,
        )
    return own_function(settings.maker)


def _is_network(maker: str) -> bool:
    return maker.lower().endswith(".onnx")
