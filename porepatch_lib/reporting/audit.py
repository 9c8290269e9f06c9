"""The audit of labels against truth, as a section of the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from porepatch_lib.reporting.markdown import markdown_table, number, percent

Report = dict[str, Any]

_HEADERS = ["matches", "wrong mm %", "wrong px %", "median mm", "95 % mm", "non-matches", "one place mm %", "one place px %"]


def audit_section(audits: Sequence[Report]) -> str:
    """Return a table by round and split, and one by angle and region of the last round's training set (or its only one)."""
    if not audits:
        return ""
    ordered = sorted(audits, key=lambda audit: (audit["round"], audit["split"]))
    rows = [[str(audit["round"]), audit["split"], *_cells(audit["all"])] for audit in ordered]
    last = [audit for audit in ordered if audit["round"] == ordered[-1]["round"]]
    shown = next((audit for audit in last if audit["split"] == "train"), last[0])
    groups = [[f"{name} deg", *_cells(group)] for name, group in shown["angle"].items()]
    groups += [[name, *_cells(group)] for name, group in shown["region"].items()]
    mm, px = (f"{shown[name]:g}" for name in ("tolerance_mm", "tolerance_px"))
    text = (
        "## Audit against truth\n\n"
        f"Wrong: matching pairs of rendered subjects whose places on the true skin are more than {mm} mm apart, or of which\n"
        f"the first appears more than {px} px from the second in its photograph. One place: non-matching pairs that are not.\n\n"
    )
    text += markdown_table(["round", "split", *_HEADERS], rows)
    text += f"\nRound {shown['round']}, {shown['split']}, by the angle between the two views and by region of the face:\n\n"
    return text + markdown_table(["group", *_HEADERS], groups)


def _cells(group: Mapping[str, Any]) -> list[str]:
    return [
        number(_of(group, "matches", "pairs", 0)),
        percent(_of(group, "matches", "wrong_mm")),
        percent(_of(group, "matches", "wrong_px")),
        number(_of(group, "matches", "median_mm"), 3),
        number(_of(group, "matches", "p95_mm"), 3),
        number(_of(group, "non_matches", "pairs", 0)),
        percent(_of(group, "non_matches", "wrong_mm")),
        percent(_of(group, "non_matches", "wrong_px")),
    ]


def _of(group: Mapping[str, Any], label: str, name: str, missing: Any = None) -> Any:
    """Return a number of the pairs of one label, `missing` where the group has no such pairs."""
    return group[label][name] if label in group else missing
