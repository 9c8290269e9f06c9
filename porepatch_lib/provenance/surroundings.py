"""What a job ran in: code, libraries, process."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import resource
import subprocess
import sys
from pathlib import Path

import psutil

import porepatch_lib

_HOME = Path(porepatch_lib.__file__).resolve().parents[1]
_LIBRARIES = {  # module: distributions that may bring it
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "cv2": ("opencv-contrib-python-headless",),
    "torch": ("torch",),
    "pycolmap": ("pycolmap", "pycolmap-cuda12"),
    "open3d": ("open3d-cpu", "open3d"),
    "skimage": ("scikit-image",),
    "pandas": ("pandas",),
    "pyarrow": ("pyarrow",),
    "numba": ("numba",),
    "safetensors": ("safetensors",),
    "h5py": ("h5py",),
}


@functools.cache
def code_version() -> dict[str, str | bool]:
    """Return what code this is: `porepatch` (release), `sources` (SHA-256 of the library's files), and of a git checkout
    `commit` and whether it was `modified`."""
    sources = hashlib.sha256()
    library = _HOME / "porepatch_lib"
    for file in sorted(library.rglob("*.py")):
        sources.update(file.relative_to(library).as_posix().encode() + b"\0" + file.read_bytes())
    version: dict[str, str | bool] = {"porepatch": porepatch_lib.__version__, "sources": sources.hexdigest()}
    if (_HOME / ".git").exists() and (commit := _git("rev-parse", "HEAD")):
        version |= {"commit": commit, "modified": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    return version


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that this process has imported."""
    versions = {"python": sys.version.split()[0]}
    for module, distributions in _LIBRARIES.items():
        for distribution in distributions if module in sys.modules else ():
            try:
                versions[distribution] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
    return versions


def process_began() -> float:
    """Return when this process began, in seconds since 1970."""
    return psutil.Process().create_time()


def peak_memory_mb() -> float:
    """Return the largest memory that this process, or one of its children, held at once."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    status = Path("/proc/self/status")  # getrusage also knows what the process that started this one held
    if status.is_file():
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return max(int(kilobytes) / 2**10, children)
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, children)


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(_HOME), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
