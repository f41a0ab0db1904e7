"""Images that a generator makes from others, measured on held-out pairs beside what costs nothing.

Of every row: PSNR and SSIM against the true image, KID to all true images, and whether it shows its input
(`gssl.experiment.consistency`); of colours also how colourful it is. Rows: the generator; controls; and the true image,
which is as good as can be. Controls of all kinds are the mean of the training photos and a training photo of another
pair, which ignores the input. Beside these: of pictures the input as it is and the mean colour of each of its colours;
of masks the mean colour of each class; of super-resolution bicubic enlargement, which is what the generator is given;
of colours the grey image and the mean colour of each brightness.
"""

from typing import Any

import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws, Images, centre, sequential
from gssl.data.pairs import Given, given
from gssl.data.transforms.pairs import grey
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.consistency import consistency
from gssl.experiment.gan_evaluation import BATCH, GANEvaluator
from gssl.experiment.generators import as_stored
from gssl.experiment.training import Training
from gssl.figures import style
from gssl.figures.grid import save_grid
from gssl.figures.masks import colours_of
from gssl.metrics.evaluator import evaluator_features
from gssl.metrics.kid import kid
from gssl.metrics.translation import Lookup, MeanTint, label_colours, mean_interval, painted, pairwise

ROWS = 8  # of a picture
TRAIN = 1000  # training pairs from which controls and what reads outputs are made
KEYS = ("psnr", "ssim", "kid", "chroma", "input_read", "input_miou", "input_l1")  # one of the last three


class Pairs:
    """Inputs (n, K, S, S) and true images (n, 3, S, S) in [0, 1] of pairs, on the CPU."""

    def __init__(self, images: Images, size: int | tuple[int, int], how: Given) -> None:
        self.how = how
        found: list[list[Tensor]] = [[], []]
        for batch in sequential(images, BATCH, torch.device("cpu")):
            found[0].append(how.still(batch, size))
            found[1].append(centre(batch["image"], size, batch.get("extent")))
        self.inputs, self.targets = (as_stored(torch.cat(parts)).contiguous() for parts in found)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shown(self) -> Tensor:
        """The inputs as pictures (n, 3, S, S): classes have colours."""
        return shown(self.inputs, self.how)


def shown(inputs: Tensor, how: Given) -> Tensor:
    if how.kind != "masks":
        return inputs
    colours = torch.tensor([style.rgb(colour) for colour in [*colours_of(how.channels), style.IGNORED]]) / 255
    return painted(inputs, colours[:-1], colours[-1])


def how_of(images: Images, data: Any) -> Given:
    """How the inputs of a run's images are made, by its section `data`. Raises UsageError where they are not pairs."""
    found = given(images, data.get("pairs"), data.get("factor"))
    if found is None:
        raise UsageError(f"data={data['name']}: these images are no pairs")
    return found


def some(images: Images, count: int, draws: Draws) -> Images:
    """At most `count` of them, which by the seed."""
    return images.subset(draws.permutation("translation", 0, len(images))[:count].copy())


def controls(held: Pairs, known: Pairs) -> dict[str, Tensor]:
    """Images (n, 3, S, S) for held.inputs of what costs nothing, by name; known: training pairs."""
    count, kind = len(held), held.how.kind
    rows: dict[str, Tensor] = {}
    if kind == "files":
        rows = {"input": held.inputs, "mean_colour": Lookup(known.inputs, known.targets)(held.inputs)}
    elif kind == "masks":
        colours = label_colours(known.inputs, known.targets)
        rows = {"mean_colour": painted(held.inputs, colours, known.targets.mean((0, 2, 3)))}
    elif kind == "super_resolution":
        rows = {"bicubic": held.inputs}
    else:
        rows = {"grey": held.inputs, "mean_colour": MeanTint(known.inputs, known.targets)(held.inputs)}
    rows["mean_photo"] = known.targets.mean(0, keepdim=True).expand(count, -1, -1, -1)
    rows["other_photo"] = known.targets[torch.arange(count) % len(known)]
    return {name: as_stored(images) for name, images in rows.items()}


def measure(made: Tensor, held: Pairs, known: Pairs, extractor: Any, device: torch.device) -> dict[str, Any]:
    """`made_from`: how inputs came about. `rows`: figures, each with its 95% interval over pairs. `pairs`: the
    generator's own figures of each pair, for comparisons with another generator on the same ones.

    made: outputs (n, 3, S, S) in [0, 1] for held.inputs; known: training pairs.
    """
    shows = consistency(held.how, known.inputs, known.targets, device)
    rows = {"generated": made, **controls(held, known), "true": held.targets}
    real = evaluator_features(extractor, held.targets, BATCH, device)
    found: dict[str, Any] = {}
    each: dict[str, list[float]] = {}
    for name, images in rows.items():
        own = pairwise(images, held.targets)._asdict() if name != "true" else {}
        if held.how.kind == "colour":
            own["chroma"] = (images - grey(images)).abs().flatten(1).mean(1)
        figures: dict[str, Any] = {key: mean_interval(value.numpy()) for key, value in own.items()}
        if name != "true":
            far = kid(evaluator_features(extractor, images, BATCH, device), real, subsets=0)
            figures["kid"] = {"value": far.mmd2, "low": far.low, "high": far.high, "n": len(held)}
        figures[shows.key], single = shows(images, held.inputs)
        if name == "generated":
            own |= {} if single is None else {shows.key: single}
            each = {key: value.tolist() for key, value in own.items()}
        found[name] = figures
    train = evaluator_features(extractor, known.targets, BATCH, device)
    floor = kid(train, real, subsets=0)
    found["true"]["kid"] = {"value": floor.mmd2, "low": floor.low, "high": floor.high, "n": len(train)}
    return {"made_from": held.how._asdict(), "rows": found, "pairs": each}


def told(rows: dict[str, Any]) -> list[str]:
    """A line for each row."""
    lines = []
    for name, row in rows.items():
        cells = [f"{key} {x['value']:.3g} ({x['low']:.3g} to {x['high']:.3g})" for key in KEYS if (x := row.get(key))]
        lines.append(f"{name}: {', '.join(cells)}")
    return lines


class TranslationEvaluator(GANEvaluator):
    """As of every GAN, samples being outputs for the inputs of the held-out pairs; and `measure` at the end."""

    def __init__(self, training: Training, cfg: schemas.TrainGAN, pictures: bool) -> None:
        super().__init__(training, cfg, pictures)
        with self.beside("evaluations"):
            self.known = Pairs(some(self.train, TRAIN, self.draws), self.size, self.pairs.how)

    def _draw_latents(self, classes: int) -> None:
        """Inputs stand in the place of latents."""
        how = how_of(self.held, self.cfg.data.model_dump())
        self.pairs = Pairs(self.held, self.size, how)
        self.z, self.labels, self.wide = self.pairs.inputs, None, 3
        self.shown, self.columns = self.z[:ROWS], None

    def _evaluate(self, step: int) -> dict[str, float]:
        found = super()._evaluate(step)
        own = pairwise(self._made(), self.pairs.targets)
        return found | {f"val_{key}": float(value.mean()) for key, value in own._asdict().items()}

    def _made(self) -> Tensor:
        return torch.cat([self._sample(x, None).cpu() for x in self.z.split(BATCH)])

    def _logits(self, part: Images) -> Tensor:
        pairs = self.pairs if part is self.held else Pairs(part, self.size, self.pairs.how)
        both = zip(pairs.targets.split(BATCH), pairs.inputs.split(BATCH), strict=True)
        return torch.cat([self.method.discriminate(x.to(self.device), None, z.to(self.device)) for x, z in both])

    def _draw(self, step: int) -> None:
        made = self._sample(self.shown, None).cpu()
        inputs = shown(self.shown, self.pairs.how)
        save_triples(inputs, made, self.pairs.targets[:ROWS], self.run.path / "samples" / f"step-{step:08d}.png")

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
    """Rows of input, output and true image, (n, 3, S, S) each."""
    save_grid(torch.stack([inputs, made, targets], dim=1).flatten(0, 1), path, columns=3)
