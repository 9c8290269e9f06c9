"""Whole files or none, and tables that hold what they declare."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, atomic_path, read_array, read_json, sha256_of, write_array, write_json
from porepatch_lib.tables import KEYPOINTS, VIEW_PAIRS, empty_frame, read_table, write_table

_PROJECT = Path(__file__).resolve().parents[2]


def _entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep/file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".txt"
        assert not target.exists()
    assert target.read_text() == "new"
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "new"
    assert _entries(target.parent) == ["file.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / name).touch()
    assert _entries(target) == ["second"]
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert _entries(target) == ["second"]
    assert _entries(tmp_path) == ["folder"]


def _with_locks(writer: Callable[..., object], *parts: str) -> list[str]:
    """Parts, of folders with the files that lock them."""
    return sorted([*parts, *(f"{part}.lock" for part in parts if writer is atomic_folder)])


_HOLDER = """
import sys, time
from porepatch_lib import files
with getattr(files, sys.argv[1])(sys.argv[2]) as path:
    print(path, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("writer", [atomic_path, atomic_folder])
def test_what_the_killed_leave_is_removed_and_what_the_living_write_stays(tmp_path, writer):
    target = tmp_path / "target.any"
    command = [sys.executable, "-c", _HOLDER, writer.__name__, str(target)]
    dead, living = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_PROJECT) for _ in range(2))
    try:
        parts = [Path(process.stdout.readline().strip()).name for process in (dead, living)]
        dead.kill()
        dead.wait()
        assert _entries(tmp_path) == _with_locks(writer, *parts)
        with writer(target) as temporary:
            assert _entries(tmp_path) == _with_locks(writer, parts[1], temporary.name)
            if writer is atomic_path:
                temporary.write_text("new")
        assert _entries(tmp_path) == sorted([*_with_locks(writer, parts[1]), "target.any"])
    finally:
        for process in (dead, living):
            process.kill()
            process.wait()
            process.stdout.close()
    with writer(tmp_path / "other.any"):  # its own leftovers only
        assert parts[1] in _entries(tmp_path)


_WRITER = """
import sys
from porepatch_lib.files import atomic_folder, atomic_path
for number in range(200):
    with atomic_path(sys.argv[1] + "/file.txt") as path:
        path.write_text(sys.argv[2] * 1000)
    with atomic_folder(sys.argv[1] + "/folder") as folder:
        for name in "ab":
            (folder / name).write_text(sys.argv[2] * 1000)
"""


def test_two_writers_of_one_target_leave_the_whole_of_one(tmp_path):
    """As an orphaned job of a cluster and the one sent after it may do."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=_PROJECT) for name in "xy"]
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "file.txt").exists():
            assert (tmp_path / "file.txt").read_text() in ("x" * 1000, "y" * 1000)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert _entries(tmp_path) == ["file.txt", "folder"]
    assert len({(tmp_path / "folder" / name).read_text() for name in "ab"}) == 1


def test_json_is_ordered_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2.5]})
    assert (tmp_path / "a.json").read_text() == json.dumps({"a": [2.5], "b": 1}, indent=2) + "\n"
    assert read_json(tmp_path / "a.json") == {"a": [2.5], "b": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", float("nan"))
    assert not (tmp_path / "nan.json").exists()


def test_arrays_are_mapped_and_never_pickled(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(3))
    assert isinstance(read_array(tmp_path / "a.npy"), np.memmap)
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        write_array(tmp_path / "b.npy", np.array([{}], object))


def test_sha256_of_the_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_table_round_trip(tmp_path):
    frame = pd.DataFrame({"image_id_2": [1, 2], "image_id_1": [0, 0]})
    write_table(tmp_path / "pairs.parquet", frame, VIEW_PAIRS)
    read = read_table(tmp_path / "pairs.parquet", VIEW_PAIRS)
    assert read.to_dict("list") == {"image_id_1": [0, 0], "image_id_2": [1, 2]}
    assert (read.dtypes == np.int32).all()
    write_table(tmp_path / "empty.parquet", empty_frame(KEYPOINTS), KEYPOINTS)
    assert len(read_table(tmp_path / "empty.parquet", KEYPOINTS)) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_id_1": [0]}, "missing columns .'image_id_2'"),
        ({"image_id_1": [0], "image_id_2": [1], "x": [2]}, "unknown columns .'x'"),
        ({"image_id_1": ["a"], "image_id_2": [1]}, "wrong type"),
        ({"image_id_1": [0.5], "image_id_2": [1]}, "wrong type"),
        ({"image_id_1": pd.array([None], "Int32"), "image_id_2": [1]}, "empty cells in column 'image_id_1'"),
    ],
)
def test_wrong_tables_are_not_written(tmp_path, columns, message):
    with pytest.raises(PorePatchError, match=message):
        write_table(tmp_path / "pairs.parquet", pd.DataFrame(columns), VIEW_PAIRS)
    assert not any(tmp_path.iterdir())


def test_wrong_tables_are_not_read(tmp_path):
    path = tmp_path / "pairs.parquet"
    pd.DataFrame({"image_id_1": [0.0], "image_id_2": [1.0]}).to_parquet(path, index=False)
    with pytest.raises(PorePatchError, match=r"Column 'image_id_1' of .* is double, not int32"):
        read_table(path, VIEW_PAIRS)
    pq.write_table(pq.read_table(path).drop(["image_id_2"]), path)
    with pytest.raises(PorePatchError, match="missing columns"):
        read_table(path, VIEW_PAIRS)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PorePatchError, match="Cannot read the view pairs table"):
        read_table(path, VIEW_PAIRS)
    with pytest.raises(PorePatchError, match="Cannot read the view pairs table"):
        read_table(tmp_path / "absent.parquet", VIEW_PAIRS)
