"""Chat fine-tuning: a causal language model of dialogues whose loss is on what the assistant says, and where it ends.

Ouyang et al.: Training language models to follow instructions with human feedback, NeurIPS 2022, arXiv:2203.02155 (its
first step, supervised fine-tuning). Values and the measured result: conf/ssl/chat.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.text import TextTransformer
from gssl.schemas import ssl as schema
from gssl.ssl.clm import next_tokens
from gssl.ssl.token_losses import per_token
from gssl.vocabulary import ASSISTANT, PAD, SYSTEM, USER


def answered(tokens: Tensor) -> Tensor:
    """bool (B, T): which of `tokens` the assistant says, the mark of its end with them; no mark of a role."""
    role = (tokens == SYSTEM) | (tokens == USER) | (tokens == ASSISTANT)
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    last = torch.where(role, place, 0).cummax(1).values  # where whoever speaks began
    return (tokens.gather(1, last) == ASSISTANT) & ~role & (tokens != PAD)


def answer_nats(network: TextTransformer, tokens: Tensor) -> Tensor:
    """Nats (B, T) of what is `answered` in `tokens` (B, T), each given all before it; 0 elsewhere."""
    return next_tokens(network, tokens) * answered(tokens)


class Chat(nn.Module):
    """The backbone, made causal; its embedding gives the scores too."""

    needs = ("dialogue",)

    def __init__(self, cfg: schema.Chat, backbone: TextTransformer, context: Context) -> None:
        super().__init__()
        self.backbone, self.mean = backbone, context.mean
        backbone.causal.fill_(True)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return per_token(answer_nats(self.backbone, batch["dialogue"]), batch["per_row"])

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        count = answered(batch["dialogue"]).sum(1).float()
        per_row = self.mean(count.mean()).clamp(min=1e-6)  # rows may all be without an answer
        return self.optimizer.minimize(self.loss, batch | {"per_row": per_row.expand(len(count))})
