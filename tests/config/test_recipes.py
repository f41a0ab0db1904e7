"""`recipe=` stands for the overrides that a method's YAML brings, and the user's own win."""

import pytest
from omegaconf import OmegaConf

from gssl.config import registry
from gssl.config.composing import check_all, compose
from gssl.config.paths import conf_dir
from gssl.errors import UsageError

RECIPES = [
    (family, name, recipe)
    for family, command in (("ssl", "pretrain-ssl"), ("gan", "train-gan"))
    for name in registry.FAMILIES[family]
    for recipe in (OmegaConf.load(conf_dir() / family / f"{name}.yaml").get("recipes") or {})
]


def test_there_are_some():
    assert ("ssl", "byol", "cifar") in RECIPES


@pytest.mark.long
@pytest.mark.parametrize(("family", "name", "recipe"), RECIPES)
def test_every_recipe_composes(family, name, recipe):
    command = {"ssl": "pretrain-ssl", "gan": "train-gan"}[family]
    captions = registry.FAMILIES[family][name].column == "caption"
    words = [f"{family}={name}", *(["data=imagetext", "data.root=pictures"] if captions else ["data=cifar10"])]
    assert compose(command, [*words, f"recipe={recipe}"]) != compose(command, words)


def test_the_users_own_win_wherever_they_stand():
    for words in (["recipe=cifar", "ssl.temperature=0.3"], ["ssl.temperature=0.3", "recipe=cifar"]):
        cfg = compose("pretrain-ssl", ["ssl=simclr", *words])
        assert cfg.ssl.temperature == 0.3 and cfg.ssl.optim.name == "lars" and cfg.backbone.name == "resnet18"
    assert compose("pretrain-ssl", ["recipe=cifar", "backbone=convnet"]).backbone.name == "convnet"


def test_short_is_what_the_yaml_holds():
    assert compose("pretrain-ssl", ["recipe=short"]) == compose("pretrain-ssl", [])


def test_what_hydra_gets_is_plain_overrides():
    _, _, texts = check_all("pretrain-ssl", ["recipe=cifar"], False)
    assert not any("recipe" in text for text in texts) and any(text.startswith("ssl.optim") for text in texts)


def test_mistakes():
    with pytest.raises(UsageError, match="did you mean 'cifar'"):
        compose("pretrain-ssl", ["recipe=cifr"])
    with pytest.raises(UsageError, match="no method of its own"):
        compose("transfer", ["weights=random", "recipe=cifar"])
    with pytest.raises(UsageError, match="one recipe"):
        check_all("pretrain-ssl", ["ssl=simclr,byol", "recipe=cifar"], True)
    with pytest.raises(UsageError, match="recipes"):
        compose("pretrain-ssl", ["ssl.recipes.cifar=[]"])


def test_an_arm_cannot_take_a_recipe_of_which_half_would_be_dropped():
    with pytest.raises(UsageError, match="one for all"):
        compose("compare", ["arms=[simclr,random]", "overrides={simclr: ['recipe=cifar']}"])


def test_a_preset_and_a_recipe_exclude_each_other():
    with pytest.raises(UsageError, match="use one of them"):
        compose("pretrain-ssl", ["recipe=cifar", "experiment=smoke"])


def test_the_users_budget_replaces_the_recipes():
    budget = compose("pretrain-ssl", ["recipe=cifar", "budget.seconds=600"]).budget
    assert budget.seconds == 600 and budget.epochs is None
    assert compose("pretrain-ssl", ["recipe=cifar"]).budget.epochs == 1000
