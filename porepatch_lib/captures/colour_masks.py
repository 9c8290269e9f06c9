"""Masks of facial skin without any network: faces and eyes by Haar cascades, skin by colour and GrabCut.

A subject is one person in one light. Views that show the face from the front are masked one by one; what their skin and
their surroundings look like then masks the views in which no face was found.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.face_frame import frame_of
from porepatch_lib.captures.face_region import face_skin, largest_parts
from porepatch_lib.captures.faces import Face, find_face
from porepatch_lib.captures.skin_colour import (
    BoolArray,
    SkinOdds,
    fit_skin,
    grab_cut,
    learn_odds,
    log_colour,
    looks_like_skin,
    to_pixels,
)
from porepatch_lib.captures.views import View, load_colour
from porepatch_lib.threads import map_threads

_log = logging.getLogger(__name__)

_WORK_PX = 540  # longer side of the reduced images
_LEAST_FACE = 0.6  # of the median size of the subject's faces; a smaller one is a false detection
_LEAST_SKIN = 0.01  # of the image; with less no colour of skin can be learnt
_DARKEST_SKIN = 1.0  # log luminance below the brighter skin of the image; darker is brown hair
_UNLIKE_SKIN = 3.0  # Mahalanobis distance from which a pixel outside the mask is surely no skin


@dataclass(frozen=True)
class _Look:
    """A view's reduced image and the face in it, in pixels of the whole image."""

    small: NDArray[np.uint8]
    shape: tuple[int, int]
    face: Face | None


def colour_masks(views: Sequence[View], threads: int) -> list[NDArray[np.uint8]]:
    """Return the mask (H,W) uint8 of bare facial skin, 255 = keep, of every view of one subject; doubtful ones are warned of."""
    looks = map_threads(_look, views, threads)
    frontal = _frontal(looks)
    masks = dict(
        zip(frontal, map_threads(lambda index: _frontal_mask(views[index], looks[index]), frontal, threads), strict=True)
    )
    masks = {index: mask for index, mask in masks.items() if mask.any()}
    odds = _learn([looks[index].small for index in masks], list(masks.values()))
    others = [index for index in range(len(views)) if index not in masks]
    for index in others:
        _log.warning(
            "No face from the front was found in %s; its mask goes by the colour of skin alone, look at it.", views[index].name
        )
    found = map_threads(lambda index: _colour_mask(looks[index], odds), others, threads)
    masks.update(zip(others, found, strict=True))
    for index, view in enumerate(views):
        if not masks[index].any():
            _log.warning("No skin was found in %s; its mask is empty, so give this subject a folder of masks.", view.name)
    return [np.where(masks[index], np.uint8(255), np.uint8(0)) for index in range(len(views))]


def _look(view: View) -> _Look:
    image = load_colour(view)
    return _Look(
        _reduced(image),
        (image.shape[0], image.shape[1]),
        find_face(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)),
    )


def _frontal(looks: Sequence[_Look]) -> list[int]:
    """Indices of views whose face is to be trusted: with eyes, or without them but of the usual size."""
    faces = {index: look.face for index, look in enumerate(looks) if look.face}
    sizes = {index: face.box[2] / max(looks[index].shape) for index, face in faces.items()}
    usual = float(np.median(list(sizes.values()))) if sizes else 0.0
    return [index for index, face in faces.items() if face.eyes or sizes[index] > _LEAST_FACE * usual]


def _frontal_mask(view: View, look: _Look) -> BoolArray:
    assert look.face is not None
    frame = frame_of(look.face)
    return frame.put(face_skin(frame.take(load_colour(view))), look.shape)


def _learn(images: list[NDArray[np.uint8]], masks: list[BoolArray]) -> SkinOdds | None:
    """Odds of skin from the masked views; what is like skin outside the masks (neck, ears, hands) teaches nothing."""
    skin, other = [], []
    for image, mask in zip(images, masks, strict=True):
        colour = log_colour(image)
        inside = _reduced(mask.astype(np.uint8) * 255) > 127
        if inside.any():
            skin.append(colour[inside])
            other.append(colour[~inside & (fit_skin(colour[inside]).distance(colour) > _UNLIKE_SKIN)])
    return learn_odds(np.concatenate(skin), np.concatenate(other)) if skin else None


def _colour_mask(look: _Look, odds: SkinOdds | None) -> BoolArray:
    """Mask (H,W) of a view without a face, by the subject's own colours, or by those of anyone's skin."""
    colour = log_colour(look.small)
    if odds is None:
        likely = looks_like_skin(look.small)
        likely &= colour[..., 0] > np.percentile(colour[likely, 0] if likely.any() else 0.0, 75.0) - _DARKEST_SKIN
        if likely.mean() < _LEAST_SKIN:
            return np.zeros(look.shape, bool)
        model = fit_skin(colour[likely])
        labels = _labels(model.distance(colour) < 2.5, likely, model.distance(colour) > 5.0)
    else:
        model, share = odds.model, cv2.GaussianBlur(odds.of(colour), (0, 0), 1.0)
        labels = _labels(share > 0.5, share > 0.9, share < 0.05)
    skin = largest_parts(grab_cut(to_pixels(colour, model), labels))
    soft = cv2.resize(skin.astype(np.float32), (look.shape[1], look.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft > 0.5)


def _labels(likely: BoolArray, sure: BoolArray, never: BoolArray) -> NDArray[np.uint8]:
    labels = np.where(likely, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    labels[sure] = cv2.GC_FGD
    labels[never] = cv2.GC_BGD
    return labels


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = min(1.0, _WORK_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
