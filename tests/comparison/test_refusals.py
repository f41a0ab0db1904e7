"""What a comparison's parts would refuse about the images is said by its plan, before anything is trained."""

from types import SimpleNamespace

import numpy as np
import pytest

from gssl.commands import compare as command
from gssl.comparison import refusals
from gssl.config import arms
from gssl.config.composing import compose
from gssl.errors import UsageError


class Part(SimpleNamespace):
    def __len__(self):
        return len(self.labels)


def part(labels):
    return Part(labels=np.array(labels, dtype=np.int64))


def splits(train, val, classes, columns=("image", "label"), test=20):
    labelled = part([*train, *val])
    return SimpleNamespace(
        summary={"counts": {"test": test}},
        train=part(train),
        val=part(val),
        pretrain=part(train),
        labelled=labelled,
        classes=classes,
        columns=columns,
    )


def check(data, *overrides):
    cfg = compose("compare", list(overrides))
    refusals.check(cfg, SimpleNamespace(arms=lambda: arms.read(cfg.arms), divided=None), data)


@pytest.mark.parametrize(
    ("data", "overrides", "said"),
    [
        (splits([0] * 9, [0], ["a"]), [], r"1 class\(es\); transfer needs at least two"),
        (splits([-1] * 9, [-1], [], ("image",)), [], r"0 class\(es\)"),
        (
            splits([0, 1], [1], list("ab")),
            ["probe.use=[finetune]", "arms=[simclr,random]"],
            "random is evaluated by none of probe.use",
        ),
        (splits([0, 1], [1], list("ab")), ["probe.use=[segment]"], "segment does not serve classification"),
        (splits([0, 1], [1], list("abcdefgh")), ["probe.use=[cluster]"], "cluster looks for 8 clusters among 3 images"),
        (splits([0, 1, 0, 1], [1, -1], ["a", "b"]), ["arms=[dcgan,random]"], "dcgan is measured by 1 validation image"),
        (splits([0], [1, 1], ["a", "b"]), ["arms=[simclr,random]"], "1 images to pretrain on; at least 2 are needed"),
        (
            splits([0, 1], [1, 0], ["a", "b"], test=7),
            ["arms=[dcgan,random]"],
            "compared with 7 test images, and at least 8",
        ),
    ],
)
def test_it_is_said_before_anything_is_trained(data, overrides, said):
    with pytest.raises(UsageError, match=said) as error:
        check(data, *overrides)
    assert "\n" not in str(error.value)


def test_what_can_be_compared_is_not_refused():
    check(splits([0, 1, 0, 1], [1, 0], ["a", "b"]), "arms=[dcgan,simclr,random]")
    check(splits([0, 1], [1, 0], ["a", "b"], test=7), "arms=[dcgan,random]", "generation.images=0")
    check(splits([0], [1], ["a", "b"]), "arms=[random,pixels]")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["backbone=timm:resnet18x"], "backbone=timm:resnet18x: timm has no such network; did you mean timm:resnet18?"),
        (["backbone=timm", "backbone.name=timm:nothing"], "backbone=timm:nothing: timm has no such network"),
        (["arms=[random,timm:resnet18x]"], "weights=timm:resnet18x: timm has no such network; did you mean"),
        (["arms=[random,simclr-from-timm:resnet18x]"], "weights=timm:resnet18x: timm has no such network"),
        (["arms=[random,torchvision:resnet19]"], "weights=torchvision:resnet19: expected torchvision:resnet18"),
        (["arms=[random,dinov2_vits14@none.pth]"], "weights=dinov2_vits14@none.pth: no such file none.pth"),
    ],
)
def test_a_network_that_is_not_there_is_said_before_images_are_read(overrides, said, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setattr(command, "load_data", lambda *a, **k: pytest.fail("images were read"))
    monkeypatch.chdir(tmp_path)
    cfg = compose("compare", ["arms=[random,scratch]", "engine.device=cpu", "engine.threads=1", *overrides])
    for how in ({}, {"plan": True}, {"dry_run": True}):
        with pytest.raises(UsageError) as error:
            command.main(cfg, tmp_path / "run", **how)
        assert said in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_networks_that_are_there_pass():
    pytest.importorskip("timm")
    refusals.networks(compose("compare", ["arms=[random,timm:resnet18]", "backbone=timm:resnet18"]))
    refusals.networks(compose("compare", ["arms=[simclr,random]"]))
