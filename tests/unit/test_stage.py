"""What surrounds every stage: threads, log, errors as one sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from porepatch_lib.threads import map_threads

_PROGRAM = """
import sys
from porepatch_lib.errors import PorePatchError
from porepatch_lib.stage import stage
with stage(sys.argv[1], 1):
    import cv2, torch
    print(cv2.getNumThreads(), torch.get_num_threads())
    if sys.argv[2] == "user":
        raise PorePatchError("The file a.jpg is damaged; copy it again.")
    if sys.argv[2] == "bug":
        raise KeyError("lost")
"""


def _run(log, kind: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", _PROGRAM, str(log), kind]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_threads_are_respected(tmp_path):
    process = _run(tmp_path / "log", "none")
    assert process.returncode == 0
    assert process.stdout == "1 1\n"


def test_a_users_error_is_one_sentence(tmp_path):
    process = _run(tmp_path / "log", "user")
    assert process.returncode == 1
    for text in (process.stderr, (tmp_path / "log").read_text()):
        assert text.strip().endswith("The file a.jpg is damaged; copy it again.")
        assert "Traceback" not in text


def test_an_unforeseen_error_keeps_its_traceback(tmp_path):
    assert _run(tmp_path / "log", "bug").returncode == 1
    assert "KeyError: 'lost'" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("threads", [1, 4])
def test_map_keeps_order_and_raises(threads):
    assert map_threads(lambda x: x * x, range(20), threads) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda x: 1 // x, [1, 0], threads)
