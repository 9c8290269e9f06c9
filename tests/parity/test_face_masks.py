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
from porepatch_lib.threads import map_threads

PEOPLE = ["002", "034", "096", "123"]
BoolArray = NDArray[np.bool_]
Image = NDArray[np.uint8]

_GAINS = {"dark": (0.7, 0.7, 0.7), "warm": (0.8, 1.0, 1.15), "cool": (1.15, 1.0, 0.85), "bright": (1.3, 1.3, 1.3)}


class Photograph:
    """A photograph, the parts of its outline, and the masks made of it as it is, mirrored, halved and lit otherwise."""

    def __init__(self, path: Path, outline: dict[str, Any], folder: Path) -> None:
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        self._size = image.shape[:2]
        self.parts = {name: self._filled(outline[name]) for name in ("face", "eyes", "brows", "lips", "nostrils", "beard")}
        self.skin = self.parts["face"] & ~np.any([self.parts[name] for name in ("eyes", "brows", "lips", "nostrils")], axis=0)
        self.images = {
            "as it is": image,
            "mirrored": np.ascontiguousarray(image[:, ::-1]),
            "half": np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8),
        } | {light: np.clip(image * np.array(gain), 0.0, 255.0).astype(np.uint8) for light, gain in _GAINS.items()}
        # Each on its own, as views of one subject would learn from each other.
        masks = map_threads(lambda name: made([self.images[name]], folder / name)[0], self.images, 2)
        self.masks = dict(zip(self.images, masks, strict=True))
        self.mask = self.masks["as it is"]

    def _filled(self, polygons: list[list[list[int]]]) -> BoolArray:
        canvas = np.zeros(self._size, np.uint8)
        for polygon in polygons:
            cv2.fillPoly(canvas, [np.array(polygon, np.int32)], 1)
        return canvas > 0


def made(images: list[Image], folder: Path) -> list[BoolArray]:
    folder.mkdir(exist_ok=True)
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
    assert overlap(photograph.masks["mirrored"][:, ::-1], photograph.mask) > 0.92


@pytest.mark.parametrize("light", ["dark", "warm", "cool"])
def test_light_changes_little(photograph: Photograph, light: str) -> None:
    assert overlap(photograph.masks[light], photograph.mask) > 0.92


def test_brightness_changes_little_until_skin_is_burnt_out(photograph: Photograph) -> None:
    """A third more light drives the fairest of the four into white, whose colour is lost."""
    burnt = float(np.mean(photograph.images["bright"][photograph.skin].max(axis=-1) == 255))
    assert overlap(photograph.masks["bright"], photograph.mask) > (0.92 if burnt < 0.3 else 0.85)


def test_half_the_size_has_the_same_mask(photograph: Photograph) -> None:
    size = photograph.mask.shape[1::-1]
    back = cv2.resize(photograph.masks["half"].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
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
    render_subject(Sitting("ann"), tmp_path / "images.parquet", settings, seed=5, threads=2)
    views = read_views(tmp_path / "images.parquet")
    truths = [load_mask(view) for view in views]
    masks = make_masks(views, MaskSettings(), 2)
    assert all(mask.shape == load_colour(view).shape[:2] for mask, view in zip(masks, views, strict=True))
    scores = [overlap(mask > 0, truth > 0) for mask, truth in zip(masks, truths, strict=True) if truth is not None]
    assert scores[2] > 0.8 and min(scores) > 0.6, scores
