"""The losses against the authors' own numbers: values, gradients, and running statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from porepatch_lib.training.losses.make import PairLoss, make_loss

PRECISIONS = {torch.float32: "float32", torch.float64: "float64"}
KINDS = ("spread", "hard", "dup")
CASES = [f"{loss}_{kind}" for loss in ("hynet", "sosnet_m1.2", "hardnet_m1.2_swap") for kind in KINDS]
CASES += ["afsrnet_spread", "afsrnet_hard"]
CASES += [f"sdgm_first_t{done}_{kind}" for done in (0.0, 0.5) for kind in KINDS]
SEQUENCES = ("sdgm_sequence_late", "sdgm_sequence_schedule")


@pytest.fixture(params=PRECISIONS, ids=PRECISIONS.get)
def precision(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def losses(shared: Path) -> Path:
    return shared / "reference" / "descriptors" / "losses"


def _index(losses: Path) -> dict[str, Any]:
    return json.loads((losses / "index.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients(losses: Path, case: str, precision: torch.dtype) -> None:
    expected, facts = np.load(losses / f"{case}.npz"), _index(losses)[case]
    loss = make_loss(case.split("_")[0], facts.get("margin", 1.0)).to(precision)
    _check_call(loss, dict(expected), facts.get("timestep", 0.0), 2e-3 if case.endswith("dup") else 1e-4, precision)
    if "state_after" in facts:
        _check_state(loss, facts["state_after"])


@pytest.mark.parametrize("case", SEQUENCES)
def test_running_statistics_over_calls(losses: Path, case: str, precision: torch.dtype) -> None:
    expected = np.load(losses / f"{case}.npz")
    loss = make_loss("sdgm", 1.0).to(precision)
    for number, facts in enumerate(_index(losses)[case]):
        prefix = f"call{number}."
        arrays = {name.removeprefix(prefix): expected[name] for name in expected.files if name.startswith(prefix)}
        _check_call(loss, arrays, facts["timestep"], 2e-3 if facts["batch"] == "dup" else 1e-4, precision)
        _check_state(loss, facts["state_after_f64"])


def _check_call(loss: PairLoss, expected: dict[str, NDArray[Any]], done: float, tolerance: float, precision: torch.dtype) -> None:
    """Call once and compare with the float64 numbers; float64 of ours must come much nearer than the stated tolerance."""
    exact = precision == torch.float64
    sides = [torch.from_numpy(expected[name].copy()).to(precision).requires_grad_() for name in ("raw_a", "raw_p")]
    value = loss(*sides, None, done)
    value.backward()
    assert value.item() == pytest.approx(float(expected["loss_f64"]), rel=1e-9 if exact else 1e-5)
    for side, name in zip(sides, ("grad_a_f64", "grad_p_f64"), strict=True):
        allowed = (1e-6 if exact else tolerance) * abs(expected[name]).max()
        np.testing.assert_allclose(side.grad, expected[name], rtol=0, atol=allowed, err_msg=name)


def _check_state(loss: PairLoss, expected: dict[str, float]) -> None:
    """Compare running statistics; `negthres` is no state but a function of the training's progress."""
    state = {name: tensor.item() for name, tensor in loss.state_dict().items()}
    assert state == pytest.approx({name: value for name, value in expected.items() if name != "negthres"}, rel=2e-6)
