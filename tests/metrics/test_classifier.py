import numpy as np
import pytest
import torch

from gssl.errors import JobError, UsageError
from gssl.metrics import classifier
from gssl.metrics.classifier import Classifier, cached_classifier, crops, predict, train_classifier, train_on

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(classifier, "STEPS", 60)
    monkeypatch.setattr(classifier, "WIDTHS", (8, 8, 8, 16))


def weights(network: Classifier) -> torch.Tensor:
    return torch.cat([p.flatten() for p in network.parameters()])


def test_it_learns_and_is_a_function_of_its_seed(quarters):
    images, other = quarters(12), quarters(10, 1)
    networks = [train_on(images, 8, seed, CPU) for seed in (0, 0, 1)]
    assert (predict(networks[0], crops(other, 8, CPU)) == other.labels).mean() > 0.85
    assert torch.equal(weights(networks[0]), weights(networks[1]))
    assert not torch.equal(weights(networks[0]), weights(networks[2]))
    assert not networks[0].training


def test_it_leaves_global_randomness_alone():
    state = torch.get_rng_state()
    train_classifier(lambda step: (torch.rand(4, 3, 8, 8), torch.arange(4)), 4, 8, 0, CPU, steps=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_without_a_label_are_left_out(quarters):
    images = quarters(6)
    some = images.subset(np.arange(24))
    some.labels[::3] = -1
    known = images.subset(np.flatnonzero(some.labels >= 0))
    assert torch.equal(weights(train_on(some, 8, 0, CPU)), weights(train_on(known, 8, 0, CPU)))


@pytest.mark.long
def test_a_damaged_file_in_the_cache_is_trained_again(quarters, tmp_path, capsys):
    first = cached_classifier(quarters(6), 8, 0, CPU)
    (file,) = (tmp_path / "evaluators").glob("*.sealed")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 16  # a weight: nothing but a checksum tells
    for damaged in (whole[:500], bytes(flipped), b"", bytes(len(whole))):
        file.write_bytes(damaged)
        assert torch.equal(weights(cached_classifier(quarters(6), 8, 0, CPU)), weights(first))
        assert file.stat().st_size == len(whole)
    assert capsys.readouterr().err.count("the evaluator is trained again") == 4


def test_a_cache_that_cannot_be_written_is_named(quarters, tmp_path):
    images = quarters(2)
    (tmp_path / "evaluators").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="GSSL_CACHE: cannot write"):
        cached_classifier(images, 8, 0, CPU)


def test_an_infinite_loss_ends_it():
    with pytest.raises(JobError, match="not finite"):
        train_classifier(lambda step: (torch.full((4, 3, 8, 8), torch.nan), torch.arange(4)), 4, 8, 0, CPU, steps=2)


@pytest.mark.parametrize("size", [8, 28, 32, 64, 96, 128])
def test_large_images_cost_no_more_than_small_ones(size):
    network = Classifier(3, size).eval()
    maps = []
    network.trunk[0].register_forward_hook(lambda _, inputs, out: maps.append(out.shape[-1]))
    assert network(torch.zeros(2, 3, size, size)).shape == (2, network.dim)
    assert maps[0] == (size if size < 64 else 32)
