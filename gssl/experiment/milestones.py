"""A score against compute: a training run's kept checkpoints and its end, probed on validation images.

A part of `gssl compare`. The test images stay closed: a search chooses by these scores, so they must not be quoted.
The probe learns from labels of the training split and answers for the whole validation split.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.data import load_data, targets
from gssl.engine.device import prepare
from gssl.engine.files import read_json
from gssl.engine.run import Run
from gssl.experiment import checkpoint_weights, weight_sources
from gssl.experiment.label_budgets import Labels, at_most
from gssl.experiment.probing import Prober

UNTRAINED = {"steps": 0, "images": 0, "flops": 0.0, "seconds": 0.0}


def main(cfg: schemas.Transfer, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Score every milestone of the run `cfg.weights`; the objective is that of its end, by the task's primary metric.
    With weights=random there is one: what no training gives.

    `cfg` has one probe and one label budget; result.json's points: step, images, flops, seconds of training so far,
    and the mean over the draws of labels under the metric's name.
    """
    device, _ = prepare(cfg.engine)
    with Run(run_dir, "milestones", cfg) as run:
        if run.finished:
            return run.objective
        untrained = cfg.weights == "random"
        training = Path(cfg.weights)
        result = {"spent": UNTRAINED} if untrained else read_json(training / "result.json")
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        cfg = at_most(cfg, Labels.of_images(splits.train), targets.of_columns(splits.train.columns))
        source = weight_sources.find_weights(cfg.weights)
        run.bind(images=splits.hash, weights=source.sha256)
        spent = result["spent"]
        end = {key: spent[key] for key in ("step", "images", "flops", "seconds") if key in spent}
        moments = [*result.get("milestones", []), end | {"step": spent["steps"], "checkpoint": None}]
        run.begin()
        start = time.perf_counter()
        points: list[dict[str, Any]] = []
        for moment in moments:
            weights = cfg.weights if moment["checkpoint"] is None else training / moment["checkpoint"]
            found = checkpoint_weights.resolve(weight_sources.find_weights(str(weights)), device, splits)
            prober = Prober(cfg, found, splits.train, splits.classes, device, splits.unlabelled)
            task, metric = prober.task, prober.task.metrics[0]
            fitted = list(prober.fit())
            answers = prober.predict(fitted, splits.val)
            scores = [task.score(f, a, splits.val)["metrics"][metric] for f, a in zip(fitted, answers, strict=True)]
            points.append({**moment, metric: float(np.mean(scores)), "draws": len(scores)})
            run.log({f"val_{metric}": points[-1][metric], **moment})
        objective = {"name": f"val_{cfg.probe.use[0]}", "value": points[-1][metric], "direction": "max"}
        run.finish(
            {
                "seed": cfg.seed,
                "source": source.record(),
                "probe": cfg.probe.use[0],
                "task": task.name,
                "metric": metric,
                **fitted[0].label_budget.record(),
                "split": "val",
                "n": len(splits.val),
                "points": points,
                "spent": {"seconds": round(time.perf_counter() - start, 3)},
                "objective": objective,
            }
        )
        return run.objective
