"""What a transfer run leaves beside its scores: curves, models, mistakes by name, gains by generated images."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.config import registry
from gssl.data import Images, Splits
from gssl.data.clips import column_of
from gssl.data.values import stored
from gssl.engine.files import write_json, write_text
from gssl.experiment import augmentation
from gssl.experiment.augmentation import Pair, SyntheticImages
from gssl.experiment.evaluated import Evaluated
from gssl.experiment.model_files import FINETUNED, HEAD
from gssl.experiment.models import BACKBONE
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import CLASSIFICATION, Fitted
from gssl.metrics.evaluator_base import weights_hash
from gssl.nets.weights import as_stored, save_weights

MISTAKES = "mistakes.csv"


def learning_curves(fitted: Sequence[Fitted]) -> list[dict[str, Any]]:
    """What probes that train the network measured on validation images during training, and of which fit."""
    return [
        {"probe": f.probe, **f.label_budget.record(), "draw": f.draw, "n_train": f.n_train, "points": f.model.curve}
        for f in fitted
        if getattr(f.model, "curve", None)
    ]


# ── models ───────────────────────────────────────────────────────────────────────────────────────


def has_head(f: Fitted) -> bool:
    """Whether a fit can answer alone, as a network with a head: fine-tuned, or a linear head on its features. kNN and
    clusters have none."""
    entry = registry.PROBE[f.member]
    pooled = (f.reads == "pooled" and entry.linear_head) or (entry.pooling is not None and not entry.control)
    return f.reads in ("network", "dense") or pooled


def save_models(prober: Prober, fitted: Sequence[Fitted], run_dir: Path) -> dict[str, Any]:
    """Write what `gssl predict` and `gssl export` use, as entries of result.json.

    `weights.finetuned`: the network that was trained on the most labels. `model`: the file that answers, of the fit
    with the most labels; where a menu chose between frozen and fine-tuned it is what the menu chose.
    """
    if prober.network is None:
        return {}
    usable = [f for f in fitted if has_head(f)]
    tuned = [f for f in usable if f.reads == "network"]
    menus = [f for f in usable if registry.PROBE[f.probe].reads == "menu"]
    found: dict[str, Any] = {}
    if tuned:
        most = max(tuned, key=lambda f: f.n_train)
        digest = _save(prober, most, run_dir / "weights" / "finetuned.safetensors", FINETUNED)
        found["weights"] = {"finetuned": {"file": "weights/finetuned.safetensors", "sha256": digest}}
    answering = max(menus or tuned or usable, key=lambda f: f.n_train, default=None)
    if answering is None:
        return found
    file = "weights/finetuned.safetensors"
    if answering.reads == "network":
        answering = most
    else:
        file = "weights/head.safetensors"
        _save(prober, answering, run_dir / file, HEAD)
    return found | {"model": {"file": file, "probe": answering.member, "n_train": answering.n_train}}


def description(prober: Prober, f: Fitted) -> dict[str, Any]:
    """What one needs to build the network of a fit again and to bring images to it."""
    backbone: Any = f.answering.network.backbone if f.reads == "network" else prober.network
    whole = prober.task.dense  # images are not cut to squares of a size that the source has
    view = f.view
    text: dict[str, Any] = {"classes": prober.classes, "backbone": prober.described}
    text |= {"image_size": prober.cfg.data.size if whole else view.size if view else prober.cfg.data.side}
    text |= {"preprocessing": view.record()} if view and not whole else {}
    text |= {"n_train": f.n_train, "probe": f.member, "input": backbone.inputs.record()}
    if prober.images.range is not None:
        text["range"] = stored(prober.images.range)
    if prober.task.name != CLASSIFICATION.name:
        text["task"] = prober.task.name
    if column_of(prober.images) is not None:  # which frames of a film the network reads
        own = prober.cfg.data
        text["clip"] = {"frames": own.frames, "stride": own.stride, "fps": own.fps}
    if "tokenizer" in prober.images.store.meta:  # what ids the network reads
        text["tokenizer"] = prober.images.store.meta["tokenizer"]
        text |= {"pairs": True} if prober.images.store.meta.get("pairs") else {}
    return text | prober.task.head(f)


def tensors(prober: Prober, f: Fitted, inside: bool = True) -> dict[str, torch.Tensor]:
    """The network of a fit with its head, by the names of `gssl.experiment.models`; inside: also a frozen network."""
    if f.reads == "network":
        return as_stored(f.answering.network)
    state = prober.task.state(f, len(prober.classes))
    if inside:
        assert prober.network is not None
        state |= {f"{BACKBONE}{key}": value for key, value in as_stored(prober.network).items()}
    return state


def _save(prober: Prober, f: Fitted, file: Path, schema: str) -> str:
    file.parent.mkdir(exist_ok=True)
    text = {"schema": schema, **description(prober, f)}
    inside = True
    if schema == HEAD:
        # what no `weights=` gives again bit for bit: random weights with batch statistics, a checkpoint that may vanish
        inside = prober.origin.kind in ("random", "checkpoint")
        cfg = prober.cfg
        text |= {"inside": inside, "weights": getattr(cfg, "weights", prober.origin.kind), "seed": cfg.seed}
        text |= {"allow_partial": cfg.allow_partial, "network_hash": weights_hash(prober.network)}  # type: ignore[arg-type]
    digest = save_weights(tensors(prober, f, inside), file)
    write_json(file.with_suffix(".json"), text | {"sha256": digest})
    return digest


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────


def save_mistakes(evaluated: Evaluated, run_dir: Path) -> dict[str, Any]:
    """Write the wrong answers of the fit that is shown (`Evaluated.shown`), the most confident first, by file."""
    index = evaluated.shown()
    if evaluated.prober.task.column not in ("label", "text") or index is None:
        return {}
    test, found = evaluated.test, evaluated.found[index]
    wrong = np.flatnonzero(found.guess != test.labels)
    given = np.full(len(test), np.nan) if found.confidence is None else found.confidence
    order = wrong[np.argsort(-np.nan_to_num(given[wrong], nan=-1.0), kind="stable")]
    classes = evaluated.prober.classes
    rows = [(test.name(i), classes[test.labels[i]], classes[found.guess[i]], given[i]) for i in order.tolist()]
    write_text(run_dir / MISTAKES, mistakes_table(rows))
    return {"mistakes": {"file": MISTAKES, "count": len(rows), "n": len(test), **evaluated.key(index)}}


def mistakes_table(rows: Sequence[tuple[str, str, str, float]]) -> str:
    """A CSV of (file, label, predicted, probability); a probability that is not known is empty."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "label", "predicted", "probability"])
    for name, label, guess, p in rows:
        writer.writerow([name, label, guess, "" if np.isnan(p) else f"{p:.4f}"])
    return table.getvalue()


# ── generated images ─────────────────────────────────────────────────────────────────────────────


def gained(
    synthetic: SyntheticImages, splits: Splits, fitted: Sequence[Fitted], found: Sequence[Any], scores: Sequence[Any],
    test: Images,
) -> dict[str, Any]:  # fmt: skip
    """Entries for result.json of the fits with generated images, and what these gained.

    `Prober.fit` gives the fits without and with generated images of each draw one after the other.
    """
    fits = [(f, a.guess == test.labels) for f, a in zip(fitted, found, strict=True) if registry.PROBE[f.probe].labels]
    pairs = [
        Pair(f.probe, f.label_budget.per_class, f.label_budget.fraction, a, b)
        for (f, a), (_, b) in zip(fits[::2], fits[1::2], strict=True)
    ]
    return {
        "generated": synthetic.record(splits),
        "generated_scores": [score for f, score in zip(fitted, scores, strict=True) if f.generated],
        "generated_gain": augmentation.gains(pairs),
    }
