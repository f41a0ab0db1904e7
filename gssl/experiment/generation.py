"""How good the images of a trained generator are: figures about them beside what real images reach."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import Draws, Images, Splits, centre, sequential
from gssl.engine.files import read_json, write_json
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import ledger, sound_evaluation, sound_pictures
from gssl.experiment.generators import Sampler, latents, load_generator
from gssl.experiment.trained import BATCH, splits_of
from gssl.figures.grid import save_grid
from gssl.gan.explain import neighbours
from gssl.metrics import cas
from gssl.metrics.classifier import cached_classifier
from gssl.metrics.control_images import measure_controls
from gssl.metrics.evaluator import Evaluator, evaluator_features, evaluator_outputs, make_evaluator
from gssl.metrics.generation import Reference, real_baseline
from gssl.metrics.grading import graded
from gssl.metrics.instability import lifeless
from gssl.metrics.replicates import REAL, weights, written

MOST = 10_000  # real images and as many generated ones
TRAIN = 50_000  # training images among which copies are sought
LEAST = 8  # images to evaluate on
PER_CLASS = 200  # generated images of each class, for GAN-test


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for.

    evaluator, evaluator_weights: as `make_evaluator` takes them. split: val, for choosing, or test, for the figure that
    is quoted. images: real ones, and as many generated ones; None: all of the split, at most `MOST`. truncation: |z|
    stays below; None: the run's own. root: where the run's images lie now; None: where they did.
    beside: of texts, a run of ssl=clm whose lines are measured too.
    """

    evaluator: str = "auto"
    evaluator_weights: str | None = None
    split: str = "val"
    images: int | None = None
    seed: int = 0
    truncation: float | None = None
    root: str | None = None
    beside: str | None = None


def evaluate_generator(run: Path, asked: Asked, device: torch.device, picture: Path | None = None) -> dict[str, Any]:
    """`gssl.evaluation/3` of the generator that `run` exported. Raises UsageError.

    An opening of the test images is counted in the run's status.json and in the ledger before it happens. picture:
    where to draw some samples beside their nearest training images.
    """
    sampler = load_generator(run, device)
    given, _ = splits_of(run, asked.root)
    scale = sampler.scale
    splits = given if scale is None else sound_pictures.parts(given, scale)  # sounds as what the generator makes
    evaluator = make_evaluator(asked.evaluator, splits, sampler.size, device, asked.evaluator_weights)
    real, indices = _real_images(run, splits, asked)
    real = real if scale is None or asked.split == "val" else sound_pictures.of(real, scale)
    train = _training_images(run, splits, asked.seed)
    say(f"{len(real):,} {asked.split} images and as many generated ones, by {evaluator.name}")
    on_real, on_train = (evaluator_features(evaluator, part, BATCH, device) for part in (real, train))
    labels = real.labels if sampler.classes else sampler.labels(len(real))
    if sampler.classes and bool(np.any(labels < 0)):
        raise UsageError(f"{run}: its generator takes a class, and {asked.split} images have none; use --split test")
    made = sampler.batches(labels, asked.seed, "evaluate", asked.truncation)
    on_made, probabilities = evaluator_outputs(evaluator, made, BATCH, device)
    reference = Reference(on_real, on_train, seed=asked.seed)
    figures, replicates = reference.replicated(on_made, indices, probabilities)
    baseline = real_baseline(on_train, on_real, asked.seed)
    controls = measure_controls(reference, train, evaluator, asked.seed, device)
    text = {
        "schema": "gssl.evaluation/3",
        "run": str(run),
        "method": sampler.method,
        "generator": sampler.sha256,
        "evaluator": evaluator.record(),
        "split": asked.split,
        "n": len(real),
        "n_train": len(train),
        "seed": asked.seed,
        "truncation": sampler.truncation if asked.truncation is None else asked.truncation,
        "images": splits.hash,
        "figures": figures,
        "replicates": replicates,
        "baseline": baseline,
        "controls": controls,
        "quality": graded(figures, baseline["train_real"], controls, asked.split),
        "alarm": lifeless(figures, baseline["train_real"]),
        "test_openings": (read_json(run / "status.json") or {}).get("test_openings", 0),
        "notes": [evaluator.note] if evaluator.note else [],
    }
    if sampler.classes:
        say("GAN-train: a classifier learns from generated images alone")
        text["conditional"], correct = _conditional(sampler, splits, real, asked, device)
        replicates |= written({"gan_train": weights(REAL, indices) @ correct})
    if scale is not None:
        rest = (train, real, asked.seed, asked.truncation)
        text["sounds"] = sound_evaluation.of_sampler(sampler, evaluator, *rest)
    if picture:
        draw_neighbours(sampler, evaluator, train, on_train, asked.seed, picture)
    return text


def _real_images(run: Path, splits: Splits, asked: Asked) -> tuple[Images, np.ndarray]:
    """The held-out images to compare with, and their indices in the split."""
    count = splits.summary["counts"][asked.split]
    if count < LEAST:
        raise UsageError(f"{run}: the {asked.split} split has {count} images, at least {LEAST} are needed")
    whole = held_out(run, splits, asked)
    indices = _chosen(whole, asked.images or MOST, asked.seed, "real")
    if asked.images and asked.images > len(indices):
        say(f"note: the {asked.split} split has {len(indices):,} images: n is {len(indices):,}, not {asked.images:,}")
    return whole.subset(indices), indices


def held_out(run: Path, splits: Splits, asked: Asked) -> Images:
    """The validation images, or the test images of a finished run; of these the opening is counted, in the run's
    status.json and in the ledger, before it happens. Raises UsageError where none is held back."""
    if asked.split != "test":
        return splits.val
    result = read_json(run / "result.json") or {}
    read = result.get("reads_labels", result.get("labels_used"))
    if splits.folds and splits.folds.fold is None and (read or not splits.summary["folds"]["apart"]):
        raise UsageError(
            f"{run}: was trained on all labelled images, so none is left to test it; use --split val, or train it"
            " with data.fold=0 or data.test=split"
        )
    _record_opening(run, splits, asked)
    return splits.open_test(unlabelled=not read)


def _record_opening(run: Path, splits: Splits, asked: Asked) -> None:
    status = read_json(run / "status.json")
    write_json(run / "status.json", status | {"test_openings": status.get("test_openings", 0) + 1})
    settings = ledger.settings_of_run(run, evaluator=asked.evaluator, images=asked.images, truncation=asked.truncation)
    tested = splits.summary["folds"]["items"] if splits.folds else splits.summary["hashes"]["test"]
    say(f"note: {ledger.opening(tested, run, 'evaluate', settings, asked.seed)}")


def _training_images(run: Path, splits: Splits, seed: int) -> Images:
    """What the generator was trained on: labelled images alone, where it or its discriminator reads labels."""
    result = read_json(run / "result.json") or {}
    # by itself: what its weights began with was trained on images of its own
    read = result.get("reads_labels", result.get("labels_used"))
    part = splits.train if read else splits.pretrain
    return part.subset(_chosen(part, TRAIN, seed, "train"))


def _chosen(part: Images, count: int, seed: int, name: str) -> np.ndarray:
    """int64, ascending: indices of at most `count` images of a split."""
    indices: np.ndarray = np.sort(Draws(seed).permutation(f"evaluate/{name}", 0, len(part))[:count])
    return indices


def draw_neighbours(
    sampler: Sampler, evaluator: Evaluator, train: Images, on_train: np.ndarray, seed: int, path: Path
) -> None:
    """The first samples of a seed, each left of the training images nearest by the evaluator's features."""
    count, near = 12, 4
    made = next(sampler.batches(sampler.labels(count), seed, "neighbours", batch_size=count))
    order, _ = neighbours(evaluator_features(evaluator, made, BATCH, sampler.device), on_train, near)
    size = sampler.size
    tiles = []
    for sample, index in zip(made.cpu(), order, strict=True):
        found = next(iter(sequential(train.subset(index), near, sampler.device)))
        tiles += [sample, *centre(found["image"], size, found.get("extent")).cpu()]
        if len(tiles) % (2 * near + 3) == near + 1:  # a gap between the two of a row
            tiles.append(torch.ones_like(sample))
    save_grid(torch.stack(tiles), path, columns=2 * near + 3)


def _conditional(
    sampler: Sampler, splits: Splits, real: Images, asked: Asked, device: torch.device
) -> tuple[dict[str, Any], np.ndarray]:
    """GAN-train, its ratio to what real images teach, and GAN-test; and bool (n,): what GAN-train got right."""
    draws, classes = Draws(asked.seed), list(real.classes)
    limit = sampler.truncation if asked.truncation is None else asked.truncation

    def make(purpose: str) -> Any:
        def images(labels: Tensor, step: int) -> Tensor:
            z = latents(draws, purpose, step, (len(labels), sampler.generator.latent), limit)
            return sampler.make(z, labels.cpu().numpy())

        return images

    size, seed = sampler.size, asked.seed
    learned = cas.gan_train(make("cas/train"), real, size, seed, device, cas.class_frequencies(splits.train))
    reference = cas.real_reference(splits.train, real, size, seed, device)
    network = cached_classifier(splits.train, size, 0, device)
    found = {
        "gan_train": learned.record(classes),
        "real": reference.record(classes),
        "ratio": cas.ratio(learned, reference)._asdict(),
        "gan_test": cas.gan_test(network, make("cas/test"), PER_CLASS, device).record(classes),
    }
    return found, learned.right
