"""Schedule and settings of the training stage, in closed form."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from porepatch_lib.errors import PorePatchError
from porepatch_lib.training.checkpoints import History
from porepatch_lib.training.schedule import learning_rate_factor
from porepatch_lib.training.settings import TrainingSettings


def test_learning_rate_schedules() -> None:
    settings = TrainingSettings(steps=110, warmup_steps=10, schedule="cosine")
    assert learning_rate_factor(0, settings) == pytest.approx(1 / 11)
    assert learning_rate_factor(10, settings) == 1
    assert learning_rate_factor(60, settings) == pytest.approx(0.5)
    assert learning_rate_factor(60, dataclasses.replace(settings, schedule="linear")) == pytest.approx(0.5)
    assert learning_rate_factor(35, settings) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate_factor(109, dataclasses.replace(settings, schedule="constant")) == 1
    halving = dataclasses.replace(settings, schedule="halving")
    assert [learning_rate_factor(step, halving) for step in (10, 19, 20, 29, 109)] == [1, 1, 0.5, 0.5, 0.5**9]


@pytest.mark.parametrize(
    "mistake",
    [{"steps": 0}, {"schedule": "step"}, {"optimiser": "lamb"}, {"patience": -1}, {"compile": "maybe"}, {"learning_rate": -1.0}],
)
def test_settings_name_the_mistake(mistake: dict[str, object]) -> None:
    with pytest.raises(PorePatchError, match=next(iter(mistake))):
        TrainingSettings(**mistake)  # type: ignore[arg-type]


def test_of_equal_validations_the_last_is_the_best() -> None:
    history, network = History(), torch.nn.Linear(1, 1, bias=False)
    for fpr95 in (0.5, 0.0, 0.1, 0.0, 0.2):
        torch.nn.init.constant_(network.weight, len(history.validations))
        history.record_validation(fpr95, network)
        history.losses.append(1.0)
    assert history.best == (3, 0.0)
    assert history.best_weights["weight"].item() == 3
