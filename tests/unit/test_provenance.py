"""Records of where files come from: digests, quick looks, what `explain` tells, what a stage writes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.provenance.explain import explain, find_record
from porepatch_lib.provenance.fingerprints import Look, digest_of, look_at
from porepatch_lib.provenance.records import DONE, FAILED, Record, describe_files, read_record, record_path, write_records

# A stage as a script of the workflow runs it, on the containers that Snakemake hands to scripts.
_STAGE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, ResourceList, Wildcards
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_text
from porepatch_lib.stage import stage

results = Path(sys.argv[1])
output = OutputFiles(fromdict={"text": str(results / "round0/text/ann.txt")})
job = SimpleNamespace(
    rule="copy",
    wildcards=Wildcards(fromdict={"subject": "ann"}),
    input=InputFiles(fromdict={"text": str(results / "first.txt")}),
    output=output,
    params=Params(fromdict={"settings": {"factor": 24.0}, "version": 3, "seed": 7}),
    log=Log(toclone=[str(results / "log.txt")]),
    resources=ResourceList(fromdict={"mem_mb": 1000}),
    config={"pathvars": {"results": str(results)}},
    threads=1,
)
with stage(job) as running:
    running.device = "cuda: a GPU"
    if sys.argv[2] == "fail":
        raise PorePatchError("The photograph a.jpg is damaged; copy it again.")
    write_text(output.text, "a copy")
"""


def _record(**changes: object) -> Record:
    record = Record(
        rule="describe",
        wildcards={"subject": "ann", "r": "1"},
        outcome=DONE,
        error="",
        log="logs/describe/ann.log",
        settings={"crop_factor": 24.0, "version": 2},
        seed=7,
        inputs=[],
        outputs=[],
        code={"porepatch": "0.1.0", "sources": "ab" * 32, "commit": "cd" * 20, "modified": True},
        versions={"python": "3.11.7", "numpy": "2.4.6"},
        device="cuda: a GPU",
        threads=2,
        memory_mb=4000,
        started="2026-11-22T02:00:00.000+00:00",
        starting_seconds=1.1,
        seconds=12.34,
        peak_memory_mb=812.0,
    )
    return dataclasses.replace(record, **changes)


def _stage(results: Path, kind: str) -> subprocess.CompletedProcess[str]:
    results.mkdir()
    (results / "first.txt").write_text("a text")
    return subprocess.run([sys.executable, "-c", _STAGE, str(results), kind], capture_output=True, text=True, check=False)


def test_digests_are_those_of_sha256(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "inside/a.txt").write_text("a")
    a, b = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b"))
    assert digest_of(folder / "b.txt") == b
    assert digest_of(folder) == hashlib.sha256(f"{b}  b.txt\n{a}  inside/a.txt\n".encode()).hexdigest()


def test_snakemakes_mark_is_no_content(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    before, look = digest_of(tmp_path), look_at(tmp_path)
    (tmp_path / ".snakemake_timestamp").touch()
    assert (digest_of(tmp_path), look_at(tmp_path)) == (before, look)
    (tmp_path / "b.txt").write_text("bb")
    assert digest_of(tmp_path) != before
    assert (look_at(tmp_path).files, look_at(tmp_path).bytes) == (2, 3)


def test_records_come_back_as_written(tmp_path):
    output = tmp_path / "round1/model/hynet.safetensors"
    write_records(tmp_path, [output, Path("/elsewhere/file")], _record())
    path = tmp_path / "provenance/round1/model/hynet.safetensors.json"
    assert record_path(tmp_path, output) == path
    assert record_path(tmp_path, Path("/elsewhere/file")) is None
    assert path.is_file()
    assert read_record(tmp_path, output) == _record()


@pytest.mark.parametrize(
    "damage", [lambda text: json.dumps(json.loads(text) | {"new": 1}), lambda text: "", lambda text: text[:99]]
)
def test_a_record_that_is_damaged_or_of_another_version_is_none(tmp_path, damage):
    write_records(tmp_path, [tmp_path / "a.txt"], _record())
    path = tmp_path / "provenance/a.txt.json"
    path.write_text(damage(path.read_text()))
    assert read_record(tmp_path, tmp_path / "a.txt") is None
    assert read_record(tmp_path, tmp_path / "b.txt") is None


def test_a_digest_is_taken_over_only_while_the_file_looks_untouched(tmp_path):
    file = tmp_path / "keypoints/ann.parquet"
    file.parent.mkdir()
    file.write_text("rows")
    (written,) = describe_files(tmp_path, [("keypoints", file)])
    assert written.look == Look(1, 4, file.stat().st_mtime_ns)
    marked = dataclasses.replace(written, sha256="taken over")
    write_records(tmp_path, [file], _record(outputs=[marked]))
    assert describe_files(tmp_path, [("any", file)])[0].sha256 == "taken over"
    os.utime(file, ns=(0, written.look.changed_ns + 1))
    assert describe_files(tmp_path, [("any", file)])[0].sha256 == written.sha256 == digest_of(file)
    assert describe_files(tmp_path, [("any", tmp_path / "not there")]) == []


def test_a_folder_of_the_users_is_looked_at_but_not_read(tmp_path):
    results, photographs = tmp_path / "results", tmp_path / "photographs"
    for folder in (results / "images", photographs):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_text("pixels")
    (theirs,) = describe_files(results, [("photographs", photographs)])
    assert (theirs.path, theirs.sha256, theirs.look.bytes) == (str(photographs), "", 6)
    (ours,) = describe_files(results, [("images", results / "images")])
    assert (ours.path, ours.sha256) == ("images", digest_of(photographs))


def test_explain_tells_everything_and_sees_changes(tmp_path):
    first, second = tmp_path / "captures/images.parquet", tmp_path / "descriptors/ann.npy"
    for file in (first, second):
        file.parent.mkdir()
        file.write_text(file.name)
    made = describe_files(tmp_path, [("images", first), ("descriptors", second)])
    write_records(tmp_path, [first], _record(rule="render", wildcards={"subject": "ann"}, outputs=made[:1]))
    write_records(tmp_path, [second], _record(inputs=made[:1], outputs=made[1:]))
    text = explain(second)
    facts = ["rule describe for r 1, subject ann", "12.3 s", "812 MB", "cuda: a GPU", "cdcdcdcdcdcd with changes", "numpy 2.4.6"]
    facts += ["seed       7", "crop_factor: 24.0", "version: 2", made[1].sha256[:12], "<- rule render for subject ann"]
    for fact in facts:
        assert fact in text
    assert "CHANGED" not in text and "NOT HERE" not in text
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)
    assert explain(moved / "descriptors/ann.npy").splitlines()[1:] == text.splitlines()[1:]
    moved.rename(tmp_path)
    first.write_text("other, longer")
    assert explain(second).count("CHANGED since") == 1
    first.unlink()
    assert explain(second).count("NOT HERE") == 1


def test_a_file_in_a_folder_that_a_rule_wrote_is_explained_by_it(tmp_path):
    (tmp_path / "sfm/ann/model").mkdir(parents=True)
    (tmp_path / "sfm/ann/model/points3D.bin").touch()
    write_records(tmp_path, [tmp_path / "sfm/ann"], _record(rule="reconstruct"))
    assert "rule reconstruct" in explain(tmp_path / "sfm/ann/model/points3D.bin")


def test_what_nobody_recorded_is_one_sentence(tmp_path):
    with pytest.raises(PorePatchError, match=r"Nothing is recorded of .*stray\.txt: give a file"):
        find_record(tmp_path / "stray.txt")


def test_a_stage_records_itself(tmp_path):
    results = tmp_path / "results"
    process = _stage(results, "work")
    assert process.returncode == 0, process.stderr
    record = read_record(results, results / "round0/text/ann.txt")
    assert (record.rule, record.wildcards, record.outcome) == ("copy", {"subject": "ann"}, DONE)
    assert (record.settings, record.seed) == ({"settings": {"factor": 24.0}, "version": 3}, 7)
    assert (record.device, record.threads, record.memory_mb) == ("cuda: a GPU", 1, 1000)
    assert [one.sha256 for one in record.inputs] == [hashlib.sha256(b"a text").hexdigest()]
    assert [one.sha256 for one in record.outputs] == [hashlib.sha256(b"a copy").hexdigest()]
    assert 0 < record.starting_seconds < record.seconds < 60
    assert 20 < record.peak_memory_mb < 300  # not that of this process, which started it
    assert record.versions["python"] == sys.version.split()[0]


def test_a_failed_stage_records_its_sentence(tmp_path):
    results = tmp_path / "results"
    process = _stage(results, "fail")
    assert process.returncode == 1
    record = read_record(results, results / "round0/text/ann.txt")
    assert (record.outcome, record.error) == (FAILED, "The photograph a.jpg is damaged; copy it again.")
    assert record.outputs == []
    assert "FAILED     The photograph a.jpg is damaged" in explain(results / "round0/text/ann.txt")


def test_explain_on_the_command_line(tmp_path):
    results = tmp_path / "results"
    _stage(results, "work")
    command = [sys.executable, "-m", "porepatch_lib", "explain"]
    output = results / "round0/text/ann.txt"
    said = subprocess.run([*command, "--json", output], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["rule"] == "copy"
    missing = subprocess.run([*command, tmp_path / "no.txt"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
