"""Whole files or none, and tables that hold what they declare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, atomic_path, read_array, read_json, sha256_of, write_array, write_json
from porepatch_lib.tables import KEYPOINTS, VIEW_PAIRS, empty_frame, read_table, write_table


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
