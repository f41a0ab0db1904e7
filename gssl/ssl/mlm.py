"""Masked language model: hidden tokens are predicted from those on both sides (BERT).

Devlin, Chang, Lee, Toutanova: BERT, NAACL 2019, arXiv:1810.04805. Scores are computed for hidden tokens alone, as in
Geiping, Goldstein 2022, arXiv:2212.14034. Values and the measured result: conf/ssl/mlm.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.text import TextTransformer
from gssl.schemas import ssl as schema
from gssl.ssl.token_losses import nats, per_token
from gssl.vocabulary import FIRST, MASK, PAD


def hidden(tokens: Tensor, chance: Tensor, ratio: float) -> Tensor:
    """bool (B, T): of each row's tokens the fraction `ratio` with the least `chance` in [0, 1), at least one. Marks of
    who speaks, between texts and of ends are not hidden."""
    there = tokens >= FIRST
    count = (ratio * there.sum(1, keepdim=True)).round().clamp(min=1)
    rank = chance.masked_fill(~there, 2.0).argsort(1).argsort(1)
    return (rank < count) & there


def replaced(tokens: Tensor, hide: Tensor, kind: Tensor, other: Tensor, random: float, kept: float) -> Tensor:
    """`tokens` (B, T), of which those to `hide` are a mask, `other` tokens or unchanged: by `kind` in [0, 1) the first
    `random` of them are others and the next `kept` stay."""
    made = torch.where(kind < random, other, torch.where(kind < random + kept, tokens, torch.full_like(tokens, MASK)))
    return torch.where(hide, made, tokens)


class MLM(nn.Module):
    """The backbone and a layer before its embedding gives the scores; the layer is dropped on export."""

    needs = ("tokens",)

    def __init__(self, cfg: schema.MLM, backbone: TextTransformer, context: Context) -> None:
        super().__init__()
        self.cfg, self.backbone, self.draws = cfg, backbone, context.draws
        self.mean, self.size = context.mean, context.size
        backbone.causal.fill_(False)
        self.head = nn.Sequential(
            nn.Linear(backbone.dim, backbone.dim, bias=False), nn.GELU(), nn.RMSNorm(backbone.dim)
        )
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        hide, tokens = batch["hide"], batch["tokens"]
        x = self.backbone.encode(batch["input"])[:, 1:]
        # as many places in each row as any can hide, so that no size depends on what was drawn
        most = int(self.cfg.mask * tokens.shape[1]) + 1
        places = torch.argsort(hide.to(torch.uint8), dim=1, descending=True, stable=True)[:, :most]
        x = x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))
        true = tokens.gather(1, places).masked_fill(~hide.gather(1, places), PAD)
        return per_token(nats(self.backbone.logits(self.head(x)), true), batch["per_row"])

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch | self.masked(batch["tokens"], "mlm", step))

    def masked(self, tokens: Tensor, purpose: str, step: int) -> Batch:
        """What is read in place of `tokens`, which of them are to be predicted, and how many per row."""
        shape, device = (len(tokens), self.size), tokens.device  # a number's place is the same whatever is longest
        width = tokens.shape[1]
        chance, kind = (to_device(self.draws.uniform(f"{purpose}/{name}", step, shape)[:, :width].contiguous(), device)
                        for name in ("hide", "kind"))  # fmt: skip
        other = self.draws.integers(f"{purpose}/other", step, shape, self.backbone.vocab - FIRST)[:, :width] + FIRST
        hide = hidden(tokens, chance, self.cfg.mask)
        read = replaced(tokens, hide, kind, to_device(other.contiguous(), device), self.cfg.random, self.cfg.kept)
        per_row = self.mean(hide.sum(1).float().mean()).expand(len(tokens))
        return {"input": read, "hide": hide, "per_row": per_row}
