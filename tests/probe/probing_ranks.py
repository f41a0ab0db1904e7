"""Features and fine-tunings by one process or several: what `test_divided` compares, importable by processes."""

import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.config.composing import compose
from gssl.data import Draws, Images, RandomViews
from gssl.data.memory import in_memory
from gssl.engine import dist
from gssl.engine.device import Precision
from gssl.engine.fits import Fits
from gssl.nets import build_backbone
from gssl.probe.classification import Classification
from gssl.probe.features import extract
from gssl.probe.finetune import Finetune
from gssl.probe.fixmatch import FixMatch
from gssl.probe.masks import Masks
from gssl.probe.masks import finetune as finetune_masks
from gssl.probe.setting import Setting
from gssl.schemas import Backbone
from gssl.schemas import probes as schema
from gssl.statistics.metric import IGNORE

CPU = torch.device("cpu")
SIDE, CLASSES = 12, 3
# name of a fine-tuning: its number of images and what differs from the first
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "all": (24, {}),
    "from a linear probe": (24, {"head_l2": 0.1}),
    "last": (24, {"train": "last", "colour": True, "clip": 1.0, "layer_decay": 0.5}),
    "odd": (24, {"batch_size": 7}),  # cannot be divided
    "one-shot": (3, {}),
}
# the same of fine-tunings for masks
MASKS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "masks": (12, {}, {}),
    "masks, last": (12, {"train": "last", "clip": 1.0, "layer_decay": 0.5}, {}),
    "masks, odd": (12, {}, {"batch_size": 3}),  # cannot be divided
    "masks, two images": (2, {}, {}),
}


def images(count: int, seed: int) -> Images:
    g = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = g.integers(0, 120, (count, SIDE, SIDE, 3)) + labels[:, None, None, None] * 40
    return in_memory(pixels.astype(np.uint8), labels, [str(c) for c in range(CLASSES)])


def scenes(count: int, seed: int) -> Images:
    """Squares on a ground. Each image ignores other pixels, some all: parts of a batch have unlike weight."""
    g = np.random.default_rng(seed)
    pixels, masks = g.integers(0, 60, (count, 16, 24, 3)), np.zeros((count, 16, 24), np.uint8)
    for i in range(count):
        y, x = g.integers(0, 8), g.integers(0, 16)
        masks[i, y : y + 8, x : x + 8] = 1 + i % 2
        pixels[i, y : y + 8, x : x + 8, i % 2] += 150
        masks[i, : g.integers(0, 17)] = IGNORE
    masks[::5] = IGNORE
    return in_memory(pixels.astype(np.uint8), np.full(count, -1), ["ground", "one", "two"], masks)


def build() -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_backbone(Backbone(name="convnet", norm="batch", width=4, patch=1), SIDE)
    network(torch.rand(64, 3, SIDE, SIDE))
    return network.to(torch.get_default_dtype())


def fits() -> Fits:
    cfg = compose("transfer", ["weights=random", "engine.progress=false"]).engine
    return Fits(cfg, CPU, Precision("fp32", CPU))


def setting(unlabelled: Images | None = None) -> Setting:
    cfg = compose("transfer", ["weights=random"]).data.views
    draws = Draws(3)
    views = RandomViews(cfg, SIDE, Draws(0))
    return Setting(build, CLASSES, views, cfg, SIDE, CPU, 0, draws, fits(), unlabelled)


def finetune(**changes: Any) -> schema.Finetune:
    cfg: schema.Finetune = compose("transfer", ["weights=random"]).probe.finetune
    values = {"steps": 6, "batch_size": 8, "points": 2, "folds": 2, "lrs": [0.01, 0.003], "head_l2": None}
    return cfg.model_copy(update=values | changes)


def found(folder: Path) -> dict[str, Any]:
    """Everything that is compared."""
    some = images(700, 1)
    made: dict[str, Any] = {"features": extract(build().float(), some, SIDE, 64, CPU)}
    made["few features"] = extract(build().float(), images(5, 2), SIDE, 64, CPU)  # for one process
    for name, (count, changes) in CASES.items():
        fitted = Finetune(finetune(**changes)).fit(images(count, 0), setting())
        made[name] = _of(fitted)
    for name, (count, changes, own) in MASKS.items():
        cfg = finetune(**changes)
        own_values = {"crop": 16, "channels": 4, "batch_size": 4, "lrs": [0.01, 0.003]} | own
        cfg = cfg.model_copy(update={"masks": cfg.masks.model_copy(update=own_values)})
        made[name] = _of(finetune_masks(cfg).fit(scenes(count, 0), setting()), masks=True)
    small = compose("transfer", ["weights=random"]).probe.fixmatch
    small = small.model_copy(update={"steps": 4, "batch_size": 8, "ratio": 2, "threshold": 0.4, "lrs": [0.01]})
    made["fixmatch"] = _of(FixMatch(small).fit(images(24, 0), setting(images(32, 4))))
    return made


def _of(fitted: Any, masks: bool = False) -> dict[str, Any]:
    state = {key: value.clone() for key, value in fitted.network.state_dict().items()}
    kinds = sorted({type(module).__name__ for module in fitted.network.modules()})
    curve = [{key: value for key, value in entry.items() if key != "seconds"} for entry in fitted.curve]
    guess = fitted.counts(scenes(8, 5)) if masks else fitted.probabilities(images(20, 5))
    accuracy = [rows.tolist() for rows in fitted.unselected] if masks else fitted.val_accuracy
    return {"state": state, "kinds": kinds, "curve": curve, "guess": guess, "accuracy": accuracy,
            "chosen": fitted.chosen}  # fmt: skip


def main(own: int, count: int, folder: str) -> None:
    """Rank `own` of `count`: a file of what `found` returns, or of the traceback."""
    from ranks import doubled  # of tests/engine, where the caller has put its folder

    torch.set_num_threads(1)
    doubled()
    single = Classification.network
    Classification.network = lambda self, given: single(self, given).double()  # type: ignore[method-assign]
    of_masks = Masks.network
    Masks.network = lambda self, given: of_masks(self, given).double()  # type: ignore[method-assign]
    if count > 1:
        dist.join(own, count, f"file://{folder}/meeting")
    try:
        made = found(Path(folder))
    except Exception:
        made = {"error": traceback.format_exc()}
    torch.save(made, Path(folder) / f"{own}.pt")
    if count > 1 and "error" not in made:
        dist.leave()
