"""One view of a head: skin under soft lights, supersampled, and what the centre of each pixel sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.rendering.lights import Lights, mean_curvature
from porepatch_lib.rendering.reflectance import (
    curvature_row,
    diffuse,
    diffusion_table,
    fuzz,
    highlight,
    interreflected,
    scattered_share,
    sky_highlight,
)
from porepatch_lib.rendering.surface import Head
from porepatch_lib.rendering.textures import CHANNELS, Textures, contains, sample
from porepatch_lib.rendering.visibility import cast_strip, cross, lens_parameters, triangles_of_strips
from porepatch_lib.threads import map_threads

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

_BACKGROUND = np.array([0.20, 0.205, 0.21])
_SOFTNESS = (0.0, 0.35, 0.55)  # how much more of the fine relief diffuse red, green, blue light shows than it does anyway
_TERMINATOR = 8.0  # highlights fade where the cosine between the smooth surface and the light falls below 1/8
_LIGHT_COLUMN = 12  # of the attributes: u, v, normal, both gradients, curvature, then the shares of the lights and the sky
_STRIP_ROWS = 16


@dataclass(frozen=True)
class Shaded:
    """A view in linear light, and what lies at the centres of its pixels.

    image: (H,W,3) float32 red, green, blue, mean over each pixel. At pixel centres: depth (H,W) float32 z-depth in mm and uv
    (H,W,2) float32 texture coordinates in mm, NaN on the background; cosine (H,W) float32 between the normal and the
    direction to the camera, 0 on the background; triangle (H,W) int32, -1 on the background.
    """

    image: Image
    depth: NDArray[np.float32]
    uv: NDArray[np.float32]
    cosine: NDArray[np.float32]
    triangle: NDArray[np.int32]


def vertex_attributes(head: Head, light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is interpolated over triangles (N, 12+L+1) float32; `light` (N,L+1) are the shares of lights and sky."""
    geometry = np.column_stack([head.uv, head.normals, head.gradient_u, head.gradient_v, mean_curvature(head)])
    return np.concatenate([geometry, light], axis=1, dtype=np.float32)


def shade_view(
    head: Head,
    attributes: NDArray[np.float32],
    camera: Camera,
    pose: Pose,
    textures: Textures,
    lights: Lights,
    specular: float,
    cross_polarised: bool,
    supersampling: int,
    threads: int,
) -> Shaded:
    """Photograph a head in linear light with supersampling x supersampling rays per pixel and one more through its centre.

    `specular` scales the highlights; `cross_polarised` light has none, exactly as `specular` 0.
    """
    shape = (camera.height, camera.width)
    shaded = Shaded(
        image=np.empty((*shape, 3), np.float32),
        depth=np.empty(shape, np.float32),
        uv=np.empty((*shape, 2), np.float32),
        cosine=np.empty(shape, np.float32),
        triangle=np.empty(shape, np.int32),
    )
    lens = lens_parameters(camera)
    local, bounds, start, order = triangles_of_strips(camera, pose, head.vertices, head.triangles, _STRIP_ROWS)
    mesh = (local, head.triangles, attributes)
    fine, coarse = textures.fine.arrays, textures.coarse.arrays
    studio = (
        pose.to_camera(lights.positions),
        np.sum(lights.positions**2, axis=1),
        lights.radii,
        lights.intensity,
        lights.ambient,
        diffusion_table(),
    )
    strength = 0.0 if cross_polarised else specular

    def shade(strip: int) -> None:
        first, stop = strip * _STRIP_ROWS, min((strip + 1) * _STRIP_ROWS, camera.height)
        inside = order[start[strip] : start[strip + 1]]
        rows = np.s_[first:stop]
        x, y, nearness, triangle = _cast(first, stop, 1, lens, local, head.triangles, bounds, inside, camera.width)
        truth = (shaded.depth[rows], shaded.uv[rows], shaded.cosine[rows], shaded.triangle[rows])
        _centres(x, y, nearness, triangle, *mesh, pose.rotation, *truth)
        x, y, nearness, triangle = _cast(first, stop, supersampling, lens, local, head.triangles, bounds, inside, camera.width)
        _shade(
            x,
            y,
            nearness,
            triangle,
            supersampling,
            lens,
            *mesh,
            pose.rotation,
            fine,
            coarse,
            studio,
            strength,
            shaded.image[rows],
        )

    map_threads(shade, range(len(start) - 1), threads)
    return shaded


def _cast(  # type: ignore[no-untyped-def]
    first, stop, samples, lens, local, triangles, bounds, inside, width
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int32]]:
    shape = ((stop - first) * samples, width * samples)
    x, y, nearness, triangle = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape, np.int32)
    cast_strip(first, samples, lens, local, triangles, bounds, inside, x, y, nearness, triangle)
    return x, y, nearness, triangle


@njit(cache=True, nogil=True)
def _centres(  # type: ignore[no-untyped-def]
    x, y, nearness, triangle, local, triangles, attributes, rotation, depth, uv, cosine, triangle_seen
):
    here = np.empty(attributes.shape[1])
    slope_x, slope_y = np.empty(2), np.empty(2)
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            index = triangle[row, column]
            triangle_seen[row, column] = index
            if index < 0:
                depth[row, column], cosine[row, column] = np.nan, 0.0
                uv[row, column] = np.nan
                continue
            depth[row, column] = 1.0 / nearness[row, column]
            _interpolate(x[row, column], y[row, column], index, local, triangles, attributes, here, slope_x, slope_y)
            uv[row, column, 0], uv[row, column, 1] = here[0], here[1]
            _turn(rotation, here, 2)
            length = np.sqrt(x[row, column] ** 2 + y[row, column] ** 2 + 1.0)
            facing = -(here[2] * x[row, column] + here[3] * y[row, column] + here[4]) / (length * _length(here[2:5]))
            cosine[row, column] = max(facing, 0.0)


@njit(cache=True, nogil=True)
def _interpolate(x, y, index, local, triangles, attributes, here, slope_x, slope_y):  # type: ignore[no-untyped-def]
    """Fill `here` with the attributes where the ray (x, y, 1) hits a triangle; slope_x, slope_y: d(u, v)/dx and /dy there."""
    a, b, c = triangles[index]
    ax, ay, az = cross(local, b, c)
    bx, by, bz = cross(local, c, a)
    cx, cy, cz = cross(local, a, b)
    first, second, third = x * ax + y * ay + az, x * bx + y * by + bz, x * cx + y * cy + cz
    scale = 1.0 / (first + second + third)
    first, second, third = first * scale, second * scale, third * scale
    for k in range(len(here)):
        here[k] = first * attributes[a, k] + second * attributes[b, k] + third * attributes[c, k]
    sum_x, sum_y = ax + bx + cx, ay + by + cy
    for k in range(2):
        slope = ax * attributes[a, k] + bx * attributes[b, k] + cx * attributes[c, k]
        slope_x[k] = (slope - sum_x * here[k]) * scale
        slope = ay * attributes[a, k] + by * attributes[b, k] + cy * attributes[c, k]
        slope_y[k] = (slope - sum_y * here[k]) * scale


@njit(cache=True, nogil=True)
def _turn(rotation, vector, first):  # type: ignore[no-untyped-def]
    """Rotate three entries of `vector`, from `first` on, in place."""
    x, y, z = vector[first], vector[first + 1], vector[first + 2]
    for axis in range(3):
        vector[first + axis] = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z


@njit(cache=True, nogil=True)
def _length(vector):  # type: ignore[no-untyped-def]
    return np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)


@njit(cache=True, nogil=True)
def _tilted(here, slope_u, slope_v):  # type: ignore[no-untyped-def]
    """Return the unit normal of a surface with slopes dh/du, dh/dv over the smooth one."""
    x = here[2] - slope_u * here[5] - slope_v * here[8]
    y = here[3] - slope_u * here[6] - slope_v * here[9]
    z = here[4] - slope_u * here[7] - slope_v * here[10]
    scale = 1.0 / np.sqrt(x * x + y * y + z * z)
    return x * scale, y * scale, z * scale


@njit(cache=True, nogil=True)
def _shade(  # type: ignore[no-untyped-def]
    x, y, nearness, triangle, samples, lens, local, triangles, attributes, rotation, fine, coarse, studio, specular, image
):
    """Fill a strip of the image (rows, columns, 3) with the mean over its samples; everything in the camera's frame."""
    here, texel, colour = np.empty(attributes.shape[1]), np.empty(CHANNELS), np.empty(3)
    slope_x, slope_y = np.empty(2), np.empty(2)
    pixel_x, pixel_y = 1.0 / (samples * lens[0]), 1.0 / (samples * lens[1])
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            colour[:] = 0.0
            for sample_row in range(row * samples, (row + 1) * samples):
                for sample_column in range(column * samples, (column + 1) * samples):
                    index = triangle[sample_row, sample_column]
                    if index < 0:
                        for channel in range(3):
                            colour[channel] += _BACKGROUND[channel]
                        continue
                    ray_x, ray_y = x[sample_row, sample_column], y[sample_row, sample_column]
                    _interpolate(ray_x, ray_y, index, local, triangles, attributes, here, slope_x, slope_y)
                    u_x, v_x = slope_x[0] * pixel_x, slope_x[1] * pixel_x
                    u_y, v_y = slope_y[0] * pixel_y, slope_y[1] * pixel_y
                    layer = fine if contains(fine, here[0], here[1]) else coarse
                    sample(layer, here[0], here[1], u_x, v_x, u_y, v_y, texel)
                    for first in (2, 5, 8):
                        _turn(rotation, here, first)
                    depth = 1.0 / nearness[sample_row, sample_column]
                    _add_light(ray_x, ray_y, depth, here, texel, studio, specular, colour)
            for channel in range(3):
                image[row, column, channel] = colour[channel] / (samples * samples)


@njit(cache=True, nogil=True)
def _add_light(ray_x, ray_y, depth, here, texel, studio, specular, colour):  # type: ignore[no-untyped-def]
    """Add the light that one point sends to the camera to `colour` (3,)."""
    positions, square_distances, radii, intensity, ambient, table = studio
    scale = 1.0 / _length(here[2:5])
    for k in range(2, 5):
        here[k] *= scale
    scale = -1.0 / np.sqrt(ray_x * ray_x + ray_y * ray_y + 1.0)
    view_x, view_y, view_z = ray_x * scale, ray_y * scale, scale
    fine_x, fine_y, fine_z = _tilted(here, texel[3], texel[4])
    soft_x, soft_y, soft_z = _tilted(here, texel[5], texel[6])
    facing = fine_x * view_x + fine_y * view_y + fine_z * view_z
    grazing = fuzz(here[2] * view_x + here[3] * view_y + here[4] * view_z)
    variance = max(texel[8] - texel[3] * texel[3] - texel[4] * texel[4], 0.0)
    shine = specular * texel[7]
    table_row, table_share = curvature_row(table, here[11])
    for light in range(len(positions)):
        share = here[_LIGHT_COLUMN + light]
        if share <= 0.0:
            continue
        x = positions[light, 0] - depth * ray_x
        y = positions[light, 1] - depth * ray_y
        z = positions[light, 2] - depth
        square = x * x + y * y + z * z
        scale = 1.0 / np.sqrt(square)
        x, y, z = x * scale, y * scale, z * scale
        falloff = square_distances[light] / square
        smooth = here[2] * x + here[3] * y + here[4] * z
        sharp = fine_x * x + fine_y * y + fine_z * z
        soft = soft_x * x + soft_y * y + soft_z * z
        mirrored = 0.0
        if specular > 0.0 and smooth > 0.0:
            half_x, half_y, half_z = x + view_x, y + view_y, z + view_z
            scale = 1.0 / np.sqrt(half_x * half_x + half_y * half_y + half_z * half_z)
            half_normal = (fine_x * half_x + fine_y * half_y + fine_z * half_z) * scale
            half_light = (x * half_x + y * half_y + z * half_z) * scale
            # The disc's variance per axis in half-vector slopes is (radius / distance)^2 / 16, alpha^2 is twice that.
            widening = variance + radii[light] * radii[light] / (8.0 * square)
            mirrored = shine * min(_TERMINATOR * smooth, 1.0) * highlight(sharp, facing, half_normal, half_light, widening)
            mirrored += specular * grazing * smooth
        for channel in range(3):
            cosine = soft + _SOFTNESS[channel] * (sharp - soft)
            scattered = texel[channel] * diffuse(table, table_row, table_share, cosine, channel)
            received = scattered_share(share, channel) * scattered + share * mirrored
            colour[channel] += falloff * intensity[light, channel] * received
    sky = here[_LIGHT_COLUMN + len(positions)]
    # At grazing angles a hollow mirrors its own walls, not the sky.
    mirrored = sky**4 * (shine * sky_highlight(facing) + specular * grazing)
    for channel in range(3):
        hollow = interreflected(scattered_share(sky, channel), texel[channel])
        colour[channel] += ambient[channel] * (texel[channel] * hollow + mirrored)
