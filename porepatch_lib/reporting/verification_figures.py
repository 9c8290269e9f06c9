"""Figures of patch verification: FPR95 with intervals, and FPR95 over what the pairs are divided by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from porepatch_lib.reporting.roc import plot_roc
from porepatch_lib.reporting.styles import (
    FAMILIES,
    LEAST_PERCENT,
    PATCH,
    PHOTOGRAPH,
    ROUND,
    LineStyle,
    family_of,
    line_styles,
    round_number,
    save_figures,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]

STRATA = {  # kind -> what its groups are
    "angle": "angle between the two viewing directions in degrees",
    "octaves": "difference in scale in octaves",
    "region": "part of the face",
    "negatives": "kind of non-matching pair",
}
_ORDERED = ("angle", "octaves")  # lines join their groups
_PANELS = {"networks": FAMILIES[2:], "hand-made, from the photograph": (PHOTOGRAPH,), "hand-made, on the bare patch": (PATCH,)}
_TICKS_PERCENT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_SPREAD = 0.56  # width over which the descriptors of a group stand side by side, groups being 1 apart


def write_verification_figures(reports: Sequence[Report], references: Mapping[str, str], folder: Path) -> list[str]:
    """Draw FPR95, ROC curves and every stratum of every test set into an existing folder, as PNG and SVG.

    Args:
        reports: of the verify stage.
        references: test set -> descriptor drawn in every panel of its strata.
        folder: existing folder to write into.

    Returns the names of the PNG files.
    """
    drawings: dict[str, Callable[[], Figure]] = {}
    for test_set in dict.fromkeys(report["test_set"] for report in reports):
        chosen = [report for report in reports if report["test_set"] == test_set]
        drawings |= drawings_of_test_set(chosen, test_set)
        for kind in _kinds(chosen):
            drawings[f"strata_{kind}_{test_set}"] = partial(plot_strata, chosen, kind, references.get(test_set), test_set)
    return save_figures(drawings, folder)


def drawings_of_test_set(reports: Sequence[Report], test_set: str) -> dict[str, Callable[[], Figure]]:
    """Return, by file name, how to draw FPR95 and the ROC curves of one test set."""
    return {
        f"fpr95_{test_set}": partial(plot_fpr95, in_order(reports), test_set),
        f"roc_{test_set}": partial(plot_roc, reports, _styles(reports), f"ROC, test set {test_set}"),
    }


def in_order(reports: Sequence[Report]) -> list[Report]:
    """Return hand-made descriptors, bare patches first, then other networks, each worst first; then networks round by round."""

    def key(report: Report) -> tuple[int, int, float, str]:
        family = _family(report)
        number = round_number(report["descriptor"]) if family == ROUND else None
        rate = 0.0 if family == ROUND else -report["fpr95"]
        return FAMILIES.index(family), number or 0, rate, report["descriptor"]

    return sorted(reports, key=key)


def plot_fpr95(reports: Sequence[Report], test_set: str) -> Figure:
    """Draw FPR95 with its interval, one row per descriptor in the given order, on a logarithmic axis."""
    figure, (axes,) = _panels(6.0, 1.1 + 0.28 * len(reports), 1)
    styles = _styles(reports)
    for row, report in enumerate(reports):
        style = styles[report["descriptor"]]
        value, low, high = _percent(report)
        axes.plot([low, high], [row, row], color=style.colour, linewidth=2)
        axes.plot(value, row, style.marker, color=style.colour, markersize=6)
        axes.annotate(f"{100 * report['fpr95']:.2f}", (high, row), xytext=(6, 0), textcoords="offset points", va="center")
        if row and _family(report) != _family(reports[row - 1]):
            axes.axhline(row - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_yticks(range(len(reports)), [report["descriptor"] for report in reports])
    axes.set_ylim(len(reports) - 0.5, -0.5)
    _logarithmic([axes], "x")
    axes.set_xlim(right=2.5 * axes.get_xlim()[1])  # room for the numbers
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"FPR95 in %, with {100 * reports[0]['confidence']:g} % interval")
    axes.set_title(f"Patch verification, test set {test_set}", loc="left")
    return figure


def plot_strata(reports: Sequence[Report], kind: str, reference: str | None, test_set: str) -> Figure:
    """Draw FPR95 with its interval over the groups of one kind: a panel of networks, two of hand-made descriptors.

    Groups are named with their number of pairs. The reference runs through the other panels as a thin line, for comparison.
    """
    ordered, styles = in_order(reports), _styles(reports)
    shown = {title: [r for r in ordered if _family(r) in families] for title, families in _PANELS.items()}
    shown = {title: members for title, members in shown.items() if members}
    groups = _groups(ordered, kind)
    figure, panels = _panels(0.8 + (1.2 + 0.42 * max(4, len(groups))) * len(shown), 4.4, len(shown))
    compared = next((report for report in ordered if report["descriptor"] == reference), None)
    for axes, (title, members) in zip(panels, shown.items(), strict=True):
        if compared is not None and compared not in members:
            x, values, _, _ = _line(compared, kind, groups, 0.0)
            axes.plot(x, values, color="black", linewidth=0.8, linestyle="-" if kind in _ORDERED else ":", label=reference)
        _draw_members(axes, members, styles, kind, groups)
        _name_groups(axes, groups)
        _legend(axes, title)
    _logarithmic(panels, "y")
    panels[0].set_ylabel(f"FPR95 in %, with {100 * reports[0]['confidence']:g} % interval")
    figure.supxlabel(f"{STRATA[kind]}; below, the number of {_counted(kind)} pairs", fontsize=9)
    figure.suptitle(f"FPR95 by {STRATA[kind]}, test set {test_set}", fontsize=10, x=0.01, ha="left")
    return figure


def _draw_members(
    axes: Axes, members: Sequence[Report], styles: Mapping[str, LineStyle], kind: str, groups: Mapping[str, int]
) -> None:
    """Draw descriptors side by side within each group, joined by lines where the groups have an order."""
    for number, report in enumerate(members):
        style = styles[report["descriptor"]]
        offset = _SPREAD * ((number + 0.5) / len(members) - 0.5)
        x, value, below, above = _line(report, kind, groups, offset)
        line = style.dashes if kind in _ORDERED else "none"
        axes.plot(x, value, color=style.colour, linestyle=line, linewidth=1.0)
        axes.errorbar(
            x,
            value,
            yerr=[below, above],
            fmt=style.marker,
            markersize=4,
            color=style.colour,
            elinewidth=1.0,
            label=report["descriptor"],
        )


def _name_groups(axes: Axes, groups: Mapping[str, int]) -> None:
    """Write every group with its number of pairs, upright where many long names would touch."""
    upright = len(groups) > 4 and max(map(len, groups)) > 6
    gap = " " if upright else "\n"
    axes.set_xticks(range(len(groups)), [f"{group.replace('_', gap)}\n{count:,}" for group, count in groups.items()])
    axes.tick_params(axis="x", labelrotation=90 if upright else 0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.grid(axis="x", visible=False)


def _legend(axes: Axes, title: str) -> None:
    """Put the legend above the axes, where it covers nothing."""
    axes.legend(
        title=title,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.02),
        ncols=2,
        fontsize=7.5,
        title_fontproperties={"size": 8.5, "weight": "bold"},
        alignment="left",
        columnspacing=1.2,
        borderaxespad=0.0,
    )


def _line(
    report: Report, kind: str, groups: Mapping[str, int], offset: float
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return x, FPR95 in percent, and how far its interval reaches below and above, of the groups the report has."""
    found = {stratum["group"]: stratum for stratum in report["strata"] if stratum["kind"] == kind}
    x, values, below, above = [], [], [], []
    for number, group in enumerate(groups):
        if group in found and found[group]["fpr95"] is not None:
            value, low, high = _percent(found[group])
            x.append(number + offset)
            values.append(value)
            below.append(value - low)
            above.append(high - value)
    return x, values, below, above


def _groups(reports: Sequence[Report], kind: str) -> dict[str, int]:
    """Return the groups of a kind in the order of the reports, with their number of pairs."""
    counted = "negatives" if kind == "negatives" else "positives"
    strata = [stratum for report in reports for stratum in report["strata"] if stratum["kind"] == kind]
    return {stratum["group"]: stratum[counted] for stratum in strata}


def _kinds(reports: Sequence[Report]) -> list[str]:
    found = {stratum["kind"] for report in reports for stratum in report["strata"]}
    return [kind for kind in STRATA if kind in found]


def _counted(kind: str) -> str:
    return "non-matching" if kind == "negatives" else "matching"


def _percent(numbers: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return FPR95 and the ends of its interval in percent, not below the least of a logarithmic axis."""
    value = max(LEAST_PERCENT, 100 * numbers["fpr95"])
    low, high = (numbers[key] for key in ("fpr95_low", "fpr95_high"))
    if low is None or high is None:
        return value, value, value
    return value, min(value, max(LEAST_PERCENT, 100 * low)), max(value, 100 * high)


def _family(report: Report) -> str:
    return family_of(report["descriptor"], report["learned"])


def _styles(reports: Sequence[Report]) -> dict[str, LineStyle]:
    names = [report["descriptor"] for report in reports]
    return line_styles(names, {report["descriptor"] for report in reports if report["learned"]})


def _logarithmic(panels: Sequence[Axes], which: Literal["x", "y"]) -> None:
    """Make an axis that the panels share logarithmic, as far as their data reach, labelled 0.5, 1, 2, 5, 10."""
    from matplotlib.ticker import NullLocator

    intervals = [getattr(axes.dataLim, f"interval{which}") for axes in panels]
    axes = panels[0]
    axes.set(
        **{
            f"{which}scale": "log",
            f"{which}lim": (min(low for low, _ in intervals) / 1.2, max(high for _, high in intervals) * 1.2),
        }
    )
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_minor_locator(NullLocator())
    low, high = axis.get_view_interval()
    axis.set_ticks([tick for tick in _TICKS_PERCENT if low <= tick <= high])
    axis.set_major_formatter("{x:g}")


def _panels(width: float, height: float, count: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]
