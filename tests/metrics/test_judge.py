import subprocess
import sys

import numpy as np
import pytest
import torch

from gssl.metrics import judge as module
from gssl.metrics.judge import ClassifierJudge, RandomJudge, judge_features
from gssl.metrics.kid import kid

CPU = torch.device("cpu")


def test_random_judge_is_the_same_everywhere():
    """Pinned: distances that were printed with this hash must stay comparable."""
    here = RandomJudge(16)
    assert here.hash == "abbab45f2db69962f83dcd745e4013072df692b2db82fff05a4247becc445e74"
    assert RandomJudge(32).hash == here.hash
    code = "from gssl.metrics.judge import RandomJudge; print(RandomJudge(8).hash)"
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert there.stdout.strip() == here.hash


def test_features_do_not_depend_on_the_batch(quarters):
    images = quarters(5)
    judge = RandomJudge(8)
    by_batch = [judge_features(judge, images, size) for size in (1, 7, 64)]
    assert by_batch[0].shape == (20, judge.dim) == (20, 504)
    assert by_batch[0].dtype == np.float32
    tensor = torch.from_numpy(images.fetch(np.arange(20))["image"].numpy()).float() / 255
    others = [*by_batch[1:], judge_features(judge, tensor), judge_features(judge, iter(tensor.split(3)))]
    for other in others:
        assert np.allclose(by_batch[0], other, atol=1e-5)


def smooth(n: int, seed: int) -> torch.Tensor:
    draws = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(draws, 16, mode="bilinear").mul(0.2).add(0.5).clamp(0, 1)


def test_a_collapsed_generator_is_far_from_real():
    judge = RandomJudge(16)
    real, more, fake = smooth(100, 0), smooth(100, 1), smooth(1, 2).expand(100, -1, -1, -1)
    x, y, collapsed = (judge_features(judge, images) for images in (real, more, fake))
    floor, broken = kid(x, y), kid(x, collapsed)
    assert floor.low <= 0 <= floor.high
    assert broken.low > 20 * max(floor.high, abs(floor.low))


def test_noise_and_scrambling_are_ordered():
    judge = RandomJudge(16)
    real, other = smooth(100, 0), smooth(100, 1)
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(3))
    levels = [other + s * noise for s in (0.0, 0.03, 0.1, 0.3)]
    x = judge_features(judge, real)
    distances = [kid(x, judge_features(judge, images.clamp(0, 1))).mean for images in levels]
    assert distances == sorted(distances)
    shuffled = torch.randperm(256, generator=torch.Generator().manual_seed(4))
    scrambled = other.flatten(2)[:, :, shuffled].view_as(other)  # the same colours in another order
    assert kid(x, judge_features(judge, scrambled)).low > distances[1]


def test_classifier_judge_is_trained_once_and_knows_the_classes(quarters, monkeypatch, tmp_path):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "TRAINED_STEPS", 80)
    monkeypatch.setattr(module, "TRAINED_WIDTHS", (8, 8, 8, 16))
    images = quarters(12)
    state = torch.get_rng_state()
    judge = ClassifierJudge(images, 8, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert not judge.training
    assert not any(p.requires_grad for p in judge.parameters())
    x = torch.from_numpy(judge_features(judge, images))
    assert x.shape == (48, judge.dim) == (48, 16)
    assert (judge.head(x).argmax(1).numpy() == images.labels).mean() > 0.9

    monkeypatch.setattr(ClassifierJudge, "_train", lambda *_: pytest.fail("trained twice"))
    again = ClassifierJudge(images, 8, CPU)
    assert again.hash == judge.hash
    assert np.array_equal(judge_features(again, images), x.numpy())


def test_classifier_judge_is_another_for_other_images(quarters, monkeypatch, tmp_path):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "TRAINED_STEPS", 2)
    monkeypatch.setattr(module, "TRAINED_WIDTHS", (4, 4, 4, 4))
    assert ClassifierJudge(quarters(3), 8, CPU).hash != ClassifierJudge(quarters(3, 1), 8, CPU).hash
    assert len(list((tmp_path / "judges").iterdir())) == 2


def test_random_judge_leaves_global_randomness_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    RandomJudge(8)
    assert torch.equal(torch.get_rng_state(), state)
