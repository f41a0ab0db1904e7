"""`gssl transfer`: what is a backbone worth for few labels? Every choice first, then the test set, once."""

import time
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison import sources_by_targets
from gssl.data import load_data, targets
from gssl.engine import dist, launch
from gssl.engine.device import peak_memory, prepare, reset_peak_memory
from gssl.engine.fits import Fits
from gssl.engine.follower import Follower
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.experiment import augmentation, checkpoint_weights, cross_validation, ledger, told
from gssl.experiment.label_budgets import Labels, possible
from gssl.experiment.probing import Prober, find_source
from gssl.experiment.tasks import task_of
from gssl.experiment.transfer_record import record


def main(cfg: schemas.Transfer, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Evaluate `cfg.weights` by the probes in `cfg.probe.use`; the objective is the first probe's validation score at
    its last label budget. With `cfg.to` on other data sets, beside training from scratch on each."""
    several = not dry_run and launch.wanted(cfg)
    if cfg.to:
        launch.check_one_run("to=")
        sources = [cfg.weights, sources_by_targets.SCRATCH]
        sources_by_targets.run(cfg, sources, run_dir, "transfer", main, dry_run=dry_run)
        return None
    if several and (launch.started() or not _every_fold(cfg)):  # each fold has processes of its own
        return launch.several(f"{__name__}:main", cfg, run_dir)
    device, precision = prepare(cfg.engine, alone=dry_run or several)
    fits = Fits(cfg.engine, device, precision, run_dir / "finetune")
    own: Any = Follower(run_dir) if dist.rank() else Run(run_dir, "transfer", cfg)
    with own as run:
        origin = find_source(cfg.weights, cfg.backbone)
        run.bind(weights=origin.sha256)
        synthetic = augmentation.find_generated_images(cfg.generated, device)
        if synthetic:
            run.bind(generator=synthetic.sampler.sha256)
        if dist.first(lambda: run.finished):
            say(f"{run_dir}: finished already")
            return run.objective

        splits = load_data(cfg.data, progress=cfg.engine.progress)
        run.bind(images=splits.hash)
        seen = cross_validation.seen(origin.path, cfg.data, splits)
        if synthetic:
            seen |= cross_validation.seen(Path(str(cfg.generated.run)), cfg.data, splits, "generated.run")
        if splits.folds and splits.folds.fold is None:
            task_of(splits.columns).check(splits.labelled, splits.classes, cfg.data.name)  # no fold could be evaluated
            launch.check_one_run("data.fold=null")
            return cross_validation.over_folds(cfg, run, splits, main, dry_run)
        if seen:
            say(f"note: weights={cfg.weights}: trained on all images, those that are tested on among them, unlabelled")
        warnings = splits.summary["warnings"] + (synthetic.check(splits, cfg.data.side) if synthetic else [])
        if origin.backbone not in (None, cfg.backbone):
            say(f"note: the network is {origin.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        cfg = possible(cfg, Labels.of_images(splits.labelled), targets.of_columns(splits.columns))
        origin = checkpoint_weights.resolve(origin, device)
        more = (splits.unlabelled, synthetic, splits.pretrain.unlabelled(), fits)
        prober = Prober(cfg, origin, splits.labelled, splits.classes, device, *more)
        told.found(splits.summary)
        told.other_range(cfg.weights, origin.range, splits.summary)
        told.warnings(warnings)  # after what cannot be evaluated at all is said
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
        tested = splits.summary["folds"]["items"] if splits.folds else splits.summary["hashes"]["test"]
        known = ledger.settings_of(cfg)
        openings, opening = dist.first(
            lambda: (run.opened(), ledger.opening(tested, run_dir, "transfer", known, cfg.seed))
        )
        say(f"note: {opening}")
        test = splits.open_test()  # the only line that can reach the test images; nothing is chosen after it
        found = prober.predict(fitted, test)

        def done() -> float | None:
            scores = [prober.task.score(f, answer, test) for f, answer in zip(fitted, found, strict=True)]
            for index, entry in enumerate(scores, 1):
                run.log({"step": index, **{k: v for k, v in entry.items() if k != "chosen"}})
            spent = {"seconds": round(time.perf_counter() - start, 3), "peak_memory_bytes": peak_memory(device)}
            result = record(cfg, run_dir, prober, splits, fitted, found, scores, test, synthetic, spent)
            folds = {"folds": {"fold": splits.folds.fold, "transductive": seen}} if splits.folds else {}
            run.finish(result | {"test_openings": openings} | folds)
            fits.forget()
            return run.objective

        return dist.first(done)


def _every_fold(cfg: schemas.Transfer) -> bool:
    """Whether this is a run over all folds."""
    folds = load_data(cfg.data, progress=cfg.engine.progress).folds
    return folds is not None and folds.fold is None
