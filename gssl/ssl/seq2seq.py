"""Sequence to sequence as one language model: source, a mark, target; the loss is on the target and its end.

A decoder alone reads the source as the beginning of what it continues: Liu et al. 2018, arXiv:1801.10198; Dong et al.
2019, arXiv:1905.03197, with a kind of segment of its own for the target. Here the source is read causally, too. Values
and the measured result: conf/ssl/seq2seq.yaml.
"""

from torch import Tensor

from gssl.nets.text import TextTransformer, second
from gssl.ssl.clm import CLM, next_tokens
from gssl.vocabulary import PAD


def targets(tokens: Tensor) -> Tensor:
    """bool (B, T): which of `tokens` are of the second text of a pair, the mark of its end with them."""
    return second(tokens) & (tokens != PAD)


def target_nats(network: TextTransformer, tokens: Tensor) -> Tensor:
    """Nats (B, T) of the `targets` in `tokens` (B, T), each given all before it; 0 elsewhere."""
    return next_tokens(network, tokens) * targets(tokens)


class Seq2Seq(CLM):
    """See the head of this file."""

    needs = ("pair",)
    learned = staticmethod(targets)
