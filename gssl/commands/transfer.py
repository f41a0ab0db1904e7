"""`gssl transfer`: what is a backbone worth for few labels? Every choice first, then the test set, once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gssl.commands import augmented
from gssl.commands.augmented import Fakes, Pair
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
from gssl.probe.folds import Labelled

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
    n_train: int  # real images
    generated: int  # generated images beside them
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
        fakes = augmented.find(cfg.generated, device)
        if fakes:
            run.bind(generator=fakes.sampler.sha256)
        if run.finished:
            say(f"{run_dir}: finished already")
            return run.objective
        if cfg.weights == "pixels" and "finetune" in cfg.probe.use:
            raise UsageError("probe.use: finetune needs a network, weights=pixels has none; use probe.use=[linear]")
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        run.bind(images=splits.hash)
        for warning in splits.summary["warnings"] + (fakes.check(splits, cfg.data.size) if fakes else []):
            say(f"warning: {warning}")
        if origin.backbone not in (None, cfg.backbone):
            say(f"note: the network is {origin.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        judge = Judge(cfg, origin, splits, device, fakes)
        for amount in wanted:  # more labels than there are is a usage error, before anything is on record
            judge.labels(amount, 0)
        if dry_run:
            few = splits.labelled.subset(judge.labels(wanted[0], 0)[:BATCH])
            judge.features(few)
            if fakes:
                judge.features(fakes.images(few, cfg.seed, 0))
            return None
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        reset_peak_memory(device)
        fitted = list(judge.fit(wanted))
        # on record before it happens: a run that is killed and resumed has opened the test set twice
        openings = run.opened()
        test = splits.open_test()  # the only line that can reach the test images; nothing is chosen after it
        guesses = judge.predict(fitted, test)
        scores = [score(f, guess, test.labels) for f, guess in zip(fitted, guesses, strict=True)]
        for index, entry in enumerate(scores, 1):
            run.log({"step": index, **{k: v for k, v in entry.items() if k != "chosen"}})
        result: dict[str, Any] = {
            "seed": cfg.seed,
            "source": origin.record(),
            "load_report": judge.report,
            "backbone": judge.described,
            "classes": splits.classes,
            "scores": [s for s in scores if "generated" not in s],
            "test_openings": openings,
            "spent": {
                "seconds": round(time.perf_counter() - start, 3),
                "peak_memory_bytes": peak_memory(device),
            },
            "data": splits.summary,
        }
        if fakes:
            result |= {
                "generated": fakes.record(splits),
                "generated_scores": [s for s in scores if "generated" in s],
                "generated_gain": augmented.gains(pairs(fitted, guesses, test.labels)),
            }
        alone = [f for f in fitted if not f.generated]
        saved = judge.save_finetuned(alone, run_dir)
        if saved:
            result["weights"] = saved
        last = [f for f in alone if f.probe == cfg.probe.use[0]][-1]
        value = last.model.val_accuracy
        name = f"val_{last.probe} ({last.amount.words})"
        run.finish(result | {"objective": {"name": name, "value": value, "direction": "max"}})
        return run.objective


class Judge:
    """One backbone under all probes. It holds the labelled training images; the test images come from outside."""

    def __init__(
        self,
        cfg: schema.Transfer,
        origin: source.Source,
        splits: Splits,
        device: torch.device,
        fakes: Fakes | None = None,
    ) -> None:
        if len(splits.classes) < 2:
            raise UsageError(f"data={cfg.data.name}: {len(splits.classes)} class(es); transfer needs at least two")
        self.cfg, self.origin, self.device, self.fakes = cfg, origin, device, fakes
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
        """Every probe at every amount and draw, all choices made on the labels it was given.

        With a generator each of them twice: on the real images, then on the same ones and generated images.
        """
        cfg = self.cfg
        frozen = [name for name in cfg.probe.use if name != "finetune"]
        x = self.features(self.images) if frozen else None
        for amount in wanted:
            known: dict[int, Labelled] = {}  # features of generated images, by draw: the frozen probes share them
            for name in cfg.probe.use:
                probe = registry.load(registry.PROBE[name])(getattr(cfg.probe, name))
                draws = min(amount.draws, cfg.probe.finetune.draws) if name == "finetune" else amount.draws
                for draw in range(draws):
                    index = self.labels(amount, draw)
                    real = self.images.subset(index)
                    if name == "finetune":
                        yield Fitted(name, amount, draw, len(index), 0, self._tune(probe, real, draw, None))
                        if self.fakes:
                            made = self.fakes.images(real, cfg.seed, draw)
                            model = self._tune(probe, real, draw, made)
                            yield Fitted(name, amount, draw, len(index), len(made), model)
                        continue
                    assert x is not None
                    rest = (x[index], real.labels, len(self.classes), cfg.seed)
                    yield Fitted(name, amount, draw, len(index), 0, probe.fit(*rest))
                    if self.fakes:
                        if draw not in known:
                            made = self.fakes.images(real, cfg.seed, draw)
                            known[draw] = Labelled(self.features(made), made.labels)
                        yield Fitted(name, amount, draw, len(index), len(known[draw].y), probe.fit(*rest, known[draw]))

    def _tune(self, probe: Any, images: Images, draw: int, extra: Images | None) -> Any:
        cfg = self.cfg
        views = RandomViews(cfg.data.views, cfg.data.size, self.draws)
        draws = Draws(cfg.seed * 1000 + draw)
        rest = (len(self.classes), views, cfg.data.size, self.device, cfg.seed, draws)
        return probe.fit(self.build, images, *rest, extra)

    def predict(self, fitted: list[Fitted], test: Images) -> list[np.ndarray]:
        """The classes, int64 (n,), that every fitted probe gives the test images. No choice is made here."""
        x = self.features(test) if any(f.probe != "finetune" for f in fitted) else None
        return [f.model.predict(test if f.probe == "finetune" else x) for f in fitted]

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


def score(f: Fitted, guess: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """One entry of result.json's scores for a probe's classes `guess` (n,) of the test images."""
    correct = int((guess == labels).sum())
    return {
        "probe": f.probe,
        "labels_per_class": f.amount.per_class,
        "fraction": f.amount.fraction,
        "draw": f.draw,
        "n_train": f.n_train,
        **({"generated": f.generated} if f.generated else {}),
        "n_test": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "balanced_accuracy": float(balanced_accuracy(labels, guess)),
        "val_accuracy": f.model.val_accuracy,
        "chosen": f.model.chosen,
    }


def pairs(fitted: list[Fitted], guesses: list[np.ndarray], labels: np.ndarray) -> list[Pair]:
    """The fits without and with generated images of each draw, which `Judge.fit` gives one after the other."""
    right = [guess == labels for guess in guesses]
    return [
        Pair(f.probe, f.amount.per_class, f.amount.fraction, a, b)
        for f, a, b in zip(fitted[::2], right[::2], right[1::2], strict=True)
    ]
