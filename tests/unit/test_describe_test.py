"""Describing a test set: every row once, in order, with a card; the sweep of bare patches; what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from patch_sets import VIEWS, write_split
from safetensors.torch import load_file, save_file

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.descriptors.bare_patches import BARE, describe_bare
from porepatch_lib.descriptors.describe import describe_rows
from porepatch_lib.descriptors.networks import build_network
from porepatch_lib.descriptors.registry import make_descriptor
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import read_array, read_json
from porepatch_lib.geometry import Camera
from porepatch_lib.tables import PATCH_PAIRS, PATCHES, TEST_PAIRS, read_table, write_table
from porepatch_lib.verification.describe import SweepSettings, describe_test_set, sweep_rows
from porepatch_lib.verification.sweep import best_sigma, sweep_sigma

POINTS = 30
CROP_FACTOR = 12.0
SWEEP = SweepSettings((2.0, 1.0), 40)


@dataclass(frozen=True)
class TestSet:
    """Files of a test set, and where a descriptor of it goes."""

    __test__ = False
    folder: Path
    images: dict[str, Path]

    def describe(self, descriptor: str, weights: Path | None = None, settings: SweepSettings = SWEEP, **given: Any) -> None:
        names = ("patches.npy", "index.parquet", "pairs.parquet")
        files = [self.folder / name for name in names]
        describe_test_set(*files, self.images, descriptor, weights, self.output, self.card, settings, 1, 1, "cpu", **given)

    @property
    def output(self) -> Path:
        return self.folder / "descriptors" / "one.npy"

    @property
    def card(self) -> Path:
        return self.output.with_suffix(".json")

    @property
    def patches(self) -> np.ndarray:
        return np.array(read_array(self.folder / "patches.npy"))

    @property
    def index(self) -> pd.DataFrame:
        return read_table(self.folder / "index.parquet", PATCHES)

    def change(self, table: str, **columns: Any) -> None:
        path, kind = self.folder / f"{table}.parquet", {"index": PATCHES, "pairs": TEST_PAIRS}[table]
        write_table(path, read_table(path, kind).assign(**columns), kind)


@pytest.fixture
def test_set(tmp_path: Path) -> TestSet:
    """Three views of 30 textures, their patches and the photographs they could be from."""
    write_split(tmp_path, "anna", POINTS, seed=1)
    pairs = read_table(tmp_path / "pairs.parquet", PATCH_PAIRS)
    kind = np.where(pairs["is_match"], "match", "same_subject")
    write_table(tmp_path / "pairs.parquet", pairs.assign(kind=kind, angle_deg=-1.0, octaves=-1.0, region=""), TEST_PAIRS)
    views = []
    for image_id in range(VIEWS):
        noise = np.random.default_rng(image_id).normal(0, 1, (60, 50 * POINTS))
        path = tmp_path / f"{image_id}.png"
        cv2.imwrite(str(path), np.clip(128 + 300 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8))
        camera = Camera("SIMPLE_PINHOLE", 50 * POINTS, 60, (200.0, 70.0, 30.0))
        views.append(View(image_id, path.name, path, None, "", 1, 1, camera, False, None))
    write_views(tmp_path / "images.parquet", views)
    return TestSet(tmp_path, {"anna": tmp_path / "images.parquet"})


@pytest.fixture(scope="module")
def tfeat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that name no architecture, as those that others published."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tfeat.safetensors"
    save_file(build_network("tfeat").state_dict(), path)
    return path


def test_a_transferred_network_describes_every_patch_in_its_row(test_set: TestSet, tfeat: Path) -> None:
    test_set.describe("tfeat-liberty", tfeat, architecture="tfeat")
    rows = read_array(test_set.output)
    expected = make_descriptor("tfeat", weights=tfeat, crop_factor=12.0, threads=1, device="cpu", precision="float32")
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected.describe(test_set.patches))
    assert read_json(test_set.card) == {
        "descriptor": "tfeat-liberty",
        "sees": "patch",
        "learned": True,
        "dimension": 128,
        "crop_factor": CROP_FACTOR,
        "sigma_px": None,
        "sweep": [],
    }


@pytest.mark.parametrize(("name", "file"), [("tfeat", "tfeat-liberty"), ("hardtfeat", "hardtfeat")])
def test_published_weights_are_transferred(test_set: TestSet, shared: Path, name: str, file: str) -> None:
    test_set.describe(file, shared / "weights" / f"{file}.safetensors", architecture=name)
    rows = read_array(test_set.output)
    first, second, other = rows[0::VIEWS], rows[1::VIEWS], np.roll(rows[1::VIEWS], 1, axis=0)
    near = np.linalg.norm(first - second, axis=1) < np.linalg.norm(first - other, axis=1)
    assert near.mean() > 0.9


@pytest.mark.parametrize("name", BARE)
def test_a_bare_descriptor_takes_the_best_sigma_of_a_sweep_with_the_keypoints_own(test_set: TestSet, name: str) -> None:
    test_set.describe(name, settings=replace(SWEEP, pairs=10_000))
    pairs = read_table(test_set.folder / "pairs.parquet", TEST_PAIRS)
    chosen = pairs.iloc[sweep_rows(pairs, 10_000, 1)]
    first, second, is_match = (chosen[column].to_numpy() for column in ("patch_1", "patch_2", "is_match"))
    rates = sweep_sigma(name, test_set.patches, first, second, is_match, [1.0, 2.0, 64 / 12])
    card = read_json(test_set.card)
    assert {one["sigma_px"]: (one["fpr95"], one["average_precision"]) for one in card["sweep"]} == rates
    assert card["sigma_px"] == best_sigma(rates)
    assert (card["sees"], card["learned"], card["dimension"]) == ("patch", False, BARE[name].dimension)
    np.testing.assert_allclose(read_array(test_set.output), describe_bare(name, test_set.patches, card["sigma_px"]), atol=1e-6)


def test_raw_pixels_need_no_sweep_and_no_photographs(test_set: TestSet) -> None:
    replace(test_set, images={}).describe("ncc")
    assert read_array(test_set.output).shape == (POINTS * VIEWS, 1024)
    assert read_json(test_set.card)["sigma_px"] is None


@pytest.mark.parametrize("name", ["psift", "rootsift"])
def test_the_others_see_the_photographs(test_set: TestSet, name: str) -> None:
    test_set.describe(name)
    expected = describe_rows(test_set.images, test_set.index, make_descriptor(name, crop_factor=CROP_FACTOR, threads=1))
    np.testing.assert_array_equal(read_array(test_set.output), expected)
    assert len(np.unique(expected, axis=0)) == len(expected)
    card = read_json(test_set.card)
    assert (card["sees"], card["sigma_px"], card["sweep"]) == ("photograph", None, [])


@pytest.mark.parametrize(("name", "instead"), [("psift", "psift-bare"), ("psift_reference", "psift-bare"), ("sift", "sift-bare")])
def test_without_photographs_the_bare_descriptor_is_named(test_set: TestSet, name: str, instead: str) -> None:
    with pytest.raises(PorePatchError, match=f"does not have; use '{instead}'"):
        replace(test_set, images={}).describe(name)
    test_set.change("index", crop_factor=np.float32(0))
    with pytest.raises(PorePatchError, match=f"does not have; use '{instead}'"):
        test_set.describe(name)
    assert not test_set.output.exists()
    test_set.describe(instead)
    assert [one["sigma_px"] for one in read_json(test_set.card)["sweep"]] == [1.0, 2.0]


def test_the_sweep_sees_as_many_matches_as_others_drawn_by_the_seed() -> None:
    kind = np.array(["match"] * 50 + ["same_subject"] * 20 + ["cross_subject"] * 20 + ["hard"] * 60)
    pairs = pd.DataFrame({"is_match": kind == "match", "kind": kind})
    rows = sweep_rows(pairs, 31, 1)
    assert len(rows) == len(np.unique(rows)) == 30
    assert pairs["is_match"].iloc[rows].sum() == 15
    assert not np.array_equal(rows, sweep_rows(pairs, 31, 2))
    np.testing.assert_array_equal(rows, sweep_rows(pairs, 31, 1))
    every = pairs.iloc[sweep_rows(pairs, 10_000, 1)]
    assert every["kind"].value_counts().to_dict() == {"match": 40, "same_subject": 20, "cross_subject": 20}


def test_broken_weights_and_test_sets_are_user_errors(test_set: TestSet, tfeat: Path, tmp_path: Path) -> None:
    state = load_file(tfeat)
    state[next(iter(state))][:] = torch.nan
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(PorePatchError, match=r"'mine' of patch 0 of .*patches\.npy is not finite"):
        test_set.describe("mine", tmp_path / "nan.safetensors", architecture="tfeat")
    assert list(test_set.output.parent.iterdir()) == []
    with pytest.raises(PorePatchError, match="did you mean 'sift-bare'"):
        test_set.describe("sift-bear")
    test_set.change("pairs", patch_2=POINTS * VIEWS)
    with pytest.raises(PorePatchError, match="set of 90 lacks"):
        test_set.describe("sift-bare")
    test_set.change("pairs", is_match=True)
    with pytest.raises(PorePatchError, match="both matching and non-matching"):
        test_set.describe("sift-bare")
    test_set.change("index", crop_factor=np.arange(POINTS * VIEWS, dtype=np.float32) % 2 + 12)
    with pytest.raises(PorePatchError, match=r"one crop factor, not \[12\.0, 13\.0\]"):
        test_set.describe("ncc")


@pytest.mark.parametrize("settings", [{"sigmas_px": (0.0, 1.0)}, {"sigmas_px": (np.nan,)}, {"pairs": 1}])
def test_sweeps_out_of_range_are_user_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(PorePatchError, match="out of range"):
        replace(SWEEP, **settings)


def test_a_sweep_without_any_sigma_is_a_user_error(test_set: TestSet) -> None:
    test_set.change("index", crop_factor=np.float32(0))
    with pytest.raises(PorePatchError, match="sigmas_px"):
        test_set.describe("sift-bare", settings=SweepSettings((), 40))
