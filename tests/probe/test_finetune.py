from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gssl.data import Batches, Draws, RandomViews
from gssl.engine.optim import parameter_groups
from gssl.errors import JobError, UsageError
from gssl.nets import build_backbone
from gssl.nets.norms import recompute_batch_norm
from gssl.probe import classification, training
from gssl.probe.classification import Classification
from gssl.probe.finetune import Finetune, predict_proba, train_last
from gssl.probe.setting import Setting
from gssl.probe.training import ValidationCurve, adamw, optimise
from gssl.schemas import Backbone, Views
from gssl.schemas import probes as schema
from tests.probe.conftest import fits

CPU = torch.device("cpu")


class Tiny(nn.Module):
    dim = 8

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.layers = nn.Sequential(*conv, nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 8))

    def forward(self, x):
        return self.layers(x)


def backbone(name: str) -> Callable[[], nn.Module]:
    kinds = {
        "convnet": Backbone(name="convnet", norm="batch", width=4, patch=1),
        "resnet18": Backbone(name="resnet18", norm="batch", width=64, patch=1),
        "vit_micro": Backbone(name="vit_micro", norm="none", width=12, patch=4),
    }

    def build() -> nn.Module:
        torch.manual_seed(0)
        network = build_backbone(kinds[name], 8)
        network(torch.rand(64, 3, 8, 8))  # batch statistics of their own
        return network

    return build


def views(image, step, view=0, extent=None):
    return image.float() / 255


MASKS = schema.FinetuneMasks(crop=8, channels=4, batch_size=2, lrs=[0.01])
BOXES = schema.FinetuneBoxes(channels=4, batch_size=2, lrs=[0.01], upside_down=False, brightness=0.0)


def config(**changes) -> schema.Finetune:
    values = dict(
        train="all", stages=1, rank=2, layer_decay=1.0, steps=40, batch_size=16, draws=1, points=0, colour=True
    )
    values |= dict(folds=1, clip=None, head_l2=None)
    return schema.Finetune(**(values | dict(masks=MASKS, boxes=BOXES, lrs=[0.01], weight_decays=[0.01]) | changes))


def setting(seed: int = 0, build: Callable[[], nn.Module] = Tiny) -> Setting:
    return Setting(build, 4, views, None, 8, CPU, seed, Draws(seed), fits())


def classifier(given: Setting) -> classification.Classifier:
    return Classification().network(given)


def fit(cfg, images, seed=0, build: Callable[[], nn.Module] = Tiny):
    return Finetune(cfg).fit(images, setting(seed, build))


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == other and torch.equal(v, w) for (k, v), (other, w) in pairs)


def test_learns_what_can_be_learnt(quarters):
    fitted = fit(config(), quarters(12))
    unseen = quarters(20, 1)
    predicted = fitted.predict(unseen)
    assert predicted.dtype == np.int64
    assert (predicted == unseen.labels).mean() > 0.9
    assert fitted.chosen == {"lr": 0.01, "weight_decay": 0.01}
    assert fitted.val_accuracy > 0.5
    assert not fitted.network.training


def test_probabilities_are_those_of_the_logits(quarters):
    fitted, unseen = fit(config(steps=10), quarters(3)), quarters(70, 1)  # more than one batch
    found = fitted.probabilities(unseen)
    assert found.dtype == np.float64
    with torch.no_grad():
        logits = fitted.network(unseen.fetch(np.arange(280))["image"].float() / 255)
    np.testing.assert_allclose(found, logits.double().softmax(1).numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert np.array_equal(found.argmax(axis=1), fitted.predict(unseen))
    assert np.array_equal(found, predict_proba(fitted.network, unseen, 8, CPU))


def test_same_seed_same_network_and_global_randomness_untouched(quarters):
    images = quarters(3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fit(config(steps=6, lrs=[0.01, 0.001], points=3), images, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = (fit(config(steps=6, lrs=[0.01, 0.001], points=3), images, seed) for seed in (3, 4))
    assert same(first.network, again.network)
    assert not same(first.network, other.network)


def test_it_is_adamw_on_all_weights_bit_by_bit(quarters):
    """The loop written out, for one-shot labels: nothing is chosen."""
    images, draws = quarters(1), Draws(7)
    cfg = config(steps=12, batch_size=3, lrs=[0.02])
    for build in (Tiny, backbone("convnet")):
        torch.manual_seed(0)
        fitted = fit(cfg, images, 7, build)
        torch.manual_seed(1)  # first weights must not come from there
        network = classifier(setting(7, build))
        many = [p for p in network.parameters() if p.ndim > 1]
        few = [p for p in network.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW([{"params": many}, {"params": few, "weight_decay": 0.0}], weight_decay=0.01)
        batches = Batches(images, 3, draws, CPU)
        for step in range(12):
            draws.reseed(step)
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * (1.0 if step < 1 else 0.5 * (1 + np.cos(np.pi * step / 12)))
            batch = batches(step)
            optimizer.zero_grad()
            F.cross_entropy(network(batch["image"].float() / 255), batch["label"]).backward()
            optimizer.step()
        whole = images.fetch(np.arange(len(images)))["image"].float() / 255
        recompute_batch_norm(network.backbone, [whole])  # whole images are predicted, not crops
        assert same(fitted.network, network)


def test_views_leave_colours_alone_unless_they_are_asked_for(quarters):
    """Two policies that differ in colours only train one network where colour is false, and two where it is true."""
    images = quarters(2)
    fitted = {}
    for colour in (False, True):
        for jitter in (0.0, 1.0):
            policy = Views(
                crop_scale=[0.5, 1.0], crop_ratio=[0.9, 1.1], rotate=5.0, flip=0.5, jitter=jitter, brightness=0.4,
                contrast=0.4, saturation=0.4, hue=0.1, grayscale=jitter / 2, blur=0.0, blur_sigma=[0.1, 1.0],
                solarize=0.0, cutout=0.0, cutout_size=0.3, second_blur=None, second_solarize=None,
            )  # fmt: skip
            given = replace(setting(), views=RandomViews(policy, 8, Draws(0)), views_cfg=policy)
            fitted[colour, jitter] = Finetune(config(steps=4, colour=colour)).fit(images, given).network
    assert same(fitted[False, 0.0], fitted[False, 1.0])
    assert not same(fitted[True, 0.0], fitted[True, 1.0])


def test_chooses_the_point_that_learns_and_trains_each_once(quarters, monkeypatch):
    trained = []
    train = Finetune._train
    monkeypatch.setattr(
        Finetune, "_train", lambda self, point, *rest: trained.append(point) or train(self, point, *rest)
    )
    fitted = fit(config(steps=25, lrs=[1e-9, 0.02, 1e30], weight_decays=[90.0, 0.01]), quarters(10))
    assert fitted.chosen == {"lr": 0.02, "weight_decay": 0.01}
    assert fitted.val_accuracy > 0.7
    assert len(trained) == 7 and trained[-1] == fitted.chosen


def test_one_shot_takes_the_first(quarters):
    fitted = fit(config(steps=3, lrs=[0.003, 0.01], weight_decays=[0.1, 0.2], points=5), quarters(1))
    assert fitted.chosen == {"lr": 0.003, "weight_decay": 0.1}
    assert fitted.val_accuracy is None and fitted.curve == []


def test_two_images_are_enough(quarters):
    images = quarters(1).subset(np.array([0, 3]))
    fitted = fit(config(steps=3), images)
    assert np.isfinite([p.detach().sum() for p in fitted.network.parameters()]).all()


def test_divergence_names_the_probe(quarters):
    with pytest.raises(JobError, match=r"probe\.finetune\.lrs"):
        fit(config(steps=3, lrs=[1e30]), quarters(1))


@pytest.mark.parametrize(
    ("points", "steps", "expected"),
    [
        (0, 9, set()),
        (1, 9, {9}),
        (3, 100, {1, 10, 100}),
        (9, 4, {1, 2, 3, 4}),
        (4, 1000, {1, 10, 100, 1000}),
        (5, 1, {1}),
    ],
)
def test_steps_of_the_curve_have_equal_ratios(points, steps, expected):
    assert training.curve_steps(points, steps) == expected


def test_the_curve_is_of_the_chosen_trial(quarters):
    images = quarters(10)
    alone = fit(config(steps=25, lrs=[0.02], points=3), images)
    fitted = fit(config(steps=25, lrs=[1e-9, 0.02, 1e30], points=3), images)
    points = [(entry["step"], entry["val_accuracy"]) for entry in fitted.curve]
    assert [step for step, _ in points] == [1, 5, 25]
    assert points == [(entry["step"], entry["val_accuracy"]) for entry in alone.curve]
    assert points[-1][1] == fitted.val_accuracy > points[0][1]
    assert 0 < fitted.curve[0]["seconds"] < fitted.curve[1]["seconds"] < fitted.curve[2]["seconds"]
    assert fit(config(steps=2, points=0), images).curve == []


def test_evaluation_is_not_counted_as_training(quarters, monkeypatch):
    """By a clock that a step moves by 1 and an evaluation by 100."""
    now, score = [0.0], Classification.score

    def passes(seconds, value):
        now[0] += seconds
        return value

    clock = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[0])
    monkeypatch.setattr("gssl.engine.run.time", clock)
    monkeypatch.setattr(Classification, "score", lambda *args: passes(100, score(*args)))
    given = replace(setting(), views=lambda image, *rest: passes(1, views(image, *rest)))
    fitted = Finetune(config(steps=8, points=4)).fit(quarters(2), given)
    assert [(entry["step"], entry["seconds"]) for entry in fitted.curve] == [(1, 1), (2, 2), (4, 4), (8, 8)]


@pytest.mark.parametrize("last", [False, True])
def test_evaluation_changes_nothing(quarters, last):
    images, trained = quarters(6), []
    for at in (set(), {1, 2, 5, 9}):
        given = setting(build=backbone("convnet") if last else Tiny)
        network = classifier(given)
        if last:
            train_last(network, 1)
        modes = [module.training for module in network.modules()]
        batches = Batches(images, 8, given.draws, CPU)

        def feed(step, batches=batches):
            return {"input": views(batches(step)["image"], step), "target": batches(step)["label"]}

        def loss(batch, network=network):
            return {"loss": F.cross_entropy(network(batch["input"]), batch["target"])}

        curve = ValidationCurve(quarters(5, 1), given, Classification(), {*at, 10})
        optimise(network, loss, feed, given, adamw(0.01, 0.01), 10, title="", key=(), batch_size=8, curve=curve)
        assert len(curve.curve) == len(at) + 1
        assert [module.training for module in network.modules()] == modes
        trained.append(network)
    assert same(*trained)


@pytest.mark.parametrize(
    ("name", "stages"), [("convnet", 1), ("convnet", 3), ("resnet18", 2), ("vit_micro", 1), ("vit_micro", 3)]
)
def test_what_comes_before_the_last_stages_stays_as_it_is(quarters, name, stages):
    build = backbone(name)
    before, after = (
        build(),
        fit(config(train="last", stages=stages, steps=2), quarters(1), build=build).network.backbone,
    )
    frozen = [p for stage in before.layer_groups()[:-stages] for p in stage]
    kept = [p for stage in after.layer_groups()[:-stages] for p in stage]
    moved = [p for stage in after.layer_groups()[-stages:] for p in stage]
    start = [p for stage in before.layer_groups()[-stages:] for p in stage]
    assert frozen and all(torch.equal(a, b) for a, b in zip(frozen, kept, strict=True))
    assert not any(p.requires_grad for p in kept)
    assert not any(torch.equal(a, b) for a, b in zip(start, moved, strict=True))
    # A batch norm's statistics go with its weights.
    own = {id(p) for p in kept}
    for module, other in zip(after.modules(), before.modules(), strict=True):
        if isinstance(module, nn.BatchNorm2d):
            still = torch.equal(module.running_mean, other.running_mean)
            still &= torch.equal(module.running_var, other.running_var)
            still &= torch.equal(module.num_batches_tracked, other.num_batches_tracked)
            assert still == (id(module.weight) in own)


def test_autograd_stops_before_the_last_stages():
    network = classifier(setting(build=backbone("convnet")))
    train_last(network, 2)
    maps = network.backbone.dense(torch.rand(2, 3, 8, 8))
    assert [m.requires_grad for m in maps] == [False, False, True, True]


@pytest.mark.parametrize("build", [backbone("convnet"), Tiny])
def test_all_stages_are_the_whole_network(quarters, build):
    images, count = quarters(1), 1 if build is Tiny else 4  # a network that knows of no stages has one
    whole = fit(config(steps=5), images, build=build)
    assert same(whole.network, fit(config(steps=5, train="last", stages=count), images, build=build).network)
    with pytest.raises(UsageError, match=rf"^probe\.finetune\.stages={count + 1}: .* {count}"):
        fit(config(steps=5, train="last", stages=count + 1), images, build=build)


@pytest.mark.parametrize("build", [backbone("convnet"), backbone("vit_micro"), Tiny])
def test_learning_rates_fall_by_a_factor_per_stage(quarters, build):
    """Adam's first step moves every weight by its learning rate, whatever its gradient."""
    images = quarters(1)
    before = classifier(setting(build=build))
    after = fit(config(steps=1, lrs=[0.01], weight_decays=[0.0], layer_decay=0.5), images, build=build).network
    assert (after.head.bias - before.head.bias).abs().max().item() == pytest.approx(0.01, rel=1e-3)
    stages = list(zip(before.layer_groups(), after.layer_groups(), strict=True))
    for distance, (old, new) in enumerate(reversed(stages), 1):
        most = max((b - a).abs().max().item() for a, b in zip(old, new, strict=True))
        assert most == pytest.approx(0.01 * 0.5**distance, rel=1e-2)


def test_groups_hold_every_weight_once_and_shrink_matrices_only():
    network = classifier(setting(build=backbone("resnet18")))
    scales = training.lr_scales(network, 0.5)
    groups = parameter_groups(scales, adamw(0.1, 0.3), lr_scales=scales)
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len(set(map(id, listed))) and set(map(id, listed)) == set(map(id, network.parameters()))
    assert all(group["weight_decay"] == (0.3 if p.ndim > 1 else 0) for group in groups for p in group["params"])
    assert {group["lr_scale"] for group in groups} == {1, 0.5, 0.25, 0.125, 0.0625}


def test_layer_decay_works_in_what_is_trained(quarters):
    cfg = config(steps=3, train="last", stages=2, weight_decays=[0.0])
    even, slow = (
        fit(cfg.model_copy(update={"layer_decay": d}), quarters(1), build=backbone("convnet")) for d in (1.0, 0.1)
    )
    start = classifier(setting(build=backbone("convnet")))
    first = start.layer_groups()[2]
    far = [sum((a - b).abs().sum().item() for a, b in zip(f.network.layer_groups()[2], first, strict=True))
           for f in (even, slow)]  # fmt: skip
    assert 0 < far[1] < 0.05 * far[0]


def test_the_curve_has_a_part_of_the_validation_images_and_its_end_all(quarters, monkeypatch):
    """Choices use every validation image; the curve on the way need not."""
    images = quarters(60)
    whole = fit(config(steps=6, points=3, lrs=[0.01]), images)
    monkeypatch.setattr("gssl.probe.training.CURVE_IMAGES", 5)
    few = fit(config(steps=6, points=3, lrs=[0.01]), images)
    n = len(classification.label_folds(images, 0)[0][1])
    assert {p["n"] for p in whole.curve} == {n} and [p["n"] for p in few.curve][-1] == n
    assert all(p["n"] == len(range(0, n, -(-n // 5))) for p in few.curve[:-1])
    assert few.val_accuracy == whole.val_accuracy == few.curve[-1]["val_accuracy"]
