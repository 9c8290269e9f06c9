"""What a user gets wrong is answered with one sentence that names the file and the mend."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

_HEADER = "subject\tsplit\tsource\tpath\tmasks\tcameras\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subjects of three photographs each."""
    rng = np.random.default_rng(1)
    for subject in ("anna", "ben"):
        (tmp_path / subject).mkdir()
        for i in range(3):
            cv2.imwrite(str(tmp_path / subject / f"{i}.jpg"), rng.integers(0, 256, (60, 80), np.uint8))
    return tmp_path


def _config(folder: Path, rows: list[str], **changes: object) -> Path:
    (folder / "subjects.tsv").write_text(_HEADER + "".join(f"{row}\n" for row in rows))
    config = {"subjects": str(folder / "subjects.tsv"), "pathvars": {"results": str(folder / "results")}, **changes}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def _row(folder: Path, subject: str, masks: str = "") -> str:
    return f"{subject}\ttrain\tphotographs\t{folder / subject}\t{masks}\t"


def test_truncated_photograph_stops_its_subject_alone(snakemake, folder):
    damaged = folder / "ben/1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-400])
    config = _config(folder, [_row(folder, "anna"), _row(folder, "ben")], rounds=1)
    process = snakemake("captures", config=config)
    assert process.returncode != 0
    assert str(damaged) in process.stdout
    assert "truncated" in process.stdout
    assert (folder / "results/captures/anna/images.parquet").exists()
    assert not (folder / "results/captures/ben/images.parquet").exists()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["anna", "anna"], "anna"),
        (["anna", "nobody"], "nobody"),
    ],
    ids=["two subjects with one name", "missing path"],
)
def test_sheet(snakemake, folder, rows, sentence):
    process = snakemake("--dry-run", "captures", config=_config(folder, [_row(folder, row) for row in rows]))
    assert process.returncode != 0
    assert "subjects.tsv" in process.stdout
    assert sentence in process.stdout
    assert "Traceback" not in process.stdout


def test_a_second_round_needs_validation_subjects(snakemake, folder):
    process = snakemake("--dry-run", config=_config(folder, [_row(folder, "anna")], rounds=2))
    assert process.returncode != 0
    assert "has no validation subject, so no network can be trained for a second round" in process.stdout


def test_unknown_key_in_a_section(snakemake, folder):
    config = _config(folder, [_row(folder, "anna")], rounds=1, matching={"ration": 0.8})
    process = snakemake("--dry-run", "captures", config=config)
    assert process.returncode != 0
    assert "Unknown key 'ration' in the config, section 'matching'; did you mean 'ratio'?" in process.stdout


@pytest.mark.parametrize(
    ("reconstruction", "sentence"),
    [
        ({"compared": ["densifed"]}, "There is no 'densifed', which reconstruction.compared names; did you mean 'densified'?"),
        ({"reference": "psfit"}, "There is no 'psfit', which reconstruction.reference names; did you mean 'psift'?"),
        ({"features": {"psift": {"path": "x"}}}, "The features 'psift' of the config have the name of a descriptor"),
        ({"variants": {"eth": {"ratio": "calibratd"}}}, "reconstruction.variants.eth.ratio"),
    ],
)
def test_names_of_the_reconstruction(snakemake, folder, reconstruction, sentence):
    config = _config(folder, [_row(folder, "anna")], rounds=1, reconstruction=reconstruction)
    process = snakemake("--dry-run", "captures", config=config)
    assert process.returncode != 0
    assert sentence in process.stdout
    assert "Traceback" not in process.stdout


def test_given_features_hide_no_descriptor_of_a_longer_name(snakemake, folder):
    given = {name: {"path": str(folder / "{subject}.h5")} for name in ("ro", "sift2")}
    for subject in ("anna", "ben"):
        (folder / f"{subject}.h5").touch()
    row = _row(folder, "anna").replace("train", "reconstruction")
    wanted = {"features": given, "descriptors": ["rootsift"], "compared": ["eth"], "repeats": 1}
    process = snakemake("reconstructions", "--dry-run", config=_config(folder, [row], rounds=1, reconstruction=wanted))
    assert process.returncode == 0, process.stdout[-2000:]
    assert "describe_features              1" in process.stdout
    assert "import_features                2" in process.stdout
