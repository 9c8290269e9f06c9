"""Early stop and the collapse guard, in closed form."""

from __future__ import annotations

import pytest

from porepatch_lib.training import guard
from porepatch_lib.training.checkpoints import History
from porepatch_lib.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=10, patience=2, collapse_patience=3)


def _history(*fpr95: float, steps: int | None = None) -> History:
    """One validation a step, the first before training."""
    return History([0.0] * (len(fpr95) - 1 if steps is None else steps), list(enumerate(fpr95)))


@pytest.mark.parametrize(
    ("validations", "expected"),
    [
        ([0.5, 0.4, 0.3], None),
        ([0.5, 0.4, 0.41], None),
        ([0.5, 0.4, 0.41, 0.42], guard.STOPPED_EARLY),
        ([0.5, 0.4, 0.41, 0.4], None),  # equals the best: the later one is kept
        ([0.96, 0.95, 0.94], None),
        ([0.96, 0.95, 0.94, 0.93], guard.COLLAPSED),
        ([0.96, 0.95, 0.94, 0.89], None),
        ([0.2, 0.95, 0.95, 0.95], guard.COLLAPSED),  # was good once: still collapsed
    ],
)
def test_status(validations: list[float], expected: str | None) -> None:
    assert guard.status(_history(*validations), SETTINGS) == expected


def test_the_last_step_ends_the_run() -> None:
    assert guard.status(_history(0.5, 0.4, steps=10), SETTINGS) == guard.TRAINED


def test_patience_zero_never_stops() -> None:
    endless = TrainingSettings(steps=10, patience=0, collapse_patience=0)
    assert guard.status(_history(*[0.95] * 9), endless) is None


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    history = _history(0.5, 0.4)
    history.record_losses([0.1, float("nan"), 0.2])
    assert history.losses == [0.0, 0.1]
    assert guard.status(history, SETTINGS) == guard.COLLAPSED
    assert "not finite at step 3" in guard.sentence("hynet", history)
