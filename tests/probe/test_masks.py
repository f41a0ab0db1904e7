"""Fine-tuning for masks, through the engine's loop."""

import numpy as np
import pytest
import torch

from gssl.config.composing import compose
from gssl.data import Draws, RandomViews
from gssl.engine.device import Precision
from gssl.engine.fits import Fits
from gssl.nets.backbone import build_backbone
from gssl.probe import dense, masks
from gssl.probe.setting import Setting
from gssl.schemas import replace
from gssl.statistics.metric import IGNORE, METRICS
from tests.probe.test_segment import CLASSES, rectangles

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cfg():
    words = ["weights=random", "backbone.width=8", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
    words += ["probe.finetune.steps=80", "probe.finetune.folds=2", "probe.finetune.points=2"]
    return compose(
        "transfer",
        [*words, "probe.finetune.masks.lrs=[0.01]", "probe.finetune.masks.crop=16", "probe.finetune.masks.channels=8"],
    )


@pytest.fixture(scope="module")
def setting(cfg) -> Setting:
    def build():
        return build_backbone(cfg.backbone, 24)

    draws = Draws(0)
    views = RandomViews(cfg.data.views, 24, draws)
    fits = Fits(cfg.engine, CPU, Precision("fp32", CPU))
    return Setting(build, len(CLASSES), views, cfg.data.views, 24, CPU, 0, draws, fits)


@pytest.fixture(scope="module")
def fitted(cfg, setting):
    return masks.finetune(cfg.probe.finetune).fit(rectangles(9), setting)


def test_it_learns_and_predicts_masks_of_any_size(fitted):
    test = rectangles(6, seed=1)
    found = fitted.counts(test)
    assert METRICS["mean_iou"].value(found) > 0.5
    x, true = next(dense.views(test, CPU))
    assert np.array_equal(METRICS["mean_iou"].stats(true.numpy(), fitted.masks(x, (24, 32)), 4), found)
    assert fitted.masks(x, (48, 64)).shape == (6, 48, 64)


def test_it_is_validated_on_folds_of_images(fitted):
    assert [len(rows) for rows in fitted.unselected] == [3, 3]
    assert fitted.chosen["lr"] == 0.01
    assert [point["step"] for point in fitted.curve] == [1, 80]
    assert all(0 <= point["val_mean_iou"] <= 1 for point in fitted.curve)


@pytest.mark.long
def test_the_same_again_is_the_same(cfg, setting, fitted):
    again = masks.finetune(cfg.probe.finetune).fit(rectangles(9), setting)
    for a, b in zip(fitted.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_image_and_mask_share_one_crop_and_one_flip(cfg, setting):
    images = rectangles(4, ignore=False)
    raw = images.fetch(np.arange(4))
    made = masks.Masks(cfg.probe.finetune.masks).batch(raw, setting.views, 3, 0)
    assert made["input"].shape == (4, 3, 16, 16) and made["target"].shape == (4, 16, 16)
    red = made["input"][:, 0] > 0.6
    assert torch.equal(red, made["target"] == 1)  # red is where the mask says so
    other = masks.Masks(cfg.probe.finetune.masks).batch(raw, setting.views, 4, 0)
    assert not torch.equal(made["target"], other["target"])


def test_ignored_pixels_teach_nothing(cfg):
    objective = masks.Masks(cfg.probe.finetune.masks)
    logits = torch.randn(2, 4, 5, 5, requires_grad=True)
    target = torch.full((2, 5, 5), IGNORE)
    assert objective.loss(logits, target) == 0
    target[0, 0, 0] = 2
    loss = objective.loss(logits, target)
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits[:1, :, 0, 0], torch.tensor([2])).item()
    )
    loss.backward()
    assert logits.grad.abs().sum((1,)).count_nonzero() == 1


def test_a_diverged_network_scores_worst(cfg, setting):
    objective = masks.Masks(cfg.probe.finetune.masks)
    network = objective.network(setting).eval()
    with torch.no_grad():
        network.head.classify.bias.fill_(float("nan"))
    images = rectangles(3)
    worst = objective.score(network, images, setting)
    assert objective.value([worst]) == 0 and np.isinf(worst.entropy).all()


def test_frozen_parts_stay_as_they_are(cfg, setting):
    own = replace(cfg.probe.finetune, train="last", stages=1, steps=2)
    found = masks.finetune(own).fit(rectangles(2), setting)
    setting.draws.reseed(0)
    before = masks.Masks(own.masks).network(setting)
    assert torch.equal(found.network.backbone.blocks[0][0].weight, before.backbone.blocks[0][0].weight)
    assert not torch.equal(found.network.head.classify.weight, before.head.classify.weight)
