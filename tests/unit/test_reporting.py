"""The summary of a run from reports written here by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json, write_text
from porepatch_lib.reporting.audit import audit_section
from porepatch_lib.reporting.figures import plot_audit, smoothed
from porepatch_lib.reporting.markdown import markdown_table, number, percent
from porepatch_lib.reporting.summary import (
    detectors_section,
    round_of,
    rounds_section,
    verification_section,
    write_summary,
)
from porepatch_lib.reporting.verification_figures import in_order
from porepatch_lib.tables import PATCHES, empty_frame, write_table


def report(descriptor: str, fpr95: float, test_set: str = "rendered"):
    recall = np.linspace(0, 1, 50)
    return {
        "descriptor": descriptor,
        "test_set": test_set,
        "learned": descriptor.startswith("round"),
        "dimension": 512 if descriptor == "psift" else 128,
        "fpr95": fpr95,
        "fpr95_low": fpr95 * 0.9,
        "fpr95_high": fpr95 * 1.1,
        "confidence": 0.95,
        "average_precision": 1 - fpr95 / 2,
        "positives": 5000,
        "negatives": 5000,
        "patches": 8000,
        "subjects": ["s07", "s08"],
        "roc": {"false_positive_rate": (recall ** (np.log(fpr95) / np.log(0.95))).tolist(), "recall": recall.tolist()},
    }


def status(subject: str, points: int, reason: str = ""):
    return {
        "subject": subject,
        "status": "failed" if reason else "ok",
        "reason": reason,
        "views": 8,
        "registered": 0 if reason else 7,
        "points": points,
        "observations": 3 * points,
        "mean_track_length": 3.0,
        "mean_reprojection_error_px": 0.5,
    }


def detector(repeatability: float):
    scores = {"keypoints_per_image": 2000.0, "visible": 1500.0, "repeatability": repeatability, "repeatability_sigma": 0.4}
    scores |= {"chance": 0.02, "median_error_px": 0.2, "p90_error_px": None, "view_pairs": 56}
    return scores | {"settings": {"tolerance_px": 1.5, "tolerance_sigma": 0.5}}


def audit(r: int, split: str, wrong: float = 0.0125):
    matches = {"pairs": 4000, "wrong_mm": wrong, "wrong_px": wrong / 2, "median_mm": 0.0712, "p95_mm": 0.31}
    group = {"matches": matches, "non_matches": {"pairs": 4000, "wrong_mm": 0.001, "wrong_px": 0.0}}
    steep = {"matches": {**matches, "pairs": 50, "wrong_mm": 4 * wrong}}
    by_region = {"nose": group, "forehead": {"non_matches": group["non_matches"]}}
    report = {"round": r, "split": split, "tolerance_mm": 0.5, "tolerance_px": 5.0, "unknown_pairs": 3}
    return report | {"all": group, "angle": {"10-20": group, "60-90": steep}, "region": by_region}


@pytest.fixture
def results(tmp_path):
    """A small `results` folder of two rounds: the arguments of write_summary but for its outputs."""
    files = {"verification": [], "detectors": [], "sfm": [], "cards": [], "curves": [], "datasets": []}
    files |= {"audits": [], "sheets": []}
    for name, rate in (("psift", 0.27), ("rootsift", 0.04), ("round0-hynet", 0.03), ("round1-hynet", 0.02)):
        files["verification"].append(tmp_path / "verification" / "rendered" / f"{name}.json")
        write_json(files["verification"][-1], report(name, rate))
    for name in ("pore", "psift_reference"):
        files["detectors"].append(tmp_path / "detectors" / name / "s07.json")
        write_json(files["detectors"][-1], detector(0.5))
    for r in (0, 1):
        folder = tmp_path / f"round{r}"
        for subject, reason in (("s01", ""), ("s02", "no pair of views has matches" if r == 0 else "")):
            files["sfm"].append(folder / "sfm" / subject)
            write_json(folder / "sfm" / subject / "status.json", status(subject, 100, reason))
        for split in ("train", "validation"):
            files["datasets"].append(folder / "dataset" / split / "index.parquet")
            write_table(files["datasets"][-1], empty_frame(PATCHES), PATCHES)
        files["audits"].append(folder / "audit" / "train.json")
        write_json(files["audits"][-1], audit(r, "train"))
        files["sheets"].append(folder / "dataset" / "train" / "contact_sheet.png")
        files["cards"].append(folder / "model" / "hynet.json")
        write_json(files["cards"][-1], {"validation_fpr95": 0.05, "warning": ""})
        files["curves"].append(folder / "model" / "hynet.csv")
        write_text(files["curves"][-1], "step,learning_rate,loss,validation_fpr95\n0,,,0.5\n1,0.01,1.2,\n2,0.01,1.0,0.05\n")
    return files


def test_table_is_aligned_and_escaped():
    table = markdown_table(["name", "n"], [["a|b", "1"], ["longer", "1,000"]])
    assert table == "| name   |     n |\n| ------ | ----: |\n| a\\|b   |     1 |\n| longer | 1,000 |\n"
    assert markdown_table(["a"], []) == "| a   |\n| --- |\n"


def test_numbers_as_text():
    assert [percent(0.0191), percent(None), percent(1.0, 0)] == ["1.91", "-", "100"]
    assert [number(1234567), number(None), number(0.3926, 3)] == ["1,234,567", "-", "0.393"]


def test_round_of_a_path():
    assert round_of("results/round12/model/hynet.json") == 12
    assert round_of(Path("runs/round3/results/round0/sfm/anna")) == 0
    with pytest.raises(PorePatchError, match="round<number>"):
        round_of("results/rounds/model.json")


def test_verification_golden():
    text = verification_section([report("psift", 0.25), report("round0-hynet", 0.0191), report("sift", 0.1, "photographs")])
    rendered, photographs = text.split("Test set photographs")
    assert rendered.endswith(
        "Test set rendered: 5,000 matching and 5,000 non-matching pairs, 8,000 patches, subjects s07, s08.\n"
        "\n"
        "| descriptor   | dimension | FPR95 % |  95 % interval |  AP % |\n"
        "| ------------ | --------: | ------: | -------------: | ----: |\n"
        "| round0-hynet |       128 |    1.91 |   1.72 .. 2.10 | 99.05 |\n"
        "| psift        |       512 |   25.00 | 22.50 .. 27.50 | 87.50 |\n"
        "\n"
    )
    assert "| sift       |       128 |   10.00 |" in photographs


def test_rounds_are_read_and_troubles_named(results, tmp_path):
    write_json(results["cards"][1], {"validation_fpr95": 0.9, "warning": "the network did not learn."})
    write_summary(**results, summary=tmp_path / "report/summary.md", figures=tmp_path / "report/figures")
    text = (tmp_path / "report/summary.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["0", "1/2", "7/16", "100", "3.00", "0.500", "0", "1.25", "0", "5.00"] in cells
    assert ["1", "2/2", "14/16", "200", "3.00", "0.500", "0", "1.25", "0", "90.00"] in cells
    assert "![round 1, train](../round1/dataset/train/contact_sheet.png)\n" in text
    assert "- round 0: s02 was not reconstructed: no pair of views has matches.\n" in text
    assert "- round 1: the network did not learn.\n" in text
    assert ["pore", "2,000", "1,500", "50.0", "2.0", "40.0", "0.200", "-"] in cells
    order = [row[0] for row in cells if row[0] in ("psift", "rootsift", "round0-hynet", "round1-hynet")]
    assert order == ["round1-hynet", "round0-hynet", "rootsift", "psift"]


def test_summary_names_its_figures_and_is_reproducible(results, tmp_path):
    for name in ("one", "two"):
        write_summary(**results, summary=tmp_path / name / "summary.md", figures=tmp_path / name / "figures")
    one, two = tmp_path / "one", tmp_path / "two"
    text = (one / "summary.md").read_text()
    for figure in ("fpr95_rendered", "roc_rendered", "training", "audit_train"):
        assert f"![{figure}](figures/{figure}.png)" in text
        for suffix in (".png", ".svg"):
            drawn = (one / "figures" / f"{figure}{suffix}").read_bytes()
            assert len(drawn) > 5000
            assert drawn == (two / "figures" / f"{figure}{suffix}").read_bytes()


def test_summary_of_hand_made_descriptors_alone(tmp_path):
    write_json(tmp_path / "sift.json", report("sift", 0.3))
    empty = {name: [] for name in ("detectors", "sfm", "cards", "curves", "datasets", "audits", "sheets")}
    write_summary([tmp_path / "sift.json"], **empty, summary=tmp_path / "summary.md", figures=tmp_path / "figures")
    text = (tmp_path / "summary.md").read_text()
    assert "30.00" in text
    assert "## Rounds" not in text
    assert sorted(path.name for path in (tmp_path / "figures").glob("*.png")) == ["fpr95_rendered.png", "roc_rendered.png"]
    write_summary([], **empty, summary=tmp_path / "summary.md", figures=tmp_path / "figures")
    assert not list((tmp_path / "figures").iterdir())


def test_sections_without_data_are_empty():
    assert verification_section([]) == rounds_section({}) == detectors_section([]) == audit_section([]) == ""


def test_audit_golden():
    text = audit_section([audit(1, "train"), audit(0, "validation"), audit(0, "train", 0.05), audit(1, "validation")])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    shared = ["0.071", "0.310", "4,000", "0.10", "0.00"]
    assert rows[2] == ["0", "train", "4,000", "5.00", "2.50", *shared]
    assert [row[:2] for row in rows[3:6]] == [["0", "validation"], ["1", "train"], ["1", "validation"]]
    assert "\nRound 1, train, by the angle" in text
    assert rows[8:10] == [
        ["10-20 deg", "4,000", "1.25", "0.62", *shared],
        ["60-90 deg", "50", "5.00", "0.62", "0.071", "0.310", "0", "-", "-"],
    ]
    assert rows[-1] == ["forehead", "0", "-", "-", "-", "-", "4,000", "0.10", "0.00"]
    assert "0.5 mm" in text and "5 px" in text
    assert "Round 1, validation" in audit_section([audit(0, "train"), audit(1, "validation")])


def test_an_audit_without_known_pairs():
    nothing = {**audit(0, "train"), "all": {}, "angle": {}, "region": {}}
    assert "| 0     | train |       0 |" in audit_section([nothing])
    plot_audit([nothing])


def test_detectors_average_over_subjects():
    text = detectors_section([("pore", detector(0.5)), ("pore", detector(0.7)), ("psift_reference", detector(0.3))])
    assert " 60.0 |" in text
    assert " 30.0 |" in text


def test_figures_go_from_hand_made_to_the_last_round():
    names = ["round1-hynet", "sift", "round10-hynet", "psift", "round0-hynet"]
    rates = [0.02, 0.1, 0.01, 0.3, 0.03]
    ordered = in_order([report(name, rate) for name, rate in zip(names, rates, strict=True)])
    assert [one["descriptor"] for one in ordered] == ["psift", "sift", "round0-hynet", "round1-hynet", "round10-hynet"]


def test_running_mean():
    np.testing.assert_allclose(smoothed(np.array([1.0, 2.0, 6.0])), [1.5, 3.0, 4.0])
    np.testing.assert_allclose(smoothed(np.full(100, 2.0)), 2.0)
    assert len(smoothed(pd.Series([1.0]).to_numpy())) == 1
