"""What a comparison's parts would refuse about the images is said by its plan, before anything is trained."""

from types import SimpleNamespace

import numpy as np
import pytest

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
