"""Images with captions: the two losses against their definitions, what is true of what, and SLIP."""

import math

import pytest
import torch
import torch.nn.functional as F

from gssl.errors import UsageError
from gssl.nets.towers import BagOfWords, Towers
from gssl.ssl.captioned import dropped, names_of, true_pairs
from gssl.ssl.clip import clip_loss
from gssl.ssl.losses import nt_xent
from gssl.ssl.siglip import siglip_loss
from gssl.vocabulary import FIRST


def sides(count: int = 6, dim: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(F.normalize(torch.randn(count, dim, generator=g, dtype=torch.float64), dim=1).float() for _ in "ab")


def softmax_of(values: list[float], at: int) -> float:
    return math.exp(values[at]) / sum(map(math.exp, values))


def test_clip_is_the_mean_cross_entropy_of_rows_and_columns():
    image, text = sides()
    scale, total = 7.0, 0.0
    similar = [[scale * sum(a * b for a, b in zip(i, t, strict=True)) for t in text.tolist()] for i in image.tolist()]
    for i in range(6):
        total -= math.log(softmax_of(similar[i], i)) / 12
        total -= math.log(softmax_of([row[i] for row in similar], i)) / 12
    found = clip_loss(image, text, torch.eye(6, dtype=torch.bool), torch.tensor(scale))
    assert float(found) == pytest.approx(total, rel=1e-5)
    # as open_clip and the paper's listing have it
    logits = scale * image @ text.T
    both = F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))
    assert float(found) == pytest.approx(float(both / 2), rel=1e-5)


def test_clip_divides_the_target_among_true_captions():
    image, text = sides()
    true = torch.eye(6, dtype=torch.bool)
    true[0, 3] = true[3, 0] = true[0, 4] = True
    similar = (3.0 * image @ text.T).tolist()
    total = 0.0
    for i in range(6):
        row = [j for j in range(6) if true[i, j]]
        total -= sum(math.log(softmax_of(similar[i], j)) for j in row) / len(row) / 12
        column = [j for j in range(6) if true[j, i]]
        total -= sum(math.log(softmax_of([r[i] for r in similar], j)) for j in column) / len(column) / 12
    assert float(clip_loss(image, text, true, torch.tensor(3.0))) == pytest.approx(total, rel=1e-5)


def test_clip_of_one_point_is_the_logarithm_of_the_batch():
    same = F.normalize(torch.ones(8, 4), dim=1)
    found = clip_loss(same, same, torch.eye(8, dtype=torch.bool), torch.tensor(14.0))
    assert float(found) == pytest.approx(math.log(8), rel=1e-6)


def test_a_wrong_negative_costs_and_a_known_positive_does_not():
    """Two images with the same caption, found at once: to take one for the other's negative costs ln 2."""
    image = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    scale = torch.tensor(100.0)
    assert float(clip_loss(image, image, torch.eye(3, dtype=torch.bool), scale)) == pytest.approx(2 / 3 * math.log(2))
    share = float(clip_loss(image, image, same, scale))
    assert share == pytest.approx(2 / 3 * math.log(2))  # the entropy of the target, which nothing can go below
    moved = F.normalize(image + torch.tensor([[0.0, 0.2], [0.0, -0.2], [0.0, 0.0]]), dim=1)
    assert float(clip_loss(moved, image, same, scale)) >= share - 1e-6


def test_siglip_is_the_sum_of_binary_losses_over_the_batch():
    image, text = sides(5)
    true = torch.eye(5, dtype=torch.bool)
    true[1, 2] = True
    scale, bias, total = 10.0, -10.0, 0.0
    for i, one in enumerate(image.tolist()):
        for j, other in enumerate(text.tolist()):
            logit = scale * sum(a * b for a, b in zip(one, other, strict=True)) + bias
            sign = 1 if i == j or (i, j) == (1, 2) else -1
            total += math.log(1 + math.exp(-sign * logit)) / 5
    found = siglip_loss(image, text, true, torch.tensor(scale), torch.tensor(bias))
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_what_is_true_of_an_image_are_all_its_captions():
    a, b, c = (torch.tensor(ids) for ids in ([9, 8, 0], [8, 9, 0], [9, 8, 7]))
    names = names_of(torch.stack([a, b, c]))
    assert len(set(names.tolist())) == 3 and 0 not in names.tolist()
    assert names_of(torch.tensor([9, 8])) == names[0] and names_of(torch.zeros(3, dtype=torch.int64)) == 0
    own = torch.stack([torch.stack([a, b]), torch.stack([a, torch.zeros_like(a)]), torch.stack([c, b])])
    drawn = names_of(torch.stack([b, a, c]))
    expected = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    assert torch.equal(true_pairs(names_of(own), drawn), expected)
    grouped = true_pairs(names_of(own), drawn, torch.tensor([4, 4, 5]))
    assert torch.equal(grouped, expected | torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool))


def test_hashes_of_many_captions_do_not_meet():
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(FIRST, 2000, (20_000, 3), generator=g)
    assert len(names_of(ids).unique()) == len(ids.unique(dim=0))
    assert len(names_of(torch.cat([ids, ids.flip(1)])).unique()) == len(torch.cat([ids, ids.flip(1)]).unique(dim=0))


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_loss_is_that_of_its_parts(name, build, batch):
    method = build(name, "ssl.text_width=8", "ssl.dim=6")
    own = batch(method, 6)
    with torch.no_grad():
        image = method.towers.of_images(method.backbone(own["crop0"]))
        text = method.towers.of_texts(own["caption"])
        true = true_pairs(names_of(own["captions"]), names_of(own["caption"]))
        if name == "clip":
            expected = clip_loss(image, text, true, torch.tensor(14.2857))
        else:
            expected = siglip_loss(image, text, true, torch.tensor(10.0), torch.tensor(-10.0))
        found = method.loss(own)
    assert float(found["loss"]) == pytest.approx(float(expected), rel=1e-4)
    assert found["loss_pairs"] == found["loss"] and "loss_images" not in found


def test_slip_adds_simclr_of_the_views(build, batch):
    method = build("clip", "recipe=slip", "ssl.simclr.weight=0.5", "ssl.simclr.head=[8]")
    assert set(method.reads(method.cfg)) == {"crop0", "caption", "captions", "view0", "view1"}
    own = batch(method, 6)
    own |= {name: torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(i)) for i, name in
            enumerate(("view0", "view1"))}  # fmt: skip
    with torch.no_grad():
        found = method.loss(own)
        z = [method.head(method.backbone(own[name])) for name in ("view0", "view1")]
    alone = nt_xent(*z, method.cfg.simclr.temperature)
    assert float(found["loss_images"]) == pytest.approx(float(alone), rel=1e-4)
    assert float(found["loss"]) == pytest.approx(float(found["loss_pairs"]) + 0.5 * float(alone), rel=1e-4)


def test_an_update_moves_both_towers_and_the_scale_which_stays_below_100(build, batch):
    method = build("clip", "ssl.scale=99.9", "ssl.optim.lr=1.0")
    before = {key: value.clone() for key, value in method.towers.state_dict().items()}
    method.update(batch(method, 6), 0)
    after = method.towers.state_dict()
    still = [key for key in before if torch.equal(before[key], after[key])]
    assert not still  # what gets no gradient would stop several processes
    for step in range(1, 4):
        method.update(batch(method, 6), step)
        assert 1.0 <= float(method.towers.log_scale.detach().exp()) <= 100.001


def test_the_scale_and_the_bias_do_not_decay(build):
    method = build("siglip")
    decays = {id(p): group["weight_decay"] for group in method.optimizer.inner.param_groups for p in group["params"]}
    assert decays[id(method.towers.log_scale)] == decays[id(method.towers.bias)] == 0.0
    assert decays[id(method.towers.image_head.weight)] == 0.1


def test_dropped_tokens_are_those_with_a_low_chance_and_never_all():
    tokens = torch.tensor([[9, 8, 7, 0], [5, 6, 0, 0], [3, 0, 0, 0]])
    chance = torch.tensor([[0.1, 0.6, 0.2, 0.9], [0.7, 0.4, 0.0, 0.0], [0.1, 0.9, 0.9, 0.9]])
    assert dropped(tokens, chance, 0.5).tolist() == [[8, 0, 0, 0], [5, 0, 0, 0], [3, 0, 0, 0]]
    assert dropped(tokens, chance, 0.3).tolist() == [[8, 0, 0, 0], [5, 6, 0, 0], [3, 0, 0, 0]]
    assert torch.equal(dropped(tokens, chance, 0.0), tokens)


def test_what_a_step_drops_is_a_function_of_the_step(build, batch):
    read = []
    for drop in (0.5, 0.5, 0.0):
        method = build("clip", f"ssl.drop={drop}")
        method.optimizer.minimize = lambda loss, given: read.append(given) or {}
        method.update(batch(method, 6), 3)
    assert torch.equal(read[0]["read"], read[1]["read"]) and torch.equal(read[2]["read"], read[2]["caption"])
    assert (read[0]["read"] != 0).sum() < (read[0]["caption"] != 0).sum()
    assert torch.equal(read[0]["caption"], read[2]["caption"])  # whose names say what is true


@pytest.mark.parametrize("text", ["bow", "transformer"])
def test_vectors_have_length_one_and_padding_changes_nothing(text):
    torch.manual_seed(0)
    towers = Towers(text, 8, 6, 10, 50, 10.0, -10.0)
    ids = torch.tensor([[9, 20, 30], [11, 12, 0]])
    found = towers.of_texts(ids)
    assert torch.allclose(found.norm(dim=1), torch.ones(2)) and found.shape == (2, 6)
    assert torch.allclose(towers.of_texts(F.pad(ids, (0, 4))), found, atol=1e-6)
    assert torch.allclose(towers.of_images(torch.rand(2, 10)).norm(dim=1), torch.ones(2))
    turned = towers.of_texts(ids[:, [1, 0, 2]])[0]
    assert torch.allclose(turned, found[0], atol=1e-6) == (text == "bow")  # the order of words


def test_a_bag_of_words_is_the_mean_of_its_embeddings():
    bag = BagOfWords(50, 4)
    found = bag.pooled(torch.tensor([[9, 20, 0], [0, 0, 0]]))
    assert torch.allclose(found[0], (bag.embedding.weight[9] + bag.embedding.weight[20]) / 2) and not found[1].any()


def test_without_captions_there_is_nothing_to_learn_from():
    from dataclasses import replace

    from gssl.config.composing import compose
    from gssl.method import Context
    from gssl.ssl.clip import CLIP

    context = Context(None, torch.device("cpu"), 16, 3, 0, None)
    with pytest.raises(UsageError, match="ssl=clip: learns from images with captions; use data=imagetext"):
        CLIP(compose("pretrain-ssl", ["data=imagetext", "ssl=clip"]).ssl, torch.nn.Identity(), replace(context))
