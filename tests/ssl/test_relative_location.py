"""Whether the neighbour lay where the label says, and nothing else to be known from."""

import math
from types import SimpleNamespace

import pytest
import torch

from gssl.ssl.relative_location import cells

#         the eight sides in the order of their numbers, as steps down and right
AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def given(method, images: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
    """The batch that `update` hands on to the optimiser."""
    caught: dict[str, torch.Tensor] = {}
    real = method.optimizer
    method.optimizer = SimpleNamespace(minimize=lambda loss, batch: caught.update(batch) or {})
    method.update({"real": images}, step)
    method.optimizer = real
    return caught


def test_cells_are_the_centre_and_its_neighbours():
    found = cells(torch.arange(8).view(1, 8))[0].tolist()
    assert found[0] == 4
    assert [(cell // 3 - 1, cell % 3 - 1) for cell in found[1:]] == AROUND


@pytest.mark.parametrize("pairs", [1, 3, 8])
def test_the_second_tile_lies_where_the_label_says(pairs, build):
    method = build("relative_location", f"ssl.pairs={pairs}", "ssl.tiles.grey=0", size=32)
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    images = torch.stack([row, column, row]).float().div(32).expand(100, -1, -1, -1)
    handed = given(method, images, 1)
    sides = handed["sides"]
    assert sides.shape == (100, pairs) and all(len(set(r)) == pairs for r in sides.tolist())
    assert set(sides.flatten().tolist()) == set(range(8))
    assert torch.equal(sides, given(method, images, 1)["sides"])
    assert not torch.equal(sides, given(method, images, 2)["sides"])
    seen, features, read = [], [], []
    method.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method.backbone.register_forward_hook(lambda module, args, out: features.append(out))
    method.head.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    method.loss(handed)
    middle = seen[0].mean((2, 3))[:, :2].unflatten(0, (100, 1 + pairs)) * 32
    step = ((middle[:, 1:] - middle[:, :1]) / 10).round().long()  # cells of 10 px, tiles of 8 in them
    assert step.tolist() == [[list(AROUND[side]) for side in r] for r in sides.tolist()]
    # the head reads the centre first, then the neighbour
    own = features[0].unflatten(0, (100, 1 + pairs))
    wanted = torch.cat([own[:, :1].expand(-1, pairs, -1), own[:, 1:]], dim=2).flatten(0, 1)
    assert torch.equal(read[0], wanted)


@pytest.mark.slow
def test_learns_where_light_comes_from_and_nothing_from_noise(build):
    g = torch.Generator().manual_seed(0)
    light = torch.arange(9).view(3, 3).repeat_interleave(5, 0).repeat_interleave(5, 1) / 12
    accuracy = {}
    for kind, ramp in (("noise", 0.0), ("lit", 1.0)):
        method, found = build("relative_location", size=15), []
        for step in range(25):
            images = 0.25 * torch.rand(32, 3, 15, 15, generator=g) + ramp * light
            found.append(method.update({"real": images}, step)["accuracy"])
        accuracy[kind] = float(torch.stack(found[10:]).mean())
    assert abs(accuracy["noise"] - 1 / 8) < 0.03
    assert accuracy["lit"] > 0.6


def test_an_image_of_one_colour_tells_nothing(build, batch):
    method = build("relative_location", "ssl.tiles.grey=0", "ssl.pairs=8")
    for step in range(5):
        method.update(batch(method, 12, seed=step), step)
    images = torch.rand(12, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, 16, 16)
    out = method.loss(given(method, images, 0))
    # the same logits for all eight answers: their mean cross-entropy cannot fall below chance's
    assert float(out["loss"].detach()) > math.log(8) - 1e-5
    assert abs(float(out["accuracy"]) - 1 / 8) < 1e-6


def test_a_vit_gets_whole_patches(build, batch):
    method = build("relative_location", "backbone=vit_micro", "backbone.width=24", size=28)
    assert method.tiles.seen % method.backbone.patch == 0
    assert torch.isfinite(method.update(batch(method, 4, 28), 0)["loss"])
