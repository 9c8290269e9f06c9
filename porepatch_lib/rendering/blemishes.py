"""What differs from subject to subject: tone and age, freckles, moles, pimples, beard, brows, lashes and peach fuzz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.rendering.features import beard, hairline, is_bare, lash_line, pore_strength, signed_features
from porepatch_lib.rendering.places import Places
from porepatch_lib.rendering.pores import scatter
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.stamps import (
    BLOOD,
    DARK_HAIR,
    HAIR_STROKE,
    HEIGHT,
    LIGHT_HAIR,
    MELANIN,
    PIT,
    SHADOW,
    SPOT,
    Stamps,
    directions,
    make_stamps,
)
from porepatch_lib.rendering.surface import HAIR, OTHER_SKIN, SKIN, Head, triangle_areas

FloatArray = NDArray[np.float64]
Amounts = Mapping[int, FloatArray | float]


@dataclass(frozen=True)
class Person:
    """What was drawn for one subject.

    tone: melanin, 0.05 very pale .. 1.35 very dark. blood: 1 = standard. age: 0 smooth .. 1 lined. oil: shine, 1 = standard.
    mottle: strength of the patches of colour, 1 = standard. pore_factor, pore_size: density and radius of pores, 1 = standard.
    freckles, moles, pimples: expected numbers. stubble_per_cm2: 0 = shaven or none. stubble_mm: its length. fuzz_per_cm2: peach
    fuzz. hair_dark: 0 blond .. 1 black. lip_red: 1 = standard.
    """

    tone: float
    blood: float
    age: float
    oil: float
    mottle: float
    pore_factor: float
    pore_size: float
    freckles: float
    moles: float
    pimples: float
    stubble_per_cm2: float
    stubble_mm: float
    fuzz_per_cm2: float
    hair_dark: float
    lip_red: float


def draw_person(settings: RenderSettings, rng: np.random.Generator) -> Person:
    """Draw a subject; every value is drawn for every subject, so that one setting changes nothing else."""
    tone = 0.05 + 1.2 * float(rng.beta(0.9, 1.6))
    freckled, bearded, spotty = rng.uniform(0.0, 1.0, 3).tolist()
    many_freckles, few_freckles = float(rng.gamma(2.0, 400.0)), float(rng.gamma(1.5, 60.0))
    stubble, length = float(rng.uniform(40.0, 80.0)), float(rng.uniform(0.3, 1.2))
    return Person(
        tone=tone,
        blood=float(np.clip(1.0 + 0.18 * rng.standard_normal(), 0.65, 1.5)),
        age=float(rng.beta(1.4, 2.2)),
        oil=float(np.exp(0.22 * np.clip(rng.standard_normal(), -2.0, 2.0))),
        mottle=float(rng.uniform(0.75, 1.3)),
        pore_factor=float(rng.uniform(0.7, 1.0)),
        pore_size=float(np.clip(1.0 + 0.15 * rng.standard_normal(), 0.75, 1.35)),
        freckles=many_freckles if freckled < 0.3 and tone < 0.45 else few_freckles,
        moles=float(rng.gamma(1.6, 5.0)),
        pimples=float(rng.gamma(1.2, 9.0)) if spotty < 0.35 else float(rng.gamma(1.0, 2.0)),
        stubble_per_cm2=stubble if bearded < settings.stubble else 0.0,
        stubble_mm=length,
        fuzz_per_cm2=float(rng.uniform(25.0, 60.0)),
        hair_dark=float(np.clip(rng.uniform(0.15, 1.1) + 0.8 * max(tone - 0.15, 0.0), 0.1, 1.0)),
        lip_red=float(rng.uniform(0.75, 1.3)),
    )


def blemish_stamps(head: Head, person: Person, rng: np.random.Generator) -> list[Stamps]:
    """Return freckles, moles, pimples and all hairs of one subject. Each kind has its own generator."""
    kinds = (_freckles, _moles, _pimples, _stubble, _fuzz, _brows, _lashes)
    return [kind(head, person, child) for kind, child in zip(kinds, rng.spawn(len(kinds)), strict=True)]


def bare_triangles(head: Head) -> FloatArray:
    """Return (M,) 1 for triangles in bare skin, 0 for others."""
    middle = head.place[head.triangles].mean(axis=1)
    skin = np.all(head.part[head.triangles] == SKIN, axis=1)
    u, v = middle.T
    return (skin & is_bare(head.landmarks, u, v, _beside_hair(head, u, v))).astype(np.float64)


def _triangle_places(head: Head) -> tuple[FloatArray, FloatArray]:
    middle = head.place[head.triangles].mean(axis=1)
    return middle[:, 0], middle[:, 1]


def _skin_triangles(head: Head) -> FloatArray:
    """Return (M,) 1 for triangles of any skin outside the hair."""
    parts = head.part[head.triangles]
    u, v = _triangle_places(head)
    skin = np.all((parts == SKIN) | (parts == OTHER_SKIN), axis=1)
    return (skin & (_beside_hair(head, u, v) > 0.0)).astype(np.float64)


def _beside_hair(head: Head, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return the distance to the hairline if no part of the head is hair; else any part but hair is far from it."""
    return np.full(len(u), 9.0) if np.any(head.part == HAIR) else hairline(head.landmarks, u, v)


def _with_total(density: FloatArray, head: Head, total: float) -> FloatArray:
    """Scale a density per triangle so that `total` points are expected."""
    return density * (total / max(float((density * triangle_areas(head.neutral, head.triangles)).sum()), 1e-9))


def _freckles(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    """Clusters on nose and cheeks, some anywhere."""
    u, v = _triangle_places(head)
    marks = head.landmarks
    cheeks = np.exp(-0.5 * ((v - (marks.nose_tip_v + 12.0)) / 14.0) ** 2) * np.exp(-0.5 * (u / 42.0) ** 2)
    patchy = np.exp(0.9 * np.sin(0.21 * u + rng.uniform(0.0, 6.28)) * np.sin(0.24 * v + rng.uniform(0.0, 6.28)))
    density = _skin_triangles(head) * (0.04 + cheeks) * patchy
    places = scatter(head, _with_total(density, head, person.freckles), rng, hard_core=0.0)
    count = len(places)
    radius = np.clip(0.42 * np.exp(0.4 * rng.standard_normal(count)), 0.18, 1.2)
    amount = rng.gamma(2.0, 0.09, count) * np.sqrt(0.5 + person.tone)
    return _spots(head, places, radius, {MELANIN: amount}, rng)


def _moles(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    places = scatter(head, _with_total(_skin_triangles(head), head, person.moles), rng, hard_core=0.0)
    count = len(places)
    radius = np.clip(0.75 * np.exp(0.4 * rng.standard_normal(count)), 0.35, 2.2)
    amount = rng.uniform(0.35, 1.3, count) * np.sqrt(0.6 + person.tone)
    raised = np.where(rng.uniform(0.0, 1.0, count) < 0.4, 0.12 * radius, 0.0)
    return _spots(head, places, radius, {MELANIN: amount, HEIGHT: raised}, rng)


def _pimples(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    u, v = _triangle_places(head)
    density = bare_triangles(head) * (0.3 + pore_strength(head.landmarks, u, v))
    places = scatter(head, _with_total(density, head, person.pimples), rng, hard_core=0.0)
    count = len(places)
    radius = np.clip(0.8 * np.exp(0.4 * rng.standard_normal(count)), 0.4, 1.8)
    amounts = {BLOOD: rng.uniform(0.08, 0.4, count), HEIGHT: rng.uniform(0.0, 0.07, count)}
    angle = rng.uniform(0.0, np.pi, count)
    width = 0.6 * radius * rng.uniform(0.8, 1.0, count)
    return make_stamps(head, places, directions(head, places.triangle, angle), PIT, 0.6 * radius, width, amounts)


def _spots(head: Head, places: Places, radius: FloatArray, amount: Amounts, rng: np.random.Generator) -> Stamps:
    count = len(places)
    along = directions(head, places.triangle, rng.uniform(0.0, np.pi, count))
    width = radius * rng.uniform(0.65, 1.0, count)
    return make_stamps(head, places, along, SPOT, radius, width, amount, bend_mm=rng.uniform(0.0, 0.15, count))


def _stubble(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    """Short hairs that point down, lying nearly flat, each with a dark root."""
    u, v = _triangle_places(head)
    signed = signed_features(head.landmarks, u, v)
    density = 0.01 * person.stubble_per_cm2 * _skin_triangles(head) * beard(head.landmarks, u, v)
    density *= (signed["lips"] > 0.5) & (signed["nostrils"] > 0.5)
    places = scatter(head, np.where(density > 0.002, density, 0.0), rng, hard_core=0.6)
    count = len(places)
    u, v = places.on(head.place, head.triangles).T
    angle = -0.5 * np.pi + 0.006 * u + 0.3 * rng.standard_normal(count)
    half_length = 0.5 * np.clip(person.stubble_mm * np.exp(0.35 * rng.standard_normal(count)), 0.15, 2.5)
    width = np.clip(0.055 * np.exp(0.2 * rng.standard_normal(count)), 0.025, 0.09)
    amounts: Amounts = {DARK_HAIR: rng.uniform(0.55, 0.95, count), SHADOW: 0.1, HEIGHT: 0.015}
    bend = 0.15 * half_length * rng.standard_normal(count)
    along = directions(head, places.triangle, angle)
    return make_stamps(head, places, along, HAIR_STROKE, half_length, width, amounts, bend)


def _fuzz(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    """Peach fuzz: short pale hairs, down and outwards; finer than a texel, so faint."""
    density = 0.01 * person.fuzz_per_cm2 * bare_triangles(head)
    places = scatter(head, density, rng, hard_core=0.5)
    count = len(places)
    u, _ = places.on(head.place, head.triangles).T
    angle = np.where(u < 0.0, np.deg2rad(-125.0), np.deg2rad(-55.0)) + 0.3 * rng.standard_normal(count)
    half_length = np.clip(0.55 * np.exp(0.35 * rng.standard_normal(count)), 0.2, 1.4)
    amounts = {LIGHT_HAIR: rng.uniform(0.2, 1.0, count)}
    along = directions(head, places.triangle, angle)
    bend = 0.3 * half_length * rng.standard_normal(count)
    return make_stamps(head, places, along, HAIR_STROKE, half_length, np.full(count, 0.018), amounts, bend)


def _brows(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    """Hairs that rise at the inner end and lie flat at the outer end."""
    u, v = _triangle_places(head)
    signed = signed_features(head.landmarks, u, v)["brows"]
    density = 1.3 * (head.part[head.triangles[:, 0]] == SKIN) * np.clip(0.35 - 0.5 * signed, 0.0, 1.0)
    places = scatter(head, density, rng, hard_core=0.35)
    count = len(places)
    u, v = places.on(head.place, head.triangles).T
    side = np.abs(u)
    arch = head.landmarks.brow_v + 2.5
    outwards = side / head.landmarks.eye_u
    rise = np.interp(outwards, [0.25, 0.45, 0.7, 1.27, 1.7], [1.45, 1.05, 0.45, -0.1, -0.5])
    rise = rise - 0.09 * (v - arch) + 0.16 * rng.standard_normal(count)
    angle = np.where(u < 0.0, np.pi - rise, rise)
    half_length = np.clip(
        0.5 * np.interp(side, [8.0, 16.0, 50.0], [5.0, 7.5, 5.0]) * np.exp(0.2 * rng.standard_normal(count)), 1.0, 5.0
    )
    width = np.clip(0.055 * np.exp(0.2 * rng.standard_normal(count)), 0.03, 0.1)
    amounts: Amounts = {DARK_HAIR: rng.uniform(0.5, 0.95, count), SHADOW: 0.07, HEIGHT: 0.03}
    along = directions(head, places.triangle, angle)
    bend = 0.12 * half_length * rng.standard_normal(count)
    return make_stamps(head, places, along, HAIR_STROKE, half_length, width, amounts, bend)


def _lashes(head: Head, person: Person, rng: np.random.Generator) -> Stamps:
    """Hairs that hang from the lower rim of the closed lids, longer and more slanted outwards."""
    u, v = _triangle_places(head)
    side = np.abs(u)
    marks = head.landmarks
    rim = np.abs(v - (lash_line(marks, side) - 1.0)) < 1.2
    near = np.abs(side - marks.eye_u) < 0.41 * marks.eye_u
    density = 1.6 * (rim & near & (head.part[head.triangles[:, 0]] == SKIN))
    places = scatter(head, density.astype(np.float64), rng, hard_core=0.3)
    count = len(places)
    u, _ = places.on(head.place, head.triangles).T
    out = (np.abs(u) / marks.eye_u - 1.0) / 0.41
    lean = np.deg2rad(-90.0) + 0.55 * (out + 0.2) + 0.15 * rng.standard_normal(count)
    angle = np.where(u < 0.0, np.pi - lean, lean)
    half_length = np.clip((1.9 + 0.8 * out) * np.exp(0.2 * rng.standard_normal(count)), 1.0, 4.5)
    amounts: Amounts = {DARK_HAIR: rng.uniform(0.5, 0.95, count), SHADOW: 0.05}
    along = directions(head, places.triangle, angle)
    bend = np.where(u < 0.0, 1.0, -1.0) * 0.12 * half_length
    return make_stamps(head, places, along, HAIR_STROKE, half_length, np.full(count, 0.05), amounts, bend)
