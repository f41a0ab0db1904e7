"""Fine-tuning: network and head trained on the labels; one recipe and budget for every source.

What is fine-tuned for is an objective (`gssl.probe.training.Objective`): classes, unless another one is given. It
brings the network with its head, the batches, the loss and the score; everything here is the same for all of them.

The head starts from the linear probe's solution (LP-FT, Kumar et al. 2022, arXiv:2202.10054) where `head_l2` gives a λ.
Measured on mnist5k (convnet of width 16, lr .003, 3 draws, accuracy on 1,950 and 1,500 labelled images that were not
drawn, never test images): from random weights with 10 and 100 labels per class, 150 steps of 64 images give .872 and
.907 from a head near 0; 100 steps of 32 images give .789 and .801 so, and .883 and .932 from the solution with λ = .1.
λ = 1 is worse (2 draws: .867 and .919, beside .881 and .930), for a pretrained network (SimCLR), too (.869 and .895,
beside .879 and .912).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Images, RandomViews, division
from gssl.data.transforms.spectrogram import SpectrogramViews
from gssl.errors import UsageError
from gssl.method import Batch
from gssl.nets.norms import recompute_batch_norm
from gssl.probe.adapter import add_adapters
from gssl.probe.classification import Classification, Classifier, FittedFinetune, predict_proba
from gssl.probe.setting import Setting
from gssl.probe.training import Objective, Point, ValidationCurve, adamw, fit_best, optimise, sizes, streams
from gssl.schemas import Views, replace
from gssl.schemas import probes as schema

STATISTICS_IMAGES = 2048  # images whose batch statistics the trained network carries
__all__ = ["Classifier", "Finetune", "FittedFinetune", "predict_proba"]


class Finetune:
    """The probe by its configuration: AdamW, cosine schedule, learning rate and weight decay chosen on validation."""

    def __init__(self, cfg: schema.Finetune, objective: Objective | None = None) -> None:
        self.cfg = cfg
        self.objective: Objective = objective or Classification()

    def fit(self, images: Images, setting: Setting, extra: Images | None = None) -> Any:
        """Fine-tune a fresh network on labelled `images` (at least two); of classes, a `FittedFinetune`.

        Every pair of learning rate and weight decay is tried on the first of the objective's folds and the
        best by validation score (ties: by cross-entropy) is used on all images, and validated on up to `folds`
        folds. One-shot takes the first of each.
        The result is a function of (`setting`, images, extra); torch's global generator is left as it was.
        Every batch has `extra` images in proportion; its size and the number of batches stay the same, and nothing
        is chosen on them.
        Raises JobError where no learning rate gives a finite network, and UsageError where the network has fewer
        stages than are to be trained.
        """
        cfg, objective = self.cfg, self.objective
        grid = [{"lr": lr, "weight_decay": decay} for lr in cfg.lrs for decay in cfg.weight_decays]

        def train(point: Point, images: Images, curve: ValidationCurve | None) -> tuple[Any, dict[str, float]]:
            return self._train(point, images, setting, extra, curve), {}

        return fit_best("finetune", train, grid, images, setting, objective, cfg.steps, cfg.points, cfg.folds)

    def _train(
        self, point: Point, images: Images, setting: Setting, extra: Images | None, curve: ValidationCurve | None
    ) -> Any:
        cfg, objective = self.cfg, self.objective
        network = objective.network(setting)
        if cfg.head_l2 is not None:
            objective.start_head(network, images, setting, cfg.head_l2)
        if cfg.train == "last":
            train_last(network, cfg.stages)
        elif cfg.train == "lora":
            add_adapters(network.backbone, cfg.rank, setting.draws)
        draws = division.cut(setting.draws, sizes(images, extra, cfg.batch_size))
        parts = streams(images, extra, cfg.batch_size, draws, setting.device)
        if cfg.colour:
            views = division.cut_views(setting.views, draws)
        elif isinstance(setting.views, SpectrogramViews):
            views = setting.views.placed(draws)
        else:
            views = RandomViews(geometric(setting.views_cfg), setting.size, draws)

        def feed(step: int) -> Batch:
            made = [objective.batch(part(step), views, step, i) for i, part in enumerate(parts)]
            return {key: torch.cat([batch[key] for batch in made]) for key in made[0]}

        def loss(batch: Batch) -> dict[str, Tensor]:
            return {"loss": objective.loss(network(batch["input"]).float(), batch["target"])}

        def settle() -> None:
            """Whole images are predicted, so batch statistics are of those, not of the last crops."""
            some = images.subset(np.arange(0, len(images), -(-len(images) // STATISTICS_IMAGES)))
            recompute_batch_norm(network.backbone, objective.views(some, setting), training_only=True)

        optimise(
            network,
            loss,
            feed,
            setting,
            adamw(point["lr"], point["weight_decay"], cfg.clip),
            cfg.steps,
            draws=draws,
            title=f"finetune on {len(images)} images, lr {point['lr']:g}",
            key=("finetune", type(objective).__name__, cfg, point, images.hash, extra.hash if extra else None),
            batch_size=sum(part.whole for part in parts),
            layer_decay=cfg.layer_decay,
            curve=curve,
            settle=settle,
        )
        return network


def geometric(views: Views) -> Views:
    """The policy without what it does to colours: a few hundred labelled images are learnt faster as they are."""
    return replace(views, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0, second_blur=None, second_solarize=None)


def train_last(network: Any, stages: int) -> None:
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
