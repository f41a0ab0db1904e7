"""`gssl transfer`: what is a backbone worth for few labels? Every choice first, then the test set, once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gssl.config import registry, schema
from gssl.data import Draws, Images, RandomViews, Splits, centre, label_subset, load_data, sequential
from gssl.engine import source
from gssl.engine.device import prepare
from gssl.engine.files import write_json
from gssl.engine.loop import peak_memory, reset_peak_memory
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import UsageError
from gssl.metrics.accuracy import balanced_accuracy
from gssl.nets.norms import recompute_batch_norm
from gssl.nets.weights import save_weights
from gssl.probe.features import extract, pixels

BATCH = 256
RECOMPUTE = 2048


@dataclass(frozen=True)
class Amount:
    """How many labels: so many per class, or a share of all."""

    per_class: int | None
    fraction: float | None
    draws: int

    @property
    def words(self) -> str:
        if self.per_class is not None:
            return f"{self.per_class} per class"
        return "all labels" if self.fraction == 1 else f"{self.fraction:.3%} of the labels"


@dataclass
class Fitted:
    """A probe that has made its choices, waiting for the test set."""

    probe: str
    amount: Amount
    draw: int
    n_train: int
    model: Any


def amounts(cfg: schema.Transfer) -> list[Amount]:
    """Label amounts in the order of the configuration; all labels need one draw only."""
    few = [Amount(k, None, cfg.draws_one_shot if k == 1 else cfg.draws) for k in cfg.labels_per_class]
    share = [Amount(None, f, 1 if f == 1 else cfg.draws) for f in cfg.fractions]
    if not few + share:
        raise UsageError("labels_per_class=[] and fractions=[]: nothing to judge on; give at least one amount")
    return few + share


def main(cfg: schema.Transfer, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Judge `cfg.weights` by the probes in `cfg.probe.use`; the objective is the first probe's validation
    accuracy at the last label amount."""
    device, _ = prepare(cfg.engine)
    wanted = amounts(cfg)
    with Run(run_dir, "transfer", cfg) as run:
        origin = source.Source("pixels") if cfg.weights == "pixels" else source.find(cfg.weights)
        run.bind(weights=origin.sha256)
        if run.finished:
            say(f"{run_dir}: finished already")
            return run.objective
        if cfg.weights == "pixels" and "finetune" in cfg.probe.use:
            raise UsageError("probe.use: finetune needs a network, weights=pixels has none; use probe.use=[linear]")
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        run.bind(images=splits.hash)
        for warning in splits.summary["warnings"]:
            say(f"warning: {warning}")
        if origin.backbone not in (None, cfg.backbone):
            say(f"note: the network is {origin.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        judge = Judge(cfg, origin, splits, device)
        for amount in wanted:  # more labels than there are is a usage error, before anything is on record
            judge.labels(amount, 0)
        if dry_run:
            judge.features(splits.labelled.subset(np.arange(min(len(splits.labelled), BATCH))))
            return None
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        reset_peak_memory(device)
        fitted = list(judge.fit(wanted))
        # on record before it happens: a run that is killed and resumed has opened the test set twice
        openings = run.opened()
        test = splits.open_test()  # the only line that can reach the test images; nothing is chosen after it
        scores = judge.score(fitted, test)
        for index, score in enumerate(scores, 1):
            run.log({"step": index, **{k: v for k, v in score.items() if k != "chosen"}})
        result: dict[str, Any] = {
            "seed": cfg.seed,
            "source": origin.record(),
            "load_report": judge.report,
            "backbone": judge.described,
            "classes": splits.classes,
            "scores": scores,
            "test_openings": openings,
            "spent": {
                "seconds": round(time.perf_counter() - start, 3),
                "peak_memory_bytes": peak_memory(device),
            },
            "data": splits.summary,
        }
        saved = judge.save_finetuned(fitted, run_dir)
        if saved:
            result["weights"] = saved
        last = [f for f in fitted if f.probe == cfg.probe.use[0]][-1]
        value = last.model.val_accuracy
        name = f"val_{last.probe} ({last.amount.words})"
        run.finish(result | {"objective": {"name": name, "value": value, "direction": "max"}})
        return run.objective


class Judge:
    """One backbone under all probes. It holds the labelled training images; the test images come from outside."""

    def __init__(self, cfg: schema.Transfer, origin: source.Source, splits: Splits, device: torch.device) -> None:
        if len(splits.classes) < 2:
            raise UsageError(f"data={cfg.data.name}: {len(splits.classes)} class(es); transfer needs at least two")
        self.cfg, self.origin, self.device = cfg, origin, device
        self.images, self.classes = splits.labelled, splits.classes
        self.draws = Draws(cfg.seed)
        self.report: dict[str, Any] = {"loaded": 0, "missing": [], "unexpected": []}
        self.described: dict[str, Any] | None = None
        self.network: nn.Module | None = None
        if origin.kind != "pixels":
            self.network = self.build(report=True)
            kind = origin.backbone or cfg.backbone
            self.described = {**vars(kind), "size": origin.size or cfg.data.size}
            if origin.size not in (None, cfg.data.size):
                say(f"warning: trained at {origin.size} px, judged at data.size={cfg.data.size}")

    def build(self, report: bool = False) -> nn.Module:
        """A fresh copy of the source's network on the device."""
        cfg = self.cfg
        network, loaded = source.build(self.origin, cfg.backbone, cfg.data.size, cfg.seed, cfg.allow_partial)
        if report:
            self.report = loaded
        network.to(self.device).to(memory_format=torch.channels_last)
        if self.origin.kind == "random":
            # an exported backbone carries the statistics of the training images: so does the random one
            few = self.images.subset(self.draws.permutation("recompute", 0, len(self.images))[:RECOMPUTE])
            recompute_batch_norm(network, self._plain(few))
        return network

    def _plain(self, images: Images) -> Iterator[torch.Tensor]:
        for batch in sequential(images, BATCH, self.device):
            yield centre(batch["image"], self.cfg.data.size, batch.get("extent"))

    def features(self, images: Images) -> np.ndarray:
        """(n, d) float32 of centre-cropped images."""
        if self.network is None:
            return pixels(images, self.cfg.data.size)
        return extract(self.network, images, self.cfg.data.size, BATCH, self.device)

    def labels(self, amount: Amount, draw: int) -> np.ndarray:
        """Sorted indices of the labelled images that draw `draw` may use: the same for every source."""
        return label_subset(self.images.labels, amount.per_class, amount.fraction, self.cfg.seed, draw)

    def fit(self, wanted: list[Amount]) -> Iterator[Fitted]:
        """Every probe at every amount and draw, all choices made on the labels it was given."""
        cfg = self.cfg
        frozen = [name for name in cfg.probe.use if name != "finetune"]
        x = self.features(self.images) if frozen else None
        for amount in wanted:
            for name in cfg.probe.use:
                probe = registry.load(registry.PROBE[name])(getattr(cfg.probe, name))
                draws = min(amount.draws, cfg.probe.finetune.draws) if name == "finetune" else amount.draws
                for draw in range(draws):
                    index = self.labels(amount, draw)
                    if name == "finetune":
                        views = RandomViews(cfg.data.views, cfg.data.size, self.draws)
                        model = probe.fit(
                            self.build,
                            self.images.subset(index),
                            len(self.classes),
                            views,
                            cfg.data.size,
                            self.device,
                            cfg.seed,
                            Draws(cfg.seed * 1000 + draw),
                        )
                    else:
                        assert x is not None
                        model = probe.fit(x[index], self.images.labels[index], len(self.classes), cfg.seed)
                    yield Fitted(name, amount, draw, len(index), model)

    def score(self, fitted: list[Fitted], test: Images) -> list[dict[str, Any]]:
        """Predict the test images with every fitted probe. No choice is made here."""
        x = self.features(test) if any(f.probe != "finetune" for f in fitted) else None
        scores = []
        for f in fitted:
            guess = f.model.predict(test if f.probe == "finetune" else x)
            correct = int((guess == test.labels).sum())
            scores.append(
                {
                    "probe": f.probe,
                    "labels_per_class": f.amount.per_class,
                    "fraction": f.amount.fraction,
                    "draw": f.draw,
                    "n_train": f.n_train,
                    "n_test": len(test),
                    "correct": correct,
                    "accuracy": correct / len(test),
                    "balanced_accuracy": float(balanced_accuracy(test.labels, guess)),
                    "val_accuracy": f.model.val_accuracy,
                    "chosen": f.model.chosen,
                }
            )
        return scores

    def save_finetuned(self, fitted: list[Fitted], run_dir: Path) -> dict[str, Any] | None:
        """Write the network that was fine-tuned on the most labels, for `gssl predict`."""
        tuned = [f for f in fitted if f.probe == "finetune"]
        if not tuned:
            return None
        best = max(tuned, key=lambda f: f.n_train)
        file = run_dir / "weights" / "finetuned.safetensors"
        file.parent.mkdir(exist_ok=True)
        digest = save_weights(best.model.network, file)
        text: dict[str, Any] = {"schema": "gssl.finetuned/1", "sha256": digest, "classes": self.classes}
        text |= {"backbone": self.described, "image_size": self.cfg.data.size, "n_train": best.n_train}
        write_json(file.with_suffix(".json"), text)
        return {"finetuned": {"file": "weights/finetuned.safetensors", "sha256": digest}}
