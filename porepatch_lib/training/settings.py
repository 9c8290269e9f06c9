"""Settings of the training stage."""

from __future__ import annotations

from dataclasses import dataclass

from porepatch_lib.errors import PorePatchError


@dataclass(frozen=True)
class TrainingSettings:
    """Budget, optimiser, augmentation and validation. The defaults fit two CPU cores and a few minutes.

    At paper scale: points_per_batch 1024, and `steps` worth 200 epochs.
    """

    architecture: str = "hynet"
    steps: int = 300  # optimiser steps in all
    points_per_batch: int = 512  # surface points per step, two patches each
    learning_rate: float = 0.01  # Adam, as published
    warm_start_learning_rate: float = 0.01  # used when the weights of an earlier round are given
    schedule: str = "cosine"  # "constant", "linear" or "cosine": from the learning rate to 0 after the warm-up
    warmup_steps: int = 20
    dropout: float = 0.3
    margin: float = 1.2
    neighbour_radius_px: float = 10.0  # points this near in a shared image are not each other's negatives
    rotate: bool = True  # quarter turns, the same for both patches of a pair
    flip: bool = True
    shift_px: float = 0.0  # standard deviations of per-patch jitter, 0 = none; pixels of the 32x32 patch
    log2_scale: float = 0.0
    log2_gain: float = 0.0
    offset_grey: float = 0.0
    validate_every: int = 50  # steps
    validation_pairs: int = 10_000  # at most this many labelled pairs are used
    checkpoint_every: int = 25  # steps
    precision: str = "auto"  # "float32", "bfloat16" or "auto": bfloat16 where the processor computes in it

    def __post_init__(self) -> None:
        self._require(self.architecture == "hynet", "architecture", "'hynet'")
        self._require(self.schedule in ("constant", "linear", "cosine"), "schedule", "'constant', 'linear' or 'cosine'")
        self._require(self.precision in ("auto", "float32", "bfloat16"), "precision", "'auto', 'float32' or 'bfloat16'")
        for name in ("steps", "validate_every", "checkpoint_every", "validation_pairs"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(self.points_per_batch >= 2, "points_per_batch", "at least 2")
        self._require(0 <= self.dropout < 1, "dropout", "in [0, 1)")
        for name in ("learning_rate", "warm_start_learning_rate"):
            self._require(getattr(self, name) > 0, name, "positive")
        for name in ("warmup_steps", "neighbour_radius_px", "shift_px", "log2_scale", "log2_gain", "offset_grey"):
            self._require(getattr(self, name) >= 0, name, "at least 0")

    def _require(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise PorePatchError(f"The training setting '{name}' is {getattr(self, name)!r} but must be {what}; mend the config.")
