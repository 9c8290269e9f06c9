"""The tables of reconstruction as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from porepatch_lib.reconstruction.columns import CAMERAS, DENSE, ETH, SPARSE, Column
from porepatch_lib.reporting.markdown import markdown_table, number
from porepatch_lib.reporting.reconstruction_ratios import ACCURACY, Ratio
from porepatch_lib.reporting.reconstruction_results import Result, by_subject, known_columns, labels_of

OWN_FEATURES = "project"
TRUTHS: Mapping[str, Sequence[Column]] = {"Cameras": CAMERAS, "Sparse": SPARSE, "Dense": DENSE}  # first word of titles -> columns
TITLES = {
    "Cameras": "Cameras against their true poses",
    "Sparse": "Sparse points against the true surface",
    "Dense": "Dense points against the true surface",
}
_KNOWN = {"surface": "the true surface is known", "poses": "the true poses are known", "": "no truth is known"}
_FIGURES = ("points", "accuracy", "tolerance", "cameras")  # of a subject, in the order of the page

_LEGEND = """\
Every number but those of dense clouds, which are of one run, is the median over the seeds of verification and mapping; ± is how
far the seeds go from it, on the wider side, and stands where they differ. (A variant that matches or refines by a first
reconstruction has that first one from one seed.) Images to inlier matches: the row of the ETH benchmark (Schönberger et al., CVPR
2017), of the largest model. More points and longer tracks are not better points: without truth the row rewards quantity, and a
reprojection error only says how well points agree with their own tracks. Errors of cameras are the median and the largest over
the registered views alone: read them beside the number of those. Accuracy: share of the points within a distance of the true
surface; completeness: share of that surface with a point within the distance; F: their harmonic mean. A failed row has zeros, and
its reason below the table, where the failure of a single seed or of dense stereo stands too.
"""


def reconstruction_page(results: Sequence[Result], reference: str, compared: Sequence[Ratio], figures: Mapping[str, str]) -> str:
    """Return the page: over several subjects what each descriptor gains, then per subject its row, its truth, its figures.

    Args:
        results: may be none.
        reference: the descriptor that `compared` are compared with.
        compared: every descriptor against the reference.
        figures: name -> path relative to the page.
    """
    subjects = by_subject(results)
    parts = ["# Reconstruction\n", _LEGEND]
    if len(subjects) > 1:
        parts += [f"## Over {len(subjects)} subjects, compared with {reference}\n", _comparison(compared, reference)]
    for subject, members in subjects.items():
        parts += [f"## {subject}\n", headline(members) + "\n", _table(members, ETH), _reasons(members)]
        for word, columns in TRUTHS.items():
            known = known_columns(members, columns)
            parts += [f"{TITLES[word]}:\n", _table(members, known, word)] if known else []
        names = [f"{kind}_{subject}" for kind in _FIGURES]
        parts += [f"![{name}]({figures[name]})\n" for name in names if name in figures]
    return "\n".join(part for part in parts if part)


def headline(members: Sequence[Result]) -> str:
    """Return in sentences how many views a subject has, what is known of it, the seeds, and which dense method was used."""
    truth = next((one.metrics["truth"] for one in members if one.metrics["truth"]), "")
    seeds = _by_value(members, [", ".join(map(str, one.metrics["seeds"])) or "none" for one in members])
    sentences = [f"{number(views_of(members))} views; {_KNOWN[truth]}; seeds {seeds}"]
    methods = [one.metrics["dense_method"] for one in members]
    if any(methods):
        sentences.append(f"Dense method: {_by_value(members, [method or 'none' for method in methods])}")
    by_cameras = dict.fromkeys(
        label for label, one in zip(labels_of(members), members, strict=True) if one.metrics.get("alignment") == "cameras"
    )
    if truth == "surface" and by_cameras:
        sentences.append(f"Too few points to be laid over the surface, so by their cameras alone: {', '.join(by_cameras)}")
    others = dict.fromkeys(one.descriptor for one in members if one.metrics["features"] != OWN_FEATURES)
    if others:
        sentences.append(f"With keypoints of their own: {', '.join(others)}")
    return ". ".join(sentences) + "."


def views_of(members: Sequence[Result]) -> float:
    """Return how many views a subject has."""
    return max((one.numbers["images"].median for one in members if "images" in one.numbers), default=0.0)


def with_spread(result: Result, column: Column) -> str:
    """Return a number, with how far the seeds go from it where that shows; "-" where unknown."""
    value = result.shown(column)
    if value is None:
        return "-"
    reach = round(column.scale * result.numbers[column.name].reach, column.decimals)
    return number(value, column.decimals) + (f" ±{number(reach, column.decimals)}" if reach else "")


def short_title(column: Column, word: str) -> str:
    """Return the title of a column without its first word, where that is `word`."""
    title = column.title.removeprefix(f"{word} ")
    return title[0].upper() + title[1:]


def equal_or_better(ratio: Ratio) -> str:
    """Return on how many subjects a descriptor is as accurate as the reference or more, "-" where that is not known."""
    return f"{ratio.equal_or_better} of {ratio.compared}" if ratio.compared else "-"


def _table(members: Sequence[Result], columns: Sequence[Column], word: str = "") -> str:
    headers = ["Descriptor", *(short_title(column, word) for column in columns)]
    named = zip(labels_of(members), members, strict=True)
    return markdown_table(headers, [[label, *(with_spread(one, column) for column in columns)] for label, one in named])


def _reasons(members: Sequence[Result]) -> str:
    named = zip(labels_of(members), members, strict=True)
    told = [(f"{label} failed" if one.failed else label, one.metrics["reason"]) for label, one in named]
    return "".join(f"- {who}: {reason}\n" for who, reason in told if reason)


def _comparison(compared: Sequence[Ratio], reference: str) -> str:
    if not compared:
        return f"There is no {reference} to compare with, or nothing else.\n"
    explanation = (
        "Medians over subjects, in brackets the least and the most: sparse points over those of the reference in the same\n"
        "variant; accuracy at 0.25 mm less that of the reference, in points of per cent; and on how many of the subjects with\n"
        "truth that difference is not below 0.\n"
    )
    several = len({one.variant for one in compared}) > 1
    headers = [
        "Descriptor",
        "Subjects",
        f"Sparse points over {reference}",
        f"Accuracy less {reference}",
        "Equal or better accuracy",
    ]
    rows = [
        [
            f"{one.descriptor}, {one.variant}" if several else one.descriptor,
            number(len(one.points)),
            _with_ends(one.points, one.median_points, "{:.2f}"),
            _with_ends(one.accuracy, one.median_accuracy, f"{{:+.{ACCURACY.decimals}f}}"),
            equal_or_better(one),
        ]
        for one in compared
    ]
    return f"{explanation}\n{markdown_table(headers, rows)}"


def _with_ends(values: Sequence[float], middle: float | None, form: str) -> str:
    if middle is None:
        return "-"
    ends = f" ({form.format(min(values))} .. {form.format(max(values))})" if len(values) > 1 else ""
    return form.format(middle) + ends


def _by_value(members: Sequence[Result], values: Sequence[str]) -> str:
    """Return a value all members share, else every value with its members in brackets."""
    if len(set(values)) == 1:
        return values[0]
    labels = labels_of(members)
    groups = {
        value: [label for label, own in zip(labels, values, strict=True) if own == value] for value in dict.fromkeys(values)
    }
    return "; ".join(f"{value} ({', '.join(group)})" for value, group in groups.items())
