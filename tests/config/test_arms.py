"""How arms are written: what is read, what it costs, and what is refused in one line."""

import pytest

from gssl.config import arms
from gssl.config.composing import compose
from gssl.errors import UsageError


@pytest.mark.parametrize(
    "text, name, stages, family, fraction",
    [
        ("simclr", "simclr", ("simclr",), "ssl", 1),
        ("dcgan", "dcgan", ("dcgan",), "gan", 1),
        ("simclr+dcgan", "simclr+dcgan", ("simclr", "dcgan"), "gan", 1 / 2),
        ("dcgan+simclr+rotation", "dcgan+simclr+rotation", ("dcgan", "simclr", "rotation"), "ssl", 1 / 3),
        ("simclr-on-dcgan", "simclr-on-dcgan", ("simclr",), "ssl", 1 / 2),
        ("scratch-with-acgan", "scratch-with-acgan", (), "none", 1),
        ("simclr-with-acgan", "simclr-with-acgan", ("simclr",), "ssl", 1 / 2),
        ("simclr-from-efficientnet_lite0", "simclr-from-efficientnet_lite0", ("simclr",), "ssl", 1),
        ("more@simclr+rotation-from-timm:resnet10t", "more", ("simclr", "rotation"), "ssl", 1 / 2),
        ("hot@simclr", "hot", ("simclr",), "ssl", 1),
        ("pca", "pca", (), "classical", 1),
        ("random", "random", (), "none", 1),
        ("torchvision:resnet18", "torchvision:resnet18", (), "file", 1),
        ("timm:resnet10t", "timm:resnet10t", (), "file", 1),
        ("efficientnet_lite0", "efficientnet_lite0", (), "file", 1),
        ("mine@timm:resnet10t@weights.pth", "mine", (), "file", 1),
        ("runs/pretrain_ssl/A", "A", (), "file", 1),
        ("mine@runs/pretrain_ssl/A", "mine", (), "file", 1),
    ],
)
def test_what_is_written_is_read(text, name, stages, family, fraction):
    arm = arms.parse(text)
    assert (arm.name, arm.stages, arm.family) == (name, stages, family)
    assert arm.budget_fraction == pytest.approx(fraction)
    if arm.trained:  # all that is trained for an arm spends one budget
        assert arm.budget_fraction * len(arm.trained) == pytest.approx(1)


def test_who_reads_labels_is_no_contestant():
    readers = ("supervised", "acgan", "acgan+simclr", "scratch-with-acgan", "simclr-on-projection")
    assert all(arms.parse(text).labels for text in readers)
    assert not any(arms.parse(text).labels for text in ("simclr", "simclr+dcgan", "simclr-on-dcgan", "pca", "scratch"))


@pytest.mark.parametrize(
    "text, said",
    [
        ("simclrr", "did you mean 'simclr'"),
        ("simclr+dcgann", "in simclr\\+dcgann 'dcgann'; did you mean 'dcgan'"),
        ("simclr-on-rotation", "'rotation'"),
        ("dcgan-on-dcgan", "a GAN learns from real images"),
        ("supervised-on-dcgan", "reads labels"),
        ("scratch-with-dcgan", "images of dcgan have no labels; write a class-conditional GAN"),
        ("random-on-dcgan", "random does not learn from images"),
        ("mine@scratch", "scratch has one name only"),
        ("mine@scratch-with-acgan", "scratch has one name only"),
        ("random@simclr", "random is the name of something else"),
        ("dcgan@simclr", "dcgan is the name of something else"),
        ("runs/pretrain_ssl/random", "random is the name of something else"),
        ("simclr-on-dcgan-with-acgan", "do not go together"),
        ("simclr+byol-on-dcgan", "one method learns from a GAN's images"),
        ("simclr-on-", "a GAN must stand after -on-"),
        ("simclr-with-", "a GAN must stand after -on- and -with-"),
        ("random+simclr", "random cannot stand in a chain"),
        ("simclr-from-dcgan", "a published network must stand after -from-, such as efficientnet_lite0"),
        ("dcgan-from-efficientnet_lite0", "dcgan has a discriminator of its own"),
    ],
)
def test_what_makes_no_sense_is_refused(text, said):
    with pytest.raises(UsageError, match=said) as error:
        arms.parse(text)
    assert "\n" not in str(error.value)


def test_an_arm_that_goes_on_from_a_published_network_begins_with_it_and_has_its_backbone():
    pytest.importorskip("timm")
    from gssl.comparison.plan import plan

    cfg = compose("compare", ["arms=[simclr+rotation-from-efficientnet_lite0]", "seeds=1", "budget.steps=8"])
    first, second, transfer = [part for part in plan(cfg, "hash", 1) if part.stage != "milestones"]
    assert first.cfg.weights == "efficientnet_lite0" and "weights=efficientnet_lite0" in first.shell
    assert second.cfg.weights == str(first.path) and transfer.cfg.weights == str(second.path)
    assert first.cfg.budget.steps == 4  # both stages together have one budget
    arm = arms.parse("simclr+rotation-from-efficientnet_lite0")
    assert arms.parse(arms.written(arm)) == arm and not arm.labels
    assert "published weights of efficientnet_lite0" in arms.described(arm, [], False)["note"]


def test_two_of_one_name_need_names():
    with pytest.raises(UsageError, match="simclr stands there twice; give one of them a name, such as other@simclr"):
        arms.read(["simclr", "simclr"])
    assert arms.names(["simclr", "hot@simclr"]) == ["simclr", "hot"]


def test_overrides_go_to_the_command_that_knows_them():
    owners = {
        text: arms.owner(text) for text in ("ssl.temperature=1", "gan.n_dis=2", "evaluator=random", "probe.knn.k=5")
    }
    assert list(owners.values()) == ["pretrain-ssl", "train-gan", "train-gan", "transfer"]


BASE = ("data=mnist5k", "arms=[simclr,dcgan,scratch]")


@pytest.mark.parametrize(
    "override, said",
    [
        ("arms=[runs/nowhere/X]", "arms: runs/nowhere/X: no such run directory or file of weights"),
        ("primary.pairs=[" + ",".join(f"'simclr vs {arm}'" for arm in "abcdefg") + "]", "at most 6"),
        ("primary.pairs=['simclr vs dcgan','dcgan vs simclr']", "'dcgan vs simclr' stands there twice"),
        ("primary.pairs=['simclr dcgan']", "cannot read 'simclr dcgan'; expected two arms, such as 'simclr vs dcgan'"),
        ("primary.pairs=['simclr vs dcgn']", "did you mean 'dcgan'"),
        ("primary.labels='7'", "primary.labels=7: is no label budget here; expected one of 1, 10, 100, all"),
        ("primary.probe=cluster", "primary.probe=cluster: is not in use"),
        ("search.trials=2", "search.space is empty"),
        ("search.space.simclr=['ssl.temperature=0.1,0.2']", "search.trials is 0"),
        ("overrides.simclr=['gan.n_dis=2']", "nothing of simclr is a train-gan run"),
        ("overrides.simclr=['ssl.temperture=2']", "did you mean 'ssl.temperature'"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(override, said):
    with pytest.raises(UsageError, match=said) as error:
        compose("compare", [*BASE, override])
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_every_searched_arm_gets_as_many_trials():
    space = ["search.space.simclr=['ssl.temperature=0.1,0.2']", "search.space.dcgan=['gan.ema=0.9,0.95,0.98']"]
    compose("compare", [*BASE, "search.trials=2", *space])
    with pytest.raises(UsageError, match="search.space.simclr: 2 combinations for search.trials=3"):
        compose("compare", [*BASE, "search.trials=3", *space])
    with pytest.raises(UsageError, match="nothing of scratch is trained"):
        compose("compare", [*BASE, "search.trials=1", "search.space.scratch=['probe.finetune.steps=10,20']"])


def test_a_key_may_have_its_commands_name_before_it():
    assert compose("compare", [*BASE, "compare.jobs=2"]).jobs == 2
