"""Our matches equal those of the ETH local-feature evaluation's program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porepatch_lib.matching.nearest import mutual_nearest


def _read(path: Path, dtype: str) -> np.ndarray:
    """Read int32 rows, int32 columns, then the values row-major."""
    content = path.read_bytes()
    rows, columns = np.frombuffer(content, "<i4", 2)
    return np.frombuffer(content, dtype, offset=8).reshape(rows, columns)


@pytest.mark.parametrize(("one", "two", "count"), [("01", "02", 18), ("01", "03", 0), ("02", "03", 0)])
def test_matches_at_ratio_08(shared, one, two, count):
    folder = shared / "reference" / "eth"
    descriptors = [_read(folder / "descriptors" / f"{name}.png.bin", "<f4") for name in (one, two)]
    expected = _read(folder / "matches" / f"{one}.png---{two}.png.bin", "<u4")
    assert len(expected) == count

    matches = mutual_nearest(*descriptors, ratio=0.8, threads=1)

    found = np.stack([matches.index_1, matches.index_2], axis=1)
    assert sorted(found.tolist()) == sorted(expected.tolist())


def test_the_ratio_removes_three_of_their_mutual_matches(shared):
    folder = shared / "reference" / "eth" / "descriptors"
    descriptors = [_read(folder / f"{name}.png.bin", "<f4") for name in ("01", "02")]
    assert len(mutual_nearest(*descriptors, ratio=None, threads=1)) == 21
