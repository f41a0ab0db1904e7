"""ssl=caption: the loss against a plain computation, marks of the end, and what an update changes."""

import pytest
import torch
import torch.nn.functional as F

from gssl.errors import UsageError
from gssl.nets.text import TextTransformer
from gssl.ssl.caption import ended
from gssl.vocabulary import EOS, FIRST, PAD


def test_a_mark_of_the_end_stands_behind_what_was_not_cut_off():
    tokens = torch.tensor([[9, 8, 0], [9, 8, 7], [9, 0, 0]])
    assert ended(tokens, 3).tolist() == [[9, 8, EOS, 0], [9, 8, 7, 0], [9, EOS, 0, 0]]
    assert ended(tokens, 4).tolist()[1] == [9, 8, 7, EOS]


def test_the_loss_is_the_cross_entropy_of_captions_behind_their_images(build, batch):
    """Token by token, from the beginning each time, of rows without padding."""
    method = build("caption", "ssl.width=8", "ssl.prefix=3", "ssl.alone=0")
    own, given = batch(method, 4), []
    method.optimizer.minimize = lambda loss, full: given.append(full) or loss(full)
    found = float(method.update(own, 0)["loss"].detach())
    total, count, decoder = 0.0, 0, method.captioner.decoder
    with torch.no_grad():
        prefix = method.captioner.prefix(method.backbone(own["crop0"]))
        for i, row in enumerate(given[0]["ended"]):
            ids = row[row != PAD]
            for t in range(len(ids)):
                scores = decoder.logits(decoder.encode(ids[None, :t], prefix=prefix[i : i + 1])[0, -1])
                total -= float(F.log_softmax(scores, 0)[ids[t]])
                count += 1
    assert found == pytest.approx(total / count, rel=1e-4)
    assert (given[0]["ended"] == EOS).sum() == 2  # captions of three tokens end, those of five may go on


def test_captions_alone_see_no_image_and_are_a_function_of_the_step(build, batch):
    method = build("caption", "ssl.width=8", "ssl.alone=0.5")
    own, given = batch(method, 12), []
    method.optimizer.minimize = lambda loss, full: given.append(full) or {}
    for step in (3, 3, 4):
        method.update(own, step)
    assert torch.equal(given[0]["shown"], given[1]["shown"]) and 0 < int(given[0]["shown"].sum()) < 12
    assert not torch.equal(given[0]["shown"], given[2]["shown"])
    with torch.no_grad():
        one = method.loss(given[0] | {"shown": torch.zeros(12, dtype=torch.bool)})["loss"]
        other = method.loss(given[0] | {"shown": torch.zeros(12, dtype=torch.bool), "crop0": 1 - own["crop0"]})["loss"]
        seen = method.loss(given[0] | {"shown": torch.ones(12, dtype=torch.bool)})["loss"]
    assert one == other and one != seen


def test_a_prefix_is_seen_by_all_tokens_and_sees_none():
    torch.manual_seed(0)
    network = TextTransformer("text_small", "none", 8, 40)
    network.causal.fill_(True)
    tokens, prefix = torch.tensor([[FIRST, 20, 30], [FIRST, 20, 0]]), torch.randn(2, 3, 8)
    made = network.encode(tokens, prefix=prefix)
    assert made.shape == (2, 4, 8) and not torch.allclose(made[:, 0], network.encode(tokens)[:, 0])
    assert torch.allclose(made[0, :3], network.encode(tokens[:1, :2], prefix=prefix[:1])[0], atol=1e-6)


def test_without_captions_there_is_nothing_to_learn_from(build):
    from gssl.config.composing import compose
    from gssl.method import Context
    from gssl.ssl.caption import Caption

    context = Context(None, torch.device("cpu"), 16, 3, 0, None)
    with pytest.raises(UsageError, match="ssl=caption: learns from images with captions; use data=imagetext"):
        Caption(compose("pretrain-ssl", ["data=imagetext", "ssl=caption"]).ssl, torch.nn.Identity(), context)
