"""FixMatch: fine-tuning that also learns from images without labels (Sohn et al. 2020, arXiv:2001.07685).

Where the network predicts the class of a weakly augmented image with confidence, this class becomes the label of a
strongly augmented copy. Network, head, optimiser and schedule are those of fine-tuning, so that both can be compared:
AdamW with a cosine down to 0 where the paper has SGD with momentum, and no running average of the weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Batches, Draws, Images, RandomViews, division
from gssl.errors import UsageError
from gssl.method import Batch
from gssl.probe.classification import Classification, Classifier, FittedFinetune
from gssl.probe.setting import Setting
from gssl.probe.training import Point, ValidationCurve, adamw, fit_best, optimise, sizes, streams
from gssl.schemas import Views, replace
from gssl.schemas import probes as schema

TAIL = 0.1  # fraction of the steps, the last ones, whose used guesses are counted


class FixMatch:
    """The probe by its configuration; the learning rate is chosen on validation."""

    def __init__(self, cfg: schema.FixMatch) -> None:
        self.cfg = cfg

    def fit(self, images: Images, setting: Setting, extra: Images | None = None) -> FittedFinetune:
        """Train a fresh network on labelled `images` (at least two) and on `setting.unlabelled`.

        The learning rate is chosen as in `Finetune.fit`, whose promises hold here too. In `chosen` stands beside it
        `used`: the mean fraction of unlabelled images whose guess was confident in the last tenth of the steps. `extra`
        images are labelled ones. Images of the validation part may be among the unlabelled ones, as in the paper: the
        network has then trained on their pixels, and never on their labels. Raises UsageError where there are no
        unlabelled images, and JobError as `Finetune.fit`.
        """
        if setting.unlabelled is None or not len(setting.unlabelled):
            raise UsageError(
                "probe.fixmatch: learns from images without labels, and there are none; "
                "set data.pretrain, or leave fixmatch out of probe.use"
            )
        unlabelled, objective = setting.unlabelled, Classification()

        def train(point: Point, images: Images, curve: ValidationCurve | None) -> tuple[Classifier, dict[str, float]]:
            return self._train(point, images, unlabelled, setting, extra, curve)

        grid = [{"lr": lr} for lr in self.cfg.lrs]
        found: FittedFinetune = fit_best("fixmatch", train, grid, images, setting, objective, self.cfg.steps)
        return found

    def _train(
        self,
        point: Point,
        images: Images,
        unlabelled: Images,
        setting: Setting,
        extra: Images | None,
        curve: ValidationCurve | None,
    ) -> tuple[Classifier, dict[str, float]]:
        cfg = self.cfg
        most = min(cfg.ratio * cfg.batch_size, len(unlabelled))
        draws = division.cut(setting.draws, [*sizes(images, extra, cfg.batch_size), most])
        network = Classification().network(setting)
        weak = RandomViews(weak_views(setting.views_cfg, cfg.weak_crop), setting.size, draws)
        strong = RandomViews(replace(setting.views_cfg, cutout=1.0, cutout_size=cfg.cutout), setting.size, draws)
        parts = streams(images, extra, cfg.batch_size, draws, setting.device)
        # Draws of its own, as in `streams`.
        others = Batches(
            unlabelled, cfg.ratio * cfg.batch_size, Draws(-2 - draws.seed, draws.rank, draws.ranks), setting.device
        )

        def feed(step: int) -> Batch:
            batches, other = [part(step) for part in parts], others(step)
            inputs = [weak(batch["image"], step, i, batch.get("extent")) for i, batch in enumerate(batches)]
            return {
                "input": torch.cat(inputs),
                "target": torch.cat([batch["label"] for batch in batches]),
                "weak": weak(other["image"], step, len(batches), other.get("extent")),
                "strong": strong(other["image"], step, len(batches) + 1, other.get("extent")),
            }

        def loss(batch: Batch) -> dict[str, Tensor]:
            inputs = [batch["input"], batch["weak"], batch["strong"]]
            # One pass, so that batch norm has the statistics of all of them.
            outputs = network(torch.cat(inputs)).float()
            labelled, guessed, taught = outputs.split([len(x) for x in inputs])
            supervised, unsupervised, used = fixmatch_loss(labelled, batch["target"], guessed, taught, cfg.threshold)
            return {"loss": supervised + cfg.weight * unsupervised, "used": used}

        task = optimise(
            network,
            loss,
            feed,
            setting,
            adamw(point["lr"], cfg.weight_decay, cfg.clip),
            cfg.steps,
            draws=draws,
            title=f"fixmatch on {len(images)} images, lr {point['lr']:g}",
            key=("fixmatch", cfg, point, images.hash, unlabelled.hash, extra.hash if extra else None),
            batch_size=sum(part.whole for part in parts) + 2 * others.whole,
            curve=curve,
            recorded="used",
            tail=max(1, round(TAIL * cfg.steps)),
        )
        return network, {"used": float(task.record.mean())}


def fixmatch_loss(
    logits_labelled: Tensor, labels: Tensor, logits_weak: Tensor, logits_strong: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(supervised, unsupervised, fraction used), each a scalar.

    logits_labelled (B, C) and labels (B,): mean cross-entropy. logits_weak and logits_strong (U, C), of the same
    images: mean over all U of the cross-entropy of the strong view to the weak one's likeliest class, counted as 0
    where that class's probability is below `threshold`. No gradient reaches `logits_weak`.
    """
    supervised = F.cross_entropy(logits_labelled, labels)
    confidence, guess = logits_weak.detach().softmax(dim=1).max(dim=1)
    used = (confidence >= threshold).to(logits_strong.dtype)
    unsupervised = (F.cross_entropy(logits_strong, guess, reduction="none") * used).mean()
    return supervised, unsupervised, used.mean()


def weak_views(cfg: Views, crop: float) -> Views:
    """Flips as `cfg` says and crops of at least `crop` of the area in its proportions; nothing else."""
    return replace(
        cfg, crop_scale=[crop, 1.0], rotate=0.0, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0, cutout=0.0
    )
