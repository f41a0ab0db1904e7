"""`gssl pretrain-ssl`: train a backbone without labels; measured by kNN on the validation split."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.commands.training import Evaluator, train
from gssl.config import schema
from gssl.data import Draws, Splits
from gssl.engine.run import Run
from gssl.probe.features import extract
from gssl.probe.knn import Knn


def main(cfg: schema.PretrainSSL, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Train `cfg.ssl`; the objective is kNN accuracy on validation images (None without labels)."""

    def evaluator(method: Any, splits: Splits, draws: Draws, run: Run, device: torch.device) -> Evaluator:
        few = [
            part.subset(np.sort(draws.permutation(f"eval/{name}", 0, len(part))[: cfg.eval.images]))
            for name, part in (("train", splits.train), ("val", splits.val))
        ]

        def evaluate(step: int) -> dict[str, float]:
            if len(splits.classes) < 2:
                return {}
            fit, held = (extract(method.backbone, part, cfg.data.size, 256, device) for part in few)
            fitted = Knn(cfg.eval.knn).fit(fit, few[0].labels, len(splits.classes), cfg.seed)
            return {"val_knn": float(np.mean(fitted.predict(held) == few[1].labels))}

        return evaluate

    def finish(method: Any, run: Run, final: dict[str, float]) -> dict[str, Any]:
        return {"objective": {"name": "val_knn", "value": final.get("val_knn"), "direction": "max"}}

    return train("pretrain-ssl", cfg, "ssl", run_dir, evaluator, finish, dry_run)
