"""Folders of captures as users bring them: one thing wrong in each, or something unusual that is still right."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from nersemble_replica import SEQUENCE, SERIALS, write_replica
from PIL import Image

from porepatch_lib.geometry import Camera, Pose

WIDTH, HEIGHT = 96, 72
FRAME = 3  # of NeRSemble videos
_ORIENTATION, _MAKE, _MODEL = 0x0112, 0x010F, 0x0110


@dataclass(frozen=True)
class Cells:
    """Where a subject's captures are: the cells of its row in the sheet."""

    path: Path
    masks: Path | str = ""
    cameras: Path | str = ""
    source: str = "photographs"


@dataclass(frozen=True)
class BadCase:
    """A subject that must be refused: what its one sentence names (a file, mostly) and words of the mend."""

    name: str
    make: Callable[[Path], Cells]
    names: str
    mend: str


@dataclass(frozen=True)
class GoodCase:
    """A subject that must be finished, and how many views it has."""

    make: Callable[[Path], Cells]
    views: int


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Grey-brown noise with dark dots (height, width, 3) RGB, another one for every seed."""
    rng = np.random.default_rng(seed)
    dots = (rng.random((height, width)) < 0.006).astype(np.float64)
    image = rng.normal(160.0, 3.0, (height, width)) - 750.0 * cv2.GaussianBlur(dots, None, 1.4)
    return np.clip(image[..., None] * (1.0, 0.9, 0.8), 0, 255).astype(np.uint8)


def photographs(folder: Path) -> Path:
    """Three good photographs: a.jpg, b.jpg and c.png."""
    images = folder / "photos"
    images.mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "b.jpg", "c.png")):
        Image.fromarray(picture(seed)).save(images / name, quality=95)
    return images


def _with_file(name: str, data: bytes) -> Callable[[Path], Cells]:
    def make(folder: Path) -> Cells:
        images = photographs(folder)
        (images / name).write_bytes(data)
        return Cells(images)

    return make


def _with_image(name: str, image: Callable[[], Image.Image], **options: object) -> Callable[[Path], Cells]:
    def make(folder: Path) -> Cells:
        images = photographs(folder)
        image().save(images / name, **options)
        return Cells(images)

    return make


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels by its header, in 100 bytes."""
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _png_chunk(b"IDAT", zlib.compress(bytes(1000))) + _png_chunk(b"IEND", b"")


def _truncated(folder: Path) -> Cells:
    images = photographs(folder)
    (images / "b.jpg").write_bytes((images / "b.jpg").read_bytes()[:-700])
    return Cells(images)


def _damaged_png(folder: Path) -> Cells:
    images = photographs(folder)
    data = bytearray((images / "c.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (images / "c.png").write_bytes(data)
    return Cells(images)


def _two_pages(folder: Path) -> Cells:
    images = photographs(folder)
    pages = [Image.fromarray(picture(seed)) for seed in (7, 8)]
    pages[0].save(images / "scan.tif", save_all=True, append_images=pages[1:])
    return Cells(images)


def _translucent() -> Image.Image:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:20] = 90
    return Image.fromarray(np.concatenate([picture(5), alpha], axis=2))


def _float_grey() -> Image.Image:
    return Image.fromarray(picture(5)[..., 0].astype(np.float32) / 255.0)


def _only_one(folder: Path) -> Cells:
    images = photographs(folder)
    (images / "b.jpg").unlink()
    (images / "c.png").unlink()
    return Cells(images)


def _one_twice(folder: Path) -> Cells:
    images = photographs(folder)
    (images / "b.jpg").write_bytes((images / "a.jpg").read_bytes())
    (images / "c.png").unlink()
    return Cells(images)


def _nothing(folder: Path) -> Cells:
    (folder / "photos").mkdir(parents=True)
    (folder / "photos/readme.txt").write_text("The photographs come later.")
    return Cells(folder / "photos")


def _symlink_loop(folder: Path) -> Cells:
    images = photographs(folder)
    (images / "d.jpg").symlink_to("d.jpg")
    return Cells(images)


def _folder_called_jpg(folder: Path) -> Cells:
    images = photographs(folder)
    (images / "d.jpg").mkdir()
    return Cells(images)


def _unreadable(folder: Path) -> Cells:
    images = photographs(folder)
    (images / "b.jpg").chmod(0)
    return Cells(images)


def masks_for(images: Path, orders: dict[str, tuple[int, int]] | None = None) -> Path:
    """A mask for every photograph: white but for its left quarter; `orders` gives other (width, height) by file name."""
    folder = images.parent / "face masks"
    folder.mkdir()
    for file in images.iterdir():
        width, height = (orders or {}).get(file.name, (WIDTH, HEIGHT))
        mask = np.full((height, width), 255, np.uint8)
        mask[:, : width // 4] = 0
        Image.fromarray(mask).save(folder / f"{file.stem}.png")
    return folder


def _mask_missing(folder: Path) -> Cells:
    images = photographs(folder)
    masks = masks_for(images)
    (masks / "b.png").unlink()
    return Cells(images, masks)


def _mask_of_another_size(folder: Path) -> Cells:
    images = photographs(folder)
    return Cells(images, masks_for(images, {"b.jpg": (50, 40)}))


def _mask_of_text(folder: Path) -> Cells:
    images = photographs(folder)
    masks = masks_for(images)
    (masks / "b.png").write_text("white everywhere")
    return Cells(images, masks)


def rig(images: Path) -> dict[str, dict[str, object]]:
    """Known cameras side by side, as `cameras.json` has them."""
    return {
        file.name: {
            "model": "PINHOLE",
            "width": WIDTH,
            "height": HEIGHT,
            "params": [200.0, 200.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2],
            "rotation": np.eye(3).tolist(),
            "translation": [-0.1 * i, 0.0, 1.0],
        }
        for i, file in enumerate(sorted(images.iterdir()))
    }


def _with_rig(change: Callable[[dict], object]) -> Callable[[Path], Cells]:
    def make(folder: Path) -> Cells:
        images = photographs(folder)
        cameras = rig(images)
        change(cameras)
        (folder / "cameras.json").write_text(json.dumps(cameras))
        return Cells(images, cameras=folder / "cameras.json")

    return make


def _with_cameras(name: str, data: bytes) -> Callable[[Path], Cells]:
    def make(folder: Path) -> Cells:
        images = photographs(folder)
        (folder / name).write_bytes(data)
        return Cells(images, cameras=folder / name)

    return make


def _colmap_cut(folder: Path) -> Cells:
    """A COLMAP model of the rig, `images.bin` cut in its last pose."""
    images = photographs(folder)
    model = folder / "sparse"
    model.mkdir()
    camera = struct.pack("<IiQQ4d", 1, 1, WIDTH, HEIGHT, 200.0, 200.0, WIDTH / 2, HEIGHT / 2)
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 1) + camera)
    poses = struct.pack("<Q", 3)
    for i, name in enumerate(sorted(rig(images)), start=1):
        poses += struct.pack("<I7dI", i, 1, 0, 0, 0, -0.1 * i, 0, 1, 1) + name.encode() + b"\0" + struct.pack("<Q", 0)
    (model / "images.bin").write_bytes(poses[:-60])
    (model / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    return Cells(images, cameras=model)


def _strecha_short(folder: Path) -> Cells:
    images = photographs(folder)
    cameras = folder / "cameras"
    cameras.mkdir()
    for i, file in enumerate(sorted(images.iterdir())):
        lines = ["200 0 48", "0 200 36", "0 0 1", "0 0 0", "1 0 0", "0 1 0", "0 0 1", f"{i} 0 0", f"{WIDTH} {HEIGHT}"]
        (cameras / f"{file.name}.camera").write_text("\n".join(lines[:5] if file.name == "b.jpg" else lines))
    return Cells(images, cameras=cameras)


def _replica(folder: Path, sequence: str = SEQUENCE, frames: int = 5) -> Path:
    """A NeRSemble participant of three cameras."""
    camera = Camera("PINHOLE", WIDTH, HEIGHT, (200.0, 200.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2))
    poses = [Pose(np.eye(3), np.array([-100.0 * i, 0.0, 1000.0])) for i in range(3)]
    images = [np.ascontiguousarray(picture(seed)[..., ::-1]) for seed in range(3)]
    return write_replica(folder / "018", images, SERIALS[:3], [camera] * 3, poses, frames, FRAME, sequence)


def _participant(change: Callable[[Path], object] = lambda participant: None, **options: object) -> Callable[[Path], Cells]:
    def make(folder: Path) -> Cells:
        participant = _replica(folder, **options)
        change(participant)
        return Cells(participant, source="nersemble")

    return make


def _with_calibration(change: Callable[[dict], object]) -> Callable[[Path], Cells]:
    def rewrite(participant: Path) -> None:
        file = participant / "calibration/camera_params.json"
        calibration = json.loads(file.read_text())
        change(calibration)
        file.write_text(json.dumps(calibration))

    return _participant(rewrite)


def _video(participant: Path) -> Path:
    return participant / f"sequences/{SEQUENCE}/images/cam_{SERIALS[1]}.mp4"


def _cut_video(participant: Path) -> None:
    video = _video(participant)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])


def _unknown_codec(participant: Path) -> None:
    """A whole MP4 file of a codec that nobody knows, by its name and without its description."""
    video = _video(participant)
    video.write_bytes(video.read_bytes().replace(b"mp4v", b"q9x7").replace(b"esds", b"free"))


BAD = [
    BadCase("truncated-jpeg", _truncated, "b.jpg", "copy it again"),
    BadCase("zero-bytes", _with_file("d.jpg", b""), "d.jpg", "copy it again"),
    BadCase("png-bomb", _with_file("d.png", _bomb()), "d.png", "max_megapixels"),
    BadCase("text-called-jpg", _with_file("d.jpg", b"Dear diary, this is no photograph.\n" * 9), "d.jpg", "convert it"),
    BadCase("cmyk-jpeg", _with_image("d.jpg", lambda: Image.fromarray(picture(5)).convert("CMYK")), "d.jpg", "RGB"),
    BadCase("one-bit-png", _with_image("d.png", lambda: Image.fromarray(picture(5)).convert("1")), "d.png", "in grey or colour"),
    BadCase("real-alpha", _with_image("d.png", _translucent), "d.png", "alpha"),
    BadCase("float-tiff", _with_image("d.tif", _float_grey), "d.tif", "bit"),
    BadCase("two-page-tiff", _two_pages, "scan.tif", "save every page"),
    BadCase("damaged-png", _damaged_png, "c.png", "copy it again"),
    BadCase("one-photograph", _only_one, "photos", "at least two"),
    BadCase("one-photograph-twice", _one_twice, "photos", "at least two"),
    BadCase("no-photograph", _nothing, "photos", "at least two"),
    BadCase("symlink-loop", _symlink_loop, "d.jpg", "restore"),
    BadCase("folder-called-jpg", _folder_called_jpg, "d.jpg", "folder"),
    BadCase("no-permission", _unreadable, "b.jpg", "restore"),
    BadCase("mask-missing", _mask_missing, "b.jpg", "add b.png"),
    BadCase("mask-of-another-size", _mask_of_another_size, "b.png", "make the mask again"),
    BadCase("mask-of-text", _mask_of_text, "b.png", "convert it"),
    BadCase("camera-missing", _with_rig(lambda rig: rig.pop("b.jpg")), "b.jpg", "add"),
    BadCase("nan-pose", _with_rig(lambda rig: rig["b.jpg"].update(translation=[float("nan"), 0, 1])), "b.jpg", "finite"),
    BadCase(
        "skewed-rotation",
        _with_rig(lambda rig: rig["b.jpg"].update(rotation=[[1, 0.2, 0], [0, 1, 0], [0, 0, 1]])),
        "b.jpg",
        "world to camera",
    ),
    BadCase(
        "mirrored-rotation",
        _with_rig(lambda rig: rig["b.jpg"].update(rotation=[[1, 0, 0], [0, 1, 0], [0, 0, -1]])),
        "b.jpg",
        "world to camera",
    ),
    BadCase("camera-of-another-size", _with_rig(lambda rig: rig["b.jpg"].update(width=99)), "b.jpg", "give the calibration"),
    BadCase("half-a-pose", _with_rig(lambda rig: rig["b.jpg"].pop("rotation")), "b.jpg", "add"),
    BadCase("broken-json", _with_cameras("cameras.json", b'{"a.jpg": {"model": "PINHOLE",'), "cameras.json", "mend"),
    BadCase("truncated-colmap-model", _colmap_cut, "images.bin", "again"),
    BadCase("npz-that-is-text", _with_cameras("cameras.npz", b"world_mat_0 = eye(4)\n"), "cameras.npz", "numpy.savez"),
    BadCase("letters-in-k-txt", _with_cameras("K.txt", b"f 0 48\n0 f 36\n0 0 1\n"), "K.txt", "9 numbers"),
    BadCase("short-strecha-file", _strecha_short, "b.jpg.camera", "restore"),
    BadCase(
        "nersemble-not-calibrated",
        _participant(lambda participant: (participant / "calibration/camera_params.json").unlink()),
        "camera_params.json",
        "download",
    ),
    BadCase(
        "nersemble-camera-missing",
        _with_calibration(lambda calibration: calibration["world_2_cam"].pop(SERIALS[1])),
        f"cam_{SERIALS[1]}.mp4",
        "restore it",
    ),
    BadCase(
        "nersemble-nan-pose",
        _with_calibration(lambda calibration: calibration["world_2_cam"][SERIALS[1]][0].__setitem__(3, float("nan"))),
        SERIALS[1],
        "restore",
    ),
    BadCase("nersemble-other-sequence", _participant(sequence="EXP-2-eye"), "sequences", "did you mean 'EXP-2-eye'?"),
    BadCase("nersemble-few-frames", _participant(frames=FRAME), f"cam_{SERIALS[0]}.mp4", f"none of number {FRAME}"),
    BadCase("nersemble-video-missing", _participant(lambda participant: _video(participant).unlink()), SERIALS[1], "download it"),
    BadCase(
        "nersemble-random-bytes", _participant(lambda p: _video(p).write_bytes(picture(1).tobytes())), SERIALS[1], "download it"
    ),
    BadCase("nersemble-video-cut", _participant(_cut_video), SERIALS[1], "download it"),
    BadCase("nersemble-unknown-codec", _participant(_unknown_codec), SERIALS[1], "convert it"),
]


def turned(folder: Path) -> Cells:
    """Stored lying on the side (EXIF orientation 6), with masks of the stored pixels."""
    images = photographs(folder)
    for file in images.iterdir():
        image = Image.open(file)
        image.load()
        exif = Image.Exif()
        exif[_ORIENTATION] = 6
        image.save(file, exif=exif)
    return Cells(images, masks_for(images))


def named_in_words(folder: Path) -> Cells:
    """Spaces and letters beyond ASCII, in the folder too."""
    images = photographs(folder / "Zoë Müller, links")
    for file, name in zip(sorted(images.iterdir()), ("von vorn.jpg", "čelo 1.jpg", "ほお.png"), strict=True):
        file.rename(images / name)
    return Cells(images, masks_for(images))


def opaque_alpha(folder: Path) -> Cells:
    """PNG with an alpha channel that hides nothing."""
    images = photographs(folder)
    Image.fromarray(picture(5)).convert("RGBA").save(images / "d.png")
    return Cells(images)


def deep_tiff(folder: Path) -> Cells:
    """TIFF of 16 bits per colour."""
    images = photographs(folder)
    cv2.imwrite(str(images / "d.tif"), picture(5)[..., ::-1].astype(np.uint16) * 257)
    return Cells(images)


def two_cameras(folder: Path) -> Cells:
    """Photographs of two cameras, in two sizes."""
    images = photographs(folder)
    for name, model, width in (("d.jpg", "wide", 128), ("e.jpg", "wide", 128)):
        exif = Image.Exif()
        exif[_MAKE], exif[_MODEL] = "Acme", model
        Image.fromarray(picture(ord(name[0]), width)).save(images / name, quality=95, exif=exif)
    return Cells(images)


GOOD = {
    "turned": GoodCase(turned, 3),
    "named-in-words": GoodCase(named_in_words, 3),
    "opaque-alpha": GoodCase(opaque_alpha, 4),
    "deep-tiff": GoodCase(deep_tiff, 4),
    "two-cameras": GoodCase(two_cameras, 5),
    "participant": GoodCase(_participant(), 3),
}
