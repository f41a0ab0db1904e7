import math
from dataclasses import replace as with_other

import numpy as np
import pytest
import torch
from torch import nn

from gssl.config.composing import compose
from gssl.data import Draws, RandomViews
from gssl.errors import JobError, UsageError
from gssl.nets import build_backbone
from gssl.probe import fixmatch
from gssl.probe.fixmatch import FixMatch, fixmatch_loss, weak_views
from gssl.probe.setting import Setting
from gssl.schemas import Backbone, replace
from gssl.schemas import probes as schema
from tests.probe.conftest import fits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    """Views of digits, with less of a crop: the place of a quarter must be seen."""
    return replace(compose("transfer", ["weights=random", "data=mnist5k"]).data.views, crop_scale=[0.6, 1.0])


def config(**changes) -> schema.FixMatch:
    values = dict(steps=80, batch_size=8, ratio=6, threshold=0.7, weight=1.0, weak_crop=0.9, cutout=0.3)
    return schema.FixMatch(**(values | dict(lrs=[0.02], weight_decay=0.01, clip=None, draws=1) | changes))


def build() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(Backbone(name="convnet", norm="batch", width=8, patch=1), 8)


def setting(digits, unlabelled, seed: int = 0) -> Setting:
    return Setting(build, 4, None, digits, 8, CPU, seed, Draws(seed), fits(), unlabelled)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def slow_loss(labelled, labels, weak, strong, threshold):
    """Image by image, as the paper's equations 3 and 4 say."""

    def probability(scores, c):
        return math.exp(scores[c]) / sum(math.exp(s) for s in scores)

    supervised = [-math.log(probability(scores, label)) for scores, label in zip(labelled, labels, strict=True)]
    terms = []
    for a, b in zip(weak, strong, strict=True):
        guess = max(range(len(a)), key=lambda c: a[c])
        if probability(a, guess) >= threshold:
            terms.append(-math.log(probability(b, guess)))
    return sum(supervised) / len(labels), sum(terms) / len(weak), len(terms) / len(weak)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 0.95, 1.0])
def test_the_loss_is_the_papers(threshold):
    rng = np.random.default_rng(0)
    labelled, weak, strong = (rng.normal(scale=4, size=(n, 5)) for n in (4, 30, 30))
    labels = rng.integers(0, 5, 4)
    given = (torch.from_numpy(a) for a in (labelled, labels, weak, strong))
    found = [value.item() for value in fixmatch_loss(*given, threshold)]
    assert found == pytest.approx(slow_loss(labelled, labels, weak, strong, threshold), rel=1e-12)
    assert threshold in (0.0, 1.0) or 0 < found[2] < 1
    assert found[2] == {0.0: 1, 1.0: 0}.get(threshold, found[2])


def test_a_guess_of_just_the_threshold_counts_and_teaches_the_strong_view_only():
    weak = torch.zeros(2, 2, requires_grad=True)  # one half each
    strong = torch.zeros(2, 2, requires_grad=True)
    _, unsupervised, used = fixmatch_loss(torch.zeros(1, 2), torch.tensor([0]), weak, strong, 0.5)
    assert used == 1 and unsupervised.item() == pytest.approx(math.log(2))
    unsupervised.backward()
    assert weak.grad is None and strong.grad.abs().sum() > 0


def test_guesses_without_confidence_teach_nothing():
    strong = torch.randn(3, 4, requires_grad=True)
    _, unsupervised, used = fixmatch_loss(torch.zeros(1, 4), torch.tensor([0]), torch.zeros(3, 4), strong, 0.9)
    unsupervised.backward()
    assert unsupervised == 0 == used and not strong.grad.any()


@pytest.fixture
def faint(stored):
    """(count per class, seed) → noise of 8×8 with a quarter that is a bit brighter, whose place is the class."""

    def make(per_class: int, seed: int):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(4), per_class)
        pixels = rng.integers(0, 80, (len(labels), 8, 8, 3))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * (label // 2) :][:4, 4 * (label % 2) :][:, :4] += 30
        return stored(pixels.astype(np.uint8), labels)

    return make


@pytest.mark.long
def test_unlabelled_images_help_where_labels_are_few(digits, faint):
    """The same training with and without the unlabelled loss, one label per class."""
    unlabelled, unseen = faint(60, 20), faint(60, 30)
    right = {}
    for weight in (0.0, 1.0):
        fitted = FixMatch(config(steps=60, weight=weight)).fit(faint(1, 10), setting(digits, unlabelled))
        right[weight] = (fitted.predict(unseen) == unseen.labels).mean()
        assert 0 < fitted.chosen["used"] <= 1
    assert right[1.0] > right[0.0] + 0.25


def test_labels_of_unlabelled_images_are_never_read(digits, quarters):
    images, others = quarters(2), quarters(9, 1)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    fits = [FixMatch(config(steps=4)).fit(images, setting(digits, given)) for given in (others, others.unlabelled())]
    assert torch.equal(torch.get_rng_state(), state)
    assert same(fits[0].network, fits[1].network)
    assert not fits[0].network.training and fits[0].curve == []
    assert not same(fits[0].network, FixMatch(config(steps=4)).fit(images, setting(digits, others, 1)).network)
    assert not same(fits[0].network, FixMatch(config(steps=4)).fit(images, setting(digits, others), images).network)


def test_chooses_the_learning_rate_that_learns(digits, quarters):
    fitted = FixMatch(config(steps=20, lrs=[1e-9, 0.02, 1e30])).fit(quarters(6), setting(digits, quarters(9, 1)))
    assert fitted.chosen["lr"] == 0.02 and set(fitted.chosen) == {"lr", "used"}
    assert fitted.val_accuracy > 0.7
    with pytest.raises(JobError, match=r"probe\.fixmatch\.lrs"):
        FixMatch(config(steps=3, lrs=[1e30])).fit(quarters(1), setting(digits, quarters(2, 1)))


@pytest.mark.parametrize(("threshold", "used"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_fraction_of_used_guesses_is_reported(digits, quarters, threshold, used):
    fitted = FixMatch(config(steps=3, threshold=threshold)).fit(quarters(1), setting(digits, quarters(3, 1)))
    assert fitted.chosen["used"] == used


@pytest.mark.long
def test_used_guesses_are_those_of_the_last_tenth(digits, quarters, monkeypatch):
    fractions = iter(torch.linspace(0.025, 1, 40))

    def loss(*args):
        supervised, unsupervised, _ = fixmatch_loss(*args)
        return supervised, unsupervised, next(fractions)

    monkeypatch.setattr(fixmatch, "fixmatch_loss", loss)
    fitted = FixMatch(config(steps=40)).fit(quarters(1), setting(digits, quarters(3, 1)))
    assert fitted.chosen["used"] == pytest.approx(np.mean([0.925, 0.95, 0.975, 1]))


@pytest.mark.parametrize("empty", [False, True])
def test_without_unlabelled_images_it_is_a_usage_error(digits, quarters, empty):
    none = quarters(1).subset(np.array([], dtype=np.int64)) if empty else None
    with pytest.raises(UsageError, match=r"^probe\.fixmatch: "):
        FixMatch(config()).fit(quarters(1), setting(digits, none))


def test_weak_views_are_crops_and_the_flips_that_are_allowed(digits, quarters):
    natural = compose("transfer", ["weights=random", "data=cifar10"]).data.views
    image = quarters(5).fetch(np.arange(20))["image"]
    floats = image.float() / 255
    whole = replace(weak_views(natural, 1.0), crop_ratio=[1.0, 1.0])
    flipped = RandomViews(whole, 8, Draws(0))(image, 0)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, floats, strict=True)]
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, flipped, floats, strict=True))
    assert 2 < sum(mirrored) < 18
    whole = replace(weak_views(digits, 1.0), crop_ratio=[1.0, 1.0])
    assert torch.equal(RandomViews(whole, 8, Draws(0))(image, 0), floats)
    cropped = RandomViews(replace(weak_views(natural, 0.5), flip=0.0), 8, Draws(0))(image, 0)
    assert not torch.equal(cropped, floats)


def test_strong_views_have_a_square_cut_out_and_streams_differ(digits, quarters, monkeypatch):
    """What the network is given: labelled and unlabelled weak views, then strong ones of the same images."""
    seen = []

    class Spy(nn.Module):
        dim = 3

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x):
            seen.append(x)
            return x.mean((2, 3)) * self.scale

    quiet = replace(digits, crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], rotate=0.0, jitter=0.0)
    images = quarters(4)
    given = with_other(setting(quiet, images.unlabelled()), build=Spy)
    FixMatch(config(steps=1, batch_size=16, ratio=1, weak_crop=1.0, cutout=0.5)).fit(images, given)
    labelled, weak, strong = seen[-1].split(16)
    assert not torch.equal(labelled, weak)  # the same images in another order
    cut = (strong == 0.5).all(dim=1)
    assert torch.equal(strong[~cut[:, None].expand_as(strong)], weak[~cut[:, None].expand_as(weak)])
    assert (cut.sum((1, 2)) >= 4).all() and (cut.sum((1, 2)) <= 16).all()
