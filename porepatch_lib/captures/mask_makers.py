"""A user's own mask makers: a Python function, or a face parsing network in an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.landmarks import LANDMARKS, landmark_mask
from porepatch_lib.errors import PorePatchError
from porepatch_lib.plugins import import_plugin

MaskMaker = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def own_function(name: str) -> MaskMaker:
    """Return the mask maker `package.module:function`, which may lie in the current folder.

    The function takes an upright BGR image (H,W,3) uint8 and returns a mask (H,W), boolean or 8-bit, not zero = keep; or the
    face's 68 landmarks (68,2), x and y in pixels, of which `landmark_mask` makes one.

    Raises:
        PorePatchError: if it cannot be imported or is no function; the maker, if its result is of another shape or type.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise PorePatchError(
            f"masks.maker '{name}' is no maker; use colour, package.module:function or the path of an .onnx file."
        )
    function = getattr(import_plugin(module_name, f"masks.maker '{name}'"), function_name, None)
    if not callable(function):
        raise PorePatchError(
            f"masks.maker '{name}': the module {module_name} has no function '{function_name}'; correct the name."
        )

    def make(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return _checked(function, image, name)

    return make


def parsing_network(
    path: Path, input_px: int, mean: Sequence[float], deviation: Sequence[float], skin_classes: Sequence[int]
) -> MaskMaker:
    """Return a mask maker that runs a face parsing network with OpenCV.

    The network takes (1,3,S,S) red, green, blue, (value / 255 - mean) / deviation. It gives (1,C,H,W) class scores, of which the
    largest decides, (1,H,W) or (1,1,H,W) class numbers, or a (1,1,H,W) probability where these are not whole.

    Raises:
        PorePatchError: if the file is missing or no network; the maker, if the network fails or gives something else.
    """
    if not path.is_file():
        raise PorePatchError(f"The network {path} of masks.maker does not exist; correct the path.")
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise PorePatchError(
            f"The network {path} of masks.maker is no ONNX file that OpenCV can read; export it again."
        ) from error

    def make(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        square = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (input_px, input_px), interpolation=cv2.INTER_AREA)
        values = (square / 255.0 - np.asarray(mean)) / np.asarray(deviation)
        try:
            network.setInput(np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32))
            output = np.asarray(network.forward())
        except cv2.error as error:
            raise PorePatchError(
                f"The network {path} cannot take an image of 3x{input_px}x{input_px}; set masks.onnx_input_px to its size."
            ) from error
        skin = cv2.resize(_skin_of(output, skin_classes, path), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
        return np.where(skin > 0.5, np.uint8(255), np.uint8(0))

    return make


def _checked(function: Callable[[NDArray[np.uint8]], Any], image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    try:
        mask = np.asarray(function(image.copy()))
    except Exception as error:
        raise PorePatchError(f"masks.maker '{name}' failed: {type(error).__name__}: {error}; correct the function.") from error
    if mask.shape == (LANDMARKS, 2) and mask.dtype.kind == "f" and np.isfinite(mask).all():
        return landmark_mask(mask.astype(np.float64), (image.shape[0], image.shape[1]))
    if mask.shape != image.shape[:2] or mask.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise PorePatchError(
            f"masks.maker '{name}' gave {mask.dtype} of shape {mask.shape} for an image of {image.shape[0]} rows and "
            f"{image.shape[1]} columns; it must give a mask of these rows and columns, boolean or uint8, or 68 finite landmarks."
        )
    return np.where(mask > 0, np.uint8(255), np.uint8(0))


def _skin_of(output: NDArray[Any], skin_classes: Sequence[int], path: Path) -> NDArray[np.float32]:
    """Share of skin (H,W) in a network's output."""
    if output.ndim == 3:
        output = output[:, None]
    if output.ndim != 4 or output.shape[0] != 1 or min(output.shape[1:]) < 1:
        raise PorePatchError(
            f"The network {path} gives an array of shape {output.shape}, no labels of one image; give it the output (1,C,H,W)."
        )
    scores = output[0]
    if scores.shape[0] > 1:
        if max(skin_classes) >= scores.shape[0]:
            raise PorePatchError(
                f"masks.onnx_skin_classes names class {max(skin_classes)}, but the network {path} has {scores.shape[0]} "
                "classes, from 0; correct the list."
            )
        return np.isin(scores.argmax(axis=0), list(skin_classes)).astype(np.float32)
    if np.array_equal(scores[0], np.rint(scores[0])):
        return np.isin(scores[0], list(skin_classes)).astype(np.float32)
    return np.asarray(scores[0], np.float32)
