"""`gssl transfer`: what is a backbone worth for few labels? Every choice first, then the test set, once."""

import time
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison import sources_by_targets
from gssl.data import load_data
from gssl.engine.beside import Beside
from gssl.engine.device import peak_memory, prepare, reset_peak_memory
from gssl.engine.fits import Fits
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.experiment import augmentation, checkpoint_weights, cross_validation, diagnostics, ledger, mask_examples
from gssl.experiment.label_budgets import Labels, possible
from gssl.experiment.probing import Prober, find_source
from gssl.experiment.tasks import task_of
from gssl.experiment.transfer_results import gained, learning_curves, save_mistakes, save_models

PREDICTIONS = "predictions.npz"
DIAGNOSE = {"classification": diagnostics.diagnose, "segmentation": mask_examples.diagnose}  # by task


def main(cfg: schemas.Transfer, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Evaluate `cfg.weights` by the probes in `cfg.probe.use`; the objective is the first probe's validation score at
    its last label budget. With `cfg.to` on other data sets, beside training from scratch on each."""
    if cfg.to:
        sources = [cfg.weights, sources_by_targets.SCRATCH]
        sources_by_targets.run(cfg, sources, run_dir, "transfer", main, dry_run=dry_run)
        return None
    device, precision = prepare(cfg.engine)
    fits = Fits(cfg.engine, device, precision, run_dir / "finetune")
    with Run(run_dir, "transfer", cfg) as run:
        origin = find_source(cfg.weights)
        run.bind(weights=origin.sha256)
        synthetic = augmentation.find_generated_images(cfg.generated, device)
        if synthetic:
            run.bind(generator=synthetic.sampler.sha256)
        if run.finished:
            say(f"{run_dir}: finished already")
            return run.objective

        splits = load_data(cfg.data, progress=cfg.engine.progress)
        run.bind(images=splits.hash)
        seen = cross_validation.seen(origin.path, cfg.data, splits)
        if synthetic:
            seen |= cross_validation.seen(Path(str(cfg.generated.run)), cfg.data, splits, "generated.run")
        if splits.folds and splits.folds.fold is None:
            return cross_validation.over_folds(cfg, run, splits, main, dry_run)
        if seen:
            say(f"note: weights={cfg.weights}: trained on all images, those that are tested on among them, unlabelled")
        warnings = splits.summary["warnings"] + (synthetic.check(splits, cfg.data.side) if synthetic else [])
        if origin.backbone not in (None, cfg.backbone):
            say(f"note: the network is {origin.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        cfg = possible(cfg, Labels.of(splits.labelled.labels), task_of(splits.columns).unit)
        origin = checkpoint_weights.resolve(origin, device)
        more = (splits.unlabelled, synthetic, splits.pretrain.unlabelled(), fits)
        prober = Prober(cfg, origin, splits.labelled, splits.classes, device, *more)
        for warning in warnings:  # after what cannot be evaluated at all is said
            say(f"warning: {warning}")
        if "tensors" in prober.report:
            run.bind(tensors=prober.report["tensors"])
        if dry_run:
            prober.rehearse()
            return None

        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        reset_peak_memory(device)
        fitted = list(prober.fit())
        # on record before it happens: a run that is killed and resumed has opened the test set twice
        openings = run.opened()
        tested = splits.summary["folds"]["items"] if splits.folds else splits.summary["hashes"]["test"]
        say(f"note: {ledger.opening(tested, run_dir, 'transfer', ledger.settings_of(cfg), cfg.seed)}")
        test = splits.open_test()  # the only line that can reach the test images; nothing is chosen after it
        found = prober.predict(fitted, test)
        scores = [prober.task.score(f, answer, test) for f, answer in zip(fitted, found, strict=True)]
        for index, entry in enumerate(scores, 1):
            run.log({"step": index, **{k: v for k, v in entry.items() if k != "chosen"}})

        real = [i for i, f in enumerate(fitted) if not f.generated]
        mixed = [i for i, f in enumerate(fitted) if f.generated]
        alone, answers = [fitted[i] for i in real], [found[i] for i in real]
        prober.task.save(run_dir / PREDICTIONS, answers + [found[i] for i in mixed], test)
        cross_validation.save_items(run_dir, splits, test)
        result: dict[str, Any] = {
            "seed": cfg.seed,
            "task": prober.task.name,
            "source": origin.record(),
            "load_report": prober.report,
            "backbone": prober.described,
            "classes": splits.classes,
            "scores": [scores[i] for i in real],
            "learning_curves": learning_curves(alone),
            "predictions": PREDICTIONS,
            "test_openings": openings,
            "spent": {"seconds": round(time.perf_counter() - start, 3), "peak_memory_bytes": peak_memory(device)},
            "data": splits.summary,
            **({"folds": {"fold": splits.folds.fold, "transductive": seen}} if splits.folds else {}),
        }
        if prober.classical:
            result["classical"] = prober.classical.record
        if synthetic:
            result |= gained(synthetic, splits, fitted, found, scores, test)
        evaluated = diagnostics.Evaluated(prober, alone, answers, test)
        result |= diagnosed(evaluated, cfg, run_dir, result["spent"])
        result |= save_mistakes(evaluated, run_dir) | save_models(prober, alone, run_dir)
        last = [f for f in alone if f.probe == cfg.probe.use[0]][-1]
        name, value = f"val_{last.probe} ({last.label_budget.words})", prober.task.validation(last.model)
        run.finish(result | {"objective": {"name": name, "value": value, "direction": "max"}})
        fits.forget()
        return run.objective


def diagnosed(
    evaluated: diagnostics.Evaluated, cfg: schemas.Transfer, run_dir: Path, spent: dict[str, Any]
) -> dict[str, Any]:
    """What the task's diagnostics add to result.json; `spent` is told how long they took."""
    beside = Beside()
    with beside("diagnostics"):
        found: dict[str, Any] = DIAGNOSE[evaluated.prober.task.name](evaluated, cfg.diagnose, run_dir)
    spent["beside"] = beside.record()
    return found
