"""How features become a reconstruction: the ETH protocol, and what can be changed about it one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from porepatch_lib.errors import PorePatchError
from porepatch_lib.sfm.settings import MAPPERS

MATCHERS = ("mutual", "guided", "model")
CALIBRATED = "calibrated"
COLMAP_SIFT = "colmap-sift"  # COLMAP's own keypoints and descriptors


@dataclass(frozen=True)
class Variant:
    """One way from features to a reconstruction; the defaults are the protocol of the ETH local-feature evaluation.

    `matcher`: "mutual" nearest neighbours; "guided": matched once more along the epipolar lines that these give; "model": matched
    once more around the places that a first reconstruction from them expects.
    `ratio`: largest distance ratio, None for no ratio test, "calibrated": the descriptor's own, measured on validation subjects.
    `min_matches`: a pair with fewer contributes none. `refined`: keypoints are aligned across the tracks of a first
    reconstruction, to a part of a pixel, before the one that counts. `mapper`, `two_view_points`, `refine_intrinsics`: of
    structure from motion; "known_poses" takes the rig's. `dense`: go on to a dense cloud.
    """

    matcher: str = "mutual"
    ratio: float | str | None = 0.8
    min_matches: int = 15
    refined: bool = False
    mapper: str = "incremental"
    two_view_points: bool = False
    refine_intrinsics: bool = True
    dense: bool = True

    def __post_init__(self) -> None:
        if self.matcher not in MATCHERS or self.mapper not in MAPPERS:
            raise PorePatchError(
                f"A variant of the reconstruction has the matcher '{self.matcher}' and the mapper '{self.mapper}'; matchers are "
                f"{', '.join(MATCHERS)}, mappers {', '.join(MAPPERS)}."
            )
        if (
            self.ratio is not None
            and self.ratio != CALIBRATED
            and not (isinstance(self.ratio, float | int) and 0 < self.ratio <= 1)
        ):
            raise PorePatchError(
                f"A variant of the reconstruction has the ratio '{self.ratio}'; choose a number above 0 and at most 1, null for "
                f"no ratio test, or {CALIBRATED}."
            )

    @property
    def sfm(self) -> dict[str, Any]:
        """The keys of `SfmSettings` that the variant decides; all others are those of the config, which are COLMAP's defaults but
        for the first pair and the smallest model, as a face has few views."""
        return {
            "mapper": self.mapper,
            "two_view_points": self.two_view_points,
            "refine_intrinsics": self.refine_intrinsics,
        }
