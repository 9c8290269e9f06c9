"""One training step: the gradient of a loss that needs the whole batch, within a memory that does not hold it.

With `micro_batch` the features of the batch are computed part by part without a graph, the loss is differentiated with respect
to them, and every part is run once more with its gradient (gradient caching: Gao et al., "Scaling deep contrastive learning
batch size under memory limited setup", 2021). It is exact but for batch norms inside `features`, which then see a part at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from porepatch_lib.descriptors.network import DescriptorNetwork
from porepatch_lib.training.distributed import Workers
from porepatch_lib.training.losses.make import PairLoss


@dataclass(frozen=True)
class StepPlan:
    """How a step is computed. `features` is the network's, compiled or not; micro_batch 0 runs all patches at once."""

    features: Callable[[Tensor], Tensor]
    precision: torch.dtype
    micro_batch: int
    workers: Workers


def accumulate_gradient(
    network: DescriptorNetwork,
    loss: PairLoss,
    sides: tuple[Tensor, Tensor],
    not_negatives: Tensor,
    done: float,
    seed: int,
    plan: StepPlan,
) -> Tensor:
    """Add the gradient of one batch to the parameters' and return the loss, detached, without waiting for the device.

    sides: anchors and positives of this process, float32 (P',1,S,S). They pass apart, as published: a batch norm sees each
    alone. not_negatives: bool (P,P) of the whole batch. done: share of the training behind us, 0..1. seed: of dropout.
    """
    parts = [side.split(plan.micro_batch or len(side)) for side in sides]
    cached = len(parts[0]) > 1
    seeds = [[seed + 2 * number + side for number in range(len(parts[side]))] for side in (0, 1)]
    with torch.set_grad_enabled(not cached), _statistics_kept(network, cached):
        features = [torch.cat(_run(parts[side], seeds[side], plan)) for side in (0, 1)]
    whole = [plan.workers.gather(side, len(not_negatives)).requires_grad_() for side in features]
    torch.manual_seed(seed)  # a loss may draw: the same numbers in every process
    value = loss(network.head(whole[0]), network.head(whole[1]), not_negatives, done)
    value.backward()
    _share_among(network, plan.workers.count)
    mine = plan.workers.share(len(not_negatives))
    gradients = [side.grad[mine] for side in whole if side.grad is not None]
    if cached:
        for side in (0, 1):
            _run_back(parts[side], seeds[side], gradients[side], plan)
    else:
        torch.autograd.backward(features, gradients)
    plan.workers.sum_gradients(network)
    return value.detach()


def _features(patches: Tensor, seed: int, plan: StepPlan) -> Tensor:
    """Return float32 features (B,D). Dropout draws from `seed`, so that a second run repeats the first."""
    torch.manual_seed(seed)
    # Without the cache every chunk's weight gradient is summed in float32.
    with torch.autocast(patches.device.type, torch.bfloat16, plan.precision == torch.bfloat16, cache_enabled=False):
        return plan.features(patches).float()


def _run(parts: tuple[Tensor, ...], seeds: list[int], plan: StepPlan) -> list[Tensor]:
    return [_features(part, seed, plan) for part, seed in zip(parts, seeds, strict=True)]


def _run_back(parts: tuple[Tensor, ...], seeds: list[int], gradient: Tensor, plan: StepPlan) -> None:
    for part, seed, share in zip(parts, seeds, gradient.split(len(parts[0])), strict=True):
        _features(part, seed, plan).backward(share)


def _share_among(network: nn.Module, count: int) -> None:
    """Every process has the whole gradient of the head's parameters; divided, their sum is that of one."""
    if count > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad /= count


@contextmanager
def _statistics_kept(network: nn.Module, keep: bool) -> Iterator[None]:
    """Keep running statistics as they are, where the same patches will pass a second time."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms if keep else []:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
