"""The table of reconstruction from metrics written by hand: CSV, page, LaTeX, ratios and figures."""

from __future__ import annotations

import csv
import re

import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json
from porepatch_lib.reconstruction.columns import CAMERAS, COLUMNS, DENSE, ETH, SPARSE
from porepatch_lib.reporting.reconstruction import write_reconstruction_table
from porepatch_lib.reporting.reconstruction_figures import write_reconstruction_figures
from porepatch_lib.reporting.reconstruction_latex import reconstruction_latex
from porepatch_lib.reporting.reconstruction_page import headline, reconstruction_page, with_spread
from porepatch_lib.reporting.reconstruction_ratios import ratios
from porepatch_lib.reporting.reconstruction_results import RECONSTRUCTIONS, best_rows, read_results

BY_NAME = {column.name: column for column in COLUMNS}
TRUTH = [column.name for column in (*CAMERAS, *SPARSE, *DENSE)]


def numbers(points: float, accuracy: float | None, spread: float = 0.0) -> dict[str, float | tuple[float, ...] | None]:
    """A whole row: the sparse points go down and up by `spread` and twice that; without `accuracy` no truth is known."""
    row = {
        "images": 8,
        "registered": 8,
        "sparse_points": (points, points - spread, points + 2 * spread),
        "observations": 4 * points,
    }
    row |= {"track_length": 4.0, "observations_per_image": points / 2, "reprojection_error_px": 0.45, "dense_points": None}
    row |= {"inlier_pairs": 28, "inlier_matches": 9 * points}
    if accuracy is None:
        return row | dict.fromkeys(TRUTH)
    for name in TRUTH:
        share = 0.4 if name.endswith("_0.1mm") else 0.9 if name.endswith("_0.5mm") else accuracy
        row[name] = None if name in {column.name for column in DENSE} else share
    return row


def metrics(subject: str, descriptor: str, row: dict, **changes):
    """What the evaluation writes, over three seeds."""
    stored = {}
    for name, value in row.items():
        median, lowest, highest = value if isinstance(value, tuple) else (value, value, value)
        number = {"median": median, "lowest": lowest, "highest": highest, "values": [median, lowest, highest]}
        stored[name] = None if value is None else number
    return {
        "subject": subject,
        "descriptor": descriptor,
        "variant": "mutual",
        "features": "project",
        "learned": descriptor.startswith(("hynet", "round")),
        "dimension": 128,
        "status": "ok",
        "reason": "",
        "seeds": [0, 1, 2],
        "dense_method": "",
        "truth": "surface" if row["sparse_accuracy_0.25mm"] is not None else "",
        "row": stored,
    } | changes  # fmt: skip


def failed(subject: str, descriptor: str, reason: str):
    row = {column.name: 0 for column in ETH} | {"images": 8} | dict.fromkeys(TRUTH)
    return metrics(subject, descriptor, row, status="failed", reason=reason)


def read(folder, every):
    paths = [folder / f"{number}.json" for number in range(len(every))]
    for path, one in zip(paths, every, strict=True):
        write_json(path, one)
    return read_results(paths)


def write(folder, every, reference="psift"):
    """Write metrics and the table; return the arguments of its outputs."""
    paths = [folder / f"{number}.json" for number in range(len(every))]
    for path, one in zip(paths, every, strict=True):
        write_json(path, one)
    names = {"csv": "t.csv", "markdown": "t.md", "latex": "t.tex", "figures": "figures"}
    outputs = {argument: folder / "out" / name for argument, name in names.items()}
    write_reconstruction_table(paths, **outputs, reference=reference)
    return outputs


def cells_of(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]


EVERY = [
    metrics("face08", "hynet", numbers(6000, 0.9, 10), dense_method="patch_match_cpu"),
    metrics("face08", "psift", numbers(4000, 0.85)),
    failed("face08", "tfeat", "no initial pair was found"),
    metrics("marble", "psift", numbers(1000, None, 5)),
    metrics("marble", "hynet", numbers(3000, None)),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The outputs for a face with truth, where one descriptor failed, and a head of marble without."""
    return write(tmp_path_factory.mktemp("written"), EVERY)


def test_csv_has_medians_ends_and_empty_cells_for_the_unknown(written):
    with written["csv"].open() as stream:
        rows = {(row["subject"], row["descriptor"]): row for row in csv.DictReader(stream)}
    assert list(rows) == [
        ("face08", "psift"), ("face08", "tfeat"), ("face08", "hynet"), ("marble", "psift"), ("marble", "hynet"),
    ]  # fmt: skip
    hynet = rows["face08", "hynet"]
    assert list(hynet) == RECONSTRUCTIONS.schema.names
    assert [float(hynet[f"sparse_points{end}"]) for end in ("", "_lowest", "_highest")] == [6000, 5990, 6020]
    assert (hynet["dense_points"], hynet["dense_method"], hynet["seeds"]) == ("", "patch_match_cpu", "0 1 2")
    assert (hynet["learned"], hynet["dimension"], hynet["alignment"]) == ("True", "128", "")
    tfeat = rows["face08", "tfeat"]
    assert (tfeat["status"], tfeat["reason"]) == ("failed", "no initial pair was found")
    assert (float(tfeat["sparse_points"]), tfeat["position_error_mm"]) == (0, "")


def test_page_shows_spread_where_seeds_differ_zeros_of_the_failed_and_its_reason(written):
    page = written["markdown"].read_text()
    assert (
        "8 views; the true surface is known; seeds 0, 1, 2. Dense method: none (psift, tfeat); patch_match_cpu (hynet)." in page
    )
    assert "8 views; no truth is known; seeds 0, 1, 2.\n" in page
    face = cells_of(page[page.index("## face08") : page.index("## marble")])
    assert face[0] == ["Descriptor", *(column.title for column in ETH)]
    assert face[2] == ["psift", "8", "8", "4,000", "16,000", "4.00", "2,000", "0.450", "-", "28", "36,000"]
    assert face[3] == ["tfeat", "8", "0", "0", "0", "0.00", "0", "0.000", "0", "0", "0"]
    assert face[4][3] == "6,000 ±20"
    assert "- tfeat failed: no initial pair was found\n" in page
    assert "14,722" not in page  # published numbers have no place here


def test_page_has_truth_only_where_it_is_known(written):
    page = written["markdown"].read_text()
    face, marble = page[page.index("## face08") : page.index("## marble")], page[page.index("## marble") :]
    assert "Sparse points against the true surface:" in face and "Cameras against their true poses:" in face
    assert "Dense points against" not in page and "against" not in marble
    sparse = cells_of(face[face.index("Sparse points against") :])
    assert sparse[0][:3] == ["Descriptor", "Median error mm", "Accuracy 0.1 mm %"]
    by_name = {row[0]: row[1:] for row in sparse[2:]}
    assert by_name["tfeat"] == ["-"] * len(SPARSE)
    assert by_name["psift"][4:7] == ["85.0", "85.0", "85.0"]  # the share of 0.25 mm


def test_page_compares_with_the_reference_over_several_subjects(written):
    page = written["markdown"].read_text()
    assert "## Over 2 subjects, compared with psift" in page
    table = cells_of(page[page.index("## Over 2") : page.index("## face08")])
    assert table[2:] == [
        ["tfeat", "1", "0.00", "-", "0 of 1"],
        ["hynet", "2", "2.25 (1.50 .. 3.00)", "+5.0", "1 of 1"],
    ]


def test_one_subject_and_one_seed_need_no_comparison_and_no_spread(tmp_path):
    results = read(tmp_path, [metrics("face08", "psift", numbers(4000, 0.85), seeds=[7])])
    page = reconstruction_page(results, "psift", ratios(results, "psift"), {"points_face08": "figures/points_face08.png"})
    assert "Over" not in page.split("## face08")[0] and "seeds 7." in page
    assert "±" not in page.split("## face08")[1]
    assert "![points_face08](figures/points_face08.png)" in page


def test_variants_are_named_where_there_are_several(tmp_path):
    every = [
        metrics("face08", name, numbers(1000, 0.8), variant=variant) for name in ("psift", "hynet") for variant in ("a", "b")
    ]
    results = read(tmp_path, every)
    page = reconstruction_page(results, "psift", [], {})
    assert [row[0] for row in cells_of(page)[2:6]] == ["psift, a", "hynet, a", "psift, b", "hynet, b"]
    assert [(one.variant, one.descriptor, one.points) for one in ratios(results, "psift")] == [
        ("a", "hynet", [1.0]),
        ("b", "hynet", [1.0]),
    ]


@pytest.mark.parametrize(
    ("spread", "text"), [((0.4, 0.4, 0.4), "40.0"), ((0.4, 0.39996, 0.4), "40.0"), ((0.4, 0.38, 0.41), "40.0 ±2.0"), (None, "-")]
)
def test_spread_stands_where_it_shows(tmp_path, spread, text):
    row = numbers(1000, 0.8) | {"sparse_f_0.1mm": spread}
    (result,) = read(tmp_path, [metrics("face08", "psift", row)])
    assert with_spread(result, BY_NAME["sparse_f_0.1mm"]) == text


def test_features_from_elsewhere_are_told(tmp_path):
    row = numbers(9, None)
    results = read(tmp_path, [metrics("f", "psift", row), metrics("f", "theirs", row, features="given")])
    assert headline(results).endswith("With keypoints of their own: theirs.")


def test_ratios_leave_out_subjects_where_the_reference_has_no_points(tmp_path):
    every = [
        failed("one", "psift", "nothing matched"),
        metrics("one", "hynet", numbers(500, 0.7)),
        metrics("two", "psift", numbers(1000, 0.9)),
        metrics("two", "hynet", numbers(1500, 0.8996)),
        metrics("two", "alone", numbers(1500, 0.9)),
    ]
    of_hynet, _ = ratios(read(tmp_path, every), "psift")
    assert of_hynet.points == [1.5] and of_hynet.accuracy == [0.0]  # 90.0 % both, as shown
    assert (of_hynet.equal_or_better, of_hynet.compared) == (1, 1)


def test_latex_is_balanced_and_bold_where_best(written):
    text = written["latex"].read_text()
    tables = re.findall(r"\\begin\{table\*\}.*?\\end\{table\*\}", text, flags=re.DOTALL)
    assert len(tables) == text.count(r"\begin{table*}") == 3  # protocol, cameras, sparse
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 3
    for table in tables:
        specification = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", table)
        assert specification is not None
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(specification[1])}
        assert table.count("{") - table.count(r"\{") == table.count("}") - table.count(r"\}")
        assert table.count(r"\midrule") == (2 if "marble" in table else 1)  # under the header, between subjects
    protocol = tables[0].splitlines()
    assert any(line.startswith(r"\textbf{face08 (8 views)} & ") for line in protocol)
    hynet, tfeat = (next(line for line in protocol if line.startswith(f"{name} & ")) for name in ("hynet", "tfeat"))
    assert r"\textbf{6,000$_{\pm 20}$}" in hynet and r"\textbf{" not in tfeat
    assert "±" not in text


def test_best_is_the_most_or_the_least_as_shown_ties_included(tmp_path):
    errors, points = (0.4501, 0.4499, 0.46), (900, 1000, 1100)
    rows = [numbers(count, 0.8) | {"reprojection_error_px": error} for error, count in zip(errors, points, strict=True)]
    every = [metrics("f", f"d{place}", row) for place, row in enumerate(rows)]
    results = read(tmp_path, [*every, failed("f", "lost", "nothing matched")])
    assert best_rows(results, BY_NAME["reprojection_error_px"]) == {0, 1}
    assert best_rows(results, BY_NAME["sparse_points"]) == {2}
    assert best_rows(results, BY_NAME["images"]) == best_rows(results, BY_NAME["dense_points"]) == set()


def test_latex_goes_on_in_another_table_from_subject_to_subject(tmp_path):
    every = [metrics(f"s{n}", f"d{m}", numbers(100 + m, None)) for n in range(3) for m in range(19)]
    text = reconstruction_latex(read(tmp_path, every))
    first, second = text.split(r"\end{table*}")[:2]
    assert "s0 (8 views)" in first and "s1 (8 views)" in first and "s2" not in first
    assert "s2 (8 views)" in second and "protocol, continued" in second


def test_figures_are_drawn_as_far_as_known(written):
    kinds = {"face08": ("accuracy", "cameras", "points", "tolerance"), "marble": ("points",)}
    names = {f"{kind}_{subject}{suffix}" for subject in kinds for kind in kinds[subject] for suffix in (".png", ".svg")}
    assert {path.name for path in written["figures"].iterdir()} == names
    page = written["markdown"].read_text()
    assert set(re.findall(r"\]\((.*?)\)", page)) == {f"figures/{name}" for name in names if name.endswith(".png")}


def test_figures_of_the_failed_alone(tmp_path):
    results = read(tmp_path, [failed("face08", "psift", "nothing matched")])
    (tmp_path / "drawn").mkdir()
    assert write_reconstruction_figures(results, tmp_path / "drawn") == ["points_face08.png"]


def test_nothing_to_lay_out_is_an_empty_table(tmp_path):
    outputs = write(tmp_path, [])
    assert outputs["csv"].read_text().count("\n") == 1
    assert "# Reconstruction" in outputs["markdown"].read_text()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: one.pop("truth"), "'truth'"),
        (lambda one: one["row"].pop("inlier_pairs"), "'inlier_pairs'"),
        (lambda one: one["row"]["sparse_points"].pop("lowest"), "'sparse_points'"),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(tmp_path, change, named):
    one = metrics("face08", "psift", numbers(4000, 0.85))
    change(one)
    with pytest.raises(PorePatchError, match=f"{named}.*delete them and run again") as raised:
        read(tmp_path, [one])
    assert "0.json" in str(raised.value)


def test_the_same_reconstruction_twice_is_told(tmp_path):
    with pytest.raises(PorePatchError, match=r"0\.json and .*1\.json are of face08, mutual, psift"):
        read(tmp_path, [metrics("face08", "psift", numbers(4000, 0.85))] * 2)
