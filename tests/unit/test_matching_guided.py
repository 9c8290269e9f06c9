"""Guided matching on scenes in closed form, and against a plain NumPy search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_array, write_json
from porepatch_lib.geometry import Camera, Pose, project
from porepatch_lib.keypoints.keypoints import Keypoints, write_keypoints
from porepatch_lib.matching.epipolar import (
    Reach,
    Side,
    distances_to_lines,
    epipolar_lines,
    essential_matrix,
    fundamental_matrix,
    ideal_pixels,
    nearest_candidates,
    transferred,
)
from porepatch_lib.matching.guided import GuidedSettings, match_guided
from porepatch_lib.matching.pairs import write_view_pairs
from porepatch_lib.matching.places import surface_points
from porepatch_lib.rendering.rig import look_at
from porepatch_lib.sfm.model import SparseModel
from porepatch_lib.sfm.reconstruct import reconstruct_subject
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.sfm.two_view import estimate_two_view
from porepatch_lib.tables import MATCHES, read_table, write_table

_CAMERA = Camera("SIMPLE_RADIAL", 1100, 1600, (3000.0, 545.0, 790.0, 0.15))
_POSES = [look_at(np.array([x, 40.0 * abs(x) / 300.0, -1000.0]), np.zeros(3), 0.05) for x in (-300.0, 0.0, 300.0)]
_WIDTH = 16


class Subject:
    """Three views of random points; keypoint k of every view is point k, unless a test adds decoys. Descriptors are random."""

    def __init__(self, folder: Path, points: int = 60, depth: str = "any") -> None:
        rng = np.random.default_rng(3)
        self.folder = folder
        self.xyz = rng.uniform(-90.0, 90.0, (points, 3))
        if depth != "any":
            self.xyz[:, 2] = {"flat": 0.0, "bowl": (self.xyz[:, :2] ** 2).sum(axis=1) / 150.0}[depth]
        self.xy = [project(_CAMERA, pose, self.xyz)[0] for pose in _POSES]
        self.rows = [rng.standard_normal((points, _WIDTH))] * 3
        self.sigma = [np.full(points, 2.0) for _ in _POSES]
        self.views = [
            View(i, f"{i}.png", folder / f"{i}.png", None, "", 1, 0, _CAMERA, True, pose) for i, pose in enumerate(_POSES)
        ]
        self.putative = {(i, j): (np.arange(points), np.arange(points)) for i, j in ((0, 1), (0, 2), (1, 2))}

    def add(self, view: int, xy: Any, rows: Any, sigma: float = 2.0) -> np.ndarray:
        """Add keypoints and return their ids."""
        first, count = len(self.xy[view]), len(np.atleast_2d(xy))
        self.xy[view] = np.concatenate([self.xy[view], np.atleast_2d(xy)])
        self.rows[view] = np.concatenate([self.rows[view], np.atleast_2d(rows)])
        self.sigma[view] = np.concatenate([self.sigma[view], np.full(count, sigma)])
        return np.arange(first, first + count)

    def write(self) -> dict[str, Path]:
        names = ("images.parquet", "keypoints.parquet", "descriptors.npy", "pairs.parquet", "matches.parquet")
        paths = {Path(name).stem: self.folder / name for name in names}
        write_views(paths["images"], self.views)
        write_keypoints(paths["keypoints"], {i: _keypoints(self.xy[i], self.sigma[i]) for i in range(3) if len(self.xy[i])})
        write_array(paths["descriptors"], np.concatenate(self.rows).astype(np.float32))
        write_view_pairs(paths["images"], paths["pairs"])
        frames = [
            pd.DataFrame(
                {"image_id_1": i, "image_id_2": j, "keypoint_id_1": one, "keypoint_id_2": two, "distance": 0.5, "ratio": 0.5}
            )
            for (i, j), (one, two) in self.putative.items()
        ]
        types = {name: MATCHES.schema.field(name).type.to_pandas_dtype() for name in MATCHES.schema.names}
        write_table(paths["matches"], pd.concat(frames).astype(types), MATCHES)
        return paths | {"output": self.folder / "guided.parquet"}

    def match(
        self, threads: int = 1, model: Path | None = None, calibration: Path | None = None, **settings: Any
    ) -> pd.DataFrame:
        paths = self.write()
        match_guided(
            **paths,
            settings=GuidedSettings(**settings),
            sfm=SfmSettings(),
            seed=1,
            threads=threads,
            model=model,
            calibration=calibration,
        )
        return read_table(paths["output"], MATCHES)


def _keypoints(xy: np.ndarray, sigma: np.ndarray) -> Keypoints:
    x, y = np.asarray(xy, np.float32).T
    zeros, levels = np.zeros(len(x), np.float32), np.zeros(len(x), np.int8)
    return Keypoints(x, y, np.asarray(sigma, np.float32), zeros, zeros, levels, levels)


def _pairs(matches: pd.DataFrame, one: int, two: int) -> set[tuple[int, int]]:
    rows = matches[(matches.image_id_1 == one) & (matches.image_id_2 == two)]
    return set(zip(rows.keypoint_id_1.tolist(), rows.keypoint_id_2.tolist(), strict=True))


def _off_the_line(subject: Subject, point: int, view: int, along_px: float, off_px: float) -> np.ndarray:
    """A pixel of `view`, shifted (before distortion) along and off the epipolar line of a point seen from view 0."""
    pinhole = replace(_CAMERA, params=(*_CAMERA.params[:3], 0.0))
    essential = essential_matrix(_POSES[0], _POSES[view])
    ideal = ideal_pixels(_CAMERA, subject.xy[0][point : point + 1])
    line = epipolar_lines(fundamental_matrix(essential, pinhole, pinhole), ideal)[0]
    there = ideal_pixels(_CAMERA, subject.xy[view][point : point + 1])[0]
    moved = there + along_px * np.array([-line[1], line[0]]) + off_px * line[:2]
    ray = np.array([[*(moved / 3000.0), 1.0]])
    return project(_CAMERA, Pose(np.eye(3), np.zeros(3)), ray)[0][0]


def test_true_partners_lie_on_their_epipolar_lines():
    xyz = np.random.default_rng(0).uniform(-90.0, 90.0, (40, 3))
    fundamental = fundamental_matrix(essential_matrix(_POSES[0], _POSES[2]), _CAMERA, _CAMERA)
    one, two = (ideal_pixels(_CAMERA, project(_CAMERA, _POSES[i], xyz)[0]) for i in (0, 2))
    assert distances_to_lines(epipolar_lines(fundamental, one), two).max() < 1e-6
    assert distances_to_lines(epipolar_lines(fundamental.T, two), one).max() < 1e-6


def test_a_point_on_the_epipole_has_no_line():
    sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    forward = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert np.isnan(epipolar_lines(forward, np.zeros((1, 2)))).all()
    np.testing.assert_allclose(epipolar_lines(sideways, np.array([[5.0, 7.0]])), [[0.0, -1.0, 7.0]])


def test_points_that_a_homography_takes_to_infinity_are_far_from_everything():
    homography = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, -7.0]])
    np.testing.assert_array_equal(transferred(homography, np.array([[3.0, 8.0], [3.0, 7.0]])), [[3.0, 8.0], [np.inf, np.inf]])


@pytest.mark.parametrize("by", ["epipolar", "poses"])
def test_better_descriptors_off_the_line_are_passed_over(tmp_path, by):
    subject = Subject(tmp_path)
    own, other = subject.rows[0][7] + 0.3, subject.rows[0][7]
    subject.rows[1] = subject.rows[1].copy()
    subject.rows[1][7] = own
    decoy = subject.add(1, _off_the_line(subject, 7, 1, 0.0, 5.0), other)
    assert (7, 7) in _pairs(subject.match(by=by), 0, 1)
    assert (7, decoy[0]) in _pairs(subject.match(by=by, max_error_px=8.0), 0, 1)


@pytest.mark.parametrize(("off_px", "inside"), [(1.98, True), (-1.98, True), (2.02, False), (-2.02, False)])
def test_the_band_ends_where_it_says(tmp_path, off_px, inside):
    subject = Subject(tmp_path)
    row = np.full(_WIDTH, 9.0)
    one = subject.add(0, subject.xy[0][4], row)
    two = subject.add(1, _off_the_line(subject, 4, 1, 30.0, off_px), row)
    assert ((one[0], two[0]) in _pairs(subject.match(by="poses", max_error_px=2.0), 0, 1)) == inside


def test_the_same_point_found_twice_is_no_second_but_another_candidate_is(tmp_path):
    subject = Subject(tmp_path)
    row = subject.rows[0][9]
    subject.rows = [subject.rows[0], subject.rows[1].copy(), subject.rows[2]]
    subject.rows[1][9] = row + 0.3
    twin = subject.add(1, _off_the_line(subject, 9, 1, 1.5, 0.0), row + 0.31)
    assert (9, 9) in _pairs(subject.match(by="poses"), 0, 1)
    assert (9, 9) not in _pairs(subject.match(by="poses", distinct_px=0.5), 0, 1)
    subject.xy[1][twin] = _off_the_line(subject, 9, 1, 40.0, 0.0)
    assert (9, 9) not in _pairs(subject.match(by="poses"), 0, 1)
    assert (9, 9) in _pairs(subject.match(by="poses", ratio=None), 0, 1)


def test_the_ratio_is_the_larger_of_both_views(tmp_path):
    subject = Subject(tmp_path)
    row = subject.rows[0][9]
    subject.add(0, subject.xy[0][9] + _along_line_in_view_0(subject, 9, 30.0), row + 0.2)
    subject.rows = [subject.rows[0], subject.rows[1].copy(), subject.rows[2]]
    subject.rows[1][9] = row + 0.05
    matches = subject.match(by="poses", ratio=None)
    ratio = matches[(matches.image_id_1 == 0) & (matches.image_id_2 == 1) & (matches.keypoint_id_1 == 9)].ratio.item()
    assert ratio == pytest.approx(0.05 / 0.15, rel=1e-4)


def _along_line_in_view_0(subject: Subject, point: int, along_px: float) -> np.ndarray:
    """A shift along the epipolar line, in view 0, of a point seen from view 1 (short enough that distortion does not matter)."""
    fundamental = fundamental_matrix(essential_matrix(_POSES[0], _POSES[1]), _CAMERA, _CAMERA)
    line = epipolar_lines(fundamental.T, ideal_pixels(_CAMERA, subject.xy[1][point : point + 1]))[0]
    return along_px * np.array([-line[1], line[0]])


@pytest.mark.parametrize(("sigma", "kept"), [(2.0 * 2**0.9, True), (2.0 * 2**1.1, False)])
def test_sizes_are_compared_less_the_median_of_the_pair(tmp_path, sigma, kept):
    subject = Subject(tmp_path)
    subject.sigma[1] = subject.sigma[1] * 4.0
    subject.sigma[1][11] = sigma * 4.0
    pairs = _pairs(subject.match(by="poses", max_octaves=1.0), 0, 1)
    assert len(pairs) >= 59
    assert ((11, 11) in pairs) == kept
    assert (11, 11) in _pairs(subject.match(by="poses", max_octaves=None), 0, 1)


def _model(subject: Subject, points: np.ndarray) -> SparseModel:
    """A model of exact points on which every view has an observation of each."""
    count = len(points)
    ids = np.repeat(np.arange(count), 3)
    images = np.tile(np.arange(3, dtype=np.int32), count)
    return SparseModel(
        dict.fromkeys(range(3), _CAMERA), dict(enumerate(_POSES)), np.arange(count), points, ids, images, ids.astype(np.int32)
    )


def _tilted_plane(rng: np.random.Generator, points: int) -> np.ndarray:
    x, y = rng.uniform(-90.0, 90.0, (2, points))
    return np.column_stack([x, y, 0.4 * x - 0.2 * y])


def test_the_surface_between_points_of_a_plane_is_the_plane_in_spite_of_strays(tmp_path):
    rng = np.random.default_rng(1)
    exact = _tilted_plane(rng, 3000)
    strays = exact.copy()
    strays[::12, 2] += 15.0
    asked = _tilted_plane(rng, 200) * 0.8
    xy = project(_CAMERA, _POSES[1], asked)[0]
    for points in (exact, strays):
        found = surface_points(_model(Subject(tmp_path), points), 1, xy, 60.0)
        assert np.median(np.linalg.norm(found - asked, axis=1)) < 1e-3
        assert np.quantile(np.linalg.norm(found - asked, axis=1), 0.95) < 0.05


def test_there_is_no_surface_away_from_points(tmp_path):
    model = _model(Subject(tmp_path), _tilted_plane(np.random.default_rng(1), 300))
    assert np.isnan(surface_points(model, 1, np.array([[3.0, 3.0]]), 40.0)).all()
    assert surface_points(model, 1, np.empty((0, 2)), 40.0).shape == (0, 3)
    assert np.isnan(surface_points(_model(Subject(tmp_path), np.zeros((2, 3))), 1, np.array([[545.0, 790.0]]), 40.0)).all()


def test_a_first_model_passes_over_better_descriptors_on_the_line(tmp_path):
    subject = Subject(tmp_path, points=600, depth="bowl")
    paths = subject.write()
    folder = tmp_path / "sfm"
    reconstruct_subject("anna", paths["images"], paths["keypoints"], paths["matches"], folder, SfmSettings(), 1, 1)
    subject.rows = [subject.rows[0], subject.rows[1].copy(), subject.rows[2]]
    subject.rows[1][20] = subject.rows[0][20] + 0.3
    decoy = subject.add(1, _off_the_line(subject, 20, 1, 25.0, 0.0), subject.rows[0][20])
    assert (20, decoy[0]) in _pairs(subject.match(by="epipolar"), 0, 1)
    assert (20, 20) in _pairs(subject.match(by="model", model=folder, reach_px=100.0), 0, 1)


def test_without_a_first_model_the_matches_guide(tmp_path):
    subject = Subject(tmp_path)
    expected = subject.match(by="epipolar")
    write_json(tmp_path / "sfm" / "status.json", {"status": "failed", "reason": "no pair of views has matches"})
    pd.testing.assert_frame_equal(subject.match(by="model", model=tmp_path / "sfm"), expected)
    with pytest.raises(PorePatchError, match="first reconstruction"):
        subject.match(by="model")


def test_views_without_pose_are_guided_by_their_matches(tmp_path):
    subject = Subject(tmp_path)
    expected = subject.match(by="epipolar")
    subject.views = [replace(view, pose=None) for view in subject.views]
    pd.testing.assert_frame_equal(subject.match(by="poses"), expected)


def test_a_pair_without_geometry_keeps_its_putative_matches(tmp_path):
    subject = Subject(tmp_path)
    subject.putative[0, 2] = (np.arange(10), np.arange(10))
    del subject.putative[1, 2]
    matches = subject.match()
    assert _pairs(matches, 0, 2) == {(k, k) for k in range(10)}
    assert not _pairs(matches, 1, 2)
    assert len(_pairs(matches, 0, 1)) == 60
    assert (matches[matches.image_id_2 == 2].ratio == 0.5).all()


def test_views_from_one_place_are_not_guided_by_poses(tmp_path):
    subject = Subject(tmp_path)
    turn = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]])
    turned = Pose(turn @ _POSES[0].rotation, turn @ _POSES[0].translation)
    subject.views[1] = replace(subject.views[1], pose=turned)
    subject.putative[0, 1] = (np.arange(10), np.arange(10))
    assert not essential_matrix(_POSES[0], turned).any()
    assert _pairs(subject.match(by="poses"), 0, 1) == {(k, k) for k in range(10)}


@pytest.mark.parametrize(
    ("flat", "prior", "kind"), [(False, True, "essential"), (False, False, "fundamental"), (True, False, "homography")]
)
def test_colmap_estimates_the_geometry_in_our_pixels(tmp_path, flat, prior, kind):
    camera = Camera("SIMPLE_PINHOLE", 1100, 1600, (3000.0, 545.0, 790.0))
    xyz = np.random.default_rng(4).uniform(-90.0, 90.0, (300, 3)) * ([1.0, 1.0, 0.0] if flat else 1.0)
    views = [replace(View(i, str(i), tmp_path, None, "", 1, 0, camera, prior, None)) for i in range(2)]
    one, two = (project(camera, _POSES[i], xyz)[0] for i in range(2))
    wrong = np.random.default_rng(5).permutation(two[:60])
    spoilt = estimate_two_view(*views, one, np.concatenate([wrong, two[60:]]), SfmSettings(), 1)
    assert spoilt is not None
    assert spoilt.inliers[60:].all()
    assert np.mean(spoilt.inliers[:60]) < 0.4
    geometry = estimate_two_view(*views, one, two, SfmSettings(), 1)
    assert geometry is not None
    assert geometry.kind == kind
    if kind == "homography":
        assert np.linalg.norm(transferred(geometry.matrix, one) - two, axis=1).max() < 0.02
    elif kind == "fundamental":
        assert distances_to_lines(epipolar_lines(geometry.matrix, one), two).max() < 0.02
    else:
        fundamental = fundamental_matrix(geometry.matrix, camera, camera)
        lines = epipolar_lines(fundamental, ideal_pixels(camera, one))
        assert distances_to_lines(lines, ideal_pixels(camera, two)).max() < 0.02


def test_too_few_matches_have_no_geometry(tmp_path):
    subject = Subject(tmp_path)
    rng = np.random.default_rng(0)
    assert estimate_two_view(*subject.views[:2], subject.xy[0][:14], subject.xy[1][:14], SfmSettings(), 1) is None
    one, two = rng.uniform(0.0, 1000.0, (2, 20, 2))
    assert estimate_two_view(*subject.views[:2], one, two, SfmSettings(), 1) is None


def test_a_plane_is_matched_within_a_disc(tmp_path):
    subject = Subject(tmp_path, points=200, depth="flat")
    camera = replace(_CAMERA, params=(*_CAMERA.params[:3], 0.0))
    subject.xy = [project(camera, pose, subject.xyz)[0] for pose in _POSES]
    subject.views = [replace(view, camera=camera, focal_is_prior=False, pose=None) for view in subject.views]
    row = np.full(_WIDTH, 9.0)
    one = subject.add(0, subject.xy[0][4], row)[0]
    near, far = subject.add(1, subject.xy[1][4] + [0.9, -0.8], row)[0], subject.add(1, subject.xy[1][4] + [3.0, -3.0], row)[0]
    assert (one, near) in _pairs(subject.match(), 0, 1)
    subject.rows[1][near] = -row
    assert not {(one, near), (one, far)} & _pairs(subject.match(), 0, 1)


def _random_side(rng: np.random.Generator, count: int, width: int) -> Side:
    angle = rng.uniform(0.0, np.pi, count)
    line = np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-60.0, 60.0, count)])
    line[::50] = np.nan
    place = rng.uniform(0.0, 100.0, (count, 2))
    place[::3] = np.nan
    rows = rng.standard_normal((count, width)).astype(np.float16).astype(np.float32)
    return Side(rows, rng.uniform(0.0, 100.0, (count, 2)), line, place, rng.uniform(0.0, 2.0, count))


def _nearest_in_numpy(one: Side, two: Side, reach: Reach) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    def along(line: np.ndarray, xy: np.ndarray) -> np.ndarray:
        return np.abs(line[:, None, 0] * xy[None, :, 0] + line[:, None, 1] * xy[None, :, 1] + line[:, None, 2]) <= reach.line_px

    def around(place: np.ndarray, xy: np.ndarray) -> np.ndarray:
        return ~(((place[:, None] - xy[None]) ** 2).sum(axis=2) > reach.place_px**2)

    allowed = along(one.line, two.xy) & along(two.line, one.xy).T & around(one.place, two.xy) & around(two.place, one.xy).T
    allowed &= np.abs(one.log_sigma[:, None] - two.log_sigma[None]) <= reach.octaves
    distance = np.linalg.norm(one.descriptors[:, None].astype(float) - two.descriptors[None], axis=2)
    distance = np.where(allowed, distance, np.inf)
    best = distance.argmin(axis=1)
    first = distance.min(axis=1)
    apart = np.linalg.norm(two.xy[None] - two.xy[best][:, None], axis=2) > reach.distinct_px
    return (
        np.where(np.isfinite(first), best, -1),
        first,
        np.where(apart & np.isfinite(first)[:, None], distance, np.inf).min(axis=1),
    )


@pytest.mark.parametrize("reach", [Reach(12.0, 60.0, 1.0, 15.0), Reach(3.0, np.inf, np.inf, 0.0)])
def test_the_search_is_that_of_plain_numpy_whatever_the_threads(reach):
    rng = np.random.default_rng(7)
    one, two = _random_side(rng, 150, 24), _random_side(rng, 211, 24)
    index, first, second = _nearest_in_numpy(one, two, reach)
    assert 20 < np.count_nonzero(index >= 0) < 150
    assert np.isfinite(second).any()
    for threads in (1, 2, 7):
        found = nearest_candidates(one, two, reach, threads)
        np.testing.assert_array_equal(found.index, index)
        np.testing.assert_allclose(found.first, first, rtol=1e-6)
        np.testing.assert_allclose(found.second, second, rtol=1e-6)


def test_the_file_does_not_depend_on_threads_or_the_run(tmp_path):
    subject = Subject(tmp_path)
    files = []
    for threads in (1, 2, 5):
        subject.match(threads=threads)
        files.append((tmp_path / "guided.parquet").read_bytes())
    assert files[0] == files[1] == files[2]


def test_images_without_keypoints_and_tables_without_rows(tmp_path):
    subject = Subject(tmp_path)
    subject.xy[1], subject.rows[1], subject.sigma[1] = np.empty((0, 2)), np.empty((0, _WIDTH)), np.empty(0)
    subject.rows = [subject.rows[0], np.empty((0, _WIDTH)), subject.rows[2]]
    subject.putative = {(0, 2): subject.putative[0, 2]}
    matches = subject.match()
    assert _pairs(matches, 0, 2) == {(k, k) for k in range(60)}
    assert len(matches) == 60
    subject.putative = {(0, 2): (np.empty(0, int), np.empty(0, int))}
    assert subject.match().empty
    empty = Side(np.empty((0, 4), np.float32), np.empty((0, 2)), np.empty((0, 3)), np.empty((0, 2)), np.empty(0))
    one = _random_side(np.random.default_rng(0), 5, 4)
    assert (nearest_candidates(one, empty, Reach(2.0, np.inf, np.inf, 0.0), 2).index == -1).all()
    assert len(nearest_candidates(empty, one, Reach(2.0, np.inf, np.inf, 0.0), 2).index) == 0


def test_a_calibration_replaces_the_ratio(tmp_path):
    subject = Subject(tmp_path)
    write_json(tmp_path / "calibration.json", {"ratio": 1e-6})
    assert subject.match(by="poses", min_matches=1).ratio.max() < 0.85
    subject.rows[1] = subject.rows[1] + 0.05
    assert subject.match(by="poses", calibration=tmp_path / "calibration.json").ratio.isin([0.0]).all()
    write_json(tmp_path / "calibration.json", {"ratio": 3.0})
    with pytest.raises(PorePatchError, match="no ratio above 0"):
        subject.match(calibration=tmp_path / "calibration.json")


def test_foreign_matches_and_spoilt_descriptors_are_refused(tmp_path):
    subject = Subject(tmp_path)
    subject.putative[0, 1] = (np.array([60]), np.array([3]))
    with pytest.raises(PorePatchError, match="keypoints that do not exist"):
        subject.match()
    subject = Subject(tmp_path)
    subject.rows[1] = np.where(np.arange(60)[:, None] == 3, np.nan, subject.rows[1])
    with pytest.raises(PorePatchError, match="finite"):
        subject.match()


@pytest.mark.parametrize(
    "bad", [{"by": "luck"}, {"max_error_px": 0.0}, {"place_px": -1.0}, {"ratio": 1.1}, {"max_octaves": 0.0}, {"min_matches": 0}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(PorePatchError, match=next(iter(bad))):
        GuidedSettings(**bad)
