"""The permutations, and whether the tiles were shuffled as the label says."""

import math
from types import SimpleNamespace

import pytest
import torch

from gssl.errors import UsageError
from gssl.ssl.jigsaw import permutations

EXACT = ("ssl.tiles.gap=0", "ssl.tiles.grey=0")


def given(method, images: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
    """The batch that `update` hands on to the optimiser."""
    caught: dict[str, torch.Tensor] = {}
    real = method.optimizer
    method.optimizer = SimpleNamespace(minimize=lambda loss, batch: caught.update(batch) or {})
    method.update({"real": images}, step)
    method.optimizer = real
    return caught


@pytest.mark.parametrize("grid, count, distance", [(2, 4, 4), (2, 12, 3), (3, 9, 9), (3, 64, 8), (3, 72, 8)])
def test_permutations_are_as_far_apart_as_can_be(grid, count, distance):
    n = grid * grid
    found = permutations(grid, count)
    assert found.shape == (count, n) and (found.sort(1).values == torch.arange(n)).all()
    hamming = (found[:, None] != found[None]).sum(2)
    apart = hamming[~torch.eye(count, dtype=torch.bool)]
    assert int(apart.min()) == distance
    assert torch.equal(found[0], torch.arange(n))
    if count % n == 0:  # every tile is in every place equally often
        assert all((found[:, place].bincount(minlength=n) == count // n).all() for place in range(n))
    torch.manual_seed(1)
    assert torch.equal(found, permutations(grid, count))


def test_more_permutations_than_there_are_far_apart_are_refused(build):
    with pytest.raises(UsageError, match="12"):
        build("jigsaw", "ssl.grid=2", "ssl.permutations=13")


@pytest.mark.parametrize("grid, size", [(3, 24), (2, 16)])
def test_tiles_put_back_by_the_label_are_the_image(grid, size, build, batch):
    method = build("jigsaw", f"ssl.grid={grid}", "ssl.permutations=12", *EXACT, size=size)
    images = batch(method, 150, size)["real"]
    handed = given(method, images, 2)
    assert set(handed["order"].tolist()) == set(range(12))
    seen = []
    method.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method.loss(handed)
    assert len(seen) == 1
    side = size // grid
    for image, order, tiles in zip(images, handed["order"], seen[0].unflatten(0, (150, grid**2)), strict=True):
        whole = torch.full_like(image, math.nan)
        for cell, tile in zip(method.orders[order].tolist(), tiles, strict=True):
            top, left = cell // grid * side, cell % grid * side
            whole[:, top : top + side, left : left + side] = tile
        assert torch.equal(whole, image)


def test_the_head_reads_the_tiles_in_the_order_in_which_they_were_shown(build, batch):
    method = build("jigsaw", "ssl.head=[]")
    handed = given(method, batch(method, 6)["real"], 0)
    features = []
    method.backbone.register_forward_hook(lambda module, args, out: features.append(out))
    logits = method.logits(handed)
    linear = method.head[0]
    by_hand = linear.bias + sum(
        features[0][i::9] @ linear.weight[:, i * method.backbone.dim : (i + 1) * method.backbone.dim].T
        for i in range(9)
    )
    torch.testing.assert_close(logits, by_hand)


@pytest.mark.long
def test_learns_where_light_comes_from_and_nothing_from_noise(build):
    g = torch.Generator().manual_seed(0)
    light = torch.arange(9).view(3, 3).repeat_interleave(5, 0).repeat_interleave(5, 1) / 12
    accuracy = {}
    for kind, ramp in (("noise", 0.0), ("lit", 1.0)):
        method, found = build("jigsaw", "ssl.permutations=9", size=15), []
        for step in range(25):
            images = 0.25 * torch.rand(32, 3, 15, 15, generator=g) + ramp * light
            found.append(method.update({"real": images}, step)["accuracy"])
        accuracy[kind] = float(torch.stack(found[10:]).mean())
    assert abs(accuracy["noise"] - 1 / 9) < 0.05
    assert accuracy["lit"] > 0.8


def test_an_image_of_one_colour_tells_nothing(build, batch):
    method = build("jigsaw", "ssl.permutations=9", "ssl.tiles.grey=0")
    for step in range(5):
        method.update(batch(method, 12, seed=step), step)
    images = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, 16, 16)
    images = images.repeat_interleave(9, 0)
    handed = given(method, images, 0) | {"order": torch.arange(9).repeat(4)}
    out = method.loss(handed)
    # the same logits for all nine answers: their mean cross-entropy cannot fall below chance's
    assert float(out["loss"].detach()) > math.log(9) - 1e-5
    assert abs(float(out["accuracy"]) - 1 / 9) < 1e-6


@pytest.mark.parametrize("size", [16, 28])
def test_a_vit_gets_whole_patches(size, build, batch):
    method = build("jigsaw", "backbone=vit_micro", "backbone.width=24", size=size)
    assert method.tiles.seen % method.backbone.patch == 0
    assert torch.isfinite(method.update(batch(method, 4, size), 0)["loss"])
