"""`gssl pretrain-ssl`: train a backbone without labels; measured by kNN on the validation split."""

from pathlib import Path

from gssl import schemas
from gssl.engine.device import prepare
from gssl.engine.run import Run
from gssl.experiment.ssl_evaluation import SSLEvaluator
from gssl.experiment.training import Training, find_source


def main(cfg: schemas.PretrainSSL, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.ssl`; the objective is kNN accuracy on validation images (None without labels)."""
    device, precision = prepare(cfg.engine)
    with Run(run_dir, "pretrain-ssl", cfg) as run:
        source = find_source(run, cfg)
        if run.finished:
            return run.objective
        training = Training(run, cfg, "ssl", source, device, precision)
        evaluator = SSLEvaluator(training, cfg, pictures=not dry_run)
        if dry_run:
            return training.dry(evaluator)
        done = training.fit(evaluator)
        run.finish(training.export(done) | evaluator.result(done["final"]))
        return run.objective
