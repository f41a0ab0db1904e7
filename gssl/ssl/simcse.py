"""SimCSE: a text read twice, each time with other features dropped, must find itself among the texts of the batch.

Gao, Yao, Chen: SimCSE: simple contrastive learning of sentence embeddings, EMNLP 2021, arXiv:2104.08821. What is
dropped is drawn as all random numbers are, and not by torch. Values and the measured result: conf/ssl/simcse.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.heads import mlp
from gssl.nets.text import TextTransformer
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread


def one_of_the_batch(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of row i of z0 (B, d) naming row i of z1 by cosine similarity over `temperature`."""
    similar = F.normalize(z0.float(), dim=1) @ F.normalize(z1.float(), dim=1).t() / temperature
    return F.cross_entropy(similar, torch.arange(len(similar), device=similar.device))


class SimCSE(nn.Module):
    """Backbone and projection head; the head is dropped on export."""

    needs = ("tokens",)

    def __init__(self, cfg: schema.SimCSE, backbone: TextTransformer, context: Context) -> None:
        super().__init__()
        self.cfg, self.backbone, self.draws = cfg, backbone, context.draws
        self.gather, self.size = context.gather, context.size
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        length = batch["tokens"].shape[1] + 1
        z = [
            self.gather(self.head(self.backbone.pooled(batch["tokens"], self.factors(batch[name][:, :, :length]))))
            for name in ("kept0", "kept1")
        ]
        return {"loss": one_of_the_batch(z[0], z[1], self.cfg.temperature), **spread(z[0])}

    def factors(self, kept: Tensor) -> Tensor:
        """What features are multiplied with, from which are kept."""
        return kept.to(self.backbone.embedding.weight.dtype) / (1 - self.cfg.dropout)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        tokens, backbone = batch["tokens"], self.backbone
        shape = (len(tokens), backbone.points, self.size + 1, backbone.dim)
        for number in (0, 1):
            kept = self.draws.uniform(f"simcse/{number}", step, shape) >= self.cfg.dropout
            batch = batch | {f"kept{number}": to_device(kept, tokens.device)}
        return self.optimizer.minimize(self.loss, batch)
