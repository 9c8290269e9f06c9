"""Settings of structure from motion."""

from __future__ import annotations

from dataclasses import dataclass

from porepatch_lib.errors import PorePatchError

MAPPERS = ("auto", "incremental", "global", "known_poses")


@dataclass(frozen=True)
class SfmSettings:
    """Settings of the reconstruction; the defaults are COLMAP's unless said otherwise.

    `mapper`: "incremental", "global" (GLOMAP), "known_poses", or "auto": known poses where every view has one, else
    incremental. `max_error_px`: epipolar
    error of an inlier match, and reprojection error of an observation. `confidence`, `min_inliers`: geometric
    verification of a pair. `min_angle_deg`: triangulation angle of a point. `two_view_points`: keep points seen by only
    two views. `refine_intrinsics`: let the mapper refine focal length and distortion (with known poses only cameras whose
    focal length is a guess are refined). `init_min_angle_deg`, `init_min_inliers`: first pair of the incremental mapper,
    `min_registered`: smallest model (COLMAP: 16, 100, 10; lower here for the few views of a face).
    """

    mapper: str = "auto"
    max_error_px: float = 4.0
    confidence: float = 0.999
    min_inliers: int = 15
    min_angle_deg: float = 1.5
    two_view_points: bool = False
    refine_intrinsics: bool = True
    init_min_angle_deg: float = 8.0
    init_min_inliers: int = 50
    min_registered: int = 3

    def __post_init__(self) -> None:
        if self.mapper not in MAPPERS:
            raise PorePatchError(f"sfm.mapper is '{self.mapper}'; use one of {', '.join(MAPPERS)}.")
        if not (self.max_error_px > 0 and 0 < self.confidence < 1 and self.min_inliers > 0 and self.min_registered > 1):
            raise PorePatchError(
                "The sfm settings need max_error_px > 0, 0 < confidence < 1, min_inliers > 0, min_registered > 1."
            )
