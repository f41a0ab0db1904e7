"""`gssl pretrain-ssl`: train a backbone without labels; measured by kNN on the validation split."""

from pathlib import Path

from gssl import schemas
from gssl.engine import dist, launch
from gssl.engine.device import prepare
from gssl.engine.run import Run
from gssl.experiment.ssl_evaluation import SSLEvaluator
from gssl.experiment.training import Training, find_source, follow


def main(cfg: schemas.PretrainSSL, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.ssl`; the objective is kNN accuracy on validation images (None without labels)."""
    if not dry_run and launch.wanted(cfg):
        answer: float | None = launch.several(f"{__name__}:main", cfg, run_dir)
        return answer
    device, precision = prepare(cfg.engine, alone=dry_run)
    if dist.rank():
        follow(cfg, "ssl", run_dir, device, precision)
        return None
    with Run(run_dir, "pretrain-ssl", cfg) as run:
        source = find_source(run, cfg)
        if run.finished:
            return run.objective
        training = Training(run, cfg, "ssl", source, device, precision)
        with dist.alone():
            evaluator = SSLEvaluator(training, cfg, pictures=not dry_run)
        if dry_run:
            return training.dry(evaluator)
        done = training.fit(evaluator)
        with dist.alone():
            run.finish(training.export(done) | evaluator.result(done["final"]))
        return run.objective
