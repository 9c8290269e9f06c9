"""Small things on the skin - pores, spots, hairs - and how they are stamped into maps at their true size.

A stamp has its centre and axes in the neutral face's space. What a texel gets depends on where the texel lies in space, not on
texture coordinates, so stretched texture coordinates stretch nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.surface import Head

FloatArray = NDArray[np.float64]
Map = NDArray[np.float32]

PIT, SPOT, HAIR_STROKE = range(3)  # profiles: Gaussian; soft-edged irregular disc; tapering bent stroke
HEIGHT, SHADOW, MELANIN, BLOOD, DARK_HAIR, LIGHT_HAIR = range(6)  # what a stamp adds: mm, absorption (3), opacity (2)
AMOUNTS = 6

_REACH = {PIT: 3.5, SPOT: 2.0, HAIR_STROKE: 1.1}  # in half lengths


@dataclass(frozen=True)
class Stamps:
    """Row-aligned stamps (N,).

    uv (N,2): centre in texture coordinates, mm. centre, along, across (N,3): centre on the neutral face and unit tangents.
    half_length_mm, half_width_mm: standard deviations of a pit, half axes of the others. bend_mm: how far the tips of a hair lie
    to the side. reach_mm: how far from the centre the stamp goes in texture coordinates. profile: PIT, SPOT or HAIR_STROKE.
    amount (N,6): what it adds at its middle. seed: of a spot's outline.
    """

    uv: FloatArray
    centre: FloatArray
    along: FloatArray
    across: FloatArray
    half_length_mm: FloatArray
    half_width_mm: FloatArray
    bend_mm: FloatArray
    reach_mm: FloatArray
    profile: NDArray[np.int64]
    amount: FloatArray


def make_stamps(
    head: Head,
    places: Places,
    along: FloatArray,
    profile: int,
    half_length_mm: FloatArray,
    half_width_mm: FloatArray,
    amount: Mapping[int, FloatArray | float],
    bend_mm: FloatArray | float = 0.0,
) -> Stamps:
    """Return stamps with the tangents `along` (N,3)."""
    count = len(places)
    amounts = np.zeros((count, AMOUNTS))
    for channel, value in amount.items():
        amounts[:, channel] = value
    normal, stretch = _triangle_frames(head, places.triangle)
    bends = np.broadcast_to(bend_mm, count).astype(np.float64)
    reach = _REACH[profile] * np.maximum(half_length_mm, half_width_mm) + np.abs(bends)
    return Stamps(
        uv=places.on(head.uv, head.triangles),
        centre=places.on(head.neutral, head.triangles),
        along=along,
        across=np.cross(normal, along),
        half_length_mm=half_length_mm,
        half_width_mm=half_width_mm,
        bend_mm=bends,
        reach_mm=reach * stretch,
        profile=np.full(count, profile),
        amount=amounts,
    )


def join_stamps(parts: list[Stamps]) -> Stamps:
    """Return all stamps in one, sorted by their place in the map."""
    joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Stamps)}
    order = np.argsort(joined["uv"][:, 1], kind="stable")
    return Stamps(**{name: values[order] for name, values in joined.items()})


def directions(head: Head, triangle: NDArray[np.integer], angle_rad: FloatArray) -> FloatArray:
    """Return unit tangents (N,3) of the neutral face that point at an angle from +u towards +v of the face coordinates."""
    corners, place = head.neutral[head.triangles[triangle]], head.place[head.triangles[triangle]]
    edges, steps = corners[:, 1:] - corners[:, :1], place[:, 1:] - place[:, :1]
    # Weights a, b of the edges so that a step_1 + b step_2 is parallel to the wanted direction; the determinant only scales.
    du, dv = np.cos(angle_rad), np.sin(angle_rad)
    a = du * steps[:, 1, 1] - dv * steps[:, 1, 0]
    b = dv * steps[:, 0, 0] - du * steps[:, 0, 1]
    sign = np.sign(steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 0, 1] * steps[:, 1, 0])
    tangent = sign[:, None] * (a[:, None] * edges[:, 0] + b[:, None] * edges[:, 1])
    return np.asarray(tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12))


def stamp(stamps: Stamps, neutral: Map, low_mm: FloatArray, texel_mm: float, first_row: int) -> Map:
    """Return what the stamps add to a strip of a map: (rows, columns, 6).

    neutral (rows, columns, 3): positions of the texels; the strip's first row is `first_row` of a map whose first texel lies at
    `low_mm`.
    """
    rows, columns, _ = neutral.shape
    sums = np.zeros((rows, columns, AMOUNTS), np.float32)
    position = (stamps.uv - low_mm) / texel_mm
    reach = stamps.reach_mm / texel_mm + 1.0
    bounds = np.column_stack(
        [
            np.maximum(np.ceil(position[:, 1] - reach) - first_row, 0),
            np.minimum(np.floor(position[:, 1] + reach) - first_row, rows - 1),
            np.maximum(np.ceil(position[:, 0] - reach), 0),
            np.minimum(np.floor(position[:, 0] + reach), columns - 1),
        ]
    ).astype(np.int64)
    touching = np.flatnonzero((bounds[:, 0] <= bounds[:, 1]) & (bounds[:, 2] <= bounds[:, 3]))
    _stamp(
        touching,
        bounds,
        stamps.centre,
        stamps.along,
        stamps.across,
        stamps.half_length_mm,
        stamps.half_width_mm,
        stamps.bend_mm,
        stamps.profile,
        stamps.amount,
        neutral,
        texel_mm,
        sums,
    )
    return sums


def _triangle_frames(head: Head, triangle: NDArray[np.integer]) -> tuple[FloatArray, FloatArray]:
    """Return the neutral unit normals (N,3) and the largest stretch (N,) from the neutral face to texture coordinates."""
    corners, uv = head.neutral[head.triangles[triangle]], head.uv[head.triangles[triangle]]
    edges, steps = corners[:, 1:] - corners[:, :1], uv[:, 1:] - uv[:, :1]
    normal = np.cross(edges[:, 0], edges[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    length = np.maximum(np.linalg.norm(edges[:, 0], axis=1), 1e-12)
    x2 = np.einsum("ij,ij->i", edges[:, 1], edges[:, 0]) / length
    y2 = np.maximum(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / length, 1e-12)
    per_x = steps[:, 0] / length[:, None]
    per_y = (steps[:, 1] - x2[:, None] * per_x) / y2[:, None]
    stretch = np.linalg.norm(np.stack([per_x, per_y], axis=2), ord=2, axis=(1, 2))
    return normal, np.clip(stretch, 0.1, 5.0)


@njit(cache=True, nogil=True)
def _stamp(  # type: ignore[no-untyped-def]
    touching, bounds, centre, along, across, half_length, half_width, bend, profile, amount, neutral, texel_mm, sums
):  # fmt: skip
    for index in touching:
        x0, y0, z0 = centre[index]
        ax, ay, az = along[index]
        bx, by, bz = across[index]
        length, width = half_length[index], half_width[index]
        farthest = (4.0 * max(length, width) + 0.5) ** 2
        for row in range(bounds[index, 0], bounds[index, 1] + 1):
            for column in range(bounds[index, 2], bounds[index, 3] + 1):
                x = neutral[row, column, 0] - x0
                y = neutral[row, column, 1] - y0
                z = neutral[row, column, 2] - z0
                if x * x + y * y + z * z > farthest:
                    continue  # no skin here, or other skin
                a = (x * ax + y * ay + z * az) / length
                b = x * bx + y * by + z * bz
                if profile[index] == PIT:
                    b /= width
                    weight = np.exp(-0.5 * (a * a + b * b))
                elif profile[index] == SPOT:
                    b /= width
                    angle = np.arctan2(b, a)
                    phase = bend[index] * 40.0
                    ripple = 1.0 + 0.13 * np.sin(2.0 * angle + phase) + 0.09 * np.sin(3.0 * angle + 2.7 * phase)
                    ripple += 0.07 * np.sin(5.0 * angle + 5.1 * phase)
                    weight = 1.0 / (1.0 + np.exp(min(5.0 * ((a * a + b * b) * ripple - 1.0), 30.0)))
                else:
                    # From the root at a = -1 to the tip at a = 1; hairs finer than a texel cover it in part.
                    if abs(a) >= 1.0:
                        continue
                    radius = width * (1.0 - 0.75 * (0.5 + 0.5 * a) ** 2)
                    gap = abs(b - bend[index] * (a * a - 0.5))
                    soft = max(0.5 * texel_mm, 0.25 * radius)
                    weight = min(max((radius + soft - gap) / (2.0 * soft), 0.0), 1.0)
                    if radius < soft:  # keep the integral over the width, 2 radius
                        weight *= 4.0 * radius * soft / (radius + soft) ** 2
                    weight *= min(1.0, 4.0 * (1.0 - a))
                for channel in range(sums.shape[2]):
                    sums[row, column, channel] += amount[index, channel] * weight
