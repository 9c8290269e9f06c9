"""Made masks against outlines drawn by hand on photographs of four people, and against the masks of rendered faces.

The outlines (`face_outlines/*.json`) are polygons in pixels: the face from the hairline to the jaw, without ears and neck, and
its eyes, brows, lips and nostrils. `beard` marks moustache and goatee, which count neither way; pores between stubble are skin.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from porepatch_lib.captures.face_masks import MaskSettings, make_masks
from porepatch_lib.captures.views import View, load_colour, load_mask, read_views
from porepatch_lib.files import read_json
from porepatch_lib.geometry import Camera
from porepatch_lib.rendering.presets import render_settings
from porepatch_lib.rendering.render import render_subject
from porepatch_lib.rendering.sitting import Sitting

PEOPLE = ["002", "034", "096", "123"]
BoolArray = NDArray[np.bool_]
Image = NDArray[np.uint8]


class Photograph:
    """A photograph, its made mask and the parts of its outline."""

    def __init__(self, path: Path, outline: dict[str, Any], folder: Path) -> None:
        self.image = np.asarray(cv2.imread(str(path)), np.uint8)
        self.folder = folder
        self.parts = {name: self._filled(outline[name]) for name in ("face", "eyes", "brows", "lips", "nostrils", "beard")}
        self.skin = self.parts["face"] & ~np.any([self.parts[name] for name in ("eyes", "brows", "lips", "nostrils")], axis=0)
        self.mask = self.mask_of(self.image)

    def mask_of(self, image: Image) -> BoolArray:
        return made([image], self.folder)[0]

    def _filled(self, polygons: list[list[list[int]]]) -> BoolArray:
        canvas = np.zeros(self.image.shape[:2], np.uint8)
        for polygon in polygons:
            cv2.fillPoly(canvas, [np.array(polygon, np.int32)], 1)
        return canvas > 0


def made(images: list[Image], folder: Path) -> list[BoolArray]:
    views = []
    for index, image in enumerate(images):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), image)
        camera = Camera("SIMPLE_RADIAL", image.shape[1], image.shape[0], (1500.0, 1.0, 1.0, 0.0))
        views.append(View(index, path.name, path, None, "", 1, index, camera, True, None))
    return [mask > 0 for mask in make_masks(views, MaskSettings(), 1)]


def overlap(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module", params=PEOPLE)
def photograph(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Photograph:
    outline = read_json(Path(__file__).parent / "face_outlines" / f"london_{request.param}.json")
    return Photograph(shared / "data" / "skin" / outline["photograph"], outline, tmp_path_factory.mktemp("made"))


def test_mask_is_the_skin_that_was_outlined(photograph: Photograph) -> None:
    counted = ~photograph.parts["beard"]
    assert overlap(photograph.mask & counted, photograph.skin & counted) >= 0.85


@pytest.mark.parametrize("part", ["eyes", "brows", "lips", "nostrils"])
def test_features_are_left_out(photograph: Photograph, part: str) -> None:
    assert np.mean(~photograph.mask[photograph.parts[part]]) >= 0.9


def test_hair_ears_neck_clothes_and_background_are_left_out(photograph: Photograph) -> None:
    outside = photograph.mask & ~photograph.parts["face"]
    assert outside.sum() < 0.06 * photograph.mask.sum()
    far = cv2.distanceTransform((~photograph.parts["face"]).astype(np.uint8), cv2.DIST_L2, 5) > 60.0
    assert not photograph.mask[far].any()


def test_mirrored_photograph_has_the_mirrored_mask(photograph: Photograph) -> None:
    mirrored = photograph.mask_of(np.ascontiguousarray(photograph.image[:, ::-1]))[:, ::-1]
    assert overlap(mirrored, photograph.mask) > 0.92


@pytest.mark.parametrize("gain", [(0.7, 0.7, 0.7), (0.8, 1.0, 1.15), (1.15, 1.0, 0.85)], ids=["dark", "warm", "cool"])
def test_light_changes_little(photograph: Photograph, gain: tuple[float, float, float]) -> None:
    lit = np.clip(photograph.image * np.array(gain), 0.0, 255.0).astype(np.uint8)
    assert overlap(photograph.mask_of(lit), photograph.mask) > 0.92


def test_brightness_changes_little_until_skin_is_burnt_out(photograph: Photograph) -> None:
    """A third more light drives the fairest of the four into white, whose colour is lost."""
    lit = np.clip(photograph.image * 1.3, 0.0, 255.0).astype(np.uint8)
    burnt = float(np.mean(lit[photograph.skin].max(axis=-1) == 255))
    assert overlap(photograph.mask_of(lit), photograph.mask) > (0.92 if burnt < 0.3 else 0.85)


def test_half_the_size_has_the_same_mask(photograph: Photograph) -> None:
    small = np.asarray(cv2.resize(photograph.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    size = photograph.mask.shape[1::-1]
    back = cv2.resize(photograph.mask_of(small).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    assert overlap(back, photograph.mask) > 0.94


def test_a_crop_without_a_face_keeps_its_skin(shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = np.asarray(cv2.imread(str(shared / "data" / "skin" / "face4k_1.png")), np.uint8)
    mask = made([image], tmp_path)[0]
    assert "0.png" in caplog.text
    assert mask[500:900, 250:700].mean() > 0.99


def test_marble_is_warned_of(shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = cv2.imread(str(shared / "data" / "vespasian" / "images" / "IMG_1859.jpg"), cv2.IMREAD_REDUCED_COLOR_4)
    made([np.asarray(image, np.uint8)], tmp_path)
    assert "No face from the front was found in 0.png" in caplog.text


def test_rendered_faces_agree_with_their_truth(tmp_path: Path) -> None:
    """Their eyes are closed, so no eye is found, and their necks stay where no face is: hence the lower bounds."""
    settings = replace(
        render_settings({"preset": "nersemble"}),
        views=5,
        width=550,
        height=800,
        texel_mm=0.3,
        mesh_step_mm=2.5,
        supersampling=1,
    )
    render_subject(Sitting("ann"), tmp_path / "images.parquet", settings, seed=5, threads=1)
    views = read_views(tmp_path / "images.parquet")
    truths = [load_mask(view) for view in views]
    masks = make_masks(views, MaskSettings(), 1)
    assert all(mask.shape == load_colour(view).shape[:2] for mask, view in zip(masks, views, strict=True))
    scores = [overlap(mask > 0, truth > 0) for mask, truth in zip(masks, truths, strict=True) if truth is not None]
    assert scores[2] > 0.8 and min(scores) > 0.6, scores
