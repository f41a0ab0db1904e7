"""What the parts of a comparison would refuse about networks and images, said before anything is trained."""

from pathlib import Path

import torch

from gssl import schemas
from gssl.comparison.plan import Planner
from gssl.config import arms, registry
from gssl.config.menus import probes_of
from gssl.data import Splits
from gssl.errors import UsageError
from gssl.experiment import continued, gan_evaluation, generation, published, weight_sources
from gssl.experiment.tasks import check_probe, task_of
from gssl.nets.backbone import check_name
from gssl.schemas.ready_made import SHORT

PER_NETWORK = 2  # images: no fewer make a batch
FOLDER = "hf:"  # or a name on the hub, which is not looked up here
LOOKED_UP = ("timm:", "torchvision:")  # names that are looked up without a network


def networks(cfg: schemas.Compare) -> None:
    """Raises UsageError where the backbone or an arm names a network that timm or torchvision does not have."""
    check_name(cfg.backbone)
    for arm in arms.read(cfg.arms):
        for name in (arm.start, None if arm.read else arm.source):
            if name is not None and (name.startswith(LOOKED_UP) or name.partition("@")[0] in SHORT):
                published.find(name)


def texts(cfg: schemas.Compare, splits: Splits) -> None:
    """Raises UsageError where a folder's network of texts cannot read these: another column, another tokenizer, or
    texts that are longer than it has positions for."""
    known: dict[str, str] = {}  # tokenizers' hashes → the arm that reads its ids
    for arm in arms.read(cfg.arms):
        name = arm.start or arm.source or ""
        if not name.startswith(FOLDER) or not Path(name.removeprefix(FOLDER)).expanduser().is_dir():
            continue
        source = weight_sources.find_weights(name)
        if source.tokenizer is None:
            continue
        if arm.start is not None:
            continued.check(name, source)
        known.setdefault(source.tokenizer, arm.name)
        if len(known) > 1:
            raise UsageError(
                f"arms: {' and '.join(known.values())} read ids of different tokenizers, and a comparison has one"
                " (data.tokenizer); compare each by itself"
            )
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            network = source.blank(cfg.backbone, cfg.data.side)
        weight_sources.check_column(source, network, splits.labelled)


def check(cfg: schemas.Compare, planner: Planner, splits: Splits) -> None:
    """Raises UsageError where the images cannot be what an arm or a probe needs, as `transfer` and training would."""
    task = task_of(splits.columns)
    task.check(splits.labelled, splits.classes, cfg.data.name)
    for name in cfg.probe.use:
        check_probe(name, task, cfg.data.name)
        if not registry.PROBE[name].labels and len(splits.labelled) < len(splits.classes):
            raise UsageError(
                f"probe.use: {name} looks for {len(splits.classes)} clusters among {len(splits.labelled)} images; leave"
                " it out, or give more images"
            )
    for arm in arms.read(cfg.arms):
        if not probes_of(arms.kind(arm), cfg.probe.use):
            raise UsageError(
                f"arms: {arm.name} is evaluated by none of probe.use=[{','.join(cfg.probe.use)}]; leave it out, or add"
                " a probe that fits"
            )
    trained = {method for arm in planner.arms() for method in arm.trained}
    if not trained:
        return
    if len(splits.pretrain) < PER_NETWORK:
        raise UsageError(f"data: {len(splits.pretrain)} images to pretrain on; at least {PER_NETWORK} are needed")
    val = int((splits.val.labels >= 0).sum()) if "label" in splits.columns else len(splits.val)
    gans = sorted(method for method in trained if arms.command(method) == "train-gan")
    if gans and val < gan_evaluation.LEAST:
        raise UsageError(
            f"arms: {gans[0]} is measured by {val} validation images, and at least {gan_evaluation.LEAST} are needed;"
            " give more images, or a larger data.val_fraction"
        )
    test = splits.summary["counts"]["test"]
    if gans and cfg.generation.images and planner.divided is None and test < generation.LEAST:
        raise UsageError(
            f"generation.images: images of {gans[0]} are compared with {test} test images, and at least"
            f" {generation.LEAST} are needed; give more test images, or generation.images=0"
        )
