"""Accuracy against compute: a training run's kept checkpoints and its end, judged on validation images.

A part of `gssl compare`. The test images stay closed: what is seen here may choose (a search does), so it must not be
what is quoted. The probe learns from labels of the training split and is asked about the whole validation split.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.data import load_data
from gssl.engine.device import prepare
from gssl.engine.files import read_json
from gssl.engine.run import Run
from gssl.experiment import checkpoint_weights, weight_sources
from gssl.experiment.probing import Prober


def main(cfg: schemas.Transfer, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Judge every milestone of the run `cfg.weights`; the objective is the accuracy of its end on validation images.

    `cfg` has one probe and one label budget; result.json's points: step, images, flops, seconds of training so far,
    and the mean accuracy over the draws of labels.
    """
    device, _ = prepare(cfg.engine)
    with Run(run_dir, "milestones", cfg) as run:
        if run.finished:
            return run.objective
        training = Path(cfg.weights)
        result = read_json(training / "result.json")
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        run.bind(images=splits.hash, weights=weight_sources.find_weights(cfg.weights).sha256)
        spent = result["spent"]
        end = {key: spent[key] for key in ("step", "images", "flops", "seconds") if key in spent}
        places = [*result.get("milestones", []), end | {"step": spent["steps"], "checkpoint": None}]
        run.begin()
        points: list[dict[str, Any]] = []
        for place in places:
            weights = training if place["checkpoint"] is None else training / place["checkpoint"]
            origin = checkpoint_weights.resolve(weight_sources.find_weights(str(weights)), device, splits)
            prober = Prober(cfg, origin, splits.train, splits.classes, device, splits.unlabelled)
            fitted = list(prober.fit())
            answers = prober.predict(fitted, splits.val)
            scores = [float((answer.guess == splits.val.labels).mean()) for answer in answers]
            points.append({**place, "accuracy": float(np.mean(scores)), "draws": len(scores)})
            run.log({"val_accuracy": points[-1]["accuracy"], **place})
        name = f"val_{cfg.probe.use[0]}"
        run.finish(
            {
                "seed": cfg.seed,
                "source": weight_sources.find_weights(cfg.weights).record(),
                "probe": cfg.probe.use[0],
                "labels_per_class": next(iter(cfg.labels_per_class), None),
                "fraction": next(iter(cfg.fractions), None),
                "split": "val",
                "n": len(splits.val),
                "points": points,
                "objective": {"name": name, "value": points[-1]["accuracy"], "direction": "max"},
            }
        )
        return run.objective
