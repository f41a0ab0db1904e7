"""`gssl train-gan`: train a generator against a discriminator whose trunk is the backbone; measured by KID."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.commands.training import Evaluator, train
from gssl.config import schema
from gssl.data import Draws, Splits
from gssl.engine.files import write_json
from gssl.engine.grid import save_grid
from gssl.engine.run import Run
from gssl.metrics.judge import RandomJudge, judge_features
from gssl.metrics.kid import kid
from gssl.nets.weights import save_weights

BATCH = 256
GRID = 64


def main(cfg: schema.TrainGAN, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.gan`; the objective is KID between samples and validation images, by a fixed random judge."""
    record: dict[str, Any] = {}

    def evaluator(method: Any, splits: Splits, draws: Draws, run: Run, device: torch.device) -> Evaluator:
        judge = RandomJudge(cfg.data.size).to(device)

        held = splits.val.subset(np.arange(min(len(splits.val), cfg.eval.images)))
        real = judge_features(judge, held, BATCH, device)
        same = splits.pretrain.subset(draws.permutation("floor", 0, len(splits.pretrain))[: len(held)])
        record["kid_floor"] = kid(judge_features(judge, same, BATCH, device), real)._asdict()
        record["judge"] = {"name": judge.name, "hash": judge.hash, "dim": judge.dim, "n": len(held)}
        # the same z at every evaluation: what changes in the grid is the generator
        z = draws.normal("samples", 0, (max(len(held), GRID), method.latent))

        def evaluate(step: int) -> dict[str, float]:
            with torch.no_grad():
                made = [method.sample(part.to(device)) for part in z.split(BATCH)]
            if not dry_run:
                save_grid(torch.cat(made)[:GRID], run.path / "samples" / f"step-{step:08d}.png")
            found = kid(judge_features(judge, made, BATCH, device), real)
            record["kid"] = found._asdict()
            return {"val_kid": found.mmd2}

        return evaluate

    def finish(method: Any, run: Run, final: dict[str, float]) -> dict[str, Any]:
        file = run.path / "weights" / "generator.safetensors"
        digest = save_weights(method.ema.module, file)
        shape = {"latent": method.latent, "width": cfg.gan.width, "size": cfg.data.size}
        shape["channels"] = method.generator.channels
        write_json(file.with_suffix(".json"), {"schema": "gssl.generator/1", "sha256": digest, **shape})
        return {
            "objective": {"name": "val_kid", "value": final["val_kid"], "direction": "min"},
            "generator": {"file": "weights/generator.safetensors", "sha256": digest},
            **record,
        }

    return train("train-gan", cfg, "gan", run_dir, evaluator, lambda splits: lambda entry: [], finish, dry_run)
