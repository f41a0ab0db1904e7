"""Views of photographs that are more than twice as large: antialiased as torchvision's crops are."""

import contextlib
import math
from functools import cache
from types import SimpleNamespace

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import functional as tv

from gssl.data import resampling, views
from gssl.data.draws import Draws
from gssl.data.preprocessing import Preprocessing
from gssl.data.views import RandomViews, centre, crop_boxes, crop_each, crop_flip_rotate, crop_large

SIZE, SIDE = 224, 500
NATURAL = {"crop_scale": [0.08, 1.0], "crop_ratio": [3 / 4, 4 / 3], "flip": 0.5}
OFF = {"rotate": 0.0, "jitter": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
OFF |= {"grayscale": 0.0, "blur": 0.0, "blur_sigma": [0.1, 2.0], "solarize": 0.0, "cutout": 0.0, "cutout_size": 0.5}


@cache
def photographs() -> torch.Tensor:
    """Three photographs that scikit-learn and matplotlib bring, uint8 (3, 3, 500, 500)."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    found = [Image.fromarray(x) for x in load_sample_images().images] + [Image.open(path).convert("RGB")]
    squares = []
    for photo in found:
        scale = SIDE / min(photo.size)
        photo = photo.resize([math.ceil(scale * side) for side in photo.size], Image.Resampling.LANCZOS)
        left, top = ((side - SIDE) // 2 for side in photo.size)
        squares.append(np.array(photo.crop((left, top, left + SIDE, top + SIDE))))
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def make(size: int, **changes) -> RandomViews:
    return RandomViews(SimpleNamespace(**(OFF | NATURAL | changes)), size, Draws(0))


def on(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of a GPU runs on the CPU, too."""
    if device == "gpu":
        monkeypatch.setattr(resampling, "by_image", lambda image: False)


def torchvisions(image: torch.Tensor, box: torch.Tensor, flip: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Levels: the crops by torchvision, antialiased."""
    made = []
    for x, (top, left, height, width), mirrored in zip(image, box.int().tolist(), flip, strict=True):
        crop = tv.resized_crop(x, top, left, height, width, [size, size], antialias=True)
        made.append(tv.horizontal_flip(crop) if mirrored else crop)
    return torch.stack(made).float()


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_random_crops_of_photographs_are_torchvisions(device, ragged, monkeypatch):
    on(device, monkeypatch)
    image = photographs()[torch.arange(16) % 3]
    extent = torch.full((16, 2), SIDE) if ragged else None
    drawer = make(SIZE)
    drawn = drawer.draw(1, image, extent=extent)
    got = drawer.apply(drawn, image, extent=extent)
    box = drawer.draw(1, image).values["box"]
    want = torchvisions(image, box, drawn.values["flip"][:, 0] > 0) / 255
    error = (got - want).abs().mean((1, 2, 3))
    large = box[:, 2:].amax(1) > 2 * SIZE
    assert large.sum() == 5
    assert error.mean() < 0.01
    assert error[large].max() < 0.003  # levels are rounded


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_boxes_above_two_to_one_are_torchvisions_and_others_as_they_were(device, monkeypatch):
    on(device, monkeypatch)
    image = photographs()[:, :, :200, :300]
    box = torch.tensor([[3.0, 5.0, 196.0, 290.0], [0.0, 7.0, 128.0, 128.0], [9.0, 1.0, 40.0, 129.0]])
    flip = torch.tensor([True, False, True])
    got = crop_large(image, box, flip, None, 64, None)
    bilinear = crop_flip_rotate(image.float(), box, flip, None, 64)
    torch.testing.assert_close(got[1], bilinear[1], atol=1e-3, rtol=0)
    want = torchvisions(image, box, flip, 64)
    for i in (0, 2):
        assert (got[i] - want[i]).abs().max() < 1.01
        assert (bilinear[i] - want[i]).abs().mean() > 2


def test_images_of_twice_the_size_never_come_here(monkeypatch):
    """What is up to twice as large is bit for bit what it always was."""
    monkeypatch.setattr(views, "crop_large", None)
    image = photographs()[:, :, :128, :128]
    for extent in (None, torch.tensor([[128, 100], [90, 128], [40, 30]])):
        make(64, rotate=20.0)(image, 0, extent=extent)
    with pytest.raises(TypeError):
        make(64)(photographs()[:, :, :128, :129], 0)


def test_ragged_boxes_up_to_two_to_one_are_bit_for_bit_those_of_small_images():
    image, extent = photographs(), torch.tensor([[500, 300], [260, 500], [500, 500]])
    box = torch.tensor([[11.0, 5.0, 128.0, 90.0], [0.0, 0.0, 60.0, 128.0], [30.0, 40.0, 100.0, 70.0]])
    for angle in (None, torch.tensor([10.0, -4.0, 3.0])):
        got = crop_large(image, box, None, angle, 64, extent)
        assert torch.equal(got, crop_each(image, box, None, angle, 64, extent))


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_rotated_boxes_do_not_alias(device, monkeypatch):
    """A board of single pixels becomes grey, and a photograph nearly what its view of 8 times the size is shrunk to."""
    on(device, monkeypatch)
    line = torch.arange(300)
    board = ((line[:, None] + line) % 2 * 255).to(torch.uint8).expand(2, 3, 300, 300)
    box, angle = torch.tensor([[40.0, 30.0, 200.0, 210.0]] * 2), torch.tensor([7.0, -31.0])
    assert crop_large(board, box, None, angle, 48, None).std() < 12
    assert crop_flip_rotate(board.float(), box, None, angle, 48).std() > 40
    image, flip = photographs()[:2], torch.tensor([False, True])
    box = torch.tensor([[100.0, 80.0, 300.0, 320.0]] * 2)
    got = crop_large(image, box, flip, angle, 48, None)
    want = tv.resize(crop_flip_rotate(image.float(), box, flip, angle, 8 * 48), [48, 48], antialias=True)
    assert (got - want).abs().mean() < 4
    assert (crop_flip_rotate(image.float(), box, flip, angle, 48) - want).abs().mean() > 8


@pytest.mark.parametrize("rotate", [0.0, 20.0])
def test_a_gpu_makes_the_views_of_the_cpu(rotate, monkeypatch):
    image, extent = photographs(), torch.tensor([[500, 300], [260, 500], [500, 500]])
    drawer = make(60, rotate=rotate)
    on_cpu = [drawer(image, 0), drawer(image, 0, extent=extent)]
    on("gpu", monkeypatch)
    on_gpu = [drawer(image, 0), drawer(image, 0, extent=extent)]
    for one, other in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(one, other, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("rotate", [0.0, 20.0])
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_an_image_depends_on_its_own_extent_alone(device, rotate, monkeypatch):
    on(device, monkeypatch)
    image, extent = photographs(), torch.tensor([[200, 190], [260, 500], [150, 220]])
    drawer = make(40, rotate=rotate)
    together = drawer(image, 3, extent=extent)
    padding = torch.where(torch.arange(SIDE)[:, None] < extent[:, :1, None], image.transpose(0, 1), 255).transpose(0, 1)
    torch.testing.assert_close(drawer(padding.contiguous(), 3, extent=extent), together, atol=1e-5, rtol=0)
    alone = make(40, rotate=rotate)(image[:1, :, :200, :190], 3, extent=extent[:1])
    torch.testing.assert_close(alone[0], together[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rotate", [0.0, 10.0])
@pytest.mark.parametrize("ragged", [False, True])
def test_nothing_waits_for_the_device(ragged, rotate, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # does not know meta
    image = photographs().to("meta")
    extent = torch.full((3, 2), SIDE).to("meta") if ragged else None
    assert make(60, rotate=rotate)(image, 0, extent=extent).shape == (3, 3, 60, 60)


def test_boxes_of_many_draws_are_shrunk_in_part():
    """The tests above mean something: at 500 pixels both kinds of boxes are drawn."""
    n = 4000
    drawer = make(SIZE)
    box = drawer.draw(0, torch.empty(n, 3, SIDE, SIDE, device="meta")).values["box"]
    fraction = (box[:, 2:].amax(1) > 2 * SIZE).float().mean()
    assert 0.15 < fraction < 0.35
    assert torch.equal(box, crop_boxes(*_again(drawer, n), drawer.ratio, *(torch.full((n,), SIDE),) * 2))


def _again(drawer: RandomViews, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = drawer.draw(0, torch.empty(n, 3, SIDE, SIDE, device="meta"), extent=torch.full((n, 2), SIDE)).values
    return drawn["shape"] * SIDE, drawn["position"]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_evaluation_crops_of_photographs_are_torchvisions(device, monkeypatch):
    on(device, monkeypatch)
    image = photographs()[:, :, :420]
    want = tv.center_crop(tv.resize(image, [SIZE], antialias=True), [SIZE, SIZE]).float() / 255
    assert (centre(image, SIZE) - want).abs().max() <= 1.01 / 255
    short = Preprocessing(SIZE, "short", 0.875, "bicubic")
    want = tv.resize(image, [256], interpolation=tv.InterpolationMode.BICUBIC, antialias=True)
    assert (short(image) - tv.center_crop(want, [SIZE, SIZE]).float() / 255).abs().max() <= 1.01 / 255
