"""One contract for all descriptors: keypoints of an image and bare patches, hand-made, learned and third-party."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from porepatch_lib.descriptors.bare_patches import BARE, describe_bare, describe_bare_psift, ncc_descriptors
from porepatch_lib.descriptors.describe import describe_subject
from porepatch_lib.descriptors.networks import (
    build_network,
    choose_precision,
    describe_patches,
    halve_patches,
    load_network,
    network_class,
    network_names,
    resolve_device,
)
from porepatch_lib.descriptors.registry import (
    check_transferred,
    descriptor_names,
    descriptor_of_stage,
    hand_made_names,
    make_descriptor,
    sees_patch,
)
from porepatch_lib.descriptors.sift import describe_sift
from porepatch_lib.errors import PorePatchError
from porepatch_lib.keypoints.keypoints import Keypoints
from porepatch_lib.patches.sampler import sample_patches

DIMENSIONS = {"psift": 512, "psift_reference": 512, "psift-bare": 512, "ncc": 1024, "afsrnet": 384}  # of others 128
PHOTOGRAPH = {"psift", "psift128", "psift_reference", "sift", "rootsift"}
PLAIN = """
import torch
from torch import nn
from porepatch_lib.descriptors.network import DescriptorNetwork

class Means(DescriptorNetwork):
    patch_side, dimension, normalisation = 64, 4, "divided by 255"

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def features(self, patches):
        return self.gain * nn.functional.avg_pool2d(patches / 255, 32).flatten(1)

class Small(Means):
    patch_side = 32

    def features(self, patches):
        return self.gain * nn.functional.avg_pool2d(patches / 255, 16).flatten(1)

class Liar(Means):
    dimension = 5

class Thin(Means):
    patch_side = 48

class Fussy(Means):
    def __init__(self, width):
        super().__init__()

def function():
    pass
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights of every architecture, by name, written when first asked for."""
    folder = tmp_path_factory.mktemp("weights")

    def of(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            torch.manual_seed(0)
            save_file(build_network(name).state_dict(), path, {"architecture": name})
        return path

    return of


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """An importable module of a user's own."""
    (tmp_path / "own_networks.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    return {"means": "own_networks:Means"}


def texture(seed: int = 0, side: int = 200, blur: float = 1.5) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), blur), None, 0, 250, cv2.NORM_MINMAX)


def keypoints_at(x, y, sigma) -> Keypoints:
    columns = [np.asarray(column, np.float32) for column in (x, y, sigma, np.zeros(len(x)), np.zeros(len(x)))]
    return Keypoints(*columns, *np.zeros((2, len(x)), np.int8))


def made(name: str, weights, crop_factor: float = 24.0, threads: int = 1):
    return make_descriptor(
        name,
        weights=None if name in hand_made_names() else weights(name),
        crop_factor=crop_factor,
        threads=threads,
        device="cpu",
        precision="float32",
    )


@pytest.mark.parametrize("name", descriptor_names())
def test_every_descriptor_takes_keypoints_and_patches(name, weights):
    descriptor = made(name, weights)
    assert (descriptor.name, descriptor.dimension) == (name, DIMENSIONS.get(name, 128))
    assert descriptor.learned == (name not in hand_made_names())
    rng = np.random.default_rng(1)
    keypoints = keypoints_at(*rng.uniform(40, 160, (2, 9)), rng.uniform(1, 4, 9))
    grey = texture()
    patches = sample_patches(grey, keypoints.x, keypoints.y, keypoints.sigma, 24.0)
    order = rng.permutation(9)
    for rows, turned in (
        (descriptor.describe(grey, keypoints), descriptor.describe(grey, keypoints.select(order))),
        (descriptor.describe(patches), descriptor.describe(patches[order])),
    ):
        assert (rows.shape, rows.dtype) == ((9, descriptor.dimension), np.float32)
        np.testing.assert_allclose(turned, rows[order], atol=1e-5)
        assert len(np.unique(rows, axis=0)) == 9
        if name != "tfeat":
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (descriptor.sees == "patch") == sees_patch(name) == (name not in PHOTOGRAPH)
    same = np.array_equal(descriptor.describe(grey, keypoints), descriptor.describe(patches))
    assert same == sees_patch(name)
    assert descriptor.describe(patches[:0]).shape == descriptor.describe(grey, keypoints_at([], [], [])).shape
    assert descriptor.describe(patches[:0]).dtype == np.float32


@pytest.mark.parametrize("name", ["sift", "rootsift"])
def test_a_bare_patch_is_described_as_its_place_in_the_image(name, weights):
    """One patch pixel per image pixel, SIFT's support inside the patch; positions that OpenCV rounds as it rounds 31.5."""
    sigma, crop_factor = 64 / 24, 24.0
    x, y = np.array([61.5, 101.5, 91.5]), np.array([71.5, 81.5, 121.5])
    descriptor = made(name, weights, crop_factor)
    keypoints = keypoints_at(x, y, np.full(3, sigma))
    corners = [(int(b - 31.5), int(a - 31.5)) for a, b in zip(x, y, strict=True)]
    patches = np.stack([texture()[row : row + 64, column : column + 64] for row, column in corners])
    in_image, bare = descriptor.describe(texture(), keypoints), descriptor.describe(patches)
    assert (np.einsum("ij,ij->i", in_image, bare) > 0.99999).all()
    assert (np.einsum("ij,ij->i", in_image, np.roll(bare, 1, axis=0)) < 0.95).all()


@pytest.mark.parametrize(("name", "bins"), [("psift", 8), ("psift128", 4), ("psift_reference", 8)])
def test_psift_of_bare_patches_takes_sigma_from_the_crop_factor(name, bins, weights):
    patches = np.stack([texture(seed, 64) for seed in range(3)])
    found = made(name, weights, 48.0).describe(patches)
    np.testing.assert_array_equal(found, describe_bare_psift(patches, 64 / 48, bins))
    assert not np.allclose(found, made(name, weights, 24.0).describe(patches), atol=1e-2)


@pytest.mark.parametrize("name", BARE)
def test_bare_descriptors_take_the_sigma_given_or_the_keypoints_own(name):
    patches = np.stack([texture(seed, 64) for seed in range(3)])
    of_crop = make_descriptor(name, crop_factor=32.0, threads=1)
    np.testing.assert_array_equal(of_crop.describe(patches), describe_bare(name, patches, 2.0))
    given = make_descriptor(name, crop_factor=0.0, threads=1, sigma_px=3.7)  # of patches alone; the crop factor is unknown
    np.testing.assert_array_equal(given.describe(patches), describe_bare(name, patches, 3.7))


def test_ncc_is_of_the_patches_pixels():
    patches = np.stack([texture(seed, 64) for seed in range(3)])
    np.testing.assert_array_equal(make_descriptor("ncc", crop_factor=24.0, threads=1).describe(patches), ncc_descriptors(patches))


def test_networks_of_any_name_see_patches():
    assert all(sees_patch(name) for name in ("round1-hynet", "tfeat-liberty", *BARE, "ncc"))


def test_psift_of_a_bare_patch_is_that_of_the_image_where_its_support_fits(weights):
    sigma, crop_factor = 64 / 80, 80.0  # 48 sigma are 38 of the patch's 64 pixels
    grey = texture(3, blur=2.5)
    in_image = made("psift", weights, crop_factor).describe(grey, keypoints_at([90.5], [70.5], [sigma]))
    bare = made("psift", weights, crop_factor).describe(grey[39:103, 59:123][None])
    assert (in_image @ bare.T).item() > 0.98
    assert (in_image @ made("psift", weights, crop_factor).describe(grey[39:103, 51:115][None]).T).item() < 0.9


def test_the_mask_counts_for_the_reference_alone(weights):
    grey, keypoints = texture(), keypoints_at([100.0], [100.0], [1.5])
    mask = np.full_like(grey, 255)
    mask[:, 110:] = 0
    for name in ("psift", "psift_reference"):
        descriptor = made(name, weights)
        same = np.array_equal(descriptor.describe(grey, keypoints, mask), descriptor.describe(grey, keypoints))
        assert same != descriptor.needs_mask
        assert descriptor.needs_mask == (name == "psift_reference")


@pytest.mark.parametrize("name", ["psift", "rootsift"])
def test_threads_change_nothing(name, weights):
    patches = np.stack([texture(seed, 64) for seed in range(300)])
    np.testing.assert_array_equal(made(name, weights, threads=2).describe(patches), made(name, weights).describe(patches))


def test_wrong_pixels_are_refused(weights):
    descriptor = made("sift", weights)
    with pytest.raises(ValueError, match=r"patches \(N,64,64\) uint8, not float64"):
        descriptor.describe(np.zeros((2, 64, 64)))
    with pytest.raises(ValueError, match=r"not uint8 of shape \(2, 32, 32\)"):
        descriptor.describe(np.zeros((2, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="grey image"):
        descriptor.describe(np.zeros((9, 9, 3), np.uint8), keypoints_at([], [], []))


def test_sift_of_a_patch_is_at_its_middle(weights):
    patch = texture(4, 64)
    expected = describe_sift(patch, keypoints_at([31.5], [31.5], [64 / 12]), root=False)
    np.testing.assert_array_equal(made("sift", weights, 12.0).describe(patch[None]), expected)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("sitf", {}, "no descriptor 'sitf'; did you mean 'sift'"),
        ("zzz", {}, "use one of psift, psift128"),
        ("hynnet", {}, "did you mean 'hynet'"),
        ("hynet", {}, "is a network and needs weights"),
        ("sift", {"weights": "some.safetensors"}, "takes no weights; leave out some.safetensors"),
        ("means", {"networks": {"hynet": "own_networks:Means"}}, "belongs to a network of PorePatch"),
        ("sift", {"networks": {"psift": "own_networks:Means"}}, "belongs to a descriptor of PorePatch"),
        ("sift", {"networks": {"ncc": "own_networks:Means"}}, "belongs to a descriptor of PorePatch"),
        ("psift-bear", {}, "did you mean 'psift-bare'"),
        ("ncc", {"weights": "some.safetensors"}, "takes no weights"),
    ],
)
def test_wrong_names_are_user_errors(name, given, words):
    with pytest.raises(PorePatchError, match=words) as error:
        make_descriptor(name, crop_factor=12.0, threads=1, **given)
    assert str(error.value).endswith(("?", ".", ")"))


def test_weights_of_another_network_are_refused(weights, tmp_path):
    with pytest.raises(PorePatchError, match="of the network 'hynet', not of 'sosnet'"):
        make_descriptor("sosnet", weights=weights("hynet"), crop_factor=12.0, threads=1)
    save_file(build_network("hynet").state_dict(), tmp_path / "plain.safetensors")
    make_descriptor("hynet", weights=tmp_path / "plain.safetensors", crop_factor=12.0, threads=1)
    with pytest.raises(PorePatchError, match="do not fit the network 'sosnet'"):
        make_descriptor("sosnet", weights=tmp_path / "plain.safetensors", crop_factor=12.0, threads=1)


@pytest.mark.parametrize(("name", "file"), [("tfeat", "tfeat-liberty"), ("hardtfeat", "hardtfeat")])
def test_published_weights_without_metadata_load(shared, name, file):
    path = shared / "weights" / f"{file}.safetensors"
    descriptor = make_descriptor(name, weights=path, crop_factor=24.0, threads=1, device="cpu", precision="float32")
    rows = descriptor.describe(np.stack([texture(seed, 64) for seed in range(4)]))
    assert rows.shape == (4, 128)
    assert np.isfinite(rows).all()
    with pytest.raises(PorePatchError, match="do not name their architecture"):
        load_network(path)
    stage = {"crop_factor": 24.0, "threads": 1, "device": "cpu", "networks": None}
    transferred = descriptor_of_stage("my-name", path, **stage, architecture=name)
    assert transferred.name == "my-name"
    np.testing.assert_array_equal(transferred.describe(np.stack([texture(seed, 64) for seed in range(4)])), rows)


class Evil:
    def __reduce__(self):
        return (open, (Evil.path, "w"))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pickles_are_never_read(tmp_path, suffix, legacy):
    Evil.path = str(tmp_path / "hacked")
    path = tmp_path / f"published{suffix}"
    torch.save({"weight": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(PorePatchError, match=r"a pickle.*weights_only=True.*published\.safetensors"):
        load_network(path, architecture="hynet")
    assert not (tmp_path / "hacked").exists()


def test_the_sentence_about_pickles_works(tmp_path, weights):
    torch.save(load_network(weights("hynet")).state_dict(), tmp_path / "published.pth")
    with pytest.raises(PorePatchError) as error:
        load_network(tmp_path / "published.pth")
    commands = str(error.value).split("convert them once: ")[1].split(", with their own")[0]
    exec(f"import torch, safetensors.torch; {commands}", {})
    state = load_network(tmp_path / "published.safetensors").state_dict()
    torch.testing.assert_close(state, load_network(weights("hynet")).state_dict(), rtol=0, atol=0)


def test_safetensors_whose_header_looks_like_a_pickle_are_read(tmp_path, third_party):
    path = tmp_path / "w.safetensors"
    state = build_network("means", third_party).state_dict()
    for length in range(200):
        save_file(state, path, {"architecture": "means", "note": "x" * length})
        if path.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no header began with 0x80")
    load_network(path, third_party)


def test_a_third_party_network_is_a_descriptor(tmp_path, third_party):
    assert network_names(third_party)[-1] == descriptor_names(third_party)[-1] == "means"
    path = tmp_path / "means.safetensors"
    save_file(build_network("means", third_party).state_dict(), path, {"architecture": "means"})
    descriptor = make_descriptor("means", weights=path, crop_factor=24.0, threads=1, device="cpu", networks=third_party)
    patches = np.stack([texture(seed, 64) for seed in range(5)])
    quarters = patches.reshape(5, 2, 32, 2, 32).mean(axis=(2, 4)).reshape(5, 4)
    np.testing.assert_allclose(
        descriptor.describe(patches), quarters / np.linalg.norm(quarters, axis=1, keepdims=True), atol=1e-5
    )
    with pytest.raises(PorePatchError, match="no network 'means'"):
        load_network(path)


def test_a_third_party_network_may_lie_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    before = list(sys.path)
    assert network_class("means", {"means": "beside:Means"}).dimension == 4
    assert sys.path == before


@pytest.mark.parametrize(
    ("dotted", "words"),
    [
        ("own_networks", "write it as package.module:Class"),
        ("absent_module:Means", "cannot be imported: ModuleNotFoundError"),
        ("own_networks:Absent", "is no DescriptorNetwork"),
        ("own_networks:function", "is no DescriptorNetwork"),
        ("torch.nn:Identity", "is no DescriptorNetwork"),
        ("own_networks:Thin", "patch_side 48"),
        ("own_networks:Fussy", r"cannot be built: TypeError.*Fussy\(\) must work"),
    ],
)
def test_wrong_third_party_networks_are_user_errors(third_party, dotted, words):
    with pytest.raises(PorePatchError, match=words):
        build_network("mine", {"mine": dotted})


def test_a_network_that_gives_another_dimension_is_a_user_error(third_party):
    network = build_network("liar", {"liar": "own_networks:Liar"})
    with pytest.raises(PorePatchError, match=r"Liar gives \(2, 4\) for 2 patches, but its dimension is 5"):
        describe_patches(network, np.zeros((2, 64, 64), np.uint8), 2, "cpu", 1)


@pytest.mark.parametrize("architecture", ["trap:Means", "trap", "hynet "])
def test_what_a_weights_file_names_is_never_imported(tmp_path, monkeypatch, architecture, third_party):
    (tmp_path / "trap.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.safetensors"
    save_file({"gain": torch.ones(1)}, path, {"architecture": architecture})
    with pytest.raises(PorePatchError, match="no network"):
        load_network(path, third_party)
    assert "trap" not in sys.modules


@pytest.mark.parametrize("name", ["Means", "Small"])
def test_networks_see_the_side_they_take(third_party, name):
    """A network of 64 pixels sees the patches themselves, one of 32 the halved patches."""
    patches = np.stack([texture(seed, 64) for seed in range(3)])
    network = build_network("own", {"own": f"own_networks:{name}"})
    seen = torch.from_numpy(patches if name == "Means" else halve_patches(patches))[:, None].float()
    np.testing.assert_allclose(describe_patches(network, patches, 2, "cpu", 1), network(seen).detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", network_names())
def test_bfloat16_stays_near_float32(name, weights):
    patches = np.stack([texture(seed, 64) for seed in range(6)])
    network = load_network(weights(name))
    exact, fast = (describe_patches(network, patches, 6, "cpu", 1, precision) for precision in ("float32", "bfloat16"))
    assert fast.dtype == np.float32
    assert 0 < np.abs(exact - fast).max() < 2e-2


def test_devices_and_precisions():
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve_device("auto").type == kind
    for name in ("gpu", "cpu:x", "cuda7"):
        with pytest.raises(PorePatchError, match=f"no device '{name}'"):
            resolve_device(name)
    for name in ("cuda", "cuda:1", "mps"):
        if name[:3] != kind[:3]:
            with pytest.raises(PorePatchError, match=f"'{name}' is asked for"):
                resolve_device(name)
    cpu = torch.device("cpu")
    assert choose_precision("float32", cpu) == torch.float32
    assert choose_precision("bfloat16", cpu) == torch.bfloat16
    assert choose_precision("auto", torch.device("mps")) == torch.float32
    with pytest.raises(PorePatchError, match="no precision 'half'"):
        choose_precision("half", cpu)


def test_the_stage_takes_third_party_networks(tmp_path, third_party):
    from porepatch_lib.captures.views import View, write_views
    from porepatch_lib.files import read_array
    from porepatch_lib.geometry import Camera
    from porepatch_lib.keypoints.keypoints import write_keypoints

    path = tmp_path / "1.png"
    cv2.imwrite(str(path), texture())
    camera = Camera("SIMPLE_PINHOLE", 200, 200, (200.0, 100.0, 100.0))
    write_views(tmp_path / "images.parquet", [View(1, path.name, path, None, "", 1, 1, camera, False, None)])
    keypoints = keypoints_at([50, 80], [60, 90], [2, 3])
    write_keypoints(tmp_path / "keypoints.parquet", {1: keypoints})
    weights = tmp_path / "means.safetensors"
    save_file(build_network("means", third_party).state_dict(), weights, {"architecture": "means"})
    arguments = (tmp_path / "images.parquet", tmp_path / "keypoints.parquet", tmp_path / "out.npy", "psift", weights, 24.0, 1)
    describe_subject(*arguments, device="cpu", networks=third_party)
    patches = sample_patches(texture(), keypoints.x, keypoints.y, keypoints.sigma, 24.0)
    expected = describe_patches(load_network(weights, third_party), patches, 2, "cpu", 1)
    np.testing.assert_array_equal(read_array(tmp_path / "out.npy"), expected.astype(np.float16))
    with pytest.raises(PorePatchError, match="no network 'means'"):
        describe_subject(*arguments, device="cpu")


def test_transferred_networks_are_checked_before_anything_runs(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.touch()
    check_transferred({"mine": {"architecture": "tfeat", "weights": str(weights)}})
    for name in ("sift", "psift-bare", "hynet", "round0-mine", "imported-hynet", "benchmark-x"):
        with pytest.raises(PorePatchError, match=f"The name '{name}' in descriptors.transferred belongs to"):
            check_transferred({name: {"architecture": "tfeat", "weights": str(weights)}})
    with pytest.raises(PorePatchError, match="no network 'tfeet'; did you mean 'tfeat'"):
        check_transferred({"mine": {"architecture": "tfeet", "weights": str(weights)}})
    with pytest.raises(PorePatchError, match=r"no file .*away\.safetensors, the weights of 'mine'"):
        check_transferred({"mine": {"architecture": "tfeat", "weights": str(tmp_path / "away.safetensors")}})
