"""Full disks, exhausted memory and ends from outside become one sentence; a full disk leaves no half results behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.failures import Terminated, is_disk_full, sentence_of
from porepatch_lib.files import require_writable

_PROJECT = Path(__file__).resolve().parents[2]


def _raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/a.npy"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("480000 requested and 8064 written"),  # NumPy's ndarray.tofile
        RuntimeError("SQLite error: database or disk is full"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
        _raised(PorePatchError("Cannot write a.png; look at it."), OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_a_full_disk_is_named_whatever_was_made_of_it(error):
    assert is_disk_full(error)
    sentence = sentence_of(error)
    assert sentence is not None and sentence.startswith("The disk is full") and sentence.count(".") <= 2


def test_sentences():
    assert sentence_of(PorePatchError("The file is damaged; copy it.")) == "The file is damaged; copy it."
    assert sentence_of(KeyError("lost")) is None
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")):
        assert "mem_mb" in str(sentence_of(error))
    assert "GPU" in str(sentence_of(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")))
    forbidden = OSError(errno.EROFS, "Read-only file system", "/data/a.npy")
    assert "not allowed at /data/a.npy" in str(sentence_of(forbidden))
    read = _raised(
        PorePatchError("Cannot read the mask m.png (Permission denied); mend it."), PermissionError(errno.EACCES, "no")
    )
    assert sentence_of(read) == "Cannot read the mask m.png (Permission denied); mend it."
    for end in (Terminated(), KeyboardInterrupt()):
        assert "stopped from outside" in str(sentence_of(end))


def _leave(disk: Path, room: int) -> None:
    """Fill the disk so that `room` bytes are left."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    state = os.statvfs(disk)
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, state.f_bavail * state.f_frsize - room)


def _array(target: Path) -> None:
    from porepatch_lib.files import write_array

    write_array(target, np.zeros(100_000, np.uint8))


def _map(target: Path) -> None:
    from porepatch_lib.files import atomic_path, create_array

    with atomic_path(target) as path:
        create_array(path, np.uint8, (100_000,))[:] = 1


def _table(target: Path) -> None:
    from porepatch_lib.tables import PATCH_PAIRS, write_table

    rows = np.random.default_rng(0).integers(10**9, size=(100_000, 2))
    write_table(target, pd.DataFrame({"patch_1": rows[:, 0], "patch_2": rows[:, 1], "is_match": True}), PATCH_PAIRS)


def _weights(target: Path) -> None:
    import torch

    from porepatch_lib.training.train import write_weights

    write_weights(target, {"weight": torch.zeros(100_000)}, "hynet")


def _figure(target: Path) -> None:
    import matplotlib.pyplot as plt

    from porepatch_lib.files import atomic_path

    figure = plt.figure()
    figure.figimage(np.random.default_rng(0).random((300, 300)))
    with atomic_path(target) as path:
        figure.savefig(path, format="png")
    plt.close(figure)


def _text(target: Path) -> None:
    from porepatch_lib.files import write_text

    write_text(target, "x" * 100_000)


@pytest.mark.parametrize("write", [_array, _map, _table, _weights, _figure, _text])
@pytest.mark.parametrize("room", [0, 16384])
def test_writers_on_a_full_disk(small_disk: Path, write: Callable[[Path], None], room: int):
    """One kind of error that names the target, nothing left; with room the same call succeeds."""
    target = small_disk / "target.any"
    _leave(small_disk, room)
    with pytest.raises(OSError) as raised:
        write(target)
    assert sentence_of(raised.value) == f"The disk is full at {target}; make room and run again: what is finished stays."
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler"]
    _leave(small_disk, 4_000_000)
    write(target)
    target.unlink()


def test_a_folder_that_may_not_be_written_is_found_before_anything_is(small_disk: Path):
    """The bits of its mode say nothing to root; a disk mounted read-only does."""
    require_writable(small_disk / "not/there/yet")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(PorePatchError, match=f"The folder {small_disk} may not be written"):
            require_writable(small_disk / "not/there/yet")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_a_map_beyond_the_disk_does_not_kill(small_disk: Path):
    """NumPy's own map dies of SIGBUS; ours says so before anything is written to it."""
    _leave(small_disk, 100_000)
    program = (
        "import sys, numpy as np\nfrom porepatch_lib.files import create_array\nmake = {} \n"
        "make(sys.argv[1], dtype=np.uint8, shape=(200_000,))[:] = 1\n"
    )
    for make, code, said in (
        ("lambda p, **k: np.lib.format.open_memmap(p, 'w+', **k)", -7, ""),
        ("create_array", 1, "No space left on device"),
    ):
        command = [sys.executable, "-c", program.format(make), str(small_disk / "map.npy")]
        process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_PROJECT)
        (small_disk / "map.npy").unlink()
        assert process.returncode == code and said in process.stderr


def test_colmaps_model_is_whole_or_an_error(small_disk: Path, tmp_path: Path):
    """COLMAP itself leaves files too short, or empty, and says nothing."""
    import pycolmap

    from porepatch_lib.sfm.model import read_model, write_model

    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=6, num_points3D=2000)
    model = pycolmap.synthesize_dataset(options)
    write_model(model, tmp_path / "whole")
    points = len(read_model(tmp_path / "whole").xyz)
    needed = sum(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    assert points == model.num_points3D()
    for room in range(0, needed, 65536):
        folder = small_disk / "model"
        _leave(small_disk, room)
        with pytest.raises(OSError, match="No space left"):
            write_model(model, folder)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
