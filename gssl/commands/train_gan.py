"""`gssl train-gan`: train a generator against a discriminator whose trunk is the backbone; measured by KID."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws, Images, Splits, centre, sequential
from gssl.engine import checkpoint
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import UsageError
from gssl.experiment import generators
from gssl.experiment.method_pictures import ROWS, save_columns
from gssl.experiment.training import Evaluator, train
from gssl.figures.grid import save_grid
from gssl.metrics.evaluator import ClassifierEvaluator, evaluator_features, evaluator_outputs, make_evaluator
from gssl.metrics.generation import Reference, floor
from gssl.metrics.instability import Watch
from gssl.schemas.gan import reads_labels

BATCH = 256
WIDE = 8  # rows of a grid, and columns where there are no classes
LEAST = 2  # images: fewer have no distances
TRAIN = 5000  # training images among which copies are sought
# what an evaluation logs beside KID
FIGURES = ["precision", "recall", "density", "coverage", "pairwise", "nearest", "copied", "copied_low"]


def main(cfg: schemas.TrainGAN, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.gan`; the objective is KID between samples and validation images, by the judge of `cfg.judge`."""
    record: dict[str, Any] = {}
    told = cfg.gan.condition != "none"

    def evaluator(method: Any, splits: Splits, draws: Draws, run: Run, device: torch.device) -> Evaluator:
        size, best = cfg.data.size, run.path / "checkpoints"

        def some(part: Images, count: int) -> Images:
            return part.subset(np.sort(draws.permutation("eval/val", 0, len(part))[:count]))

        evaluator = make_evaluator(cfg.evaluator, splits, size, device)
        if evaluator.note:
            say(f"note: {evaluator.note}")
        # who is told classes, or tells them, is trained on and asked about labelled images only
        reads = reads_labels(cfg.gan)
        labelled = splits.val.subset(np.flatnonzero(splits.val.labels >= 0)) if reads else splits.val
        if len(labelled) < LEAST:
            kind = "labelled " if reads else ""
            raise UsageError(
                f"data: {len(labelled)} {kind}validation images, at least {LEAST} are needed to measure samples by;"
                " give more images, or a larger data.val_fraction"
            )
        held, seen = some(labelled, cfg.eval.images), some(splits.train if reads else splits.pretrain, TRAIN)
        real, train_features = (evaluator_features(evaluator, part, BATCH, device) for part in (held, seen))
        record["kid_baseline"] = floor(train_features, real, seed=cfg.seed)
        record["evaluator"] = evaluator.record() | {
            "n": len(held),
            "split": "val",
            "labels": isinstance(evaluator, ClassifierEvaluator),
        }
        reference = Reference(real, train_features, seed=cfg.seed)
        # the same z at every evaluation: what changes in the figures and the grid is the generator
        shape = (len(held), method.latent)
        z = generators.latents(draws, "samples", 0, shape, cfg.gan.truncation)
        labels = torch.from_numpy(held.labels).to(device) if told else None
        wide = min(len(splits.classes), 20) if told else WIDE
        shown = generators.latents(draws, "grid", 0, (WIDE * wide, method.latent), cfg.gan.truncation)
        columns = torch.arange(WIDE * wide, device=device) % wide if told else None
        spread = np.unique(np.linspace(0, len(held) - 1, ROWS).astype(int))
        record["classes"] = splits.classes

        def made(codes: Tensor, classes: Tensor | None) -> list[Tensor]:
            kinds = [None] * -(-len(codes) // BATCH) if classes is None else classes.split(BATCH)
            parts = zip(codes.split(BATCH), kinds, strict=True)
            return [generators.as_stored(method.sample(part.to(device), kind)) for part, kind in parts]

        def logits(part: Images) -> Tensor:
            batches = sequential(part, BATCH, device)
            return torch.cat(
                [method.discriminate(centre(b["image"], size, b.get("extent")), b["label"]) for b in batches]
            )

        def evaluate(step: int) -> dict[str, float]:
            samples = made(z, labels)
            figures = reference.measure(*evaluator_outputs(evaluator, samples, BATCH, device))
            found = {f"val_{key}": figures[key] for key in ("kid", "kid_low", "kid_high")}
            found |= {key: figures[key] for key in FIGURES}
            if hasattr(method, "optimizer_g"):
                found["progress"] = method.optimizer_g.progress  # share of the budget, before the last step
            kinds = [None] * len(samples) if labels is None else labels.split(BATCH)
            starts = z.split(BATCH)
            fakes = torch.cat(
                [
                    method.discriminate(x, kind, code.to(device))
                    for x, kind, code in zip(samples, kinds, starts, strict=True)
                ]
            )
            found |= {"d_val": _above(logits(held), fakes), "d_train": _above(logits(some(seen, len(held))), fakes)}
            record["figures"] = figures | {key: found[key] for key in ("d_val", "d_train")}
            if dry_run:
                return found
            name = f"step-{step:08d}.png"
            save_grid(torch.cat(made(shown, columns)), run.path / "samples" / name, columns=wide)
            if hasattr(method, "reconstruct"):
                few = next(iter(sequential(held.subset(spread), ROWS, device)))
                pairs = method.reconstruct(centre(few["image"], size, few.get("extent")), step)
                save_columns(pairs, run.path / "reconstructions" / name)
            if step == 0:
                checkpoint.forget_best(best)  # of an earlier run in this directory
                return found
            # after a kill, the best may be of a step that this process has not come to again: it stays the best
            kept = checkpoint.best_state(best)
            if kept is None or figures["kid"] < kept["val_kid"]:
                checkpoint.write_best(best, step, method.state_dict(), {"val_kid": figures["kid"], "figures": figures})
            return found

        return evaluate

    def watch(splits: Splits) -> Watch:
        return Watch(record["kid_baseline"]["train_real"])

    def choose(method: Any, run: Run) -> None:
        """Put the best weights into the method where they are to be exported."""
        kept = checkpoint.read_best(run.path / "checkpoints", next(method.parameters()).device)
        assert kept is not None  # the last evaluation kept one
        record["best"] = {"step": kept[1]["step"], "val_kid": kept[1]["val_kid"], "figures": kept[1]["figures"]}
        if cfg.export == "best":
            method.load_state_dict(kept[0])

    def finish(method: Any, run: Run, final: dict[str, float]) -> dict[str, Any]:
        last = {"step": run.entries()[-1]["step"], "val_kid": final["val_kid"], "figures": record["figures"]}
        best = record["best"]
        chosen = best if cfg.export == "best" else last
        result = {
            "objective": {"name": "val_kid", "value": chosen["val_kid"], "direction": "min"},
            # a trained judge knows the labels, and so does what was chosen by it
            "exported": {
                "which": cfg.export,
                "step": chosen["step"],
                "chosen_with_labels": cfg.export == "best" and record["evaluator"].get("labels", False),
            },
            "last": last,
            "best": best,
            "evaluator": record["evaluator"],
            "kid_baseline": record["kid_baseline"],
        }
        return result | generators.write(method, run.path, record["classes"])

    return train("train-gan", cfg, "gan", run_dir, evaluator, watch, finish, dry_run, choose)


def _above(real: Tensor, fake: Tensor) -> float:
    """The chance that a real image's logit is above a sample's, in [0, 1]: 1 where the discriminator always wins."""
    order = torch.sort(fake).values
    below = torch.searchsorted(order, real, right=False) + torch.searchsorted(order, real, right=True)
    return float(below.double().mean() / (2 * len(fake)))
