"""Language models and SimCSE: losses against other implementations, and what one update does."""

import pytest
import torch
import torch.nn.functional as F

from gssl.ssl.clm import next_tokens
from gssl.ssl.mlm import hidden, replaced
from gssl.ssl.simcse import one_of_the_batch
from gssl.ssl.token_losses import per_token
from gssl.vocabulary import EOS, FIRST, MASK, PAD, SEP


@pytest.mark.long
def test_the_causal_loss_is_that_of_transformers(build, batch):
    """Of `transformers`' loss of causal models: shifted by itself, a mean over tokens."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    method = build("clm")
    tokens = batch(method, 8)["tokens"]
    logits = method.backbone.logits(method.backbone.encode(tokens))
    labels = torch.cat([tokens.new_full((len(tokens), 1), PAD), tokens], dim=1).masked_fill_(
        torch.cat([torch.ones(len(tokens), 1, dtype=torch.bool), tokens == PAD], dim=1), -100
    )
    theirs = ForCausalLMLoss(logits, labels, vocab_size=logits.shape[-1])
    count = (tokens != PAD).sum(1).float()
    found = method.loss({"tokens": tokens, "per_row": count.mean().expand(len(count))})["loss"]
    torch.testing.assert_close(found, theirs)


@pytest.mark.long
def test_the_masked_loss_is_that_of_transformers(build, batch):
    from transformers.loss.loss_utils import ForMaskedLMLoss

    method = build("mlm")
    tokens = batch(method, 8)["tokens"]
    made = method.masked(tokens, "mlm", 0)
    logits = method.backbone.logits(method.head(method.backbone.encode(made["input"])[:, 1:]))
    theirs = ForMaskedLMLoss(logits, tokens.masked_fill(~made["hide"], -100), vocab_size=logits.shape[-1])
    torch.testing.assert_close(method.loss({"tokens": tokens} | made)["loss"], theirs)


@pytest.mark.parametrize("name", ["clm", "mlm"])
def test_a_batch_in_parts_has_the_loss_of_the_whole(name, build, batch):
    method = build(name)
    whole = batch(method, 8)
    count = (whole["tokens"] != PAD).sum(1).float()
    whole |= {"per_row": count.mean().expand(8)} if name == "clm" else method.masked(whole["tokens"], "mlm", 0)
    parts = [method.loss({key: value[i : i + 4] for key, value in whole.items()})["loss"] for i in (0, 4)]
    torch.testing.assert_close(sum(parts) / 2, method.loss(whole)["loss"])


def test_an_untrained_network_is_as_good_as_guessing(build, batch):
    method = build("clm")
    tokens = batch(method, 16)["tokens"]
    found = next_tokens(method.backbone, tokens).detach()
    assert abs(float(found[tokens != PAD].mean()) - torch.tensor(264.0).log().item()) < 0.5
    assert not found[tokens == PAD].any()


def test_what_is_hidden_and_what_stands_in_its_place():
    tokens = torch.tensor([[9, 10, 11, 12], [9, 10, PAD, PAD]])
    chance = torch.tensor([[0.1, 0.9, 0.2, 0.5], [0.8, 0.7, 0.0, 0.1]])
    hide = hidden(tokens, chance, 0.5)
    assert hide.tolist() == [[True, False, True, False], [False, True, False, False]]  # at least one, no filling
    kind = torch.tensor([[0.05, 0.0, 0.15, 0.0], [0.0, 0.9, 0.0, 0.0]])
    made = replaced(tokens, hide, kind, torch.full_like(tokens, 63), random=0.1, kept=0.1)
    assert made.tolist() == [[63, 10, 11, 12], [9, MASK, PAD, PAD]]


def test_marks_are_never_hidden():
    tokens = torch.tensor([[9, SEP, 10, EOS], [9, 10, SEP, PAD]])
    assert hidden(tokens, torch.zeros(2, 4), 1.0).tolist() == [[True, False, True, False], [True, True, False, False]]


def test_masks_are_drawn_anew_and_are_a_function_of_the_step(build, batch):
    method = build("mlm", "ssl.random=0.5")
    tokens = batch(method, 16)["tokens"]
    first, again, other = (method.masked(tokens, "mlm", step) for step in (0, 0, 1))
    assert torch.equal(first["input"], again["input"]) and not torch.equal(first["hide"], other["hide"])
    share = float(first["hide"].sum() / (tokens != PAD).sum())
    assert 0.2 < share < 0.4
    changed = first["input"][first["hide"]]
    assert (changed == MASK).any() and (changed >= FIRST).any()


def test_info_nce_by_a_loop():
    z0, z1 = (torch.randn(5, 7, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    cosine = [[float(F.cosine_similarity(a, b, dim=0)) / 0.1 for b in z1] for a in z0]
    theirs = sum(torch.tensor(row).logsumexp(0) - row[i] for i, row in enumerate(cosine)) / 5
    torch.testing.assert_close(one_of_the_batch(z0, z1, 0.1), theirs)


def test_the_two_readings_drop_other_features(build, batch):
    method = build("simcse", "ssl.dropout=0.3")
    tokens = batch(method, 8)["tokens"]
    shape = (8, method.backbone.points, 17, method.backbone.dim)
    kept = [method.draws.uniform(f"simcse/{i}", 0, shape) >= 0.3 for i in (0, 1)]
    features = [method.backbone.pooled(tokens, method.factors(k)) for k in kept]
    assert not torch.allclose(*features)
    torch.testing.assert_close(features[0], method.backbone.pooled(tokens, method.factors(kept[0])))
    whole = method.factors(torch.ones(shape, dtype=torch.bool)) * (1 - method.cfg.dropout)
    torch.testing.assert_close(method.backbone.pooled(tokens, whole), method.backbone(tokens))


@pytest.mark.parametrize("name", ["clm", "mlm"])
def test_the_loss_is_a_mean_over_the_tokens_that_are_predicted(name, build, batch):
    """Against log-softmax and a loop. Against `transformers`: the two long tests above."""
    method = build(name)
    tokens = batch(method, 4)["tokens"]
    if name == "clm":
        logits, chosen = method.backbone.logits(method.backbone.encode(tokens)[:, :-1]), tokens != PAD
        more = {"per_row": chosen.sum(1).float().mean().expand(4)}
    else:
        more = method.masked(tokens, "mlm", 0)
        chosen = more["hide"]
        logits = method.backbone.logits(method.head(method.backbone.encode(more["input"])[:, 1:]))
    each = [-logits[i, t].log_softmax(0)[tokens[i, t]] for i in range(4) for t in range(16) if chosen[i, t]]
    torch.testing.assert_close(method.loss({"tokens": tokens} | more)["loss"], sum(each) / len(each))


def test_a_mean_over_tokens():
    rows = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    assert float(per_token(rows, torch.tensor([1.5, 1.5]))["loss"]) == pytest.approx(2.0)
