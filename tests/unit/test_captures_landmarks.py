"""The mask that 68 landmarks of a face give: closed form, and turned with the landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from porepatch_lib.captures.landmarks import landmark_mask

SHAPE = (500, 400)


def face() -> np.ndarray:
    """A frontal face about x = 200: eyes at y = 200, chin at 380, in the order of 300-W."""
    angles = np.linspace(np.pi, 0.0, 17)
    jaw = np.column_stack([200 + 110 * np.cos(angles), 200 + 180 * np.sin(angles)])
    brows = [[x, 165 - 10 * np.sin(np.pi * i / 4)] for side in (120, 220) for i, x in enumerate(np.linspace(side, side + 60, 5))]
    bridge = [[200.0, y] for y in (200, 220, 240, 258)]
    nostrils = [[x, 270.0] for x in (180, 190, 200, 210, 220)]
    eyes = [[x + 20 * np.cos(t), 200 + 8 * np.sin(t)] for x in (150, 250) for t in np.linspace(np.pi, -np.pi, 6, endpoint=False)]
    return np.array([*jaw, *brows, *bridge, *nostrils, *eyes, *lips(45, 12), *lips(30, 8)])


def lips(radius: float, count: int) -> np.ndarray:
    angles = np.linspace(np.pi, -np.pi, count, endpoint=False)
    return np.column_stack([200 + radius * np.cos(angles), 320 + 0.4 * radius * np.sin(angles)])


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ((200, 130), True),  # forehead
        ((150, 260), True),  # cheeks
        ((250, 260), True),
        ((200, 355), True),  # chin
        ((200, 240), True),  # back of the nose
        ((150, 200), False),  # eyes
        ((250, 200), False),
        ((276, 200), False),  # their corners
        ((150, 158), False),  # brows
        ((250, 158), False),
        ((200, 320), False),  # lips, between them too
        ((160, 320), False),
        ((185, 272), False),  # nostrils
        ((200, 400), False),  # neck
        ((60, 260), False),  # background
        ((200, 55), False),  # hair
    ],
)
def test_skin_is_kept_and_features_are_not(place: tuple[int, int], kept: bool) -> None:
    mask = landmark_mask(face(), SHAPE)
    assert mask.shape == SHAPE and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    assert (mask[place[1], place[0]] == 255) == kept


def test_the_mask_turns_and_grows_with_the_landmarks() -> None:
    mask = landmark_mask(face(), SHAPE) > 0
    turned = landmark_mask(np.column_stack([SHAPE[0] - 1 - face()[:, 1], face()[:, 0]]), SHAPE[::-1]) > 0
    upright = np.rot90(turned, 1)
    assert np.logical_and(mask, upright).sum() / np.logical_or(mask, upright).sum() > 0.99
    twice = landmark_mask(2.0 * face(), (1000, 800))[::2, ::2] > 0
    assert np.logical_and(mask, twice).sum() / np.logical_or(mask, twice).sum() > 0.97


def test_a_face_in_part_outside_the_image_is_cut() -> None:
    moved = landmark_mask(face() - [150.0, 0.0], SHAPE)
    # OpenCV clips a line to the image before it draws it, which may move its pixels by one.
    assert np.mean(moved[:, :250] != landmark_mask(face(), SHAPE)[:, 150:]) < 0.002
