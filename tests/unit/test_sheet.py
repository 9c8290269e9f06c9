"""The subject sheet and the configuration: what is refused, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porepatch_lib.captures.sheet import CARE, COLUMNS, VARIATIONS, read_subjects, released
from porepatch_lib.config import SCHEMAS, validate_config
from porepatch_lib.errors import PorePatchError

_PROJECT = Path(__file__).resolve().parents[2]
_CONFIG = {"subjects": "config/subjects.tsv", "seed": 0, "threads": 2, "rounds": 2, "pathvars": {"results": "results"}}
_SCHEMA = """
type: object
additionalProperties: false
required: [seed]
properties:
  seed: {type: integer}
  keypoints:
    type: object
    additionalProperties: false
    properties:
      rounds: {type: integer, minimum: 1}
      pore_ratio: {type: number, exclusiveMinimum: 0, maximum: 0.02}
      detector: {enum: [pore, psift_reference]}
      limit: {type: [integer, "null"]}
"""


def _sheet(folder: Path, *rows: str, header: str = "\t".join(COLUMNS)) -> Path:
    path = folder / "subjects.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(PorePatchError) as error:
        read_subjects(path)
    return str(error.value)


def test_default_sheet_has_every_split():
    subjects = read_subjects(_PROJECT / "config/subjects.tsv")
    assert list(subjects.columns) == [*COLUMNS, *VARIATIONS, *CARE]
    assert subjects["split"].value_counts().to_dict() == {"train": 4, "validation": 1, "verification": 2, "reconstruction": 1}
    assert set(subjects["source"]) == {"rendered"}
    assert (subjects[["path", "masks", "cameras"]] == "").all(axis=None)


def test_example_sheet_is_valid_where_its_photographs_are(tmp_path, monkeypatch):
    example = _PROJECT / "config/examples/photographs.tsv"
    for line in example.read_text().splitlines()[1:]:
        for path in filter(None, line.split("\t")[3:6]):
            (tmp_path / path).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert list(read_subjects(example)["subject"]) == ["p01", "p02", "p03", "p04"]


def test_paths_are_relative_to_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    path = _sheet(tmp_path, "ann\ttrain\tphotographs\tphotos")
    monkeypatch.chdir(tmp_path)
    row = read_subjects(path).iloc[0]
    assert (row["path"], row["masks"], row["cameras"]) == ("photos", "", "")
    monkeypatch.chdir(os.sep)
    assert "folder photos of subject 'ann' does not exist" in _refusal(path)


def test_spreadsheet_habits_are_forgiven(tmp_path):
    path = tmp_path / "s.tsv"
    text = "\t".join(COLUMNS) + "\r\n\r\n# ann\ttrain\trendered\r\n bob \ttrain\trendered\t\t\t\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(read_subjects(path)["subject"]) == ["bob"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a/b\ttrain\trendered", ["line 3", "'subject'", "'a/b'", "letters, digits"]),
        ("-a\ttrain\trendered", ["line 3", "'-a'"]),
        ("\ttrain\trendered", ["line 3", "'subject'"]),
        ("ann\ttrain\trendered", ["line 3", "'ann' is already on", "line 2", "rename"]),
        ("ANN\ttrain\trendered", ["line 3", "'ANN' is already on", "line 2"]),
        ("bob\ttest\trendered", ["line 3", "'split'", "train, validation, verification, reconstruction", "'test'"]),
        ("bob\ttrain\tphotograph", ["line 3", "'source'", "did you mean 'photographs'?"]),
        ("bob\ttrain\tphotographs", ["line 3", "'bob' has no path"]),
        ("bob\ttrain\tphotographs\t{0}/a{{x}}", ["line 3", "'path'", "without { } < >"]),
        ("bob\ttrain\tphotographs\tnowhere", ["line 3", "nowhere", "'bob' does not exist"]),
        ("bob\ttrain\tphotographs\t{0}\tnomasks", ["line 3", "masks folder nomasks"]),
        ("bob\ttrain\tphotographs\t{0}\t\tnocameras", ["line 3", "nocameras"]),
        ("bob\ttrain\trendered\t{0}", ["line 3", "'bob' is rendered and takes no path"]),
        ("bob\ttrain\trendered\t\t\tx.json", ["line 3", "takes no cameras"]),
        ("bob\ttrain\trendered\t\t\t\t\textra", ["line 3", "8 cells under 6 columns"]),
        ("bob\ttrain\tphotographs\t{0}\ncy\ttrain\tphotographs\t{0}/.", ["line 4", "already on", "line 3"]),
    ],
)
def test_bad_rows_are_named(tmp_path, row, words):
    message = _refusal(_sheet(tmp_path, "ann\ttrain\trendered", row.format(tmp_path)))
    assert all(word in message for word in [*words, "subjects.tsv"]), message


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("subject\tsplits\tsource\tpath\tmasks\tcameras", ["line 1", "unknown column 'splits'", "did you mean 'split'?"]),
        ("subject\tsplit\tsource\tpath\tmasks", ["line 1", "'cameras' is missing"]),
        ("subject\tsplit\tsource\tpath\tmasks\tcameras\tmasks", ["'masks' twice"]),
        ("subject,split,source,path,masks,cameras", ["by tabs"]),
    ],
)
def test_bad_headers_are_named(tmp_path, header, words):
    message = _refusal(_sheet(tmp_path, "ann\ttrain\trendered", header=header))
    assert all(word in message for word in words), message


def test_missing_and_empty_sheets(tmp_path):
    assert "does not exist" in _refusal(tmp_path / "none.tsv")
    assert "lists no subject" in _refusal(_sheet(tmp_path))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"seed": 1, "keypoints": {"roundz": 1}},
            "Unknown key 'roundz' in the config, section 'keypoints'; did you mean 'rounds'?",
        ),
        ({"seeds": 1}, "Unknown key 'seeds' in the config; did you mean 'seed'?"),
        ({"seed": 1, "zzz": 1}, "Unknown key 'zzz' in the config; known are seed, keypoints."),
        ({}, "Missing key 'seed' in the config; add it."),
        ({"seed": "x"}, "Key 'seed' in the config must be a whole number, not 'x'."),
        ({"seed": True}, "Key 'seed' in the config must be a whole number, not True."),
        ({"seed": 1, "keypoints": None}, "Key 'keypoints' in the config must be a section, not None."),
        (
            {"seed": 1, "keypoints": {"limit": "x"}},
            "Key 'keypoints.limit' in the config must be a whole number or empty, not 'x'.",
        ),
        ({"seed": 1, "keypoints": {"rounds": 0}}, "Key 'keypoints.rounds' in the config must be at least 1, not 0."),
        ({"seed": 1, "keypoints": {"pore_ratio": 0}}, "Key 'keypoints.pore_ratio' in the config must be more than 0, not 0."),
        ({"seed": 1, "keypoints": {"pore_ratio": 1}}, "Key 'keypoints.pore_ratio' in the config must be at most 0.02, not 1."),
        (
            {"seed": 1, "keypoints": {"detector": "pores"}},
            "Key 'keypoints.detector' in the config must be one of pore, psift_reference, not 'pores'; did you mean 'pore'?",
        ),
    ],
)
def test_config_errors_are_one_sentence(tmp_path, config, sentence):
    schema = tmp_path / "schema.yaml"
    schema.write_text(_SCHEMA)
    validate_config({"seed": 1, "keypoints": {"rounds": 1, "limit": None}}, schema)
    with pytest.raises(PorePatchError) as error:
        validate_config(config, schema)
    assert str(error.value) == sentence


def test_every_section_of_the_schemas_is_closed():
    import yaml

    def open_sections(node, path=""):
        if isinstance(node, dict):
            if node.get("type") == "object" and "additionalProperties" not in node:
                yield path
            for key, value in node.items():
                yield from open_sections(value, f"{path}/{key}")

    for schema in SCHEMAS.glob("*.schema.yaml"):
        assert list(open_sections(yaml.safe_load(schema.read_text()))) == [], schema


def test_variations_of_a_rendered_subject(tmp_path):
    header = "\t".join([*COLUMNS, *VARIATIONS])
    path = _sheet(
        tmp_path,
        "ann\ttrain\trendered",
        "ann_smiles\ttrain\trendered\t\t\t\tann\t\tsmile",
        "ann_as_bea\ttrain\trendered\t\t\t\tann\tbea",
        header=header,
    )
    subjects = read_subjects(path).set_index("subject")
    assert list(subjects.loc["ann", list(VARIATIONS)]) == ["", "", ""]
    assert list(subjects.loc["ann_smiles", list(VARIATIONS)]) == ["ann", "", "smile"]
    assert list(subjects.loc["ann_as_bea", list(VARIATIONS)]) == ["ann", "bea", ""]


@pytest.mark.parametrize("row", ["b\tvalidation\trendered\t\t\t\tann", "b\tvalidation\trendered\t\t\t\t\tann"])
def test_one_person_stays_in_one_split(tmp_path, row):
    message = _refusal(_sheet(tmp_path, "ann\ttrain\trendered", row, header="\t".join([*COLUMNS, *VARIATIONS])))
    assert "line 3" in message and "'ann'" in message and "line 2" in message and "one split" in message


def test_photographs_take_no_variation(tmp_path):
    (tmp_path / "photos").mkdir()
    row = f"p\ttrain\tphotographs\t{tmp_path / 'photos'}\t\t\t\tq"
    assert "takes no skin" in _refusal(_sheet(tmp_path, row, header="\t".join([*COLUMNS, *VARIATIONS])))


_EVERY_COLUMN = "\t".join([*COLUMNS, *VARIATIONS, *CARE])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("bob\ttrain\tnersemble", ["'bob' has no path"]),
        ("bob\ttrain\tnersemble\t{0}\t\trig.json", ["'bob' is from NeRSemble and takes no cameras; empty that cell"]),
        ("bob\ttrain\tnersemble\t{0}\t\t\tann", ["'bob' is from NeRSemble and takes no identity"]),
        ("bob\ttrain\tnersemble\t{0}\t\t\t\t\tsmile", ["takes no expression"]),
        ("bob\ttrain\tnersemble\t{0}\tnomasks", ["masks folder nomasks", "or write auto to have masks made"]),
        ("bob\ttrain\tphotographs\t{0}\tAuto", ["masks folder Auto of subject 'bob' does not exist"]),
        ("bob\ttrain\tphotographs\tauto", ["path folder auto of subject 'bob' does not exist"]),
        ("bob\ttrain\trendered\t\tauto", ["'bob' is rendered and takes no masks"]),
        ("bob\ttrain\tphotographs\t{0}/loop", ["path folder", "cannot be read (Too many levels of symbolic links); correct it."]),
        ("bob\ttrain\tphotographs\t{0}\t{0}/loop", ["masks folder", "cannot be read (Too many levels of symbolic links)"]),
        ("bob\ttrain\tphotographs\t{0}\t\t{0}/loop", ["cameras path", "cannot be read (Too many levels of symbolic links)"]),
        ("bob\ttrain\tphotographs\t{0}/dangling", ["dangling of subject 'bob' does not exist"]),
        ("bob\ttrain\tphotographs\t{0}/subjects.tsv", ["subjects.tsv of subject 'bob' is no folder"]),
        ("bob\ttrain\tphotographs\t{0}/subjects.tsv/x", ["cannot be read (Not a directory)"]),
        ("bob\ttrain\tphotographs\t{0}\t\t{0}/pipe", ["pipe of subject 'bob' is neither a file nor a folder"]),
        ("bob\ttrain\tphotographs\t" + "x" * 300, ["cannot be read (File name too long)"]),
        ("bob\ttrain\tphotographs\tx\0y", ["cannot be read (embedded null byte)"]),
        ("bob\ttrain\trendered\t\t\t\t\t\t\t\t\tno", ["'release'", "'no'", "never exported"]),
    ],
)  # fmt: skip
def test_bad_cells_are_one_sentence(tmp_path, row, words):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    message = _refusal(_sheet(tmp_path, "ann\ttrain\trendered", row.replace("{0}", str(tmp_path)), header=_EVERY_COLUMN))
    assert all(word in message for word in [*words, "subjects.tsv, line 3"]), message
    assert "\n" not in message


def test_participant_of_nersemble_with_masks_made(tmp_path):
    row = read_subjects(_sheet(tmp_path, f"p\tverification\tnersemble\t{tmp_path}\tauto")).iloc[0]
    assert (row["source"], row["path"], row["masks"], row["cameras"]) == ("nersemble", str(tmp_path), "auto", "")


def test_folder_called_auto_is_given_with_its_path(tmp_path, monkeypatch):
    (tmp_path / "auto").mkdir()
    path = _sheet(tmp_path, f"p\ttrain\tphotographs\t{tmp_path}\t./auto")
    monkeypatch.chdir(tmp_path)
    assert read_subjects(path).iloc[0]["masks"] == "./auto"


@pytest.mark.parametrize(
    ("cells", "kept", "may_be_released"),
    [
        (["form 7", "CC-BY-4.0", "true"], ("form 7", "CC-BY-4.0", "true"), True),
        (["studied by ethics board, 2024-05-01", "", "false"], ("studied by ethics board, 2024-05-01", "", "false"), False),
        (["", "", "FALSE"], ("", "", "false"), False),
        ([], ("", "", ""), True),
    ],
)
def test_consent_licence_and_release(tmp_path, cells, kept, may_be_released):
    path = _sheet(tmp_path, "\t".join(["ann", "train", "rendered", "", "", "", *cells]), header="\t".join([*COLUMNS, *CARE]))
    row = read_subjects(path).iloc[0]
    assert tuple(row[list(CARE)]) == kept
    assert released(row) is may_be_released


def test_sheet_without_the_optional_columns_has_them_empty(tmp_path):
    row = read_subjects(_sheet(tmp_path, "ann\ttrain\trendered")).iloc[0]
    assert list(row[[*VARIATIONS, *CARE]]) == [""] * 6
    assert released(row)


@pytest.mark.parametrize("worn", ["ann\t", "\tann"], ids=["head", "skin"])
@pytest.mark.parametrize(("release", "refused"), [("", True), ("true", True), ("false", False)])
def test_who_is_held_back_is_not_worn_by_another(tmp_path, worn, release, refused):
    held_back = "ann\ttrain\trendered\t\t\t\t\t\t\t\t\tfalse"
    other = f"bob\ttrain\trendered\t\t\t\t{worn}\t\t\t\t{release}"
    path = _sheet(tmp_path, held_back, other, header=_EVERY_COLUMN)
    if not refused:
        assert len(read_subjects(path)) == 2
        return
    message = _refusal(path)
    assert all(word in message for word in ["line 3", "'bob' wears the head or skin of 'ann'", "line 2", "write false here too"])
