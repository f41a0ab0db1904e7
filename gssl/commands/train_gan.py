"""`gssl train-gan`: train a generator against a discriminator whose trunk is the backbone; measured by KID,
of texts by n-grams."""

from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.engine import dist, launch
from gssl.engine.device import prepare
from gssl.engine.run import Run
from gssl.experiment import generators
from gssl.experiment.gan_evaluation import GANEvaluator
from gssl.experiment.text_gan import TextGANEvaluator
from gssl.experiment.training import Training, find_source, follow
from gssl.experiment.translation import TranslationEvaluator
from gssl.experiment.unpaired import UnpairedEvaluator

# what a method reads → how it is measured, where that is not by images from z
KINDS: dict[str, Any] = {"paired": TranslationEvaluator, "domain0": UnpairedEvaluator, "tokens": TextGANEvaluator}


def main(cfg: schemas.TrainGAN, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    """Train `cfg.gan`; the objective is KID between samples and validation images, by features of `cfg.evaluator`, of
    texts the mean divergence of their n-grams."""
    if not dry_run and launch.wanted(cfg):
        answer: float | None = launch.several(f"{__name__}:main", cfg, run_dir)
        return answer
    device, precision = prepare(cfg.engine, alone=dry_run)
    if dist.rank():
        follow(cfg, "gan", run_dir, device, precision)
        return None
    with Run(run_dir, "train-gan", cfg) as run:
        source = find_source(run, cfg)
        if run.finished:
            return run.objective
        training = Training(run, cfg, "gan", source, device, precision)
        with dist.alone():
            kind = next((own for name, own in KINDS.items() if name in training.needs), GANEvaluator)
            evaluator = kind(training, cfg, pictures=not dry_run)
        if dry_run:
            return training.dry(evaluator)
        done = training.fit(evaluator)
        with dist.alone():
            evaluator.choose()
            result = training.export(done) | evaluator.result()
            result |= generators.write(training.method, run_dir, training.splits.classes)
        run.finish(result)
        return run.objective
