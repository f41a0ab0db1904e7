"""What a finished run on pairs of images makes of them: a picture, and figures on held-out pairs."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gssl.data import Draws
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.generation import LEAST, MOST, Asked, held_out
from gssl.experiment.generators import as_stored, load_translator
from gssl.experiment.trained import BATCH, splits_of
from gssl.experiment.translation import TRAIN, Pairs, how_of, measure, save_triples, some
from gssl.metrics.evaluator import make_evaluator
from gssl.nets.unet import UNet


def draw(run: Path, n: int, out: Path, seed: int, device: torch.device, root: str | None = None) -> dict[str, Any]:
    """Write rows of input, output and true image to the PNG `out`, of at most `n` validation pairs by the seed. root:
    where the run's pairs lie now."""
    network, text = load_translator(run, device)
    splits, cfg = splits_of(run, root)
    pairs = Pairs(some(splits.val, n, Draws(seed)), network.shape.size, how_of(splits.val, cfg["data"]))
    save_triples(pairs.shown, outputs_of(network, pairs.inputs, device), pairs.targets, out)
    return {"file": str(out), "images": len(pairs), "size": network.shape.size, "seed": seed}


@torch.no_grad()
def outputs_of(network: UNet, inputs: Tensor, device: torch.device) -> Tensor:
    """Outputs (n, 3, S, S) in [0, 1], of 256 levels, on the CPU."""
    return torch.cat([as_stored(network(x.to(device))).cpu() for x in inputs.split(BATCH)])


def evaluate_run(run: Path, asked: Asked, device: torch.device) -> dict[str, Any]:
    """`gssl.translation/1`: `gssl.experiment.translation.measure` on held-out pairs. Raises UsageError."""
    if asked.truncation is not None:
        raise UsageError(f"--truncation {asked.truncation}: {run} makes images from images, there is no z to cut")
    network, text = load_translator(run, device)
    splits, cfg = splits_of(run, asked.root)
    size, draws, how = network.shape.size, Draws(asked.seed), how_of(splits.val, cfg["data"])
    evaluator = make_evaluator(asked.evaluator, splits, size, device, asked.evaluator_weights)
    count = splits.summary["counts"][asked.split]
    if count < LEAST:
        raise UsageError(f"{run}: the {asked.split} split has {count} pairs, at least {LEAST} are needed")
    held = Pairs(some(held_out(run, splits, asked), asked.images or MOST, draws), size, how)
    say(f"{len(held):,} {asked.split} pairs, by {evaluator.name}")
    known = Pairs(some(splits.train, TRAIN, draws), size, how)
    found = measure(outputs_of(network, held.inputs, device), held, known, evaluator, device)
    return {
        "schema": "gssl.translation/1",
        "run": str(run),
        "method": text["method"]["name"],
        "generator": text["sha256"],
        "evaluator": evaluator.record(),
        "split": asked.split,
        "n": len(held),
        "n_train": len(known),
        "seed": asked.seed,
        "images": splits.hash,
        **found,
        "test_openings": (read_json(run / "status.json") or {}).get("test_openings", 0),
    }
