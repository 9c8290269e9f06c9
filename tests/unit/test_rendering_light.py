"""Lights, rays, textures, reflectance and sensor of the renderer: closed forms first."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from porepatch_lib.geometry import Camera, Pose, rays
from porepatch_lib.rendering.lights import Lights, light_on_vertices, mean_curvature, studio_lights
from porepatch_lib.rendering.reflectance import (
    LOBES,
    REFLECTANCE,
    diffuse,
    diffusion_table,
    fresnel,
    highlight,
    interreflected,
    sky_highlight,
)
from porepatch_lib.rendering.rig import Lens
from porepatch_lib.rendering.sensor import add_noise, blur_by_depth, develop, expose, read_mosaic
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.shading import Shaded, shade_view, vertex_attributes
from porepatch_lib.rendering.skin import Layer
from porepatch_lib.rendering.surface import Head, Landmarks, texture_gradients, vertex_normals
from porepatch_lib.rendering.textures import Textures, build_pyramid, sample
from porepatch_lib.rendering.visibility import build_scene

DISTANCE = 900.0
BLACK = np.zeros(3)


def camera(width: int = 48, height: int = 40, focal: float = 500.0, k1: float = 0.0) -> Camera:
    return Camera("SIMPLE_RADIAL", width, height, (focal, 0.5 * (width - 1), 0.5 * (height - 1), k1))


def pose_at(azimuth_deg: float = 0.0, distance: float = DISTANCE) -> Pose:
    """Look at the origin from the front (+z), turned about y."""
    angle = np.deg2rad(azimuth_deg)
    backward = np.array([np.sin(angle), 0.0, np.cos(angle)])
    rotation = np.stack([np.array([np.cos(angle), 0.0, -np.sin(angle)]), [0.0, -1.0, 0.0], -backward])
    return Pose(rotation, np.array([0.0, 0.0, distance]))


def head_of(vertices: np.ndarray, triangles: np.ndarray, uv: np.ndarray) -> Head:
    welded = np.arange(len(vertices), dtype=np.int32)
    gradients = texture_gradients(vertices, triangles, uv)
    normals = vertex_normals(vertices, triangles, welded)
    landmarks = Landmarks(*np.zeros(9))
    part = np.zeros(len(vertices), np.uint8)
    return Head(vertices, vertices, normals, *gradients, uv, uv, landmarks, triangles, welded, part)


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([first, first + 1, first + columns + 1], axis=1)
    upper = np.stack([first, first + columns + 1, first + columns], axis=1)
    return np.concatenate([lower, upper]).astype(np.int32)


def moved(head: Head, z_mm: float) -> np.ndarray:
    return np.add(head.vertices, [0.0, 0.0, z_mm])


def plane(half_mm: float = 60.0, count: int = 9, tilt_deg: float = 0.0) -> Head:
    """A square that faces +z, turned about x."""
    grid = np.linspace(-half_mm, half_mm, count)
    uv = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    angle = np.deg2rad(tilt_deg)
    vertices = np.column_stack([uv[:, 0], np.cos(angle) * uv[:, 1], np.sin(angle) * uv[:, 1]])
    return head_of(vertices, grid_triangles(count, count), uv)


def sphere(radius_mm: float = 30.0, count: int = 40) -> Head:
    """The part of a sphere before z = 0.1 radius, in angles as texture coordinates (mm)."""
    angles = np.linspace(-1.47, 1.47, count)
    a, b = (grid.ravel() for grid in np.meshgrid(angles, angles))
    vertices = radius_mm * np.column_stack([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
    return head_of(vertices, grid_triangles(count, count), radius_mm * np.column_stack([a, b]))


def textures(maps: np.ndarray, texel_mm: float, low_mm: float) -> Textures:
    layer = Layer(np.full(2, low_mm), texel_mm, maps.astype(np.float32))
    pyramid = build_pyramid(layer, 1)
    return Textures(pyramid, pyramid)


def even_skin(albedo: float = 0.5, shine: float = 1.0) -> Textures:
    maps = np.zeros((4, 4, 8), np.float32)
    maps[..., :3], maps[..., 7] = albedo, shine
    return textures(maps, 100.0, -150.0)


def lamp(position: tuple[float, float, float], ambient: float = 0.0, radius: float = 0.0) -> Lights:
    return Lights(np.array([position]), np.array([radius]), np.ones((1, 3)), np.full(3, ambient))


def photograph(head: Head, skin: Textures, lights: Lights, **changes: object) -> Shaded:
    options = {
        "camera": camera(),
        "pose": pose_at(),
        "specular": 0.0,
        "cross_polarised": False,
        "supersampling": 1,
        "threads": 1,
        "light": np.ones((len(head.vertices), len(lights.positions) + 1), np.float32),
    } | changes
    attributes = vertex_attributes(head, options.pop("light"))
    return shade_view(head, attributes, textures=skin, lights=lights, **options)


# Rays


@pytest.mark.parametrize("k1", [0.0, -0.4])
def test_depth_on_a_tilted_plane_is_exact(k1: float) -> None:
    view, pose = camera(k1=k1, focal=400.0), pose_at(25.0)
    seen = photograph(plane(400.0, 3, tilt_deg=40.0), even_skin(), lamp((0.0, 0.0, 1000.0)), camera=view, pose=pose)
    pixels = np.stack(np.meshgrid(np.arange(view.width), np.arange(view.height)), axis=-1).reshape(-1, 2)
    direction = rays(view, pixels.astype(float)) @ pose.rotation
    normal = np.array([0.0, -np.sin(np.deg2rad(40.0)), np.cos(np.deg2rad(40.0))])
    expected = -(pose.centre @ normal) / (direction @ normal)
    assert np.abs(seen.depth.ravel() - expected).max() < 1e-4
    points = pose.centre + direction * expected[:, None]
    uv = np.column_stack([points[:, 0], points[:, 1] / np.cos(np.deg2rad(40.0))])
    assert np.abs(seen.uv.reshape(-1, 2) - uv).max() < 1e-3
    cosine = -(direction @ normal) / np.linalg.norm(direction, axis=1)
    assert np.abs(seen.cosine.ravel() - cosine).max() < 1e-6


def test_depth_on_a_sphere_lies_on_its_facets() -> None:
    radius, count = 30.0, 300
    head = sphere(radius, count)
    seen = photograph(head, even_skin(), lamp((0.0, 0.0, 1000.0)), camera=camera(focal=400.0))
    hit = ~np.isnan(seen.depth)
    rows, columns = np.nonzero(hit)
    points = rays(camera(focal=400.0), np.column_stack([columns, rows]).astype(float)) * seen.depth[hit][:, None]
    away = np.linalg.norm(pose_at().to_world(points), axis=1)
    edge = np.sqrt(2.0) * radius * 2.94 / (count - 1)
    assert 300 < hit.sum() < hit.size / 2
    assert away.max() < radius + 1e-3 and away.min() > radius - edge**2 / (8.0 * radius) - 1e-3
    assert (seen.triangle[hit] >= 0).all() and (seen.triangle[~hit] == -1).all() and (seen.cosine[~hit] == 0.0).all()


def test_edges_between_triangles_have_no_gaps() -> None:
    # Pixel centres lie exactly on the edges of this grid.
    view = Camera("PINHOLE", 33, 33, (DISTANCE, DISTANCE, 16.0, 16.0))
    seen = photograph(plane(16.0, 33), even_skin(), lamp((0.0, 0.0, 1000.0)), camera=view)
    assert np.isfinite(seen.depth[1:-1, 1:-1]).all()


def test_the_nearer_surface_is_seen_and_what_is_behind_the_camera_is_not() -> None:
    near, far, behind = plane(5.0, 3), plane(60.0, 3), plane(60.0, 3)
    vertices = np.concatenate([moved(near, 10.0), far.vertices, moved(behind, 2.0 * DISTANCE)])
    triangles = np.concatenate([near.triangles, far.triangles + 9, behind.triangles + 18])
    head = head_of(vertices, triangles, np.concatenate([near.uv, far.uv, behind.uv]))
    depth = photograph(head, even_skin(), lamp((0.0, 0.0, 1000.0))).depth
    assert depth[20, 24] == pytest.approx(DISTANCE - 10.0, abs=1e-4) and depth[2, 2] == pytest.approx(DISTANCE, abs=1e-4)


# Light and reflectance


def test_lambert_on_a_plane() -> None:
    angle = np.deg2rad(50.0)
    lights = lamp((0.0, 1e6 * np.sin(angle), 1e6 * np.cos(angle)), ambient=0.1)
    image = photograph(plane(), even_skin(0.5), lights).image
    expected = 0.5 * (np.cos(angle) + 0.1)  # no curvature, no scattering; the sky is whole
    assert np.abs(image[10:30, 10:38] - expected).max() < 2e-4


def test_light_falls_off_with_the_square_of_the_distance() -> None:
    nearer = head_of(moved(plane(), 100.0), plane().triangles, plane().uv)
    near = photograph(nearer, even_skin(), lamp((0.0, 0.0, 1000.0)))
    assert near.image[20, 24, 0] == pytest.approx(0.5 / 0.9**2, rel=1e-3)


def test_diffusion_table() -> None:
    table = diffusion_table()
    cosine = np.linspace(-1.0, 1.0, table.shape[1])
    assert np.allclose(table[0], np.maximum(cosine, 0.0)[:, None], atol=2e-3)  # flat: Lambert
    sphere_mean = np.trapezoid(table, cosine, axis=1) / 2.0
    assert (table[-1, len(cosine) // 2] > table[0, len(cosine) // 2]).all()
    red, green, blue = table[-1, len(cosine) // 2]
    assert red > green > blue > 0.0
    assert (np.diff(table[-1], axis=0) > -1e-5).all()
    assert np.abs(sphere_mean - 0.25).max() < 0.05
    assert diffuse(table, 0, 0.0, 0.6, 0) == pytest.approx(0.6, abs=2e-3)


def test_highlight_loses_energy_and_tends_to_fresnel() -> None:
    z, step = np.linspace(0.0, 1.0, 801), 2.0 * np.pi / 240
    z = 0.5 * (z[1:] + z[:-1])
    for view in (1.0, 0.7, 0.3, 0.1):
        to_view = np.array([np.sqrt(1.0 - view**2), 0.0, view])
        total = 0.0
        for cosine in z:
            azimuth = np.arange(240) * step
            light = np.stack([np.sqrt(1 - cosine**2) * np.cos(azimuth), np.sqrt(1 - cosine**2) * np.sin(azimuth)], axis=1)
            half = np.column_stack([light, np.full(240, cosine)]) + to_view
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            total += sum(highlight(cosine, view, h[2], h @ to_view, 0.0) for h in half)
        albedo = total * step / len(z) / np.pi
        assert albedo < 1.0
        if view == 1.0:
            assert 0.9 * REFLECTANCE < albedo < 1.05 * REFLECTANCE
        assert albedo == pytest.approx(sky_highlight(view), rel=0.7)
    assert fresnel(1.0) == pytest.approx(REFLECTANCE) and fresnel(0.0) == pytest.approx(1.0)


def test_highlight_seen_straight_on() -> None:
    peak = sum(weight / (4.0 * roughness**4) for weight, roughness in LOBES)  # pi D V at normal incidence
    assert highlight(1.0, 1.0, 1.0, 1.0, 0.0) == pytest.approx(REFLECTANCE * peak)
    assert highlight(-0.1, 1.0, 1.0, 1.0, 0.0) == 0.0
    assert highlight(1.0, 1.0, 1.0, 1.0, 0.02) < highlight(1.0, 1.0, 1.0, 1.0, 0.0)


def test_hollows_keep_more_light_of_their_own_colour() -> None:
    assert interreflected(1.0, 0.6) == pytest.approx(1.0, abs=0.01) and interreflected(0.0, 0.6) == 0.0
    assert interreflected(0.4, 0.6) > interreflected(0.4, 0.2) >= 0.4


def test_cross_polarised_light_is_light_without_highlights() -> None:
    head, lights = sphere(), lamp((300.0, 200.0, 800.0), ambient=0.2)
    parallel = photograph(head, even_skin(), lights, specular=1.0).image
    without = photograph(head, even_skin(), lights, specular=0.0).image
    crossed = photograph(head, even_skin(), lights, specular=1.0, cross_polarised=True).image
    assert (crossed == without).all()
    assert (parallel - without).max() > 0.1


def test_highlights_move_with_the_view_and_diffuse_light_does_not() -> None:
    head, lights = sphere(radius_mm=25.0, count=120), lamp((200.0, 0.0, 900.0))
    brightest, shades = [], []
    for azimuth in (-15.0, 15.0):
        view = photograph(head, even_skin(), lights, pose=pose_at(azimuth), specular=1.0)
        crossed = photograph(head, even_skin(), lights, pose=pose_at(azimuth), cross_polarised=True)
        mirrored = (view.image - crossed.image)[..., 1]
        peak = np.unravel_index(np.argmax(mirrored), mirrored.shape)
        brightest.append(view.uv[peak][0] / 25.0)
        inside = (view.cosine > 0.8) & (np.abs(view.uv[..., 0]) < 2.0) & (np.abs(view.uv[..., 1]) < 2.0)
        shades.append(crossed.image[inside].mean())
    # The highlight lies halfway between the light and the camera.
    light = np.arctan2(200.0, 900.0)
    expected = [0.5 * (light + np.deg2rad(azimuth)) for azimuth in (-15.0, 15.0)]
    assert np.allclose(brightest, expected, atol=0.06)
    assert shades[0] == pytest.approx(shades[1], rel=0.02)


def test_an_occluder_throws_a_soft_shadow() -> None:
    ground, lid = plane(40.0, 41), plane(10.0, 11)
    vertices = np.concatenate([ground.vertices, moved(lid, 15.0)])
    triangles = np.concatenate([ground.triangles, lid.triangles + len(ground.vertices)])
    head = head_of(vertices, triangles, np.concatenate([ground.uv, lid.uv]))
    lights = lamp((0.0, 0.0, 1000.0), radius=100.0)
    runs = [
        light_on_vertices(build_scene(vertices, triangles, threads), head, lights, np.random.default_rng(1), threads)
        for threads in (1, 2)
    ]
    assert runs[0].tobytes() == runs[1].tobytes()
    light = runs[0][: len(ground.vertices)].reshape(41, 41, 2)
    assert light[20, 20, 0] < 0.05 and light[20, 2, 0] > 0.99  # under the lid, far from it
    assert 0.2 < light[20, 15, 0] < 0.8  # below its edge
    assert light[2, 2, 1] > light[20, 12, 1]  # sky
    assert (runs[0][len(ground.vertices) :, 0] > 0.99).all()


def test_studio_lights_leave_no_side_of_the_face_dark() -> None:
    lights = studio_lights()
    towards = lights.positions / np.linalg.norm(lights.positions, axis=1, keepdims=True)
    for azimuth in np.deg2rad([-80.0, -40.0, 0.0, 40.0, 80.0]):
        normal = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
        white = np.maximum(towards @ normal, 0.0) @ lights.intensity + lights.ambient
        assert (white > 0.35).all() and (white < 1.6).all()


def test_curvature_of_a_sphere() -> None:
    curvature = mean_curvature(sphere(20.0, 60)).reshape(60, 60)
    assert np.allclose(curvature[20:40, 20:40], 1.0 / 20.0, rtol=0.02)
    assert np.allclose(mean_curvature(plane()), 0.0, atol=1e-9)


# Sampling


def checker(square_texels: int = 1) -> Textures:
    index = np.arange(800) // square_texels
    maps = np.zeros((800, 800, 8), np.float32)
    maps[..., :3] = np.where((index[:, None] + index) % 2, 0.8, 0.2)[..., None]
    return textures(maps, 0.5, -200.0)


def test_a_fine_checker_does_not_alias() -> None:
    lights = lamp((0.0, 0.0, 1e6))
    for tilt in (0.0, -70.0):
        view = camera(focal=150.0)  # 6 mm per pixel
        image = photograph(plane(190.0, 3, tilt), checker(), lights, camera=view, supersampling=2).image
        middle = image[16:24, 16:32, 0] / np.cos(np.deg2rad(tilt))
        assert np.abs(middle - 0.5).max() < 0.02


@pytest.mark.parametrize("angle_deg", [0, 30, 60, 90, 120, 150])
def test_a_long_footprint_blurs_only_along_itself(angle_deg: int) -> None:
    along = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    across = np.array([-along[1], along[0]])
    x, y = np.meshgrid(np.arange(64) - 32.0, np.arange(64) - 32.0)
    for stripes, expected in ((across, 0.9), (along, 0.5)):  # of 8 texels: along the footprint, and across it
        maps = np.zeros((64, 64, 8), np.float32)
        maps[..., :3] = (0.5 + 0.4 * np.cos(2.0 * np.pi * (stripes[0] * x + stripes[1] * y) / 8.0))[..., None]
        texel = np.empty(9)
        long, short = 8.0 * along, 0.5 * across
        sample(textures(maps, 1.0, -32.0).fine.arrays, 0.0, 0.0, *long, *short, texel)
        assert texel[0] == pytest.approx(expected, abs=0.1)


def test_lost_relief_widens_the_highlight() -> None:
    maps = np.zeros((400, 400, 8), np.float32)
    maps[..., :3], maps[..., 7] = 0.5, 1.0
    rough = maps.copy()
    rough[..., 3] = np.where(np.arange(400) % 2, 0.4, -0.4)
    view, lights = camera(focal=300.0), lamp((0.0, 0.0, 1000.0))
    smooth_peak, rough_peak = (
        photograph(plane(90.0), textures(m, 0.5, -100.0), lights, camera=view, specular=1.0).image[20, 24, 0]
        - photograph(plane(90.0), textures(m, 0.5, -100.0), lights, camera=view).image[20, 24, 0]
        for m in (maps, rough)
    )
    assert 0.1 * smooth_peak < rough_peak < 0.6 * smooth_peak


def test_edges_are_smooth_and_truth_is_not_interpolated() -> None:
    view = camera()
    seen = photograph(plane(20.5), even_skin(), lamp((0.0, 0.0, 1e6)), camera=view, supersampling=4)
    background, skin = seen.image[0, 0, 0], seen.image[20, 24, 0]
    row = seen.image[20, :, 0]
    between = (row > background + 0.02) & (row < skin - 0.02)
    assert between.sum() == 2  # one pixel on each side
    width = 41.0 * 500.0 / DISTANCE
    assert np.sum((row - background) / (skin - background)) == pytest.approx(width, abs=0.26)  # a quarter per side
    depth = seen.depth[np.isfinite(seen.depth)]
    assert np.abs(depth - DISTANCE).max() < 1e-3


def test_threads_do_not_change_a_byte() -> None:
    head, lights = sphere(), lamp((300.0, 200.0, 800.0), ambient=0.2)
    settings = RenderSettings()
    lens = Lens(np.ones(3), 0.6, DISTANCE)
    results = []
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        seen = photograph(head, checker(7), lights, threads=threads, specular=1.0, supersampling=2)
        image = expose(seen.image, seen.depth, camera(), lens, 1.0, settings, np.random.default_rng(2))
        results.append([seen.image, seen.depth, seen.uv, seen.cosine, seen.triangle, image])
    assert all(one.tobytes() == two.tobytes() for one, two in zip(*results, strict=True))


# Sensor


def test_noise_follows_the_photon_model() -> None:
    rng, variances, levels = np.random.default_rng(0), [], np.array([0.0, 0.2, 0.4, 0.8])
    for level in levels:
        variances.append(add_noise(np.full((300, 300), level, np.float32), 1.0, rng).var())
    slope, offset = np.polyfit(levels, variances, 1)
    assert slope == pytest.approx(1.0 / 15000.0, rel=0.03)
    assert offset == pytest.approx((8.0 / 15000.0) ** 2, rel=5.0)
    double = add_noise(np.full((300, 300), 0.4, np.float32), 2.0, rng).var()
    assert double == pytest.approx(4.0 * variances[2], rel=0.05)
    assert (add_noise(np.full((5, 5), 0.4, np.float32), 0.0, rng) == np.float32(0.4)).all()


def test_the_mosaic_of_a_constant_is_constant() -> None:
    colour = np.array([0.31, 0.42, 0.17], np.float32)
    raw = np.broadcast_to(colour, (20, 22, 3)).copy()
    assert np.abs(read_mosaic(raw, 0.0, np.random.default_rng(0)) - colour).max() < 2e-5


def test_the_mosaic_keeps_each_colour_in_its_place() -> None:
    x = np.arange(40, dtype=np.float32) / 60.0
    raw = np.stack([np.broadcast_to(x, (40, 40)), np.broadcast_to(x[:, None], (40, 40)), np.full((40, 40), 0.3)], axis=2)
    result = read_mosaic(raw.astype(np.float32), 0.0, np.random.default_rng(0))
    assert np.abs(result - raw)[4:-4, 4:-4].max() < 1e-3  # linear ramps are interpolated exactly


def test_a_grey_photograph_is_grey_and_brighter_light_is_brighter() -> None:
    lens = Lens(np.ones(3), 0.6, DISTANCE)
    settings = dataclasses.replace(RenderSettings(), noise=0.0)
    depth = np.full((40, 48), DISTANCE, np.float32)
    means = []
    for level in (0.02, 0.18, 0.5, 0.9, 1.3):
        light = np.full((40, 48, 3), level, np.float32)
        image = expose(light, depth, camera(), lens, 1.0, settings, np.random.default_rng(0)).astype(int)
        assert np.ptp(image[8:-8, 8:-8], axis=2).max() <= 1
        means.append(image[20, 24, 1])
    assert (np.diff(means) > 0).all() and means[-1] < 255
    assert 110 < means[1] < 120  # 18 % grey


def test_development_keeps_middle_grey_and_raises_contrast_around_it() -> None:
    middle = ((0.5 + 0.055) / 1.055) ** 2.4  # sRGB 0.5
    linear = np.array([0.0, 0.4 * middle, middle, 2.0 * middle, 100.0], np.float32)
    image = develop(np.repeat(linear[None, :, None], 3, axis=2))[0, :, 0].astype(int)
    plain = 255.0 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert image[0] == 0 and abs(image[2] - 127.5) <= 0.5 and image[4] == 255
    assert image[1] < plain[1] - 1 and image[3] > plain[3] + 1


def test_defocus_grows_with_depth_and_keeps_the_light() -> None:
    lens = Lens(np.ones(3), 0.5, DISTANCE)
    image = np.zeros((41, 41, 3), np.float32)
    image[20, 20] = 1.0
    for away in (0.0, 30.0, 60.0):
        depth = np.full((41, 41), DISTANCE + away, np.float32)
        spot = blur_by_depth(image, depth, lens, 0.03)[..., 0]
        x = np.arange(41) - 20.0
        assert spot.sum() == pytest.approx(1.0, abs=1e-4)
        assert (spot.sum(axis=0) @ x**2) == pytest.approx(0.5**2 + (0.03 * away) ** 2, rel=0.2)
