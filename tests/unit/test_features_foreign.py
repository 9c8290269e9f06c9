"""Features and matches of other programs: out and in again, and what damaged files are told."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porepatch_lib.captures.eth import capture_eth
from porepatch_lib.captures.photographs import PhotographSettings
from porepatch_lib.captures.views import View, load_colour, read_views, write_views
from porepatch_lib.errors import PorePatchError
from porepatch_lib.features.exported import export_features
from porepatch_lib.features.imported import import_features, import_matches
from porepatch_lib.features.plain_images import without_metadata
from porepatch_lib.files import write_array
from porepatch_lib.geometry import Camera
from porepatch_lib.keypoints.keypoints import Keypoints, read_keypoints, write_keypoints
from porepatch_lib.sfm.eth_database import read_eth_database
from porepatch_lib.tables import MATCHES, read_table, write_table

WIDTH, HEIGHT, DIMENSION = 60, 44, 8
COUNTS = (30, 25, 0, 12)
# One whose JPEG serves as it is, one on its side, one developed, one with a blank and the joint of pairs.
NAMES = ("a.jpg", "b.jpg", "c.tif", "d 1---e.png")
EXPORTED = ("a.jpg", "b.jpg.png", "c.tif.png", "d_1_e.png")


@dataclass(frozen=True)
class Subject:
    """Files of a subject with four views, the third without keypoints."""

    folder: Path

    @property
    def files(self) -> tuple[Path, Path, Path, Path]:
        return (*(self.folder / f"{name}.parquet" for name in ("images", "keypoints")), *self.rest)

    @property
    def rest(self) -> tuple[Path, Path]:
        return self.folder / "descriptors.npy", self.folder / "matches.parquet"

    @property
    def images(self) -> Path:
        return self.folder / "images.parquet"

    def take(self, source: Path, matches: Path | None = None) -> None:
        """Import features, and matches, beside what was there."""
        import_features(self.images, source, self.folder / "in.parquet", self.folder / "in.npy")
        import_matches(self.images, self.folder / "in.parquet", matches or source, self.folder / "in_matches.parquet")


def _photograph(path: Path, shape: tuple[int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, noise)[1].tobytes())


def _subject(folder: Path) -> Subject:
    rng = np.random.default_rng(0)
    camera = Camera("SIMPLE_RADIAL", WIDTH, HEIGHT, (90.0, 29.5, 21.5, 0.01))
    files = ("a.jpg", "b.jpg", "c.tif.png", "d 1---e.png")
    views = []
    for image_id, (name, file) in enumerate(zip(NAMES, files, strict=True)):
        turned = image_id == 1
        _photograph(folder / file, (WIDTH, HEIGHT) if turned else (HEIGHT, WIDTH), image_id)
        views.append(
            View(image_id, name, folder / file, None, "", 6 if turned else 1, image_id % 2, camera, image_id % 2 == 0, None)
        )
    write_views(folder / "images.parquet", views)
    keypoints = {}
    for image_id, count in enumerate(COUNTS):
        x, y = rng.uniform(0.0, WIDTH - 1, count), rng.uniform(0.0, HEIGHT - 1, count)
        floats = [x, y, rng.uniform(1, 4, count), rng.uniform(-3, 3, count), rng.uniform(0, 1, count)]
        index = rng.integers(0, 3, count).astype(np.int8)
        keypoints[image_id] = Keypoints(*(column.astype(np.float32) for column in floats), index, index)
    write_keypoints(folder / "keypoints.parquet", keypoints)
    rows = rng.normal(size=(sum(COUNTS), DIMENSION))
    write_array(folder / "descriptors.npy", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))
    frames = []
    for one, two in ((0, 1), (1, 3)):
        size = 9
        first, second = (np.sort(rng.permutation(COUNTS[one])[:size]), rng.permutation(COUNTS[two])[:size])
        distance = rng.uniform(0, 1.4, size).astype(np.float32)
        columns = (np.full(size, one), np.full(size, two), first, second, distance, distance)
        frames.append(pd.DataFrame(dict(zip(MATCHES.schema.names, columns, strict=True))))
    write_table(folder / "matches.parquet", pd.concat(frames, ignore_index=True), MATCHES)
    return Subject(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The subject and its exports, made once."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "subject").mkdir()
    subject = _subject(folder / "subject")
    export_features(*subject.files, folder / "eth", folder / "features.h5", folder / "matches.h5")
    return folder


@pytest.fixture
def subject(made, tmp_path) -> Subject:
    shutil.copytree(made / "subject", tmp_path / "subject")
    return Subject(tmp_path / "subject")


@pytest.fixture
def eth(made, tmp_path) -> Path:
    return shutil.copytree(made / "eth", tmp_path / "eth")


@pytest.fixture
def hloc(made, tmp_path) -> tuple[Path, Path]:
    return Path(shutil.copy(made / "features.h5", tmp_path)), Path(shutil.copy(made / "matches.h5", tmp_path))


def _require_same(subject: Subject, angle_tolerance: float) -> None:
    """What came in is what went out: positions, scales, descriptors and matches bit for bit."""
    given, found = read_keypoints(subject.folder / "keypoints.parquet"), read_keypoints(subject.folder / "in.parquet")
    assert list(given) == list(found) == [0, 1, 3]
    for image_id, one in given.items():
        two = found[image_id]
        np.testing.assert_array_equal(one.xy, two.xy)
        np.testing.assert_array_equal(one.sigma, two.sigma)
        np.testing.assert_allclose(one.angle, two.angle, rtol=0, atol=angle_tolerance)
        assert set(two.response) == {1.0} and set(two.octave) == set(two.level) == {0}
    descriptors = np.load(subject.folder / "in.npy")
    assert descriptors.dtype == np.float32
    np.testing.assert_array_equal(descriptors, np.load(subject.folder / "descriptors.npy").astype(np.float32))
    ids = MATCHES.schema.names[:4]
    given_matches = read_table(subject.folder / "matches.parquet", MATCHES)
    found_matches = read_table(subject.folder / "in_matches.parquet", MATCHES)
    pd.testing.assert_frame_equal(given_matches[ids], found_matches[ids])


def test_an_exported_dataset_comes_back_as_it_was(subject, eth):
    subject.take(eth)
    _require_same(subject, angle_tolerance=0.0)


def test_exported_hloc_files_come_back_as_they_were(subject, hloc):
    subject.take(*hloc)
    _require_same(subject, angle_tolerance=1e-6)


def test_an_exported_dataset_has_everything_under_one_name(subject, eth):
    assert sorted(path.name for path in eth.iterdir()) == [
        *("database.db", "descriptors", "image-pairs.txt", "images", "keypoints", "matches")
    ]
    assert sorted(path.name for path in (eth / "images").iterdir()) == sorted(EXPORTED)
    for kind in ("keypoints", "descriptors"):
        assert sorted(path.name for path in (eth / kind).iterdir()) == sorted(f"{name}.bin" for name in EXPORTED)
    pairs = [(one, two) for i, one in enumerate(EXPORTED) for two in EXPORTED[i + 1 :]]
    assert (eth / "image-pairs.txt").read_text() == "".join(f"{one} {two}\n" for one, two in pairs)
    assert sorted(path.name for path in (eth / "matches").iterdir()) == sorted(f"{one}---{two}.bin" for one, two in pairs)
    assert (eth / "keypoints" / "c.tif.png.bin").read_bytes() == struct.pack("<ii", 0, 4)
    assert (eth / "descriptors" / "c.tif.png.bin").read_bytes() == struct.pack("<ii", 0, DIMENSION)
    entries = read_eth_database(eth / "database.db")
    views = dict(zip(EXPORTED, read_views(subject.images), strict=True))
    assert set(entries) == set(EXPORTED)
    for name, entry in entries.items():
        assert entry.camera == views[name].camera
    # Cameras 0 and 1 alternate.
    assert [entries[name].focal_is_prior for name in EXPORTED] == [True, False, True, False]
    assert entries[EXPORTED[0]].camera_id == entries[EXPORTED[2]].camera_id != entries[EXPORTED[1]].camera_id


def test_exported_images_are_the_upright_pixels(subject, eth):
    for name, view in zip(EXPORTED, read_views(subject.images), strict=True):
        np.testing.assert_array_equal(cv2.imread(str(eth / "images" / name), cv2.IMREAD_COLOR), load_colour(view))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_a_file_says_beside_its_pixels_is_left_out(suffix):
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1] if suffix == ".jpg" else []
    plain = cv2.imencode(suffix, noise, flags)[1].tobytes()
    secret = b"Exif\0\0Anna Maier"
    if suffix == ".jpg":
        segments = b"".join(b"\xff" + bytes([m]) + struct.pack(">H", 2 + len(secret)) + secret for m in (0xE1, 0xED, 0xFE))
        told = plain[:2] + segments + plain[2:]
    else:
        told = plain[:-12] + struct.pack(">I", len(secret)) + b"tEXt" + secret + b"\0\0\0\0" + plain[-12:]
    assert without_metadata(told + b"trailer of Anna Maier") == without_metadata(plain) == plain


def _half(path: Path) -> None:
    with h5py.File(path, "a") as file:
        for name in EXPORTED:
            for key in ("keypoints", "descriptors", "scales"):
                values = file[name][key][()].astype(np.float16)
                del file[name][key]
                file[name][key] = values


def test_half_precision_is_read_with_a_warning(subject, hloc, caplog):
    _half(hloc[0])
    subject.take(*hloc)
    given, found = read_keypoints(subject.folder / "keypoints.parquet"), read_keypoints(subject.folder / "in.parquet")
    np.testing.assert_array_equal(found[0].xy, given[0].xy.astype(np.float16).astype(np.float32))
    assert "half precision" in caplog.text and "0.03125 px" in caplog.text  # the step from 32 to 64 px


def test_hloc_names_with_folders_and_pairs_of_old(subject, hloc):
    features, matches = hloc
    with h5py.File(features, "a") as file:
        for name in EXPORTED:
            file.move(name, f"rig/cam/{name}")
            del file[f"rig/cam/{name}/scales"], file[f"rig/cam/{name}/oris"]
    with h5py.File(matches, "a") as file:
        file.move("a.jpg/b.jpg.png", "rig-cam-a.jpg/rig-cam-b.jpg.png")
        file.move("b.jpg.png/d_1_e.png", "b.jpg.png_d_1_e.png")
    subject.take(features, matches)
    assert len(read_table(subject.folder / "in_matches.parquet", MATCHES)) == 18
    found = read_keypoints(subject.folder / "in.parquet")[0]
    assert set(found.sigma) == {1.0} and set(found.angle) == {0.0}


def test_a_pair_the_other_way_round_is_turned(subject, eth, hloc):
    one = eth / "matches" / "a.jpg---b.jpg.png.bin"
    matches = np.frombuffer(one.read_bytes(), "<u4", offset=8).reshape(-1, 2)
    one.unlink()
    (eth / "matches" / "b.jpg.png---a.jpg.bin").write_bytes(struct.pack("<ii", *matches.shape) + matches[:, ::-1].tobytes())
    subject.take(eth)
    _require_same(subject, 0.0)


def test_only_listed_pairs_count(subject, eth):
    (eth / "image-pairs.txt").write_text("d_1_e.png b.jpg.png\n")
    subject.take(eth)
    matches = read_table(subject.folder / "in_matches.parquet", MATCHES)
    assert set(zip(matches["image_id_1"], matches["image_id_2"], strict=True)) == {(1, 3)}
    (eth / "image-pairs.txt").unlink()
    subject.take(eth)
    _require_same(subject, 0.0)


def test_scales_of_zero_stand_for_unknown(subject, eth):
    _edit(eth / "keypoints" / "a.jpg.bin", lambda rows: rows * np.array([1, 1, 0, 0]))
    subject.take(eth)
    assert set(read_keypoints(subject.folder / "in.parquet")[0].sigma) == {1.0}


def _edit(path: Path, change: Callable[[np.ndarray], np.ndarray], dtype: str = "<f4") -> None:
    data = path.read_bytes()
    rows = change(np.frombuffer(data, dtype, offset=8).reshape(struct.unpack("<ii", data[:8])).copy())
    path.write_bytes(struct.pack("<ii", *rows.shape) + np.ascontiguousarray(rows, dtype).tobytes())


def _set(place: tuple[int, int], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(rows: np.ndarray) -> np.ndarray:
        rows[place] = value
        return rows

    return change


def _header(rows: int, columns: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<ii", rows, columns) + path.read_bytes()[8:]) and None


KEYS, DESCS, PAIR = "keypoints/a.jpg.bin", "descriptors/a.jpg.bin", "matches/a.jpg---b.jpg.png.bin"
# File, what happens to it, what the sentence says.
ETH_DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    (KEYS, lambda p: p.write_bytes(p.read_bytes()[:-1]), "cut short"),
    (KEYS, lambda p: p.write_bytes(p.read_bytes()[:5]), "cut short"),
    (KEYS, lambda p: p.write_bytes(b""), "cut short"),
    (KEYS, lambda p: p.write_bytes(p.read_bytes() + b"x"), "too long"),
    (KEYS, _header(-3, 4), "-3 rows"),
    (KEYS, _header(3, -4), "-4 columns"),
    (KEYS, _header(2**31 - 1, 4), "cut short"),
    (KEYS, _header(24, 5), "5 columns where 4 belong"),
    (KEYS, lambda p: _edit(p, _set((3, 0), np.nan)), "not finite in keypoint 3"),
    (KEYS, lambda p: _edit(p, _set((3, 2), -1.0)), "negative scale in keypoint 3"),
    (KEYS, lambda p: _edit(p, _set((3, 0), 61.5)), "lie outside"),
    (KEYS, lambda p: _edit(p, lambda rows: rows * 2), "image of another size"),
    (KEYS, lambda p: _edit(p, lambda rows: rows[:-1]), "29 keypoints but 30 descriptors"),
    (KEYS, lambda p: p.unlink(), "There is no keypoints file"),
    (DESCS, lambda p: p.unlink(), "There is no descriptors file"),
    (DESCS, lambda p: _edit(p, _set((29, 7), np.inf)), "not finite in descriptor 29"),
    (DESCS, lambda p: _edit(p, lambda rows: rows[:, :5]), "5 values for"),
    (DESCS, lambda p: _edit(p, lambda rows: rows[:, :0]), "no columns"),
    ("descriptors", shutil.rmtree, "no folder descriptors"),
    (PAIR, lambda p: p.write_bytes(p.read_bytes()[:-4]), "cut short"),
    (PAIR, lambda p: _edit(p, _set((0, 0), 30), "<u4"), "keypoint 30 of an image with 30"),
    (PAIR, lambda p: _edit(p, _set((0, 1), 2**32 - 1), "<u4"), "-1, which stands for no match"),
    (PAIR, lambda p: _edit(p, lambda rows: np.hstack([rows, rows]), "<u4"), "4 columns where 2 belong"),
    (PAIR, lambda p: p.unlink(), "no matches of a.jpg and b.jpg"),
    (PAIR, lambda p: shutil.copy(p, p.with_name("a.jpg---z.jpg.bin")), "not both of them images"),
    (PAIR, lambda p: shutil.copy(p, p.with_name("a.jpg---a.jpg.bin")), "with itself"),
    (PAIR, lambda p: shutil.copy(p, p.with_name("b.jpg---a.jpg.bin")), "twice"),
    ("matches", lambda p: [file.unlink() for file in p.iterdir()], "has no matches"),
    ("image-pairs.txt", lambda p: p.write_text("\n \n"), "is empty"),
    ("image-pairs.txt", lambda p: p.write_bytes(b"\xff\xfe"), "not UTF-8"),
    ("image-pairs.txt", lambda p: p.write_text("a.jpg\n"), "Line 1"),
    ("image-pairs.txt", lambda p: p.write_text("a.jpg b.jpg\nb.jpg.png a.jpg\n"), "twice"),
    ("image-pairs.txt", lambda p: p.write_text("a.jpg a.jpg\n"), "with itself"),
]


def _require_one_sentence(error: PorePatchError, *words: str) -> None:
    text = str(error)
    assert all(word in text for word in words), text
    assert "\n" not in text and text.endswith(".") and len(text) < 400, text


@pytest.mark.parametrize(("name", "damage", "words"), ETH_DAMAGE, ids=[f"{i}-{d[2][:20]}" for i, d in enumerate(ETH_DAMAGE)])
def test_damaged_eth_files_are_refused_in_one_sentence(subject, eth, name, damage, words):
    damage(eth / name)
    with pytest.raises(PorePatchError) as caught:
        subject.take(eth)
    _require_one_sentence(caught.value, words, str(eth))


def _h5(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)

    return damage


def _put(key: str, change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    def replace_dataset(file: h5py.File) -> None:
        values = change(file[key][()])
        del file[key]
        file[key] = values

    return _h5(replace_dataset)


M0 = "a.jpg/b.jpg.png/matches0"
FEATURE_DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda p: p.write_bytes(p.read_bytes()[:1000]), "not a whole HDF5 file"),
    (lambda p: p.write_bytes(b"no file of HDF5" * 100), "not a whole HDF5 file"),
    (lambda p: p.write_bytes(b""), "not a whole HDF5 file"),
    (_h5(lambda f: f.__delitem__("a.jpg")), "no group 'a.jpg'"),
    (_h5(lambda f: f.__delitem__("a.jpg/descriptors")), "but no descriptors"),
    (_h5(lambda f: f.copy("a.jpg", "folder/a.jpg")), "two groups for the image a.jpg"),
    (_put("a.jpg/keypoints", lambda v: v[:, :1]), "not (N, 2)"),
    (_put("a.jpg/descriptors", lambda v: v[:, :-1]), "30 keypoints but 29"),
    (_put("a.jpg/keypoints", lambda v: v * np.nan), "not finite"),
    (_put("a.jpg/keypoints", lambda v: v.astype(np.int32)), "int32, not floats"),
    (_put("a.jpg/keypoints", lambda v: v + 40), "lie outside"),
    (_put("a.jpg/descriptors", lambda v: v.T), "stores (D, N)"),
    (_put("a.jpg/descriptors", lambda v: v.ravel()), "not (D, N)"),
    (_put("a.jpg/descriptors", lambda v: v[:3]), "3 values for"),
    (_put("a.jpg/scales", lambda v: -v), "negative scale"),
    (_put("a.jpg/scales", lambda v: v[:4]), "scales of shape (4,)"),
]
MATCH_DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda p: p.write_bytes(p.read_bytes()[:700]), "not a whole HDF5 file"),
    (_h5(lambda f: [f.__delitem__(key) for key in list(f)]), "no pair of images"),
    (_put(M0, lambda v: v[:-1]), "shape (29,)"),
    (_put(M0, lambda v: np.where(v >= 0, v + 25, v)), "of an image with 25 keypoints"),
    (_put(M0, lambda v: np.where(v >= 0, -7, v)), "names keypoint -7"),
    (_put(M0, lambda v: v.astype(np.float32)), "not integers"),
    (_h5(lambda f: f.copy("a.jpg/b.jpg.png", "b.jpg.png/a.jpg")), "twice"),
    (_h5(lambda f: f.copy("a.jpg/b.jpg.png", "a.jpg/z.jpg")), "not both of them images"),
    (_h5(lambda f: f.copy("a.jpg/b.jpg.png", "b.jpg/b.jpg.png")), "with itself"),
]


@pytest.mark.parametrize(("damage", "words"), FEATURE_DAMAGE, ids=[words for _, words in FEATURE_DAMAGE])
def test_damaged_features_of_hloc_are_refused_in_one_sentence(subject, hloc, damage, words):
    damage(hloc[0])
    with pytest.raises(PorePatchError) as caught:
        subject.take(*hloc)
    _require_one_sentence(caught.value, words, str(hloc[0]))


@pytest.mark.parametrize(("damage", "words"), MATCH_DAMAGE, ids=[words for _, words in MATCH_DAMAGE])
def test_damaged_matches_of_hloc_are_refused_in_one_sentence(subject, hloc, damage, words):
    damage(hloc[1])
    with pytest.raises(PorePatchError) as caught:
        subject.take(*hloc)
    _require_one_sentence(caught.value, words, str(hloc[1]))


@pytest.mark.parametrize(("name", "words"), [("nothing", "no features or matches"), ("features.mat", "neither a folder")])
def test_a_source_that_is_none(subject, tmp_path, name, words):
    (tmp_path / "features.mat").touch()
    with pytest.raises(PorePatchError, match=words):
        subject.take(tmp_path / name)


def test_two_matches_of_a_keypoint_have_no_place_in_hloc(subject, tmp_path):
    matches = read_table(subject.rest[1], MATCHES)
    write_table(subject.rest[1], matches.assign(keypoint_id_1=0), MATCHES)
    with pytest.raises(PorePatchError, match="has two matches"):
        export_features(*subject.files, tmp_path / "eth", tmp_path / "f.h5", tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_views_that_would_share_a_name_are_refused(subject, tmp_path):
    views = read_views(subject.images)
    write_views(subject.images, [replace(views[0], name="b.jpg.png", path=views[2].path), *views[1:]])
    with pytest.raises(PorePatchError, match="both be exported as"):
        export_features(*subject.files, tmp_path / "eth", tmp_path / "f.h5", tmp_path / "m.h5")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_bytes_are_read_or_refused(subject, eth, data):
    """Nothing but a sentence comes of damage: no crash, no other exception, no index that does not exist."""
    name = data.draw(st.sampled_from([KEYS, DESCS, PAIR]))
    path, whole = eth / name, (eth / name).read_bytes()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for place in data.draw(st.lists(st.integers(0, 15), max_size=3)):
        if place < len(damaged):
            damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    try:
        subject.take(eth)
    except PorePatchError as error:
        _require_one_sentence(error, str(eth))
    finally:
        path.write_bytes(whole)


def test_an_exported_dataset_can_be_captured_as_a_subject(subject, eth, tmp_path):
    """The folder is a subject of its own, with the same upright pixels and cameras, and takes the features in it."""
    images = tmp_path / "again" / "images.parquet"
    capture_eth("anna", eth, None, images, PhotographSettings())
    for one, two in zip(read_views(subject.images), read_views(images), strict=True):
        assert two.camera == one.camera and two.focal_is_prior == one.focal_is_prior and two.camera_id == one.camera_id
        np.testing.assert_array_equal(load_colour(two), load_colour(one))
    again = Subject(images.parent)
    again.take(eth)
    first, second = (read_keypoints(subject.folder / "keypoints.parquet"), read_keypoints(again.folder / "in.parquet"))
    np.testing.assert_array_equal(first[3].xy, second[3].xy)
