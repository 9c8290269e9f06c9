"""Published recipes fill what the settings leave open, and no more."""

from __future__ import annotations

import dataclasses

import pytest

from porepatch_lib.training.losses.make import LOSSES, make_loss
from porepatch_lib.training.recipes import RECIPES, with_recipe
from porepatch_lib.training.settings import TrainingSettings

ARCHITECTURES = ("hardnet", "sosnet", "ralnet", "cdfstc", "hynet", "sdgmnet", "afsrnet", "tfeat", "hardtfeat", "l2net")


def test_every_network_has_a_recipe_and_every_loss_is_used() -> None:
    assert sorted(RECIPES) == sorted(ARCHITECTURES)
    assert {recipe.loss for recipe in RECIPES.values()} == set(LOSSES)
    assert all(recipe.source for recipe in RECIPES.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_settings_left_open_are_filled(architecture: str) -> None:
    settings = TrainingSettings(architecture=architecture, steps=77)
    filled = with_recipe(settings)
    recipe = dataclasses.asdict(RECIPES[architecture])
    del recipe["source"]
    for name, value in dataclasses.asdict(filled).items():
        given = getattr(settings, name)
        assert value == (recipe.get(name, filled.learning_rate) if given is None else given), name
    make_loss(str(filled.loss), float(filled.margin or 0))


def test_published_values() -> None:
    chosen = {name: (r.loss, r.optimiser, r.learning_rate, r.dampening, r.schedule, r.dropout) for name, r in RECIPES.items()}
    assert chosen["hynet"] == ("hynet", "adam", 0.01, 0.0, "constant", 0.3)
    assert chosen["hardnet"] == ("hardnet", "sgd", 10.0, 0.9, "linear", 0.3)
    assert chosen["sdgmnet"] == ("sdgm", "sgd", 1.0, 0.0, "halving", 0.3)
    assert chosen["afsrnet"] == ("afsrnet", "sgd", 0.1, 0.9, "linear", 0.2)
    assert chosen["cdfstc"] == ("cdfstc", "sgd", 0.1, 0.0, "linear", 0.1)


def test_explicit_values_win() -> None:
    given = TrainingSettings(architecture="hardnet", learning_rate=0.25, margin=0.5, dropout=0.0, momentum=0.0, schedule="cosine")
    filled = with_recipe(given)
    assert (filled.learning_rate, filled.margin, filled.dropout, filled.momentum, filled.schedule) == (0.25, 0.5, 0, 0, "cosine")
    assert (filled.loss, filled.optimiser, filled.weight_decay) == ("hardnet", "sgd", 1e-4)
    assert filled.warm_start_learning_rate == 0.25
    assert with_recipe(dataclasses.replace(given, warm_start_learning_rate=0.1)).warm_start_learning_rate == 0.1
    assert with_recipe(filled) == filled


def test_another_loss_brings_its_own_margin() -> None:
    assert with_recipe(TrainingSettings(architecture="hynet", loss="hardnet")).margin == 1.0
    assert with_recipe(TrainingSettings(architecture="hardnet", loss="hynet")).margin == 1.2
    assert with_recipe(TrainingSettings(architecture="hardnet", loss="hynet", margin=0.7)).margin == 0.7


def test_third_party_networks_take_hynets_recipe() -> None:
    filled = with_recipe(TrainingSettings(architecture="mynet"))
    assert dataclasses.replace(filled, architecture="hynet") == with_recipe(TrainingSettings(architecture="hynet"))
