"""The skin: solid noise, points on the surface, stamps in their true size, regions of the face, and the painted layers."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.rendering import noise
from porepatch_lib.rendering.blemishes import draw_person
from porepatch_lib.rendering.features import REGIONS, beard, is_bare, pore_strength, region_of, signed_features
from porepatch_lib.rendering.noise import cell_gaps, flow_noise, gradient_noise
from porepatch_lib.rendering.paint import finish_relief
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.pores import Pores, pore_stamps, sample_pores, scatter
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.skin import Layer, Skin, paint_skin
from porepatch_lib.rendering.stamps import HEIGHT, SHADOW, directions, stamp
from porepatch_lib.rendering.surface import HAIR, SKIN, Head, Landmarks, rasterise

MARKS = Landmarks(
    eye_u=31.5,
    eye_v=26.0,
    brow_v=43.0,
    nose_tip_v=-12.0,
    nostril_v=-23.5,
    mouth_v=-43.0,
    mouth_half_width=24.0,
    chin_v=-78.0,
    hairline_v=82.0,
)
SMALL = RenderSettings(texel_mm=0.4, pore_density_per_cm2=25.0, stubble=1.0)


def flat_head(half_mm: tuple[float, float], step_mm: float, uv_scale: tuple[float, float] = (1.0, 1.0)) -> Head:
    """A plane that faces the camera, with the face coordinates of a face."""
    x, y = (np.linspace(-half, half, round(2 * half / step_mm) + 1) for half in half_mm)
    place = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    index = np.arange(len(place)).reshape(len(y), len(x))
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]).astype(np.int32)
    neutral = np.column_stack([place, np.zeros(len(place))])
    basis = np.eye(3)[:, None, :].repeat(len(place), axis=1)
    uv = place * uv_scale
    return Head(
        neutral=neutral,
        vertices=neutral,
        normals=basis[2],
        gradient_u=basis[0] * uv_scale[0],
        gradient_v=basis[1] * uv_scale[1],
        uv=uv,
        place=place,
        landmarks=MARKS,
        triangles=triangles,
        welded=np.arange(len(place), dtype=np.int32),
        part=np.full(len(place), SKIN, np.uint8),
    )


@pytest.fixture(scope="module")
def face() -> Head:
    return flat_head((100.0, 100.0), 4.0)


@pytest.fixture(scope="module")
def skin(face: Head) -> Skin:
    return paint_skin(face, SMALL, np.random.default_rng(4), 2)


def points(count: int, size_mm: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-size_mm, size_mm, (count, 3)).astype(np.float32)


def along_x(count: int) -> np.ndarray:
    return np.tile(np.array([1.0, 0.0, 0.0], np.float32), (count, 1))


# Solid noise


@pytest.mark.parametrize("kind", ["gradient", "flow"])
def test_noise_has_zero_mean_and_unit_variance(kind: str) -> None:
    where = points(40000, 60.0)
    field = gradient_noise(where, 2.0, 7) if kind == "gradient" else flow_noise(where, along_x(len(where)), 0.4, 0.8, 7)
    assert abs(field.mean()) < 0.03 and 0.95 < field.std() < 1.05


def test_gradient_noise_varies_over_its_cells() -> None:
    where = points(20000, 100.0)
    field = gradient_noise(where, 5.0, 3)
    near, far = (gradient_noise(where + np.float32([shift, 0.0, 0.0]), 5.0, 3) for shift in (0.25, 20.0))
    assert np.corrcoef(field, near)[0, 1] > 0.97
    assert abs(np.corrcoef(field, far)[0, 1]) < 0.03
    assert abs(np.corrcoef(field, gradient_noise(where, 5.0, 4))[0, 1]) < 0.03


def test_gradient_noise_vanishes_on_its_lattice() -> None:
    lattice = np.argwhere(np.ones((5, 5, 5))).astype(np.float32) - 2.0
    np.testing.assert_allclose(gradient_noise(3.0 * lattice, 3.0, 1), 0.0, atol=1e-6)


def test_flow_noise_is_longer_along_its_axis() -> None:
    where = points(20000, 40.0)
    axis = along_x(len(where))
    field = flow_noise(where, axis, 0.3, 0.9, 1)
    along, across = (flow_noise(where + np.float32(shift), axis, 0.3, 0.9, 1) for shift in ([0.5, 0.0, 0.0], [0.0, 0.5, 0.0]))
    # The correlation of Gaussian strokes of standard deviation s at distance d is exp(-d^2 / (4 s^2)).
    assert np.corrcoef(field, along)[0, 1] == pytest.approx(np.exp(-(0.5**2) / (4 * 0.9**2)), abs=0.03)
    assert np.corrcoef(field, across)[0, 1] == pytest.approx(np.exp(-(0.5**2) / (4 * 0.3**2)), abs=0.03)


def test_cell_gaps_are_those_of_the_nearest_seeds() -> None:
    where, cell, seed = points(200, 5.0), 1.5, np.uint64(9)
    lattice = np.argwhere(np.ones((12, 12, 12))) - 6
    bits = [int(noise._hash(i, j, k, seed)) for i, j, k in lattice.tolist()]
    shifts = np.array([[(value >> (21 * axis)) % 2**21 / 2**21 for axis in range(3)] for value in bits])
    distances = np.sort(np.linalg.norm(where[:, None] - cell * (lattice + shifts)[None], axis=2), axis=1)
    gaps = cell_gaps(where, along_x(len(where)), cell, 1.0, int(seed))
    np.testing.assert_allclose(gaps, distances[:, 1] - distances[:, 0], atol=1e-5)


# Points and stamps on the surface


def test_scattered_points_keep_their_distance_and_density() -> None:
    head = flat_head((40.0, 30.0), 2.5)
    places = scatter(head, np.full(len(head.triangles), 0.5), np.random.default_rng(0))
    where = places.on(head.neutral, head.triangles)
    gaps = np.linalg.norm(where[:, None] - where[None], axis=2)
    gaps[np.arange(len(where)), np.arange(len(where))] = np.inf
    assert gaps.min() >= 0.75 / np.sqrt(0.5)
    assert 0.4 < len(where) / (80.0 * 60.0) < 0.5
    assert np.abs(where.mean(axis=0)).max() < 1.0


def test_scattered_points_lie_only_where_there_is_a_density() -> None:
    head = flat_head((20.0, 20.0), 2.0)
    right = head.place[head.triangles].mean(axis=1)[:, 0] > 0.0
    places = scatter(head, right * 1.0, np.random.default_rng(1), hard_core=0.0)
    assert len(places) > 500 and places.on(head.place, head.triangles)[:, 0].min() >= 0.0
    assert len(scatter(head, np.zeros(len(head.triangles)), np.random.default_rng(1))) == 0


def test_pores_are_denser_and_larger_on_the_nose_than_at_the_temples(face: Head) -> None:
    pores = sample_pores(face, np.ones(len(face.triangles)), 100.0, 1.0, 1.0, np.random.default_rng(2))
    where = pores.places.on(face.place, face.triangles)
    nose = np.linalg.norm(where - [0.0, MARKS.nose_tip_v], axis=1) < 9.0
    temple = np.linalg.norm(np.abs(where) - [66.0, 38.0], axis=1) < 9.0  # four such places
    assert nose.sum() > 1.5 * temple.sum() / 4.0
    for value in (pores.radius_mm, pores.depth_mm, pores.contrast):
        assert value[nose].mean() > 1.3 * value[temple].mean()
    assert pores.elongation.min() >= 1.0 and pores.contrast.max() < 1.0
    np.testing.assert_allclose(np.linalg.norm(pores.direction, axis=1), 1.0)
    np.testing.assert_allclose(pores.direction[:, 2], 0.0, atol=1e-12)


@pytest.mark.parametrize("uv_scale", [(1.0, 1.0), (2.0, 1.0), (-1.0, 0.5)])
def test_pore_is_a_gaussian_pit_whatever_the_texture_coordinates(uv_scale: tuple[float, float]) -> None:
    head = flat_head((3.0, 3.0), 1.0, uv_scale)
    pore = Pores(
        places=Places(np.array([10]), np.array([[0.2, 0.3]])),
        radius_mm=np.array([0.3]),
        depth_mm=np.array([0.08]),
        contrast=np.array([0.25]),
        elongation=np.array([2.25]),
        direction=directions(head, np.array([10]), np.array([0.4])),
    )
    np.testing.assert_allclose(pore.direction, [[np.cos(0.4), np.sin(0.4), 0.0]])
    low = head.uv.min(axis=0)
    texels = rasterise(head, low, head.uv.max(axis=0), 0.1)
    stamped = stamp(pore_stamps(head, pore), texels.neutral, low, 0.1, 0)
    offset = texels.neutral[..., :2] - pore.places.on(head.neutral, head.triangles)[0, :2]
    along, across = offset @ [np.cos(0.4), np.sin(0.4)], offset @ [-np.sin(0.4), np.cos(0.4)]
    pit = np.exp(-0.5 * ((along / 0.45) ** 2 + (across / 0.2) ** 2))
    near = np.hypot(along, across) < 3.4 * 0.45
    np.testing.assert_allclose(stamped[near, HEIGHT], -0.08 * pit[near], atol=1e-7)
    np.testing.assert_allclose(np.exp(-stamped[near, SHADOW]), (1.0 - 0.25) ** pit[near], rtol=1e-5)
    assert np.abs(stamped[~near]).max() < 1e-3


def test_stamps_do_not_depend_on_the_strips() -> None:
    head = flat_head((4.0, 4.0), 1.0)
    pores = sample_pores(head, np.ones(len(head.triangles)), 60.0, 1.0, 1.0, np.random.default_rng(0))
    low = head.uv.min(axis=0)
    texels = rasterise(head, low, head.uv.max(axis=0), 0.1)
    whole = stamp(pore_stamps(head, pores), texels.neutral, low, 0.1, 0)
    part = stamp(pore_stamps(head, pores), texels.neutral[30:50], low, 0.1, 30)
    np.testing.assert_array_equal(part, whole[30:50])


def test_slopes_are_the_derivatives_of_the_height() -> None:
    head = flat_head((5.0, 4.0), 1.0)
    texels = rasterise(head, head.uv.min(axis=0), head.uv.max(axis=0), 0.05)
    x, y = texels.neutral[..., 0].astype(np.float64), texels.neutral[..., 1].astype(np.float64)
    pit = -0.1 * np.exp(-0.5 * (x**2 + y**2))
    maps = np.ones((*pit.shape, 8), np.float32)
    finish_relief(pit.astype(np.float32), texels, 2.0, maps)
    inside = np.hypot(x, y) < 2.5
    np.testing.assert_allclose(maps[inside, 3], 2.0 * (-x * pit)[inside], atol=1e-3)
    np.testing.assert_allclose(maps[inside, 4], 2.0 * (-y * pit)[inside], atol=1e-3)
    # A Gaussian blurred with sigma 0.35 is lower by 1 + 0.35^2 and wider by its root.
    wide = 1.0 + 0.35**2
    blurred = -0.1 / wide * np.exp(-0.5 * (x**2 + y**2) / wide)
    np.testing.assert_allclose(maps[inside, 5], 2.0 * (-x / wide * blurred)[inside], atol=2e-3)
    assert maps[80, 100, 7] < maps[80, 100, 1] < 1.0  # the bottom of the pit is dark, and duller yet


# Regions


def test_regions_at_the_landmarks() -> None:
    places = {
        "forehead": (0.0, MARKS.brow_v + 18.0),
        "nose": (0.0, MARKS.nose_tip_v),
        "cheek_left": (-38.0, -10.0),
        "cheek_right": (38.0, -10.0),
        "chin": (0.0, MARKS.chin_v),
        "mouth": (0.0, MARKS.mouth_v),
        "eye_left": (-MARKS.eye_u, MARKS.eye_v),
        "eye_right": (MARKS.eye_u, MARKS.eye_v),
        "other": (0.0, MARKS.hairline_v + 10.0),
    }
    assert set(places) == set(REGIONS)
    found = region_of(np.array(list(places.values())), MARKS)
    assert [REGIONS[index] for index in found] == list(places)


def test_features_lie_where_the_landmarks_say() -> None:
    middles = {
        "eyes": (MARKS.eye_u, MARKS.eye_v),
        "lips": (0.0, MARKS.mouth_v),
        "nostrils": (6.0, MARKS.nostril_v),
        "brows": (0.92 * MARKS.eye_u, MARKS.brow_v + 2.5),
        "lashes": (MARKS.eye_u, MARKS.eye_v - 4.5),
    }
    far = np.array([0.0]), np.array([64.0])
    for name, (u, v) in middles.items():
        sides = signed_features(MARKS, np.array([u, -u]), np.array([v, v]))[name]
        assert sides[0] < 0.0 and sides[0] == sides[1]
        assert not is_bare(MARKS, np.array([u]), np.array([v]), np.array([50.0])).any()
    assert min(signed[0] for signed in signed_features(MARKS, *far).values()) > 5.0
    assert is_bare(MARKS, *far, np.array([50.0])).all() and not is_bare(MARKS, *far, np.array([1.0])).any()
    assert pore_strength(MARKS, np.array([0.0]), np.array([MARKS.nose_tip_v])) == 1.0
    assert beard(MARKS, np.array([0.0, 0.0]), np.array([MARKS.chin_v, 0.0])) == pytest.approx([1.0, 0.0], abs=0.05)


# The painted skin


def test_same_seed_gives_the_same_skin_on_any_number_of_threads(face: Head, skin: Skin) -> None:
    again = paint_skin(face, SMALL, np.random.default_rng(4), 1)
    for ours, theirs in ((skin.fine, again.fine), (skin.coarse, again.coarse)):
        np.testing.assert_array_equal(ours.maps, theirs.maps)
    assert again.parameters == skin.parameters and again.exposure == skin.exposure
    other = paint_skin(face, SMALL, np.random.default_rng(5), 2)
    assert other.parameters != skin.parameters and not np.array_equal(other.coarse.maps, skin.coarse.maps)


def albedo_at(layer: Layer, places: np.ndarray, blur_mm: float) -> np.ndarray:
    blurred = cv2.GaussianBlur(layer.maps[..., :3], (0, 0), blur_mm / layer.texel_mm)
    column, row = np.rint((places - layer.low_mm) / layer.texel_mm).astype(int).T
    return blurred[row, column]


def test_fine_and_coarse_layers_agree(face: Head) -> None:
    settings = replace(SMALL, texel_mm=0.2)
    skin = paint_skin(face, settings, np.random.default_rng(1), 2)
    places = np.array([[u, v] for u in range(-60, 61, 6) for v in range(-70, 61, 6)], np.float64)
    places = places[is_bare(MARKS, places[:, 0], places[:, 1], np.full(len(places), 50.0))]
    fine, coarse = albedo_at(skin.fine, places, 2.0), albedo_at(skin.coarse, places, 2.0)
    np.testing.assert_allclose(fine, coarse, rtol=0.06)
    assert np.corrcoef(fine[:, 1], coarse[:, 1])[0, 1] > 0.97


def test_maps_are_sane(skin: Skin) -> None:
    for layer in (skin.fine, skin.coarse):
        assert layer.maps.dtype == np.float32 and np.isfinite(layer.maps).all()
        assert layer.maps[..., :3].min() >= 0.0 and layer.maps[..., :3].max() < 1.0
    red, green, blue = skin.coarse.maps[skin.coarse.maps[..., 0] > 0.1][:, :3].mean(axis=0)
    assert red > green > blue
    assert skin.fine.texel_mm == 0.4 and set(skin.parameters) == set(vars(draw_person(SMALL, np.random.default_rng(0))))


def test_bare_skin_leaves_out_features_and_hair(face: Head) -> None:
    hairy = replace(face, part=np.where(face.place[:, 1] > 60.0, HAIR, SKIN).astype(np.uint8))
    skin = paint_skin(hairy, replace(SMALL, texel_mm=1.0), np.random.default_rng(0), 1)

    def value(u: float, v: float) -> int:
        column, row = np.rint((np.array([u, v]) - skin.bare_low_mm) / skin.bare_step_mm).astype(int)
        return int(skin.bare[row, column])

    assert set(np.unique(skin.bare)) == {0, 255}
    for u, v in ((31.5, 26.0), (-31.5, 26.0), (0.0, -43.0), (29.0, 45.5), (6.0, -23.5), (0.0, 62.0), (0.0, -95.0)):
        assert value(u, v) == 0
    for u, v in ((0.0, 53.0), (-38.0, -10.0), (38.0, -10.0), (0.0, -12.0), (0.0, -78.0)):
        assert value(u, v) == 255
    where = skin.pores.places.on(hairy.place, hairy.triangles)
    assert where[:, 1].max() < 62.0
    dark, pale = (albedo_at(skin.coarse, np.array([[0.0, v]]), 2.0).mean() for v in (80.0, 52.0))
    assert dark < 0.7 * pale


def test_relief_and_stubble_can_be_switched_off(face: Head, skin: Skin) -> None:
    assert skin.parameters["stubble_per_cm2"] > 0.0 and np.abs(skin.fine.maps[..., 3:7]).mean() > 0.001
    plain = paint_skin(face, replace(SMALL, relief=0.0, stubble=0.0), np.random.default_rng(4), 2)
    assert plain.parameters == skin.parameters | {"stubble_per_cm2": 0.0}
    assert np.abs(plain.fine.maps[..., 3:7]).max() == 0.0
    np.testing.assert_array_equal(plain.pores.places.triangle, skin.pores.places.triangle)
    chin = np.array([[u, MARKS.chin_v + 4.0] for u in range(-10, 11)], np.float64)
    assert albedo_at(skin.fine, chin, 2.0).mean() < 0.97 * albedo_at(plain.fine, chin, 2.0).mean()


def test_photographs_replace_pores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.standard_normal((400, 400)), (0, 0), 1.0)[..., None]
    photograph = np.clip(np.array([120.0, 140.0, 190.0]) * (1.0 + 0.5 * grain), 30.0, 240.0).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "skin.png"), photograph)
    cv2.imwrite(str(tmp_path / "skin.mask.png"), np.full((400, 400), 255, np.uint8))
    head = flat_head((12.0, 12.0), 2.0)
    settings = replace(SMALL, texel_mm=0.25, skin_photographs=str(tmp_path), skin_mm_per_px=0.25)
    skin = paint_skin(head, settings, np.random.default_rng(0), 1)
    painted = paint_skin(head, replace(settings, skin_photographs=""), np.random.default_rng(0), 1)
    assert len(skin.pores.places.triangle) == 0 and len(painted.pores.places.triangle) > 0

    def contrast(layer: Layer) -> float:
        green = layer.maps[20:-20, 20:-20, 1]
        return float(np.median(np.abs(green / cv2.GaussianBlur(green, (0, 0), 4.0) - 1.0)))  # moles count little

    assert contrast(skin.fine) > 2.0 * contrast(painted.fine)
    np.testing.assert_array_equal(skin.coarse.maps.shape, painted.coarse.maps.shape)
