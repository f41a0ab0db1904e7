"""SwAV: one view predicts to which of many learned prototypes the other view was assigned, evenly over the batch.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin: Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments, NeurIPS 2020, arXiv:2006.09882; two views, no multi-crop. Values and the measured result:
conf/ssl/swav.yaml.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread
from gssl.ssl.queue import Queue


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes: soft assignments of B vectors to P prototypes that use all prototypes alike (arXiv:2006.09882, eq. 3–5).

    `scores`: (B, P) products. Returns (B, P) ≥ 0: rows sum to 1; columns tend to B / P with the iterations.
    """
    # in logarithms: exp(score / ε) would overflow for a small ε
    log = scores.float() / epsilon
    for _ in range(iterations):
        log = log.log_softmax(0).log_softmax(1)
    return log.exp()


def swapped(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between one view's codes and the other's softmax(scores / τ) (eq. 2); (B, P) each. Scalar ≥ 0."""
    return -(codes * F.log_softmax(scores.float() / temperature, dim=1)).sum(1).mean()


class SwAV(nn.Module):
    """Backbone, projection head and prototypes; a queue of past projections per view joins the assignment."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.SwAV, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.temperature, self.epsilon, self.iterations = cfg.temperature, cfg.epsilon, cfg.iterations
        self.size, self.queue_from, self.freeze = cfg.queue, cfg.queue_from, cfg.freeze
        self.gather, self.processes = context.gather, context.processes
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.prototypes = nn.Linear(cfg.head[-1], cfg.prototypes, bias=False)
        shape = (cfg.queue, cfg.head[-1])
        starts = [context.draws.shared.normal(f"swav/queue{i}", 0, shape) for i in range(2)] if cfg.queue else []
        self.queues = nn.ModuleList(Queue(start) for start in starts)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch, queued: bool = False, frozen: bool = False) -> dict[str, Tensor]:
        """`queued`: assign with the queues; `frozen`: no gradient to the prototypes."""
        weight = self.prototypes.weight
        # zero instead of none: optimisers want a gradient from the first step on
        prototypes = weight.detach() + 0 * weight if frozen else weight
        z = [self.gather(self.head(self.backbone(batch[name]))) for name in self.needs]
        z = [F.normalize(each.float(), dim=1) for each in z]
        scores = [each @ prototypes.T for each in z]
        with torch.no_grad():
            past = [queue(prototypes) for queue in self.queues] if queued else [s[:0] for s in scores]
            both = [torch.cat([mine, old]) for mine, old in zip(scores, past, strict=True)]
            codes = [sinkhorn(s, self.epsilon, self.iterations)[: len(z[0])] for s in both]
            mean = F.softmax(scores[0].float() / self.temperature, dim=1).mean(0)
            used = torch.special.entr(mean).sum().exp() / len(mean)
        loss = (swapped(scores[0], codes[1], self.temperature) + swapped(scores[1], codes[0], self.temperature)) / 2
        for queue, each in zip(self.queues, z, strict=False):  # there may be none
            assert isinstance(queue, Queue)
            queue.push(each)
        # used: the fraction of the prototypes among which predictions spread
        return {"loss": loss, "used": used, **spread(z[0])}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        weight = self.prototypes.weight.data
        weight.copy_(F.normalize(weight, dim=1))
        kept, frozen = weight.clone(), self.optimizer.progress < self.freeze
        full = (
            step * len(batch["view0"]) * self.processes >= self.size
        )  # a function of the step: reading a counter would wait
        queued = bool(self.queues) and full and self.optimizer.progress >= self.queue_from
        out = self.optimizer.minimize(partial(self.loss, queued=queued, frozen=frozen), batch)
        if frozen:
            weight.copy_(kept)  # weight decay moves them without a gradient
        return out
