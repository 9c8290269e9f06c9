"""Pictures of clouds: where points land, which one is seen, how they are shaded and coloured, and the stage on files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.reconstruction.ply import write_ply
from porepatch_lib.reporting.clouds import colours_of, draw_clouds, heading, picture_of, read_points
from porepatch_lib.reporting.clouds_render import (
    FINE,
    Points,
    Window,
    brightness,
    disc_radii,
    extent,
    front_view,
    painted,
    render,
    splat,
    turned,
)
from porepatch_lib.reporting.clouds_sheet import round_below

AHEAD = front_view(np.array([0.0, 0.0, -3.0]), np.array([0.0, 2.0, 0.5]))  # a viewer on the z axis, y is up
SKIN = (200, 120, 90)
FACTS = {
    "subject": "face08",
    "descriptor": "hynet",
    "variant": "mutual",
    "reason": "",
    "alignment": "surface",
    "row": {"position_error_mm": {"median": 0.3, "lowest": 0.2, "highest": 0.4}},
    "front": {"direction": [0, 0, -1], "up": [0, 1, 0]},
}


def seen(*points: tuple[float, float, float, float], width: int = 9, height: int = 7):
    """The index per pixel of points (x, y, depth, radius)."""
    x, y, depth, radius = np.array(points, np.float32).reshape(-1, 4).T
    return splat(x, y, depth, radius, width, height)


def ball(count: int, error_mm: float | None = 0.1, radius: float = 20.0) -> Points:
    """Points on a ball with outward normals."""
    normals = np.random.default_rng(1).normal(size=(count, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    errors = None if error_mm is None else np.full(count, error_mm, np.float32)
    return Points(np.float32(radius) * normals, np.full((count, 3), SKIN, np.uint8), normals, errors)


def write_points(path, points: Points) -> None:
    columns = dict(zip("xyz", points.xyz.T, strict=True)) | dict(zip(("red", "green", "blue"), points.rgb.T, strict=True))
    if points.normals is not None:
        columns |= dict(zip(("nx", "ny", "nz"), points.normals.T, strict=True))
    if points.error_mm is not None:
        columns["error_mm"] = points.error_mm
    vertices = np.empty(len(points), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        vertices[name] = column
    write_ply(path, vertices)


def test_a_point_lands_at_its_pixel_and_covers_its_disc():
    index = seen((3, 2, 5, 1.0))
    expected = np.full((7, 9), -1)
    expected[2, 2:5] = expected[1:4, 3] = 0
    np.testing.assert_array_equal(index, expected)


@pytest.mark.parametrize("place", [(3.0, 2.0), (3.5, 2.5), (2.51, 1.6)])
def test_a_point_is_never_lost_between_pixels(place):
    index = seen((*place, 5, 0.1))
    assert index[round(place[1] - 1e-6), round(place[0] - 1e-6)] == 0


def test_the_nearest_point_wins_whatever_its_place_in_the_list():
    near, far = (3, 2, 1, 1.5), (4, 2, 9, 1.5)
    for points, winner in (((near, far), 0), ((far, near), 1)):
        index = seen(*points)
        assert index[2, 3] == index[2, 4] == winner
        assert index[2, 5] == 1 - winner  # the far one looks out on its side


def test_neighbours_at_one_depth_each_keep_their_side():
    index = seen((2, 3, 5, 4), (6, 3, 5, 4))
    assert (index[:, :4][index[:, :4] >= 0] == 0).all() and (index[:, 5:][index[:, 5:] >= 0] == 1).all()


def test_points_outside_and_no_points_leave_the_picture_empty():
    assert (seen((-20, 2, 5, 1), (50, 2, 5, 1)) == -1).all()
    assert (seen() == -1).all()


def test_a_view_has_right_down_and_into_the_picture_as_a_right_handed_frame():
    np.testing.assert_allclose(AHEAD @ AHEAD.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(AHEAD, [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=1e-12)
    from_left = turned(AHEAD, 90)
    np.testing.assert_allclose(from_left, [[0, 0, 1], [0, -1, 0], [1, 0, 0]], atol=1e-12)  # stands at -x, looks along +x


def test_a_world_point_is_drawn_where_the_window_says():
    points = Points(np.array([[12, 7, 3]], np.float32), np.array([[10, 20, 30]], np.uint8))
    window = Window(np.array([10.0, 5.0, 0.0]), 2.0, 21, 15)  # the point is 2 to the right and 2 up, 4 pixels each
    (picture,) = render(points, AHEAD, window, [points.rgb], 0.4)
    assert picture.shape == (15, 21, 3)
    rows, columns = np.nonzero((picture != 255).any(axis=2))
    assert (rows.mean(), columns.mean()) == (7 - 4, 10 + 4)
    big = FINE * FINE
    (close,) = render(points, AHEAD, window, [points.rgb], 4.0)
    np.testing.assert_array_equal(close[3, 14], [10, 20, 30])
    assert (close != 255).any(axis=2).sum() > big


def test_points_seen_from_behind_are_left_out():
    points = Points(
        np.array([[0, 0, 5], [0, 0, 0]], np.float32),
        np.array([[255, 0, 0], [0, 0, 255]], np.uint8),
        np.array([[0, 0, -1], [0, 0, 1]], np.float32),
    )
    (picture,) = render(points, AHEAD, Window(np.zeros(3), 1.0, 9, 9), [points.rgb], 3.0)
    np.testing.assert_array_equal(picture[4, 4], [0, 0, 255])  # the nearer one looks away


def test_edges_are_means_over_the_finer_grid():
    nearest = np.full((FINE, 2 * FINE), -1)
    nearest[0, 0] = 0
    picture = painted(nearest, np.array([[0, 90, 255]], np.uint8))
    share = 1 / FINE**2
    np.testing.assert_allclose(picture[0, 0], [255 * (1 - share), 255 - 165 * share, 255], atol=0.51)
    np.testing.assert_array_equal(picture[0, 1], [255, 255, 255])


def test_light_is_full_towards_the_lamp_and_never_below_the_least():
    normals = ball(3000).normals
    assert normals is not None
    light = brightness(normals, AHEAD)
    assert light.min() == np.float32(0.3) and 0.99 < light.max() <= 1.0
    brightest = AHEAD @ normals[light.argmax()]
    assert brightest[0] < 0 and brightest[1] < 0 and brightest[2] < 0  # left, up, towards the viewer


def test_discs_close_the_gaps_of_dense_points_and_are_dots_where_sparse():
    y, x = (part.ravel().astype(np.float32) for part in np.mgrid[0:120:2, 0:120:2])  # a point every 2 pixels
    dense = disc_radii(x, y, 120, 120, 9.0)
    inner = (x > 24) & (x < 96) & (y > 24) & (y < 96)
    assert (dense[inner] > 2 / np.sqrt(2)).all() and (dense[inner] < 4).all()
    assert disc_radii(x[:1], y[:1], 120, 120, 5.0).tolist() == [5.0]
    assert disc_radii(x[:0], y[:0], 120, 120, 5.0).shape == (0,)


def test_extent_leaves_out_strays():
    line = np.linspace(0, 10, 1001, dtype=np.float32)[:, None] * np.array([[1, 0, 0]], np.float32)
    strays = np.array([[1e4, 0, 0], [-1e4, 0, 0]], np.float32)
    low, high = extent(np.concatenate([line, strays]), AHEAD, 0.01)
    assert -0.1 < low[0] < 0.2 and 9.8 < high[0] < 10.1


def test_errors_have_even_colours_and_larger_ones_their_own():
    points = ball(5)
    errors = Points(points.xyz, points.rgb, None, np.array([0.0, 0.1, 0.5, 0.51, np.nan], np.float32))
    none, _, most, above, unknown = colours_of(errors, "error")
    assert none.sum() < most.sum()
    np.testing.assert_array_equal(above, [0xE0, 0x21, 0x8A])
    np.testing.assert_array_equal(unknown, [190, 190, 190])
    assert heading("Sparse", errors) == "Sparse: 5 points, median error 0.300 mm, 25.0 % above 0.5 mm"


def test_a_subject_that_may_not_be_shown_has_no_colours_of_photographs():
    for points in (ball(500, error_mm=None), Points(ball(500).xyz, ball(500).rgb)):
        hidden, public = (picture_of(FACTS, {"Sparse": points}, shown).astype(int) for shown in (False, True))
        coloured = [np.abs(picture[..., 0] - picture[..., 2]) > 20 for picture in (hidden, public)]
        assert not coloured[0].any() and coloured[1].any()


def test_round_lengths_of_scale_bars():
    assert [round_below(value) for value in (0.3, 1.0, 4.9, 5.0, 99.0)] == [0.2, 1.0, 2.0, 5.0, 50.0]


def test_stage_draws_both_clouds(tmp_path):
    write_json(tmp_path / "metrics.json", FACTS)
    write_points(tmp_path / "dense.ply", ball(20000, 0.1))
    write_points(tmp_path / "sparse.ply", ball(300, 0.6))
    for name in ("one", "two"):
        draw_clouds(tmp_path, tmp_path / f"{name}.png", shown=True)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    picture = cv2.imread(str(tmp_path / "one.png"))[:, :, ::-1]
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    above = (red - green > 100) & (blue - green > 40)
    middle = picture.shape[1] // 2
    assert above[:-120, :middle].sum() > 1000 and not above[:-120, middle:].any()  # only the sparse cloud is off
    (tmp_path / "dense.ply").unlink()
    draw_clouds(tmp_path, tmp_path / "alone.png", shown=True)
    assert cv2.imread(str(tmp_path / "alone.png")).shape[1] < picture.shape[1]


def test_stage_says_why_there_is_nothing(tmp_path):
    facts = {key: value for key, value in FACTS.items() if key != "front"} | {"reason": "no initial pair"}
    write_json(tmp_path / "metrics.json", facts)
    draw_clouds(tmp_path, tmp_path / "absent.png", shown=True)
    write_points(tmp_path / "sparse.ply", ball(0))
    draw_clouds(tmp_path, tmp_path / "empty.png", shown=True)
    assert (tmp_path / "absent.png").read_bytes() == (tmp_path / "empty.png").read_bytes()
    assert (cv2.imread(str(tmp_path / "empty.png")) < 128).any()


def test_one_point_is_a_picture_too():
    picture = picture_of(FACTS, {"Sparse": ball(1)}, shown=True)
    assert (np.abs(picture.astype(int) - SKIN).max(axis=2) < 80).any()


def test_missing_facts_and_damaged_clouds_are_told_in_a_sentence(tmp_path):
    write_json(tmp_path / "metrics.json", {key: value for key, value in FACTS.items() if key != "front"})
    write_points(tmp_path / "sparse.ply", ball(3))
    with pytest.raises(PorePatchError, match=r"have no 'front'.*run again\.$"):
        draw_clouds(tmp_path, tmp_path / "clouds.png", shown=True)
    write_ply(tmp_path / "bare.ply", np.zeros(3, [(name, "f4") for name in "xyz"]))
    with pytest.raises(PorePatchError, match=r"bare\.ply has no properties red, green, blue"):
        read_points(tmp_path / "bare.ply")
