"""Detection: fine-tuning through the engine's loop, a head on frozen features, and the control without an image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gssl.config.composing import compose
from gssl.data import Draws, Images, RandomViews
from gssl.data.joined import joined
from gssl.data.memory import in_memory
from gssl.engine.device import Precision
from gssl.engine.fits import Fits
from gssl.nets.backbone import build_backbone
from gssl.probe import boxes, centres, dense, detect
from gssl.probe.setting import Setting
from gssl.statistics.detection import average_precision

CPU = torch.device("cpu")
CLASSES = ["red", "blue"]


def rectangles(n: int, seed: int = 0, height: int = 24, width: int = 32) -> Images:
    """Red and blue rectangles on grey noise, up to three of them; the last image has none."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 130, (n, height, width, 3), dtype=np.uint8)
    objects = []
    for i, image in enumerate(pixels):
        rows = []
        for slot in range(0 if i == n - 1 else int(random.integers(1, 4))):
            kind, h, w = random.integers(0, 2), random.integers(7, 12), random.integers(7, 10)
            y, x = random.integers(0, height - h), 11 * slot + random.integers(0, 10 - w + 1)
            image[y : y + h, x : x + w] = [220, 20, 20] if kind == 0 else [20, 20, 220]
            rows.append([x, y, x + w, y + h, kind, 0])
        objects.append(np.array(rows, dtype=np.float32).reshape(-1, 6))
    return in_memory(pixels, np.full(n, -1), CLASSES, boxes=objects)


@pytest.fixture(scope="module")
def cfg():
    words = ["weights=random", "backbone.width=8", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
    words += ["probe.finetune.steps=60", "probe.finetune.folds=2", "probe.finetune.points=2", "probe.detect.steps=40"]
    return compose("transfer", [*words, "probe.finetune.boxes.lrs=[0.01]", "probe.finetune.boxes.channels=16"])


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
    return boxes.finetune(cfg.probe.finetune).fit(rectangles(9), setting)


def ap(stats: np.ndarray) -> float:
    return float(average_precision(stats, np.ones((1, len(stats))), thresholds=slice(0, 1))[0])


@pytest.mark.long
def test_it_learns_boxes(fitted):
    test = rectangles(8, seed=1)
    assert ap(fitted.counts(test)) > 0.5
    found = fitted.detections(test)
    assert len(found) == 8 and all(own.boxes.shape == (len(own.scores), 4) for own in found)


@pytest.mark.long
def test_it_is_validated_on_folds_of_images(fitted):
    assert [len(rows) for rows in fitted.unselected] == [3, 3]
    assert fitted.chosen == {"lr": 0.01, "weight_decay": 0.05, "same_cell": 0}
    assert [point["step"] for point in fitted.curve] == [1, 60]
    assert all(0 <= point["val_ap"] <= 1 for point in fitted.curve)


def test_images_of_unlike_sizes_come_one_by_one_and_are_padded_to_learn(cfg, setting, tmp_path, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    both = joined([rectangles(2), rectangles(2, height=20, width=40)])
    assert [tuple(x.shape[1:]) for x in dense.pictures(both, CPU)] == [(3, 24, 32)] * 2 + [(3, 20, 40)] * 2
    assert [len(own) for own in both.boxes] == [len(own) for own in rectangles(2).boxes] + [
        len(own) for own in rectangles(2, height=20, width=40).boxes
    ]
    made = boxes.Boxes(cfg.probe.finetune.boxes).batch(both.fetch(np.arange(4)), setting.views, 0, 0)
    assert made["input"].shape == (4, 3, 24, 40)


def test_image_and_boxes_flip_alike(cfg, setting):
    images = rectangles(6)
    raw = images.fetch(np.arange(6))
    objective, seen = boxes.Boxes(cfg.probe.finetune.boxes), set()
    for step in range(4):
        made = objective.batch(raw, setting.views, step, 0)
        for x, own in zip(made["input"], made["target"], strict=True):
            for left, top, right, bottom, kind, _ in own.tolist():
                if kind >= 0:
                    inside = x[:, int(top) : int(bottom), int(left) : int(right)]
                    assert (inside.argmax(0) == 2 * kind).all()
        seen.add(tuple(made["target"][0, 0, :4].tolist()))
        light = made["input"].mean() / (raw["image"].float().mean() / 255)
        assert 0.8 < light < 1.2
    assert len(seen) > 1


@pytest.mark.long
def test_a_frozen_backbone_is_not_trained_and_keeps_its_statistics(cfg, setting):
    network = build_backbone(cfg.backbone, 24)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = dense.DenseSetting(dense.NetworkMaps(network), 2, CPU, 0, Draws(0), setting)
    found = detect.Detect(cfg.probe.detect, cfg.probe.finetune).fit(rectangles(9), given)
    for name, value in found.network.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in network.parameters())  # others train it
    assert ap(found.counts(rectangles(8, seed=1))) > 0.3
    assert [len(rows) for rows in found.unselected] == [3, 3]


def test_rules_have_features_too(cfg, setting):
    given = dense.DenseSetting(dense.RULES["position"], 2, CPU, 0, Draws(0), setting)
    probe = detect.Detect(cfg.probe.detect.model_copy(update={"steps": 2}), cfg.probe.finetune)
    found = probe.fit(rectangles(1 + 1), given)
    assert found.network.stride == 2 and len(found.detections(rectangles(3))) == 3
    std = found.network.head.scale0
    assert std.shape == (20, 1, 1) and (std > 0).all()


def test_the_control_without_an_image_is_right_where_objects_never_move(setting):
    still = rectangles(1 + 1)
    images = in_memory(
        np.repeat(still.store.pixels[:1], 6, axis=0), np.full(6, -1), CLASSES, boxes=[still.boxes[0]] * 6
    )
    given = dense.DenseSetting(dense.constant, 2, CPU, 0, Draws(0), setting)
    found = detect.Majority().fit(images, given)
    assert ap(found.counts(images)) == 1 and len(found.unselected) == 3
    moved = rectangles(8, seed=3)
    assert ap(detect.Majority().fit(moved, given).counts(rectangles(8, seed=4))) < 0.5


def test_objects_that_share_a_cell_are_counted():
    twice = np.array([[0, 0, 9, 9, 0, 0], [1, 0, 8, 9, 0, 0], [0, 0, 9, 9, 1, 0], [20, 0, 29, 9, 0, 0]], np.float32)
    images = in_memory(np.zeros((1, 24, 32, 3), np.uint8), np.full(1, -1), CLASSES, boxes=[twice])
    assert boxes.same_cell(images, 4) == 1


@pytest.mark.long
def test_what_is_exported_gives_the_same_boxes(fitted):
    x = next(dense.pictures(rectangles(3, seed=5), CPU))
    given = fitted.network.exported()(x)
    scores = given[:, :-4] * (given[:, :-4] == F.max_pool2d(given[:, :-4], 3, 1, 1))
    for own, expected in zip(centres.found(scores, given[:, -4:], (24, 32)), fitted.boxes(x), strict=True):
        np.testing.assert_allclose(own.boxes, expected.boxes)
