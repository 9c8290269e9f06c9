"""NeRSemble participants: the right frame, the rig in millimetres, and one sentence for what does not fit."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from nersemble_replica import RATE, SEQUENCE, SERIALS, intrinsics_of, matrix_of, write_calibration, write_replica, write_video

from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.nersemble import NersembleSettings, ingest_nersemble
from porepatch_lib.captures.video import read_frame
from porepatch_lib.captures.views import View, load_colour, load_grey, load_mask, read_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import sha256_of
from porepatch_lib.geometry import Camera, Pose, distort, rays

WIDTH, HEIGHT, FRAMES, FRAME = 96, 128, 5, 2
CAMERA = Camera("PINHOLE", WIDTH, HEIGHT, (150.0, 151.0, 46.0, 64.5))
BITS, CELL = 6, 16
Mend = Callable[[Path], None]


def pattern(camera: Camera, seed: int) -> np.ndarray:
    """A smooth picture (H,W,3) of a plane, as `camera` sees it from the front, lens distortion included."""
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x, y = 150.0 * rays(camera, np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64))[:, :2].T
    rng = np.random.default_rng(seed)
    waves = [np.cos(a * x + b * y + c) for a, b, c in rng.uniform(-0.35, 0.35, (4, 3))]
    grey = np.clip(128.0 + 28.0 * np.sum(waves, axis=0), 0, 255).astype(np.uint8).reshape(camera.height, camera.width)
    return np.dstack([grey, grey, grey])


def turned(angle_rad: float) -> Pose:
    """A camera 1 m before the origin, turned about the vertical."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return Pose(np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]), np.array([12.25, -3.5, 1000.0 + 37.0 * angle_rad]))


POSES = [turned(angle) for angle in (-0.4, 0.1, 0.5)]
IMAGES = [pattern(CAMERA, seed) for seed in range(3)]


def write(folder: Path, **changes: object) -> Path:
    """A participant with three cameras."""
    arguments: dict[str, object] = {"images": IMAGES, "serials": SERIALS[:3], "cameras": [CAMERA] * 3, "poses": POSES}
    return write_replica(folder, **(arguments | {"frames": FRAMES, "frame": FRAME} | changes))  # type: ignore[arg-type]


def distance_to_rim(lens: Camera, pinhole: Camera) -> float:
    """How near the pixels of a straight frame come to the rim of the distorted one, in pixels; negative if outside."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
    places = distort(lens, rays(pinhole, pixels)[:, :2]) * lens.focal_px + lens.principal_point_px
    return float(np.minimum(places, np.array([WIDTH, HEIGHT]) - 1.0 - places).min())


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data set") / "018")


def ingest(participant: Path, output: Path, masks: str | Path = "", threads: int = 1, **changes: object) -> list[View]:
    settings = NersembleSettings(**({"sequence": SEQUENCE, "frame": FRAME} | changes))  # type: ignore[arg-type]
    ingest_nersemble("ann", participant, masks, output / "images.parquet", settings, MaskSettings(), threads)
    return read_views(output / "images.parquet")


def numbered(number: int) -> np.ndarray:
    """A picture that says its number in black and white squares before a moving texture."""
    image = np.roll(np.random.default_rng(0).integers(0, 256, (64, CELL * BITS, 3), np.uint8), 3 * number, axis=1)
    for bit in range(BITS):
        image[16:32, bit * CELL : (bit + 1) * CELL] = 255 if number >> bit & 1 else 0
    return image


def number_in(image: np.ndarray) -> int:
    return sum(int(image[24, bit * CELL + CELL // 2].mean() > 127) << bit for bit in range(BITS))


@pytest.mark.parametrize("codec", ["mp4v", "MJPG", "vp09"])
def test_frame_i_is_frame_i(tmp_path: Path, codec: str) -> None:
    write_video(tmp_path / "a.mp4", numbered, 40, codec)
    for index in (0, 1, 11, 12, 13, 25, 39):
        image, moment = read_frame(tmp_path / "a.mp4", index)
        assert number_in(image) == index
        assert moment.time_ms == pytest.approx(1000.0 * index / RATE, abs=1.0)
        assert moment.declared_frames == 40


def test_views_are_the_rig_in_millimetres(replica: Path, tmp_path: Path) -> None:
    views = ingest(replica, tmp_path)
    assert [view.name for view in views] == [f"cam_{serial}.png" for serial in SERIALS[:3]]
    assert [view.image_id for view in views] == [0, 1, 2] and {view.camera_id for view in views} == {0}
    for view, pose, image in zip(views, POSES, IMAGES, strict=True):
        assert view.pose is not None and view.metric and view.focal_is_prior and view.orientation == 1
        np.testing.assert_allclose(view.pose.rotation, pose.rotation, atol=1e-12)
        np.testing.assert_allclose(view.pose.translation, pose.translation, atol=1e-9)
        assert view.camera == CAMERA
        assert view.path == tmp_path / "images" / view.name and view.sha256 == sha256_of(view.path)
        assert view.mask_path is None
        assert np.abs(load_grey(view) - image[..., 0].astype(float)).mean() < 4.0


def test_the_frame_asked_for_is_read(replica: Path, tmp_path: Path) -> None:
    view = ingest(replica, tmp_path, frame=FRAME + 1)[0]
    expected = np.roll(IMAGES[0] // 2, 16, axis=1)
    assert np.abs(load_colour(view) - expected.astype(float)).mean() < 4.0


def test_cameras_are_chosen_and_may_differ(tmp_path: Path) -> None:
    other = Camera("PINHOLE", WIDTH, HEIGHT, (160.0, 160.0, 47.0, 63.0))
    participant = write(tmp_path / "018", cameras=[CAMERA, CAMERA, other])
    views = ingest(participant, tmp_path / "out", cameras=[SERIALS[2], SERIALS[1]], world_unit_mm=10.0)
    assert [view.name for view in views] == [f"cam_{SERIALS[1]}.png", f"cam_{SERIALS[2]}.png"]
    assert [view.camera for view in views] == [CAMERA, other] and [view.camera_id for view in views] == [0, 1]
    assert views[0].pose is not None
    np.testing.assert_allclose(views[0].pose.translation, POSES[1].translation / 100.0, atol=1e-9)


def test_a_broken_camera_may_be_left_out(replica: Path, tmp_path: Path) -> None:
    shutil.copytree(replica, tmp_path / "018")
    posed(0, 3, float("nan"))(tmp_path / "018")
    video(tmp_path / "018", 1).write_bytes(b"")
    assert len(ingest(tmp_path / "018", tmp_path / "out", cameras=[SERIALS[0], SERIALS[2]])) == 2


def test_same_input_same_bytes_on_any_number_of_threads(replica: Path, tmp_path: Path) -> None:
    for threads in (1, 2):
        ingest(replica, tmp_path / str(threads), threads=threads)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert len(files) == 4
    assert [sha256_of(tmp_path / "1" / file) for file in files] == [sha256_of(tmp_path / "2" / file) for file in files]


def mask_folder(folder: Path) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:100, 10:70] = 255
    folder.mkdir(parents=True)
    for serial in SERIALS[:3]:
        cv2.imwrite(str(folder / f"cam_{serial}.png"), mask)
    return mask


def test_given_masks_are_found_by_camera(replica: Path, tmp_path: Path) -> None:
    mask = mask_folder(tmp_path / "given")
    for view in ingest(replica, tmp_path / "out", masks=tmp_path / "given"):
        assert view.mask_path == tmp_path / "out" / "masks" / f"{view.name}.png"
        np.testing.assert_array_equal(load_mask(view), mask)


def bright(image: np.ndarray) -> np.ndarray:
    """A mask maker as a user may bring it."""
    return np.where(image.mean(axis=2) > 128, np.uint8(255), np.uint8(0))


def test_masks_are_made_from_the_frames(replica: Path, tmp_path: Path) -> None:
    settings = NersembleSettings(SEQUENCE, FRAME)
    maker = MaskSettings(maker=f"{bright.__module__}:bright")
    ingest_nersemble("ann", replica, "auto", tmp_path / "images.parquet", settings, maker)
    for view in read_views(tmp_path / "images.parquet"):
        np.testing.assert_array_equal(load_mask(view), bright(load_colour(view)))


# Barrel: every pixel of the straight frame comes from inside, so the camera stays. Pincushion: the focal length must grow.
@pytest.mark.parametrize(
    ("distortion", "grows"),
    [((-0.25, 0.05, 0.0, 0.0), False), ((0.3, 0.1, 0.002, -0.003), True), ((0.0, 0.0, 0.004, 0.004), True)],
)
def test_distortion_is_taken_out_of_frames_and_masks(
    tmp_path: Path, distortion: tuple[float, float, float, float], grows: bool
) -> None:
    lens = Camera("OPENCV", WIDTH, HEIGHT, (*CAMERA.params, *distortion))
    images = [pattern(lens, seed) for seed in range(3)]
    mask_folder(tmp_path / "masks")
    for serial, image in zip(SERIALS, images, strict=False):
        cv2.imwrite(str(tmp_path / "masks" / f"cam_{serial}.png"), np.where(image[..., 0] > 128, 255, 0).astype(np.uint8))
    participant = write(tmp_path / "018", images=images, cameras=[lens] * 3, codec="MJPG")
    for seed, view in enumerate(ingest(participant, tmp_path / "out", masks=tmp_path / "masks")):
        growth = np.array(view.camera.focal_px) / CAMERA.focal_px
        assert view.camera.model == "PINHOLE" and view.camera.principal_point_px == CAMERA.principal_point_px
        assert growth[0] == pytest.approx(growth[1], rel=1e-12)
        assert 1.001 < growth[0] < 1.5 if grows else growth[0] == 1.0
        assert not grows or distance_to_rim(lens, view.camera) == pytest.approx(0.0, abs=0.02)
        # No black or repeated rim: the whole frame, corners included, is the plane as a pinhole camera sees it.
        expected = pattern(view.camera, seed)[..., 0]
        difference = np.abs(load_grey(view).astype(float) - expected)
        assert difference.mean() < 1.5 and difference.max() < 16.0
        assert np.abs(images[seed][..., 0].astype(float) - expected).mean() > 2.0
        mask = load_mask(view)
        assert mask is not None and set(np.unique(mask)) == {0, 255}
        clear = np.abs(expected.astype(int) - 128) > 24
        np.testing.assert_array_equal(mask[clear] > 0, (expected > 128)[clear])


def test_without_distortion_no_frame_is_resampled(replica: Path, tmp_path: Path) -> None:
    shutil.copytree(replica, tmp_path / "018")
    calibrated(lambda d: d.update(distortion={serial: [0.0] * 5 for serial in SERIALS}))(tmp_path / "018")
    straight, plain = ingest(tmp_path / "018", tmp_path / "straight"), ingest(replica, tmp_path / "plain")
    assert [view.sha256 for view in straight] == [view.sha256 for view in plain]
    for serial, view in zip(SERIALS, plain, strict=False):
        decoded, _ = read_frame(replica / "sequences" / SEQUENCE / "images" / f"cam_{serial}.mp4", FRAME)
        np.testing.assert_array_equal(load_colour(view), decoded)


@pytest.mark.parametrize(
    ("frames", "rate", "sentence"),
    [(FRAMES + 2, RATE, "has 7 frames and number 2 at 83.3 ms"), (FRAMES, RATE / 2, "has 5 frames and number 2 at 166.7 ms")],
)
def test_videos_out_of_step_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, frames: int, rate: float, sentence: str
) -> None:
    participant = write(tmp_path / "018")
    write_video(video(participant, 1), lambda number: IMAGES[1], frames, rate=rate)
    with caplog.at_level(logging.WARNING):
        ingest(participant, tmp_path / "out")
    (record,) = caplog.records
    expected = f"cam_{SERIALS[1]}.mp4 {sentence}, cam_{SERIALS[0]}.mp4 has 5 and 83.3 ms; they may not show one moment."
    assert record.message.endswith(expected)


def video(participant: Path, camera: int) -> Path:
    return participant / "sequences" / SEQUENCE / "images" / f"cam_{SERIALS[camera]}.mp4"


def calibrated(mend: Callable[[dict[str, object]], None]) -> Mend:
    """A change of the calibration's document."""

    def change(participant: Path) -> None:
        document = json.loads((participant / "calibration" / "camera_params.json").read_text())
        mend(document)
        write_calibration(participant, document)

    return change


def posed(row: int, column: int, value: float) -> Mend:
    """One number of the second camera's pose changed."""
    return calibrated(lambda d: d["world_2_cam"][SERIALS[1]][row].__setitem__(column, value))  # type: ignore[index]


def filled(content: bytes) -> Mend:
    return lambda p: video(p, 1).write_bytes(content) and None  # type: ignore[func-returns-value]


def cut(p: Path) -> None:
    video(p, 1).write_bytes(video(p, 1).read_bytes()[:-200])


def spoilt(p: Path) -> None:
    """Pictures 2 on are garbage, the index is whole."""
    write_video(video(p, 1), lambda number: IMAGES[1], FRAMES, "MJPG")
    data = bytearray(video(p, 1).read_bytes())
    start = data.index(b"mdat")
    length = int.from_bytes(data[start - 4 : start], "big")
    data[start + length // 2 : start + length - 20] = b"\xab" * (length - 20 - length // 2)
    video(p, 1).write_bytes(bytes(data))


def unknown_codec(p: Path) -> None:
    write_video(video(p, 1), lambda number: IMAGES[1], FRAMES, "vp09")
    video(p, 1).write_bytes(video(p, 1).read_bytes().replace(b"vp09", b"zzzz"))


def halved(p: Path) -> None:
    for camera in range(3):
        write_video(video(p, camera), lambda number: IMAGES[0][::2, ::2].copy(), FRAMES)


REFUSALS: dict[str, tuple[Mend, dict[str, object], str]] = {
    "no participant": (shutil.rmtree, {}, r"calibration .*camera_params.json is missing; give the folder of one participant"),
    "no calibration": (
        lambda p: shutil.rmtree(p / "calibration"),
        {},
        r"calibration .*camera_params.json is missing; .*download its calibration",
    ),
    "not JSON": (
        lambda p: (p / "calibration" / "camera_params.json").write_text("{") and None,
        {},
        r"Cannot read the calibration .*camera_params.json \(.*\); download it again",
    ),
    "not text": (
        lambda p: (p / "calibration" / "camera_params.json").write_bytes(b"\xff\xfe\x00") and None,
        {},
        r"Cannot read the calibration .*camera_params.json \(.*\); download it again",
    ),
    "a wrong key": (
        calibrated(lambda d: d.update(world2cam=d.pop("world_2_cam"))),
        {},
        r"Unknown key 'world2cam' in .*camera_params.json; did you mean 'world_2_cam'\?",
    ),
    "a missing key": (calibrated(lambda d: d.pop("intrinsics")), {}, r"Missing key 'intrinsics' in .*camera_params.json"),
    "a list for a document": (
        lambda p: (p / "calibration" / "camera_params.json").write_text("[]") and None,
        {},
        r"camera_params.json must be a section, not \[\]",
    ),
    "text for a number": (
        calibrated(lambda d: d["intrinsics"][0].__setitem__(0, "8000")),  # type: ignore[index]
        {},
        r"'intrinsics.0.0' in .*camera_params.json must be a number, not '8000'",
    ),
    "a camera uncalibrated": (
        calibrated(lambda d: d["world_2_cam"].pop(SERIALS[1])),  # type: ignore[attr-defined]
        {},
        rf"camera_params.json has no camera {SERIALS[1]}, which .*cam_{SERIALS[1]}.mp4 is of; restore it",
    ),
    "an uncalibrated camera asked for": (
        calibrated(lambda d: d["world_2_cam"].pop(SERIALS[1])),  # type: ignore[attr-defined]
        {"cameras": SERIALS[:2]},
        rf"camera_params.json has no camera {SERIALS[1]}, which .*nersemble.cameras",
    ),
    "a camera without intrinsics": (
        calibrated(lambda d: d.update(intrinsics={SERIALS[0]: d["intrinsics"]})),
        {},
        rf"camera_params.json has no intrinsics for the camera {SERIALS[1]}; add its entry",
    ),
    "a camera without distortion": (
        calibrated(lambda d: d.update(distortion={SERIALS[0]: [0.1, 0.0, 0.0, 0.0]})),
        {},
        rf"camera_params.json has no distortion for the camera {SERIALS[1]}; add its entry",
    ),
    "NaN in a pose": (posed(0, 3, float("nan")), {}, rf"pose of camera {SERIALS[1]} in .*json has a number that is not finite"),
    "no rotation": (posed(0, 0, 0.5), {}, rf"rotation of camera {SERIALS[1]} in .*json is no rotation matrix; give world to"),
    "a mirror": (posed(1, 1, -1.0), {}, rf"rotation of camera {SERIALS[1]} in .*json is no rotation matrix"),
    "a wrong last row": (posed(3, 0, 0.1), {}, rf"last row of the pose of camera {SERIALS[1]} in .* is not 0 0 0 1"),
    "a transposed K": (
        calibrated(lambda d: d.update(intrinsics=np.transpose(d["intrinsics"]).tolist())),  # type: ignore[call-overload]
        {},
        r"intrinsics of camera .*json are not \(fx 0 cx; 0 fy cy; 0 0 1\)",
    ),
    "an infinite distortion": (
        calibrated(lambda d: d.update(distortion=[float("inf"), 0.0, 0.0, 0.0])),
        {},
        r"distortion of camera .*json has a number that is not finite",
    ),
    "a distortion that folds": (
        calibrated(lambda d: d.update(distortion=[-9.0, 0.0, 0.0, 0.0])),
        {},
        r"The distortion \[-9.0, .*\] of camera \d+ does not map its frame; correct it",
    ),
    "no sequences": (
        lambda p: shutil.rmtree(p / "sequences"),
        {},
        r"018 has no folder 'sequences'; give the folder of one participant of version 2",
    ),
    "an unknown sequence": (lambda p: None, {"sequence": "EXP-2-eye"}, r"no sequence 'EXP-2-eye'; did you mean 'EXP-2-eyes'\?"),
    "quite another sequence": (lambda p: None, {"sequence": "HAIR"}, r"no sequence 'HAIR'; there are EXP-2-eyes\."),
    "a sequence outside": (lambda p: None, {"sequence": f"../sequences/{SEQUENCE}"}, r"no sequence '../sequences/EXP-2-eyes';"),
    "no videos": (
        lambda p: shutil.rmtree(video(p, 0).parent),
        {},
        r"EXP-2-eyes/images has no videos cam_<serial>.mp4; download the sequence",
    ),
    "a video missing": (
        lambda p: video(p, 1).unlink(),
        {},
        rf"video .*cam_{SERIALS[1]}.mp4 of a calibrated camera is missing; download it, or list the other cameras",
    ),
    "an unknown serial": (
        lambda p: None,
        {"cameras": [SERIALS[0], "222200063"]},
        r"has no camera '222200063' \(nersemble.cameras\); did you mean '222200036'\?",
    ),
    "one camera": (lambda p: None, {"cameras": SERIALS[:1]}, r"Only 1 camera of .* is used; name at least two"),
    "too few frames": (
        lambda p: None,
        {"frame": FRAMES},
        r"cam_\d+.mp4 has 5 frames and so none of number 5, as the first is number 0; choose",
    ),
    "an empty video": (filled(b""), {}, rf"The file .*cam_{SERIALS[1]}.mp4 is no MP4 video; download it again"),
    "a text for a video": (filled(b"404 not found, sorry"), {}, rf"The file .*cam_{SERIALS[1]}.mp4 is no MP4 video"),
    "a short header": (filled(b"\0\0\0\x18ftyp"), {}, rf"The video .*cam_{SERIALS[1]}.mp4 is truncated"),
    "a truncated video": (cut, {}, rf"The video .*cam_{SERIALS[1]}.mp4 is truncated: its end is missing; download it again"),
    "a damaged video": (spoilt, {"frame": 4}, rf"video .*cam_{SERIALS[1]}.mp4 is damaged after \d of its 5 frames; download"),
    "an unknown codec": (
        unknown_codec,
        {},
        rf"OpenCV cannot decode the video .*cam_{SERIALS[1]}.mp4: its codec is unknown; convert it to H.264",
    ),
    "half the size": (
        halved,
        {},
        r"frames of .*mp4 have 48x64 pixels but the principal point .* of frames of about 9\dx1[23]\d, 2 times the size",
    ),
    "another size, told": (
        calibrated(lambda d: d.update(width=2200, height=3208)),
        {},
        r"frames of .*mp4 have 96x128 pixels but the calibration is for 2200x3208; use the videos as downloaded",
    ),
    "a far principal point": (
        calibrated(lambda d: d["intrinsics"][0].__setitem__(2, 5.0)),  # type: ignore[index]
        {},
        r"frames of .*mp4 have 96x128 pixels but the principal point of the intrinsics, \(5, 64.5\), is far from their centre",
    ),
    "a mask missing": (lambda p: None, {"masks": True}, r"has no mask for the image cam_"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_sentence_and_leave_nothing(
    replica: Path, tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    mend, changes, sentence = REFUSALS[case]
    participant, output = tmp_path / "018", tmp_path / "out"
    shutil.copytree(replica, participant)
    mend(participant)
    capfd.readouterr()
    if "masks" in changes:
        mask_folder(tmp_path / "given")
        (tmp_path / "given" / f"cam_{SERIALS[2]}.png").unlink()
        changes = {"masks": tmp_path / "given"}
    with pytest.raises(PorePatchError, match=sentence) as error:
        ingest(participant, output, **changes)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert not list(output.rglob("*"))
    assert capfd.readouterr() == ("", "")


def test_ffmpeg_is_silent_from_the_first_video_on(replica: Path, tmp_path: Path) -> None:
    shutil.copytree(replica, tmp_path / "018")
    spoilt(tmp_path / "018")
    program = (
        "import sys\n"
        "from porepatch_lib.captures.video import quiet_decoder, read_frame\n"
        "with quiet_decoder():\n"
        "    read_frame(sys.argv[1], 4)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_FFMPEG_LOGLEVEL"}
    arguments = [sys.executable, "-c", program, str(video(tmp_path / "018", 1))]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert run.stderr.startswith("Traceback") and "is damaged after" in run.stderr
    assert "mjpeg" not in run.stderr and "VIDEOIO" not in run.stderr


def test_an_error_keeps_what_an_earlier_run_wrote(replica: Path, tmp_path: Path) -> None:
    ingest(replica, tmp_path)
    before = {path: sha256_of(path) for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(PorePatchError):
        ingest(replica, tmp_path, frame=FRAMES)
    assert {path: sha256_of(path) for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "wrong", [{"frame": -1}, {"world_unit_mm": 0.0}, {"world_unit_mm": float("inf")}, {"cameras": ("1", "2", "1")}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(PorePatchError, match=f"nersemble.{next(iter(wrong))}"):
        NersembleSettings(**wrong)  # type: ignore[arg-type]


def test_a_calibration_may_tell_its_size_and_round_its_digits(replica: Path, tmp_path: Path) -> None:
    shutil.copytree(replica, tmp_path / "018")
    document = {
        "world_2_cam": {s: np.round(matrix_of(pose), 5).tolist() for s, pose in zip(SERIALS, POSES, strict=False)},
        "intrinsics": intrinsics_of(CAMERA),
        "width": WIDTH,
        "height": HEIGHT,
    }
    write_calibration(tmp_path / "018", document)
    for view in ingest(tmp_path / "018", tmp_path / "out"):
        assert view.pose is not None
        np.testing.assert_allclose(view.pose.rotation @ view.pose.rotation.T, np.eye(3), atol=1e-14)
