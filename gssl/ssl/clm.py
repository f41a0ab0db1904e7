"""Causal language model: every token is predicted from those before it (GPT).

Radford, Narasimhan, Salimans, Sutskever: Improving language understanding by generative pre-training, 2018. Values and
the measured result: conf/ssl/clm.yaml.
"""

from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.text import TextTransformer
from gssl.schemas import ssl as schema
from gssl.ssl.token_losses import nats, per_token
from gssl.vocabulary import PAD


def next_tokens(network: TextTransformer, tokens: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Nats (B, T) of each of `tokens` (B, T) given those before it, and `prefix` (B, k, width) before all; 0 where
    there is none."""
    return nats(network.logits(network.encode(tokens, prefix=prefix)[:, :-1]), tokens)


class CLM(nn.Module):
    """The backbone, made causal; its embedding gives the scores too. A subclass says what it reads and learns of it."""

    needs: tuple[str, ...] = ("tokens",)

    def __init__(self, cfg: schema.Method, backbone: TextTransformer, context: Context) -> None:
        super().__init__()
        self.backbone, self.mean = backbone, context.mean
        backbone.causal.fill_(True)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    @staticmethod
    def learned(tokens: Tensor) -> Tensor:
        """bool (B, T): which of `tokens` the loss is on."""
        return tokens != PAD

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        tokens = batch[self.needs[0]]
        return per_token(next_tokens(self.backbone, tokens) * self.learned(tokens), batch["per_row"])

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        count = self.learned(batch[self.needs[0]]).sum(1).float()
        per_row = self.mean(count.mean()).clamp(min=1e-6)  # rows may all be without a token to learn
        return self.optimizer.minimize(self.loss, batch | {"per_row": per_row.expand(len(count))})
