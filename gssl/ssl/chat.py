"""Chat fine-tuning: a causal language model of dialogues whose loss is on what the assistant says, and where it ends.

Ouyang et al.: Training language models to follow instructions with human feedback, NeurIPS 2022, arXiv:2203.02155 (its
first step, supervised fine-tuning). Values and the measured result: conf/ssl/chat.yaml.
"""

import torch
from torch import Tensor

from gssl.nets.text import TextTransformer
from gssl.ssl.clm import CLM, next_tokens
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


class Chat(CLM):
    """See the head of this file."""

    needs = ("dialogue",)
    learned = staticmethod(answered)
