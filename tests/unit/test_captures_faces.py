"""Faces and eyes: found where they were drawn, at any size, by any number of threads, and nowhere else."""

import cv2
import numpy as np
import pytest
from drawn_faces import draw_face
from numpy.typing import NDArray

from porepatch_lib.captures.face_frame import (
    Frame,
    Outline,
    coordinates,
    frame_of,
    frame_size,
    to_pixels,
    turned_outline,
    usual_outline,
)
from porepatch_lib.captures.faces import Face, find_face
from porepatch_lib.threads import map_threads

PLACES = [
    {},
    {"size": (900, 1100), "centre": (420.0, 520.0), "unit": 200.0},
    {"size": (1000, 800), "centre": (600.0, 350.0), "unit": 90.0},
    {"skin": (45, 65, 100)},
]


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


@pytest.mark.parametrize("place", PLACES)
def test_pupils_are_found_where_they_were_drawn(place: dict) -> None:
    drawn = draw_face(**place)
    face = find_face(grey_of(drawn.image))
    assert face is not None and face.eyes is not None
    unit = drawn.pupils[1][0] - drawn.pupils[0][0]
    np.testing.assert_allclose(face.eyes, drawn.pupils, atol=0.06 * unit)
    left, top, width, height = face.box
    assert all(left < x < left + width and top < y < top + 0.6 * height for x, y in face.eyes)
    assert min(left, top) >= 0 and left + width <= drawn.image.shape[1] and top + height <= drawn.image.shape[0]


def test_of_two_faces_the_larger_is_taken() -> None:
    small, large = draw_face(size=(500, 720), centre=(250.0, 330.0), unit=80.0), draw_face()
    face = find_face(grey_of(np.hstack([small.image, large.image])))
    assert face is not None and face.box[0] > 500


@pytest.mark.parametrize("kind", ["blank", "noise", "stripes"])
def test_no_face_is_found_where_there_is_none(kind: str) -> None:
    rng = np.random.default_rng(0)
    grey = {
        "blank": np.full((400, 300), 128, np.uint8),
        "noise": rng.integers(0, 256, (400, 300), np.uint8),
        "stripes": np.tile(np.repeat(np.uint8([40, 200]), 20), (400, 8)),
    }[kind]
    assert find_face(grey) is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (20, 20)])
def test_tiny_images_have_no_face(shape: tuple[int, int]) -> None:
    assert find_face(np.zeros(shape, np.uint8)) is None


def test_threads_find_the_same_face() -> None:
    grey = grey_of(draw_face().image)
    assert map_threads(find_face, [grey] * 4, 4) == [find_face(grey)] * 4


def test_frame_is_upright_in_the_face_and_its_unit_is_the_pupil_distance() -> None:
    eyes = (200.0, 300.0), (290.0, 340.0)
    frame = frame_of(Face((0, 0, 1, 1), eyes))
    for side, eye in zip((-0.5, 0.5), eyes, strict=True):
        pixel = np.array(to_pixels(np.array(side), np.array(0.0)))
        np.testing.assert_allclose(frame.to_image @ [*pixel, 1.0], eye, atol=1e-9)
    below = np.array(to_pixels(np.array(0.0), np.array(1.0)))
    np.testing.assert_allclose(frame.to_image @ [*below, 1.0], [245.0 - 40.0, 320.0 + 90.0], atol=1e-9)


def test_coordinates_are_those_of_the_pixels() -> None:
    x, y = coordinates()
    assert x.shape == (frame_size()[1], frame_size()[0])
    columns, rows = to_pixels(x, y)
    np.testing.assert_allclose(columns[0], np.arange(x.shape[1]), atol=1e-9)
    np.testing.assert_allclose(rows[:, 0], np.arange(x.shape[0]), atol=1e-9)


def test_a_mask_put_back_lies_where_it_was_taken_from() -> None:
    drawn = draw_face()
    frame = frame_of(Face((0, 0, 1, 1), drawn.pupils))
    taken = frame.take(np.repeat(drawn.skin[..., None] * np.uint8(255), 3, axis=-1))[..., 0] > 127
    put = frame.put(taken, drawn.skin.shape)
    assert (put ^ drawn.skin).sum() < 0.02 * drawn.skin.sum()


def test_frame_outside_the_image_gives_nothing() -> None:
    frame = Frame(np.array([[1.0, 0.0, 5000.0], [0.0, 1.0, 5000.0]]))
    assert not frame.put(np.ones(frame_size()[::-1], bool), (100, 100)).any()


def test_outline_radius_lies_on_the_outline() -> None:
    outline = Outline(0.1, 0.9, 1.3, 1.9)
    angles = np.linspace(-np.pi, np.pi, 97)
    radius = outline.radius(angles)
    x, y = (outline.centre[axis] + radius * wave for axis, wave in enumerate((np.cos(angles), np.sin(angles))))
    inside, outside = (outline.contains(x, y, scale) for scale in (1.001, 0.999))
    assert inside.all() and not outside.any()
    assert outline.radius(np.array([np.pi / 2]))[0] == pytest.approx(1.9 - outline.centre[1], abs=1e-6)


def test_a_head_that_ends_early_on_one_side_is_turned_to_it() -> None:
    usual = usual_outline((0.0, 1.15))
    assert usual.left == usual.right and usual.chin == pytest.approx(1.955)
    assert turned_outline(usual, 1.2, 1.05) == usual
    turned = turned_outline(usual, 1.4, 0.7)
    assert turned.right == pytest.approx(0.7) and turned.left == pytest.approx(1.1 + 1.5 * 0.4)
    mirrored = turned_outline(usual, 0.7, 1.4)
    assert (mirrored.left, mirrored.right) == (turned.right, turned.left)
