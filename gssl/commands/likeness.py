"""How alike are data sets, and how alike do backbones see images? Neither question needs a label.

Data sets: KID between training images of the source's run and of the target, by the random judge, which has learnt
from nothing and is the same everywhere. Backbones: unbiased linear CKA of their features of the same images.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.commands.evaluate import splits_of
from gssl.config import schema
from gssl.data import Draws, Images, load_data
from gssl.engine import source
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.metrics.cka import cka_matrix
from gssl.metrics.judge import RandomJudge, judge_features
from gssl.metrics.kid import kid
from gssl.probe.features import extract

IMAGES = 1000
BATCH = 256


def datasets(sources: list[Any], targets: dict[str, schema.Data], device: torch.device) -> list[dict[str, Any]]:
    """KID of every trained source's images to every target's; sources without images of their own are left out."""
    trained = [s for s in sources if s.origin.kind in ("run", "checkpoint")]
    if not trained:
        return []
    size = max(data.size for data in targets.values())
    judge = RandomJudge(size).to(device).eval()

    def seen(images: Images) -> np.ndarray:
        few = images.subset(np.sort(Draws(0).permutation("likeness", 0, len(images))[:IMAGES]))
        return judge_features(judge, few, BATCH, device)

    theirs = {name: seen(load_data(data).train) for name, data in targets.items()}
    rows, known = [], {}
    for named in trained:
        run = named.origin.path
        run = run.parent.parent if named.origin.kind == "checkpoint" else run
        try:
            splits, written = splits_of(Path(run))
        except UsageError as error:  # moved or changed since: no reason to lose the rest
            say(f"note: no similarity for {named.name}: {error}")
            continue
        if splits.hash not in known:
            known[splits.hash] = seen(splits.pretrain)
        for target, other in theirs.items():
            mine = known[splits.hash]
            found = kid(mine, other, subsets=0)
            rows.append(
                {
                    "source": named.name,
                    "data": written["data"]["name"],
                    "target": target,
                    "kid": found.mmd2,
                    "low": found.low,
                    "high": found.high,
                    "n": min(len(mine), len(other)),
                    "judge": f"random@{judge.hash[:8]}",
                }
            )
    return rows


def backbones(
    sources: list[tuple[str, source.Source]], cfg: schema.Judging, targets: dict[str, schema.Data], device: torch.device
) -> dict[str, Any] | None:
    """CKA between the last features of all sources, on training images of the first target; None below two."""
    if len(sources) < 2:
        return None
    name, data = next(iter(targets.items()))
    images = load_data(data).labelled
    few = images.subset(np.sort(Draws(cfg.seed).permutation("likeness/cka", 0, len(images))[:IMAGES]))
    features = []
    for _, origin in sources:
        network, _ = source.build(origin, cfg.backbone, data.size, cfg.seed, cfg.allow_partial, cfg.input)
        features.append(extract(network.to(device), few, data.size, BATCH, device))
    found = cka_matrix(features, features)
    matrix = [[None if np.isnan(v) else float(v) for v in row] for row in found]
    return {"names": [n for n, _ in sources], "matrix": matrix, "n": len(few), "target": name}
