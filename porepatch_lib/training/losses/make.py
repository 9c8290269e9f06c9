"""All losses by name, in one form."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from porepatch_lib.errors import PorePatchError
from porepatch_lib.training.losses.afsrnet import afsrnet_loss
from porepatch_lib.training.losses.cdfstc import CdfSoftMarginLoss
from porepatch_lib.training.losses.hardnet import hardnet_loss
from porepatch_lib.training.losses.hynet import hynet_loss
from porepatch_lib.training.losses.ralnet import ralnet_loss
from porepatch_lib.training.losses.sdgm import SdgmLoss
from porepatch_lib.training.losses.sosnet import sosnet_loss
from porepatch_lib.training.losses.tfeat import tfeat_loss

_Function = Callable[..., Tensor]
_WITH_MARGIN: dict[str, _Function] = {"hynet": hynet_loss, "sosnet": sosnet_loss, "hardnet": hardnet_loss, "tfeat": tfeat_loss}
_WITHOUT_MARGIN: dict[str, _Function] = {"ralnet": ralnet_loss, "afsrnet": afsrnet_loss}
_WITH_STATE: dict[str, type[nn.Module]] = {"sdgm": SdgmLoss, "cdfstc": CdfSoftMarginLoss}
LOSSES = (*_WITH_MARGIN, *_WITHOUT_MARGIN, *_WITH_STATE)

PairLoss = nn.Module
"""Called as loss(raw_anchors (P,D), raw_positives (P,D), not_negatives bool (P,P) or None, done 0..1) -> scalar tensor.

Its state dict holds the running statistics, if it has any. It never waits for the device.
"""


def make_loss(name: str, margin: float) -> PairLoss:
    """Return the loss `name`; the margin counts for hynet, sosnet, hardnet and tfeat only.

    Raises PorePatchError if there is no such loss.
    """
    if name in _WITH_MARGIN:
        return _Stateless(_WITH_MARGIN[name], margin=margin)
    if name in _WITHOUT_MARGIN:
        return _Stateless(_WITHOUT_MARGIN[name])
    if name in _WITH_STATE:
        return _WITH_STATE[name]()
    raise PorePatchError(f"The training setting 'loss' is {name!r} but must be one of {', '.join(LOSSES)}; mend the config.")


class _Stateless(nn.Module):
    """A pure function of the batch as a loss."""

    def __init__(self, function: _Function, **options: float) -> None:
        super().__init__()
        self.function, self.options = function, options

    def forward(
        self, raw_anchors: Tensor, raw_positives: Tensor, not_negatives: Tensor | None = None, done: float = 0.0
    ) -> Tensor:
        return self.function(raw_anchors, raw_positives, not_negatives, **self.options)
