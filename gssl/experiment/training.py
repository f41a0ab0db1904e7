"""What train-gan and pretrain-ssl share: from a configuration to a trained, exported and recorded run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gssl import schemas
from gssl.config import registry
from gssl.data import Batches, Draws, Splits, load_data
from gssl.engine.device import prepare
from gssl.engine.dist import rank, world_size
from gssl.engine.feed import Feed
from gssl.engine.loop import Trainer, Watch
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import UsageError
from gssl.experiment import checkpoint_weights, label_use, synthetic, weight_sources
from gssl.experiment.method_pictures import inputs_of, save_views
from gssl.method import Context

Evaluator = Callable[[int], dict[str, float]]
MakeWatch = Callable[[Splits], Watch]
MakeEvaluator = Callable[[Any, Splits, Draws, Run, torch.device], Evaluator]
Finish = Callable[[Any, Run, dict[str, Any]], dict[str, Any]]


def train(
    command: str,
    cfg: schemas.PretrainSSL | schemas.TrainGAN,
    family: str,
    run_dir: Path,
    make_evaluator: MakeEvaluator,
    make_watch: MakeWatch,
    finish: Finish,
    dry_run: bool,
    choose: Callable[[Any, Run], None] | None = None,
) -> float | str | None:
    """Train the method `cfg.<family>` in `run_dir`; returns the validation objective.

    `make_evaluator` gives the function that measures during training, `make_watch` the one that raises alarms, `finish`
    the method's part of result.json out of the last measurement. `choose` may put other weights of the run into the
    method before they are exported.
    """
    method_cfg = getattr(cfg, family)
    entry = registry.FAMILIES[family][method_cfg.name]
    device, precision = prepare(cfg.engine)
    with Run(run_dir, command, cfg) as run:
        origin = weight_sources.find_weights(cfg.weights)
        run.bind(weights=origin.sha256)
        if run.finished:
            say(f"{run_dir}: finished already")
            return run.objective
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        for warning in splits.summary["warnings"]:
            say(f"warning: {warning}")
        if origin.backbone not in (None, cfg.backbone):
            say(f"note: the network is {origin.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        draws = Draws(cfg.seed, rank(), world_size())
        run.bind(images=splits.hash)
        sampler = synthetic.find(cfg.generated, device) if isinstance(cfg, schemas.PretrainSSL) else None
        if sampler:
            run.bind(generator=sampler.sha256)
        origin = checkpoint_weights.resolve(origin, device)
        backbone, load_report = weight_sources.build(origin, cfg.backbone, cfg.data.size, cfg.seed)
        trainer = Trainer(run, cfg.engine, cfg.budget, device, precision)
        context = Context(
            draws=draws,
            device=device,
            size=cfg.data.size,
            channels=splits.pretrain.channels,
            classes=len(splits.classes),
            optimizer=trainer.optimizer,
            **(
                {"colour": weight_sources.colour(splits.pretrain, draws, cfg.data.size, device)}
                if family == "gan"
                else {}
            ),
        )
        cls = registry.load(entry.where)
        if not isinstance(getattr(cls, "needs", None), tuple):
            raise TypeError(f'{entry.where}: `needs` must be a tuple of names, such as ("view0",); see gssl/method.py')
        needs = cls.reads(method_cfg) if hasattr(cls, "reads") else cls.needs
        # a method that reads labels can only use the labelled part
        images = splits.train if "label" in needs else splits.pretrain
        real = images
        if sampler:
            if "label" in needs:
                raise UsageError(f"generated.run: {family}={method_cfg.name} reads labels, and these images have none")
            assert isinstance(cfg, schemas.PretrainSSL)
            images = synthetic.images(sampler, cfg.generated, images, cfg.data.size, cfg.seed)
        batches = Batches(images, method_cfg.batch_size, draws, device)
        if batches.size < method_cfg.batch_size:
            say(f"warning: {len(images)} training images: batches have {batches.size}, not {method_cfg.batch_size}")
        if batches.size // cfg.engine.accumulate < 2:
            raise UsageError(
                f"engine.accumulate={cfg.engine.accumulate}: a batch of {batches.size} images cannot be cut into"
                f" so many parts of at least two; use at most {max(1, batches.size // 2)}"
            )
        feed = Feed(batches, images, needs, cfg.data, draws)
        method = cls(method_cfg, backbone, context)
        method.to(memory_format=torch.channels_last)
        method.train()
        if "label" in needs:
            say(f"note: {family}={method_cfg.name} reads the labels of all training images: a reference, no contestant")
        elif origin.labels_used:
            say(f"note: weights={cfg.weights} has read labels, so what is trained on from it has: no contestant")
        if hasattr(method, "check"):
            method.check(feed(0))
        evaluate = make_evaluator(method, splits, draws, run, device)
        if dry_run:
            batch = feed(0)
            with inputs_of(method.backbone) as seen:
                trainer.dry(method, batch)
            evaluate(0)
            columns = save_views(batches(0), batch, seen, run_dir / "views.png", cfg.data.size)
            return f"the configuration builds and one batch went through\nviews.png: {', '.join(columns)}"
        done = trainer.fit(
            method,
            feed,
            draws,
            images=len(images),
            title=f"{method_cfg.name} seed {cfg.seed}",
            evaluate=evaluate,
            every=cfg.eval.every,
            watch=make_watch(splits),
            milestones=cfg.eval.milestones,
        )
        if choose:
            choose(method, run)
        # also after generated images: what is judged sees real ones
        plain = weight_sources.centred(real, draws, cfg.data.size, device)
        learned = synthetic.record(sampler, images) if sampler else None
        kind, size = origin.network(cfg.backbone, cfg.data.size)
        read = label_use.worst("label" in needs, learned["labels_used"] if learned else False, origin.labels_used)
        weights = weight_sources.export(method, plain, run_dir, method_cfg.name, kind, size, cfg.seed, read)
        result: dict[str, Any] = {
            "method": method_cfg.name,
            "seed": cfg.seed,
            "source": origin.record(),
            "load_report": load_report,
            "labels_used": read,
            "reads_labels": "label" in needs,
            **({"generated": learned} if learned else {}),
            "spent": done["spent"],
            "alarms": done["alarms"],
            "milestones": done["milestones"],
            "weights": {"backbone": weights},
            "data": splits.summary,
            "backbone": origin.described(cfg.backbone, cfg.data.size),
        }
        run.finish(result | finish(method, run, done["final"]))
        return run.objective
