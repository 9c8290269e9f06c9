"""Write the conda files and the requirements of the containers from the pins of requirements.txt and constraints.txt.

    python envs/generate.py            write them
    python envs/generate.py --check    stop if one is out of date

Run it with the Python of the Makefile's environment on Linux: what packages pull in is looked up among the installed ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent
NOTE = "# Written by envs/generate.py from requirements.txt and constraints.txt: change those and run it again."

# PyPI's torch needs CUDA 13 and COLMAP's build CUDA 12; both work with CUDA 12.6, whose torch PyTorch's own index has.
INDEXES = {"core": "https://download.pytorch.org/whl/cpu", "cuda": "https://download.pytorch.org/whl/cu126"}
CUDA_BUILDS = {"torch": ("torch", "+cu126"), "pycolmap": ("pycolmap-cuda12", "")}
TITLES = {"core": "Without CUDA.", "cuda": "With CUDA 12.6, for Linux on x86-64 (GPUs up to Hopper)."}

# What Open3D loads, see system_libraries.sh; the names are those of conda-forge for Linux.
SYSTEM_LIBRARIES = ["libusb", "libgl", "libegl", "libgomp", "xorg-libx11"]


def read_requirements(path: Path) -> list[Requirement]:
    """Read the lines of a requirements file that name a package."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pulled_in(required: Iterable[Requirement]) -> set[str]:
    """Return the names of the packages that the required ones need, themselves included, as installed here."""
    names: set[str] = set()
    waiting = [one for one in required if one.marker is None or one.marker.evaluate()]
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name) + "".join(sorted(f"[{extra}]" for extra in requirement.extras))
        if key in names:
            continue
        names.add(key)
        for line in importlib.metadata.requires(requirement.name) or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return {key.partition("[")[0] for key in names}


def pins() -> list[Requirement]:
    """Return what PorePatch imports and what that pulls in, pinned; SystemExit names a package without a pin."""
    required = read_requirements(FOLDER / "requirements.txt")
    known = {canonicalize_name(one.name) for one in required}
    pulled = pulled_in(required) - known
    constrained = {canonicalize_name(one.name): one for one in read_requirements(FOLDER / "constraints.txt")}
    if missing := sorted(pulled - set(constrained)):
        raise SystemExit(f"envs/constraints.txt does not pin {', '.join(missing)}: add what `pip freeze` says.")
    return required + [constrained[name] for name in sorted(pulled)]


def cuda_build(pin: Requirement) -> str:
    """Return the line of a pin, of its CUDA build where there is one."""
    if pin.name not in CUDA_BUILDS:
        return str(pin)
    name, local_version = CUDA_BUILDS[pin.name]
    return f"{name}{pin.specifier}{local_version}"


def files() -> dict[str, str]:
    """Return the text of every generated file by its name."""
    python = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    pinned, texts = pins(), {}
    for environment, index in INDEXES.items():
        lines = [cuda_build(pin) if environment == "cuda" else str(pin) for pin in pinned]
        lines = [f"--extra-index-url {index}", *lines]
        conda = {
            "channels": ["conda-forge"],
            "dependencies": [f"python={python.removeprefix('>=')}", *SYSTEM_LIBRARIES, "pip", {"pip": lines}],
        }
        note = f"{NOTE}\n# {TITLES[environment]}\n"
        texts[f"{environment}.yaml"] = note + yaml.safe_dump(conda, sort_keys=False, width=1000)
        texts[f"requirements-{environment}.txt"] = note + "\n".join(lines) + "\n"
    return texts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; stop if a file is out of date")
    only_check = parser.parse_args(arguments).check
    for name, text in files().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if only_check:
            raise SystemExit(f"envs/{name} is out of date: run python envs/generate.py.")
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
