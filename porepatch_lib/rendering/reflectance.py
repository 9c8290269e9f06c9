"""How skin reflects light: a two-lobe GGX highlight, fuzz, and diffuse light that scatters below the surface."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

REFLECTANCE = 0.028  # of skin seen straight on (index of refraction 1.4)
LOBES = ((0.70, 0.50), (0.30, 0.30))  # weight and roughness: rough horny layer, thin film of oil
_SKY_ROUGHNESS = 0.45  # one lobe stands for both in the reflection of the sky
_FUZZ = 0.02  # fine hairs: their share of the light straight from the side

# Diffusion profile of skin as a sum of Gaussians: variance in square mm, weights of red, green, blue.
# d'Eon and Luebke, "Advanced Techniques for Realistic Real-Time Skin Rendering", GPU Gems 3, 2007, table 14-1.
_PROFILE = (
    (0.0064, (0.233, 0.455, 0.649)),
    (0.0484, (0.100, 0.336, 0.344)),
    (0.187, (0.118, 0.198, 0.000)),
    (0.567, (0.113, 0.007, 0.007)),
    (1.99, (0.358, 0.004, 0.000)),
    (7.41, (0.078, 0.000, 0.000)),
)
MOST_CURVATURE = 0.2  # per mm, of the table's last row
_CURVATURES = 17
_DOTS = 65


def diffusion_table() -> NDArray[np.float32]:
    """Return (17, 65, 3) float32: diffuse light by curvature (0..MOST_CURVATURE per mm), cosine to the light (-1..1), colour.

    On a sphere of that curvature the clamped cosine is blurred along the arc with the line spread of the diffusion profile.
    Penner and Borshukov, "Pre-Integrated Skin Shading", GPU Pro 2, 2011; row 0 is Lambert's law.
    """
    steps = 2048
    frequency = np.fft.rfftfreq(steps, 1.0 / steps)
    lambert = np.fft.rfft(np.maximum(np.cos(2.0 * np.pi * np.arange(steps) / steps), 0.0))
    curvature = np.linspace(0.0, MOST_CURVATURE, _CURVATURES)[:, None]
    angle = np.arccos(np.linspace(-1.0, 1.0, _DOTS))
    position = angle / (2.0 * np.pi) * steps
    table = np.zeros((_CURVATURES, _DOTS, 3))
    for variance_mm2, weights in _PROFILE:
        kept = np.exp(-0.5 * variance_mm2 * (curvature * frequency) ** 2)
        blurred = np.fft.irfft(kept * lambert, steps, axis=1)
        values = np.stack([np.interp(position, np.arange(steps), row) for row in blurred])
        table += values[..., None] * np.array(weights)
    total = np.sum([weights for _, weights in _PROFILE], axis=0)
    return np.asarray(np.maximum(table / total, 0.0), np.float32)


@njit(cache=True, nogil=True)
def diffuse(table, row, share, cosine, channel):  # type: ignore[no-untyped-def]
    """Look up the diffusion table between rows `row` and `row + 1` (weight `share` of the latter) at a cosine in -1..1."""
    last = table.shape[1] - 1
    place = 0.5 * (min(max(cosine, -1.0), 1.0) + 1.0) * last
    column = min(int(place), last - 1)
    rest = place - column
    upper = table[row, column, channel] + rest * (table[row, column + 1, channel] - table[row, column, channel])
    lower = table[row + 1, column, channel] + rest * (table[row + 1, column + 1, channel] - table[row + 1, column, channel])
    return upper + share * (lower - upper)


@njit(cache=True, nogil=True)
def curvature_row(table, curvature):  # type: ignore[no-untyped-def]
    """Return the row of the diffusion table below a curvature per mm (its sign does not matter), and the share of the next."""
    last = table.shape[0] - 1
    place = min(abs(curvature) / MOST_CURVATURE, 1.0) * last
    row = min(int(place), last - 1)
    return row, place - row


@njit(cache=True, nogil=True)
def highlight(to_light, to_view, half_normal, half_light, widening):  # type: ignore[no-untyped-def]
    """Return pi times the specular reflectance times the cosine to the light.

    The arguments are cosines: normal to light, normal to view, normal to halfway vector, halfway vector to light. Two GGX lobes
    with the height-correlated shadowing of Heitz, "Understanding the Masking-Shadowing Function", JCGT 2014, and Schlick's
    Fresnel term. `widening` is added to their squared alpha: for the size of the light and relief too small to be seen.
    """
    if to_light <= 0.0:
        return 0.0
    to_view = max(to_view, 0.02)
    total = 0.0
    for weight, roughness in LOBES:
        square = min(roughness**4 + widening, 1.0)
        spread = half_normal * half_normal * (square - 1.0) + 1.0
        shadowing = to_light * np.sqrt(to_view * to_view * (1.0 - square) + square)
        shadowing += to_view * np.sqrt(to_light * to_light * (1.0 - square) + square)
        total += weight * 0.5 * square / (spread * spread * shadowing)
    return fresnel(half_light) * total * to_light


@njit(cache=True, nogil=True)
def fresnel(cosine):  # type: ignore[no-untyped-def]
    """Return Schlick's approximation of the reflectance of skin."""
    rest = 1.0 - min(max(cosine, 0.0), 1.0)
    square = rest * rest
    return REFLECTANCE + (1.0 - REFLECTANCE) * square * square * rest


@njit(cache=True, nogil=True)
def sky_highlight(to_view):  # type: ignore[no-untyped-def]
    """Return the share of an even sky that skin mirrors (Karis, "Physically Based Shading on Mobile", 2014)."""
    to_view = min(max(to_view, 0.0), 1.0)
    rough = 1.0 - _SKY_ROUGHNESS
    middle = min(rough * rough, 2.0 ** (-9.28 * to_view)) * rough + 0.0425 - 0.0275 * _SKY_ROUGHNESS
    scale = -1.04 * middle + 1.04 - 0.572 * _SKY_ROUGHNESS
    bias = 1.04 * middle - 0.04 + 0.022 * _SKY_ROUGHNESS
    return REFLECTANCE * scale + bias


@njit(cache=True, nogil=True)
def fuzz(to_view):  # type: ignore[no-untyped-def]
    """Return the share of light that fine hairs scatter to a grazing viewer (Koenderink and Pont, "Velvety Skin", 2003)."""
    rest = 1.0 - min(max(to_view, 0.0), 1.0)
    return _FUZZ * rest * rest * rest


@njit(cache=True, nogil=True)
def scattered_share(share, channel):  # type: ignore[no-untyped-def]
    """Return the share of a light below the surface: it reaches into the edges of shadows, red the farthest."""
    reach = (0.50, 0.15, 0.06)[channel]
    return share + reach * share * (1.0 - share)


@njit(cache=True, nogil=True)
def interreflected(share, albedo):  # type: ignore[no-untyped-def]
    """Return the share of the sky's light in a hollow, with light between its walls.

    Jimenez et al., "Practical Realtime Strategies for Accurate Indirect Occlusion", 2016, equation 10.
    """
    a, b, c = 2.0404 * albedo - 0.3324, -4.7951 * albedo + 0.6417, 2.7552 * albedo + 0.6903
    return max(share, ((share * a + b) * share + c) * share)
