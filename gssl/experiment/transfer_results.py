"""What a transfer run leaves beside its scores: learning curves, the fine-tuned network, gains by generated images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gssl.config import registry
from gssl.data import Images, Splits
from gssl.engine.files import write_json
from gssl.experiment import augmentation
from gssl.experiment.augmentation import Pair, SyntheticImages
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import Fitted
from gssl.nets.weights import save_weights


def learning_curves(fitted: Sequence[Fitted]) -> list[dict[str, Any]]:
    """What probes that train the network measured on validation images during training, and of which fit."""
    return [
        {"probe": f.probe, **f.label_budget.record(), "draw": f.draw, "n_train": f.n_train, "points": f.model.curve}
        for f in fitted
        if getattr(f.model, "curve", None)
    ]


def save_finetuned(prober: Prober, fitted: Sequence[Fitted], run_dir: Path) -> dict[str, Any]:
    """Write the network that was trained on the most labels, for `gssl predict` and `gssl export`."""
    tuned = [f for f in fitted if f.reads == "network"]
    if not tuned:
        return {}
    best = max(tuned, key=lambda f: f.n_train)
    file = run_dir / "weights" / "finetuned.safetensors"
    file.parent.mkdir(exist_ok=True)
    digest = save_weights(best.answering.network, file)
    text: dict[str, Any] = {"schema": "gssl.finetuned/1", "sha256": digest, "classes": prober.classes}
    text |= {"backbone": prober.described, "image_size": prober.cfg.data.side, "n_train": best.n_train}
    text |= {"probe": best.member, "input": best.answering.network.backbone.inputs.record()}
    if prober.task.column != "label":
        text["task"] = prober.task.name
    write_json(file.with_suffix(".json"), text)
    return {"weights": {"finetuned": {"file": "weights/finetuned.safetensors", "sha256": digest}}}


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
