"""Figures of reconstruction: how many points, how accurate, and how far off the cameras are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porepatch_lib.reconstruction.columns import COLUMNS, TOLERANCES_MM, Column
from porepatch_lib.reporting.reconstruction_results import Result, by_subject, known_columns, labels_of
from porepatch_lib.reporting.styles import LineStyle, line_styles, save_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BY_NAME = {column.name: column for column in COLUMNS}
_BARS = ("registered", "sparse_points", "dense_points")
_CAMERAS = {"position_error_mm": "largest_position_error_mm", "rotation_error_deg": None}  # median -> largest
_MEASURES = ("accuracy", "completeness", "f")
_FILLS = ("full", "none", "left", "top", "right", "bottom")  # of markers, one per variant
_ROW = 0.24  # inches per row of a figure


def write_reconstruction_figures(results: Sequence[Result], folder: Path) -> list[str]:
    """Draw per subject what there is data for into an existing folder, as PNG and SVG; return the names of the PNG files."""
    drawings: dict[str, Callable[[], Figure]] = {}
    styles = _styles(results)
    for subject, members in by_subject(results).items():
        drawings[f"points_{subject}"] = partial(_plot_points, members, styles, subject)
        if _having(members, "sparse_points", "sparse_accuracy_0.25mm"):
            drawings[f"accuracy_{subject}"] = partial(_plot_accuracy, members, styles, subject)
        if _clouds(members):
            drawings[f"tolerance_{subject}"] = partial(_plot_tolerance, members, styles, subject)
        if any(_having(members, name) for name in _CAMERAS):
            drawings[f"cameras_{subject}"] = partial(_plot_cameras, members, styles, subject)
    return save_figures(drawings, folder)


def _plot_points(results: Sequence[Result], styles: Mapping[str, LineStyle], title: str) -> Figure:
    """Draw bars of registered views, sparse points and dense points, as far as known, a row per result; failed ones say so."""
    columns = known_columns(results, [_BY_NAME[name] for name in _BARS])
    figure, (panels,) = _grid(1.6 + 2.3 * len(columns), 0.9 + _ROW * len(results), 1, len(columns), sharey=True)
    for axes, column in zip(panels, columns, strict=True):
        for row, result in enumerate(results):
            _draw_bar(axes, row, result, column, styles[result.descriptor])
        axes.set_xlabel(column.title)
        axes.margins(x=0.14)
        axes.locator_params(axis="x", nbins=4, integer=True)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y", visible=False)
    _name_rows(panels[0], results)
    figure.suptitle(f"What is reconstructed, {title}", fontsize=10, x=0.01, ha="left")
    return figure


def _plot_accuracy(results: Sequence[Result], styles: Mapping[str, LineStyle], title: str) -> Figure:
    """Draw the share of sparse points within 0.25 mm of the true surface over their number, with the spread over the seeds."""
    figure, ((axes,),) = _grid(5.6, 3.6, 1, 1)
    x, y = _BY_NAME["sparse_points"], _BY_NAME["sparse_accuracy_0.25mm"]
    fills = _fills(results)
    for label, result in _labelled(results, x.name, y.name):
        (at, *reach_x), (height, *reach_y) = _with_reach(result, x), _with_reach(result, y)
        axes.errorbar(
            at,
            height,
            xerr=[[reach] for reach in reach_x],
            yerr=[[reach] for reach in reach_y],
            **_marked(styles[result.descriptor], fills[result.variant]),
            markersize=7,
            elinewidth=1.0,
            linestyle="none",
            label=label,
        )
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("sparse points")
    axes.set_ylabel("within 0.25 mm of the true surface in %")
    axes.set_title(f"Points and their accuracy, {title}", loc="left")
    _legend_beside(figure, [axes])
    return figure


def _plot_tolerance(results: Sequence[Result], styles: Mapping[str, LineStyle], title: str) -> Figure:
    """Draw accuracy, completeness and F over the tolerance, sparse points above dense ones, as far as known."""
    clouds, fills = _clouds(results), _fills(results)
    figure, panels = _grid(9.2, 0.6 + 2.5 * len(clouds), len(clouds), len(_MEASURES))
    for line, cloud in zip(panels, clouds, strict=True):
        for axes, measure in zip(line, _MEASURES, strict=True):
            columns = [_BY_NAME[f"{cloud}_{measure}_{tolerance:g}mm"] for tolerance in TOLERANCES_MM]
            for label, result in _labelled(results, *(column.name for column in columns)):
                style = styles[result.descriptor]
                values, below, above = zip(*(_with_reach(result, column) for column in columns), strict=True)
                axes.plot(
                    TOLERANCES_MM,
                    values,
                    **_marked(style, fills[result.variant]),
                    markersize=4.5,
                    linestyle=style.dashes,
                    linewidth=1.1,
                    label=label,
                )
                axes.errorbar(TOLERANCES_MM, values, yerr=[below, above], fmt="none", ecolor=style.colour, elinewidth=0.9)
            axes.set_xticks(TOLERANCES_MM, [f"{tolerance:g}" for tolerance in TOLERANCES_MM])
            axes.set_xlim(0, TOLERANCES_MM[-1] + TOLERANCES_MM[0] / 2)
            axes.set_ylim(bottom=0)
            axes.set_title(f"{cloud}: {measure if measure != 'f' else 'F'}", fontsize=9)
        line[0].set_ylabel("%")
    for axes in panels[-1]:
        axes.set_xlabel("tolerance in mm")
    figure.suptitle(f"Points against the true surface, {title}", fontsize=10, x=0.01, ha="left")
    _legend_beside(figure, [axes for line in panels for axes in line])
    return figure


def _plot_cameras(results: Sequence[Result], styles: Mapping[str, LineStyle], title: str) -> Figure:
    """Draw the median errors of the cameras with their spread, the largest one as a small open mark, a row per result."""
    columns = known_columns(results, [_BY_NAME[name] for name in _CAMERAS])
    figure, (panels,) = _grid(1.8 + 2.9 * len(columns), 1.15 + _ROW * len(results), 1, len(columns), sharey=True)
    for axes, column in zip(panels, columns, strict=True):
        largest = _CAMERAS[column.name]
        for row, result in enumerate(results):
            style = styles[result.descriptor]
            if largest is not None and largest in result.numbers:
                value = result.numbers[largest].median
                axes.plot(value, row, style.marker, color=style.colour, fillstyle="none", markersize=4.5, alpha=0.8)
            if column.name in result.numbers:
                number = result.numbers[column.name]
                axes.plot([number.lowest, number.highest], [row, row], color=style.colour, linewidth=2)
                axes.plot(number.median, row, style.marker, color=style.colour, markersize=6)
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(column.title.replace(" error ", " error in ") + (" (open: the largest)" if largest else ""))
    _name_rows(panels[0], results)
    figure.suptitle(f"Cameras against their true poses, {title}", fontsize=10, x=0.01, ha="left")
    return figure


def _draw_bar(axes: Axes, row: int, result: Result, column: Column, style: LineStyle) -> None:
    number = result.numbers.get(column.name)
    if result.failed or number is None:
        axes.annotate(
            "failed" if result.failed else "-", (0, row), xytext=(4, 0), textcoords="offset points", va="center", color="#777777"
        )
        return
    axes.barh(row, number.median, height=0.7, color=style.colour)
    axes.plot([number.lowest, number.highest], [row, row], color="black", linewidth=1.0)
    axes.annotate(
        f"{number.median:,.0f}", (number.highest, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5
    )


def _name_rows(axes: Axes, results: Sequence[Result]) -> None:
    axes.set_yticks(range(len(results)), labels_of(results))
    axes.set_ylim(len(results) - 0.5, -0.5)


def _legend_beside(figure: Figure, panels: Iterable[Axes]) -> None:
    """Put one legend of all panels to the right of them."""
    handles = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=7.5)


def _with_reach(result: Result, column: Column) -> tuple[float, float, float]:
    """Return a number as shown, and how far the seeds go below and above."""
    number = result.numbers[column.name]
    median, lowest, highest = (column.scale * value for value in (number.median, number.lowest, number.highest))
    return median, median - lowest, highest - median


def _labelled(results: Sequence[Result], *names: str) -> list[tuple[str, Result]]:
    """Return with their labels the results that have all named columns."""
    having = _having(results, *names)
    return [(label, one) for label, one in zip(labels_of(results), results, strict=True) if one in having]


def _having(results: Sequence[Result], *names: str) -> list[Result]:
    return [one for one in results if not one.failed and all(name in one.numbers for name in names)]


def _clouds(results: Sequence[Result]) -> list[str]:
    return [cloud for cloud in ("sparse", "dense") if _having(results, f"{cloud}_f_{TOLERANCES_MM[0]:g}mm")]


def _styles(results: Sequence[Result]) -> dict[str, LineStyle]:
    return line_styles({one.descriptor for one in results}, {one.descriptor for one in results if one.metrics["learned"]})


def _fills(results: Sequence[Result]) -> dict[str, Any]:
    variants = dict.fromkeys(one.variant for one in results)
    return {variant: _FILLS[place % len(_FILLS)] for place, variant in enumerate(variants)}


def _marked(style: LineStyle, fill: Any) -> dict[str, Any]:
    return {"color": style.colour, "marker": style.marker, "fillstyle": fill}


def _grid(width: float, height: float, rows: int, columns: int, sharey: bool = False) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=sharey, squeeze=False)
