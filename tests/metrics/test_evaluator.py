import subprocess
import sys

import numpy as np
import pytest
import torch

from gssl.data import Images, Splits
from gssl.errors import UsageError
from gssl.metrics import classifier
from gssl.metrics.evaluator import (
    ClassifierEvaluator,
    RandomEvaluator,
    evaluator_features,
    evaluator_outputs,
    make_evaluator,
)
from gssl.metrics.kid import kid

CPU = torch.device("cpu")


@pytest.mark.long
def test_random_judge_is_the_same_everywhere():
    """Pinned: distances that were printed with this hash must stay comparable."""
    here = RandomEvaluator(16)
    assert here.hash == "abbab45f2db69962f83dcd745e4013072df692b2db82fff05a4247becc445e74"
    assert RandomEvaluator(32).hash == here.hash
    code = "from gssl.metrics.evaluator import RandomEvaluator; print(RandomEvaluator(8).hash)"
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert there.stdout.strip() == here.hash


def test_features_do_not_depend_on_the_batch(quarters):
    images = quarters(5)
    evaluator = RandomEvaluator(8)
    by_batch = [evaluator_features(evaluator, images, size) for size in (1, 7, 64)]
    assert by_batch[0].shape == (20, evaluator.dim) == (20, 504)
    assert by_batch[0].dtype == np.float32
    tensor = torch.from_numpy(images.fetch(np.arange(20))["image"].numpy()).float() / 255
    others = [
        *by_batch[1:],
        evaluator_features(evaluator, tensor),
        evaluator_features(evaluator, iter(tensor.split(3))),
    ]
    for other in others:
        assert np.allclose(by_batch[0], other, atol=1e-5)


def smooth(n: int, seed: int) -> torch.Tensor:
    draws = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(draws, 16, mode="bilinear").mul(0.2).add(0.5).clamp(0, 1)


def test_a_collapsed_generator_is_far_from_real():
    evaluator = RandomEvaluator(16)
    real, more, fake = smooth(100, 0), smooth(100, 1), smooth(1, 2).expand(100, -1, -1, -1)
    x, y, collapsed = (evaluator_features(evaluator, images) for images in (real, more, fake))
    floor, broken = kid(x, y), kid(x, collapsed)
    assert floor.low <= 0 <= floor.high
    assert broken.low > 20 * max(floor.high, abs(floor.low))


def test_noise_and_scrambling_are_ordered():
    evaluator = RandomEvaluator(16)
    real, other = smooth(100, 0), smooth(100, 1)
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(3))
    levels = [other + s * noise for s in (0.0, 0.03, 0.1, 0.3)]
    x = evaluator_features(evaluator, real)
    distances = [kid(x, evaluator_features(evaluator, images.clamp(0, 1))).mean for images in levels]
    assert distances == sorted(distances)
    shuffled = torch.randperm(256, generator=torch.Generator().manual_seed(4))
    scrambled = other.flatten(2)[:, :, shuffled].view_as(other)  # the same colours in another order
    assert kid(x, evaluator_features(evaluator, scrambled)).low > distances[1]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A cache of its own and a recipe that takes no time."""
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(classifier, "STEPS", 60)
    monkeypatch.setattr(classifier, "WIDTHS", (8, 8, 8, 16))
    return tmp_path


def splits_of(train: Images, val: Images) -> Splits:
    return Splits(train, train, val, train.classes, "", {}, val)


def test_classifier_judge_is_trained_once_and_knows_the_classes(quarters, small, monkeypatch):
    images, held = quarters(12), quarters(10, 1)
    state = torch.get_rng_state()
    evaluator = ClassifierEvaluator(images, 8, CPU, held)
    assert torch.equal(torch.get_rng_state(), state)
    assert not evaluator.training
    assert not any(p.requires_grad for p in evaluator.parameters())
    assert evaluator.accuracy is not None and evaluator.accuracy[1] == 40 and evaluator.accuracy[0] > 34
    assert evaluator.record()["accuracy"]["n"] == 40
    x, shares = evaluator_outputs(evaluator, images)
    assert x.shape == (48, evaluator.dim) == (48, 16)
    assert shares is not None and shares.shape == (48, evaluator.classes) == (48, 4)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares.argmax(axis=1) == images.labels).mean() > 0.9

    monkeypatch.setattr(classifier, "train_on", lambda *_: pytest.fail("trained twice"))
    again = ClassifierEvaluator(images, 8, CPU)
    assert again.hash == evaluator.hash and again.accuracy is None
    assert np.array_equal(evaluator_features(again, images), x)


def test_classifier_judge_is_another_for_other_images(quarters, small, monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 2)
    assert ClassifierEvaluator(quarters(3), 8, CPU).hash != ClassifierEvaluator(quarters(3, 1), 8, CPU).hash
    assert len(list((small / "evaluators").glob("*.sealed"))) == 2


def test_outputs_do_not_depend_on_the_batch(quarters, small):
    images = quarters(5)
    evaluator = ClassifierEvaluator(images, 8, CPU)
    whole = evaluator_outputs(evaluator, images)
    for size in (1, 7):
        part = evaluator_outputs(evaluator, images, size)
        assert np.allclose(part.features, whole.features, rtol=1e-4, atol=1e-5)
        assert np.allclose(part.probabilities, whole.probabilities, rtol=1e-4, atol=1e-5)


def test_every_image_passes_the_network_once(quarters, small):
    evaluator = ClassifierEvaluator(quarters(5), 8, CPU)
    seen = []
    evaluator.network.register_forward_hook(lambda _, inputs, out: seen.append(len(inputs[0])))
    evaluator_outputs(evaluator, torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)), batch_size=4)
    evaluator_features(evaluator, iter([torch.zeros(9, 3, 8, 8)]), batch_size=4)  # large batches of others are cut too
    assert seen == [4, 4, 1] * 2


def test_a_judge_without_a_head_gives_no_probabilities():
    x, shares = evaluator_outputs(RandomEvaluator(8), torch.zeros(3, 3, 8, 8))
    assert x.shape == (3, 504) and shares is None


def test_auto_takes_the_classifier_where_there_are_classes(quarters, small):
    images = quarters(5)
    labelled, bare = splits_of(images, images), splits_of(images.unlabelled(), images.unlabelled())
    one = splits_of(images.subset(np.arange(5)), images)  # four names, one class
    evaluator = make_evaluator("auto", labelled, 8, CPU)
    assert evaluator.name == "classifier-conv" and not evaluator.note
    assert evaluator.hash == make_evaluator("classifier", labelled, 8, CPU).hash
    for splits in (bare, one):
        evaluator = make_evaluator("auto", splits, 8, CPU)
        assert evaluator.name == "random-conv" and "no labelled classes" in evaluator.note
    assert not make_evaluator("random", labelled, 8, CPU).note
    assert not evaluator.fid


@pytest.mark.parametrize(
    "name, weights, says",
    [
        ("classifier", None, "use evaluator=random"),
        ("clasifier", None, "did you mean classifier?"),
        ("torchvision", None, "torchvision:NAME"),
        ("random", "x.pth", "evaluator=random: takes no weights file"),
        ("dinov2", "no/x.pth", "evaluator=dinov2: no weights file no/x.pth"),
    ],
)
def test_wrong_judges_are_refused_in_one_line(quarters, name, weights, says):
    images = quarters(2).unlabelled()
    with pytest.raises(UsageError) as caught:
        make_evaluator(name, splits_of(images, images), 8, CPU, weights)
    text = str(caught.value)
    assert text.startswith(f"evaluator={name}") and says in text and "\n" not in text


def test_random_judge_leaves_global_randomness_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    RandomEvaluator(8)
    assert torch.equal(torch.get_rng_state(), state)
