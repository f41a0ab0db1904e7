"""Controls of sounds: real ones are nearest, what is worse is farther, and the wanted class is counted."""

import numpy as np
import pytest
import torch

from gssl.data import Draws
from gssl.data.memory import in_memory
from gssl.experiment import sound_evaluation
from gssl.metrics.evaluator import RandomEvaluator
from gssl.nets.generator import Generator, Shape
from gssl.nets.log_mel import BandScale, LogMel

CPU = torch.device("cpu")
SAMPLES = 2400


def tones(count, seed):
    """int16 (count, SAMPLES) of two pitches in turn, in noise."""
    rng = np.random.default_rng(seed)
    hertz = np.array([300, 1500])[np.arange(count) % 2] * rng.uniform(0.95, 1.1, count)
    t = np.arange(SAMPLES) / 8000
    wave = np.sin(2 * np.pi * (hertz[:, None] * t + rng.uniform(size=(count, 1)))) + 0.1 * rng.normal(
        size=(count, SAMPLES)
    )
    return torch.from_numpy((8000 * wave).round().astype(np.int16))


class Sounds(RandomEvaluator):
    """Hears which half of the bands is the louder one."""

    classes = 2

    def outputs(self, x):
        low, high = x[:, 0, :8].mean((1, 2)), x[:, 0, 8:].mean((1, 2))
        return self(x), torch.stack([low, high], 1).softmax(1)


@pytest.fixture(scope="module")
def parts():
    scale = BandScale.fit(tones(80, 0), LogMel(8000, 16, 20.0))

    def pictures(count, seed):
        levels = (scale.picture(tones(count, seed))[:, :1] * 255).round().to(torch.uint8)
        return in_memory(levels.permute(0, 2, 3, 1).numpy(), np.arange(count) % 2, ["low", "high"])

    train = pictures(200, 0)
    return scale, train.subset(np.argsort(train.labels, kind="stable")), pictures(60, 1)  # rows lie by their classes


def evaluated(parts, sample):
    scale, train, held = parts
    generator = Generator(Shape("dcgan", 6, 4, 16, 1, classes=2, wide=scale.shape[1]))
    made = sound_evaluation.Made(generator, scale, sample, None)
    return sound_evaluation.evaluate(made, Sounds(scale.shape), train, held, Draws(0), CPU)


def test_a_generator_that_plays_real_sounds_is_as_near_as_real_ones_and_hits_the_class(parts):
    scale = parts[0]
    found = evaluated(parts, lambda z, labels: scale.picture(tones(60, 2))[: len(z)])
    assert {own["n"] for own in found["features"].values()} == {60}
    for kind in ("features", "pixels"):
        kid = {name: own["kid"] for name, own in found[kind].items()}
        assert kid["generated"] < 0.1 * kid["untrained"] and kid["real"] < 0.1 * kid["untrained"]
        assert kid["means"] < kid["untrained"] and kid["codec"] < 0.3 * kid["untrained"]
    assert all(found["wanted_class"][name]["accuracy"] == 1 for name in ("generated", "real", "codec", "held_out"))


def test_a_generator_of_one_class_alone_misses_the_others(parts):
    scale = parts[0]
    low = scale.picture(tones(120, 2)[::2])
    found = evaluated(parts, lambda z, labels: low[: len(z)])
    assert found["wanted_class"]["generated"]["accuracy"] == 0.5 and found["wanted_class"]["generated"]["low"] < 0.5
    kid = {name: own["kid"] for name, own in found["features"].items()}
    assert kid["generated"] > 3 * max(kid["real"], 1e-3)
