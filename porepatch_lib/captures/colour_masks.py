"""Masks of facial skin without any network: faces and eyes by Haar cascades, skin by colour and GrabCut.

A subject is one person in one light. Views that show the face from the front are masked one by one; what their skin and
their surroundings look like then masks the views in which no face was found. Where poses are known, the views from the front
place the face in space, and so its features and its rim in all others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.face_features import find_mouth
from porepatch_lib.captures.face_frame import eyes_of_box, frame_of
from porepatch_lib.captures.face_in_space import LEAST_VIEWS, FaceInSpace, SeenFace, locate_face
from porepatch_lib.captures.face_region import face_skin, largest_parts
from porepatch_lib.captures.faces import Face, find_face
from porepatch_lib.captures.skin_colour import (
    BoolArray,
    FloatArray,
    SkinOdds,
    fit_skin,
    grab_cut,
    learn_odds,
    log_colour,
    looks_like_skin,
    to_pixels,
)
from porepatch_lib.captures.views import View, load_colour
from porepatch_lib.geometry import project
from porepatch_lib.threads import map_threads

_log = logging.getLogger(__name__)

_WORK_PX = 540  # longer side of the reduced images
_LEAST_FACE = 0.6  # of the median size of the subject's faces; a smaller one is a false detection
_LEAST_SKIN = 0.01  # of the image; with less no colour of skin can be learnt
_DARKEST_SKIN = 1.0  # log luminance below the brighter skin of the image; darker is brown hair
_UNLIKE_SKIN = 3.0  # Mahalanobis distance from which a pixel outside the mask is surely no skin
_SAME_EYES = 0.35  # pupil distances; farther from where other views place them, the face found is no face
_MOST_TURNED_RAD = np.radians(75.0)  # from there on a view shows too little of the face to place anything in it


@dataclass(frozen=True)
class _Look:
    """A view's reduced image and the face in it, in pixels of the whole image; mouth (2,): where other views know it better."""

    small: NDArray[np.uint8]
    shape: tuple[int, int]
    face: Face | None
    mouth: FloatArray | None = None


@dataclass(frozen=True)
class _Placed:
    """The face in space, if it could be located; own_mouth: views whose own mouth agrees with it."""

    views: Sequence[View]
    face: FaceInSpace | None
    own_mouth: frozenset[int] = frozenset()

    def shows(self, index: int) -> bool:
        """Whether the face is placed in a view."""
        pose = self.views[index].pose
        return self.face is not None and pose is not None and self.face.turned_rad(pose) < _MOST_TURNED_RAD

    def guide(self, index: int, look: _Look) -> _Look:
        """The look of a view without a face that is none, and with the eyes and the mouth that it did not find itself."""
        view = self.views[index]
        if self.face is None or view.pose is None or look.face is None:
            return look
        pixels, _ = project(view.camera, view.pose, self.face.landmarks)
        misses = np.linalg.norm(pixels[:2] - (look.face.eyes or eyes_of_box(look.face.box)), axis=1)
        if not misses.max() < _SAME_EYES * np.linalg.norm(pixels[1] - pixels[0]):
            return replace(look, face=None)
        (left, right), mouth = pixels[:2].tolist(), None if index in self.own_mouth else pixels[2]
        eyes = look.face.eyes or ((left[0], left[1]), (right[0], right[1]))
        return replace(look, face=replace(look.face, eyes=eyes), mouth=mouth)

    def rim(self, index: int) -> BoolArray:
        """Where (H,W) a view may show the face; everywhere, where that is not known."""
        view = self.views[index]
        if self.face is None or view.pose is None or not self.shows(index):
            return np.ones((view.camera.height, view.camera.width), bool)
        return self.face.within_rim(view.camera, view.pose)

    def bare(self, index: int) -> BoolArray:
        """The rim without the face's features."""
        view = self.views[index]
        if self.face is None or view.pose is None or not self.shows(index):
            return self.rim(index)
        return self.rim(index) & ~self.face.features(view.camera, view.pose)


def colour_masks(views: Sequence[View], threads: int) -> list[NDArray[np.uint8]]:
    """Return the mask (H,W) uint8 of bare facial skin, 255 = keep, of every view of one subject; doubtful ones are warned of."""
    looks = map_threads(_look, views, threads)
    frontal = _frontal(looks)
    placed = _place_face(views, looks, frontal, threads)
    looks = [placed.guide(index, look) for index, look in enumerate(looks)]
    frontal = [index for index in frontal if looks[index].face]
    found = map_threads(lambda index: _frontal_mask(views[index], looks[index]) & placed.rim(index), frontal, threads)
    masks = dict(zip(frontal, found, strict=True))
    masks = {index: mask for index, mask in masks.items() if mask.any()}
    odds = _learn([looks[index].small for index in masks], list(masks.values()))
    others = [index for index in range(len(views)) if index not in masks]
    _tell_of([views[index].name for index in others if placed.shows(index)], placed=True)
    _tell_of([views[index].name for index in others if not placed.shows(index)], placed=False)
    found = map_threads(lambda index: _colour_mask(looks[index], odds) & placed.bare(index), others, threads)
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


def _place_face(views: Sequence[View], looks: Sequence[_Look], frontal: list[int], threads: int) -> _Placed:
    """The face in space by the views of known pose in which eyes were found."""
    indices = [index for index in frontal if views[index].pose and (look := looks[index]).face and look.face.eyes]
    if len(indices) < LEAST_VIEWS:
        return _Placed(views, None)
    face = locate_face(map_threads(lambda index: _seen_face(views[index], looks[index]), indices, threads))
    if face is None:
        return _Placed(views, None)
    return _Placed(views, face, frozenset(np.array(indices)[face.agrees[:, 2]].tolist()))


def _seen_face(view: View, look: _Look) -> SeenFace:
    assert view.pose is not None and look.face is not None and look.face.eyes is not None
    frame = frame_of(look.face)
    mouth = frame.place(find_mouth(log_colour(frame.take(load_colour(view)))))
    return SeenFace(view.camera, view.pose, np.array([*look.face.eyes, mouth]))


def _tell_of(names: Sequence[str], placed: bool) -> None:
    """Name the views in which no face was found; where other views place the face, that is no cause for doubt."""
    if not names:
        return
    by = "by where other views place the face" if placed else "by the colour of skin alone: look at them, or give masks"
    level = logging.INFO if placed else logging.WARNING
    _log.log(level, "No face from the front was found in %s; masks go %s.", ", ".join(names), by)


def _frontal_mask(view: View, look: _Look) -> BoolArray:
    assert look.face is not None
    frame = frame_of(look.face)
    mouth = None if look.mouth is None else frame.find(look.mouth)
    return frame.put(face_skin(frame.take(load_colour(view)), mouth), look.shape)


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
