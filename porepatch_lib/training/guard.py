"""When to stop early: nothing gained for long, or nothing learnt at all."""

from __future__ import annotations

from porepatch_lib.training.checkpoints import History
from porepatch_lib.training.settings import TrainingSettings

TRAINED, STOPPED_EARLY, COLLAPSED = "trained", "stopped early", "collapsed"
# A network that maps everything to one place accepts nearly all non-matches at 95 % recall.
_CHANCE_FPR95 = 0.9


def status(history: History, settings: TrainingSettings) -> str | None:
    """Return how the run ended, or None while it goes on."""
    if history.diverged:
        return COLLAPSED
    after_start = [fpr95 for step, fpr95 in history.validations if step > 0]
    recent = after_start[-settings.collapse_patience :] if settings.collapse_patience else []
    if recent and len(recent) == settings.collapse_patience and min(recent) >= _CHANCE_FPR95:
        return COLLAPSED
    if history.steps >= settings.steps:
        return TRAINED
    since_best = sum(step > history.best[0] for step, _ in history.validations)
    if settings.patience and since_best >= settings.patience:
        return STOPPED_EARLY
    return None


def at_chance(history: History) -> bool:
    """True where even the best weights do not tell matching from other patches."""
    return history.best[1] >= _CHANCE_FPR95


def sentence(architecture: str, history: History) -> str:
    """Say what happened and what to do."""
    if history.diverged:
        return (
            f"The training loss of '{architecture}' is not finite at step {history.steps + 1}; "
            "lower 'learning_rate' in the config."
        )
    return (
        f"The network '{architecture}' has learnt nothing: its validation FPR95 stayed at {100 * history.best[1]:.1f} % or above "
        f"over {history.steps} steps, where guessing gives 95 %; lower 'learning_rate', or give it more steps or more data."
    )
