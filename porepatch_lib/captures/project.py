"""A new project: folders of photographs -> a subject sheet and a configuration, and what to run next."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from porepatch_lib.captures.found import NERSEMBLE, FoundSubject, Size, find_subjects
from porepatch_lib.captures.nersemble import NersembleSettings
from porepatch_lib.captures.sheet import CARE, COLUMNS, MADE_MASKS
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_text

logger = logging.getLogger(__name__)

_SUBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# About as dense as the paper's 10,000 keypoints on the 7 megapixels of a NeRSemble frame.
_KEYPOINTS_PER_MEGAPIXEL = 1400
_KEYPOINTS = (1000, 10_000)
_TEST_SHARE = 0.1


@dataclass(frozen=True)
class Project:
    """The subjects of a project by id, their splits in step, and the folder that its files go to."""

    folder: Path
    subjects: dict[str, FoundSubject]
    splits: Sequence[str]
    cores: int

    @property
    def sheet(self) -> Path:
        """The subject sheet."""
        return self.folder / "subjects.tsv"

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config.yaml"


def new_project(folder: str | Path, images: Sequence[str | Path], keep_names: bool = False) -> Project:
    """Look at folders of photographs and write `subjects.tsv` and `config.yaml` into `folder`.

    Args:
        folder: made if it is not there.
        images: folders of photographs, of one folder per person, of NeRSemble participants.
        keep_names: subjects are called as their folders, not s001, s002 and so on.

    Raises:
        PorePatchError: if a file would be overwritten or cannot be written, a folder holds no captures, or a name is no id.
    """
    target = Path(folder)
    _require_plain(target)
    for file in (target / "subjects.tsv", target / "config.yaml"):
        if file.exists():
            raise PorePatchError(f"{file} is already there and is not overwritten; name another folder, or take it away.")
    found = find_subjects([Path(image) for image in images])
    ids = subject_ids(found, keep_names)
    project = Project(target, dict(zip(ids, found, strict=True)), choose_splits(len(found)), os.cpu_count() or 1)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_text(project.sheet, sheet_text(project))
        write_text(project.config, config_text(project))
    except OSError as error:
        raise PorePatchError(f"Cannot write to {target} ({error.strerror}); name a folder that can be written to.") from error
    return project


def subject_ids(subjects: Sequence[FoundSubject], keep_names: bool = False) -> list[str]:
    """s001, s002, ...; or the names of the folders, which must do as ids."""
    if not keep_names:
        return [f"s{number:03d}" for number in range(1, len(subjects) + 1)]
    folders = [_person_folder(subject) for subject in subjects]
    for index, folder in enumerate(folders):
        if not _SUBJECT_ID.fullmatch(folder.name):
            raise PorePatchError(
                f"The folder {folder} cannot name a subject: letters, digits, '-' and '_' only, beginning with a letter or a "
                "digit; rename it, or leave out --names."
            )
        if folder.name.casefold() in [earlier.name.casefold() for earlier in folders[:index]]:
            raise PorePatchError(f"Two folders would name the subject '{folder.name}', one is {folder}; leave out --names.")
    return [folder.name for folder in folders]


def choose_splits(count: int) -> list[str]:
    """Splits of `count` subjects: as many as there are subjects for; then the last three tenths serve the tests."""
    if count < 4:
        return ["train", "validation", "verification"][:count]
    tests = max(1, round(_TEST_SHARE * count))
    return ["train"] * (count - 3 * tests) + [s for s in ("validation", "verification", "reconstruction") for _ in range(tests)]


def sheet_text(project: Project) -> str:
    """The subject sheet with its comments."""
    count = len(project.subjects)
    tests = max(1, round(_TEST_SHARE * count))
    if count < 4:
        split = f"{', '.join(project.splits)}; further splits need further people."
    else:
        split = f"the last {3 * tests} subjects are for validation, verification and reconstruction, {tests} each."
    lines = [
        "# The subjects of this project. Lines that begin with # are not read; columns are separated by tabs.",
        f"# split: {split}",
        "#   Nobody may be in two splits: if two folders show one person, give them the same split.",
        f"# masks: a folder; or `{MADE_MASKS}`, made from the photographs, because a face was found; or empty, the whole image.",
        "# release: false = serves training, is never exported. Once you hold a person's consent, set it to true, and say under",
        "#   `consent` what was agreed to (the form's number, no names) and under `licence` which one the photographs have.",
        "\t".join((*COLUMNS, *CARE)),
    ]
    for (name, subject), split in zip(project.subjects.items(), project.splits, strict=True):
        masks = _cell(subject.masks) if isinstance(subject.masks, Path) else subject.masks
        cameras = _cell(subject.cameras) if subject.cameras else ""
        lines.append("\t".join((name, split, subject.source, _cell(subject.folder), masks, cameras, "", "", "false")))
    return "\n".join(lines) + "\n"


def config_text(project: Project) -> str:
    """The configuration: what differs from config/config.yaml."""
    sizes = [size for subject in project.subjects.values() for size in subject.sizes]
    rounds, why = (1, "one, as there is nobody to validate a network on") if len(project.subjects) == 1 else (2, "")
    lines = [
        "# Keys that are not here have the values of config/config.yaml; workflow/schemas/config.schema.yaml explains them all.",
        f"subjects: {_yaml(_as_run(project.sheet))}",
        "pathvars:",
        f"  results: {_yaml(_as_run(project.folder / 'results'))}",
        f"threads: {min(8, project.cores)} # of one job",
        f"rounds: {rounds} # {why or 'round 0 describes with PSIFT, each further one with the network trained before'}",
        "keypoints:",
        f"  target_count: {keypoints_for(sizes)} # per photograph, by its size; more take longer to match",
    ]
    sequence = _common_sequence(list(project.subjects.values()))
    if sequence:
        lines += ["nersemble:", f"  sequence: {_yaml(sequence)} # one that every participant has"]
    return "\n".join(lines) + "\n"


def keypoints_for(sizes: Sequence[Size]) -> int:
    """Keypoints per photograph suited to the median of the (width, height), rounded to hundreds."""
    areas = sorted(width * height for width, height in sizes)
    wanted = _KEYPOINTS_PER_MEGAPIXEL * areas[len(areas) // 2] / 1e6 if areas else _KEYPOINTS[1]
    low, high = _KEYPOINTS
    return int(min(high, max(low, round(wanted, -2))))


def summary(project: Project) -> str:
    """A table of the subjects for the user to check."""
    rows = [("subject", "split", "views", "size", "masks", "cameras", "focal length", "folder")]
    for (name, subject), split in zip(project.subjects.items(), project.splits, strict=True):
        (width, height), share = Counter(subject.sizes).most_common(1)[0] if subject.sizes else ((0, 0), 0)
        size = (f"{width}x{height}" if width else "?") + (" and others" if share < len(subject.sizes) else "")
        masks = "given" if isinstance(subject.masks, Path) else subject.masks or "none"
        cameras = "calibrated" if subject.source == NERSEMBLE else subject.cameras.name if subject.cameras else "none"
        rows.append((name, split, str(subject.views), size, masks, cameras, _focal_words(subject), str(subject.folder)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def next_steps(project: Project) -> str:
    """What to do and to run next, with this project's paths."""
    home = Path(__file__).resolve().parents[2]
    place = f"in {home}, where the Snakefile is" if (home / "Snakefile").is_file() else "in the folder of the Snakefile"
    config = f"--configfile {shlex.quote(str(_as_run(project.config)))} --cores {project.cores}"
    sheets = _as_run(project.folder / "results/captures")
    return (
        f"Wrote {project.sheet} and {project.config}; look through both.\n"
        "Nobody's captures are released: set `release` to true in the sheet once you hold a person's consent.\n\n"
        f"Next, {place}:\n\n"
        f"  snakemake captures {config}\n\n"
        f"and look at {sheets}/<subject>/contact_sheet.png; then the long run:\n\n"
        f"  snakemake {config} --resources gpu=1"
    )


def _focal_words(subject: FoundSubject) -> str:
    if subject.source == NERSEMBLE or subject.cameras:
        return "calibrated"
    if subject.focals in (0, subject.views):
        return "EXIF" if subject.focals else "unknown, a guess"
    return f"EXIF of {subject.focals}"


def _person_folder(subject: FoundSubject) -> Path:
    folder = _absolute(subject.folder)
    return folder.parent if folder.name == "images" else folder


def _common_sequence(subjects: Sequence[FoundSubject]) -> str | None:
    """A sequence that every participant has, if that of the default configuration is none."""
    default = NersembleSettings().sequence
    participants = [subject.sequences for subject in subjects if subject.source == NERSEMBLE]
    if not participants or all(default in sequences for sequences in participants):
        return None
    common = sorted(frozenset.intersection(*participants))
    if not common:
        logger.warning("The participants have no sequence in common; set nersemble.sequence in the config.")
    return common[0] if common else None


def _as_run(path: Path) -> Path:
    """The path as Snakemake is to see it: relative if the project's folder is the current one and holds it."""
    path, here = _absolute(path), Path.cwd()
    return path.relative_to(here) if (here / "Snakefile").is_file() and path.is_relative_to(here) else path


def _absolute(path: Path) -> Path:
    """Links keep their names, unless the path climbs."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _cell(path: Path) -> str:
    text = str(_as_run(path))
    if text != text.strip() or not text.isprintable():
        raise PorePatchError(f"The path {text!r} has a tab or such a character that a sheet cannot hold; rename the folder.")
    _require_plain(path)
    return text


def _require_plain(path: Path) -> None:
    """Braces and angle brackets would be Snakemake's wildcards and path variables."""
    if set("{}<>") & set(str(_as_run(path))):
        raise PorePatchError(
            f"The path {_as_run(path)} has one of {{ }} < >, which Snakemake takes for its own; rename the folder."
        )


def _yaml(value: str | Path) -> str:
    return yaml.safe_dump(str(value), allow_unicode=True, width=4096).removesuffix("...\n").strip()
