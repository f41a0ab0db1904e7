"""What fine-tuning starts from and what it is validated on."""

import numpy as np
import pytest
import torch

from gssl.probe import classification
from gssl.probe.classification import Classification
from gssl.probe.features import extract
from gssl.probe.finetune import Finetune
from gssl.probe.folds import choice_folds
from gssl.probe.linear import Linear
from tests.probe.test_finetune import CPU, backbone, config, setting


def test_the_head_starts_from_the_linear_probes_solution(quarters):
    images, unseen, given = quarters(6), quarters(10, 1), setting(build=backbone("convnet"))
    network = Classification().network(given)
    Classification().start_head(network, images, given, 0.1)
    cfg = type("Cfg", (), {"l2_low": 0.1, "l2_high": 0.1, "l2_count": 1, "l2_one_shot": 0.1, "max_iter": 1000})
    x, z = (extract(network.backbone, some, 8, 256, CPU) for some in (images, unseen))
    fitted = Linear(cfg).fit(x, images.labels, 4, 0)
    network.eval()
    assert torch.isfinite(network.head.weight).all() and network.head.weight.requires_grad
    with torch.no_grad():
        found = network(unseen.fetch(np.arange(40))["image"].float() / 255).softmax(1).numpy()
    np.testing.assert_allclose(found, fitted.probabilities(z), atol=2e-3)


def test_a_class_without_images_does_not_win_at_the_start(quarters):
    images, given = quarters(4), setting(build=backbone("convnet"))
    some = images.subset(np.flatnonzero(images.labels != 2))
    network = Classification().network(given)
    Classification().start_head(network, some, given, 0.1)
    found = classification.logits(network.eval(), images, 8, CPU)
    assert not (found.argmax(1) == 2).any() and (found.argmax(1) == images.labels).mean() > 0.5


def test_of_many_images_some_of_every_class_are_enough(quarters, monkeypatch):
    images, given, seen = quarters(20), setting(build=backbone("convnet")), []
    monkeypatch.setattr(classification, "HEAD_IMAGES", 10)
    fixed = classification.fixed
    monkeypatch.setattr(classification, "fixed", lambda x, y, l2: seen.append(np.bincount(y)) or fixed(x, y, l2))
    Classification().start_head(Classification().network(given), images, given, 0.1)
    assert seen[0].sum() == 10 and set(seen[0]) <= {2, 3}


def test_few_steps_do_from_there(quarters):
    """One step hardly moves it: what is known is the head's."""
    images, unseen = quarters(10), quarters(20, 1)
    near, far = (
        Finetune(config(steps=1, lrs=[1e-6], head_l2=l2)).fit(images, setting(build=backbone("convnet")))
        for l2 in (0.1, None)
    )
    right = [(f.predict(unseen) == unseen.labels).mean() for f in (near, far)]
    assert right[0] > 0.7 > right[1] + 0.2


@pytest.mark.parametrize(("shots", "folds"), [(6, 3), (6, 2), (6, 1), (2, 2), (60, 1)])
def test_the_chosen_point_is_validated_on_the_linear_probes_folds(quarters, monkeypatch, shots, folds):
    """All of the grid on the first fold, what was chosen there on the others, and all images at the end."""
    images, asked, trained = quarters(shots), [], []
    score, train = Classification.score, Finetune._train

    def scoring(self, network, some, *rest):
        asked.append(some)
        return score(self, network, some, *rest)

    def training_on(self, point, some, *rest):
        trained.append((point["lr"], len(some)))
        return train(self, point, some, *rest)

    monkeypatch.setattr(Classification, "score", scoring)
    monkeypatch.setattr(Finetune, "_train", training_on)
    fitted = Finetune(config(steps=2, lrs=[1e-9, 0.02], folds=3 if folds > 1 and shots == 2 else folds)).fit(
        images, setting()
    )
    pairs = choice_folds(images.labels, 0)[:folds]
    expected = [pairs[0][1], *(val for _, val in pairs)]
    assert [len(some) for some in asked] == [len(val) for val in expected]
    assert all(
        np.array_equal(a.image_hashes(), images.subset(b).image_hashes()) for a, b in zip(asked, expected, strict=True)
    )
    assert [n for _, n in trained] == [len(pairs[0][0]), *(len(fit) for fit, _ in pairs), len(images)]
    assert {lr for lr, _ in trained[2:]} == {fitted.chosen["lr"]}
    assert [len(right) for right in fitted.unselected] == [len(val) for _, val in pairs]
    again = np.concatenate(fitted.unselected[1:]) if folds > 1 else np.zeros(0)
    first = fitted.val_accuracy * sum(map(len, fitted.unselected)) - again.sum()
    assert 0 <= round(first) <= len(pairs[0][1])
