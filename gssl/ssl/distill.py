"""Distillation: the backbone gives each view the features that a trained network, the teacher, gives the same view.

`kl` compares similarities: features of earlier images stand in a queue, the teacher's softmax over its cosines with
them is a soft label of the view, and the backbone must predict it; the queue is a classifier that needs no labels.
The loss is Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531, section 2; the
same view for both is Beyer, Zhai et al.: Knowledge Distillation: A Good Teacher Is Patient and Consistent, CVPR 2022,
arXiv:2106.05237; similarities to a queue in place of classes are Fang et al.: SEED, ICLR 2021, arXiv:2101.04731.
`cosine` asks for the features themselves. Values and the measured result: conf/ssl/distill.yaml.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import negative_cosine, spread
from gssl.ssl.queue import Queue


def pseudo_classes(student: Tensor, teacher: Tensor, keys: Tensor, student_t: float, teacher_t: float) -> Tensor:
    """KL(p ‖ q), averaged over the batch: p and q are softmaxes of the cosines with `keys`, of teacher and student.

    `student`, `teacher`: (B, d), of any length; `keys`: (K, d) of unit length; `student_t`, `teacher_t`: temperatures.
    Scalar ≥ 0, and 0 where the two agree. No gradient flows into the teacher's features.
    """
    logits = F.normalize(student.float(), dim=1) @ keys.T / student_t
    wanted = F.normalize(teacher.detach().float(), dim=1) @ keys.T / teacher_t
    return F.kl_div(logits.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 − cos, averaged over the batch; (B, d) each, of any length → in [0, 2]."""
    return 1 + negative_cosine(student, teacher.detach())


class Distill(nn.Module):
    """Backbone and a head to the teacher's dimension, which is dropped on export; the teacher is never trained."""

    needs: tuple[str, ...] = ("view0",)

    def __init__(self, cfg: schema.Distill, backbone: Backbone, context: Context) -> None:
        super().__init__()
        assert context.teacher is not None  # found by `ssl.teacher`
        self.loss_name, self.needs = cfg.loss, self.reads(cfg)
        self.temperatures = cfg.temperature, cfg.teacher_temperature
        teacher: Any = context.teacher
        # in a tuple: what is no submodule is neither saved nor put into training mode
        self.teachers: tuple[Any, ...] = (teacher,)
        dim: int = teacher.dim
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head, dim])
        if cfg.loss == "kl":
            # random directions until features of images have taken their places
            self.queue = Queue(context.draws.shared.normal("distill/queue", 0, (cfg.queue, dim)))
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    @staticmethod
    def reads(cfg: schema.Distill) -> tuple[str, ...]:
        """One view, with or without changed colours."""
        return ("view0",) if cfg.colours else ("crop0",)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        images = batch[self.needs[0]]
        with torch.no_grad():
            wanted = self.teachers[0](images).float()
        z = self.head(self.backbone(images))
        agreement = F.cosine_similarity(z.detach().float(), wanted, dim=1).mean()
        if self.loss_name == "cosine":
            return {"loss": cosine(z, wanted), "teacher_cosine": agreement, **spread(self.gather(z))}
        found = pseudo_classes(z, wanted, self.queue.keys.clone(), *self.temperatures)
        self.queue.push(self.gather(wanted))  # now, so that no image is a class of its own
        return {"loss": found, "teacher_cosine": agreement, **spread(self.gather(z))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
