"""What surrounds every stage: threads, log, errors as one sentence, a record, no leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from porepatch_lib.threads import map_threads

_PROJECT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import errno, os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, write_text
from porepatch_lib.stage import stage

results, kind = sys.argv[1], sys.argv[2]
job = SimpleNamespace(
    rule="any", threads=1, log=[results + "/log"], config={"pathvars": {"results": results}}, params={"version": 1, "seed": 3},
    wildcards={}, resources={}, input={}, output={"written": results + "/deep/file.txt"},
)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell starts in the background
with stage(job):
    import cv2, torch
    print(cv2.getNumThreads(), torch.get_num_threads(), os.environ["OPENBLAS_NUM_THREADS"], flush=True)
    if kind == "user":
        raise PorePatchError("The file a.jpg is damaged; copy it again.")
    if kind == "bug":
        raise KeyError("lost")
    if kind == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "a.npy")
    if kind == "wait":
        with atomic_folder(results + "/folder"):
            print("waiting", flush=True)
            time.sleep(60)
    write_text(job.output["written"], "done")
"""


def _start(results: Path, kind: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["OPENBLAS_NUM_THREADS"] = "4"  # as Snakemake does: the threads of the job
    command = [sys.executable, "-c", _PROGRAM, str(results), kind]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=_PROJECT, start_new_session=True
    )


def _ends_with_one_sentence(text: str, sentence: str) -> None:
    assert sentence in text.strip().splitlines()[-1]
    assert "Traceback" not in text


def _record(results: Path) -> dict[str, str]:
    return json.loads((results / "provenance/deep/file.txt.json").read_text())


def test_threads_are_respected_and_a_record_is_left(tmp_path):
    process = _start(tmp_path, "none")
    output, _ = process.communicate()
    assert (process.returncode, output) == (0, "1 1 1\n")
    assert (tmp_path / "deep/file.txt").read_text() == "done"
    assert _record(tmp_path)["outcome"] == "done"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("user", "The file a.jpg is damaged; copy it again."), ("full", "The disk is full at a.npy; make room and run again")],
)
def test_a_users_error_is_one_sentence(tmp_path, kind, sentence):
    process = _start(tmp_path, kind)
    _, errors = process.communicate()
    assert process.returncode == 1
    for text in (errors, (tmp_path / "log").read_text()):
        _ends_with_one_sentence(text, sentence)
    assert sentence in _record(tmp_path)["error"]


def test_an_unforeseen_error_keeps_its_traceback(tmp_path):
    process = _start(tmp_path, "bug")
    process.communicate()
    assert process.returncode == 1
    assert "KeyError: 'lost'" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_says_so_and_leaves_nothing(tmp_path, number):
    process = _start(tmp_path, "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "1 1 1\n"
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    _ends_with_one_sentence(errors, "The job was stopped from outside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "provenance"]
    assert _record(tmp_path)["outcome"] == "failed"


@pytest.mark.parametrize("threads", [1, 4])
def test_map_keeps_order_and_raises(threads):
    assert map_threads(lambda x: x * x, range(20), threads) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda x: 1 // x, [1, 0], threads)
