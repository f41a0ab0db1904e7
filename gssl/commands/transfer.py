"""`gssl transfer`: what is a backbone worth for few labels? Every choice first, then the test set, once."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.config import registry
from gssl.config.menus import CLASSICAL
from gssl.data import Splits, load_data
from gssl.engine.device import prepare
from gssl.engine.files import write_json
from gssl.engine.fits import Fits
from gssl.engine.loop import peak_memory, reset_peak_memory
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.experiment import augmentation, checkpoint_weights, diagnostics, ledger
from gssl.experiment.augmentation import Pair
from gssl.experiment.probing import BATCH, Answers, Fitted, Prober, find, label_budgets, named, score
from gssl.nets.weights import save_weights

PREDICTIONS = "predictions.npz"


def main(cfg: schemas.Transfer, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Judge `cfg.weights` by the probes in `cfg.probe.use`; the objective is the first probe's validation
    accuracy at its last label budget. With `cfg.to` on other data sets, beside training from scratch on each."""
    if cfg.to:
        from gssl.commands import curve  # which runs this very function once per data set

        return curve.across(cfg, run_dir, dry_run=dry_run)
    device, precision = prepare(cfg.engine)
    fits = Fits(cfg.engine, device, precision, run_dir / "finetune")
    with Run(run_dir, "transfer", cfg) as run:
        origin = find(cfg.weights)
        run.bind(weights=origin.sha256)
        fakes = augmentation.find(cfg.generated, device)
        if fakes:
            run.bind(generator=fakes.sampler.sha256)
        if run.finished:
            say(f"{run_dir}: finished already")
            return run.objective
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        run.bind(images=splits.hash)
        warnings = splits.summary["warnings"] + (fakes.check(splits, cfg.data.size) if fakes else [])
        if origin.backbone not in (None, cfg.backbone):
            say(f"note: the network is {origin.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        origin = checkpoint_weights.resolve(origin, device)
        seen = (unlabelled(splits), fakes, splits.pretrain.unlabelled())
        prober = Prober(cfg, origin, splits.labelled, splits.classes, device, *seen, fits)
        for warning in warnings:  # after what cannot be judged at all is said
            say(f"warning: {warning}")
        if "tensors" in prober.report:
            run.bind(tensors=prober.report["tensors"])
        if dry_run:
            few = splits.labelled.subset(prober.labels(label_budgets(cfg, cfg.probe.use[0])[0], 0)[:BATCH])
            made = [few, fakes.images(few, cfg.seed, 0)] if fakes else [few]
            for some in made if origin.kind not in CLASSICAL else []:  # those would have to learn first
                prober.features(some)
            return None
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        reset_peak_memory(device)
        fitted = list(prober.fit())
        # on record before it happens: a run that is killed and resumed has opened the test set twice
        openings = run.opened()
        tested = splits.summary["hashes"]["test"]
        say(f"note: {ledger.opening(tested, run_dir, 'transfer', ledger.settings_of(cfg), cfg.seed)}")
        test = splits.open_test()  # the only line that can reach the test images; nothing is chosen after it
        raw = prober.predict(fitted, test)
        count = len(splits.classes)
        found = [named(f, answer, test.labels, count) for f, answer in zip(fitted, raw, strict=True)]
        scores = []
        for f, answer, before in zip(fitted, found, raw, strict=True):
            scores.append(score(f, answer, test.labels, None if answer is before else before.guess))
        for index, entry in enumerate(scores, 1):
            run.log({"step": index, **{k: v for k, v in entry.items() if k != "chosen"}})
        alone = [i for i, f in enumerate(fitted) if not f.generated]
        mixed = [i for i, f in enumerate(fitted) if f.generated]
        save_predictions(run_dir / PREDICTIONS, [found[i] for i in alone + mixed], test.labels, test.group_codes())
        result: dict[str, Any] = {
            "seed": cfg.seed,
            "source": origin.record(),
            "load_report": prober.report,
            "backbone": prober.described,
            "classes": splits.classes,
            "scores": [scores[i] for i in alone],
            "learning_curves": learning_curves([fitted[i] for i in alone]),
            "predictions": PREDICTIONS,
            "test_openings": openings,
            "spent": {
                "seconds": round(time.perf_counter() - start, 3),
                "peak_memory_bytes": peak_memory(device),
            },
            "data": splits.summary,
        }
        if prober.classical:
            result["classical"] = prober.classical.record
        if fakes:
            result |= {
                "generated": fakes.record(splits),
                "generated_scores": [scores[i] for i in mixed],
                "generated_gain": augmentation.gains(pairs(fitted, found, test.labels)),
            }
        told = diagnostics.Evaluated(prober, [fitted[i] for i in alone], [found[i] for i in alone], test)
        result |= diagnostics.diagnose(told, cfg.diagnose, run_dir)
        saved = save_finetuned(prober, [fitted[i] for i in alone], run_dir)
        if saved:
            result["weights"] = saved
        last = [fitted[i] for i in alone if fitted[i].probe == cfg.probe.use[0]][-1]
        name = f"val_{last.probe} ({last.label_budget.words})"
        value = last.model.val_accuracy
        run.finish(result | {"objective": {"name": name, "value": value, "direction": "max"}})
        fits.forget()
        return run.objective


def unlabelled(splits: Splits) -> Any:
    """Images to learn from without labels: those for pretraining where they are others, else all training images."""
    own = splits.pretrain is not splits.train
    return (splits.pretrain if own else splits.labelled).unlabelled()


def save_predictions(
    path: Path, found: Sequence[Answers], labels: np.ndarray, groups: np.ndarray | None = None
) -> None:
    """Per fit (a row per entry of scores, then of generated_scores) and test image: the class and the confidence in it
    (NaN: none), so that every figure can be computed again. labels int16 (n,), guess int16 and confidence float16
    (fits, n), groups int32 (n,) where some images belong together."""
    none = np.full(len(labels), np.nan)
    arrays = {
        "labels": labels.astype(np.int16),
        "guess": np.array([a.guess for a in found], dtype=np.int16),
        "confidence": np.array([none if a.confidence is None else a.confidence for a in found], dtype=np.float16),
    }
    if groups is not None:
        arrays["groups"] = groups
    np.savez_compressed(path, allow_pickle=False, **arrays)


def learning_curves(fitted: list[Fitted]) -> list[dict[str, Any]]:
    """What probes that train the network measured on validation images on their way, each beside what it was."""
    return [
        {
            "probe": f.probe,
            "labels_per_class": f.label_budget.per_class,
            "fraction": f.label_budget.fraction,
            "draw": f.draw,
            "n_train": f.n_train,
            "points": f.model.curve,
        }
        for f in fitted
        if getattr(f.model, "curve", None)
    ]


def save_finetuned(prober: Prober, fitted: list[Fitted], run_dir: Path) -> dict[str, Any] | None:
    """Write the network that was trained on the most labels, for `gssl predict` and `gssl export`."""
    tuned = [f for f in fitted if f.reads == "network"]
    if not tuned:
        return None
    best = max(tuned, key=lambda f: f.n_train)
    file = run_dir / "weights" / "finetuned.safetensors"
    file.parent.mkdir(exist_ok=True)
    digest = save_weights(best.answering.network, file)
    text: dict[str, Any] = {"schema": "gssl.finetuned/1", "sha256": digest, "classes": prober.classes}
    text |= {"backbone": prober.described, "image_size": prober.cfg.data.size, "n_train": best.n_train}
    text |= {"probe": best.member, "input": best.answering.network.backbone.inputs.record()}
    write_json(file.with_suffix(".json"), text)
    return {"finetuned": {"file": "weights/finetuned.safetensors", "sha256": digest}}


def pairs(fitted: list[Fitted], found: list[Answers], labels: np.ndarray) -> list[Pair]:
    """The fits without and with generated images of each draw, which `Judge.fit` gives one after the other."""
    fits = [(f, a.guess == labels) for f, a in zip(fitted, found, strict=True) if registry.PROBE[f.probe].labels]
    return [
        Pair(f.probe, f.label_budget.per_class, f.label_budget.fraction, a, b)
        for (f, a), (_, b) in zip(fits[::2], fits[1::2], strict=True)
    ]
