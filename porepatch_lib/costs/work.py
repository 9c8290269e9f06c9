"""How much a job has to do: the numbers that its memory and time grow with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Size = tuple[int, int]  # (width, height) of a photograph in pixels

PATCHES_PER_KEYPOINT = 0.75  # of which tracks make patches: 0.5 to 0.6 of 8 views of the default run, 0.73 of 16 of 2200x3208
PATCH_BYTES = 64 * 64


@dataclass(frozen=True)
class Person:
    """The captures of one subject: the sizes of the photographs, and the keypoints on all of them together."""

    sizes: tuple[Size, ...]
    keypoints: int

    @property
    def megapixels(self) -> float:
        """All photographs together."""
        return sum(width * height for width, height in self.sizes) / 1e6

    @property
    def view_pairs(self) -> int:
        """Every two photographs."""
        return len(self.sizes) * (len(self.sizes) - 1) // 2


@dataclass(frozen=True)
class Work:
    """What one job works on. Sums over all people unless said otherwise.

    people: how many.
    megapixels: of all photographs. largest_megapixels: of the largest one. dense_megapixels: of all as dense stereo reduces them.
    keypoints: thousands. keypoints_each: thousands of the person with the most.
    comparisons: thousand millions of keypoints compared with one another, every two views of a person.
    patches, pairs: thousands of patches, and of labelled pairs of them.
    samples: thousands of patches that training sees, all steps together; batch: of one step.
    input_mb: of files whose content is not looked into.
    """

    people: float = 0.0
    megapixels: float = 0.0
    largest_megapixels: float = 0.0
    dense_megapixels: float = 0.0
    keypoints: float = 0.0
    keypoints_each: float = 0.0
    comparisons: float = 0.0
    patches: float = 0.0
    pairs: float = 0.0
    samples: float = 0.0
    batch: float = 0.0
    input_mb: float = 0.0


def work_of(
    people: Sequence[Person],
    *,
    patches: int | None = None,
    pairs: int = 0,
    steps: int = 0,
    batch: int = 0,
    input_bytes: int = 0,
    dense_px: int = 1200,
) -> Work:
    """Return the work of a job.

    Args:
        people: whose captures it works on.
        patches: how many; None: as many as these people are expected to give.
        pairs: labelled pairs of patches.
        steps, batch: of training: how many, and the patches of one.
        input_bytes: of files whose content is not looked into.
        dense_px: longer side to which dense stereo reduces photographs.
    """
    keypoints = [person.keypoints for person in people]
    found = round(PATCHES_PER_KEYPOINT * sum(keypoints)) if patches is None else patches
    sizes = [size for person in people for size in person.sizes]
    return Work(
        people=len(people),
        megapixels=sum(person.megapixels for person in people),
        largest_megapixels=max((width * height for width, height in sizes), default=0) / 1e6,
        dense_megapixels=sum(_reduced_megapixels(size, dense_px) for size in sizes),
        keypoints=sum(keypoints) / 1e3,
        keypoints_each=max(keypoints, default=0) / 1e3,
        comparisons=sum(_comparisons(person) for person in people) / 1e9,
        patches=found / 1e3,
        pairs=pairs / 1e3,
        samples=steps * batch / 1e3,
        batch=batch / 1e3,
        input_mb=input_bytes / 1e6,
    )


def _comparisons(person: Person) -> float:
    per_view = person.keypoints / max(len(person.sizes), 1)
    return person.view_pairs * per_view**2


def _reduced_megapixels(size: Size, longer_px: int) -> float:
    scale = min(1.0, longer_px / max(*size, 1))
    return size[0] * size[1] * scale**2 / 1e6
