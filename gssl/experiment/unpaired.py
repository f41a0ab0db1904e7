"""Images of one domain that a generator made of another, without pairs, measured beside what costs nothing.

Of every row: KID to held-out images of the wanted domain; what is kept of the input, by structure and by how well the
input can be read back from the output (`gssl.metrics.unpaired`, `gssl.metrics.translation`); and, where there is a way
back, how far it leads from the input, also after JPEG: a generator may hide its input in noise that no one sees, and
JPEG removes that. Rows: the generator; the input as it is; each channel's mean and deviation matched to the wanted
domain; training photos of the wanted domain, which ignore the input: their KID is the real-vs-real baseline.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws, Images, centre, sequential
from gssl.data.clips import frames_of
from gssl.data.columns import GIVEN, MADE
from gssl.data.domains import of_domain
from gssl.engine.progress import say
from gssl.experiment.gan_evaluation import BATCH, GANEvaluator
from gssl.experiment.generators import as_stored
from gssl.experiment.training import Training
from gssl.experiment.translation import TRAIN, some
from gssl.figures.grid import save_grid
from gssl.metrics.evaluator import evaluator_features
from gssl.metrics.kid import kid
from gssl.metrics.translation import Reader, mean_interval
from gssl.metrics.unpaired import ChannelMatch, after_jpeg, structure

ROWS = 8  # of a picture
KEYS = ("kid", "structure", "input_read", "cycle", "cycle_jpeg")
Apply = Callable[[Tensor], Tensor]


class Domains:
    """What is translated and what it becomes, (n, 3, S, S) and (m, 3, S, S) in [0, 1], on the CPU."""

    def __init__(self, given: Images, made: Images, size: Any) -> None:
        self.given, self.made = (_pixels(part, size) for part in (given, made))

    @classmethod
    def of(cls, images: Images, most: int, draws: Draws, size: Any) -> "Domains":
        """At most so many of each domain, which by the seed."""
        given, made = (some(of_domain(images, domain), most, draws) for domain in (GIVEN, MADE))
        return cls(given, made, size)


def _pixels(images: Images, size: Any) -> Tensor:
    batches = sequential(images, BATCH, torch.device("cpu"))
    return as_stored(torch.cat([centre(x["image"], size, x.get("extent")) for x in batches])).contiguous()


class Way(NamedTuple):
    """What makes images of the wanted domain of others, and what undoes it, where there is something."""

    there: Apply
    back: Apply | None = None


def measure(own: Way, held: Domains, known: Domains, extractor: Any, device: torch.device) -> dict[str, Any]:
    """`rows` of figures, each with its 95% interval over images; `images`, the generator's own figures of each, for
    comparisons with another generator on the same ones. own: the generator, both ways; known: training images.

    input_read: the ridge regression has learned from this row's own outputs of training images, so it knows each way
    of translating: it says how much is kept, and not how plainly.
    """
    match = ChannelMatch(known.given, known.made)
    ways = {
        "generated": own,
        "input": Way(lambda x: x, lambda x: x),
        "channels_matched": Way(match, match.back),
        "training_photo": Way(lambda x: known.made[torch.arange(len(x)) % len(known.made)]),
    }
    real = evaluator_features(extractor, held.made, BATCH, device)
    found: dict[str, Any] = {}
    each: dict[str, list[float]] = {}
    for name, way in ways.items():
        made = as_stored(way.there(held.given))
        reader = Reader(known.given, as_stored(way.there(known.given)))
        values = {"structure": structure(made, held.given), "input_read": reader.agreement(made, held.given)}
        if way.back is not None:
            for key, seen in (("cycle", made), ("cycle_jpeg", after_jpeg(made))):
                values[key] = (as_stored(way.back(seen)) - held.given).abs().mean((1, 2, 3))
        if name == "generated":
            each = {key: value.tolist() for key, value in values.items()}
        shown = known.made if name == "training_photo" else made  # each once
        far = kid(evaluator_features(extractor, shown, BATCH, device), real, subsets=0)
        figures: dict[str, Any] = {"kid": {"value": far.mmd2, "low": far.low, "high": far.high, "n": len(shown)}}
        found[name] = figures | {key: mean_interval(value.numpy()) for key, value in values.items()}
    return {"n": len(held.given), "n_made": len(held.made), "rows": found, "images": each}


def told(rows: dict[str, Any]) -> list[str]:
    """A line for each row."""
    lines = []
    for name, row in rows.items():
        cells = [
            f"{key} {row[key]['value']:.3g} ({row[key]['low']:.3g} to {row[key]['high']:.3g})"
            for key in KEYS
            if key in row
        ]
        lines.append(f"{name}: {', '.join(cells)}")
    return lines


def in_batches(network: Any, device: torch.device) -> Apply:
    """`network` as a function of images on the CPU."""

    @torch.no_grad()
    def apply(images: Tensor) -> Tensor:
        return torch.cat([network(x.to(device)).float().cpu() for x in images.split(BATCH)])

    return apply


class UnpairedEvaluator(GANEvaluator):
    """As of every GAN, samples being outputs for held-out images; and `measure` at the end."""

    def __init__(self, training: Training, cfg: schemas.TrainGAN, pictures: bool) -> None:
        super().__init__(training, cfg, pictures)
        with self.beside("evaluations"):
            self.known = Domains.of(training.splits.train, TRAIN, self.draws, self.size)

    def _measured(self, part: Images) -> Images:
        """Samples are compared with images of the wanted domain alone."""
        return of_domain(frames_of(part), MADE)

    def _draw_latents(self, classes: int) -> None:
        """Images of the other domain stand in the place of latents."""
        given = some(of_domain(self.splits.val, GIVEN), self.cfg.eval.images, self.draws)
        self.domains = Domains(given, self.held, self.size)
        self.z, self.labels = self.domains.given, None
        self.shown, self.columns, self.wide = self.z[: ROWS * 2], None, 2

    def _draw(self, step: int) -> None:
        made = self._sample(self.shown, None).cpu()
        save_twos(self.shown, made, self.run.path / "samples" / f"step-{step:08d}.png")

    def result(self) -> dict[str, Any]:
        """Of the exported weights, after `choose`."""
        found = super().result()
        network = self.method.ema.module.eval()
        back = getattr(network, "back", None)
        own = Way(in_batches(network.images, self.device), back and in_batches(back, self.device))
        with self.beside("evaluations"):
            measured = measure(own, self.domains, self.known, self.extractor, self.device)
        say(f"{measured['n']} held-out images, {measured['n_made']} of the wanted domain; 95% intervals over images:")
        for line in told(measured["rows"]):
            say(line)
        return found | {"translation": {"split": "val", **measured}}


def save_twos(inputs: Tensor, made: Tensor, path: Any) -> None:
    """Rows of two inputs, each with its output on the right."""
    save_grid(torch.stack([inputs, made], dim=1).flatten(0, 1), path, columns=4)
