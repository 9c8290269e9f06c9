"""Every descriptor against a reference on the same subjects: how many times its sparse points, and at what accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from porepatch_lib.reconstruction.columns import COLUMNS
from porepatch_lib.reporting.reconstruction_results import Result, by_subject

POINTS = "sparse_points"
ACCURACY = next(column for column in COLUMNS if column.name == "sparse_accuracy_0.25mm")


@dataclass(frozen=True)
class Ratio:
    """A descriptor in one variant against the reference in the same variant, over subjects where both were run.

    points: sparse points over those of the reference, one per subject where the reference has any, in the order of the subjects.
    accuracy: share within 0.25 mm of the true surface less that of the reference, in percent as shown, one per subject where both
    have it. compared: subjects where the reference has that share; on `equal_or_better` of them the descriptor's is at least as
    high, a failed one's never.
    """

    variant: str
    descriptor: str
    points: Sequence[float]
    accuracy: Sequence[float]
    equal_or_better: int
    compared: int

    @property
    def median_points(self) -> float | None:
        return median(self.points) if self.points else None

    @property
    def median_accuracy(self) -> float | None:
        return median(self.accuracy) if self.accuracy else None


def ratios(results: Sequence[Result], reference: str) -> list[Ratio]:
    """Return one ratio per variant and descriptor but the reference, in the order of the results; none of variants without it."""
    keys = dict.fromkeys((one.variant, one.descriptor) for one in results)
    variants = [variant for variant, descriptor in keys if descriptor == reference]
    return [
        _ratio(results, variant, descriptor, reference)
        for variant in variants
        for other, descriptor in keys
        if other == variant and descriptor != reference
    ]


def _ratio(results: Sequence[Result], variant: str, descriptor: str, reference: str) -> Ratio:
    pairs = []
    for members in by_subject(results).values():
        named = {one.descriptor: one for one in members if one.variant == variant}
        if descriptor in named and reference in named:
            pairs.append((named[descriptor], named[reference]))
    points = [
        one.numbers[POINTS].median / base.numbers[POINTS].median
        for one, base in pairs
        if POINTS in one.numbers and POINTS in base.numbers and base.numbers[POINTS].median > 0
    ]
    shares = [(one.shown(ACCURACY), share) for one, base in pairs if (share := base.shown(ACCURACY)) is not None]
    differences = [round(own - share, ACCURACY.decimals) for own, share in shares if own is not None]
    return Ratio(variant, descriptor, points, differences, sum(d >= 0 for d in differences), len(shares))
