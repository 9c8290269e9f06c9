"""Captures of every kind through `snakemake captures`, by sheet alone; and a new project that Snakemake accepts."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from bad_captures import picture
from nersemble_replica import SERIALS, write_replica
from PIL import Image

from porepatch_lib.captures.project import new_project
from porepatch_lib.captures.views import View, load_colour, load_grey, load_mask, read_views
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.tables import QUALITY, read_table

_VESPASIAN = ("IMG_1857.jpg", "IMG_1858.jpg", "IMG_1859.jpg")
_FOUNTAIN = ("0004.jpg", "0005.jpg", "0006.jpg")
_FRAME = (320, 240)  # of the participant's videos
_PHONE_WIDTH, _PHONE_HEIGHT = 640, 480  # as stored
# Tags of EXIF 2.32 that must stay with the photographs. Serial number and date of the Vespasian's camera come after ours.
_OWNER, _SERIAL, _LENS_SERIAL, _DATE = 0xA430, 0xA431, 0xA435, 0x9003
_SECONDS_NORTH = Fraction(987_654, 10_001)
_SECRETS = (
    b"Erika Mustermann",
    b"SN-0815-4711",
    b"LENS-99-1234",
    b"2021:03:04 05:06:07",
    b"293075041578",
    b"2016:05:06 16:11:23",
    *(struct.pack(order, *_SECONDS_NORTH.as_integer_ratio()) for order in ("<II", ">II")),
)


@dataclass(frozen=True)
class Captured:
    """What the run made of one subject."""

    folder: Path

    @property
    def views(self) -> list[View]:
        """The views by their table."""
        return read_views(self.folder / "images.parquet")

    @property
    def quality(self) -> pd.DataFrame:
        """The quality table."""
        return read_table(self.folder / "quality.parquet", QUALITY)


def _phone_exif() -> Image.Exif:
    """What a telephone writes: held upright, 26 mm equivalent, who, where and when."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Acme", "Phone 12"
    camera = exif.get_ifd(0x8769)
    camera[0xA405] = 26
    camera[_OWNER], camera[_SERIAL], camera[_LENS_SERIAL], camera[_DATE] = (secret.decode() for secret in _SECRETS[:4])
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (Fraction(52), Fraction(31), _SECONDS_NORTH)
    return exif


def _phone(folder: Path) -> Path:
    """Three pictures of one wall, as a telephone names and turns them; one was saved in grey with 16 bits since."""
    folder.mkdir()
    wall = picture(1, 2 * _PHONE_HEIGHT, 2 * _PHONE_WIDTH)
    for number, shift in enumerate((0, 40, 90)):
        upright = wall[100 : 100 + _PHONE_WIDTH, 100 + shift : 100 + shift + _PHONE_HEIGHT]
        stored = Image.fromarray(np.rot90(upright))
        if number == 2:
            deep = np.asarray(stored)[..., 1].astype(np.uint16) * 257
            Image.fromarray(deep).save(folder / "IMG_2.png", exif=_phone_exif())
        else:
            stored.save(folder / f"IMG_{number}.jpg", quality=92, exif=_phone_exif())
    return folder


def _participant(folder: Path) -> Path:
    """A wall seen by three cameras around it, as NeRSemble keeps it: 4 pixels per millimetre, 750 mm away."""
    camera = Camera("PINHOLE", *_FRAME, (3000.0, 3000.0, (_FRAME[0] - 1) / 2, (_FRAME[1] - 1) / 2))
    wall = np.ascontiguousarray(picture(2, 640, 480)[..., ::-1])
    to_mm = np.array([[0.25, 0.0, -80.0], [0.0, 0.25, -60.0], [0.0, 0.0, 1.0]])
    intrinsics = np.array([[3000.0, 0.0, camera.params[2]], [0.0, 3000.0, camera.params[3]], [0.0, 0.0, 1.0]])
    poses, images = [], []
    for angle_rad in (-0.25, 0.0, 0.25):
        cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
        pose = Pose(np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]]), np.array([0.0, 0.0, 750.0]))
        plane = intrinsics @ np.column_stack([pose.rotation[:, :2], pose.translation]) @ to_mm
        images.append(cv2.warpPerspective(wall, plane, _FRAME, flags=cv2.INTER_LINEAR))
        poses.append(pose)
    return write_replica(folder / "018", images, SERIALS[:3], [camera] * 3, poses, frame=2)


def _links(folder: Path, originals: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(originals / name)
    return folder


@pytest.fixture(scope="module")
def captures(shared, snakemake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one run over all kinds of captures."""
    folder = tmp_path_factory.mktemp("kinds")
    data = shared / "data"
    rows = [
        ("vespasian", "photographs", _links(folder / "v", data / "vespasian/images", _VESPASIAN), data / "vespasian/masks", ""),
        (
            "fountain",
            "photographs",
            _links(folder / "f", data / "fountain-P11/images", _FOUNTAIN),
            "",
            data / "fountain-P11/gt_dense_cameras",
        ),
        ("phone", "photographs", _phone(folder / "Telefon"), "", ""),
        ("participant", "nersemble", _participant(folder), "", ""),
    ]
    lines = [f"{name}\ttrain\t{source}\t{path}\t{masks}\t{cameras}\n" for name, source, path, masks, cameras in rows]
    (folder / "subjects.tsv").write_text("subject\tsplit\tsource\tpath\tmasks\tcameras\n" + "".join(lines))
    config = {
        "subjects": str(folder / "subjects.tsv"),
        "pathvars": {"results": str(folder / "results")},
        "rounds": 1,
        "threads": 1,
        "nersemble": {"frame": 2},
        "photographs": {"world_unit_mm": 1000.0},
        "keypoints": {"target_count": 300},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    process = snakemake("captures", config=folder / "config.yaml")
    assert process.returncode == 0, process.stdout[-8000:]
    return folder / "results"


@pytest.fixture
def subject(captures):
    """Look a subject up."""
    return lambda name: Captured(captures / "captures" / name)


@pytest.mark.parametrize("name", ["vespasian", "fountain", "phone", "participant"])
def test_every_subject_is_surveyed(subject, name):
    captured = subject(name)
    assert list(captured.quality["name"]) == [view.name for view in captured.views]
    assert len(captured.quality) == 3
    assert captured.quality["keypoints"].min() > 50
    assert captured.quality["sharpness"].min() > 0
    sheet = cv2.imread(str(captured.folder / "contact_sheet.png"))
    assert min(sheet.shape[:2]) > 200
    assert sheet.std() > 5


def test_the_head_is_upright_and_masked(subject):
    for view in subject("vespasian").views:
        assert (view.orientation, view.camera.width, view.camera.height) == (6, 1728, 2592)
        assert view.focal_is_prior and view.pose is None and not view.metric
        assert view.camera.params[0] == pytest.approx(21.0 * 864000 / 149 / 25.4 / 2, rel=1e-3)  # half of the sensor's pixels
        mask, smooth = load_mask(view), cv2.GaussianBlur(load_grey(view), None, 3.0)
        assert 0.05 < (mask == 255).mean() < 0.6
        edges = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
        rims = [edges[cv2.morphologyEx(m, cv2.MORPH_GRADIENT, None) > 0].mean() for m in (mask, mask[::-1, ::-1].copy())]
        assert rims[0] > 1.5 * rims[1]  # the mask ends where the head does


def test_the_wall_has_its_rig_in_millimetres(subject):
    views = subject("fountain").views
    assert all(view.metric and view.focal_is_prior for view in views)
    assert views[1].camera.params[:2] == (2759.48, 2764.16)
    centres = np.array([-view.pose.rotation.T @ view.pose.translation for view in views])
    assert 500 < np.linalg.norm(centres[1] - centres[0]) < 5000
    quality = subject("fountain").quality
    assert set(quality["scale_from"]) == {"rig"}
    assert quality["pixels_per_mm"].between(0.1, 1.5).all()


def test_the_participant_has_its_frames_and_its_rig(subject):
    views = subject("participant").views
    assert [view.name for view in views] == [f"cam_{serial}.png" for serial in SERIALS[:3]]
    assert all(view.metric and view.pose is not None for view in views)
    assert {(view.camera.width, view.camera.height) for view in views} == {_FRAME}
    assert views[1].pose.translation == pytest.approx([0.0, 0.0, 750.0])
    wall = picture(2, 640, 480)[120:360, 160:480]  # what the middle camera sees, half a pixel off
    assert np.corrcoef(load_colour(views[1]).mean(axis=2).ravel(), wall.mean(axis=2).ravel())[0, 1] > 0.9
    quality = subject("participant").quality
    assert set(quality["scale_from"]) == {"rig"}
    assert quality["pixels_per_mm"].to_numpy() == pytest.approx([4.0] * 3, rel=0.05)


def test_the_telephone_is_held_upright_and_keeps_its_secrets(subject):
    views = subject("phone").views
    assert [view.orientation for view in views] == [6, 6, 1]  # 16 bits are developed, upright
    assert {(view.camera.width, view.camera.height) for view in views} == {(_PHONE_HEIGHT, _PHONE_WIDTH)}
    assert len({view.camera_id for view in views}) == 1
    focal = 26.0 * np.hypot(_PHONE_WIDTH, _PHONE_HEIGHT) / np.hypot(36.0, 24.0)
    assert views[0].focal_is_prior
    assert views[0].camera.params[0] == pytest.approx(focal)
    first, second, third = (load_colour(view)[..., 1].astype(float) for view in views)
    assert np.abs(first[:, 40:] - second[:, :-40]).mean() < 3.0  # the wall moved to the left, upright
    assert np.abs(first[:, 90:] - third[:, :-90]).mean() < 3.0


def test_no_artefact_tells_who_where_or_when(captures, subject):
    photographs = b"".join(subject(name).views[0].path.read_bytes() for name in ("vespasian", "phone"))
    assert sum(secret in photographs for secret in _SECRETS) == len(_SECRETS) - 1  # one byte order is enough
    files = [path for path in captures.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        data = path.read_bytes()
        assert [secret for secret in _SECRETS if secret in data] == [], path
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                assert len(image.getexif()) == 0, path


def _dry_run(snakemake, project: Path) -> subprocess.CompletedProcess[str]:
    return snakemake("--dry-run", "--quiet", "rules", config=project / "config.yaml")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_new_project_is_accepted(snakemake, tmp_path, count):
    for number in range(count):
        folder = tmp_path / f"people/Person {number}"
        folder.mkdir(parents=True)
        for view in range(2):
            Image.fromarray(picture(10 * number + view)).save(folder / f"{view}.jpg")
    new_project(tmp_path / "mein Projekt", [tmp_path / "people"])
    process = _dry_run(snakemake, tmp_path / "mein Projekt")
    assert process.returncode == 0, process.stdout[-4000:]
    assert f"capture {count}" in " ".join(process.stdout.split())
