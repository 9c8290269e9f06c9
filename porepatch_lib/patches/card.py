"""The card of a dataset: what it holds, whom it shows, and what these people agreed to. It names no file.

A card is made for every dataset, from the subject sheet; an export carries a card of what it exports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from porepatch_lib import __version__
from porepatch_lib.captures.sheet import read_subjects, released
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_json, write_json
from porepatch_lib.patches.store import point_numbers
from porepatch_lib.tables import PATCHES, read_table
from porepatch_lib.versions import STAGE_VERSIONS

Card = dict[str, Any]

NOT_STATED = "not stated"
NOT_NEEDED = "not needed"

_NOTICE = (
    "Patches of faces are biometric data. Use them only as the people on them agreed and as the licence of their photographs "
    "allows; both stand beside every subject."
)
_PERSON = "a photographed person"
_NOBODY = "nobody: the face is rendered"
_SKIN = "a rendered face under photographed skin"
# The stages behind a dataset.
_STAGES = ("render", "capture", "detect", "describe", "match", "reconstruct", "tracks", "patches", "dataset")


def write_card(
    index: Path, pairs: Path, sheet: Path, output: Path, title: str, labels: tuple[int, str], photographed_skin: bool = False
) -> None:
    """Write the card of a dataset as JSON.

    Args:
        index, pairs: tables `patches` and `patch pairs` of the dataset.
        sheet: the subject sheet; the people are those of the split, also the ones without patches.
        output: the card.
        title: for people, for instance "train split of round 1".
        labels: round and split.
        photographed_skin: rendered subjects wear the skin of photographed people.

    Raises:
        PorePatchError: if the sheet cannot be read, or lacks a subject of the dataset.
    """
    rows = read_subjects(sheet).to_dict("records")
    people = [_person(row, photographed_skin) for row in rows if row["split"] == labels[1]]
    frame = read_table(index, PATCHES)
    unknown = sorted(set(frame["subject"]) - {person["subject"] for person in people})
    if unknown:
        raise PorePatchError(f"The {labels[1]} split of the sheet {sheet} has no '{unknown[0]}', who is in {index}; run again.")
    write_json(output, dataset_card(people, frame, pq.read_metadata(pairs).num_rows) | _origin(title, labels))


def dataset_card(people: Sequence[Card], index: pd.DataFrame, pairs: int) -> Card:
    """Return the people of a card, and the rows and surface points of `index` (columns of `patches`) in all and by person."""
    counted = index.groupby("subject")["point_id"].agg(["size", "nunique"])
    counts = {str(subject): (int(row["size"]), int(row["nunique"])) for subject, row in counted.iterrows()}
    subjects = []
    for person in people:
        patches, points = counts.get(person["subject"], (0, 0))
        subjects.append(person | {"patches": patches, "points": points})
    points = int(point_numbers(index).max(initial=-1)) + 1
    return {"notice": _NOTICE, "patches": len(index), "points": points, "pairs": pairs, "subjects": subjects}


def export_card(card: Card, index: pd.DataFrame, pairs: int) -> Card:
    """Return the card of what is exported of a dataset: the released people who have patches in `index`, the rows exported."""
    exported = set(index["subject"])
    people = [person for person in card["subjects"] if person["release"] and person["subject"] in exported]
    return card | dataset_card(people, index, pairs)


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        PorePatchError: if it is not there or not a card: without it, nobody knows who may be shown.
    """
    try:
        card: Card = read_json(path)
        if all({"subject", "shows", "consent", "licence", "release"} <= set(person) for person in card["subjects"]):
            return card
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise PorePatchError(f"Cannot read the dataset card {path}; delete it and run again.")


def released_subjects(card: Card) -> list[str]:
    """Return the subjects whose patches may be exported."""
    return [person["subject"] for person in card["subjects"] if person["release"] is True]


def unstated_subjects(card: Card) -> list[str]:
    """Return the subjects that show a person whose consent or licence is not stated."""
    people = [person for person in card["subjects"] if person["shows"] != _NOBODY]
    return [person["subject"] for person in people if NOT_STATED in (person["consent"], person["licence"])]


def _person(row: Mapping[Any, str], photographed_skin: bool) -> Card:
    """Return what a row of the sheet says of a subject, without the paths."""
    rendered = row["source"] == "rendered"
    shows = (_SKIN if photographed_skin else _NOBODY) if rendered else _PERSON
    return {
        "subject": row["subject"],
        "source": row["source"],
        "shows": shows,
        "consent": row["consent"] or (NOT_NEEDED if shows == _NOBODY else NOT_STATED),
        "licence": row["licence"] or NOT_STATED,
        "release": released(row),
    }


def _origin(title: str, labels: tuple[int, str]) -> Card:
    stages = {stage: STAGE_VERSIONS[stage] for stage in _STAGES}
    return {"title": title, "round": labels[0], "split": labels[1], "porepatch": __version__, "stage_versions": stages}
