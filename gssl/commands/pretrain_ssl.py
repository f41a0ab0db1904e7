"""`gssl pretrain-ssl`: train a backbone without labels; measured by kNN on the validation split."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.data import Draws, Splits, centre, sequential
from gssl.engine.run import Run
from gssl.experiment import weight_sources
from gssl.experiment.method_pictures import ROWS, save_columns
from gssl.experiment.training import Evaluator, train
from gssl.metrics.collapse import Watch
from gssl.metrics.geometry import geometry
from gssl.nets.norms import recompute_batch_norm
from gssl.probe.features import extract
from gssl.probe.knn import Knn

BATCH = 256
RECOMPUTE = 512  # images whose batch statistics the evaluated copy carries
GEOMETRY = 1000  # images: singular values cost n · d²


def main(cfg: schemas.PretrainSSL, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.ssl`; the objective is kNN accuracy on validation images (None without labels)."""

    def evaluator(method: Any, splits: Splits, draws: Draws, run: Run, device: torch.device) -> Evaluator:
        def some(name: str, count: int) -> Any:
            part = splits.train if name == "train" else splits.val
            return part.subset(np.sort(draws.permutation(f"eval/{name}", 0, len(part))[:count]))

        train_part, val_part = some("train", cfg.eval.images), some("val", cfg.eval.images)
        size, labelled = cfg.data.size, len(splits.classes) >= 2
        statistics = splits.pretrain.subset(draws.permutation("recompute", 0, len(splits.pretrain))[:RECOMPUTE])

        # for pictures: images lie class by class
        spread = np.unique(np.linspace(0, len(val_part) - 1, ROWS).astype(int))

        def evaluate(step: int) -> dict[str, float]:
            # what would be exported now, on whole centre crops: the training's own batch statistics are of views
            network = copy.deepcopy(weight_sources.exported(method))
            recompute_batch_norm(network, (centre(b["image"], size, b.get("extent")) for b in
                                           sequential(statistics, BATCH, device)))  # fmt: skip
            stride = -(-len(val_part) // GEOMETRY)  # every so many: images lie class by class
            held = extract(network, val_part, size, BATCH, device)
            found = {f"feature_{key}": value for key, value in geometry(held[::stride]).items() if key != "epsilon"}
            if labelled:
                fitted = Knn(cfg.eval.knn).fit(
                    extract(network, train_part, size, BATCH, device), train_part.labels, len(splits.classes), cfg.seed
                )
                found["val_knn"] = float(np.mean(fitted.predict(held) == val_part.labels))
            if hasattr(method, "reconstruct") and not dry_run:
                few = next(iter(sequential(val_part.subset(spread), ROWS, device)))
                columns = method.reconstruct(centre(few["image"], size, few.get("extent")), step)
                save_columns(columns, run.path / "samples" / f"step-{step:08d}.png")
            return found

        return evaluate

    def watch(splits: Splits) -> Watch:
        labels = splits.val.labels
        most = np.bincount(labels[labels >= 0]).max() / len(labels) if np.any(labels >= 0) else 1.0
        return Watch(float(most), min(cfg.eval.images, len(labels)))

    def finish(method: Any, run: Run, final: dict[str, float]) -> dict[str, Any]:
        shown = {key: value for key, value in final.items() if key.startswith("feature_")}
        return {
            "objective": {"name": "val_knn", "value": final.get("val_knn"), "direction": "max"},
            "features": shown,
        }

    return train("pretrain-ssl", cfg, "ssl", run_dir, evaluator, watch, finish, dry_run)
