"""DINO: a student names each view as its slow average, the teacher, names the other view; the names are learnt too.

Caron, Touvron, Misra et al.: Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021,
arXiv:2104.14294; two views of equal size, no multi-crop. Values and the measured result: conf/ssl/dino.yaml.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.ema import EMA, momentum
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread


def targets(teacher: Tensor, center: Tensor, temperature: float) -> Tensor:
    """Softmax of the centred logits: `teacher` (B, K) and `center` (K,) → (B, K), rows sum to 1 (section 3.1)."""
    return F.softmax((teacher.float() - center) / temperature, dim=1)


def distillation(student: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student's softmax to `target`, averaged over the batch (eq. 2); logits, target: (B, K)."""
    return F.cross_entropy(student.float() / temperature, target)


def warmed(start: float, end: float, warmup: float, progress: float) -> float:
    """From `start` to `end` on a line over the first `warmup` of the budget, then constant."""
    return end if progress >= warmup else start + (end - start) * progress / warmup


class Prototypes(nn.Module):
    """Cosines of (B, d) with K learnt directions → (B, K): a weight-normalised layer whose lengths stay 1."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)  # of length 1: the shorter they are, the faster a step turns them
        self.frozen = False  # a function of progress, set before each update

    def forward(self, z: Tensor) -> Tensor:
        # frozen: a gradient of zero, for optimisers want one from the first step on. Weight decay still shortens the
        # weights, which does not turn them
        weight = self.weight.detach() + 0 * self.weight if self.frozen else self.weight
        return F.linear(F.normalize(z, dim=1), F.normalize(weight, dim=1))


class DINO(nn.Module):
    """Student and teacher of the same shape; the teacher is an average of the student, and what is exported."""

    needs = ("view0", "view1")
    center: Tensor

    def __init__(self, cfg: schema.DINO, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.cfg = cfg
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head], last_norm=cfg.last_norm)
        self.prototypes = Prototypes(cfg.head[-1], cfg.prototypes)
        self.teacher = EMA(self._student(), cfg.momentum)
        self.register_buffer("center", torch.zeros(cfg.prototypes))
        self.to(context.device)
        self.optimizer = context.optimizer(self._student().parameters(), cfg.optim)

    def _student(self) -> nn.Sequential:
        """What the teacher follows. Made when needed: kept as a module, it would be saved twice."""
        return nn.Sequential(self.backbone, self.head, self.prototypes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        cfg = self.cfg
        hot = warmed(cfg.teacher_start, cfg.teacher_temperature, cfg.teacher_warmup, self.optimizer.progress)
        with torch.no_grad():  # in training mode: the teacher normalises by its batch, as the student does
            named = [self.teacher(batch[view]).float() for view in self.needs]
            t0, t1 = (targets(logits, self.center, hot) for logits in named)
        s0, s1 = (self.prototypes(self.head(self.backbone(batch[view]))) for view in self.needs)
        loss = (distillation(s0, t1, cfg.temperature) + distillation(s1, t0, cfg.temperature)) / 2
        # collapse has two forms, all images on one prototype or each on all: both leave no spread between the targets
        entropy = torch.special.entr(t0).sum(1).mean() / math.log(cfg.prototypes)
        center = torch.stack(named).mean((0, 1))
        return {"loss": loss, "target_entropy": entropy, "center": center, **spread(self.gather(t0))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        self.prototypes.frozen = self.optimizer.progress < self.cfg.freeze
        out = self.optimizer.minimize(self.loss, batch)
        # averaged over micro-batches by the optimiser, so one update of the centre per step
        self.center.lerp_(out.pop("center"), 1 - self.cfg.center_momentum)
        self.teacher.update(self._student(), decay=momentum(self.cfg.momentum, self.optimizer.progress))
        return out

    def exported(self) -> nn.Module:
        """The teacher's backbone, as in the paper; in short runs kNN gave the same for both."""
        backbone: nn.Module = self.teacher.module[0]  # type: ignore[index]
        return backbone
