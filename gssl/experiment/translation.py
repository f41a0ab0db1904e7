"""Images that a generator makes from others, measured on held-out pairs beside what costs nothing.

Of every row: PSNR and SSIM against the true image, KID to all true images, and how well the input is read back from the
output (`gssl.metrics.translation`). Rows: the generator; the input as it is; the mean of the training photos; the mean
colour of each colour of the input; a training photo of another pair, which ignores the input; and the true image,
which is as good as can be.
"""

from typing import Any

import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws, Images, centre, sequential
from gssl.engine.progress import say
from gssl.experiment.gan_evaluation import BATCH, GANEvaluator
from gssl.experiment.generators import as_stored
from gssl.experiment.training import Training
from gssl.figures.grid import save_grid
from gssl.metrics.evaluator import evaluator_features
from gssl.metrics.kid import kid
from gssl.metrics.translation import Lookup, Reader, mean_interval, pairwise

ROWS = 8  # of a picture
TRAIN = 1000  # training pairs from which controls and the reader are made
KEYS = ("psnr", "ssim", "l1", "kid", "input_read")


class Pairs:
    """Inputs and true images (n, 3, S, S) in [0, 1] of pairs, on the CPU."""

    def __init__(self, images: Images, size: int | tuple[int, int]) -> None:
        found: list[list[Tensor]] = [[], []]
        for batch in sequential(images, BATCH, torch.device("cpu")):
            extent = batch.get("extent")
            found[0].append(centre(batch["paired"].permute(0, 3, 1, 2), size, extent))
            found[1].append(centre(batch["image"], size, extent))
        self.inputs, self.targets = (as_stored(torch.cat(parts)).contiguous() for parts in found)

    def __len__(self) -> int:
        return len(self.inputs)


def some(images: Images, count: int, draws: Draws) -> Images:
    """At most `count` of them, which by the seed."""
    return images.subset(draws.permutation("translation", 0, len(images))[:count].copy())


def measure(made: Tensor, held: Pairs, known: Pairs, extractor: Any, device: torch.device) -> dict[str, Any]:
    """`rows` of figures, each with its 95% interval over pairs; `pairs`, the generator's own figures of each pair, for
    comparisons with another generator on the same ones. made: outputs (n, 3, S, S) in [0, 1] for held.inputs; known:
    training pairs."""
    count = len(held)
    lookup, reader = Lookup(known.inputs, known.targets), Reader(known.inputs, known.targets)
    rows = {
        "generated": made,
        "input": held.inputs,
        "mean_photo": as_stored(known.targets.mean(0, keepdim=True).expand(count, -1, -1, -1)),
        "mean_colour": as_stored(lookup(held.inputs)),
        "other_photo": known.targets[torch.arange(count) % len(known)],
        "true": held.targets,
    }
    real = evaluator_features(extractor, held.targets, BATCH, device)
    found: dict[str, Any] = {}
    each: dict[str, list[float]] = {}
    for name, images in rows.items():
        own = pairwise(images, held.targets)._asdict() if name != "true" else {}
        read = reader.agreement(images, held.inputs)
        if name == "generated":
            each = {key: value.tolist() for key, value in (own | {"input_read": read}).items()}
        figures: dict[str, Any] = {key: mean_interval(value.numpy()) for key, value in own.items()}
        if name != "true":
            far = kid(evaluator_features(extractor, images, BATCH, device), real, subsets=0)
            figures["kid"] = {"value": far.mmd2, "low": far.low, "high": far.high, "n": count}
        figures["input_read"] = mean_interval(read.numpy())
        found[name] = figures
    train = evaluator_features(extractor, known.targets, BATCH, device)
    floor = kid(train, real, subsets=0)
    found["true"]["kid"] = {"value": floor.mmd2, "low": floor.low, "high": floor.high, "n": len(train)}
    return {"rows": found, "pairs": each}


def told(rows: dict[str, Any]) -> list[str]:
    """A line for each row."""
    lines = []
    for name, row in rows.items():
        cells = [
            f"{key} {row[key]['value']:.3g} ({row[key]['low']:.3g} to {row[key]['high']:.3g})"
            for key in KEYS
            if key in row and key != "l1"
        ]
        lines.append(f"{name}: {', '.join(cells)}")
    return lines


class TranslationEvaluator(GANEvaluator):
    """As of every GAN, samples being outputs for the inputs of the held-out pairs; and `measure` at the end."""

    def __init__(self, training: Training, cfg: schemas.TrainGAN, pictures: bool) -> None:
        super().__init__(training, cfg, pictures)
        with self.beside("evaluations"):
            self.known = Pairs(some(self.train, TRAIN, self.draws), self.size)

    def _draw_latents(self, classes: int) -> None:
        """Inputs stand in the place of latents."""
        self.pairs = Pairs(self.held, self.size)
        self.z, self.labels, self.wide = self.pairs.inputs, None, 3
        self.shown, self.columns = self.z[:ROWS], None

    def _evaluate(self, step: int) -> dict[str, float]:
        found = super()._evaluate(step)
        own = pairwise(self._made(), self.pairs.targets)
        return found | {f"val_{key}": float(value.mean()) for key, value in own._asdict().items()}

    def _made(self) -> Tensor:
        return torch.cat([self._sample(x, None).cpu() for x in self.z.split(BATCH)])

    def _logits(self, part: Images) -> Tensor:
        pairs = self.pairs if part is self.held else Pairs(part, self.size)
        both = zip(pairs.targets.split(BATCH), pairs.inputs.split(BATCH), strict=True)
        return torch.cat([self.method.discriminate(x.to(self.device), None, z.to(self.device)) for x, z in both])

    def _draw(self, step: int) -> None:
        made = self._sample(self.shown, None).cpu()
        save_triples(self.shown, made, self.pairs.targets[:ROWS], self.run.path / "samples" / f"step-{step:08d}.png")

    def result(self) -> dict[str, Any]:
        """Of the exported weights, after `choose`."""
        found = super().result()
        with self.beside("evaluations"):
            own = measure(self._made(), self.pairs, self.known, self.extractor, self.device)
        say(f"{len(self.pairs)} held-out pairs, 95% intervals over pairs:")
        for line in told(own["rows"]):
            say(line)
        return found | {"translation": {"split": "val", "n": len(self.pairs), **own}}


def save_triples(inputs: Tensor, made: Tensor, targets: Tensor, path: Any) -> None:
    """Rows of input, output and true image."""
    save_grid(torch.stack([inputs, made, targets], dim=1).flatten(0, 1), path, columns=3)
