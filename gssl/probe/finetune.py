"""Fine-tuning: network and linear head trained on the labels; one recipe and budget for every source.

The head starts from the linear probe's solution (LP-FT, Kumar et al. 2022, arXiv:2202.10054) where `head_l2` gives a λ.
Measured on mnist5k (convnet of width 16, lr .003, 3 draws, accuracy on 1,950 and 1,500 labelled images that were not
drawn, never test images): from random weights with 10 and 100 labels per class, 150 steps of 64 images give .872 and
.907 from a head near 0; 100 steps of 32 images give .789 and .801 so, and .883 and .932 from the solution with λ = .1.
λ = 1 is worse (2 draws: .867 and .919, beside .881 and .930), for a pretrained network (SimCLR), too (.869 and .895,
beside .879 and .912).
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data import Images, RandomViews, centre, sequential
from gssl.errors import UsageError
from gssl.nets.norms import recompute_batch_norm
from gssl.probe.adapter import add_adapters
from gssl.probe.setting import Setting
from gssl.probe.training import (
    EVAL_BATCH,
    Classifier,
    FittedFinetune,
    Point,
    Watch,
    classifier,
    fit_best,
    optimise,
    predict_proba,
    start_head,
    streams,
)
from gssl.schemas import Views
from gssl.schemas import probes as schema

SETTLE = 2048  # images whose batch statistics the trained network carries
__all__ = ["Classifier", "Finetune", "FittedFinetune", "predict_proba"]


class Finetune:
    """The probe by its configuration: AdamW, cosine schedule, learning rate and weight decay chosen on validation."""

    def __init__(self, cfg: schema.Finetune) -> None:
        self.cfg = cfg

    def fit(self, images: Images, setting: Setting, extra: Images | None = None) -> FittedFinetune:
        """Fine-tune a fresh network on labelled `images` (at least two).

        Every pair of learning rate and weight decay is tried on the first of `choice_folds(labels, seed)` and the
        best by validation accuracy (ties: by cross-entropy) is used on all images, and validated on up to `folds`
        folds. One-shot takes the first of each.
        The result is a function of (`setting`, images, extra); torch's global generator is left as it was.
        `extra` images take their share of every batch, whose size and number stay the same; none is chosen on.
        Raises JobError where no learning rate gives a finite network, and UsageError where the network has fewer
        stages than are to be trained.
        """
        grid = [{"lr": lr, "weight_decay": decay} for lr in self.cfg.lrs for decay in self.cfg.weight_decays]

        def train(point: Point, images: Images, watch: Watch | None) -> tuple[Classifier, dict[str, float]]:
            return self._train(point, images, setting, extra, watch), {}

        return fit_best("finetune", train, grid, images, setting, self.cfg.steps, self.cfg.points, self.cfg.folds)

    def _train(
        self, point: Point, images: Images, setting: Setting, extra: Images | None, watch: Watch | None
    ) -> Classifier:
        cfg = self.cfg
        network = classifier(setting)
        if cfg.head_l2 is not None:
            start_head(network, images, setting, cfg.head_l2)
        if cfg.train == "last":
            train_last(network, cfg.stages)
        elif cfg.train == "lora":
            add_adapters(network.backbone, cfg.rank, setting.draws)
        parts = streams(images, extra, cfg.batch_size, setting.draws, setting.device)
        views = setting.views if cfg.colour else RandomViews(geometric(setting.views_cfg), setting.size, setting.draws)

        def loss(step: int) -> Tensor:
            batches = [part(step) for part in parts]
            seen = [views(batch["image"], step, i, batch.get("extent")) for i, batch in enumerate(batches)]
            return F.cross_entropy(network(torch.cat(seen)), torch.cat([batch["label"] for batch in batches]))

        def settle() -> None:
            """The network will see whole images: batch statistics of those, not of the last crops."""
            some = images.subset(np.arange(0, len(images), -(-len(images) // SETTLE)))
            batches = sequential(some, EVAL_BATCH, setting.device)
            crops = (centre(batch["image"], setting.size, batch.get("extent")) for batch in batches)
            recompute_batch_norm(network.backbone, crops, training_only=True)

        optimise(
            network,
            loss,
            cfg.steps,
            point["lr"],
            point["weight_decay"],
            setting.draws,
            layer_decay=cfg.layer_decay,
            watch=watch,
            settle=settle,
        )
        return network


def geometric(views: Views) -> Views:
    """The policy without what it does to colours: a few hundred labelled images are learnt faster as they are."""
    return replace(views, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0, second_blur=None, second_solarize=None)


def train_last(network: Classifier, stages: int) -> None:
    """Freeze all but the head and the last `stages` stages, in place; what is frozen is in evaluation mode.

    Autograd stops where nothing before has a gradient, so the frozen part costs its forward pass only.
    Raises UsageError where the network has fewer stages.
    """
    layer_groups = network.layer_groups()
    if stages > len(layer_groups):
        raise UsageError(
            f"probe.finetune.stages={stages}: this network has {len(layer_groups)}; expected 1 to {len(layer_groups)}, "
            f"or probe.finetune.train=all"
        )
    network.backbone.requires_grad_(False)
    for weights in layer_groups[-stages:]:
        for weight in weights:
            weight.requires_grad_(True)
    _still(network.backbone)


def _still(module: nn.Module) -> None:
    """Evaluation mode for every part of `module` with weights none of which is trained."""
    for child in module.children():
        trained = [weight.requires_grad for weight in child.parameters()]
        if trained and not any(trained):
            child.eval()
        else:
            _still(child)
