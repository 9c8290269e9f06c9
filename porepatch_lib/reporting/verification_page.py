"""The tables of patch verification as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from porepatch_lib.reporting.markdown import markdown_table, number, percent
from porepatch_lib.reporting.verification_figures import STRATA
from porepatch_lib.reporting.verification_results import Report, Result, SetResults
from porepatch_lib.verification.compare import Comparison, compare

_LABELS = {
    "truth": "labelled by the true surface",
    "given": "labelled by the authors of the pair list",
}
_MOST_SUBJECTS = 8  # named in a headline
MEANS = {  # what the table shows after FPR95: header -> column of `VERIFICATION`
    "AP %": "average_precision",
    "AUC %": "auc",
    "match P %": "matching_precision",
    "match R %": "matching_recall",
}
TASKS = {
    "AP same %": "hpatches_verification_same",
    "AP cross %": "hpatches_verification_cross",
    "mAP matching %": "hpatches_matching",
    "mAP retrieval %": "hpatches_retrieval",
}
_DEFINITIONS = {
    "FPR95 %": "fpr95",
    "HyNet's %": "fpr95_hynet",
    "HardNet's %": "fpr95_hardnet",
    "FDR95 %": "fdr95",
}


def verification_page(
    test_sets: Sequence[SetResults], reference: str, tolerances_px: Sequence[float], figures: Mapping[str, str]
) -> str:
    """Return the page: per test set its tables, best descriptor first, where PSIFT beats a network, the strata, the figures.

    Args:
        test_sets: may be none.
        reference: the descriptor that was asked for as the one to compare with.
        tolerances_px: of the matching scores, none without them.
        figures: name -> path relative to the page.
    """
    parts = ["# Patch verification\n", _legend(test_sets, tolerances_px)]
    for test_set in test_sets:
        parts += [
            f"## Test set {test_set.name}\n",
            headline(test_set) + "\n",
            _main_table(test_set, reference),
            hand_made_and_networks(test_set),
            _figure(figures, f"fpr95_{test_set.name}"),
            _figure(figures, f"roc_{test_set.name}"),
            "FPR95 by other definitions, and the false positive rate at other recalls:\n",
            _rates_table(test_set),
            *_strata(test_set, figures),
        ]
    return "\n".join(part for part in parts if part)


def headline(test_set: SetResults) -> str:
    """Return one sentence on the pairs, the subjects and the labels of a test set."""
    report = test_set.results[0].report
    subjects = report["subjects"]
    people = f"subjects {', '.join(subjects)}" if len(subjects) <= _MOST_SUBJECTS else f"{len(subjects)} subjects"
    return (
        f"{number(report['positives'])} matching and {number(report['negatives'])} non-matching pairs of "
        f"{number(report['patches'])} patches, {people}; {_labelled(report['labels'])}."
    )


def _labelled(labels: str) -> str:
    """Return who labelled the pairs, for `labels` "truth", "given" or "tracks of <descriptor>"."""
    return _LABELS.get(labels, f"labelled by the {labels} in round 0, which favour it and its like")


def label_of(report: Report) -> str:
    """Return the name of a descriptor, with its sigma where it describes bare patches."""
    if report["sigma_px"] is None:
        return str(report["descriptor"])
    tried = [one["sigma_px"] for one in report["sweep"]]
    swept = "best of sweep, " if len(tried) > 1 else ""
    end = ", its end" if len(tried) > 1 and report["sigma_px"] in (min(tried), max(tried)) else ""
    return f"{report['descriptor']} ({swept}sigma {report['sigma_px']:.3g} px{end})"


def known_columns(test_set: SetResults, columns: Mapping[str, str]) -> dict[str, str]:
    """Return those of `columns`, header -> column of `VERIFICATION`, that hold a number of at least one descriptor."""
    rows = [result.row for result in test_set.results]
    return {header: name for header, name in columns.items() if any(row.get(name) is not None for row in rows)}


def hand_made_and_networks(test_set: SetResults) -> str:
    """Return in sentences which hand-made descriptors, also at their best on bare patches, are better than a network.

    PSIFT comes first, and of it also the groups where it is.
    """
    hand_made = [r for r in test_set.results if not r.report["learned"] and r.name != "ncc"]
    networks = [r.report for r in test_set.results if r.report["learned"]]
    psift = [r.report for r in hand_made if r.name.startswith("psift")]
    others = [r.report for r in hand_made if not r.name.startswith("psift")]
    lines = [
        _who_wins(title, who, networks) for title, who in (("PSIFT", psift), ("SIFT or RootSIFT", others)) if who and networks
    ]
    unbeaten = [(one, network) for one in psift for network in networks if compare(one, network).verdict != "better"]
    groups = [line for one, network in unbeaten for line in _groups_won(one, network)]
    if groups:
        lines.append(
            f"PSIFT in groups of pairs, where it is not better over all, by intervals that do not meet: {'; '.join(groups)}."
        )
    seeing_all = [one for one in hand_made if one.report in psift and one.report["sees"] == "photograph"]
    ahead = [line for one in seeing_all for line in _ahead(one, test_set)]
    if ahead:
        lines.append(f"PSIFT from the photograph is ahead of a network, by numbers without an interval: {'; '.join(ahead)}.")
    return "".join(f"- {line}\n" for line in lines)


def _ahead(hand_made: Result, test_set: SetResults) -> Iterator[str]:
    """Yield where a descriptor has more than a network of the columns that have no interval."""
    for header, column in known_columns(
        test_set, {"match P %": "matching_precision", "match R %": "matching_recall"} | TASKS
    ).items():
        own = hand_made.row[column]
        for other in test_set.results:
            theirs = other.row[column]
            if other.report["learned"] and own is not None and theirs is not None and own > theirs:
                yield f"{header} {percent(own)} of {hand_made.name} against {percent(theirs)} of {other.name}"


def _who_wins(title: str, hand_made: Sequence[Report], networks: Sequence[Report]) -> str:
    found = [compare(one, network) for one in hand_made for network in networks]
    won = [_won(comparison) for comparison in found if comparison.verdict == "better"]
    undecided = [f"{comparison.first} and {comparison.second}" for comparison in found if comparison.verdict == "undecided"]
    line = f"{title} beats a network: {'; '.join(won)}." if won else f"{title} beats no network over all pairs."
    return f"{line} Undecided: {', '.join(undecided)}." if undecided else line


def _legend(test_sets: Sequence[SetResults], tolerances_px: Sequence[float]) -> str:
    confidence = f"{100 * test_sets[0].results[0].report['confidence']:g} %" if test_sets else "95 %"
    lines = [
        "FPR95: share of non-matching pairs accepted at the threshold that accepts 95 % of the matching ones; lower is better.",
        f"In brackets {confidence} bootstrap intervals, resampled by surface point. Differences are in points of FPR95, resample",
        "by resample; better or worse: their interval leaves out 0. AP: average precision. AUC: area under the ROC curve.",
        "Sees: a hand-made descriptor of the photograph has its real support, one of the patch what a network has. Best of",
        "sweep: sigma is the best of several on pairs of this very test set, in the descriptor's favour. mAP: tasks like those",
        "of HPatches, verification among non-matches of the same or of another subject, matching, and retrieval.",
        "Figures draw rates below 0.01 % at 0.01 %.",
    ]
    if tolerances_px:
        within = " or ".join(f"{tolerance:g}" for tolerance in tolerances_px)
        lines.append(
            f"Match P, R: precision and recall of mutual nearest neighbours between whole photographs, right within {within} px."
        )
    return "\n".join(lines) + "\n"


def _main_table(test_set: SetResults, reference: str) -> str:
    means = known_columns(test_set, MEANS | TASKS)
    cells: dict[str, Callable[[Result], str]] = {
        "descriptor": lambda result: label_of(result.report),
        "sees": lambda result: result.report["sees"],
        "dim.": lambda result: str(result.report["dimension"]),
        "FPR95 %": lambda result: _with_interval(result.row["fpr95"], result.row["fpr95_low"], result.row["fpr95_high"]),
    }
    if test_set.reference:
        cells[f"less that of {test_set.reference}"] = lambda result: _difference(result.against)
    rows = [
        [cell(result) for cell in cells.values()] + [percent(result.row.get(name)) for name in means.values()]
        for result in test_set.results
    ]
    table = markdown_table([*cells, *means], rows)
    if test_set.reference == reference:
        return table
    instead = f"compared with {test_set.reference}" if test_set.reference else "nothing to compare with"
    return f"{table}\nThe test set has no {reference}: {instead}.\n"


def _rates_table(test_set: SetResults) -> str:
    recalls = sorted({recall for result in test_set.results for recall in result.report["fpr"]} - {"95"}, key=int)
    rows = []
    for result in test_set.results:
        rates = [result.row.get(name) for name in _DEFINITIONS.values()]
        rates += [result.report["fpr"].get(recall) for recall in recalls]
        rows.append([result.name, *map(percent, rates)])
    return markdown_table(["descriptor", *_DEFINITIONS, *(f"FPR{recall} %" for recall in recalls)], rows)


def _strata(test_set: SetResults, figures: Mapping[str, str]) -> Iterator[str]:
    """Yield title, table and figure per kind of stratum: a row per descriptor, a column per group, first the number of pairs."""
    strata = [(result.name, stratum) for result in test_set.results for stratum in result.report["strata"]]
    for kind, title in STRATA.items():
        found = [(name, stratum) for name, stratum in strata if stratum["kind"] == kind]
        groups = {stratum["group"]: stratum for _, stratum in found}
        if not groups:
            continue
        counted, pairs = ("negatives", "non-matching pairs") if kind == "negatives" else ("positives", "matching pairs")
        rows = [[pairs, *(number(stratum[counted]) for stratum in groups.values())]]
        for result in test_set.results:
            own = {stratum["group"]: stratum for name, stratum in found if name == result.name}
            rows.append([result.name, *(_stratum(own.get(group)) for group in groups)])
        yield f"FPR95 % by {title}:\n"
        yield markdown_table(["descriptor", *(group.replace("_", " ") for group in groups)], rows)
        yield _figure(figures, f"strata_{kind}_{test_set.name}")


def _figure(figures: Mapping[str, str], name: str) -> str:
    return f"![{name}]({figures[name]})\n" if name in figures else ""


def _stratum(stratum: Mapping[str, Any] | None) -> str:
    if stratum is None:
        return "-"
    return _with_interval(stratum["fpr95"], stratum["fpr95_low"], stratum["fpr95_high"])


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({percent(low)} .. {percent(high)})"


def _difference(comparison: Comparison | None) -> str:
    if comparison is None:
        return "-"
    value, low, high = (f"{100 * rate:+.2f}" for rate in (comparison.difference, comparison.low, comparison.high))
    return f"{value} ({low} .. {high}) {comparison.verdict}"


def _won(comparison: Comparison) -> str:
    value, low, high = (percent(-rate) for rate in (comparison.difference, comparison.high, comparison.low))
    return f"{comparison.first} is better than {comparison.second} by {value} points of FPR95 ({low} .. {high})"


def _groups_won(report: Report, network: Report) -> Iterator[str]:
    """Yield the groups in which the whole interval of `report` lies below that of `network`."""
    theirs = {(stratum["kind"], stratum["group"]): stratum for stratum in network["strata"]}
    for own in report["strata"]:
        other = theirs.get((own["kind"], own["group"]))
        if other is not None and own["fpr95_high"] < other["fpr95_low"]:
            rates = f"{percent(own['fpr95'])} to {percent(other['fpr95'])} %"
            yield f"{report['descriptor']} against {network['descriptor']} at {own['kind']} {own['group']} ({rates})"
