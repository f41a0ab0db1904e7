"""How alike are data sets, and how alike do backbones see images? Neither question needs a label.

Data sets: KID between training images of the source's run and of the target, by the random evaluator, which has learnt
from nothing and is the same everywhere. Backbones: unbiased linear CKA of their features of the same images.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.data import Draws, Images, load_data
from gssl.engine.progress import say
from gssl.errors import JobError, UsageError
from gssl.experiment import weight_sources
from gssl.experiment.probing import network_of
from gssl.experiment.trained import splits_of
from gssl.metrics.cka import cka_matrix
from gssl.metrics.evaluator import RandomEvaluator, evaluator_features
from gssl.metrics.kid import kid
from gssl.probe.features import extract

IMAGES = 1000
LEAST = 20  # images on a side
BATCH = 256


def datasets(sources: list[Any], targets: dict[str, schemas.Data], device: torch.device) -> list[dict[str, Any]]:
    """KID of every trained source's images to every target's; sources without images of their own are left out."""
    trained = [s for s in sources if s.origin.kind in ("run", "checkpoint")]
    if not trained:
        return []
    size = max(data.side for data in targets.values())
    evaluator = RandomEvaluator(size).to(device).eval()

    def seen(images: Images) -> np.ndarray:
        return evaluator_features(evaluator, images, BATCH, device)

    def some(images: Images, most: int = IMAGES) -> Images:
        return images.subset(np.sort(Draws(0).permutation("likeness", 0, len(images))[:most]))

    theirs = {name: load_data(data).train for name, data in targets.items()}
    rows: list[dict[str, Any]] = []
    for named in trained:
        run = Path(named.origin.path)
        run = run.parents[1] if named.origin.kind == "checkpoint" else run
        try:
            splits, written = splits_of(run)
            few = some(splits.pretrain, min(IMAGES, len(splits.pretrain) // 2))  # the rest for the other side
            mine = seen(few)
            for target, images in theirs.items():
                # an image on both sides would be at no distance to itself, and the estimate below 0
                own = np.isin(images.image_hashes(), few.image_hashes())
                others = images.subset(np.flatnonzero(~own))
                if len(others) < LEAST:
                    say(f"note: no similarity of {named.name} and {target}: too few images that are not the same")
                    continue
                other = some(others)
                found = kid(mine, seen(other), subsets=0)
                rows.append(
                    {
                        "source": named.name,
                        "data": written["data"]["name"],
                        "target": target,
                        "kid": found.mmd2,
                        "low": found.low,
                        "high": found.high,
                        "n": min(len(few), len(other)),
                        "evaluator": f"random@{evaluator.hash[:8]}",
                    }
                )
        except (UsageError, JobError, OSError) as error:  # moved or changed since: no reason to lose the rest
            say(f"note: no similarity for {named.name}: {error}")
    return rows


def backbones(
    sources: list[tuple[str, weight_sources.WeightSource]],
    cfg: schemas.Probing,
    targets: dict[str, schemas.Data],
    device: torch.device,
) -> dict[str, Any] | None:
    """CKA between the last features of all sources, on training images of the first target; None below two."""
    if len(sources) < 2:
        return None
    name, data = next(iter(targets.items()))
    images = load_data(data).labelled
    few = images.subset(np.sort(Draws(cfg.seed).permutation("likeness/cka", 0, len(images))[:IMAGES]))
    features = []
    for _, origin in sources:
        network, _ = network_of(schemas.replace(cfg, data=data), origin, images, device)
        features.append(extract(network, few, data.side, BATCH, device))
    found = cka_matrix(features, features)
    matrix = [[None if np.isnan(v) else float(v) for v in row] for row in found]
    return {"names": [n for n, _ in sources], "matrix": matrix, "n": len(few), "target": name}
