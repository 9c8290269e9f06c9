"""Running the real workflow from tests, in a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

_PROJECT = Path(__file__).resolve().parents[2]

Snakemake = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny configuration, its results beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    config = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
    config["pathvars"] = {"results": str(folder / "results")}
    config["subjects"] = str(Path(__file__).parent / "tiny.tsv")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="session")
def snakemake(tiny_folder: Path) -> Snakemake:
    """Call Snakemake on the project with the tiny configuration; returns the finished process, all it printed in `stdout`."""

    def call(*arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--configfile", str(config or tiny_folder / "config.yaml")]
        command += ["--cores", "2", "--resources", "gpu=2", "--nolock", *arguments]  # tiny networks need no GPU of their own
        return subprocess.run(command, cwd=_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    return call


@pytest.fixture(scope="session")
def finished(snakemake: Snakemake, tiny_folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The tiny workflow, run once: the process and the results."""
    process = snakemake()
    assert process.returncode == 0, process.stdout[-8000:]
    return process, tiny_folder / "results"
