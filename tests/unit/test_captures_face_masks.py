"""Made masks: bare skin of a drawn face, doubtful views named, and the makers that users bring."""

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_faces import SKIN, DrawnFace, draw_face
from numpy.typing import NDArray

from porepatch_lib.captures.face_masks import MaskSettings, make_masks
from porepatch_lib.captures.landmarks import landmark_mask
from porepatch_lib.captures.skin_colour import fit_skin, learn_odds, log_colour, looks_like_skin
from porepatch_lib.captures.views import View
from porepatch_lib.errors import PorePatchError
from porepatch_lib.geometry import Camera, Pose
from porepatch_lib.rendering.rig import look_at

RED, BLUE = (20, 20, 230), (230, 20, 20)


def view_of(folder: Path, image: NDArray[np.uint8], name: str, orientation: int = 1) -> View:
    path = folder / name
    cv2.imwrite(str(path), image)
    height, width = image.shape[:2] if orientation < 5 else image.shape[1::-1]
    return View(
        0, name, path, None, "", orientation, 0, Camera("SIMPLE_RADIAL", width, height, (500.0, 1.0, 1.0, 0.0)), True, None
    )


def overlap(mask: NDArray[np.uint8], truth: NDArray[np.bool_]) -> float:
    kept = mask > 0
    return float((kept & truth).sum() / (kept | truth).sum())


@pytest.mark.parametrize("skin", [SKIN, (45, 65, 100), (150, 150, 190), (90, 150, 205)])
def test_mask_of_a_face_is_its_bare_skin(tmp_path: Path, skin: tuple[int, int, int], caplog: pytest.LogCaptureFixture) -> None:
    drawn = draw_face(skin=skin)
    mask = make_masks([view_of(tmp_path, drawn.image, "a.png")], MaskSettings(), 1)[0]
    assert mask.dtype == np.uint8 and mask.shape == drawn.skin.shape and set(np.unique(mask)) == {0, 255}
    assert overlap(mask, drawn.skin) > 0.9
    left_out = {name: float(np.mean(mask[part] == 0)) for name, part in drawn.parts.items()}
    assert min(left_out.values()) > 0.97, left_out
    assert not caplog.records


def test_masks_are_upright(tmp_path: Path) -> None:
    drawn = draw_face()
    stored = np.ascontiguousarray(np.rot90(drawn.image))
    mask = make_masks([view_of(tmp_path, stored, "turned.png", orientation=6)], MaskSettings(), 1)[0]
    assert mask.shape == drawn.skin.shape and overlap(mask, drawn.skin) > 0.9


def lying(drawn: DrawnFace) -> NDArray[np.uint8]:
    """The drawn face on its side, which no cascade finds."""
    return np.ascontiguousarray(np.rot90(drawn.image))


def kept(mask: NDArray[np.uint8], part: NDArray[np.bool_]) -> float:
    return float(np.mean(mask[np.rot90(part)] > 0))


def test_a_view_without_a_face_takes_the_colours_of_the_others_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = draw_face()
    views = [view_of(tmp_path, drawn.image, "front.png"), view_of(tmp_path, lying(drawn), "lying.png")]
    mask = make_masks(views, MaskSettings(), 1)[1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "lying.png" in caplog.text and "front.png" not in caplog.text
    assert kept(mask, drawn.skin) > 0.95
    assert max(kept(mask, drawn.parts[part]) for part in ("wall", "hair", "lips", "brows")) < 0.05


def test_without_any_face_skin_goes_by_the_colours_of_anyone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn = draw_face()
    mask = make_masks([view_of(tmp_path, lying(drawn), "lying.png")], MaskSettings(), 1)[0]
    assert "lying.png" in caplog.text and kept(mask, drawn.skin) > 0.9
    assert (
        max(kept(mask, drawn.parts[part]) for part in ("wall", "hair", "lips")) < 0.05 and kept(mask, drawn.parts["brows"]) < 0.2
    )


def test_an_empty_mask_is_warned_of_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey = np.full((120, 90, 3), 128, np.uint8)
    mask = make_masks([view_of(tmp_path, grey, "wall.png")], MaskSettings(), 1)[0]
    assert not mask.any() and "wall.png; its mask is empty" in caplog.text


def test_threads_make_the_same_masks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    images = [(drawn := draw_face()).image, draw_face(skin=(110, 145, 205)).image, lying(drawn)]
    views = [view_of(tmp_path, image, f"{index}.png") for index, image in enumerate(images)]
    for one, other in zip(make_masks(views, MaskSettings(), 1), make_masks(views, MaskSettings(), 3), strict=True):
        np.testing.assert_array_equal(one, other)


def camera_before_a_picture(
    image: NDArray[np.uint8], azimuth_deg: float, roll_deg: float
) -> tuple[NDArray[np.uint8], Camera, Pose]:
    """What a camera sees of a picture that hangs upright in the plane z = 0, a pixel of it a unit, its first one the origin."""
    height, width = image.shape[:2]
    middle, distance, side = np.array([0.5 * width, -0.5 * height, 0.0]), 2500.0, 900
    azimuth = np.radians(azimuth_deg)
    pose = look_at(middle + distance * np.array([np.sin(azimuth), 0.0, np.cos(azimuth)]), middle, np.radians(roll_deg))
    camera = Camera("SIMPLE_PINHOLE", side, side, (distance, 0.5 * side, 0.5 * side))
    focal = np.array([[distance, 0.0, 0.5 * side], [0.0, distance, 0.5 * side], [0.0, 0.0, 1.0]])
    homography = focal @ np.column_stack([pose.rotation[:, 0], -pose.rotation[:, 1], pose.translation])
    seen = cv2.warpPerspective(image, homography, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.uint8), camera, pose


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[View], dict[str, NDArray[np.bool_]]]:
    """Three views of a drawn face from the front, one on its side in which no face is found, and the parts of that one."""
    folder, drawn, views = tmp_path_factory.mktemp("rig"), draw_face(), []
    for azimuth_deg, roll_deg in ((-15.0, 0.0), (1.0, 0.0), (16.0, 0.0), (-8.0, 90.0)):
        image, camera, pose = camera_before_a_picture(drawn.image, azimuth_deg, roll_deg)
        view = view_of(folder, image, "lying.png" if roll_deg else f"front_{len(views)}.png")
        views.append(replace(view, camera=camera, pose=pose))
    parts = {
        name: camera_before_a_picture(part.astype(np.uint8), -8.0, 90.0)[0] > 0
        for name, part in {**drawn.parts, "skin": drawn.skin}.items()
    }
    return views, parts


def test_views_of_known_pose_place_the_face_in_a_view_without_one(
    rig: tuple[list[View], dict[str, NDArray[np.bool_]]], caplog: pytest.LogCaptureFixture
) -> None:
    views, parts = rig
    mask = make_masks(views, MaskSettings(), 1)[3] > 0
    kept_parts = {name: float(mask[part].mean()) for name, part in parts.items()}
    assert not caplog.records
    assert kept_parts["skin"] > 0.75  # the outlines are generous
    assert max(kept_parts[name] for name in ("eyes", "brows", "lips", "nostrils", "wall", "hair")) < 0.03, kept_parts
    unplaced = make_masks([replace(view, pose=None) for view in views], MaskSettings(), 1)[3] > 0
    assert "lying.png" in caplog.text
    assert kept_parts["neck"] < 0.5 * unplaced[parts["neck"]].mean()


def test_two_posed_views_from_the_front_change_no_mask(rig: tuple[list[View], dict[str, NDArray[np.bool_]]]) -> None:
    views = [rig[0][0], rig[0][2], rig[0][3]]
    bare = make_masks([replace(view, pose=None) for view in views], MaskSettings(), 1)
    for one, other in zip(make_masks(views, MaskSettings(), 1), bare, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mouth_found_amiss_is_moved_to_where_other_views_place_it(
    rig: tuple[list[View], dict[str, NDArray[np.bool_]]], tmp_path: Path
) -> None:
    drawn = draw_face()
    rows = slice(*np.flatnonzero(drawn.parts["lips"].any(axis=1))[[0, -1]])
    drawn.image[rows, 240:360] = drawn.image[rows.start - 8, 240:360]  # lips as fair as skin, without a line between them
    drawn.image[430:434, 240:360] = 20  # a moustache
    image, camera, pose = camera_before_a_picture(drawn.image, 6.0, 0.0)
    lips = camera_before_a_picture(drawn.parts["lips"].astype(np.uint8), 6.0, 0.0)[0] > 0
    view = replace(view_of(tmp_path, image, "moustache.png"), camera=camera)
    alone, placed = (make_masks([*rig[0][:3], replace(view, pose=one)], MaskSettings(), 1)[3] > 0 for one in (None, pose))
    assert alone[lips].mean() > 0.3
    assert placed[lips].mean() < 0.05


def test_log_colour_turns_light_into_offsets() -> None:
    image = np.random.default_rng(0).integers(60, 120, (20, 30, 3), np.uint8)
    change = log_colour((image * 2).astype(np.uint8)) - log_colour(image)
    np.testing.assert_allclose(change[..., 0], np.log(2.0), atol=0.04)
    np.testing.assert_allclose(change[..., 1:], 0.0, atol=0.04)


def test_skin_model_bears_a_fifth_of_strangers() -> None:
    rng = np.random.default_rng(0)
    skin = rng.normal([5.0, 0.2, -0.1], [0.3, 0.05, 0.06], (4000, 3))
    model = fit_skin(np.concatenate([skin, rng.normal([2.0, 0.0, 0.0], 0.1, (800, 3))]))
    np.testing.assert_allclose(model.median, [5.0, 0.2, -0.1], atol=0.12)
    assert model.distance(model.median + 2.0 * model.deviation * [1, 0, 0]) == pytest.approx(2.0)


def test_odds_part_what_they_were_taught() -> None:
    rng = np.random.default_rng(0)
    skin, wall = (rng.normal(mean, 0.05, (3000, 3)) for mean in ([5.0, 0.3, -0.2], [5.0, 0.0, 0.0]))
    odds = learn_odds(skin, wall)
    assert odds.of(skin).mean() > 0.95 and odds.of(wall).mean() < 0.05
    assert odds.of(np.array([[2.0, 0.0, 0.3]]))[0] < 0.1


@pytest.mark.parametrize(("bgr", "skin"), [(SKIN, True), ((45, 65, 100), True), ((128,) * 3, False), ((200, 120, 40), False)])
def test_skin_of_anyone_is_no_wall(bgr: tuple[int, int, int], skin: bool) -> None:
    assert looks_like_skin(np.full((2, 2, 3), bgr, np.uint8)).all() == skin


# Makers of the user's own

RED_HALF = np.where(np.arange(64)[None, :, None] < 32, np.uint8(RED), np.uint8(BLUE)).repeat(48, axis=0)
OWN = """
import numpy as np
def good(image): return image[..., 2] > 128
def bytes_(image): return np.where(image[..., 2] > 128, 7, 0).astype(np.uint8)
def small(image): return np.ones((3, 3), bool)
def floats(image): return np.ones(image.shape[:2])
def nothing(image): return None
def landmarks(image): return np.load("landmarks.npy") * min(image.shape[:2])
def lost(image): return np.full((68, 2), np.nan)
def failing(image): raise ValueError("no luck")
number = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_masks_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("function", ["good", "bytes_"])
def test_own_function_of_the_current_folder_makes_masks(own_module: str, tmp_path: Path, function: str) -> None:
    settings = MaskSettings(maker=f"{own_module}:{function}")
    mask = make_masks([view_of(tmp_path, RED_HALF, "a.png")], settings, 1)[0]
    np.testing.assert_array_equal(mask, np.where(np.arange(64) < 32, np.uint8(255), np.uint8(0))[None].repeat(48, axis=0))


def test_own_function_may_give_landmarks(own_module: str, tmp_path: Path) -> None:
    points = np.random.default_rng(1).uniform(0.2, 0.8, (68, 2))
    np.save(tmp_path / "landmarks.npy", points)
    mask = make_masks([view_of(tmp_path, RED_HALF, "a.png")], MaskSettings(maker=f"{own_module}:landmarks"), 1)[0]
    np.testing.assert_array_equal(mask, landmark_mask(48.0 * points, (48, 64)))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("small", "bool of shape \\(3, 3\\) for an image of 48 rows and 64 columns"),
        ("floats", "float64"),
        ("nothing", "object"),
        ("lost", "68 finite landmarks"),
        ("failing", "ValueError: no luck"),
        ("number", "no function 'number'"),
        ("missing", "no function 'missing'"),
    ],
)
def test_own_function_is_checked(own_module: str, tmp_path: Path, function: str, words: str) -> None:
    with pytest.raises(PorePatchError, match=words):
        make_masks([view_of(tmp_path, RED_HALF, "a.png")], MaskSettings(maker=f"{own_module}:{function}"), 1)


@pytest.mark.parametrize("maker", ["no_such_module:f", ":f", "module:"])
def test_own_function_must_exist(tmp_path: Path, maker: str) -> None:
    with pytest.raises(PorePatchError, match=r"masks\.maker"):
        make_masks([view_of(tmp_path, RED_HALF, "a.png")], MaskSettings(maker=maker), 1)


def network(path: Path, kind: str = "scores", side: int | str = "s") -> Path:
    """Write a tiny network: a 1x1 convolution whose class 1 is red."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, types = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    classes = 1 if kind == "probability" else 2
    weights = np.zeros((classes, 3, 1, 1), np.float32)
    weights[-1, :, 0, 0] = [4.0, 0.0, -4.0]
    nodes = [helper.make_node("Conv", ["image", "weights"], ["scores"])]
    last, shape = "scores", [1, classes, side, side]
    if kind == "probability":
        nodes.append(helper.make_node("Sigmoid", ["scores"], ["probability"]))
        last = "probability"
    if kind == "labels":
        nodes.append(helper.make_node("ArgMax", ["scores"], ["labels"], axis=1, keepdims=0))
        last, shape = "labels", [1, side, side]
    if kind == "vector":
        nodes.append(helper.make_node("Flatten", ["scores"], ["vector"]))
        last, shape = "vector", [1, "n"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", types.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(last, types.INT64 if kind == "labels" else types.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("kind", ["scores", "probability", "labels"])
def test_network_labels_red_as_skin(tmp_path: Path, kind: str) -> None:
    maker = str(network(tmp_path / "net.onnx", kind, 64))
    settings = MaskSettings(maker=maker, onnx_input_px=64, onnx_skin_classes=(1,))
    mask = make_masks([view_of(tmp_path, RED_HALF, "a.png")], settings, 1)[0]
    assert mask.shape == (48, 64) and set(np.unique(mask)) == {0, 255}
    assert (mask[:, :31] == 255).all() and (mask[:, 33:] == 0).all()


def test_network_of_class_numbers_beyond_its_own_is_named(tmp_path: Path) -> None:
    maker = str(network(tmp_path / "net.onnx", side=64))
    with pytest.raises(PorePatchError, match="names class 10"):
        make_masks([view_of(tmp_path, RED_HALF, "a.png")], MaskSettings(maker=maker, onnx_input_px=64), 1)


def test_network_that_gives_no_image_is_named(tmp_path: Path) -> None:
    maker = str(network(tmp_path / "net.onnx", "vector", 64))
    with pytest.raises(PorePatchError, match=r"net\.onnx gives an array of shape"):
        make_masks([view_of(tmp_path, RED_HALF, "a.png")], MaskSettings(maker=maker, onnx_input_px=64), 1)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b"", "no ONNX file"), (b"not a network", "no ONNX file")]
)
def test_network_file_must_be_one(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PorePatchError, match=words):
        make_masks([view_of(tmp_path, RED_HALF, "a.png")], MaskSettings(maker=str(path)), 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"maker": "magic"}, "masks.maker"),
        ({"maker": ""}, "masks.maker"),
        ({"erosion_px": -1}, "masks.erosion_px"),
        ({"dilation_px": -2}, "masks.dilation_px"),
        ({"onnx_input_px": 8}, "masks.onnx_input_px"),
        ({"onnx_mean": (0.5, 0.5)}, "masks.onnx_mean"),
        ({"onnx_mean": (0.5, 0.5, float("nan"))}, "masks.onnx_mean"),
        ({"onnx_deviation": (0.2, 0.0, 0.2)}, "masks.onnx_deviation"),
        ({"onnx_skin_classes": ()}, "masks.onnx_skin_classes"),
        ({"onnx_skin_classes": (-1,)}, "masks.onnx_skin_classes"),
    ],
)
def test_settings_name_what_is_wrong(values: dict, words: str) -> None:
    with pytest.raises(PorePatchError, match=words):
        MaskSettings(**values)
