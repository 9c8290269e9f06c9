"""The table of patch verification from reports written by hand, its LaTeX, its comparisons and its figures."""

from __future__ import annotations

import csv

import matplotlib
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.reporting.latex import escape, latex_table
from porepatch_lib.reporting.roc import plot_roc
from porepatch_lib.reporting.styles import RC, family_of, line_styles
from porepatch_lib.reporting.verification import write_verification_table
from porepatch_lib.reporting.verification_figures import in_order, plot_fpr95, plot_strata
from porepatch_lib.reporting.verification_latex import verification_latex
from porepatch_lib.reporting.verification_page import hand_made_and_networks, label_of, verification_page
from porepatch_lib.reporting.verification_results import VERIFICATION, gather
from porepatch_lib.verification.compare import COMPARISONS

NOISE = np.random.default_rng(0).normal(0.0, 1.0, 50)


def report(descriptor: str, fpr95: float, spread: float = 0.002, test_set: str = "rendered", **changes):
    """A report whose replicates scatter by `spread` around FPR95, all descriptors alike."""
    learned = descriptor.startswith(("round", "tfeat"))
    bare = descriptor.endswith("-bare")
    replicates = np.maximum(fpr95 + spread * NOISE, 0.0)
    low, high = float(replicates.min()), float(replicates.max())
    groups = [
        ("angle", "0-10"),
        ("angle", "60-90"),
        ("negatives", "same_subject"),
        ("negatives", "hard"),
    ]
    rates = {"fpr95": fpr95, "fpr95_low": low, "fpr95_high": high}
    recall = np.linspace(0, 1, 21)
    return {
        "descriptor": descriptor,
        "test_set": test_set,
        "labels": "truth",
        "sees": "patch" if learned or bare or descriptor == "ncc" else "photograph",
        "learned": learned,
        "dimension": 128,
        "sigma_px": 3.5 if bare else None,
        "sweep": [{"sigma_px": sigma, "fpr95": fpr95} for sigma in (2.0, 3.5, 5.0)] if bare else [],
        "patches": 8000,
        "subjects": ["s07", "s08"],
        "seed": 1,
        "confidence": 0.95,
        "positives": 5000,
        "negatives": 4000,
        "average_precision": 1 - fpr95 / 2,
        "average_precision_low": 1 - high / 2,
        "average_precision_high": 1 - low / 2,
        "auc": 1 - fpr95 / 4,
        "auc_low": 1 - fpr95 / 3,
        "auc_high": 1 - fpr95 / 5,
        "fpr": {"80": fpr95 / 4, "90": fpr95 / 2, "95": fpr95, "99": 2 * fpr95},
        "variants": {"fpr95_hynet": None, "fpr95_hardnet": fpr95, "fdr95": fpr95 / (0.95 + fpr95)},
        "roc": {"false_positive_rate": (recall ** (np.log(fpr95 + 1e-6) / np.log(0.95))).tolist(), "recall": recall.tolist()},
        "bootstrap": {"fpr95": replicates.tolist(), "average_precision": (1 - replicates / 2).tolist()},
        "strata": [{"kind": kind, "group": group, "positives": 700, "negatives": 300} | rates for kind, group in groups],
        "hpatches": {
            "verification": {"same_subject": 0.875, "cross_subject": 0.9},
            "matching": None,
            "retrieval": 1 - fpr95,
        },
    } | rates | changes  # fmt: skip


def matching(descriptor: str, subject: str, view_pairs: int, precision: float | None):
    numbers = {"precision": precision, "recall": 0.25, "matching_score": 0.125, "view_pairs": view_pairs}
    return {"descriptor": descriptor, "subject": subject, "tolerance_px": 3.0} | numbers


REPORTS = [
    report("psift", 0.2),
    report("rootsift", 0.04),
    report("psift-bare", 0.3),
    report("tfeat", 0.25),
    report("round0-hynet", 0.02, spread=0.001),
]
SCORES = [matching("rootsift", "s07", 30, 0.9), matching("rootsift", "s08", 10, 0.5), matching("psift", "s07", 5, None)]


def cells_of(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]


def write(folder, reports, scores=(), reference="rootsift"):
    """Write reports and the table; return the arguments of its outputs."""
    paths, matched = [], []
    for number, one in enumerate(reports):
        paths.append(folder / "reports" / f"{number}.json")
        write_json(paths[-1], one)
    for number, one in enumerate(scores):
        matched.append(folder / "matching" / f"{number}.json")
        write_json(matched[-1], one)
    names = {
        "table_csv": "t.csv",
        "table_markdown": "t.md",
        "table_latex": "t.tex",
        "comparisons_csv": "c.csv",
        "figures": "figures",
    }
    outputs = {argument: folder / "out" / name for argument, name in names.items()}
    write_verification_table(paths, matched, **outputs, reference=reference)
    return outputs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The outputs of five descriptors on one test set, two of them matched on whole photographs."""
    return write(tmp_path_factory.mktemp("written"), REPORTS, SCORES)


def test_csv_has_the_declared_columns_and_empty_cells_for_the_unknown(written):
    with written["table_csv"].open() as stream:
        rows = {row["descriptor"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["round0-hynet", "rootsift", "psift", "tfeat", "psift-bare"]  # best first
    assert list(rows["psift"]) == VERIFICATION.schema.names
    assert rows["psift"]["fpr95_hynet"] == rows["psift"]["sigma_px"] == rows["psift"]["hpatches_matching"] == ""
    assert rows["psift"]["matching_precision"] == ""
    assert (rows["psift"]["matching_recall"], rows["psift-bare"]["matching_recall"]) == ("0.25", "")
    assert float(rows["rootsift"]["matching_precision"]) == pytest.approx((30 * 0.9 + 10 * 0.5) / 40)
    assert (rows["psift-bare"]["sigma_px"], rows["psift-bare"]["sees"], rows["tfeat"]["learned"]) == ("3.5", "patch", "True")
    assert (rows["psift"]["fpr80"], rows["psift"]["hpatches_verification_same"]) == ("0.05", "0.875")


def test_page_tells_pairs_intervals_verdicts_and_sweeps(written):
    page = written["table_markdown"].read_text()
    assert (
        "5,000 matching and 4,000 non-matching pairs of 8,000 patches, subjects s07, s08; labelled by the true surface." in page
    )
    rows = cells_of(page)
    assert rows[0] == [
        "descriptor", "sees", "dim.", "FPR95 %", "less that of rootsift", "AP %", "AUC %", "match P %", "match R %",
        "AP same %", "AP cross %", "mAP retrieval %",
    ]  # fmt: skip
    by_name = {row[0]: row for row in rows[2:7]}
    assert next(iter(by_name)) == "round0-hynet"
    low, high = 100 * (0.2 + 0.002 * NOISE.min()), 100 * (0.2 + 0.002 * NOISE.max())
    assert by_name["psift"][3] == f"20.00 ({low:.2f} .. {high:.2f})"
    assert by_name["psift"][4] == "+16.00 (+16.00 .. +16.00) worse"  # replicates differ by the same in every resample
    assert by_name["round0-hynet"][4].startswith("-2.00 (-") and by_name["round0-hynet"][4].endswith(") better")
    assert by_name["rootsift"][4:9] == ["-", "98.00", "99.00", "80.00", "25.00"]
    assert by_name["psift-bare (best of sweep, sigma 3.5 px)"][1] == "patch"
    assert ["psift", "20.00", "-", "20.00", "17.39", "5.00", "10.00", "40.00"] in rows
    assert "right within 3 px" in page


def test_page_has_strata_and_links_that_lead_to_figures(written):
    page = written["table_markdown"].read_text()
    assert "FPR95 % by kind of non-matching pair:\n\n| descriptor         | " in page
    rows = cells_of(page)
    assert ["descriptor", "same subject", "hard"] in rows
    assert ["non-matching pairs", "300", "300"] in rows
    assert ["matching pairs", "700", "700"] in rows
    names = {line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")}
    drawn = {f"figures/{path.name}" for path in written["figures"].glob("*.png")}
    assert names == drawn
    strata = [f"strata_{kind}" for kind in ("angle", "negatives")]
    assert drawn == {f"figures/{name}_rendered.png" for name in ("fpr95", "roc", *strata)}
    assert len(list(written["figures"].glob("*.svg"))) == len(drawn)


def test_comparisons_are_of_every_two_descriptors(written):
    table = pd.read_csv(written["comparisons_csv"])
    assert list(table.columns) == COMPARISONS.schema.names
    assert len(table) == 10
    row = table[(table["descriptor"] == "psift") & (table["other"] == "tfeat")].iloc[0]
    assert row["difference"] == pytest.approx(-0.05)
    assert row["verdict"] == "better"


def test_outputs_are_reproducible(written, tmp_path):
    again = write(tmp_path, REPORTS, SCORES)
    for argument in ("table_csv", "table_markdown", "table_latex", "comparisons_csv"):
        assert again[argument].read_bytes() == written[argument].read_bytes()
    drawn = sorted(path.name for path in again["figures"].iterdir())
    assert len(drawn) == 8
    for name in drawn:
        content = (again["figures"] / name).read_bytes()
        assert len(content) > 5000
        assert content == (written["figures"] / name).read_bytes()


def test_psift_is_said_to_beat_a_network_where_it_does():
    (test_set,) = gather(REPORTS, [], "rootsift")
    text = hand_made_and_networks(test_set)
    assert "- PSIFT beats a network: psift is better than tfeat by 5.00 points of FPR95 (5.00 .. 5.00).\n" in text
    assert "rootsift is better than tfeat by 21.00 points" in text
    assert "psift-bare" not in text  # it does not see the photograph
    assert "in groups" not in text  # better over all
    even = report("tfeat", 0.2, strata=report("tfeat", 0.25)["strata"])
    (test_set,) = gather([report("psift", 0.2), even], [], "rootsift")
    assert "psift against tfeat at angle 60-90 (20.00 to 25.00 %)" in hand_made_and_networks(test_set)


def test_psift_that_beats_none_and_the_undecided_are_named():
    unsure = report("round0-hynet", 0.2001, bootstrap={"fpr95": np.linspace(0.1, 0.3, 50).tolist(), "average_precision": []})
    (test_set,) = gather([report("psift", 0.2), unsure], [], "rootsift")
    assert hand_made_and_networks(test_set) == (
        "- PSIFT beats no network over all pairs. Undecided: psift and round0-hynet.\n"
        "- PSIFT from the photograph is ahead of a network, by numbers without an interval: "
        "mAP retrieval % 80.00 of psift against 79.99 of round0-hynet.\n"
    )
    (alone,) = gather([report("psift", 0.2)], [], "rootsift")
    assert hand_made_and_networks(alone) == ""


def test_tracks_are_said_to_favour_their_descriptor():
    sets = gather([report("psift", 0.2, labels="tracks of psift")], [], "psift")
    assert "labelled by the tracks of psift in round 0, which favour it" in verification_page(sets, "psift", [], {})
    assert "which favour it" in verification_latex(sets)


@pytest.mark.parametrize(
    ("names", "reference", "sentence"),
    [
        (["rootsift-bare", "tfeat"], "rootsift-bare", "The test set has no rootsift: compared with rootsift-bare."),
        (["psift", "tfeat"], None, "The test set has no rootsift: nothing to compare with."),
    ],
)
def test_a_set_without_the_reference(names, reference, sentence):
    (test_set,) = gather([report(name, 0.1 * (n + 1)) for n, name in enumerate(names)], [], "rootsift")
    assert test_set.reference == reference
    page = verification_page([test_set], "rootsift", [], {})
    assert sentence in page
    assert ("less that of" in page) == (reference is not None)
    assert ("less " in verification_latex([test_set])) == (reference is not None)


def test_other_recalls_of_the_configuration_are_shown():
    sets = gather([report("psift", 0.2, fpr={"95": 0.2, "97": 0.4, "50": 0.01})], [], "psift")
    assert ["psift", "20.00", "-", "20.00", "17.39", "1.00", "40.00"] in cells_of(verification_page(sets, "psift", [], {}))
    assert sets[0].results[0].row["fpr80"] is None


def test_no_reports_give_an_empty_table(tmp_path):
    outputs = write(tmp_path, [])
    assert outputs["table_csv"].read_text().strip().split(",") == VERIFICATION.schema.names
    assert not list(outputs["figures"].iterdir())


def test_report_of_another_version_is_one_sentence(tmp_path):
    old = report("psift", 0.2)
    del old["strata"]
    with pytest.raises(PorePatchError, match=r"0.json has no 'strata': another version wrote it; delete it"):
        write(tmp_path, [old])
    with pytest.raises(PorePatchError, match=r"verification table .* column of the wrong type"):
        write(tmp_path, [report("psift", 0.2, dimension="many")])
    assert not (tmp_path / "out").exists()


def test_latex_escapes_what_latex_reads():
    assert escape(r"a_b & 5 % of $x {y} #1 \z ~ ^ < > |") == (
        r"a\_b \& 5 \% of \$x \{y\} \#1 \textbackslash{}z \textasciitilde{} \textasciicircum{} "
        r"\textless{} \textgreater{} \textbar{}"
    )
    assert escape("-1.25 [-2, -1] 10-20 round-1 x-2.5") == "$-$1.25 [$-$2, $-$1] 10-20 round-1 x-2.5"
    assert escape("two\nlines") == "two lines"


def test_latex_table_golden():
    table = latex_table(["a_b", "n"], [["x", "1"], ["[y]", "2"]], "5 % of it", "tab:a_b 1", rules={1}, bold={(1, 1)})
    assert table == (
        "\\begin{table*}[t]\n\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}\n\\caption{5 \\% of it}\n"
        "\\label{tab:a-b-1}\n\\begin{tabular}{@{}lr@{}}\n\\toprule\na\\_b & n \\\\\n\\midrule\nx & 1 \\\\\n\\midrule\n"
        "{}[y] & \\textbf{2} \\\\\n\\bottomrule\n\\end{tabular}\n\\end{table*}\n"
    )


def test_latex_divides_hand_made_from_networks_and_marks_the_best(written):
    text = written["table_latex"].read_text()
    main, tasks = text.split("\\end{table*}\n")[:2]
    body = main.split("\\midrule\n")
    assert len(body) == 3  # headers, hand-made, networks
    assert [line.split(" &")[0] for line in body[1].splitlines()] == [
        "rootsift", "psift", "psift-bare (best of sweep, sigma 3.5 px)",
    ]  # fmt: skip
    assert body[2].startswith("round0-hynet & patch & 128 & \\textbf{2.00} & [")
    assert "\\textbf{80.00}" in body[1]  # the best matching precision is a hand-made descriptor's
    assert "tfeat & 87.50" not in tasks  # equal numbers are all bold
    assert tasks.count("\\textbf{87.50}") == 5
    for part in (main, tasks):
        columns = part.split("{@{}")[1].split("@{}}")[0]
        assert {line.count(" & ") for line in part.splitlines() if line.endswith(r"\\")} == {len(columns) - 1}
        assert part.count("{") - part.count("\\{") == part.count("}") - part.count("\\}")


def test_families_and_styles():
    names = {"psift": False, "psift-bare": False, "ncc": False, "hardtfeat": True, "imported-hynet": True, "round2-hynet": True}
    found = [family_of(name, learned) for name, learned in names.items()]
    assert found == ["photograph", "patch", "patch", "transferred", "imported", "round"]
    learned = {name for name, is_learned in names.items() if is_learned}
    styles = line_styles([*names, "round10-hynet"], learned | {"round10-hynet"})
    assert styles == line_styles(reversed([*names, "round10-hynet"]), learned | {"round10-hynet"})
    assert styles["psift"].dashes == styles["psift-bare"].dashes != "-"
    assert styles["psift"].colour < styles["psift-bare"].colour < styles["ncc"].colour  # darker to lighter grey
    assert styles["round2-hynet"].dashes == "-"
    assert len({style.colour for name, style in styles.items() if name in learned | {"round10-hynet"}}) == 4
    assert styles["round2-hynet"].colour == line_styles(["round2-a", "round10-a"], {"round2-a", "round10-a"})["round2-a"].colour


def test_order_of_rows_goes_from_bare_patches_to_rounds():
    names = ["round1-a", "tfeat", "ncc", "psift", "round0-a", "psift-bare"]
    reports = [report(name, 0.1 + n / 100) for n, name in enumerate(names)]
    assert [r["descriptor"] for r in in_order(reports)] == ["psift-bare", "ncc", "psift", "tfeat", "round0-a", "round1-a"]


def test_panels_of_strata_share_one_axis_and_hold_all_intervals():
    reports = [report("round0-hynet", 0.0), *REPORTS[:4]]
    reports[1]["strata"][0] = reports[1]["strata"][0] | {"fpr95": None, "fpr95_low": None, "fpr95_high": None}
    with matplotlib.rc_context(RC):
        figure = plot_strata(reports, "angle", "rootsift", "rendered")
    limits = {axes.get_ylim() for axes in figure.axes}
    assert len(limits) == 1
    low, high = limits.pop()
    assert 0.001 < low < 0.01 and 30 < high <= 50  # zero is drawn at 0.01 %
    titles = [axes.get_legend().get_title().get_text() for axes in figure.axes]
    assert titles == ["networks", "hand-made, from the photograph", "hand-made, on the bare patch"]
    assert ["rootsift" in axes.get_legend_handles_labels()[1] for axes in figure.axes] == [True, True, True]


def test_legends_cover_no_data():
    styles = line_styles([r["descriptor"] for r in REPORTS], {"tfeat", "round0-hynet"})
    with matplotlib.rc_context(RC):
        roc = plot_roc(REPORTS, styles, "ROC")
        strata = plot_strata(REPORTS, "angle", "rootsift", "rendered")
        for figure in (roc, strata):
            figure.draw_without_rendering()
            for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
                for axes in figure.axes:
                    assert legend is None or not legend.get_window_extent().overlaps(axes.get_window_extent())
    names = [text.get_text() for text in roc.legends[0].get_texts()]
    assert names[0] == "round0-hynet (2.00 %)" and names[-1] == "psift-bare (30.00 %)"


def test_roc_goes_through_fpr95():
    """The curve of a report crosses 95 % recall, 5 % missed, at its FPR95."""
    with matplotlib.rc_context(RC):
        figure = plot_roc(REPORTS[:1], line_styles(["psift"], set()), "ROC")
        rows = plot_fpr95(REPORTS[:1], "rendered")
    x, missed = figure.axes[0].lines[0].get_data()
    assert x[np.isclose(missed, 5.0)] == pytest.approx([100 * (0.2 + 1e-6)])
    assert figure.axes[0].get_ylim() == pytest.approx((100, 0.1))
    assert rows.axes[0].lines[1].get_xdata() == [pytest.approx(20.0)]


def test_the_end_of_a_sweep_is_told():
    """The best sigma might lie beyond it."""
    assert label_of(report("sift-bare", 0.1)) == "sift-bare (best of sweep, sigma 3.5 px)"
    assert label_of(report("sift-bare", 0.1, sigma_px=5.0)) == "sift-bare (best of sweep, sigma 5 px, its end)"
    assert label_of(report("sift-bare", 0.1, sweep=[])) == "sift-bare (sigma 3.5 px)"
    assert label_of(report("sift", 0.1)) == "sift"
