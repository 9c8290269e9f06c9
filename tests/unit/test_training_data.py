"""The data side of training in closed form: patches from disk and memory, batches of points, augmentation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from porepatch_lib.descriptors.networks import halve_patches
from porepatch_lib.errors import PorePatchError
from porepatch_lib.training import data
from porepatch_lib.training.augmentation import affine, change, draw_changes, turn, warp
from porepatch_lib.training.data import MappedPatches, ResidentPatches, halve, open_source, to_device
from porepatch_lib.training.sampling import PointSampler, generator_for, make_sampler
from porepatch_lib.training.settings import TrainingSettings

CPU = torch.device("cpu")
PUBLISHED = TrainingSettings()
STILL = TrainingSettings(rotate=False, flip=False)
JITTERED = TrainingSettings(rotation_deg=5, shift_px=0.5, log2_scale=0.1, shear=0.05, log2_gain=0.2, offset_grey=5)
CHANCE_1_IN_1000 = {3: 16.3, 7: 24.3, 11: 31.3}  # chi-square that fair draws exceed so rarely, by degrees of freedom


# --- patches


def _store(folder: Path, count: int = 300) -> NDArray[np.uint8]:
    patches = np.random.default_rng(0).integers(0, 256, (count, 64, 64), dtype=np.uint8)
    np.save(folder / "patches.npy", patches)
    return np.load(folder / "patches.npy", mmap_mode="r")


@pytest.mark.parametrize("resident", ["never", "always"])
def test_patches_arrive_in_the_order_asked_for(tmp_path: Path, resident: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_BLOCK", 128)  # 300 patches in blocks of 128, the last one shorter
    store, rows = _store(tmp_path), np.array([299, 4, 4, 0, 130])
    whole = open_source(store, 64, CPU, resident).take(torch.from_numpy(rows))
    assert whole.dtype == torch.float32
    assert np.array_equal(whole.numpy(), store[rows][:, None])
    halved = open_source(store, 32, CPU, resident).take(torch.from_numpy(rows))
    assert np.array_equal(halved.numpy(), halve_patches(store[rows])[:, None])


def test_patches_come_from_any_array_and_a_cut_file_is_named(tmp_path: Path) -> None:
    store, rows = _store(tmp_path), torch.tensor([299, 4, 130])
    expected = open_source(store, 32, CPU, "never").take(rows)
    assert torch.equal(open_source(np.array(store), 32, CPU, "never").take(rows), expected)
    assert torch.equal(open_source(store[100:], 32, CPU, "never").take(rows[[0, 2]] - 100), expected[[0, 2]])
    cut = open_source(store, 32, CPU, "never")
    with (tmp_path / "patches.npy").open("r+b") as stream:
        stream.truncate(128 + 299 * 4096 + 5)
    with pytest.raises(PorePatchError, match=r"patches\.npy end before patch 299"):
        cut.take(rows)


def test_halving_is_that_of_the_description() -> None:
    patches = np.random.default_rng(1).integers(0, 256, (100, 64, 64), dtype=np.uint8)
    patches[0] = 255
    patches[1, :2, :8] = [[0, 0, 0, 1, 1, 1, 255, 255], [0, 1, 1, 0, 1, 0, 255, 254]]  # sums of 1, 2, 3 and 1019
    halved = halve(torch.from_numpy(patches)).numpy()
    assert halved.dtype == np.uint8
    assert halved[1, 0, :4].tolist() == [0, 1, 1, 255]
    assert np.array_equal(halved, halve_patches(patches))


def test_where_patches_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path)
    kinds = {setting: type(open_source(store, 32, CPU, setting)) for setting in ("auto", "never", "always")}
    assert kinds == {"auto": MappedPatches, "never": MappedPatches, "always": ResidentPatches}
    for free, kind in ((2 * 300 * 1024, ResidentPatches), (2 * 300 * 1024 - 1, MappedPatches)):  # as if the CPU were a GPU
        monkeypatch.setattr(data, "_free_memory", lambda device, free=free: free)
        assert type(open_source(store, 32, CPU, "auto")) is kind
    with pytest.raises(PorePatchError, match="'resident'"):
        open_source(store, 64, CPU, "always")


def test_mapped_patches_take_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "patches.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (2**18, 64, 64)})
        header = stream.tell()
        stream.truncate(header + 2**30)
        stream.seek(header + (2**18 - 1) * 4096)
        stream.write(bytes([7]) * 4096)
    source = open_source(np.load(tmp_path / "patches.npy", mmap_mode="r"), 32, CPU, "auto")
    rows = torch.randperm(2**18, generator=torch.Generator().manual_seed(0))
    source.take(rows[:10])
    before = _resident_bytes()
    for block in (*rows[:2000].split(200), torch.tensor([2**18 - 1])):
        taken = source.take(block)
    assert (taken == 7).all()
    assert _resident_bytes() - before < 30e6


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("this system does not tell the memory of a process")
    return int(statm.read_text().split()[1]) * 4096


# --- batches


def _index(points: int, views: int, spacing_px: float = 100.0) -> pd.DataFrame:
    rows = [("anna", point, view, spacing_px * point + view, 0.0) for point in range(points) for view in range(views)] + [
        ("anna", 10_000, 0, -1000.0, 0.0),
        ("bert", 0, 0, 0.0, 0.0),
    ]  # seen once: unusable
    return pd.DataFrame(rows, columns=["subject", "point_id", "image_id", "x", "y"])


def _sampler(index: pd.DataFrame, points_per_batch: int, seed: int = 5, radius_px: float = 10) -> PointSampler:
    return make_sampler(index, points_per_batch, radius_px, seed, CPU)


def test_batches_hold_two_patches_of_distinct_points_and_epochs_all_points() -> None:
    index = _index(points=40, views=3).sample(frac=1, random_state=0).reset_index(drop=True)
    sampler = _sampler(index, points_per_batch=20)
    seen: list[int] = []
    for step in range(20):
        batch = sampler.batch(step)
        anchors, positives = index.iloc[batch.anchors.numpy()], index.iloc[batch.positives.numpy()]
        assert (anchors["subject"] == "anna").all()
        assert (anchors["point_id"].to_numpy() == positives["point_id"].to_numpy()).all()
        assert (anchors["image_id"].to_numpy() != positives["image_id"].to_numpy()).all()
        assert not batch.not_negatives.any()
        seen += anchors["point_id"].tolist()
    for epoch in range(10):
        assert sorted(seen[40 * epoch : 40 * epoch + 40]) == list(range(40))
    assert seen[:40] != seen[40:80]


def test_points_left_over_sit_out_and_are_others_next_time() -> None:
    sampler = _sampler(_index(points=20, views=2), points_per_batch=17)
    assert sampler.batches_per_epoch == 1
    drawn = [frozenset((sampler.batch(epoch).anchors // 2).tolist()) for epoch in range(10)]
    assert all(len(points) == 17 for points in drawn)
    assert len(set(drawn)) > 1


def test_every_pair_of_views_is_drawn_equally_often() -> None:
    sampler = _sampler(_index(points=40, views=4), points_per_batch=40)
    batches = [sampler.batch(step) for step in range(300)]
    anchors, positives = (torch.cat([getattr(batch, side) for batch in batches]) % 4 for side in ("anchors", "positives"))
    counts = torch.bincount(4 * anchors + positives, minlength=16).view(4, 4)
    assert counts.diagonal().sum() == 0
    _require_fair(counts[~torch.eye(4, dtype=torch.bool)])


def test_batches_depend_on_seed_and_step_only() -> None:
    index = _index(points=40, views=3)
    forth, back, other = (_sampler(index, 20, seed) for seed in (5, 5, 6))
    first = [forth.batch(step) for step in range(7)]
    for step in (6, 0, 3, 3, 5, 4, 1, 2):
        again = back.batch(step)
        for name in ("anchors", "positives", "not_negatives"):
            assert torch.equal(getattr(again, name), getattr(first[step], name))
    assert not torch.equal(first[3].anchors, other.batch(3).anchors)
    assert not torch.equal(first[3].anchors, first[4].anchors)


def test_streams_of_random_numbers_differ() -> None:
    names = [(1,), (1, 0), (0, 1), (1, 0, 0), (2, 0), (1, 0, 1)]
    draws = {torch.randint(2**40, (4,), generator=generator_for(CPU, *name)) for name in names}
    assert len({tuple(draw.tolist()) for draw in draws}) == len(names)
    assert torch.equal(*(torch.rand(9, generator=generator_for(CPU, 3, 4)) for _ in range(2)))


def test_close_points_are_those_of_brute_force() -> None:
    random = np.random.default_rng(2)
    index = pd.DataFrame(
        {
            "subject": random.choice(["anna", "bert"], 900),
            "point_id": random.integers(120, size=900),
            "image_id": random.integers(3, size=900),
            "x": random.uniform(0, 150, 900),
            "y": random.uniform(0, 150, 900),
        }
    )
    sampler = _sampler(index, points_per_batch=50)
    name_of_row = list(zip(index["subject"], index["point_id"], strict=True))
    xy = index[["x", "y"]].to_numpy()
    close = np.linalg.norm(xy[:, None] - xy[None], axis=2) <= 10
    for column in ("subject", "image_id"):
        close &= index[column].to_numpy()[:, None] == index[column].to_numpy()[None]
    close_names = {(name_of_row[a], name_of_row[b]) for a, b in np.argwhere(close)}
    marked = 0
    for step in range(6):
        batch = sampler.batch(step)
        names = [name_of_row[row] for row in batch.anchors.tolist()]
        expected = [[a != b and (a, b) in close_names for b in names] for a in names]
        assert batch.not_negatives.tolist() == expected
        marked += int(batch.not_negatives.sum())
    assert marked > 100


def test_two_patches_of_one_photograph_are_no_pair() -> None:
    index = _index(points=20, views=2)
    again = pd.concat([index, index, index]).reset_index(drop=True)  # every patch three times, and the points seen once too
    sampler = _sampler(again, points_per_batch=20)
    for step in range(20):
        batch = sampler.batch(step)
        assert (batch.anchors // 2 == batch.positives // 2).all()  # the first of the three, of the same point
        assert (batch.anchors % 2 != batch.positives % 2).all()
        assert not batch.not_negatives.any()


def test_too_few_points(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PorePatchError, match="15 surface points"):
        _sampler(_index(points=15, views=2), 512)
    with caplog.at_level("INFO"):
        assert len(_sampler(_index(points=17, views=2), 512).batch(3).anchors) == 17
    assert "reduced from 512 to 17" in caplog.text


# --- augmentation


def augment(anchors: Tensor, positives: Tensor, settings: TrainingSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw and change, as a training step does."""
    return change(anchors, positives, draw_changes(len(anchors), settings, generator))


def _eight(patch: Tensor) -> list[Tensor]:
    return [seen.rot90(quarters, (-2, -1)) for seen in (patch, patch.flip(-1)) for quarters in range(4)]


def _require_fair(counts: Tensor) -> None:
    expected = counts.sum() / len(counts)
    assert float(((counts - expected) ** 2 / expected).sum()) < CHANCE_1_IN_1000[len(counts) - 1]


@pytest.mark.parametrize(("rotate", "flip", "kinds"), [(True, True, range(8)), (True, False, range(4)), (False, True, (0, 4))])
def test_turns_and_flips_are_symmetries_alike_for_both_and_equally_often(rotate: bool, flip: bool, kinds: range) -> None:
    patch = torch.arange(16.0).view(1, 1, 4, 4)
    settings = dataclasses.replace(PUBLISHED, rotate=rotate, flip=flip)
    anchors, positives = augment(patch.repeat(2000, 1, 1, 1), 100 + patch.repeat(2000, 1, 1, 1), settings, generator_for(CPU, 0))
    assert torch.equal(positives, anchors + 100)
    counts = torch.tensor([int((anchors == symmetry).flatten(1).all(1).sum()) for symmetry in _eight(patch)])
    assert counts.sum() == 2000
    assert counts[list(kinds)].sum() == 2000
    if len(kinds) > 2:
        _require_fair(counts[list(kinds)])


def test_turns_are_those_of_hynet(shared: Path) -> None:
    # aug.in and aug.out hold pairs in neighbouring rows, as HyNet's augmentation takes and returns them
    with np.load(shared / "reference/ubc/expected.npz") as stored:
        before, after = (torch.from_numpy(stored[name]) for name in ("aug.in", "aug.out"))
    ours = torch.stack([turn(before, torch.full((len(before),), kind)) for kind in range(8)])
    same = (ours == after).flatten(2).all(dim=2).view(8, -1, 2).all(dim=2)  # (8, pairs): both patches alike
    assert same.any(dim=0).all()
    assert same.any(dim=1).sum() >= 5  # 16 pairs: most of the eight occur


def test_what_is_off_is_not_done_and_draws_nothing() -> None:
    patches = torch.rand(4, 1, 32, 32)
    generator = generator_for(CPU, 0)
    before = generator.get_state()
    unchanged = augment(patches, patches, STILL, generator)
    assert unchanged[0] is patches
    assert unchanged[1] is patches
    assert torch.equal(generator.get_state(), before)


def test_warps_of_a_ramp_in_closed_form() -> None:
    # a patch whose grey value is 4 u + v + 100, u and v pixels right of and below the centre, stays linear under any warp
    along = torch.arange(32.0) - 15.5
    ramp = (4 * along + along[:, None] + 100)[None, None]
    inside = (..., slice(8, 24), slice(8, 24))

    def seen(angle_deg: float = 0, scale: float = 1, shear: float = 0, shift: tuple[float, float] = (0, 0)) -> Tensor:
        angle = torch.tensor([math.radians(angle_deg)])
        matrix = affine(angle, torch.tensor([scale]), torch.tensor([shear]))
        warped = warp(ramp, torch.cat([matrix, torch.tensor([[[shift[0]], [shift[1]]]])], dim=2))
        return warped[0, 0][inside[1:]] - 100

    u, v = along[inside[-1]].expand(16, 16), along[inside[-1]][:, None].expand(16, 16)
    assert seen() == pytest.approx(4 * u + v, abs=1e-3)
    assert seen(shift=(1, 0)) == pytest.approx(4 * (u + 1) + v, abs=1e-3)
    assert seen(shift=(0, 1)) == pytest.approx(4 * u + v + 1, abs=1e-3)
    assert seen(scale=1.5) == pytest.approx(1.5 * (4 * u + v), abs=1e-3)
    assert seen(angle_deg=90) == pytest.approx(4 * -v + u, abs=1e-3)  # looks where (u, v) turns to: (-v, u)
    assert seen(shear=0.25) == pytest.approx(4 * (u + v / 4) + v, abs=1e-3)
    turned_then = 2**0.5 / 2 * 1.2  # turn times scale times shear, in this order
    expected = 4 * (turned_then * (u + 0.1 * v - v)) + turned_then * (u + 0.1 * v + v)
    assert seen(45, 1.2, 0.1) == pytest.approx(expected, abs=1e-3)


def test_warp_by_whole_pixels_replicates_the_border() -> None:
    patch = torch.randint(0, 256, (1, 1, 64, 64), generator=generator_for(CPU, 1)).float()
    shifted = warp(patch, torch.tensor([[[1.0, 0, 1], [0, 1, 0]]]))
    assert torch.allclose(shifted, torch.cat([patch[..., 1:], patch[..., -1:]], dim=-1), atol=1e-2)
    doubled = warp(patch, torch.tensor([[[2.0, 0, 0], [0, 2, 0]]]))
    # twice the width on the patch: its inner half shows the 2x2 means of the whole
    means = torch.nn.functional.avg_pool2d(patch, 2)
    assert torch.allclose(doubled[..., 16:48, 16:48], means, atol=1e-2)


@pytest.mark.parametrize(
    ("setting", "spread", "measure"),
    [
        ("rotation_deg", 5.0, lambda warps: torch.rad2deg(torch.atan2(warps[..., 1, 0], warps[..., 0, 0]))),
        ("log2_scale", 0.2, lambda warps: torch.linalg.det(warps[..., :2]).log2() / 2),
        ("shear", 0.1, lambda warps: warps[..., 0, 1]),
        ("shift_px", 1.5, lambda warps: warps[..., 0, 2]),
        ("shift_px", 1.5, lambda warps: warps[..., 1, 2]),
    ],
)
def test_jitter_has_the_spread_asked_for(setting: str, spread: float, measure: Callable[[Tensor], Tensor]) -> None:
    changes = draw_changes(2000, dataclasses.replace(STILL, **{setting: spread}), generator_for(CPU, 0))
    assert changes.symmetries is None
    assert changes.gains is None
    assert changes.offsets is None
    assert changes.warps is not None
    drawn = measure(changes.warps)
    assert drawn.shape == (2, 2000)
    assert float(drawn.std()) == pytest.approx(spread, rel=0.05)
    assert abs(float(drawn.mean())) < 0.08 * spread
    assert abs(float(torch.corrcoef(drawn)[0, 1])) < 0.08  # anchor and positive apart


def test_light_is_gain_and_offset_within_the_range_of_grey() -> None:
    ramp = torch.linspace(60, 160, 32).expand(2000, 1, 32, 32)
    brighter, other = augment(ramp, ramp, dataclasses.replace(STILL, log2_gain=0.1), generator_for(CPU, 0))
    gains = (brighter / ramp).flatten(1)
    assert gains.std(dim=1).max() < 1e-5
    assert float(gains[:, 0].log2().std()) == pytest.approx(0.1, rel=0.1)
    assert not torch.equal(brighter, other)
    raised, _ = augment(ramp, ramp, dataclasses.replace(STILL, offset_grey=9), generator_for(CPU, 0))
    assert float((raised - ramp)[:, 0, 0, 0].std()) == pytest.approx(9, rel=0.1)
    clipped, _ = augment(ramp, ramp, dataclasses.replace(STILL, log2_gain=3, offset_grey=50), generator_for(CPU, 0))
    assert clipped.min() == 0
    assert clipped.max() == 255


@pytest.mark.parametrize("settings", [PUBLISHED, JITTERED])
def test_parts_of_a_batch_change_as_in_the_whole(settings: TrainingSettings) -> None:
    anchors, positives = 255 * torch.rand((2, 12, 1, 32, 32), generator=generator_for(CPU, 1))
    changes = draw_changes(12, settings, generator_for(CPU, 0))
    whole = augment(anchors, positives, settings, generator_for(CPU, 0))
    for part in (slice(0, 5), slice(5, 12)):
        changed = change(anchors[part], positives[part], changes.of_points(part))
        for side in (0, 1):
            assert torch.allclose(changed[side], whole[side][part], atol=1e-3)


# --- nothing waits


class _WaitError(AssertionError):
    pass


class _NoWaiting(TorchDispatchMode):
    """Raises where the host would have to wait for a GPU, or sends it numbers of its own."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        indices = [index for index in args[1] if index is not None] if name in ("index", "index_put", "index_put_") else []
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique_dim", "_unique2") or any(
            index.dtype == torch.bool for index in indices
        ):
            raise _WaitError(name)
        return function(*args, **(kwargs or {}))


def test_the_watch_sees_what_waits() -> None:
    ones = torch.ones(3)
    waits: list[Callable[[], object]] = [ones[0].item, ones.nonzero, lambda: bool(ones.sum() > 2)]
    waits += [lambda: ones[ones > 0], lambda: ones.masked_select(ones > 0), lambda: torch.tensor([1, 2])]
    for waiting in waits:
        with pytest.raises(_WaitError), _NoWaiting():
            waiting()


def test_no_step_waits(tmp_path: Path) -> None:
    source = open_source(_store(tmp_path), 32, CPU, "always")
    sampler = _sampler(_index(points=40, views=3, spacing_px=6), points_per_batch=20)
    with _NoWaiting():
        for step in range(4):
            batch = sampler.batch(step)
            sides = source.take(batch.anchors), source.take(batch.positives)
            augment(*sides, JITTERED, generator_for(CPU, 0, step))


# --- on a GPU, where there is one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_on_a_gpu_nothing_waits_and_patches_are_the_same(tmp_path: Path) -> None:
    gpu = torch.device("cuda")
    store, index = _store(tmp_path), _index(points=40, views=3, spacing_px=6)
    resident, mapped = (open_source(store, 32, gpu, setting) for setting in ("auto", "never"))
    assert isinstance(resident, ResidentPatches)
    sampler = make_sampler(index, 20, 10, 0, resident.rows_device)
    augment(*(resident.take(sampler.batch(0).anchors),) * 2, JITTERED, generator_for(gpu, 0))  # tables are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = sampler.batch(3)
        patches = resident.take(batch.anchors)
        augment(patches, patches, JITTERED, generator_for(gpu, 0, 3))
        from_disk = mapped.take(torch.arange(5))
        to_device(torch.zeros(5, dtype=torch.bool), gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(mapped.take(batch.anchors.cpu()), patches)
    assert torch.equal(resident.take(torch.arange(5, device=gpu)), from_disk)
