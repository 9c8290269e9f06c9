"""One training run as data: what it reads, what it writes, and how it is to be done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porepatch_lib.files import read_json, write_json
from porepatch_lib.training.settings import TrainingSettings


@dataclass(frozen=True)
class TrainingJob:
    """Everything `train` needs. A network of a third party is in `networks`, name: "package.module:Class"."""

    train_patches: Path
    train_index: Path
    validation_patches: Path
    validation_index: Path
    validation_pairs: Path
    output_weights: Path
    output_card: Path
    output_curve: Path
    checkpoint_folder: Path
    settings: TrainingSettings
    seed: int
    threads: int
    initial_weights: Path | None = None
    tensorboard_folder: Path | None = None
    networks: dict[str, str] = field(default_factory=dict)
    device: str = "auto"  # "auto", "cpu", "cuda", "mps"
    keep_collapsed: bool = False  # write what there is of a collapsed network instead of raising an error

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        values = dataclasses.asdict(self)
        write_json(path, {name: str(value) if isinstance(value, Path) else value for name, value in values.items()})

    @classmethod
    def load(cls, path: Path) -> TrainingJob:
        """Read a job that `save` wrote."""
        values: dict[str, Any] = read_json(path)
        paths = [f.name for f in dataclasses.fields(cls) if f.name.endswith(("_patches", "_index", "_pairs", "_weights"))]
        for name in [*paths, "output_card", "output_curve", "checkpoint_folder", "tensorboard_folder"]:
            values[name] = Path(values[name]) if values[name] is not None else None
        return cls(**values | {"settings": TrainingSettings(**values["settings"])})
