"""Settings of the training stage."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from porepatch_lib.errors import PorePatchError

SCHEDULES = ("constant", "linear", "cosine", "halving")
OPTIMISERS = ("adam", "sgd")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingSettings:
    """Budget, optimiser, augmentation and validation. The defaults fit two CPU cores and a few minutes.

    None stands for what the architecture's authors published (porepatch_lib/training/recipes.py).
    At paper scale: points_per_batch 1024, and `steps` worth 200 epochs.
    """

    architecture: str = "hynet"
    steps: int = 300  # optimiser steps in all
    points_per_batch: int = 512  # surface points per step, two patches each
    loss: str | None = None
    margin: float | None = None
    optimiser: str | None = None  # "adam" or "sgd"
    learning_rate: float | None = None
    warm_start_learning_rate: float | None = None  # used when the weights of an earlier round are given; None: learning_rate
    schedule: str | None = None  # from the learning rate on: "constant", "linear" or "cosine" to 0, "halving" every tenth
    momentum: float | None = None  # of SGD
    dampening: float | None = None  # of its momentum
    weight_decay: float | None = None
    warmup_steps: int = 20
    dropout: float | None = None
    neighbour_radius_px: float = 10.0  # points this near in a shared image are not each other's negatives
    rotate: bool = True  # quarter turns, the same for both patches of a pair
    flip: bool = True
    rotation_deg: float = 0.0  # standard deviations of per-patch jitter, 0 = none
    shift_px: float = 0.0  # pixels of the patch that the network sees
    log2_scale: float = 0.0
    shear: float = 0.0
    log2_gain: float = 0.0
    offset_grey: float = 0.0
    micro_batch: int = 0  # patches per pass through the network; 0: all of a batch. The loss always sees the whole batch
    processes: int = 0  # that share every batch, one GPU each; 0: as many as GPUs are visible, one on a CPU
    compile: str = "auto"  # "auto": torch.compile on CUDA where it works; "always", "never"
    resident: str = "auto"  # patches in the memory of the GPU: "auto" where they fit into half of it; "always", "never"
    validate_every: int = 50  # steps
    validation_pairs: int = 10_000  # at most this many labelled pairs are used
    patience: int = 0  # validations without a new best before training stops; 0: never
    collapse_patience: int = 4  # validations in a row with FPR95 at chance before training stops; 0: never
    checkpoint_every: int = 25  # steps
    precision: str = "auto"  # "float32", "bfloat16" or "auto": bfloat16 where the processor computes in it

    def __post_init__(self) -> None:
        self._require_choice("schedule", SCHEDULES)
        self._require_choice("optimiser", OPTIMISERS)
        self._require_choice("precision", PRECISIONS)
        for name in ("compile", "resident"):
            self._require_choice(name, ("auto", "always", "never"))
        for name in ("steps", "validate_every", "checkpoint_every", "validation_pairs"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(self.points_per_batch >= 2, "points_per_batch", "at least 2")
        self._require(self.dropout is None or 0 <= self.dropout < 1, "dropout", "in [0, 1)")
        for name in ("learning_rate", "warm_start_learning_rate", "margin"):
            self._require(getattr(self, name) is None or getattr(self, name) > 0, name, "positive")
        for name in ("momentum", "dampening", "weight_decay"):
            self._require(getattr(self, name) is None or getattr(self, name) >= 0, name, "at least 0")
        for field in dataclasses.fields(self):
            if field.name.endswith(("_steps", "_px", "_deg", "_grey", "patience")) or field.name.startswith("log2_"):
                self._require(getattr(self, field.name) >= 0, field.name, "at least 0")
        for name in ("shear", "micro_batch", "processes"):
            self._require(getattr(self, name) >= 0, name, "at least 0")

    def _require_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        self._require(value is None or value in choices, name, f"one of {', '.join(choices)}")

    def _require(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise PorePatchError(f"The training setting '{name}' is {getattr(self, name)!r} but must be {what}; mend the config.")


@dataclass(frozen=True)
class CompleteSettings(TrainingSettings):
    """Settings in which nothing is left open (`recipes.with_recipe`)."""

    loss: str = ""
    margin: float = 1.0
    optimiser: str = "adam"
    learning_rate: float = 1.0
    warm_start_learning_rate: float = 1.0
    schedule: str = "constant"
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    dropout: float = 0.0
