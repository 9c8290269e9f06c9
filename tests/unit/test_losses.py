"""The losses: by hand, against plain loops, derivatives, points without negatives, and no waiting for the device."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from porepatch_lib.errors import PorePatchError
from porepatch_lib.training.losses.afsrnet import afsrnet_loss
from porepatch_lib.training.losses.cdfstc import CdfSoftMarginLoss
from porepatch_lib.training.losses.hardnet import hardnet_loss
from porepatch_lib.training.losses.hynet import hynet_loss
from porepatch_lib.training.losses.make import LOSSES, make_loss
from porepatch_lib.training.losses.ralnet import ralnet_loss
from porepatch_lib.training.losses.sdgm import SdgmLoss
from porepatch_lib.training.losses.sosnet import sosnet_loss
from porepatch_lib.training.losses.tfeat import tfeat_loss

STATEFUL = ("sdgm", "cdfstc")


def _polar(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _chord(degrees: float, eps: float = 1e-6) -> float:
    return math.sqrt(2 - 2 * math.cos(math.radians(degrees)) + eps)


def _hybrid(degrees: float) -> float:
    return _chord(degrees) + _chord(degrees) ** 2


def _batch(points: int, dimension: int = 16, seed: int = 0, noise: float = 0.7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    anchors, change = torch.randn(2, points, dimension, generator=generator, dtype=torch.float64)
    return anchors, anchors + noise * change


# HyNet


def test_hynet_of_two_pairs_by_hand() -> None:
    # Anchors at 0 and 40 degrees, positives at 10 and 70. Pair 1: hardest negative is anchor 2 seen from positive 1, 30
    # degrees. Pair 2: the same 30 degrees from its anchor. Norms 2 against 1 in pair 1 cost 0.1 * (2 - 1)^2.
    anchors, positives = _polar(0, 40), _polar(10, 70)
    anchors[0] *= 2
    expected = (1.2 + _hybrid(10) - _hybrid(30)) + (1.2 + _hybrid(30) - _hybrid(30)) + 0.1
    assert hynet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-6)


def test_hynet_takes_the_hardest_of_all_four_sets() -> None:
    for anchors, positives, hardest in (
        (_polar(0, 20), _polar(90, 180), 20),  # anchor to anchor
        (_polar(0, 180), _polar(80, 95), 15),  # positive to positive
        (_polar(0, 100), _polar(60, 25), 25),  # anchor 1 to positive 2; anchor 2 to positive 1 is 40
    ):
        own = [math.degrees(math.acos(float(a @ p))) for a, p in zip(anchors, positives, strict=True)]
        expected = sum(max(1.2 + _hybrid(angle) - _hybrid(hardest), 0) for angle in own)
        assert hynet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-5)


def test_near_duplicates_are_no_negatives() -> None:
    # 0.2 degrees is a distance of 0.0036 <= 0.008: pair 2 is the same place as pair 1, and only pair 3 is a negative
    anchors = _polar(0, 0.2, 30)
    near, far = 1.2 + _hybrid(0) - _hybrid(29.8), 1.2 + _hybrid(0) - _hybrid(30)
    assert hynet_loss(anchors, anchors).item() == pytest.approx(2 * near + far, rel=1e-5)
    assert hynet_loss(_polar(0, 1), _polar(0, 1)).item() == pytest.approx(2 * (1.2 + _hybrid(0) - _hybrid(1)), rel=1e-5)


# HardNet, RAL-Net, AFSRNet: the hardest negative across the sides


def test_hardnet_looks_along_rows_and_columns_but_not_within_a_side() -> None:
    # Anchors 20 degrees from each other do not count. Pair 1: anchor 1 to positive 2 is 100 degrees, positive 1 (at 60) to
    # anchor 2 (at 20) is 40. Pair 2: anchor 2 to positive 1 is 40.
    anchors, positives = _polar(0, 20), _polar(60, 100)
    expected = ((1 + _chord(60) - _chord(40)) + (1 + _chord(80) - _chord(40))) / 2
    assert hardnet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-6)
    assert hardnet_loss(3 * anchors, 0.5 * positives).item() == pytest.approx(expected, rel=1e-6)
    assert hardnet_loss(anchors, positives, margin=0.1).item() == pytest.approx(expected - 0.9, rel=1e-6)


def test_ralnet_of_two_pairs_by_hand() -> None:
    anchors, positives = _polar(0, 20), _polar(60, 100)
    expected = 0.0
    for own in (60, 80):
        expected += (1 + math.tanh(2 * (math.cos(math.radians(40)) - math.cos(math.radians(own))))) / 2
    assert ralnet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-6)


def test_afsrnet_adds_the_asymmetry_of_the_distances() -> None:
    anchors, positives = _polar(0, 20), _polar(60, 100)
    squared = 2 - 2 * np.cos(np.radians([[60, 100], [40, 80]]))
    triplets = (2 + np.tanh(squared[0, 0] - squared[1, 0]) + np.tanh(squared[1, 1] - squared[1, 0])) / 2
    asymmetry = math.sqrt(2) * abs(squared[0, 1] - squared[1, 0]) / np.linalg.norm(squared)
    assert afsrnet_loss(anchors, positives).item() == pytest.approx(triplets + 0.1 * asymmetry, rel=1e-5)


@pytest.mark.parametrize("points", [7, 40])
def test_ralnet_equals_plain_loops(points: int) -> None:
    anchors, positives = _batch(points)
    a, p = (functional.normalize(side).numpy() for side in (anchors, positives))
    total = 0.0
    for i in range(points):
        others = [j for j in range(points) if j != i]
        hardest = min(min(2 - 2 * a[i] @ p[j] for j in others), min(2 - 2 * a[j] @ p[i] for j in others))
        total += 1 + np.tanh((2 - 2 * a[i] @ p[i]) - hardest)
    assert ralnet_loss(anchors, positives).item() == pytest.approx(total / points, rel=1e-9)


# SOSNet


def test_sosnet_of_three_pairs_by_hand() -> None:
    # With so few points all are neighbours of all. Distances among the anchors 40, 80, 40 degrees, among the positives 30,
    # 60, 30. Every negative is 30 degrees from its pair.
    anchors, positives = _polar(0, 40, 80), _polar(10, 40, 70)
    gaps = {10: _chord(40) - _chord(30), 20: _chord(80) - _chord(60)}
    second = 2 * math.sqrt(gaps[10] ** 2 + gaps[20] ** 2 + 1e-6) + math.sqrt(2 * gaps[10] ** 2 + 1e-6)
    triplets = [1.2 + _chord(10) - _chord(30), 1.2 + _chord(0) - _chord(30), 1.2 + _chord(10) - _chord(30)]
    expected = sum(max(triplet, 0) ** 2 for triplet in triplets) + second
    assert sosnet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-6)


def test_sosnet_compares_distances_to_neighbours_only() -> None:
    # One neighbour: 1 and 2 are each other's, 3 and 4 too, on both sides and across. The far pairs change, unseen.
    anchors, positives = _polar(0, 10, 90, 100), _polar(0, 10, 120, 135)
    second = 2 * math.sqrt(1e-6) + 2 * math.sqrt((_chord(10) - _chord(15)) ** 2 + 1e-6)
    hinges = sosnet_loss(anchors, positives, neighbours=0) - 4 * math.sqrt(1e-6)
    assert (sosnet_loss(anchors, positives, neighbours=1) - hinges).item() == pytest.approx(second, rel=1e-6)


# TFeat


def test_tfeat_of_three_triplets_by_hand() -> None:
    # On a line. Negative of pair i is positive i + 1; it is compared with the nearer of anchor and positive. Pair 3 goes on
    # with positive 1.
    anchors, positives = torch.tensor([[0.0], [4.0], [6.0]]), torch.tensor([[1.0], [3.0], [9.0]])
    expected = ((2 + 1 - 2) + max(2 + 1 - 5, 0) + max(2 + 3 - 5, 0)) / 3
    assert tfeat_loss(anchors, positives).item() == pytest.approx(expected, abs=1e-5)
    far = torch.zeros(3, 3, dtype=torch.bool)
    far[0, 1] = far[1, 0] = True  # pair 1 goes on to positive 3, pair 2 still to positive 3
    assert tfeat_loss(anchors, positives, far).item() == pytest.approx(0, abs=1e-5)


# CDF-STC


def test_cdf_soft_margin_by_hand() -> None:
    # Pairs at 60 and 80 degrees, both negatives at 40. Three bins, at -2, 0 and 2: a hardness h in (0, 2) puts 1 - h/2 into
    # the middle bin, and its weight is the share of bins up to the middle.
    anchors, positives = _polar(0, 20), _polar(60, 100)
    hardness = [_chord(own, 2e-6) - _chord(40, 2e-6) for own in (60, 80)]
    middle = sum(1 - h / 2 for h in hardness) / 2
    loss = CdfSoftMarginLoss(bins=3).double()
    assert loss(anchors, positives).item() == pytest.approx(middle * sum(hardness) / 2, rel=1e-5)
    assert loss.histogram.tolist() == pytest.approx([0, middle, 1 - middle], abs=1e-5)
    loss(_polar(0, 90), _polar(0, 90))  # hardness -1 twice: half in the first bin, half in the middle
    change = _chord(0, 2e-6) - _chord(90, 2e-6)
    expected = [
        0.99 * old + 0.01 * new for old, new in zip([0, middle, 1 - middle], [-change / 2, 1 + change / 2, 0], strict=True)
    ]
    assert loss.histogram.tolist() == pytest.approx(expected, abs=1e-5)


def _cdf_by_loops(histogram: NDArray[Any] | None, raw_a: Tensor, raw_p: Tensor) -> tuple[float, NDArray[Any]]:
    """One call, after `histogram` of earlier calls (None: the first), bin by bin."""
    a, p = (functional.normalize(side).numpy() for side in (raw_a, raw_p))
    distances = np.sqrt(2 * (1 - a @ p.T + 1e-6))
    shares, hardness = np.zeros(512), []
    for i in range(len(a)):
        rest = [j for j in range(len(a)) if j != i]
        hardness.append(distances[i, i] - min(distances[i, rest].min(), distances[rest, i].min()))
        place = (hardness[-1] + 2) / (4 / 511)
        below = int(np.floor(place))
        shares[below] += below + 1 - place
        shares[below + 1] += place - below
    shares /= shares.sum() + 1e-6
    histogram = shares if histogram is None else 0.99 * histogram + 0.01 * shares
    cdf = np.cumsum(histogram / histogram.sum())
    weights = [cdf[int(np.floor((h + 2) / (4 / 511)))] for h in hardness]
    return float(np.dot(weights, hardness) / len(a)), histogram


def test_cdf_soft_margin_equals_plain_loops() -> None:
    loss, histogram = make_loss("cdfstc", 1.0).double(), None
    for seed, points in enumerate((50, 9, 30)):
        anchors, positives = _batch(points, seed=seed)
        expected, histogram = _cdf_by_loops(histogram, anchors, positives)
        assert loss(anchors, positives).item() == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(loss.histogram.numpy(), histogram, atol=1e-9)


# SDGM


def test_sdgm_of_two_pairs_by_hand() -> None:
    # Angles to the positives 60 and 80 degrees, to the hardest negatives 20 (anchor to anchor). Early, all weights are 1.
    loss = SdgmLoss().double()
    power = 0.999 * 10_000 + 0.001 * 2
    expected = (0.9 * math.radians(140) - math.radians(40)) / power
    assert loss(_polar(0, 20), _polar(60, 100), done=0.05).item() == pytest.approx(expected, rel=1e-6)
    state = {name: value.item() for name, value in loss.state_dict().items()}
    assert state["pos_power"] == state["neg_power"] == pytest.approx(power)
    assert state["pos_ang_mean"] == pytest.approx(math.radians(70))
    assert state["diff_ang_std"] == pytest.approx(math.radians(20) / math.sqrt(2))
    assert state["diff_ang_mean"] == -1
    loss(_polar(0, 20), _polar(60, 100), done=0.05)
    assert loss.diff_ang_mean.item() == pytest.approx(-0.999 + 0.001 * math.radians(50))


def test_sdgm_weights_late_in_training() -> None:
    # Two pairs, differences of 20 and 60 degrees: the quantile 0.6 around the running mean 40, deviation 10, cuts the first.
    loss = SdgmLoss().double()
    for name, degrees in (("pos_ang", 70), ("neg_ang", 50), ("diff_ang", 40)):
        getattr(loss, f"{name}_mean").fill_(math.radians(degrees))
        getattr(loss, f"{name}_std").fill_(math.radians(10))
    state = copy.deepcopy(loss.state_dict())
    loss(_polar(0, 60), _polar(60, 160), done=0.5)  # to the positives 60 and 100; to the negatives 40 would be positive 1: below
    blended = {name: 0.999 * value.item() for name, value in state.items()}
    # Within 0.6 rad (34.4 degrees) is the same place: anchor 2 and positive 1 coincide, so neither pair has a negative.
    assert loss.neg_power.item() == pytest.approx(blended["neg_power"])
    assert loss.neg_ang_mean.item() == state["neg_ang_mean"].item()
    value = loss(_polar(0, 100), _polar(60, 160), done=0.5)  # to the positives 60, 60; hardest 40, 40: differences 20
    assert value.item() == 0  # cut
    assert loss.neg_ang_mean.item() == pytest.approx(0.999 * math.radians(50) + 0.001 * math.radians(40))
    value = loss(_polar(0, 140), _polar(100, 240), done=0.5)  # differences 60
    mean, deviation = loss.pos_ang_mean.item(), loss.pos_ang_std.item()
    weight = math.exp(-((math.radians(100) - mean) ** 2) / 2 / (math.pi / 6 + deviation) ** 2)
    mean, deviation = loss.neg_ang_mean.item(), loss.neg_ang_std.item()
    against = math.exp(-((math.radians(40) - mean) ** 2) / 2 / (math.pi / 6 + deviation) ** 2)
    expected = 2 * (0.9 * weight / loss.pos_power.item() * math.radians(100) - against / loss.neg_power.item() * math.radians(40))
    assert value.item() == pytest.approx(expected, rel=1e-9)


# What holds for all


def _fresh(name: str) -> Callable[..., Tensor]:
    """Return the loss by name, AFSRNet's without its regularisation, which takes all pairs whatever is marked."""
    if name == "afsrnet":
        return lambda anchors, positives, marked=None, done=0.0: afsrnet_loss(anchors, positives, marked, 0.0)
    return make_loss(name, 20.0 if name == "tfeat" else 1.2).double()


def _gradients(name: str, anchors: Tensor, positives: Tensor, marked: Tensor | None) -> Tensor:
    """Gradients (2,P,D) of anchors and positives."""
    sides = [side.clone().requires_grad_() for side in (anchors, positives)]
    _fresh(name)(*sides, marked, 0.0).backward()
    return torch.stack([torch.as_tensor(side.grad) for side in sides])


@pytest.mark.parametrize("name", LOSSES)
def test_marked_points_are_no_negatives(name: str) -> None:
    # A sixth pair that is a hard negative of the others: once marked, it is as if it were not there.
    anchors, positives = _batch(6, seed=1)
    anchors[5], positives[5] = anchors[:5].sum(0), positives[:5].sum(0)
    marked = torch.zeros(6, 6, dtype=torch.bool)
    marked[5] = True  # one direction is enough
    share = 5 / 6 if name in ("hardnet", "tfeat", "ralnet", "afsrnet", "cdfstc") else 1  # a mean counts the sixth pair as 0
    expected = share * _gradients(name, anchors[:5], positives[:5], None)
    torch.testing.assert_close(_gradients(name, anchors, positives, marked)[:, :5], expected, rtol=1e-5, atol=1e-9)
    assert not torch.allclose(_gradients(name, anchors, positives, None)[:, :5], expected, rtol=1e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_marked_is_the_published_loss(name: str) -> None:
    anchors, positives = _batch(12)
    none_marked = torch.zeros(12, 12, dtype=torch.bool)
    assert torch.equal(_gradients(name, anchors, positives, None), _gradients(name, anchors, positives, none_marked))


@pytest.mark.parametrize("done", [0.0, 0.5])
@pytest.mark.parametrize("name", LOSSES)
def test_without_any_negative_all_stays_finite(name: str, done: float) -> None:
    anchors, positives = (side.float().requires_grad_() for side in _batch(5))
    loss = make_loss(name, 1000.0)  # whatever the margin
    for _ in range(2):
        value = loss(anchors, positives, torch.ones(5, 5, dtype=torch.bool), done)
        value.backward()
        assert math.isfinite(value.item())
    assert all(bool(torch.isfinite(side.grad).all()) for side in (anchors, positives) if side.grad is not None)
    assert all(bool(torch.isfinite(buffer).all()) for buffer in loss.buffers())
    untouched = dict(make_loss(name, 1.2).named_buffers())
    for buffer in ("histogram", "neg_ang_mean", "diff_ang_std"):
        if buffer in untouched:
            assert torch.equal(untouched[buffer], dict(loss.named_buffers())[buffer])
    lengths = anchors.norm(dim=1) - positives.norm(dim=1)
    rest = {"hynet": 0.1 * lengths.square().sum().item(), "sosnet": 5e-3, "afsrnet": 0.1 * _asymmetry(anchors, positives)}
    assert value.item() == pytest.approx(rest.get(name, 0), rel=1e-4, abs=1e-12)  # terms that need no negatives
    loss(*_batch(8), None, done)  # and the next batch counts
    assert all(bool(torch.isfinite(buffer).all()) for buffer in loss.buffers())


def _asymmetry(anchors: Tensor, positives: Tensor) -> float:
    squared = torch.cdist(functional.normalize(anchors), functional.normalize(positives)).square()
    return ((squared - squared.T).norm() / squared.norm()).item()


@pytest.mark.parametrize("name", LOSSES)
def test_equal_descriptors_have_finite_gradients(name: str) -> None:
    same = torch.ones(4, 8, requires_grad=True)
    make_loss(name, 1.2)(same, same, None, 0.0).backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives(name: str) -> None:
    loss = make_loss(name, 20.0 if name == "tfeat" else 1.2).double()
    if isinstance(loss, CdfSoftMarginLoss):  # its weights have no gradient by definition: keep them from moving
        loss.histogram.copy_(torch.rand(512, generator=torch.Generator().manual_seed(2)))
        loss.started.fill_(True)
        loss.momentum = 0.0
    inputs = tuple(side.requires_grad_() for side in _batch(6, 5))
    assert torch.autograd.gradcheck(lambda a, p: copy.deepcopy(loss)(a, p, None, 0.0), inputs)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_float32(name: str) -> None:
    anchors, positives = (side.bfloat16() for side in _batch(12))
    value = make_loss(name, 1.2)(anchors, positives)
    assert value.dtype == torch.float32
    assert value == make_loss(name, 1.2)(anchors.float(), positives.float())


@pytest.mark.parametrize("name", STATEFUL)
def test_saved_state_continues(name: str) -> None:
    loss, resumed = make_loss(name, 1.0), make_loss(name, 1.0)
    for seed in range(3):
        loss(*_batch(20, seed=seed), None, 0.4)
    resumed.load_state_dict(loss.state_dict())
    last = _batch(20, seed=3)
    assert make_loss(name, 1.0)(*last, None, 0.4) != loss(*last, None, 0.4) == resumed(*last, None, 0.4)
    assert all(torch.equal(a, b) for a, b in zip(loss.buffers(), resumed.buffers(), strict=True))


class _NoWaiting(TorchDispatchMode):
    """Raises at operations for which a GPU would have to be waited for: values or shapes that depend on data."""

    _WAITING = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "is_nonzero",
        "item",
        "equal",
        "unique",
        "_unique2",
        "bincount",
    )

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self._WAITING or by_mask:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("done", [0.0, 0.5])
@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_waits_for_the_device(name: str, done: float) -> None:
    loss = make_loss(name, 1.2)
    anchors, positives = (side.float().requires_grad_() for side in _batch(12))
    with _NoWaiting():
        for marked in (None, torch.eye(12, dtype=torch.bool).roll(1, 0)):
            loss(anchors, positives, marked, done).backward()


def test_the_guard_sees_waiting() -> None:
    x = torch.arange(3.0)
    waiting: tuple[Callable[[], object], ...] = (x[0].item, lambda: x[x > 1], lambda: bool(x.sum() > 1), x.nonzero)
    for wait in waiting:
        with _NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
            wait()


def test_unknown_loss() -> None:
    with pytest.raises(PorePatchError, match=r"'loss' is 'hynett' but must be one of hynet, .*cdfstc; mend"):
        make_loss("hynett", 1.0)


def test_margins() -> None:
    anchors, positives = _batch(12)
    for name in LOSSES:
        differs = make_loss(name, 20.0)(anchors, positives) != make_loss(name, 10.0)(anchors, positives)
        assert bool(differs) == (name in ("hynet", "sosnet", "hardnet", "tfeat")), name
