"""Skin under soft lights: wrapped diffuse light that reddens at the terminator, and a GGX highlight on the fine relief."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering.head import Head
from porepatch_lib.rendering.rig import Lights
from porepatch_lib.rendering.skin import Skin
from porepatch_lib.rendering.visibility import Hits
from porepatch_lib.threads import map_threads

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

_BACKGROUND = (0.035, 0.037, 0.04)
_WRAP = np.array([0.30, 0.16, 0.10])  # how far red, green, blue light reaches round the terminator
_SOFTNESS = np.array([0.45, 0.75, 0.90])  # how much of the relief the diffuse red, green, blue light still shows
_ROUGHNESS = 0.40
_REFLECTANCE = 0.028  # of skin seen straight on
_MOST_DEPTH_STEP_MM = 2.0  # neighbours further apart do not share a surface
_STRIP_ROWS = 32


def vertex_attributes(head: Head, light: FloatArray) -> NDArray[np.float32]:
    """Return what is interpolated over triangles (N, 11+L): u, v, normal, both reciprocal tangents, light shares (N,L)."""
    return np.concatenate([head.uv, head.normals, head.reciprocal_u, head.reciprocal_v, light], axis=1).astype(np.float32)


def shade_view(
    hits: Hits,
    camera_centre: FloatArray,
    triangles: NDArray[np.int32],
    attributes: NDArray[np.float32],
    skin: Skin,
    lights: Lights,
    specular: float,
    supersampling: int,
    threads: int,
) -> tuple[Image, NDArray[np.float32], NDArray[np.float32]]:
    """Shade one view.

    Returns the linear red-green-blue image (H,W,3), the face coordinates (H,W,2) in mm, NaN on the background, and the
    cosine (H,W) between the surface normal and the viewing direction, 0 on the background; all float32.
    """
    height, width = hits.depth.shape
    image = np.empty((height, width, 3), np.float32)
    uv = np.empty((height, width, 2), np.float32)
    cosine = np.empty((height, width), np.float32)
    image[:] = _BACKGROUND
    strips = [(first, min(first + _STRIP_ROWS, height)) for first in range(0, height, _STRIP_ROWS)]

    def locate(strip: tuple[int, int]) -> None:
        _locate(*strip, hits.depth, hits.triangle, hits.barycentric, triangles, attributes, uv)

    def shade(strip: tuple[int, int]) -> None:
        _shade(
            *strip,
            hits.depth,
            hits.direction,
            hits.triangle,
            hits.barycentric,
            camera_centre,
            triangles,
            attributes,
            uv,
            skin.maps,
            skin.low_mm,
            skin.texel_mm,
            lights.positions,
            lights.intensity,
            lights.ambient,
            specular,
            supersampling,
            image,
            cosine,
        )

    map_threads(locate, strips, threads)
    map_threads(shade, strips, threads)
    return image, uv, cosine


@njit(cache=True, nogil=True)
def _locate(start, stop, depth, triangle, barycentric, triangles, attributes, uv):  # type: ignore[no-untyped-def]
    for row in range(start, stop):
        for column in range(depth.shape[1]):
            if np.isnan(depth[row, column]):
                uv[row, column] = np.nan
                continue
            a, b, c = triangles[triangle[row, column]]
            second, third = barycentric[row, column]
            for axis in range(2):
                uv[row, column, axis] = (
                    (1.0 - second - third) * attributes[a, axis] + second * attributes[b, axis] + third * attributes[c, axis]
                )


@njit(cache=True, nogil=True)
def _slope(values, depth, row, column, row_step, column_step, axis):  # type: ignore[no-untyped-def]
    """Return the change of `values` per pixel along one direction, from neighbours on the same surface."""
    total, count = 0.0, 0
    for sign in (-1, 1):
        near_row, near_column = row + sign * row_step, column + sign * column_step
        if not (0 <= near_row < depth.shape[0] and 0 <= near_column < depth.shape[1]):
            continue
        if abs(depth[near_row, near_column] - depth[row, column]) < _MOST_DEPTH_STEP_MM:  # false on the background
            total += sign * (values[near_row, near_column, axis] - values[row, column, axis])
            count += 1
    return total / count if count else 0.0


@njit(cache=True, nogil=True)
def _fetch(maps, x, y, texel):  # type: ignore[no-untyped-def]
    """Sample all maps bilinearly at texel (x, y) into `texel` (6,); beyond the borders the border goes on."""
    x = min(max(x, 0.0), maps.shape[1] - 1.001)
    y = min(max(y, 0.0), maps.shape[0] - 1.001)
    column, row = int(x), int(y)
    a, b = x - column, y - row
    for channel in range(6):
        upper = (1.0 - a) * maps[row, column, channel] + a * maps[row, column + 1, channel]
        lower = (1.0 - a) * maps[row + 1, column, channel] + a * maps[row + 1, column + 1, channel]
        texel[channel] = (1.0 - b) * upper + b * lower


@njit(cache=True, nogil=True)
def _shade(  # type: ignore[no-untyped-def]
    start, stop, depth, direction, triangle, barycentric, centre, triangles, attributes, uv, maps, low, texel_mm,
    light_positions, light_intensity, ambient, specular, samples, image, cosine,
):  # fmt: skip
    light_count = len(light_positions)
    width = attributes.shape[1]
    here, texel = np.empty(width), np.empty(6)
    to_light, halfway = np.empty((light_count, 3)), np.empty((light_count, 3))
    view_dot, smooth_dot = np.empty(light_count), np.empty(light_count)
    colour = np.empty(3)
    alpha2 = _ROUGHNESS**4
    for row in range(start, stop):
        for column in range(depth.shape[1]):
            cosine[row, column] = 0.0
            distance = depth[row, column]
            if np.isnan(distance):
                continue
            a, b, c = triangles[triangle[row, column]]
            second, third = barycentric[row, column]
            for k in range(width):
                here[k] = (1.0 - second - third) * attributes[a, k] + second * attributes[b, k] + third * attributes[c, k]
            normal = here[2:5] / np.sqrt(here[2] ** 2 + here[3] ** 2 + here[4] ** 2)
            ray = direction[row, column]
            length = np.sqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
            facing = -(ray[0] * normal[0] + ray[1] * normal[1] + ray[2] * normal[2]) / length
            cosine[row, column] = max(facing, 0.0)
            for light in range(light_count):
                size = 0.0
                for axis in range(3):
                    to_light[light, axis] = light_positions[light, axis] - centre[axis] - distance * ray[axis]
                    size += to_light[light, axis] ** 2
                size = np.sqrt(size)
                half_size, smooth = 0.0, 0.0
                for axis in range(3):
                    to_light[light, axis] /= size
                    halfway[light, axis] = to_light[light, axis] - ray[axis] / length
                    half_size += halfway[light, axis] ** 2
                    smooth += to_light[light, axis] * normal[axis]
                half_size = np.sqrt(half_size)
                lit = 0.0
                for axis in range(3):
                    halfway[light, axis] /= half_size
                    lit += halfway[light, axis] * to_light[light, axis]
                view_dot[light], smooth_dot[light] = lit, smooth
            u_x = _slope(uv, depth, row, column, 0, 1, 0)
            u_y = _slope(uv, depth, row, column, 1, 0, 0)
            v_x = _slope(uv, depth, row, column, 0, 1, 1)
            v_y = _slope(uv, depth, row, column, 1, 0, 1)
            colour[:] = 0.0
            for sample in range(samples * samples):
                dx = (sample % samples + 0.5) / samples - 0.5
                dy = (sample // samples + 0.5) / samples - 0.5
                u = uv[row, column, 0] + u_x * dx + u_y * dy
                v = uv[row, column, 1] + v_x * dx + v_y * dy
                _fetch(maps, (u - low[0]) / texel_mm, (v - low[1]) / texel_mm, texel)
                x = normal[0] - texel[3] * here[5] - texel[4] * here[8]
                y = normal[1] - texel[3] * here[6] - texel[4] * here[9]
                z = normal[2] - texel[3] * here[7] - texel[4] * here[10]
                scale = 1.0 / np.sqrt(x * x + y * y + z * z)
                x, y, z = x * scale, y * scale, z * scale
                for channel in range(3):
                    colour[channel] += texel[channel] * ambient[channel] * here[width - 1]
                for light in range(light_count):
                    rough_dot = x * to_light[light, 0] + y * to_light[light, 1] + z * to_light[light, 2]
                    share = here[11 + light]
                    highlight = 0.0
                    if rough_dot > 0.0 and smooth_dot[light] > 0.0:
                        half_dot = x * halfway[light, 0] + y * halfway[light, 1] + z * halfway[light, 2]
                        spread = half_dot * half_dot * (alpha2 - 1.0) + 1.0
                        # GGX with the visibility and Fresnel fit of Karis, "Optimizing PBR for Mobile", SIGGRAPH 2015
                        fit = max(view_dot[light] ** 2, 0.1) * (_ROUGHNESS + 0.5)
                        shape = alpha2 / (4.0 * spread * spread * fit)
                        highlight = specular * texel[5] * _REFLECTANCE * shape * rough_dot
                    for channel in range(3):
                        dot = smooth_dot[light] + _SOFTNESS[channel] * (rough_dot - smooth_dot[light])
                        wrapped = max((dot + _WRAP[channel]) / (1.0 + _WRAP[channel]), 0.0)
                        colour[channel] += share * light_intensity[light, channel] * (texel[channel] * wrapped + highlight)
            for channel in range(3):
                image[row, column, channel] = colour[channel] / (samples * samples)
