"""Sequence to sequence: which tokens count, the loss against other implementations, and that the source is read."""

import pytest
import torch

from gssl.ssl.seq2seq import target_nats, targets
from gssl.vocabulary import EOS, FIRST, PAD, SEP

A, B, C = FIRST + 1, FIRST + 2, FIRST + 3


def test_the_target_counts_and_its_end_and_nothing_else():
    tokens = torch.tensor([[A, B, SEP, B, C, EOS, PAD], [A, SEP, B, C, A, B, C], [A, B, C, A, B, C, PAD]])
    wanted = [[0, 0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1], [0] * 7]
    assert targets(tokens).int().tolist() == wanted


def by_hand(tokens: torch.Tensor) -> list[tuple[int, int]]:
    """Which places count, by a walk over each row."""
    found = []
    for i, row in enumerate(tokens.tolist()):
        behind = False
        for t, token in enumerate(row):
            if behind and token != PAD:
                found.append((i, t))
            behind = behind or token == SEP
    return found


def test_the_loss_is_the_mean_over_targets(build, batch):
    """Against log-softmax and a walk, each row read only as far as the token before."""
    method = build("seq2seq")
    tokens = batch(method, 4)["pair"]
    assert method.backbone.causal and (tokens == EOS).any()
    each = []
    for i, t in by_hand(tokens):
        logits = method.backbone.logits(method.backbone.encode(tokens[i : i + 1, :t])[:, -1])
        each.append(-logits.log_softmax(1)[0, tokens[i, t]])
    loss = method.loss({"pair": tokens, "per_row": torch.tensor(len(each) / 4).expand(4)})["loss"]
    torch.testing.assert_close(loss, sum(each) / len(each))
    torch.testing.assert_close(method.update({"pair": tokens}, 0)["loss"], loss.detach())


@pytest.mark.long
def test_the_loss_is_that_of_transformers(build, batch):
    """Of `transformers`' loss of causal models, with −100 on the source."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    method = build("seq2seq")
    tokens = batch(method, 8)["pair"]
    logits = method.backbone.logits(method.backbone.encode(tokens))
    labels = torch.full((8, tokens.shape[1] + 1), -100)
    for i, t in by_hand(tokens):
        labels[i, t + 1] = tokens[i, t]
    theirs = ForCausalLMLoss(logits, labels, vocab_size=logits.shape[-1])
    torch.testing.assert_close(method.update({"pair": tokens}, 0)["loss"], theirs.detach())


def test_a_batch_in_parts_has_the_loss_of_the_whole(build, batch):
    method = build("seq2seq")
    tokens = batch(method, 8)["pair"]
    per_row = targets(tokens).sum(1).float().mean().expand(8)
    parts = [method.loss({"pair": tokens[i : i + 4], "per_row": per_row[:4]})["loss"] for i in (0, 4)]
    torch.testing.assert_close(sum(parts) / 2, method.loss({"pair": tokens, "per_row": per_row})["loss"])


def test_the_source_is_read_and_not_learned(build):
    method = build("seq2seq")
    for weight in method.backbone.parameters():
        weight.data *= 10  # first weights change next to nothing
    tokens = torch.tensor([[A, B, SEP, C, EOS], [C, A, SEP, C, EOS]])
    found = target_nats(method.backbone, tokens).detach()
    assert (found[:, :3] == 0).all() and (found[:, 3:] > 0).all()
    assert not torch.allclose(found[0, 3:], found[1, 3:])
