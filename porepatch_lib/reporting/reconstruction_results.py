"""What was reconstructed with every descriptor, gathered from the `metrics.json` of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json
from porepatch_lib.reconstruction.columns import COLUMNS, Column
from porepatch_lib.tables import Table, to_arrow

FAILED = "failed"

# One row per subject, variant and descriptor. `ratio` is that of the ratio test, "" for none; `seeds` as in "0 1 2"; `truth` is
# "surface", "poses" or ""; `alignment` tells how the model came into the frame of the truth. Then every column of `COLUMNS` as
# median over the seeds, with the lowest and the highest, in the units of `metrics.json`. What is unknown is an empty cell. A
# failed row has zeros for the protocol.
_TEXTS = (
    "subject",
    "variant",
    "descriptor",
    "status",
    "reason",
    "features",
    "dense_method",
    "truth",
    "alignment",
    "ratio",
    "seeds",
)
_NUMBERS = [f"{column.name}{end}" for column in COLUMNS for end in ("", "_lowest", "_highest")]
_FACTS = dict.fromkeys(_TEXTS, pa.string()) | {"learned": pa.bool_(), "dimension": pa.int32()}
RECONSTRUCTIONS = Table(
    "reconstructions",
    pa.schema([pa.field(name, _FACTS.get(name, pa.float64()), nullable=name in _NUMBERS) for name in [*_FACTS, *_NUMBERS]]),
)

_REQUIRED = ["subject", "descriptor", "variant", "features", "learned", "dimension", "status", "reason", "seeds"]
_REQUIRED += ["dense_method", "truth", "row"]


@dataclass(frozen=True)
class Spread:
    """A number over the seeds, in the units of `metrics.json`."""

    median: float
    lowest: float
    highest: float

    @property
    def reach(self) -> float:
        """The larger distance from the median to an end."""
        return max(self.highest - self.median, self.median - self.lowest)


@dataclass(frozen=True)
class Result:
    """One descriptor in one variant on one subject.

    metrics: as in `metrics.json`; numbers: by column name, without those that are unknown.
    """

    metrics: Mapping[str, Any]
    numbers: Mapping[str, Spread]

    @property
    def subject(self) -> str:
        return str(self.metrics["subject"])

    @property
    def descriptor(self) -> str:
        return str(self.metrics["descriptor"])

    @property
    def variant(self) -> str:
        return str(self.metrics["variant"])

    @property
    def failed(self) -> bool:
        return bool(self.metrics["status"] == FAILED)

    def shown(self, column: Column) -> float | None:
        """Return the median as tables show it, scaled and rounded; None where unknown."""
        number = self.numbers.get(column.name)
        return None if number is None else round(column.scale * number.median, column.decimals)


def read_results(paths: Sequence[Path]) -> list[Result]:
    """Read `metrics.json` files; subjects and variants in order of the files, hand-made descriptors before learned ones.

    Raises:
        PorePatchError: if a file lacks a key or a column, or two are of one subject, variant and descriptor.
    """
    results = [_read(path) for path in paths]
    keys = [(result.subject, result.variant, result.descriptor) for result in results]
    for (one, path), (other, twin) in pairwise(sorted(zip(keys, map(str, paths), strict=True))):
        if one == other:
            raise PorePatchError(f"Both {path} and {twin} are of {', '.join(one)}; give each reconstruction once.")
    subjects, variants = (list(dict.fromkeys(key[part] for key in keys)) for part in (0, 1))
    return sorted(results, key=lambda one: (subjects.index(one.subject), variants.index(one.variant), one.metrics["learned"]))


def by_subject(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results of every subject, in their order."""
    return {name: [one for one in results if one.subject == name] for name in dict.fromkeys(one.subject for one in results)}


def labels_of(results: Sequence[Result]) -> list[str]:
    """Return a name per result: the descriptor, with the variant where there are several."""
    several = len({one.variant for one in results}) > 1
    return [f"{one.descriptor}, {one.variant}" if several else one.descriptor for one in results]


def known_columns(results: Sequence[Result], columns: Sequence[Column]) -> list[Column]:
    """Return those of `columns` that at least one result has."""
    return [column for column in columns if any(column.name in one.numbers for one in results)]


def best_rows(results: Sequence[Result], column: Column) -> set[int]:
    """Return the rows whose number of a column, as shown, is the best; none of failed results, nor where no end is better."""
    scores = {row: one.shown(column) for row, one in enumerate(results) if not one.failed}
    known = {row: column.better * score for row, score in scores.items() if score is not None}
    return {row for row, score in known.items() if column.better and score == max(known.values())}


def results_frame(results: Sequence[Result], origin: Path) -> pd.DataFrame:
    """Return the columns of `RECONSTRUCTIONS`, NaN where unknown; `origin` names the table in errors.

    Raises:
        PorePatchError: if a fact that every result has is missing or of another type.
    """
    frame = pd.DataFrame([_row(result) for result in results], columns=RECONSTRUCTIONS.schema.names)
    known = Table(RECONSTRUCTIONS.name, pa.schema([field for field in RECONSTRUCTIONS.schema if not field.nullable]))
    to_arrow(frame[known.schema.names], known, origin)
    return frame.astype(dict.fromkeys(_NUMBERS, np.float64))


def _read(path: Path) -> Result:
    metrics = read_json(path)
    missing = [key for key in _REQUIRED if key not in metrics]
    if not missing:
        missing = [column.name for column in COLUMNS if column.name not in metrics["row"]]
    if missing:
        raise PorePatchError(f"The metrics {path} have no '{missing[0]}': another version wrote them; delete them and run again.")
    row = metrics["row"]
    return Result(metrics, {column.name: _spread(row, column.name, path) for column in COLUMNS if row[column.name] is not None})


def _spread(row: Mapping[str, Any], name: str, path: Path) -> Spread:
    values = [row[name].get(key) for key in ("median", "lowest", "highest")]
    if None in values:
        raise PorePatchError(f"'{name}' of the metrics {path} lacks its median, lowest or highest; delete them and run again.")
    return Spread(*map(float, values))


def _row(result: Result) -> dict[str, Any]:
    row = {name: result.metrics.get(name, "") for name in _TEXTS} | {"seeds": " ".join(map(str, result.metrics["seeds"]))}
    row |= {name: result.metrics[name] for name in ("learned", "dimension")}
    for name, number in result.numbers.items():
        row |= {name: number.median, f"{name}_lowest": number.lowest, f"{name}_highest": number.highest}
    return row
