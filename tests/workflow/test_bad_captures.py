"""Bad captures through the real workflow: one sentence each, nothing half-written, and everybody else's captures finished."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from bad_captures import BAD, FRAME, GOOD, BadCase, Cells

from porepatch_lib.captures.views import read_views
from porepatch_lib.tables import QUALITY, read_table

_HEADER = "subject\tsplit\tsource\tpath\tmasks\tcameras"
_BAD = [case for case in BAD if case.name != "no-permission" or os.geteuid() != 0]  # nothing is forbidden to root
_STAMP = re.compile(r"\d\d:\d\d:\d\d ")


@dataclass(frozen=True)
class Run:
    """The finished run over all cases, and its folder of results."""

    process: subprocess.CompletedProcess[str]
    results: Path

    def leftovers(self, subject: str) -> list[Path]:
        """What lies where a subject's captures would."""
        return sorted((self.results / "captures" / subject).rglob("*"))


def _line(name: str, cells: Cells) -> str:
    return f"{name}\ttrain\t{cells.source}\t{cells.path}\t{cells.masks}\t{cells.cameras}"


def _config(folder: Path, lines: list[str], header: str = _HEADER) -> Path:
    (folder / "subjects.tsv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    config = {
        "subjects": str(folder / "subjects.tsv"),
        "pathvars": {"results": str(folder / "results")},
        "rounds": 1,
        "threads": 1,
        "keypoints": {"target_count": 30},
        "nersemble": {"frame": FRAME},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def run(snakemake, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every case as a subject of one sheet, the good ones between the bad."""
    folder = tmp_path_factory.mktemp("captures")
    lines = [_line(case.name, case.make(folder / case.name)) for case in _BAD]
    for index, (name, case) in enumerate(GOOD.items()):
        lines.insert(7 * index, _line(name, case.make(folder / name)))
    process = snakemake("captures", "--keep-going", "--quiet", "progress", config=_config(folder, lines))
    return Run(process, folder / "results")


def test_the_run_fails(run):
    assert len(BAD) >= 25
    assert run.process.returncode != 0
    assert "Traceback" not in run.process.stdout


@pytest.mark.parametrize("case", _BAD, ids=lambda case: case.name)
def test_bad_captures_are_refused_in_one_sentence(run, case: BadCase):
    (log,) = (run.results / "logs").glob(f"*/{case.name}.log")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(_STAMP.match(line) for line in lines), lines
    sentence = _STAMP.sub("", lines[-1])
    assert case.names in sentence
    assert case.mend in sentence
    assert sentence.endswith((".", "?"))
    assert not re.search(r"[.?]\)?\s+[A-Z]|\.\)", sentence), sentence
    assert run.leftovers(case.name) == []


@pytest.mark.parametrize("name", GOOD)
def test_unusual_captures_beside_them_are_finished(run, name):
    captures = run.results / "captures" / name
    views = read_views(captures / "images.parquet")
    assert len(views) == GOOD[name].views
    assert len(read_table(captures / "quality.parquet", QUALITY)) == len(views)
    assert (captures / "contact_sheet.png").stat().st_size > 1000
    assert [path for path in run.leftovers(name) if path.name.startswith(".") and "snakemake" not in path.name] == []


@pytest.mark.parametrize(
    ("lines", "header", "line", "words"),
    [
        (["good", "a/b\ttrain\tphotographs\t{0}/other"], _HEADER, 3, "letters, digits"),
        (["good", "good"], _HEADER, 3, "rename one of them"),
        (["good", "far\ttrain\tphotographs\t../nowhere/at-all"], _HEADER, 3, "does not exist; correct it"),
        (["good", "loop\ttrain\tphotographs\t{0}/loop"], _HEADER, 3, "correct it"),
        (["good"], _HEADER + "\tage", 1, "unknown column 'age'"),
        (["good\t\t\t\t\tmaybe"], _HEADER + "\tconsent\tlicence\trelease", 2, "true"),
    ],
    ids=["slash in the id", "rows alike", "path not there", "path in a loop", "unknown column", "release is maybe"],
)
def test_a_wrong_sheet_stops_before_anything(snakemake, tmp_path, lines, header, line, words):
    (tmp_path / "good").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    good = f"good\ttrain\tphotographs\t{tmp_path / 'good'}"
    rows = [row.replace("good", good, 1) if row.startswith("good") else row.format(tmp_path) for row in lines]
    process = snakemake("captures", config=_config(tmp_path, rows, header))
    assert process.returncode != 0
    assert f"{tmp_path}/subjects.tsv, line {line}" in process.stdout
    assert words in process.stdout
    assert "Traceback" not in process.stdout
    assert not (tmp_path / "results").exists()
