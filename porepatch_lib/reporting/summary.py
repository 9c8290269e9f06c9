"""The summary stage: one page with the numbers of the whole run, and its figures."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_folder, read_json, write_text
from porepatch_lib.reporting.audit import audit_section
from porepatch_lib.reporting.figures import write_figures
from porepatch_lib.reporting.markdown import markdown_table, number, percent

Report = dict[str, Any]

_LOG = logging.getLogger(__name__)

_DETECTOR_SCORES = (
    "keypoints_per_image",
    "visible",
    "repeatability",
    "repeatability_sigma",
    "chance",
    "median_error_px",
    "p90_error_px",
)


@dataclass
class Round:
    """What is known of one round: status of its reconstructions, patches and label audit per split, card of its network."""

    statuses: list[Report] = field(default_factory=list)
    patches: dict[str, int] = field(default_factory=dict)
    card: Report | None = None
    audits: dict[str, Report] = field(default_factory=dict)


def write_summary(
    verification: Sequence[Path],
    detectors: Sequence[Path],
    sfm: Sequence[Path],
    cards: Sequence[Path],
    curves: Sequence[Path],
    datasets: Sequence[Path],
    audits: Sequence[Path],
    sheets: Sequence[Path],
    summary: Path,
    figures: Path,
) -> None:
    """Write the tables of a run as Markdown and its figures as PNG and SVG into a folder.

    Args:
        verification: JSON reports of the verify stage.
        detectors: `{detector}/{subject}.json`, reports of the detector evaluation; the folder names the detector.
        sfm: folders `round{r}/sfm/{subject}` with a status.json.
        cards, curves: `round{r}/model/{architecture}.json` and `.csv`.
        datasets: `round{r}/dataset/{split}/index.parquet`.
        audits: `round{r}/audit/{split}.json`, labels against truth.
        sheets: `round{r}/dataset/{split}/contact_sheet.png`.
        summary, figures: the page, and the folder of its figures.

    Raises:
        PorePatchError: if a path does not name its round.
    """
    reports = [read_json(path) for path in verification]
    found = [(Path(path).parent.name, read_json(path)) for path in detectors]
    audited = [read_json(path) for path in audits]
    rounds = _read_rounds(sfm, cards, datasets, audited)
    with atomic_folder(figures) as folder:
        names = write_figures(reports, {round_of(path): Path(path) for path in curves}, audited, folder)
    parts = [
        "# PorePatch: summary of the run\n",
        verification_section(reports),
        rounds_section(rounds),
        audit_section(audited),
        detectors_section(found),
        _figures_section([f"{Path(figures).name}/{name}" for name in names]),
        _sheets_section(sheets, summary),
    ]
    write_text(summary, "\n".join(part for part in parts if part))
    _LOG.info("wrote %s and %d figures", summary, len(names))


def round_of(path: str | Path) -> int:
    """Return r of the folder `round{r}` in a path.

    Raises:
        PorePatchError: if there is none.
    """
    for part in reversed(Path(path).parts):
        if match := re.fullmatch(r"round(\d+)", part):
            return int(match[1])
    raise PorePatchError(f"The path {path} has no folder named round<number>; keep the layout of the results.")


def verification_section(reports: Sequence[Report]) -> str:
    """Return one table per test set, best descriptor first."""
    if not reports:
        return ""
    parts = [
        "## Patch verification\n\n"
        "FPR95: share of non-matching pairs accepted at the threshold that accepts 95 % of the matching ones; lower is better.\n"
        "The interval resamples surface points. AP: average precision. Differences, strata and all else stand in\n"
        "[the table of the verification](../verification/table.md).\n"
    ]
    for test_set, group in _grouped((report["test_set"], report) for report in reports):
        ordered = sorted(group, key=lambda report: (report["fpr95"], -report["average_precision"], report["descriptor"]))
        confidence = f"{100 * ordered[0]['confidence']:g} % interval"
        rows = [
            [
                report["descriptor"],
                str(report["dimension"]),
                percent(report["fpr95"]),
                f"{percent(report['fpr95_low'])} .. {percent(report['fpr95_high'])}",
                percent(report["average_precision"]),
            ]
            for report in ordered
        ]
        first = ordered[0]
        parts.append(
            f"Test set {test_set}: {number(first['positives'])} matching and {number(first['negatives'])} non-matching pairs, "
            f"{number(first['patches'])} patches, subjects {', '.join(first['subjects'])}.\n"
        )
        parts.append(markdown_table(["descriptor", "dimension", "FPR95 %", confidence, "AP %"], rows))
    return "\n".join(parts)


def rounds_section(rounds: dict[int, Round]) -> str:
    """Return one row per round, and below it what went wrong."""
    if not rounds:
        return ""
    headers = ["round", "subjects", "views", "points", "track length", "reprojection px"]
    headers += ["train patches", "wrong matches %", "validation patches", "validation FPR95 %"]
    rows = [[str(r), *_reconstruction_cells(rounds[r].statuses), *_training_cells(rounds[r])] for r in sorted(rounds)]
    text = (
        "## Rounds\n\n"
        "Subjects and views: reconstructed of all. A round's network is trained on its patches and chosen on validation\n"
        "subjects labelled by the same round: the validation FPR95 of two rounds do not compare.\n"
        "Wrong matches: matching pairs of the training set whose places on the true surface are farther apart than the\n"
        "audit's tolerance (rendered subjects).\n\n"
    )
    text += markdown_table(headers, rows)
    troubles = [line for r in sorted(rounds) for line in _troubles(r, rounds[r])]
    return text + ("\nWhat went wrong:\n\n" + "\n".join(f"- {line}" for line in troubles) + "\n" if troubles else "")


def detectors_section(reports: Sequence[tuple[str, Report]]) -> str:
    """Return one row per detector, averaged over its subjects; `reports` are (detector, report)."""
    if not reports:
        return ""
    rows = []
    for detector, group in _grouped(reports):
        mean = {name: _mean(report[name] for report in group) for name in _DETECTOR_SCORES}
        rows.append(
            [
                detector,
                number(mean["keypoints_per_image"]),
                number(mean["visible"]),
                percent(mean["repeatability"], 1),
                percent(mean["chance"], 1),
                percent(mean["repeatability_sigma"], 1),
                number(mean["median_error_px"], 3),
                number(mean["p90_error_px"], 3),
            ]
        )
    tolerances = reports[0][1]["settings"]
    headers = ["detector", "keypoints", "visible", f"within {tolerances['tolerance_px']:g} px %", "by chance %"]
    headers += [f"within {tolerances['tolerance_sigma']:g} sigma %", "median error px", "90th percentile px"]
    return (
        "## Detectors against truth\n\n"
        "Repeatability: share of the keypoints that another view sees and also detects. Errors of those within "
        f"{tolerances['tolerance_px']:g} px.\nMeans over ordered view pairs of {len(reports) // len(rows)} "
        "rendered test subject(s). By chance: what scattered points would reach.\n\n" + markdown_table(headers, rows)
    )


def _reconstruction_cells(statuses: Sequence[Report]) -> list[str]:
    good = [status for status in statuses if status["status"] == "ok"]
    points = sum(status["points"] for status in good)
    observations = sum(status["observations"] for status in good)
    error = sum(status["mean_reprojection_error_px"] * status["observations"] for status in good)
    return [
        f"{len(good)}/{len(statuses)}",
        f"{sum(status['registered'] for status in good)}/{sum(status['views'] for status in statuses)}",
        number(points),
        number(observations / points if points else None, 2),
        number(error / observations if observations else None, 3),
    ]


def _training_cells(one: Round) -> list[str]:
    train, validation = (number(one.patches.get(split)) for split in ("train", "validation"))
    matches = one.audits["train"]["all"].get("matches") if "train" in one.audits else None
    wrong = percent(matches["wrong_mm"] if matches else None)
    return [train, wrong, validation, percent(one.card["validation_fpr95"] if one.card else None)]


def _troubles(r: int, one: Round) -> list[str]:
    failed = [status for status in one.statuses if status["status"] != "ok"]
    lines = [f"round {r}: {status['subject']} was not reconstructed: {status['reason']}." for status in failed]
    if one.card and one.card.get("warning"):
        lines.append(f"round {r}: {one.card['warning']}")
    return lines


def _read_rounds(
    sfm: Sequence[Path], cards: Sequence[Path], datasets: Sequence[Path], audits: Sequence[Report]
) -> dict[int, Round]:
    rounds: dict[int, Round] = defaultdict(Round)
    for folder in sfm:
        rounds[round_of(folder)].statuses.append(read_json(Path(folder) / "status.json"))
    for path in datasets:
        rounds[round_of(path)].patches[Path(path).parent.name] = pq.read_metadata(path).num_rows
    for path in cards:
        rounds[round_of(path)].card = read_json(path)
    for audit in audits:
        rounds[audit["round"]].audits[audit["split"]] = audit
    return dict(rounds)


def _figures_section(paths: Sequence[str]) -> str:
    return "## Figures\n\n" + "".join(f"![{Path(path).stem}]({path})\n" for path in paths) if paths else ""


def _sheets_section(sheets: Sequence[Path], page: Path) -> str:
    """Return the contact sheets of the datasets, `page` being where the links start."""
    lines = [
        f"![round {round_of(path)}, {Path(path).parent.name}]({os.path.relpath(path, Path(page).parent)})\n" for path in sheets
    ]
    return "## Patches, one surface point a row\n\n" + "".join(lines) if lines else ""


def _grouped(items: Iterable[tuple[str, Report]]) -> list[tuple[str, list[Report]]]:
    """Group reports by name, names in order of first appearance."""
    groups: dict[str, list[Report]] = defaultdict(list)
    for name, report in items:
        groups[name].append(report)
    return list(groups.items())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
