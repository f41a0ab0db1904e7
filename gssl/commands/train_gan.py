"""`gssl train-gan`: train a generator against a discriminator whose trunk is the backbone; measured by KID."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.commands.pictures import ROWS, save_columns
from gssl.commands.training import Evaluator, train
from gssl.config import schema
from gssl.data import Draws, Images, Splits, centre, sequential
from gssl.engine import checkpoint, generated
from gssl.engine.grid import save_grid
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.metrics.generation import Reference, floor
from gssl.metrics.instability import Watch
from gssl.metrics.judge import judge_features, judge_outputs, make_judge

BATCH = 256
GRID, WIDE = 64, 8
TRAIN = 5000  # training images among which copies are sought
# what an evaluation logs beside KID
FIGURES = ["precision", "recall", "density", "coverage", "pairwise", "nearest", "copied", "copied_low"]


def main(cfg: schema.TrainGAN, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.gan`; the objective is KID between samples and validation images, by the judge of `cfg.judge`."""
    record: dict[str, Any] = {}
    told = cfg.gan.condition != "none"

    def evaluator(method: Any, splits: Splits, draws: Draws, run: Run, device: torch.device) -> Evaluator:
        size, best = cfg.data.size, run.path / "checkpoints"

        def some(part: Images, count: int) -> Images:
            return part.subset(np.sort(draws.permutation("eval/val", 0, len(part))[:count]))

        judge = make_judge(cfg.judge, splits, size, device)
        if judge.note:
            say(f"note: {judge.note}")
        held, seen = some(splits.val, cfg.eval.images), some(splits.pretrain, TRAIN)
        real, train_features = (judge_features(judge, part, BATCH, device) for part in (held, seen))
        record["kid_floor"] = floor(train_features, real, seed=cfg.seed)
        record["judge"] = judge.record() | {"n": len(held), "split": "val"}
        reference = Reference(real, train_features, seed=cfg.seed)
        # the same z at every evaluation: what changes in the figures and the grid is the generator
        shape = (len(held), method.latent)
        z = generated.latents(draws, "samples", 0, shape, cfg.gan.truncation)
        labels = torch.from_numpy(held.labels).to(device) if told else None
        shown = generated.latents(draws, "grid", 0, (GRID, method.latent), cfg.gan.truncation)
        columns = torch.arange(GRID, device=device) % WIDE % max(len(splits.classes), 1) if told else None
        spread = np.unique(np.linspace(0, len(held) - 1, ROWS).astype(int))
        record["classes"] = splits.classes

        def made(codes: Tensor, classes: Tensor | None) -> list[Tensor]:
            kinds = [None] * -(-len(codes) // BATCH) if classes is None else classes.split(BATCH)
            parts = zip(codes.split(BATCH), kinds, strict=True)
            return [generated.as_stored(method.sample(part.to(device), kind)) for part, kind in parts]

        def logits(part: Images) -> Tensor:
            batches = sequential(part, BATCH, device)
            return torch.cat([method.judge(centre(b["image"], size, b.get("extent")), b["label"]) for b in batches])

        def evaluate(step: int) -> dict[str, float]:
            samples = made(z, labels)
            figures = reference.measure(*judge_outputs(judge, samples, BATCH, device))
            found = {f"val_{key}": figures[key] for key in ("kid", "kid_low", "kid_high")}
            found |= {key: figures[key] for key in FIGURES}
            kinds = [None] * len(samples) if labels is None else labels.split(BATCH)
            starts = z.split(BATCH)
            fakes = torch.cat(
                [method.judge(x, kind, code.to(device)) for x, kind, code in zip(samples, kinds, starts, strict=True)]
            )
            found |= {"d_val": _above(logits(held), fakes), "d_train": _above(logits(some(seen, len(held))), fakes)}
            record["figures"] = figures | {key: found[key] for key in ("d_val", "d_train")}
            if dry_run:
                return found
            name = f"step-{step:08d}.png"
            save_grid(torch.cat(made(shown, columns)), run.path / "samples" / name)
            if hasattr(method, "reconstruct"):
                few = next(iter(sequential(held.subset(spread), ROWS, device)))
                pairs = method.reconstruct(centre(few["image"], size, few.get("extent")), step)
                save_columns(pairs, run.path / "reconstructions" / name)
            kept = checkpoint.read_best(best, device)
            if step and (kept is None or kept[1]["step"] > step or figures["kid"] < kept[1]["val_kid"]):
                checkpoint.write_best(best, step, method.state_dict(), {"val_kid": figures["kid"], "figures": figures})
            return found

        return evaluate

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
            "exported": {"which": cfg.export, "step": chosen["step"]},
            "last": last,
            "best": best,
            "judge": record["judge"],
            "kid_floor": record["kid_floor"],
        }
        return result | generated.write(method, run.path, record["classes"])

    return train("train-gan", cfg, "gan", run_dir, evaluator, lambda splits: Watch(), finish, dry_run, choose)


def _above(real: Tensor, fake: Tensor) -> float:
    """The chance that a real image's logit is above a sample's, in [0, 1]: 1 where the discriminator always wins."""
    order = torch.sort(fake).values
    below = torch.searchsorted(order, real, right=False) + torch.searchsorted(order, real, right=True)
    return float(below.double().mean() / (2 * len(fake)))
