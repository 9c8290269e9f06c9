"""What a training run tells while it runs: TensorBoard scalars, a line in the log, the learning curve as CSV."""

from __future__ import annotations

import csv
import logging
import shutil
import time
from pathlib import Path
from types import TracebackType

from porepatch_lib.files import atomic_path
from porepatch_lib.training.checkpoints import History
from porepatch_lib.training.schedule import learning_rate_factor
from porepatch_lib.training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)


class TrainingLog:
    """Writes scalars to `folder` for TensorBoard, if one is given, and one line for every validation to the log.

    A resumed run continues the folder from its checkpoint on; a new one begins it anew.
    """

    def __init__(self, folder: Path | None, history: History, settings: TrainingSettings, patches_per_step: int) -> None:
        self._settings = settings
        self._patches_per_step = patches_per_step
        self._mark = time.perf_counter()
        self._written = history.steps
        self._writer = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            if not history.steps:
                shutil.rmtree(folder, ignore_errors=True)
            self._writer = SummaryWriter(str(folder), purge_step=history.steps + 1)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def losses(self, history: History, peak_learning_rate: float) -> None:
        """Write the losses that came in since the last call, and count the time that took."""
        history.seconds += time.perf_counter() - self._mark
        self._mark = time.perf_counter()
        if self._writer is not None:
            for step in range(self._written + 1, history.steps + 1):
                self._writer.add_scalar("train/loss", history.losses[step - 1], step)
                rate = peak_learning_rate * learning_rate_factor(step - 1, self._settings)
                self._writer.add_scalar("train/learning_rate", rate, step)
        self._written = history.steps

    def validation(self, history: History) -> None:
        """Write the last validation. Its time is not counted as training."""
        self._mark = time.perf_counter()
        step, fpr95 = history.validations[-1]
        speed = self._patches_per_step * history.steps_per_second
        if self._writer is not None:
            self._writer.add_scalar("validation/fpr95", fpr95, step)
            self._writer.add_scalar("train/patches_per_second", speed, step)
            self._writer.flush()
        recent = history.losses[-self._settings.validate_every :]
        _LOG.info(
            "step %d of %d: loss %.3f, validation FPR95 %.2f %%, %.0f patches/s, %.0f s left at most",
            step,
            self._settings.steps,
            sum(recent) / len(recent),
            100 * fpr95,
            speed,
            (self._settings.steps - step) * self._patches_per_step / max(speed, 1e-9),
        )


def write_curve(path: Path, history: History, settings: TrainingSettings, peak_learning_rate: float) -> None:
    """Write one row per step; row 0 is the initial state. validation_fpr95 is empty between validations."""
    validations = dict(history.validations)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["step", "learning_rate", "loss", "validation_fpr95"])
        for step in range(history.steps + 1):
            rate = peak_learning_rate * learning_rate_factor(step - 1, settings) if step else ""
            loss = history.losses[step - 1] if step else ""
            writer.writerow([step, rate, loss, validations.get(step, "")])
