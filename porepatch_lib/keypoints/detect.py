"""The keypoint stage: detect on every view of a subject and write the keypoints table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import load_grey, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.keypoints.pore import PoreSettings, detect_pores
from porepatch_lib.keypoints.psift_reference import ReferenceSettings, detect_psift_reference
from porepatch_lib.progress import progress

logger = logging.getLogger(__name__)

Detector = Callable[[NDArray[np.uint8], NDArray[np.uint8] | None], Keypoints]


@dataclass(frozen=True)
class KeypointSettings:
    """Settings of the keypoint stage.

    detector: `pore`, or `psift_reference` for comparison with the paper.
    target_count: keypoints per image.
    pore: further settings of the pore detector (fields of PoreSettings).
    psift_reference: further settings of the reference (fields of ReferenceSettings).
    """

    detector: str = "pore"
    target_count: int = 10_000
    pore: Mapping[str, float] = field(default_factory=dict)
    psift_reference: Mapping[str, float] = field(default_factory=dict)


def make_detector(settings: KeypointSettings, threads: int) -> Detector:
    """Return the configured detector as a function of a grey image and its mask.

    Raises:
        PorePatchError: if the detector or one of its settings is unknown.
    """
    try:
        pore = PoreSettings(target_count=settings.target_count, **settings.pore)  # type: ignore[arg-type]
        reference = ReferenceSettings(target_count=settings.target_count, **settings.psift_reference)
    except TypeError as error:
        raise PorePatchError(
            f"The keypoint settings have an unknown or repeated field ({error}); mend the configuration."
        ) from error
    if settings.detector == "pore":
        return lambda grey, mask: detect_pores(grey, mask, pore, threads)
    if settings.detector == "psift_reference":
        return lambda grey, mask: detect_psift_reference(grey, mask, reference, threads)
    raise PorePatchError(f"There is no detector '{settings.detector}'; choose 'pore' or 'psift_reference' in the configuration.")


def detect_subject(images: Path, output: Path, settings: KeypointSettings, threads: int) -> None:
    """Detect keypoints on all views of the table `images` and write them to `output`.

    A view without keypoints contributes no rows and a warning.
    """
    detector = make_detector(settings, threads)
    found: dict[int, Keypoints] = {}
    for view in progress(read_views(images), f"keypoints ({settings.detector})", "view"):
        found[view.image_id] = detector(load_grey(view), load_mask(view))
        if len(found[view.image_id]) == 0:
            logger.warning("No keypoints on %s (%s): too smooth, too dark, or masked out.", view.name, view.path)
    write_keypoints(output, found)
