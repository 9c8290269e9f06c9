"""Who sits before the cameras: head, skin and expression of a rendered subject, each drawn from its own name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.rendering.settings import PARAMETRIC, RenderSettings, generator
from porepatch_lib.rendering.surface import FaceModel, Head, build_head

FloatArray = NDArray[np.float64]

_MOST_SIGMAS = 2.0


@dataclass(frozen=True)
class Sitting:
    """One capture of a rendered subject.

    identity, skin: names of the persons whose head and whose skin it has, "" for the subject's own and for the head's owner.
    expression: any name, from which expression and pose of the head are drawn; "" for a face at rest that looks ahead.

    The data sets of 3DFaceNet (Guo et al., PAMI 2018) are variations of one person: its coarse set has other expressions and
    poses (the same identity, another expression), its fine set other skin detail on the same geometry (the same identity,
    another skin).
    """

    subject: str
    identity: str = ""
    skin: str = ""
    expression: str = ""

    @property
    def head_of(self) -> str:
        """The person whose head it is."""
        return self.identity or self.subject

    @property
    def skin_of(self) -> str:
        """The person whose skin it is."""
        return self.skin or self.head_of


@dataclass(frozen=True)
class Shape:
    """Coefficients of a face model: identity (K,), expression (E,), its change over the capture (E,), and the rotation (3,3)."""

    identity: FloatArray
    expression: FloatArray
    drift: FloatArray
    rotation: FloatArray

    def at(self, model: FaceModel, moment: float) -> Head:
        """Return the head at a moment 0..1 of the capture."""
        return build_head(model, self.identity, self.expression + moment * self.drift, self.rotation)


def face_model(settings: RenderSettings) -> FaceModel:
    """Return the family of heads that the settings name.

    Raises:
        PorePatchError: if the file of a morphable model is missing or wrong.
    """
    if settings.head_model == PARAMETRIC:
        from porepatch_lib.rendering.head import ParametricHead

        return ParametricHead(settings.mesh_step_mm)
    from porepatch_lib.rendering.morphable import load_morphable_model

    return load_morphable_model(Path(settings.head_model), settings.mesh_step_mm)


def draw_shape(model: FaceModel, sitting: Sitting, settings: RenderSettings, seed: int) -> Shape:
    """Draw the shape of a subject; head and expression follow from the seed and their names only."""
    identity = model.sample_identity(generator(seed, sitting.head_of, "head"))
    expression, rotation = np.zeros(len(model.expression_names)), np.eye(3)
    if sitting.expression:
        rng = generator(seed, sitting.head_of, "expression", sitting.expression)
        expression = model.sample_expression(rng, settings.expression)
        rotation = head_rotation(np.deg2rad(settings.pose_deg) * np.clip(rng.standard_normal(3), -_MOST_SIGMAS, _MOST_SIGMAS))
    drift = model.sample_expression(generator(seed, sitting.subject, "drift"), settings.time_offset)
    return Shape(identity, expression, drift, rotation)


def draw_moments(sitting: Sitting, settings: RenderSettings, seed: int) -> FloatArray:
    """Draw the moment 0..1 at which each view (V,) is taken; the first is 0, all are without a time offset."""
    moments = generator(seed, sitting.subject, "moments").uniform(0.0, 1.0, settings.views)
    moments[0] = 0.0
    return moments if settings.time_offset > 0.0 else np.zeros(settings.views)


def head_rotation(angles_rad: FloatArray) -> FloatArray:
    """Return the rotation (3,3) that nods, turns and tilts the head by three angles, about x, y and z in this order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    turn = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    tilt = np.array([[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(tilt @ turn @ nod)


def describe_sitting(
    model: FaceModel, sitting: Sitting, shape: Shape, moments: FloatArray, settings: RenderSettings, seed: int
) -> dict[str, Any]:
    """Return what was drawn, for the record."""
    return {
        "seed": seed,
        "sitting": asdict(sitting),
        "settings": asdict(settings),
        "identity": shape.identity.tolist(),
        "expression": dict(zip(model.expression_names, shape.expression.tolist(), strict=True)),
        "drift": dict(zip(model.expression_names, shape.drift.tolist(), strict=True)),
        "rotation": shape.rotation.tolist(),
        "moments": moments.tolist(),
    }
