"""Turned by what the label says, and nothing else to be known from."""

import math
from types import SimpleNamespace

import pytest
import torch

from gssl.ssl.rotation import rotated


def given(method, images: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
    """The batch that `update` hands on to the optimiser."""
    caught: dict[str, torch.Tensor] = {}
    real = method.optimizer
    method.optimizer = SimpleNamespace(minimize=lambda loss, batch: caught.update(batch) or {})
    method.update({"real": images}, step)
    method.optimizer = real
    return caught


def test_quarter_turns_go_counter_clockwise_and_back():
    images = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    turns = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    out = rotated(images, turns)
    for image, turn, found in zip(images, turns.tolist(), out, strict=True):
        assert torch.equal(found, torch.rot90(image, turn, (1, 2)))
    assert torch.equal(rotated(out, -turns % 4), images)
    corner = torch.zeros(1, 3, 5, 5)
    corner[..., 0, -1] = 1  # the upper right corner comes to the upper left
    assert rotated(corner, torch.tensor([1]))[0, 0, 0, 0] == 1


@pytest.mark.parametrize("copies", [1, 3, 4])
def test_the_backbone_sees_what_the_labels_say(copies, build, batch):
    method = build("rotation", f"ssl.copies={copies}")
    images = batch(method, 200)["real"]
    handed = given(method, images, 3)
    turns = handed["turns"]
    assert turns.shape == (200, copies) and all(len(set(row)) == copies for row in turns.tolist())
    fraction = turns.flatten().bincount(minlength=4) / turns.numel()
    assert float((fraction - 0.25).abs().max()) < 0.1
    assert torch.equal(turns, given(method, images, 3)["turns"])
    if copies < 4:
        assert not torch.equal(turns, given(method, images, 4)["turns"])
    seen = []
    method.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method.loss(handed)
    assert len(seen) == 1
    for i, (row, views) in enumerate(zip(turns.tolist(), seen[0].unflatten(0, (200, copies)), strict=True)):
        for turn, view in zip(row, views, strict=True):
            assert torch.equal(torch.rot90(view, -turn, (1, 2)), images[i])


def test_learns_what_is_up_and_nothing_from_noise(build):
    g = torch.Generator().manual_seed(0)
    accuracy = {}
    for kind, ramp in (("noise", 0.0), ("lit from above", 0.3)):
        method, found = build("rotation"), []
        for step in range(25):
            images = torch.rand(32, 3, 16, 16, generator=g) * (1 - ramp)
            images[:, :, :8] += ramp
            found.append(method.update({"real": images}, step)["accuracy"])
        accuracy[kind] = float(torch.stack(found[5:]).mean())
    assert abs(accuracy["noise"] - 0.25) < 0.04
    assert accuracy["lit from above"] > 0.8


def test_an_image_of_one_colour_tells_nothing(build, batch):
    method = build("rotation")
    for step in range(5):
        method.update(batch(method, 12, seed=step), step)
    images = torch.rand(12, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, 16, 16)
    out = method.loss(given(method, images, 0))
    # the same four logits for all four answers: their mean cross-entropy cannot fall below chance's
    assert float(out["loss"].detach()) > math.log(4) - 1e-5
    assert abs(float(out["accuracy"]) - 0.25) < 1e-6
