"""One moment of a NeRSemble participant, seen by all cameras -> frames, `images.parquet` and masks.

The layout is that of version 2 of the dataset (Kirschstein et al., "NeRSemble: Multi-View Radiance Field Reconstruction of
Human Heads", SIGGRAPH 2023) as its download script lays it out below the folder of one participant:

* `calibration/camera_params.json`: `{"world_2_cam": {serial: 4x4}, "intrinsics": 3x3}`, world to camera in OpenCV's axes and
  metres; one matrix for all cameras, for frames of 2200 x 3208 pixels (width x height). Copies may also hold intrinsics by
  serial number, OpenCV's `distortion`, and `width` and `height` (`workflow/schemas/nersemble.schema.yaml`).
* `sequences/<sequence>/images/cam_<serial>.mp4`: one video per camera, in step with each other.

`calibration/color_calibration.json` is not applied: key points are found and described in grey values, which the descriptors
normalise. Version 1 of the dataset, with JPEG frames and its calibration elsewhere, is not read.

Frames are free of lens distortion as the dataset gives them. Where a copy's calibration has distortion, frames and given masks
are undistorted; the focal length grows just enough that no pixel from outside the frame comes in, so no mask has to hide a rim.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from porepatch_lib.captures.decode import decode, read_image_bytes, write_png
from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.masks import Origin, write_masks
from porepatch_lib.captures.sheet import MADE_MASKS
from porepatch_lib.captures.undistortion import RigCamera, Size, pinhole, undistortion
from porepatch_lib.captures.video import Moment, quiet_decoder, read_frame
from porepatch_lib.captures.views import View, write_views
from porepatch_lib.config import SCHEMAS, suggestion, validate
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, sha256_of
from porepatch_lib.geometry import Camera, FloatArray, Pose, checked_rotation
from porepatch_lib.threads import map_threads

logger = logging.getLogger(__name__)

CALIBRATION = Path("calibration") / "camera_params.json"

# A principal point farther from the centre, as a share of the side, belongs to frames of another size (3/4 gives 0.17).
_OFF_CENTRE = 0.15


@dataclass(frozen=True)
class NersembleSettings:
    """Which moment is read, from which cameras.

    Attributes:
        sequence: name of the sequence.
        frame: number of the frame, from 0.
        cameras: serial numbers of the cameras to use; empty for every calibrated one.
        world_unit_mm: millimetres per unit of the calibration.
    """

    sequence: str = "EXP-2-eyes"
    frame: int = 0
    cameras: Sequence[str] = ()
    world_unit_mm: float = 1000.0

    def __post_init__(self) -> None:
        if self.frame < 0:
            raise PorePatchError(f"nersemble.frame must be at least 0, not {self.frame}.")
        if not 0.0 < self.world_unit_mm < float("inf"):
            raise PorePatchError(f"nersemble.world_unit_mm must be more than 0, not {self.world_unit_mm}.")
        twice = [serial for serial in self.cameras if list(self.cameras).count(serial) > 1]
        if twice:
            raise PorePatchError(f"nersemble.cameras names {twice[0]} twice; keep one.")


def ingest_nersemble(
    subject: str,
    participant: str | Path,
    masks: str | Path | None,
    output: str | Path,
    settings: NersembleSettings,
    mask_settings: MaskSettings = MaskSettings(),  # noqa: B008
    threads: int = 1,
) -> None:
    """Read one frame of every camera and write `output` (images.parquet), `images/cam_<serial>.png` and `masks/` beside it.

    Views are ordered by serial number; their poses are in millimetres. Nothing is written unless all of it is good.

    Args:
        subject: name, for messages.
        participant: the folder of one participant.
        masks: None or "" for none, "auto" for made ones, or a folder of masks of the frames (`cam_<serial>.png`).
        output: the table to write.
        settings: which moment and which cameras.
        mask_settings: how masks are made and shrunk.
        threads: videos decoded at once.

    Raises:
        PorePatchError: for a folder of another layout, a malformed or incomplete calibration, an unknown sequence or camera,
            a video that is missing, damaged or too short, frames of another size than the calibration's, or bad masks.
    """
    participant = Path(participant)
    calibration = participant / CALIBRATION
    document = read_document(calibration)
    videos = find_videos(participant, settings.sequence)
    chosen = choose_cameras(list(document["world_2_cam"]), videos, settings.cameras, calibration)
    rig = rig_of(document, chosen, settings.world_unit_mm, calibration)
    logger.info("Reading frame %d of %s from %d cameras of %s", settings.frame, settings.sequence, len(chosen), subject)
    images, mask_folder = Path(output).parent / "images", Path(output).parent / "masks"
    with atomic_folder(images) as frame_folder, atomic_folder(mask_folder) as temporary:
        develop = partial(_develop, rig=rig, videos=videos, index=settings.frame, folder=frame_folder)
        with quiet_decoder():
            developed = map_threads(develop, chosen, threads)
        _warn_if_out_of_step([videos[serial] for serial in chosen], [moment for _, moment in developed], settings.frame)
        views = _with_ids([view for view, _ in developed])
        origins = [Origin(videos[s], (v.camera.width, v.camera.height), 1) for s, v in zip(chosen, views, strict=True)]
        names = write_masks(temporary, views, origins, masks, "upright", mask_settings, threads)
        if masks and str(masks) != MADE_MASKS:
            _undistort_masks([temporary / name for name in names if name], [rig[s] for s in chosen], views)
    finals = [
        replace(view, path=images / view.name, mask_path=mask_folder / name if name else None)
        for view, name in zip(views, names, strict=True)
    ]
    write_views(output, finals)


def read_document(file: Path) -> dict[str, Any]:
    """Read `camera_params.json` and check its keys and types. Raises PorePatchError if it is missing or malformed."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PorePatchError(
            f"The calibration {file} is missing; give the folder of one participant, and download its calibration."
        ) from None
    except (OSError, ValueError) as error:
        raise PorePatchError(f"Cannot read the calibration {file} ({error}); download it again.") from error
    validate(document, SCHEMAS / "nersemble.schema.yaml", str(file), "key")
    return dict(document)


def rig_of(document: Mapping[str, Any], serials: Sequence[str], world_unit_mm: float, file: Path) -> dict[str, RigCamera]:
    """Return the named cameras of a calibration by serial number.

    Raises:
        PorePatchError: if one lacks an entry, has a number that is not finite, or a matrix that is not of its kind.
    """
    size = (document["width"], document["height"]) if "width" in document else None
    rig = {}
    for serial in serials:
        where = f"camera {serial} in {file}"
        distortion = np.array(_of_camera(document.get("distortion", [0.0] * 4), serial, "distortion", file), np.float64)
        if not np.all(np.isfinite(distortion)):
            raise PorePatchError(f"The distortion of {where} has a number that is not finite; restore the file.")
        intrinsics = _checked_intrinsics(_of_camera(document["intrinsics"], serial, "intrinsics", file), where)
        pose = _checked_pose(document["world_2_cam"][serial], world_unit_mm, where)
        rig[serial] = RigCamera(intrinsics, distortion, size, pose)
    return rig


def find_videos(participant: Path, sequence: str) -> dict[str, Path]:
    """Return the videos of a sequence by serial number.

    Raises:
        PorePatchError: if the participant has no such sequence; the sentence names those that exist.
    """
    folder = participant / "sequences"
    if not folder.is_dir():
        raise PorePatchError(
            f"{participant} has no folder 'sequences'; give the folder of one participant of version 2 of the dataset."
        )
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if sequence not in names:
        mend = suggestion(sequence, names) or f"; there are {', '.join(names) or 'none'}."
        raise PorePatchError(f"{folder} has no sequence '{sequence}'{mend}")
    images = folder / sequence / "images"
    videos = sorted(images.glob("cam_*.mp4")) if images.is_dir() else []
    if not videos:
        raise PorePatchError(f"{images} has no videos cam_<serial>.mp4; download the sequence or choose another.")
    return {path.stem.removeprefix("cam_"): path for path in videos}


def choose_cameras(calibrated: Sequence[str], videos: Mapping[str, Path], asked: Sequence[str], calibration: Path) -> list[str]:
    """Return the serial numbers to use, sorted: those asked for, or all that the file `calibration` has.

    Raises:
        PorePatchError: if one is unknown, lacks its calibration or its video, or fewer than two are left.
    """
    folder = next(iter(videos.values())).parent
    for serial in asked or sorted({*calibrated, *videos}):
        if serial not in calibrated and serial not in videos:
            mend = suggestion(serial, sorted(calibrated)) or f"; there are {', '.join(sorted(calibrated)) or 'none'}."
            raise PorePatchError(f"{calibration} has no camera '{serial}' (nersemble.cameras){mend}")
        if serial not in calibrated:
            raise PorePatchError(
                f"{calibration} has no camera {serial}, which {videos[serial]} is of; restore it, "
                "or list the other cameras in nersemble.cameras."
            )
        if serial not in videos:
            raise PorePatchError(
                f"The video {folder / f'cam_{serial}.mp4'} of a calibrated camera is missing; download it, "
                "or list the other cameras in nersemble.cameras."
            )
    chosen = sorted(asked or calibrated)
    if len(chosen) < 2:
        raise PorePatchError(f"Only {len(chosen)} camera of {folder} is used; name at least two in nersemble.cameras.")
    return chosen


def _develop(
    serial: str, rig: Mapping[str, RigCamera], videos: Mapping[str, Path], index: int, folder: Path
) -> tuple[View, Moment]:
    """Decode, check, undistort and write one camera's frame."""
    camera, video = rig[serial], videos[serial]
    image, moment = read_frame(video, index)
    size = (image.shape[1], image.shape[0])
    _check_size(camera, size, video)
    straight_camera = pinhole(camera, size)
    if camera.distortion.any():
        straight = undistortion(camera, size, f"camera {serial}")
        image, straight_camera = straight.apply(image, cv2.INTER_LANCZOS4), straight.camera
    path = folder / f"cam_{serial}.png"
    write_png(path, image)
    view = View(
        image_id=0,
        name=path.name,
        path=path,
        mask_path=None,
        sha256=sha256_of(path),
        orientation=1,
        camera_id=0,
        camera=straight_camera,
        focal_is_prior=True,
        pose=camera.pose,
        metric=True,
    )
    return view, moment


def _with_ids(views: Sequence[View]) -> list[View]:
    """Number the views; equal cameras share a camera_id."""
    ids: dict[Camera, int] = {}
    return [
        replace(view, image_id=image_id, camera_id=ids.setdefault(view.camera, len(ids))) for image_id, view in enumerate(views)
    ]


def _undistort_masks(paths: Sequence[Path], rig: Sequence[RigCamera], views: Sequence[View]) -> None:
    """Masks were drawn on the frames as they are in the videos."""
    for path, camera, view in zip(paths, rig, views, strict=True):
        if camera.distortion.any():
            straight = undistortion(camera, (view.camera.width, view.camera.height), view.name)
            mask = np.asarray(decode(read_image_bytes(path), path, cv2.IMREAD_GRAYSCALE), np.uint8)
            write_png(path, straight.apply(mask, cv2.INTER_NEAREST))


def _warn_if_out_of_step(videos: Sequence[Path], moments: Sequence[Moment], index: int) -> None:
    """Frame i is one moment of all cameras only if it has one time in videos of one length."""
    first = moments[0]
    for video, moment in zip(videos, moments, strict=True):
        apart_ms = abs(moment.time_ms - first.time_ms)
        if moment.declared_frames != first.declared_frames or apart_ms > 0.5 * first.interval_ms:
            logger.warning(
                "%s has %d frames and number %d at %.1f ms, %s has %d and %.1f ms; they may not show one moment.",
                video,
                moment.declared_frames,
                index,
                moment.time_ms,
                videos[0].name,
                first.declared_frames,
                first.time_ms,
            )


def _check_size(camera: RigCamera, size: Size, video: Path) -> None:
    """Refuse frames that the intrinsics are not for."""
    found = f"The frames of {video} have {size[0]}x{size[1]} pixels"
    if camera.size is not None and camera.size != size:
        raise PorePatchError(
            f"{found} but the calibration is for {camera.size[0]}x{camera.size[1]}; use the videos as downloaded, "
            "or write intrinsics, width and height for these."
        )
    # Twice the distance of the principal point from the rim, over the side: 1 at the centre, 2 for a copy of half the size.
    ratio = (2.0 * camera.matrix[:2, 2] + 1.0) / np.array(size)
    if np.all(np.abs(ratio - 1.0) <= 2.0 * _OFF_CENTRE):
        return
    if abs(ratio[0] / ratio[1] - 1.0) < 0.1:
        wanted = np.round(np.array(size) * ratio.mean()).astype(int)
        raise PorePatchError(
            f"{found} but the principal point of the intrinsics is that of frames of about {wanted[0]}x{wanted[1]}, "
            f"{ratio.mean():.2g} times the size; use the videos as downloaded, or scale the intrinsics of the copy."
        )
    raise PorePatchError(
        f"{found} but the principal point of the intrinsics, ({camera.matrix[0, 2]:g}, {camera.matrix[1, 2]:g}), "
        "is far from their centre; give the calibration of these videos."
    )


def _of_camera(value: Any, serial: str, name: str, file: Path) -> Any:
    """What all cameras share, or what one has."""
    if not isinstance(value, dict):
        return value
    if serial not in value:
        raise PorePatchError(f"{file} has no {name} for the camera {serial}; add its entry.")
    return value[serial]


def _checked_intrinsics(rows: Sequence[Sequence[float]], where: str) -> FloatArray:
    matrix = np.array(rows, np.float64)
    (fx, skew, _), (zero, fy, _), last = matrix
    if not np.all(np.isfinite(matrix)) or skew or zero or fx <= 0.0 or fy <= 0.0 or last.tolist() != [0.0, 0.0, 1.0]:
        raise PorePatchError(f"The intrinsics of {where} are not (fx 0 cx; 0 fy cy; 0 0 1) with positive fx, fy; mend them.")
    return matrix


def _checked_pose(rows: Sequence[Sequence[float]], world_unit_mm: float, where: str) -> Pose:
    """The pose of a 4x4 matrix, its rotation made exact and its translation in mm."""
    matrix = np.array(rows, np.float64)
    if not np.all(np.isfinite(matrix)):
        raise PorePatchError(f"The pose of {where} has a number that is not finite; restore the file.")
    rotation = checked_rotation(matrix[:3, :3], where)
    if matrix[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
        raise PorePatchError(f"The last row of the pose of {where} is not 0 0 0 1; give world to camera, row by row.")
    return Pose(rotation, matrix[:3, 3] * world_unit_mm)
