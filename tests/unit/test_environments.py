"""Conda, containers and pip install the same packages and the same Python."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
ENVIRONMENTS = ("core", "cuda")
OTHER_NAMES = {"core": {}, "cuda": {"pycolmap": "pycolmap-cuda12"}}

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the files are generated from the packages of Linux")


def requirements(lines):
    lines = (line.partition("#")[0].strip() for line in lines)
    return {canonicalize_name((one := Requirement(line)).name): one for line in lines if line and not line.startswith("--")}


def conda_file(environment):
    return yaml.safe_load((ENVS / f"{environment}.yaml").read_text())


def pip_lines(environment):
    return conda_file(environment)["dependencies"][-1]["pip"]


def generate(folder, *arguments):
    """What the script says where it stops, else nothing."""
    try:
        runpy.run_path(str(folder / "envs" / "generate.py"))["main"](arguments)
    except SystemExit as stopped:
        return str(stopped)
    return ""


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ENVS, tmp_path / "envs")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert re.search(old, text, re.MULTILINE)
    path.write_text(re.sub(old, new, text, count=1, flags=re.MULTILINE))


@on_linux
def test_generated_files_are_up_to_date():
    assert generate(ROOT, "--check") == ""


@on_linux
@pytest.mark.parametrize("pins, package", [("requirements.txt", "numpy"), ("constraints.txt", "click")])
def test_a_changed_pin_has_to_be_generated(checkout, pins, package):
    change(checkout / "envs" / pins, rf"^{package}==.*$", f"{package}==0.0.1")
    assert "out of date" in generate(checkout, "--check")
    assert generate(checkout) == ""
    for environment in ENVIRONMENTS:
        assert f"{package}==0.0.1" in (checkout / "envs" / f"{environment}.yaml").read_text()
        assert f"{package}==0.0.1\n" in (checkout / "envs" / f"requirements-{environment}.txt").read_text()
    assert generate(checkout, "--check") == ""


@on_linux
def test_a_package_that_is_pulled_in_needs_a_pin(checkout):
    change(checkout / "envs" / "constraints.txt", r"^click==.*\n", "")
    assert "does not pin click" in generate(checkout, "--check")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_required_package_is_there_at_its_version(environment):
    found = requirements(pip_lines(environment))
    for name, required in requirements((ENVS / "requirements.txt").read_text().splitlines()).items():
        (specifier,) = found[OTHER_NAMES[environment].get(name, name)].specifier
        (pinned,) = required.specifier
        assert specifier.operator == "==" and required.specifier.contains(specifier.version), (specifier, pinned)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_conda_and_containers_install_the_same(environment):
    lines = (ENVS / f"requirements-{environment}.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == pip_lines(environment)
    assert all(one.specifier for one in requirements(lines).values())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_conda_file_stands_alone(environment):
    # Snakemake copies it elsewhere before conda reads it.
    options = [line for line in pip_lines(environment) if line.startswith("-")]
    assert [option.split()[0] for option in options] == ["--extra-index-url"]


def test_cuda_alone_brings_cuda_builds():
    core, cuda = (requirements(pip_lines(environment)) for environment in ENVIRONMENTS)
    assert "pycolmap" not in cuda and "pycolmap-cuda12" not in core
    assert str(cuda["torch"].specifier).endswith("+cu126") and "+" not in str(core["torch"].specifier)
    assert set(core) - {"pycolmap"} == set(cuda) - {"pycolmap-cuda12"}


def test_every_way_has_the_same_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = project["project"]["requires-python"].removeprefix(">=")
    assert project["tool"]["mypy"]["python_version"] == version
    assert re.search(r"^PYTHON \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1] == f"python{version}"
    for environment in ENVIRONMENTS:
        assert f"python={version}" in conda_file(environment)["dependencies"]
    assert set(re.findall(r"python3[.\d]+", (ENVS / "container.sh").read_text())) == {f"python{version}"}


def test_the_containers_share_base_and_steps():
    docker, apptainer = (ENVS / "Dockerfile").read_text(), (ENVS / "porepatch.def").read_text()
    base = re.search(r"^FROM (.*)$", docker, re.MULTILINE)[1]
    assert re.search(r"^From: (.*)$", apptainer, re.MULTILINE)[1] == base
    assert "RUN /opt/envs/container.sh $environment\n" in docker
    assert "    /opt/envs/container.sh {{ environment }}\n" in apptainer
    assert sorted(re.findall(r"^ENV (.*)$", docker, re.MULTILINE)) == sorted(
        re.findall(r"^ +export (.*)$", apptainer, re.MULTILINE)
    )
    steps = (ENVS / "container.sh").read_text()
    assert "requirements-$environment.txt" in steps and "system_libraries.sh" in steps


def test_every_environment_can_be_chosen():
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    assert set(schema["properties"]["environment"]["enum"]) == set(ENVIRONMENTS)
