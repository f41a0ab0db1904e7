import numpy as np
import pytest
import torch

from gssl.data import Images
from gssl.errors import JobError
from gssl.metrics import cas, classifier
from gssl.metrics.cas import Score, class_frequencies, gan_test, gan_train, ratio, real_reference
from gssl.metrics.classifier import crops, train_on

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(classifier, "STEPS", 60)
    monkeypatch.setattr(classifier, "WIDTHS", (8, 8, 8, 16))


def generator(images: Images, shuffle: bool = False) -> cas.Make:
    """A perfect generator: real images of the class that is asked for (or, shuffled, of any class)."""
    pixels = torch.cat(list(crops(images, 8, CPU)))
    known = torch.from_numpy(images.labels)

    def make(labels: torch.Tensor, step: int) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        rng = np.random.default_rng(step)
        rows = [rng.choice(len(known) if shuffle else np.flatnonzero(known == c)) for c in labels]
        return pixels[rows]

    return make


def made_score(right: list[int]) -> Score:
    labels = np.zeros(len(right), dtype=np.int64)
    return Score(labels, 1 - np.asarray(right, dtype=np.int64))


@pytest.mark.long
def test_real_images_as_a_generator_have_ratio_one(quarters):
    train, test = quarters(20), quarters(25, 1)
    generated = gan_train(generator(train), test, 8, 0, CPU)
    real = real_reference(train, test, 8, 0, CPU)
    found = ratio(generated, real)
    assert real.accuracy > 0.85 and 0.9 < found.value < 1.1
    assert found.low <= 1 <= found.high
    again = gan_train(generator(train), test, 8, 0, CPU)
    assert np.array_equal(again.predicted, generated.predicted)


@pytest.mark.long
def test_images_that_do_not_show_their_class_teach_nothing(quarters):
    train, test = quarters(20), quarters(50, 1)
    found = gan_train(generator(train, shuffle=True), test, 8, 0, CPU)
    assert found.accuracy < 0.5  # chance is .25
    network = train_on(train, 8, 0, CPU)
    right, wrong = (gan_test(network, generator(train, shuffle=s), 50, CPU) for s in (False, True))
    assert right.accuracy > 0.9 and abs(wrong.accuracy - 0.25) < 0.1
    assert np.bincount(right.labels).tolist() == [50] * 4


@pytest.mark.long
def test_one_image_per_class_passes_gan_test_but_not_gan_train(quarters):
    train, test = quarters(20), quarters(25, 1)
    one = generator(train.subset(np.array([0, 20, 40, 60])))
    assert gan_test(train_on(train, 8, 0, CPU), one, 10, CPU).accuracy == 1
    diverse = gan_train(generator(train), test, 8, 0, CPU).accuracy
    assert gan_train(one, test, 8, 0, CPU).accuracy < diverse


def test_classes_are_drawn_as_asked(quarters, monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 40)
    test, seen = quarters(2), []

    def make(labels: torch.Tensor, step: int) -> torch.Tensor:
        seen.append(labels)
        return torch.zeros(len(labels), 3, 8, 8)

    few = quarters(10).subset(np.concatenate([np.arange(10), np.arange(10, 20)[:5], [20], [30, 31, 32, 33]]))
    assert class_frequencies(few).tolist() == [0.5, 0.25, 0.05, 0.2]
    for shares in (class_frequencies(few), None):
        seen.clear()
        gan_train(make, test, 8, 0, CPU, shares)
        drawn = np.bincount(torch.cat(seen).numpy(), minlength=4) / (40 * classifier.BATCH)
        assert np.allclose(drawn, 0.25 if shares is None else shares, atol=0.03)


def test_images_that_are_not_finite_end_it(quarters):
    with pytest.raises(JobError, match="NaN"):
        gan_train(lambda labels, step: torch.full((len(labels), 3, 8, 8), torch.nan), quarters(2), 8, 0, CPU)


def test_scores_are_told_per_class():
    found = Score(np.array([0, 0, 0, 2]), np.array([0, 1, 0, 2])).record(["a", "b", "c"])
    assert found["per_class"] == {"a": pytest.approx(2 / 3), "b": None, "c": 1.0}
    assert found["accuracy"] == 0.75 and found["n"] == 4 and found["low"] < 0.75 < found["high"]


def test_the_ratios_interval_is_the_paired_one():
    """The delta method for the logarithm of a ratio of paired shares says the same, for large n."""
    both, first, second, neither = 500, 60, 140, 300
    a = made_score([1] * both + [1] * first + [0] * second + [0] * neither)
    b = made_score([1] * both + [0] * first + [1] * second + [0] * neither)
    found = ratio(a, b)
    deviation = ((first + second) / ((both + first) * (both + second))) ** 0.5
    assert found.value == pytest.approx(560 / 640)
    assert np.log(found.low / found.value) == pytest.approx(-1.96 * deviation, rel=0.1)
    assert np.log(found.high / found.value) == pytest.approx(1.96 * deviation, rel=0.1)
    assert ratio(a, a) == (1, 1, 1)
    assert ratio(a, made_score([0] * 1000)).value == np.inf


def test_a_ratio_of_other_images_is_refused():
    with pytest.raises(ValueError, match="same test images"):
        ratio(made_score([1, 0]), made_score([1, 0, 1]))
