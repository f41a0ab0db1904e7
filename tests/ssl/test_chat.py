"""Chat fine-tuning: which tokens count, the loss against another implementation, and what a question changes."""

import pytest
import torch

from gssl.ssl.chat import answer_nats, answered
from gssl.vocabulary import ASSISTANT, BOS, EOS, FIRST, PAD, SYSTEM, USER

A, B, C = FIRST + 1, FIRST + 2, FIRST + 3


def test_what_the_assistant_says_counts_and_its_end_and_nothing_else():
    row = [SYSTEM, A, EOS, USER, A, B, EOS, ASSISTANT, B, C, EOS, USER, C, EOS, ASSISTANT, A, EOS, PAD]
    wanted = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0]
    assert answered(torch.tensor([row])).int().tolist() == [wanted]
    begun = torch.tensor([[A, B, EOS, ASSISTANT, C, PAD], [ASSISTANT, ASSISTANT, A, PAD, PAD, PAD]])
    assert answered(begun).int().tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]]


def by_hand(tokens: torch.Tensor) -> list[tuple[int, int]]:
    """Which places count, by a walk over each row."""
    found = []
    for i, row in enumerate(tokens.tolist()):
        speaker = None
        for t, token in enumerate(row):
            if token in (SYSTEM, USER, ASSISTANT):
                speaker = token
            elif speaker == ASSISTANT and token != PAD:
                found.append((i, t))
    return found


def test_the_loss_is_the_mean_over_what_counts(build, batch):
    """Against log-softmax and a walk, each row read by itself behind its mark of the beginning."""
    method = build("chat")
    tokens = batch(method, 4)["dialogue"]
    assert method.backbone.causal and BOS not in tokens
    each = []
    for i, t in by_hand(tokens):
        read = tokens[i : i + 1, :t] if t else tokens[i : i + 1, :0]
        logits = method.backbone.logits(method.backbone.encode(read)[:, -1])
        each.append(-logits.log_softmax(1)[0, tokens[i, t]])
    count = torch.tensor(len(each) / 4).expand(4)
    loss = method.loss({"dialogue": tokens, "per_row": count})["loss"]
    torch.testing.assert_close(loss, sum(each) / len(each))
    torch.testing.assert_close(method.update({"dialogue": tokens}, 0)["loss"], loss.detach())


@pytest.mark.long
def test_the_loss_is_that_of_transformers(build, batch):
    """Of `transformers`' loss of causal models, with −100 where trainers for chat have it."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    method = build("chat")
    tokens = batch(method, 8)["dialogue"]
    logits = method.backbone.logits(method.backbone.encode(tokens))
    labels = torch.full((8, tokens.shape[1] + 1), -100)
    for i, t in by_hand(tokens):
        labels[i, t + 1] = tokens[i, t]
    theirs = ForCausalLMLoss(logits, labels, vocab_size=logits.shape[-1])
    torch.testing.assert_close(method.update({"dialogue": tokens}, 0)["loss"], theirs.detach())


def test_a_batch_in_parts_has_the_loss_of_the_whole(build, batch):
    method = build("chat")
    tokens = batch(method, 8)["dialogue"]
    per_row = answered(tokens).sum(1).float().mean().expand(8)
    parts = [method.loss({"dialogue": tokens[i : i + 4], "per_row": per_row[:4]})["loss"] for i in (0, 4)]
    torch.testing.assert_close(sum(parts) / 2, method.loss({"dialogue": tokens, "per_row": per_row})["loss"])


def test_a_batch_without_an_answer_changes_nothing(build):
    method = build("chat", "ssl.optim.weight_decay=0")
    out = method.update({"dialogue": torch.full((2, 5), USER)}, 0)
    assert float(out["loss"]) == 0


def test_what_a_user_says_is_read_and_not_learned(build):
    """Another question changes the nats of the answer; what comes behind an answer does not."""
    method = build("chat")
    for weight in method.backbone.parameters():
        weight.data *= 10  # first weights change next to nothing
    row = [USER, A, EOS, ASSISTANT, B, EOS, USER, C, EOS]
    other = [USER, C, EOS, ASSISTANT, B, EOS, USER, A, EOS]
    tokens = torch.tensor([row, other, [*row[:6], USER, A, EOS]])
    found = answer_nats(method.backbone, tokens).detach()
    assert (found[:, [0, 1, 2, 3, 6, 7, 8]] == 0).all()
    torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(found[0, 4:6], found[1, 4:6])
