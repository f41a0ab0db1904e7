"""Batches of different sizes: what torch computes from them is of the canvas, and the canvas is nowhere kept."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from gssl.data.ahead import Buffers
from gssl.data.draws import Draws
from gssl.data.ragged import Ragged
from gssl.data.views import RandomViews, centre

SIDES = [(70, 90), (33, 120), (120, 33), (64, 64), (51, 77)]
OFF = {"rotate": 0.0, "jitter": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
OFF |= {"grayscale": 0.0, "blur": 0.0, "blur_sigma": [0.1, 2.0], "solarize": 0.0, "cutout": 0.0, "cutout_size": 0.5}


def views(**changes: object) -> SimpleNamespace:
    crops = {"crop_scale": [0.08, 1.0], "crop_ratio": [3 / 4, 4 / 3], "flip": 0.0}
    return SimpleNamespace(**(OFF | crops | changes))


def batch(sides: list[tuple[int, int]] = SIDES, channels: int = 3) -> tuple[Ragged, Tensor, Tensor]:
    """Images, their canvas made by hand, and their extent."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, channels), dtype=np.uint8) for h, w in sides]
    for image in images:
        image.flags.writeable = False  # as those of the store
    canvas = torch.zeros(len(sides), *np.max(sides, axis=0).tolist(), channels, dtype=torch.uint8)
    for place, image in zip(canvas, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = torch.tensor(image)
    return Ragged(images, channels), canvas.permute(0, 3, 1, 2), torch.tensor(sides)


def test_operations_are_those_of_the_canvas_and_give_tensors() -> None:
    ragged, canvas, _ = batch()
    assert (ragged.shape, ragged.dtype, ragged.stride()) == (canvas.shape, torch.uint8, canvas.stride())
    for made in (ragged.clone(), ragged.to("cpu", copy=True), ragged.padded(), ragged.permute(0, 2, 3, 1), ragged[1:3]):
        assert type(made) is Tensor
    assert torch.equal(ragged, canvas) and torch.equal(ragged.float() + 1, canvas.float() + 1)
    assert torch.equal(torch.stack([x.sum() for x in ragged]), torch.stack([x.sum() for x in canvas]))
    assert torch.equal(torch.cat([ragged, canvas]), torch.cat([canvas, canvas]))
    assert torch.equal(Buffers(pinned=False).fill({"image": ragged})["image"], canvas)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["crops", "rotated", "whole"])
@pytest.mark.parametrize("size", [16, 48])
def test_views_are_those_of_the_canvas(policy: str, size: int, channels: int) -> None:
    ragged, canvas, extent = batch(channels=channels)
    changes = {"crops": {"flip": 0.5}, "rotated": {"rotate": 30.0}, "whole": {"crop_scale": [1.0, 1.0]}}[policy]
    make = RandomViews(views(**changes), size, Draws(3))
    assert torch.equal(make(ragged, 5, 0, extent), make(canvas, 5, 0, extent))
    assert torch.equal(centre(ragged, size, extent), centre(canvas, size, extent))


def test_grey_images_among_colours_are_replicated() -> None:
    ragged, canvas, extent = batch()
    mixed = Ragged([ragged.images[0][:, :, :1], *ragged.images[1:]], 3)
    assert torch.equal(mixed.padded()[0], canvas[0, :1].expand(3, -1, -1))
    assert torch.equal(centre(mixed, 16, extent), centre(mixed.padded(), 16, extent))


def test_views_of_photographs_take_no_canvas() -> None:
    """32 photographs whose canvas is three times their pixels: NumPy's memory is that of the boxes and the views."""
    ragged, canvas, extent = batch([(500, 160), (160, 500)] * 16)
    pixels = sum(image.nbytes for image in ragged.images)
    assert canvas.nbytes > 3 * pixels
    make = RandomViews(views(), 32, Draws(0))
    make(ragged, 0, 0, extent)  # what is imported or cached
    tracemalloc.start()
    try:
        make(ragged, 1, 0, extent)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 0.5 * pixels
