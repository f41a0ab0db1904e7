"""How well a GAN does while it is trained: distances of its samples to validation images, and its best weights."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Images, centre, sequential
from gssl.data.clips import frames_of
from gssl.engine import checkpoint
from gssl.engine.progress import Meter, say
from gssl.errors import UsageError
from gssl.experiment import clip_evaluation, generators, sound_evaluation, sound_pictures
from gssl.experiment.method_pictures import ROWS, save_columns
from gssl.experiment.training import Training
from gssl.figures.grid import save_grid
from gssl.metrics import classifier
from gssl.metrics.classifier import Watch
from gssl.metrics.control_images import measure_controls
from gssl.metrics.evaluator import (
    ClassifierEvaluator,
    evaluator_features,
    evaluator_outputs,
    kept,
    make_evaluator,
)
from gssl.metrics.generation import Reference, real_baseline
from gssl.metrics.grading import graded
from gssl.metrics.instability import InstabilityMonitor
from gssl.schemas.gan import reads_labels

BATCH = 256
WIDE = 8  # rows of a grid, and columns where there are no classes
LEAST = 2  # images: fewer have no distances
TRAIN = 5000  # training images among which copies are sought
# what an evaluation logs beside KID
FIGURES = ["precision", "recall", "density", "coverage", "pairwise", "nearest", "copied", "copied_low"]


@contextlib.contextmanager
def watched(show: bool) -> Iterator[Watch]:
    """Shows the training of an evaluator, where it has to be trained."""
    since = time.perf_counter()
    with Meter("evaluator", show, transient=True) as meter:

        def watch(step: int, steps: int) -> None:
            if step == 1 and show:
                say("note: the evaluator learns from the labelled images first, once: the cache keeps it")
            seconds = time.perf_counter() - since
            meter.update(step / steps, step, seconds, step * classifier.BATCH / seconds, None)

        yield watch


class GANEvaluator:
    """Measures samples against validation images, and keeps the weights whose samples are nearest to them.

    The samples begin with the same latents at every evaluation: what changes is the generator.
    """

    def __init__(self, training: Training, cfg: schemas.TrainGAN, pictures: bool) -> None:
        """`pictures`: draw samples, keep the best weights, and train the evaluator where it is not in the cache.

        Raises UsageError for too few validation images.
        """
        self.cfg, self.method, self.run, self.device = cfg, training.method, training.run, training.device
        self.pictures, self.draws = pictures, training.draws.shared
        self.size: int | tuple[int, int] = cfg.data.side
        self.folder = training.run.path / "checkpoints"
        splits, device = training.splits, training.device
        self.scale: Any = getattr(
            training.method, "scale", None
        )  # of sounds, whose spectrograms are measured as images
        if self.scale is not None:
            splits, self.size = sound_pictures.parts(splits, self.scale), self.scale.shape
        self.beside, self.splits = training.beside, splits
        name = cfg.evaluator
        if not pictures and not kept(name, splits, self.size):
            say("note: the evaluator is not in the cache, a run trains it first; here random filters take its place")
            name = "random"
        with self.beside("evaluator"), watched(cfg.engine.progress) as watch:
            self.extractor = make_evaluator(name, splits, self.size, device, watch=watch)
        if self.extractor.note:
            say(f"note: {self.extractor.note}")
        # a network that reads or predicts classes is trained and evaluated on labelled images only
        reads = reads_labels(cfg.gan)
        val = self._measured(splits.val)
        labelled = val.subset(np.flatnonzero(val.labels >= 0)) if reads else val
        if len(labelled) < LEAST:
            kind = "labelled " if reads else ""
            raise UsageError(
                f"data: {len(labelled)} {kind}validation images, at least {LEAST} are needed to measure samples by;"
                " give more images, or a larger data.val_fraction"
            )
        self.held = self._some(labelled, cfg.eval.images)
        self.train = self._some(self._measured(splits.train if reads else splits.pretrain), TRAIN)
        with self.beside("evaluations"):
            real, train = (evaluator_features(self.extractor, part, BATCH, device) for part in (self.held, self.train))
            self.baseline = real_baseline(train, real, seed=cfg.seed)
            self.reference = Reference(real, train, seed=cfg.seed)
        self.watch = InstabilityMonitor(self.baseline["train_real"])
        self._draw_latents(len(splits.classes))
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] = {}

    def _measured(self, part: Images) -> Images:
        """The images of a part that samples are compared with."""
        return frames_of(part)

    def _some(self, part: Images, count: int) -> Images:
        return part.subset(np.sort(self.draws.permutation("eval/val", 0, len(part))[:count]))

    def _draw_latents(self, classes: int) -> None:
        """Latents and classes of the samples that are measured, and of those that are shown."""
        latent, truncation = self.method.latent, self.cfg.gan.truncation
        conditional = self.cfg.gan.condition != "none"
        self.z = generators.latents(self.draws, "samples", 0, (len(self.held), latent), truncation)
        self.labels = torch.from_numpy(self.held.labels).to(self.device) if conditional else None
        self.wide = min(classes, 20) if conditional else WIDE
        count = WIDE * self.wide
        self.shown = generators.latents(self.draws, "grid", 0, (count, latent), truncation)
        self.columns = torch.arange(count, device=self.device) % self.wide if conditional else None

    def evaluate(self, step: int) -> dict[str, float]:
        with self.beside("evaluations"):
            return self._evaluate(step)

    def _evaluate(self, step: int) -> dict[str, float]:
        samples = [self._sample(z, kind) for z, kind in _batches(self.z, self.labels)]
        figures = self.reference.measure(*evaluator_outputs(self.extractor, samples, BATCH, self.device))
        found = {f"val_{key}": figures[key] for key in ("kid", "kid_low", "kid_high")}
        found |= {key: figures[key] for key in FIGURES}
        if hasattr(self.method, "optimizer_g"):
            found["progress"] = self.method.optimizer_g.progress  # fraction of the budget, before the last step
        found |= self._discrimination(samples)
        more = {key: found[key] for key in ("d_val", "d_train")}
        self.last = {"step": step, "val_kid": figures["kid"], "figures": figures | more}
        if self.pictures:
            with self.beside("pictures"):
                self._draw(step)
            checkpoint.keep_best(self.folder, step, self.method, "kid", figures)
        return found

    def _sample(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return generators.as_stored(self.method.sample(z.to(self.device), labels))

    def _discrimination(self, samples: list[Tensor]) -> dict[str, float]:
        """The chance that the discriminator puts a validation or a training image above a sample."""
        parts = zip(samples, _batches(self.z, self.labels), strict=True)
        synthetic = torch.cat([self.method.discriminate(x, kind, z.to(self.device)) for x, (z, kind) in parts])
        train = self._some(self.train, len(self.held))
        return {"d_val": above(self._logits(self.held), synthetic), "d_train": above(self._logits(train), synthetic)}

    def _logits(self, part: Images) -> Tensor:
        batches = sequential(part, BATCH, self.device)
        crops = ((centre(b["image"], self.size, b.get("extent")), b["label"]) for b in batches)
        return torch.cat([self.method.discriminate(x, label) for x, label in crops])

    def _draw(self, step: int) -> None:
        name = f"step-{step:08d}.png"
        shown = [self._sample(z, kind) for z, kind in _batches(self.shown, self.columns)]
        grid = torch.cat(shown) if self.scale is None else torch.cat(shown).flip(2)  # low tones below
        save_grid(grid, self.run.path / "samples" / name, columns=self.wide)
        if hasattr(self.method, "reconstruct"):
            spread = np.unique(np.linspace(0, len(self.held) - 1, ROWS).astype(int))
            few = next(iter(sequential(self.held.subset(spread), ROWS, self.device)))
            pairs = self.method.reconstruct(centre(few["image"], self.size, few.get("extent")), step)
            save_columns(pairs, self.run.path / "reconstructions" / name)

    def alarms(self, entry: dict[str, Any]) -> list[str]:
        return self.watch(entry)

    def choose(self) -> None:
        """Load the best weights into the method where they are to be exported."""
        kept = checkpoint.read_best(self.folder, next(self.method.parameters()).device)
        assert kept is not None  # the last evaluation kept one
        model, state = kept
        self.best = {key: state[key] for key in ("step", "val_kid", "figures")}
        if self.cfg.export == "best":
            self.method.load_state_dict(model)

    def _sounds(self) -> dict[str, Any]:
        generator, limit = self.method.ema.module.eval(), self.cfg.gan.truncation
        made = sound_evaluation.Made(generator, self.scale, self._sample, limit)
        return sound_evaluation.evaluate(made, self.extractor, self.train, self.held, self.draws, self.device)

    def _of_others(self) -> dict[str, Any]:
        """What is measured beside images: of clips, and of sounds, where the method makes some."""
        splits = self.splits
        if self.scale is not None:
            with self.beside("evaluations"):
                return {"sounds": self._sounds()}
        if not clip_evaluation.serves(self.method, splits.val):
            return {}
        with self.beside("evaluations"):
            rest = (self.cfg.data.side, self.draws, self.device)
            return {"clips": clip_evaluation.evaluate(self.method, splits.train, splits.val, self.extractor, *rest)}

    def result(self) -> dict[str, Any]:
        """The method's part of result.json."""
        chosen = self.best if self.cfg.export == "best" else self.last
        trained = isinstance(self.extractor, ClassifierEvaluator)
        controls = measure_controls(self.reference, self.train, self.extractor, self.cfg.seed, self.device)
        more = self._of_others()
        record = self.extractor.record() | {"n": len(self.held), "split": "val", "labels": trained}
        return {
            "objective": {"name": "val_kid", "value": chosen["val_kid"], "direction": "min"},
            # a trained feature extractor has read labels, so what it chose depends on labels too
            "exported": {
                "which": self.cfg.export,
                "step": chosen["step"],
                "chosen_with_labels": self.cfg.export == "best" and trained,
            },
            "last": self.last,
            "best": self.best,
            "evaluator": record,
            "kid_baseline": self.baseline,
            "controls": controls,
            **more,
            "quality": graded(chosen["figures"], self.baseline["train_real"], controls, "validation"),
        }


def _batches(z: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Latents and classes, `BATCH` at a time."""
    codes = z.split(BATCH)
    return zip(codes, [None] * len(codes) if labels is None else labels.split(BATCH), strict=True)


def above(real: Tensor, fake: Tensor) -> float:
    """The chance that a real image's logit is above a sample's, in [0, 1]: 1 where the discriminator always wins."""
    order = torch.sort(fake).values
    below = torch.searchsorted(order, real, right=False) + torch.searchsorted(order, real, right=True)
    return float(below.double().mean() / (2 * len(fake)))
