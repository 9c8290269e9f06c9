"""Loss, batches, augmentation, schedule and settings of the training stage, in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from porepatch_lib.errors import PorePatchError
from porepatch_lib.training.augmentation import augment
from porepatch_lib.training.checkpoints import History
from porepatch_lib.training.loop import learning_rate_factor
from porepatch_lib.training.losses import hynet_loss
from porepatch_lib.training.sampling import make_sampler
from porepatch_lib.training.settings import TrainingSettings

PUBLISHED = TrainingSettings()


def _polar(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _hybrid(degrees: float) -> float:
    distance = math.sqrt(2 - 2 * math.cos(math.radians(degrees)) + 1e-6)
    return distance + distance**2


def test_loss_of_two_pairs_by_hand() -> None:
    # Anchors at 0 and 40 degrees, positives at 10 and 70. Pair 1: hardest negative is anchor 2 seen from positive 1, 30
    # degrees. Pair 2: the same 30 degrees from its anchor. Norms 2 against 1 in pair 1 cost 0.1 * (2 - 1)^2.
    anchors, positives = _polar(0, 40), _polar(10, 70)
    anchors[0] *= 2
    expected = (1.2 + _hybrid(10) - _hybrid(30)) + (1.2 + _hybrid(30) - _hybrid(30)) + 0.1
    assert hynet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-6)


def test_loss_takes_the_hardest_of_all_four_sets() -> None:
    for anchors, positives, hardest in (
        (_polar(0, 20), _polar(90, 180), 20),  # anchor to anchor
        (_polar(0, 180), _polar(80, 95), 15),  # positive to positive
        (_polar(0, 100), _polar(60, 25), 25),  # anchor 1 to positive 2; anchor 2 to positive 1 is 40
    ):
        own = [math.degrees(math.acos(float(a @ p))) for a, p in zip(anchors, positives, strict=True)]
        expected = sum(max(1.2 + _hybrid(angle) - _hybrid(hardest), 0) for angle in own)
        assert hynet_loss(anchors, positives).item() == pytest.approx(expected, rel=1e-5)


def test_masked_points_are_no_negatives() -> None:
    anchors, positives = _polar(0, 40).requires_grad_(), _polar(10, 70)
    loss = hynet_loss(anchors, positives, torch.ones(2, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)  # no negative at all: nothing to separate
    assert torch.isfinite(anchors.grad).all()


def test_near_duplicates_are_no_negatives() -> None:
    # 0.2 degrees is a distance of 0.0036 <= 0.008: pair 2 is the same place as pair 1, and only pair 3 is a negative
    anchors = _polar(0, 0.2, 120)
    expected = 2 * max(1.2 + _hybrid(0) - _hybrid(119.8), 0) + max(1.2 + _hybrid(0) - _hybrid(119.8), 0)
    assert hynet_loss(anchors, anchors).item() == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert hynet_loss(_polar(0, 1), _polar(0, 1)).item() == pytest.approx(2 * (1.2 + _hybrid(0) - _hybrid(1)), rel=1e-5)


def _index(points: int, views: int, spacing_px: float = 100.0) -> pd.DataFrame:
    rows = [("anna", point, view, spacing_px * point + view, 0.0) for point in range(points) for view in range(views)] + [
        ("anna", 10_000, 0, -1000.0, 0.0),
        ("bert", 0, 0, 0.0, 0.0),
    ]  # seen once: unusable
    return pd.DataFrame(rows, columns=["subject", "point_id", "image_id", "x", "y"])


def test_batches_hold_two_patches_of_distinct_points_and_epochs_all_points() -> None:
    index = _index(points=40, views=3).sample(frac=1, random_state=0).reset_index(drop=True)
    sampler = make_sampler(index, points_per_batch=20, neighbour_radius_px=10, seed=5)
    seen, pairs = [], set()
    for step in range(20):
        batch = sampler.batch(step)
        anchors, positives = index.iloc[batch.anchors], index.iloc[batch.positives]
        assert (anchors["point_id"].to_numpy() == positives["point_id"].to_numpy()).all()
        assert (anchors["image_id"].to_numpy() != positives["image_id"].to_numpy()).all()
        assert not batch.not_negatives.any()
        seen += anchors["point_id"].tolist()
        pairs |= set(zip(anchors["image_id"], positives["image_id"], strict=True))
    for epoch in range(10):
        assert sorted(seen[40 * epoch : 40 * epoch + 40]) == list(range(40))
    assert seen[:40] != seen[40:80]
    assert pairs == {(a, b) for a in range(3) for b in range(3) if a != b}


def test_batches_depend_on_seed_and_step_only() -> None:
    index = _index(points=40, views=3)
    first, again, other = (make_sampler(index, 20, 10, seed) for seed in (5, 5, 6))
    assert (first.batch(7).anchors == again.batch(7).anchors).all()
    assert (first.batch(7).anchors != other.batch(7).anchors).any()
    assert (first.batch(7).anchors != first.batch(8).anchors).any()


def test_close_points_of_an_image_are_marked() -> None:
    sampler = make_sampler(_index(points=20, views=2, spacing_px=6.0), 20, 10, seed=0)
    batch = sampler.batch(0)
    points = batch.anchors // 2  # rows are sorted by point here, two views each
    expected = abs(points[:, None] - points[None, :]) <= 1  # 6 px is near, 12 px is not
    assert (batch.not_negatives | np.eye(20, dtype=bool)).tolist() == expected.tolist()


def test_too_few_points(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PorePatchError, match="15 surface points"):
        make_sampler(_index(points=15, views=2), 512, 10, seed=0)
    with caplog.at_level("INFO"):
        assert len(make_sampler(_index(points=17, views=2), 512, 10, seed=0).batch(3).anchors) == 17
    assert "reduced from 512 to 17" in caplog.text


def test_turns_and_flips_are_the_eight_symmetries_alike_for_both() -> None:
    patch = torch.arange(16.0).view(1, 1, 4, 4)
    anchors, positives = augment(
        patch.repeat(200, 1, 1, 1), 100 + patch.repeat(200, 1, 1, 1), PUBLISHED, torch.Generator().manual_seed(0)
    )
    assert torch.equal(positives, anchors + 100)
    symmetries = [turn for flipped in (patch, patch.flip(-1)) for turn in (flipped.rot90(k, (-2, -1)) for k in range(4))]
    counts = [int((anchors == symmetry).flatten(1).all(1).sum()) for symmetry in symmetries]
    assert sum(counts) == 200
    assert min(counts) > 5


def test_jitter_is_off_or_small() -> None:
    patches = torch.randint(0, 256, (64, 1, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    still = dataclasses.replace(PUBLISHED, rotate=False, flip=False)
    unchanged, _ = augment(patches, patches, still, torch.Generator())
    assert torch.equal(unchanged, patches)

    ramp = torch.arange(32.0).expand(64, 1, 32, 32) * 4 + 60
    shifted, other = augment(ramp, ramp, dataclasses.replace(still, shift_px=0.5), torch.Generator().manual_seed(0))
    offsets = (shifted - ramp)[:, 0, 4:28, 4:28].flatten(1)
    assert offsets.std(dim=1).max() < 1e-3  # a shift of a ramp is one offset per patch, 4 grey values a pixel
    assert 0.3 < float(offsets.mean(1).std() / 4) < 0.7
    assert not torch.equal(shifted, other)

    brighter, _ = augment(ramp, ramp, dataclasses.replace(still, log2_gain=0.1), torch.Generator().manual_seed(0))
    gains = (brighter / ramp).flatten(1)
    assert gains.std(dim=1).max() < 1e-5
    assert 0.05 < float(gains[:, 0].log2().std()) < 0.2


def test_learning_rate_schedules() -> None:
    settings = dataclasses.replace(PUBLISHED, steps=110, warmup_steps=10)
    assert learning_rate_factor(0, settings) == pytest.approx(1 / 11)
    assert learning_rate_factor(10, settings) == 1
    assert learning_rate_factor(60, settings) == pytest.approx(0.5)
    assert learning_rate_factor(60, dataclasses.replace(settings, schedule="linear")) == pytest.approx(0.5)
    assert learning_rate_factor(35, settings) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate_factor(109, dataclasses.replace(settings, schedule="constant")) == 1


@pytest.mark.parametrize("mistake", [{"steps": 0}, {"schedule": "step"}, {"architecture": "l2net"}, {"learning_rate": -1.0}])
def test_settings_name_the_mistake(mistake: dict[str, object]) -> None:
    with pytest.raises(PorePatchError, match=next(iter(mistake))):
        TrainingSettings(**mistake)  # type: ignore[arg-type]


def test_of_equal_validations_the_last_is_the_best() -> None:
    history, network = History(), torch.nn.Linear(1, 1, bias=False)
    for fpr95 in (0.5, 0.0, 0.1, 0.0, 0.2):
        torch.nn.init.constant_(network.weight, len(history.validations))
        history.record_validation(fpr95, network)
        history.losses.append(1.0)
    assert history.best == (3, 0.0)
    assert history.best_weights["weight"].item() == 3
