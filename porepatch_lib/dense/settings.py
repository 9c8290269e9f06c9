"""Settings of dense reconstruction."""

from __future__ import annotations

from dataclasses import dataclass

from porepatch_lib.errors import PorePatchError

CPU, CUDA = "patch_match_cpu", "patch_match_cuda"

_METHODS = ("auto", CPU, CUDA)
_AUTOMATIC_PIXELS = (2, 5)


@dataclass(frozen=True)
class DenseSettings:
    """Settings of dense reconstruction: depth maps by patch match, then fusion.

    `method`: "patch_match_cpu" (ours), "patch_match_cuda" (COLMAP's), or "auto": COLMAP's where it can use CUDA.
    COLMAP's has its own pyramid, sweeps and consistency: it ignores `window_step_px` (every pixel counts there), `levels`,
    `coarse_iterations`, `fine_iterations`, `max_error_px` and `min_consistent`; `geometric` is for it alone.
    `max_image_px`: longer side of the undistorted images (ETH: 1200); smaller photographs keep their size.
    `sources`: views each view is compared with. `window_radius_px`, `window_step_px`: the compared window, sampled at every
    so many pixels. `levels`: sizes of the images, each half the next, from which depth is found one after the other.
    `coarse_iterations`, `fine_iterations`: sweeps at the smallest size, and at each larger one.
    `max_error_px`: how far a pixel may come back from its place when its point is taken to a source view and back by that
    view's own depth. `min_consistent`: source views that must agree so. `geometric`: with COLMAP's patch match, run it a
    second time with geometric consistency (ETH: photometric only).
    `min_fused_pixels`: pixels of different views that make a fused point (ETH: 5); 0: (views - 1) // 2, but at least 2 and
    at most 5, because a face is seen by about half of its views.
    `fusion_error_px`: pixels so near to each other, in any view, are fused to one point (ETH: 2, which thins the cloud to
    about a twelfth of an image's pixels; 1 keeps nearly three times as many).
    `mesh`: also write a Poisson mesh with vertex colours, `mesh.ply`, and the same with texture, `mesh.obj`.
    `keep_workspace`: keep COLMAP's workspace (images, depth and normal maps) as `workspace/`.
    """

    method: str = "auto"
    max_image_px: int = 1200
    sources: int = 5
    window_radius_px: int = 5
    window_step_px: int = 2
    levels: int = 2
    coarse_iterations: int = 4
    fine_iterations: int = 2
    max_error_px: float = 1.0
    min_consistent: int = 2
    geometric: bool = False
    min_fused_pixels: int = 0
    fusion_error_px: float = 2.0
    mesh: bool = False
    keep_workspace: bool = False

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise PorePatchError(f"dense.method is '{self.method}'; use one of {', '.join(_METHODS)}.")
        if min(self.sources, self.window_radius_px, self.window_step_px, self.levels, self.coarse_iterations) < 1:
            raise PorePatchError(
                "The dense settings need sources, window_radius_px, window_step_px, levels and coarse_iterations >= 1."
            )
        if self.max_image_px < 64 or self.fine_iterations < 0 or not min(self.max_error_px, self.fusion_error_px) > 0.0:
            raise PorePatchError(
                "The dense settings need max_image_px >= 64, fine_iterations >= 0, max_error_px and fusion_error_px > 0."
            )
        if self.min_consistent < 1 or self.min_fused_pixels < 0:
            raise PorePatchError("The dense settings need min_consistent >= 1 and min_fused_pixels >= 0.")

    def fused_pixels(self, views: int) -> int:
        """Return how many pixels make a fused point of a subject of `views` views, registered or not."""
        least, most = _AUTOMATIC_PIXELS
        return self.min_fused_pixels or min(max((views - 1) // 2, least), most)
