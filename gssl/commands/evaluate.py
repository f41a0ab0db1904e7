"""`gssl evaluate RUN`: how good a trained generator's images are, by which judge, on how many images, beside what.

Every figure stands beside its floor: what real training images get in the place of generated ones.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from gssl import schemas
from gssl.cli.output import say, table
from gssl.data import Draws, Images, Splits, centre, load_data, sequential
from gssl.engine.device import pick_device
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.experiment import ledger
from gssl.experiment.generators import Sampler, latents, load_generator
from gssl.figures.grid import save_grid
from gssl.gan.explain import neighbours
from gssl.metrics import cas
from gssl.metrics.classifier import cached_classifier
from gssl.metrics.evaluator import Evaluator, evaluator_features, evaluator_outputs, make_evaluator
from gssl.metrics.generation import Reference, floor
from gssl.metrics.instability import lifeless
from gssl.metrics.replicates import REAL, weights, written

BATCH = 256
MOST = 10_000  # real images and as many generated ones
TRAIN = 50_000  # training images among which copies are sought
LEAST = 8  # images to judge by
PER_CLASS = 200  # generated images of each class, for GAN-test
# key, name, whether more is better; what a reader should know of each is in docs/metrics.md
SHOWN = [
    ("fd", "FD", "0 is best"),
    ("kid", "KID", "0 is best"),
    ("precision", "precision", "fakes near real ones"),
    ("recall", "recall", "real ones near fakes"),
    ("density", "density", "1 for real images"),
    ("coverage", "coverage", "real ones with a fake"),
    ("pairwise", "distance ÷ real", "1 for real images"),
    ("nearest", "nearest ÷ real", "0: repeats"),
    ("copied", "copies", "chance 0.05"),
    ("train_nearest", "nearest is train", "chance 0.5"),
    ("inception_score", "classes told (IS)", "up to the classes"),
]


def splits_of(run: Path) -> tuple[Splits, dict[str, Any]]:
    """The images that a finished run was trained on, and its configuration. Raises UsageError where they changed."""
    status = read_json(run / "status.json") or {}
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run}: has no config.yaml, which says what it was trained on")
    written: Any = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    # only what says which images: the rest of a config of an older version need not be valid today
    known = {field.name for field in fields(schemas.Data)} - {"views"}
    data = schemas.Data(**{key: value for key, value in written["data"].items() if key in known})
    splits = load_data(data, progress=False)
    if splits.hash != (status.get("inputs") or {}).get("images", splits.hash):
        raise UsageError(f"{run}: the images at data.root are not those that it was trained on")
    return splits, written


def evaluate(
    run: Path,
    out: Path | None = None,
    evaluator: str = "auto",
    judge_weights: str | None = None,
    split: str = "val",
    images: int | None = None,
    seed: int = 0,
    truncation: float | None = None,
    device: str = "auto",
    picture: Path | None = None,
) -> dict[str, Any]:
    """Judge the generator that `run` exported; writes and returns `gssl.evaluation/2`.

    `picture`: where to draw some samples beside their nearest training images.

    `split`: val, for choosing, or test, for the figure that is quoted (the opening is counted in the run's
    status.json). `images`: real ones, and as many generated; None: all of the split, at most 10,000. Raises UsageError.
    """
    if split not in ("val", "test"):
        raise UsageError(f"--split {split}: expected val (to choose by) or test (to quote)")
    if truncation is not None and truncation <= 0:
        raise UsageError(f"--truncation {truncation}: expected a number above 0")
    if out and (out.suffix != ".json" or out.is_dir()):
        raise UsageError(f"-o {out}: expected a file name that ends in .json")
    target = pick_device(device)
    sampler = load_generator(run, target)
    splits, _ = splits_of(run)
    looks = make_evaluator(evaluator, splits, sampler.size, target, judge_weights)
    draws = Draws(seed)
    count = splits.summary["counts"][split]
    if count < LEAST:
        raise UsageError(f"{run}: the {split} split has {count} images, at least {LEAST} are needed to judge by")
    if split == "test":
        _count(run)
        settings = ledger.settings_of_run(run, evaluator=evaluator, images=images, truncation=truncation)
        say(f"note: {ledger.opening(splits.summary['hashes']['test'], run, 'evaluate', settings, seed)}")
    whole = splits.open_test() if split == "test" else splits.val
    places = _chosen(whole, images or MOST, draws, "real")
    real = whole.subset(places)
    if images and images > len(real):
        say(f"note: the {split} split has {len(real):,} images: n is {len(real):,}, not {images:,}")
    # what the generator was trained on: labelled images alone, where it or its opponent reads labels
    result = read_json(run / "result.json") or {}
    read = result.get("reads_labels", result.get("labels_used"))  # by itself: what it began with saw its own images
    trained = splits.train if read else splits.pretrain
    seen = trained.subset(_chosen(trained, TRAIN, draws, "train"))
    say(f"{len(real):,} {split} images and as many generated ones, by {looks.name}")
    on_real, on_seen = (evaluator_features(looks, part, BATCH, target) for part in (real, seen))
    labels = real.labels if sampler.classes else sampler.labels(len(real))
    if sampler.classes and bool(np.any(labels < 0)):
        raise UsageError(f"{run}: its generator is told the class, and {split} images have none; use --split test")
    made = sampler.batches(labels, seed, "evaluate", truncation)
    on_fake, probabilities = evaluator_outputs(looks, made, BATCH, target)
    figures, replicates = Reference(on_real, on_seen, seed=seed).replicated(on_fake, places, probabilities)
    baseline = floor(on_seen, on_real, seed)
    text = {
        "schema": "gssl.evaluation/2",
        "run": str(run),
        "method": sampler.method,
        "generator": sampler.sha256,
        "evaluator": looks.record(),
        "split": split,
        "n": len(real),
        "n_train": len(seen),
        "seed": seed,
        "truncation": sampler.truncation if truncation is None else truncation,
        "images": splits.hash,
        "figures": figures,
        "replicates": replicates,
        "baseline": baseline,
        "alarm": lifeless(figures, baseline["train_real"]),
        "test_openings": (read_json(run / "status.json") or {}).get("test_openings", 0),
        "notes": [looks.note] if looks.note else [],
    }
    if sampler.classes:
        say("GAN-train: a classifier learns from generated images alone")
        text["conditional"], right = _conditional(sampler, splits, real, seed, truncation, target)
        shares = weights(REAL, places) @ right
        replicates |= written({"gan_train": shares})
    if picture:
        draw_neighbours(sampler, looks, seen, on_seen, seed, picture)
    cut = "" if truncation is None else f"-{truncation:g}"
    name = f"{split}-{looks.name}-{looks.hash[:8]}-{len(real)}-{seed}{cut}.json"
    file = out or run / "evaluations" / name.replace(":", "-").replace("/", "-")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, text)
    except OSError as error:
        raise UsageError(f"-o {file}: cannot be written ({error.strerror})") from error
    return text | {"file": str(file)}


def draw_neighbours(
    sampler: Sampler, evaluator: Evaluator, seen: Images, on_seen: np.ndarray, seed: int, path: Path
) -> None:
    """Samples that nobody picked, each left of its nearest training images in the judge's eyes, two to a row."""
    count, near = 12, 4
    made = next(sampler.batches(sampler.labels(count), seed, "neighbours", batch_size=count))
    order, _ = neighbours(evaluator_features(evaluator, made, BATCH, sampler.device), on_seen, near)
    size = sampler.size
    tiles = []
    for sample, index in zip(made.cpu(), order, strict=True):
        found = next(iter(sequential(seen.subset(index), near, sampler.device)))
        tiles += [sample, *centre(found["image"], size, found.get("extent")).cpu()]
        if len(tiles) % (2 * near + 3) == near + 1:  # a gap between the two of a row
            tiles.append(torch.ones(3, size, size))
    save_grid(torch.stack(tiles), path, columns=2 * near + 3)


def _chosen(part: Images, count: int, draws: Draws, name: str) -> np.ndarray:
    """int64, ascending: places of at most `count` images of a split."""
    places: np.ndarray = np.sort(draws.permutation(f"evaluate/{name}", 0, len(part))[:count])
    return places


def _count(run: Path) -> None:
    """One more opening of the test images, on disk before it happens."""
    status = read_json(run / "status.json")
    write_json(run / "status.json", status | {"test_openings": status.get("test_openings", 0) + 1})


def _conditional(
    sampler: Sampler, splits: Splits, real: Images, seed: int, truncation: float | None, device: torch.device
) -> tuple[dict[str, Any], np.ndarray]:
    """GAN-train, its share of what real images teach, and GAN-test; and bool (n,): what GAN-train got right."""
    draws, classes = Draws(seed), list(real.classes)
    limit = sampler.truncation if truncation is None else truncation

    def make(purpose: str) -> Any:
        def images(labels: Tensor, step: int) -> Tensor:
            z = latents(draws, purpose, step, (len(labels), sampler.generator.latent), limit)
            return sampler.make(z, labels.cpu().numpy())

        return images

    size = sampler.size
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


# ── for people ───────────────────────────────────────────────────────────────────────────────────


def show(text: dict[str, Any]) -> None:
    """Print an evaluation: whose figures, then each beside its floor."""
    evaluator, figures = text["evaluator"], text["figures"]
    sure = evaluator.get("accuracy")
    held = f" ({sure['correct'] / sure['n']:.1%} right on {sure['n']:,} held-out images)" if sure else ""
    print(f"{text['method']}: {text['n']:,} generated against {text['n']:,} real {text['split']} images")
    print(f"judge: {evaluator['name']}@{evaluator['hash'][:8]}, d = {evaluator['dim']}{held}; seed {text['seed']}")
    for note in text["notes"]:
        print(f"note: {note}")
    if text["alarm"]:
        print(f"alarm: {text['alarm']}")
    halves, other = text["baseline"]["train_train"], text["baseline"]["train_real"]
    rows = []
    for key, name, meaning in SHOWN:
        if figures.get(key) is None and not (key == "fd" and figures.get("fd_refused")):
            continue
        name = "FID" if key == "fd" and evaluator["fid"] else name
        rows.append([name, *(_cell(which, key) for which in (figures, halves, other)), meaning])
    table(["figure", "generated", "train vs train", f"train vs {text['split']}", ""], rows)
    n = [f"{which['n_fake']:,}" for which in (figures, halves, other)]
    print(f"n = {n[0]} on either side, in the floors {n[1]} and {n[2]}; intervals: 95%")
    if refused := figures.get("fd_refused"):
        print(f"no Fréchet distance: {refused}")
    if found := text.get("conditional"):
        _show_conditional(found)
    if text["split"] == "test":
        print(f"the test images were opened {text['test_openings']} times for this run")
    print(f"evaluation: {text['file']}")


def _cell(figures: dict[str, Any], key: str) -> str:
    value = figures.get(key)
    if value is None:
        return "–"
    word = f"{value:.3g}"
    low, high = (figures.get(f"{key.removesuffix('_score')}_{end}") for end in ("low", "high"))
    return word if low is None or high is None else f"{word} ({low:.2g} to {high:.2g})"


def _show_conditional(found: dict[str, Any]) -> None:
    learned, real, tested, ratio = (found[key] for key in ("gan_train", "real", "gan_test", "ratio"))
    sides = (learned, real, tested)
    rows = [["all", *(f"{s['accuracy']:.1%} ({s['low']:.1%} to {s['high']:.1%})" for s in sides)]]
    for name in learned["per_class"]:
        shares = [s["per_class"][name] for s in sides]
        rows.append([name, *("–" if share is None else f"{share:.1%}" for share in shares)])
    table(["class", "GAN-train: learned from fakes", "learned from real images", "GAN-test: fakes recognised"], rows)
    print(f"GAN-train ÷ real: {ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})")
