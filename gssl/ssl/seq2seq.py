"""Sequence to sequence as one language model: source, a mark, target; the loss is on the target and its end.

A decoder alone reads the source as the beginning of what it continues: Liu et al. 2018, arXiv:1801.10198; Dong et al.
2019, arXiv:1905.03197, with a kind of segment of its own for the target. Here the source is read causally, too. Values
and the measured result: conf/ssl/seq2seq.yaml.
"""

from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.text import TextTransformer, second
from gssl.schemas import ssl as schema
from gssl.ssl.clm import next_tokens
from gssl.ssl.token_losses import per_token
from gssl.vocabulary import PAD


def targets(tokens: Tensor) -> Tensor:
    """bool (B, T): which of `tokens` are of the second text of a pair, the mark of its end with them."""
    return second(tokens) & (tokens != PAD)


def target_nats(network: TextTransformer, tokens: Tensor) -> Tensor:
    """Nats (B, T) of the `targets` in `tokens` (B, T), each given all before it; 0 elsewhere."""
    return next_tokens(network, tokens) * targets(tokens)


class Seq2Seq(nn.Module):
    """The backbone, made causal; its embedding gives the scores too."""

    needs = ("pair",)

    def __init__(self, cfg: schema.Seq2Seq, backbone: TextTransformer, context: Context) -> None:
        super().__init__()
        self.backbone, self.mean = backbone, context.mean
        backbone.causal.fill_(True)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return per_token(target_nats(self.backbone, batch["pair"]), batch["per_row"])

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        count = targets(batch["pair"]).sum(1).float()
        return self.optimizer.minimize(self.loss, batch | {"per_row": self.mean(count.mean()).expand(len(count))})
