"""How near generated spectrograms are to those of held-out sounds, beside controls that sounds alone have.

| side | what |
|---|---|
| `generated` | spectrograms of the generator |
| `real` | as many training sounds: as near as can be |
| `codec` | training sounds that went the way on which a sample is heard: clipped, Griffin-Lim, spectrogram again |
| `untrained` | the same generator with random weights |
| `means` | of each held-out sound the mean spectrogram of its class, where labels are known, else of all |

Distances are KID on features of the evaluator, and of pictures averaged to 16 × 25 that nothing was trained on. Where
the generator takes a class, the evaluator says how often it hears the wanted one. Intervals are over sounds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images
from gssl.engine.progress import say
from gssl.experiment.generators import Sampler, as_stored, latents
from gssl.metrics.classifier import crops
from gssl.metrics.evaluator import evaluator_outputs
from gssl.metrics.kid import kid
from gssl.nets import griffin_lim
from gssl.nets.generator import Generator
from gssl.nets.log_mel import BandScale
from gssl.probe.sounds import PIXELS
from gssl.statistics.intervals import wilson

BATCH = 128
MOST, MOST_CODED = 1000, 300  # sounds of each side, and of those that go through Griffin-Lim


@dataclass(frozen=True)
class Made:
    """A generator of pictures of spectrograms. sample: z (B, latent) and labels (B,), or None → pictures (B, 3, …)."""

    generator: Generator
    scale: BandScale
    sample: Callable[[Tensor, Tensor | None], Tensor]
    truncation: float | None


def of_sampler(
    sampler: Sampler, evaluator: Any, train: Images, held: Images, seed: int, truncation: float | None
) -> dict[str, Any]:
    """`evaluate` of a generator that was exported."""
    assert sampler.scale is not None

    def sample(z: Tensor, labels: Tensor | None) -> Tensor:
        return sampler.make(z, None if labels is None else labels.cpu().numpy())

    limit = sampler.truncation if truncation is None else truncation
    made = Made(sampler.generator, sampler.scale, sample, limit)
    return evaluate(made, evaluator, train, held, Draws(seed), sampler.device)


def evaluate(
    made: Made, evaluator: Any, train: Images, held: Images, draws: Draws, device: torch.device
) -> dict[str, Any]:
    """KID to held-out sounds of every side, and accuracies of the wanted class; says them in a line each.

    train, held: pictures of sounds (`gssl.experiment.sound_pictures`).
    """
    held = _some(held, draws, MOST)
    known = _some(train, draws, len(held))  # drawn: rows lie by their classes
    few = _some(known, draws, MOST_CODED)
    sides = {
        "generated": lambda: _generated(made, made.sample, held, draws, device),
        "real": lambda: _pictures(known, made, device),
        "codec": lambda: coded(_pictures(few, made, device), made.scale, draws),
        "untrained": lambda: _generated(made, _untrained(made, device), held, draws, device),
        "means": lambda: _means(train, held, made, device),
    }
    true = _described(evaluator, _pictures(held, made, device), device)
    found: dict[str, Any] = {"n": len(held), "evaluator": evaluator.record(), "features": {}, "pixels": {}}
    right: dict[str, Any] = {}
    labels = dict.fromkeys(sides, held.labels) | {"real": known.labels, "codec": few.labels}
    for name, make in sides.items():
        own = _described(evaluator, make(), device)
        for kind in ("features", "pixels"):
            value = kid(own[kind], true[kind], subsets=0)
            found[kind][name] = {"kid": value.mmd2, "low": value.low, "high": value.high, "n": len(own[kind])}
        if made.generator.classes and own["guess"] is not None:
            right[name] = _accuracy(own["guess"], labels[name])
    for kind, about in (("features", evaluator.record()["name"]), ("pixels", f"{PIXELS[0]}×{PIXELS[1]} pixels")):
        listed = ", ".join(f"{name} {own['kid']:.3g}" for name, own in found[kind].items())
        say(f"KID of spectrograms, {about} (d {true[kind].shape[1]}, n {len(held)}): {listed}")
    if right:
        right["held_out"] = _accuracy(true["guess"], held.labels)
        found["wanted_class"] = right
        say("the wanted class is heard: " + ", ".join(f"{name} {own['accuracy']:.0%}" for name, own in right.items()))
    return found


@torch.no_grad()
def coded(batches: Iterator[Tensor], scale: BandScale, draws: Draws) -> Iterator[Tensor]:
    """Pictures of the sounds that Griffin-Lim makes of pictures (B, 3, bands, frames)."""
    for step, x in enumerate(batches):
        places = griffin_lim.starts(scale.log_mel, scale.samples)
        phases = draws.uniform("griffin_lim/evaluate", step, (len(x), places[0] * places[1])).unflatten(1, places)
        heard = griffin_lim.sounds(scale.spectrogram(x), scale.log_mel, scale.samples, phases)
        yield as_stored(scale.picture(heard.clamp(-1, 1)))


def _some(part: Images, draws: Draws, most: int) -> Images:
    return part.subset(np.sort(draws.permutation("eval/sounds", 0, len(part))[:most]))


def _pictures(part: Images, made: Made, device: torch.device) -> Iterator[Tensor]:
    yield from crops(part, made.scale.shape, device, BATCH)


@torch.no_grad()
def _generated(
    made: Made, sample: Callable[[Tensor, Tensor | None], Tensor], held: Images, draws: Draws, device: torch.device
) -> Iterator[Tensor]:
    z = latents(draws, "samples/sounds", 0, (len(held), made.generator.latent), made.truncation)
    labels = torch.from_numpy(held.labels).to(device) if made.generator.classes else None
    for start in range(0, len(z), BATCH):
        own = None if labels is None else labels[start : start + BATCH]
        yield as_stored(sample(z[start : start + BATCH].to(device), own))


def _untrained(made: Made, device: torch.device) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Batch norms with the statistics of the batch: their averages are none of anything yet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator(made.generator.shape).to(device).train()


def _means(train: Images, held: Images, made: Made, device: torch.device) -> Iterator[Tensor]:
    pictures = torch.cat(list(_pictures(train, made, device)))
    whole, of = pictures.mean(0), {}
    for label in np.unique(held.labels[held.labels >= 0]).tolist():
        if mine := np.flatnonzero(train.labels == label).tolist():
            of[label] = pictures[mine].mean(0)
    yield as_stored(torch.stack([of.get(label, whole) for label in held.labels.tolist()]))


@torch.no_grad()
def _described(evaluator: Any, batches: Iterator[Tensor], device: torch.device) -> dict[str, Any]:
    """Features (n, d) of both kinds, and the class that the evaluator hears, int64 (n,), or None."""
    whole = torch.cat(list(batches))
    seen = evaluator_outputs(evaluator, whole, BATCH, device)
    pixels = F.adaptive_avg_pool2d(whole[:, :1], PIXELS).flatten(1).cpu().numpy()
    guess = None if seen.probabilities is None else seen.probabilities.argmax(1)
    return {"features": seen.features, "pixels": pixels, "guess": guess}


def _accuracy(guess: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    right = guess == labels
    low, high = wilson(int(right.sum()), len(right))
    return {"accuracy": float(right.mean()), "low": low, "high": high, "n": len(right)}
