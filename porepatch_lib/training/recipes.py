"""How every network was trained by its authors; settings that are left empty take these values.

Learning rates stand as published. Several authors run SGD with dampening 0.9, which scales every gradient but the first by
0.1, so that their rate of 10 is like 1 without it. No author scales it with the batch: HardNet takes 1024 points, RAL-Net 512,
with the same rate. All losses but HyNet's and SOSNet's are means over the batch; those two are sums, and Adam does not feel
the scale.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from porepatch_lib.training.settings import CompleteSettings, TrainingSettings


@dataclass(frozen=True)
class Recipe:
    """Published loss, margin and optimiser. `source` names where each value is from.

    loss: name in losses/make.py. margin: of the distance; 1 where the loss has none. momentum, dampening: of SGD.
    """

    loss: str
    margin: float
    optimiser: str
    learning_rate: float
    schedule: str
    momentum: float
    dampening: float
    weight_decay: float
    dropout: float
    source: str


_HARDNET = Recipe(
    "hardnet",
    1.0,
    "sgd",
    10.0,
    "linear",
    0.9,
    0.9,
    1e-4,
    0.3,
    "HardNet (Mishchuk et al., NeurIPS 2017), code/HardNet.py: batches of 1024 points, SGD 10 with dampening 0.9, to 0 "
    "linearly over 10 epochs of 5 million pairs",
)
_HYNET = Recipe(
    "hynet",
    1.2,
    "adam",
    0.01,
    "constant",
    0.0,
    0.0,
    0.0,
    0.3,
    "HyNet (Tian et al., NeurIPS 2020), train.py: 512 points, Adam 0.01, no schedule, 200 epochs",
)
_SDGM = Recipe(
    "sdgm",
    1.0,
    "sgd",
    1.0,
    "halving",
    0.9,
    0.0,
    1e-4,
    0.3,
    "SDGMNet (Deng and Ma, arXiv 2106.04434), train.py: 1024 points, SGD 1 without dampening, halved every tenth of 200 epochs",
)

RECIPES: dict[str, Recipe] = {
    "hardnet": _HARDNET,
    "sosnet": dataclasses.replace(
        _HYNET,
        loss="sosnet",
        dropout=0.1,
        source="SOSNet (Tian et al., CVPR 2019): margin and optimiser of the HyNet repository's train.py, which has its loss; "
        "dropout of the published network class",
    ),
    "ralnet": dataclasses.replace(
        _HARDNET,
        loss="ralnet",
        source="RAL-Net (Xu et al., ACCV 2018), RAL_Net.py: HardNet's optimiser with 512 points; the loss has no margin",
    ),
    "cdfstc": dataclasses.replace(
        _HARDNET,
        loss="cdfstc",
        learning_rate=0.1,
        dampening=0.0,
        dropout=0.1,
        source="CDF-based dynamic soft margin (Zhang and Rusinkiewicz, ICCV 2019), train.py: 1024 points, SGD 0.1 without "
        "dampening, to 0 linearly over 100 000 steps; the loss has no margin",
    ),
    "hynet": _HYNET,
    "sdgmnet": _SDGM,
    "afsrnet": dataclasses.replace(
        _HARDNET,
        loss="afsrnet",
        learning_rate=0.1,
        dropout=0.2,
        source="AFSRNet (Applied Intelligence 2024), train.py: 500 points, SGD 0.1 with dampening 0.9, to 0 linearly over 70 "
        "epochs of a million pairs; the loss has no margin",
    ),
    "tfeat": Recipe(
        "tfeat",
        2.0,
        "sgd",
        0.1,
        "halving",
        0.0,
        0.0,
        1e-4,
        0.0,
        "TFeat (Balntas et al., BMVC 2016), tfeat-train.ipynb: 300 triplets, SGD 0.1 without momentum, times 0.8 every 10 of 300 "
        "epochs; that is 0.512 every tenth of the training, taken as halving",
    ),
    "hardtfeat": dataclasses.replace(
        _HARDNET, dropout=0.0, source="TFeat's network with HardNet's loss and training (published as weights without a script)"
    ),
    "l2net": dataclasses.replace(
        _HYNET,
        loss="hardnet",
        margin=1.0,
        source="the L2Net class and optimiser of the HyNet repository with HardNet's loss; L2-Net's own loss (Tian et al., CVPR "
        "2017), with terms on feature maps inside the network, is not offered",
    ),
}
_MARGINS = {recipe.loss: recipe.margin for recipe in RECIPES.values()}


def with_recipe(settings: TrainingSettings) -> CompleteSettings:
    """Return `settings` with every None replaced by the published value; third-party networks take HyNet's.

    Where the settings name another loss than the recipe's, the margin is that loss's own.
    """
    recipe = dataclasses.asdict(RECIPES.get(settings.architecture, _HYNET))
    del recipe["source"]
    recipe["margin"] = _MARGINS.get(settings.loss or recipe["loss"], recipe["margin"])
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}
    filled = recipe | chosen
    return CompleteSettings(**{"warm_start_learning_rate": filled["learning_rate"]} | filled)
