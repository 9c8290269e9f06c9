"""The look at a subject's captures: its table, its warnings and its contact sheet, on drawn rigs and on bad views."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from porepatch_lib.captures.survey import SurveySettings, survey_subject
from porepatch_lib.captures.survey_sheet import Dots, cell_width, draw_panels
from porepatch_lib.captures.views import View, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import sha256_of
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.rendering.rig import build_rig
from porepatch_lib.rendering.settings import RenderSettings, generator
from porepatch_lib.tables import KEYPOINTS, QUALITY, read_table, write_table

_WIDTH, _HEIGHT = 180, 240
_RED = (190, 40, 40)


def _face(seed: int) -> np.ndarray:
    """A coloured image with fine and coarse contrast, another one for every seed."""
    rng = np.random.default_rng(seed)
    image = np.full((_HEIGHT, _WIDTH, 3), (110.0, 130.0, 170.0))
    for sigma, strength in ((0.7, 10.0), (1.5, 10.0), (4.0, 14.0), (10.0, 20.0)):
        layer = cv2.GaussianBlur(rng.normal(size=(_HEIGHT, _WIDTH)), (0, 0), sigma)
        image += (strength * layer / layer.std())[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _mask() -> np.ndarray:
    return cv2.ellipse(np.zeros((_HEIGHT, _WIDTH), np.uint8), (90, 120), (60, 90), 0, 0, 360, 255, cv2.FILLED)


def _view(folder: Path, index: int, image: np.ndarray, mask: np.ndarray | None, name: str = "") -> View:
    name = name or f"view_{index}.png"
    path = folder / name
    cv2.imencode(".png", image)[1].tofile(path)
    mask_path = None
    if mask is not None:
        mask_path = folder / f"mask_{index}.png"
        cv2.imwrite(str(mask_path), mask)
    height, width = image.shape[:2]
    camera = Camera("PINHOLE", width, height, (1000.0, 1000.0, (width - 1) / 2, (height - 1) / 2))
    return View(index, name, path, mask_path, "0" * 64, 1, 0, camera, True, None)


def _keypoints(counts: list[int]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(image, number) for image, count in enumerate(counts) for number in range(count)]
    frame = pd.DataFrame(rows, columns=["image_id", "keypoint_id"])
    frame["x"], frame["y"] = rng.uniform(50, 130, len(rows)), rng.uniform(60, 180, len(rows))
    frame["sigma"] = rng.uniform(0.8, 4.0, len(rows))
    return frame.assign(angle=0.0, response=1.0, octave=0, level=0)


def _survey(folder: Path, views: list[View], counts: list[int], settings: SurveySettings | None = None) -> pd.DataFrame:
    write_views(folder / "images.parquet", views)
    write_table(folder / "keypoints.parquet", _keypoints(counts), KEYPOINTS)
    survey_subject(
        subject="ann",
        images=folder / "images.parquet",
        keypoints=folder / "keypoints.parquet",
        quality_output=folder / "quality.parquet",
        sheet_output=folder / "contact_sheet.png",
        settings=settings or SurveySettings(),
        threads=1,
    )
    return read_table(folder / "quality.parquet", QUALITY)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def _placed(view: View, angle_rad: float, distance_mm: float) -> View:
    sine, cosine = np.sin(angle_rad), np.cos(angle_rad)
    rotation = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return replace(view, pose=Pose(rotation, np.array([0.0, 0.0, distance_mm])), metric=True)


def test_good_views_of_a_rig_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    views = [_placed(_view(tmp_path, i, _face(i), _mask()), 0.3 * i, 100.0 + 10.0 * i) for i in range(3)]
    frame = _survey(tmp_path, views, [50, 40, 60])
    assert _warnings(caplog) == []
    np.testing.assert_allclose(frame["pixels_per_mm"], [1000 / 100, 1000 / 110, 1000 / 120], rtol=0.02)
    assert set(frame["scale_from"]) == {"rig"}
    assert frame["keypoints"].tolist() == [50, 40, 60]
    assert frame["near_copy_of"].tolist() == [-1, -1, -1] and not frame["is_blurred"].any()
    np.testing.assert_allclose(frame["mask_share"], np.mean(_mask() > 0))


def test_too_few_pixels_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    views = [_placed(_view(tmp_path, i, _face(i), None), 0.4 * i, 270.0) for i in range(2)]
    _survey(tmp_path, views, [50, 50])
    assert _warnings(caplog) == [
        "The face of ann has about 3.7 pixels per millimetre; pores need about 7: photograph from nearer or with more pixels."
    ]
    caplog.clear()
    _survey(tmp_path, views, [50, 50], SurveySettings(min_pixels_per_mm=3.0))
    assert _warnings(caplog) == []


def test_unknown_scale_is_not_judged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    views = [_view(tmp_path, i, _face(i), None) for i in range(2)]
    frame = _survey(tmp_path, views, [50, 50])
    assert frame["pixels_per_mm"].tolist() == [0.0, 0.0] and set(frame["scale_from"]) == {""}
    assert _warnings(caplog) == []
    assert "The scale of the face of ann is unknown" in caplog.text


def test_scale_of_a_photographed_face_comes_from_its_eyes(shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pupils of london_034 are 200 px apart, measured by hand."""
    image = cv2.imread(str(shared / "data" / "skin" / "london_034.jpg"))
    views = [_view(tmp_path, 0, image, None), _view(tmp_path, 1, _face(1), None)]
    frame = _survey(tmp_path, views, [50, 50])
    assert frame["scale_from"].tolist() == ["eyes", ""]
    assert frame["pixels_per_mm"][0] == pytest.approx(200.0 / 63.0, rel=0.06)
    assert len([warning for warning in _warnings(caplog) if "pixels per millimetre" in warning]) == 1


def test_views_of_the_renderers_rig_have_the_pixels_that_its_settings_say(tmp_path: Path) -> None:
    settings = RenderSettings(width=_WIDTH, height=_HEIGHT, views=8)
    stations = build_rig(settings, generator(0, "rig"))
    views = [
        replace(_view(tmp_path, i, _face(i), None), camera=station.camera, pose=station.pose, metric=True)
        for i, station in enumerate(stations)
    ]
    frame = _survey(tmp_path, views, [50] * 8)
    np.testing.assert_allclose(frame["pixels_per_mm"], settings.height / settings.field_height_mm, rtol=0.05)


def _blurred_view(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 2.5)


@pytest.mark.parametrize(
    ("change", "mask", "counts", "words"),
    [
        (_blurred_view, _mask(), [50, 50, 50, 50], "blurred beside the others, 1 of 4 (view_3.png)"),
        (lambda image: image // 6, _mask(), [50, 50, 50, 50], "too dark, 1 of 4 (view_3.png)"),
        (lambda image: np.full_like(image, 252), _mask(), [50, 50, 50, 50], "burnt out, 1 of 4 (view_3.png)"),
        (lambda image: _face(0), _mask(), [50, 50, 50, 50], "nearly repeat an earlier one, 1 of 4 (view_3.png)"),
        (lambda image: image, _mask(), [50, 50, 50, 5], "far fewer keypoints than the others, 1 of 4 (view_3.png)"),
        (lambda image: image, _mask(), [50, 50, 50, 0], "without keypoints, 1 of 4 (view_3.png)"),
        (lambda image: image, 0 * _mask(), [50, 50, 50, 50], "whose mask keeps nothing, 1 of 4 (view_3.png)"),
    ],
    ids=["blurred", "dark", "bright", "copy", "few", "none", "mask"],
)
def test_what_is_wrong_with_one_view_is_said(tmp_path: Path, caplog, change, mask, counts, words) -> None:
    views = [_view(tmp_path, i, _face(i), _mask()) for i in range(3)]
    views.append(_view(tmp_path, 3, change(_face(3)), mask))
    _survey(tmp_path, views, counts)
    found = _warnings(caplog)
    assert any(words in warning for warning in found), found
    assert all(warning.startswith("ann has views") and warning.count(".png") == 1 for warning in found)
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))[..., ::-1]
    red = (sheet == _RED).all(axis=-1)
    middle = len(sheet) // 2
    assert red[:middle].sum() > 200  # in the header
    assert red[middle:, sheet.shape[1] // 2 :].sum() > 50 and not red[middle:, : sheet.shape[1] // 2].any()  # under its view


def test_near_copy_names_the_earliest(tmp_path: Path) -> None:
    views = [_view(tmp_path, i, _face(i % 2), None) for i in range(5)]
    assert _survey(tmp_path, views, [50] * 5)["near_copy_of"].tolist() == [-1, -1, 0, 1, 0]


def test_hopeless_views_do_not_stop_the_survey(tmp_path: Path) -> None:
    black, tiny = np.zeros((50, 90, 3), np.uint8), np.full((5, 3, 3), 90, np.uint8)
    wide = np.full((20, 900, 3), 128, np.uint8)
    images = [black, tiny, wide, _face(0), _face(1)]
    masks = [None, np.full((5, 3), 255, np.uint8), np.zeros((20, 900), np.uint8), None, _mask()]
    names = ["schwarz ä.png", "лицо.png", "w" * 120 + ".png", "", ""]
    views = [_view(tmp_path, i, *rest) for i, rest in enumerate(zip(images, masks, names, strict=True))]
    frame = _survey(tmp_path, views, [0, 0, 0, 0, 0])
    assert len(frame) == 5 and np.isfinite(frame.select_dtypes("number")).all(axis=None)
    assert frame["mask_share"][2] == 0.0 and not frame["is_blurred"][2]


@pytest.mark.parametrize(("count", "columns"), [(2, 1), (5, 2), (13, 3), (31, 4)])
def test_sheet_fits_its_views(tmp_path: Path, count: int, columns: int) -> None:
    image = _face(0)[:60, :40]
    views = [_view(tmp_path, 0, image, None)]
    views += [replace(views[0], image_id=i, name=f"{i}.png") for i in range(1, count)]
    _survey(tmp_path, views, [3] * count)
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet.shape[1] == 2000
    assert columns * cell_width(count) < 2000 < (columns + 1) * cell_width(count)


def test_same_captures_give_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    views = [_view(tmp_path, i, _face(i), _mask()) for i in range(3)]
    _survey(tmp_path, views, [50, 40, 60])
    files = [tmp_path / name for name in ("quality.parquet", "contact_sheet.png")]
    before = [sha256_of(path) for path in files]
    survey_subject("ann", tmp_path / "images.parquet", tmp_path / "keypoints.parquet", *files, SurveySettings(), threads=2)
    assert [sha256_of(path) for path in files] == before


@pytest.mark.parametrize("shape", [(900, 600), (600, 900)], ids=["portrait", "landscape"])
def test_close_look_is_pixel_for_pixel_where_the_keypoints_are(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    xy = np.float32([[150.0, 140.0], [160.0, 150.0], [155.0, 160.0], [500.0, 500.0]])
    panels = draw_panels(image, None, Dots(xy, np.full(4, 1.5, np.float32), (1.0, 2.0)), 640)
    close = panels.pictures[2]
    side = close.shape[0]
    assert close.shape == (side, side, 3) and panels.boxes[2][2:] == (side, side)
    plain = close[:, : side // 2]
    _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(image, plain, cv2.TM_SQDIFF))
    np.testing.assert_array_equal(plain, image[top : top + side, left : left + side // 2])
    assert left <= 150 and left + side > 160 and top <= 140 and top + side > 160
    for picture, (_, _, wide, high) in zip(panels.pictures, panels.boxes, strict=True):
        assert picture.shape == (high, wide, 3)


def test_rings_lie_around_the_pixels_of_their_keypoints() -> None:
    image = np.full((600, 500, 3), 100, np.uint8)
    image[431, 322] = 255
    close = draw_panels(image, None, Dots(np.float32([[322, 431]]), np.float32([2.0]), (1.0, 2.0)), 640).pictures[2]
    (place,) = np.argwhere((close == 255).all(axis=-1) & (np.arange(close.shape[1]) > close.shape[1] // 2))
    ring = np.argwhere((close != 100).any(axis=-1) & (np.arange(close.shape[1]) > close.shape[1] // 2))
    np.testing.assert_allclose(ring.mean(axis=0), place, atol=0.4)
    assert np.linalg.norm(ring - place, axis=1).max() == pytest.approx(6.0, abs=1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("min_pixels_per_mm", 0.0), ("blurred_below", 1.5), ("near_copy_above", -0.1), ("near_copy_above", float("nan"))],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(PorePatchError, match=f"survey.{name} must"):
        SurveySettings(**{name: value})
