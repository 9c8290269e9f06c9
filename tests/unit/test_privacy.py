"""What leaves the house knows nothing of the files and cameras of the people it shows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs
from porepatch_lib.captures.sheet import CARE, COLUMNS
from porepatch_lib.patches.card import read_card, write_card
from porepatch_lib.patches.dataset import build_dataset
from porepatch_lib.patches.extract import PatchSettings, extract_subject_patches
from porepatch_lib.patches.pairs import PairSettings
from porepatch_lib.patches.phototour import export_phototour
from porepatch_lib.patches.sheets import write_contact_sheet
from porepatch_lib.reporting.summary import write_summary
from porepatch_lib.reporting.verification import write_verification_table
from porepatch_lib.reporting.worst import write_worst_pairs
from porepatch_lib.sfm.reconstruct import SfmSettings, reconstruct_subject
from porepatch_lib.tables import KEYPOINTS, MATCHES, TRACKS, empty_frame, write_table
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.train import train
from porepatch_lib.verification.describe import SweepSettings, describe_test_set
from porepatch_lib.verification.hpatches import HPatchesSettings
from porepatch_lib.verification.pairs import VerificationPairSettings, build_test_set
from porepatch_lib.verification.verify import VerificationSettings, verify

# Nothing that is handed on holds the folders and names of photographs, here names of people.
FILES = ("Maier-Anna", "Portrait_Anna", "Huber-Bert", "Portrait_Bert")
# No artefact at all holds one of these, which EXIF knows.
EXIF = {0x013B: "Anna-Maria Maier", 0x8298: "Copyright Maier Studio", 0x0132: "2021:03:04 05:06:07", 0x010E: "Anna at home"}
CAMERA = {
    0xA431: "SN-4711-0815",
    0xA430: "Owner A. Maier",
    0x9003: "2021:03:04 05:06:08",
    0xA435: "LENS-2342",
    0x927C: b"MAKERNOTE",
}
GPS = {1: "N", 2: (48.0, 8.0, 31.4159), 29: "2021:03:04"}
SECRETS = (*EXIF.values(), *(str(value) for value in CAMERA.values() if isinstance(value, str)), "MAKERNOTE", "2021:03:04")
# Subject: split, folder, name of the photographs.
PEOPLE = {"p01": ("train", "Maier-Anna", "Portrait_Anna"), "p02": ("validation", "Huber-Bert", "Portrait_Bert")}
HANDED_ON = ("round0/dataset", "round0/phototour", "round0/model", "verification", "report")
SIDE, POINTS, VIEWS = 160, 40, 3


def photograph(path: Path, shift: int, rng: np.random.Generator) -> None:
    """Write a JPEG of noise that is shifted to the right, with all the EXIF a telephone writes."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), 2)
    pixels = np.clip(np.rint(128 + 40 * np.roll(noise, shift, axis=1) / noise.std()), 0, 255).astype(np.uint8)
    image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    exif = image.getexif()
    exif.update(EXIF)
    exif.get_ifd(0x8769).update(CAMERA)
    exif.get_ifd(0x8825).update(GPS)
    image.save(path, quality=95, exif=exif)


def capture(results: Path, subject: str, photographs: Path, stem: str) -> None:
    """Photographs, and keypoints and tracks on them as the workflow would have them."""
    photographs.mkdir(parents=True)
    for view in range(VIEWS):
        photograph(photographs / f"{stem}_{view}.jpg", 2 * view, np.random.default_rng(len(stem)))
    images = results / f"captures/{subject}/images.parquet"
    ingest_photographs(subject, photographs, None, None, images, PhotographSettings())
    rows = np.arange(POINTS * VIEWS)
    point, view = rows // VIEWS, rows % VIEWS
    ids = {"image_id": view, "keypoint_id": point}
    place = {"x": 20.0 + 12 * (point % 10) + 2 * view, "y": 30.0 + 25 * (point // 10)}
    constant = {"sigma": 2.0, "angle": 0.0, "response": 1.0, "octave": 0, "level": 0}
    keypoints = pd.DataFrame(ids | place | constant).sort_values(["image_id", "keypoint_id"])
    write_table(results / f"keypoints/{subject}.parquet", keypoints, KEYPOINTS)
    constant = {"x": 0.0, "y": 0.0, "z": 0.0, "reprojection_error_px": 0.1, "triangulation_angle_rad": 0.2, "track_length": VIEWS}
    write_table(results / f"tracks/{subject}.parquet", pd.DataFrame({"point_id": point} | ids | constant), TRACKS)
    write_table(results / f"matches/{subject}.parquet", empty_frame(MATCHES), MATCHES)


def make_dataset(results: Path, sheet: Path, subject: str, split: str) -> Path:
    """The stages from a subject's tracks to its export; returns the folder of the dataset."""
    images, keypoints = results / f"captures/{subject}/images.parquet", results / f"keypoints/{subject}.parquet"
    store = [results / f"patches/{subject}.npy", results / f"patches/{subject}.parquet"]
    tracks = results / f"tracks/{subject}.parquet"
    extract_subject_patches(subject, images, keypoints, tracks, *store, PatchSettings(6.0, allow_border=True), threads=1)
    folder = results / f"round0/dataset/{split}"
    outputs = [folder / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    build_dataset(split, [subject], [store[0]], [store[1]], *outputs, PairSettings(40), seed=1)
    write_card(*outputs[1:], sheet, folder / "card.json", f"{split} split of round 0", (0, split))
    write_contact_sheet(*outputs[:2], folder / "contact_sheet.png", points=5, seed=1, card=folder / "card.json")
    export_phototour(*outputs, results / f"round0/phototour/{split}", folder / "card.json")
    matches, status = results / f"matches/{subject}.parquet", results / f"round0/sfm/{subject}"
    reconstruct_subject(subject, images, keypoints, matches, status, SfmSettings(), seed=1, threads=1)
    return folder


def train_and_report(results: Path, train_set: Path, validation_set: Path) -> None:
    """The stages after the datasets, the validation split serving as test set."""
    network = [results / f"round0/model/hynet.{suffix}" for suffix in ("safetensors", "json", "csv")]
    train_files = [train_set / name for name in ("patches.npy", "index.parquet")]
    held_out = [validation_set / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    settings = TrainingSettings(steps=2, points_per_batch=8, warmup_steps=1, validate_every=1, checkpoint_every=2)
    folders = {"checkpoint_folder": results / "checkpoint", "tensorboard_folder": results / "logs/train"}
    train(TrainingJob(*train_files, *held_out, *network, **folders, settings=settings, seed=1, threads=1, device="cpu"))
    reports = verify_on(results, network[0])
    datasets = [train_set, validation_set]
    write_summary(
        verification=reports,
        detectors=[],
        sfm=[results / f"round0/sfm/{subject}" for subject in PEOPLE],
        cards=[network[1]],
        curves=[network[2]],
        datasets=[folder / "index.parquet" for folder in datasets],
        audits=[],
        sheets=[folder / "contact_sheet.png" for folder in datasets],
        summary=results / "report/summary.md",
        figures=results / "report/figures",
    )


def verify_on(results: Path, weights: Path) -> list[Path]:
    """The stages of the verification, with the sheet of the worst pairs and the table; returns the reports."""
    folder, images = results / "verification/photographs", results / "captures/p02/images.parquet"
    store = [folder / name for name in ("patches.npy", "index.parquet", "pairs.parquet")]
    names = ("patches/p02.npy", "patches/p02.parquet", "tracks/p02.parquet", "keypoints/p02.parquet")
    sources = [[path] for path in (*(results / name for name in names), images)]
    build_test_set("test set", ["p02"], *sources, [None], [None], *store, VerificationPairSettings(pairs=40, hard=10), seed=1)
    reports = [folder / f"{name}.json" for name in ("psift", "round0-hynet")]
    for report, own in zip(reports, (None, weights), strict=True):
        rows, card = folder / f"descriptors/{report.stem}.npy", folder / f"descriptors/{report.stem}.json"
        sweep = SweepSettings(sigmas_px=(2.0,), pairs=20)
        describe_test_set(*store, {"p02": images}, report.stem, own, rows, card, sweep, seed=1, threads=1, device="cpu")
        quick = VerificationSettings(bootstrap_repeats=2, strata_repeats=2)
        verify(
            "photographs",
            "tracks of psift",
            ["p02"],
            *store[1:],
            rows,
            card,
            report,
            quick,
            HPatchesSettings(),
            seed=1,
            threads=1,
        )
        write_worst_pairs(*store, rows, report.with_suffix(".png"), report.with_suffix(".csv"), 5, ["p02"])
    tables = [results / f"verification/{name}" for name in ("table.csv", "table.md", "table.tex", "comparisons.csv", "figures")]
    write_verification_table(reports, [], *tables, "psift")
    return reports


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Log into a file, as a stage does."""
    path.parent.mkdir()
    root, handler = logging.getLogger(), logging.FileHandler(path)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield
    root.setLevel(level)
    root.removeHandler(handler)
    handler.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from photographs to the summary. The reconstructions fail, and their reasons go into the summary."""
    home = tmp_path_factory.mktemp("home-of-the-lab")
    results, sheet = home / "results", home / "subjects.tsv"
    lines = ["\t".join([*COLUMNS, *CARE])]
    lines += [
        f"{subject}\t{split}\tphotographs\t{home / folder}\t\t\tform 7\tCC-BY-4.0\ttrue"
        for subject, (split, folder, _) in PEOPLE.items()
    ]
    sheet.write_text("\n".join(lines) + "\n")
    with logged(results / "log.txt"):
        for subject, (_, folder, stem) in PEOPLE.items():
            capture(results, subject, home / folder, stem)
        train_and_report(results, *(make_dataset(results, sheet, subject, PEOPLE[subject][0]) for subject in PEOPLE))
    return home


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name, tables unpacked."""

    def content(path: Path) -> bytes:
        if path.suffix != ".parquet":
            return path.read_bytes()
        table = pq.read_table(path)
        return f"{table.to_pydict()} {table.schema.metadata}".encode()

    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def found(files: dict[str, bytes], words: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, word) for name, content in files.items() for word in words if word.encode() in name.encode() + content]


def test_photographs_hold_the_secrets_that_are_looked_for(home):
    photographs = contents(home / "Maier-Anna")
    assert len(photographs) == VIEWS
    assert {word for _, word in found(photographs, SECRETS)} == set(SECRETS)
    images = contents(home / "results/captures")
    assert {word for _, word in found(images, (*FILES, str(home)))} == {*FILES, str(home)}  # a table for this machine only


@pytest.mark.parametrize("folder", HANDED_ON)
def test_what_is_handed_on_names_no_file_of_a_person(home, folder):
    files = contents(home / "results" / folder)
    assert len(files) >= 2
    assert found(files, (*FILES, str(home))) == []


def test_no_artefact_knows_what_exif_knows(home):
    files = contents(home / "results")
    assert len(files) > 30 and files["log.txt"]
    assert found(files, SECRETS) == []


def test_cards_say_what_the_sheet_says(home):
    for subject, (split, _, _) in PEOPLE.items():
        for folder in (f"round0/dataset/{split}", f"round0/phototour/{split}"):
            (person,) = read_card(home / "results" / folder / "card.json")["subjects"]
            assert (person["subject"], person["consent"], person["licence"]) == (subject, "form 7", "CC-BY-4.0")
            assert (person["patches"], person["points"]) == (POINTS * VIEWS, POINTS)
