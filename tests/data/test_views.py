"""Views against torchvision on fixed parameters; what random views promise: purity, range, independence."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from gssl.data import colour, resampling, views
from gssl.data.draws import Draws
from gssl.data.views import RandomViews, centre, crop_boxes, crop_flip_rotate
from gssl.errors import UsageError

OFF = {
    "crop_scale": [1.0, 1.0],
    "crop_ratio": [1.0, 1.0],
    "rotate": 0.0,
    "flip": 0.0,
    "jitter": 0.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grayscale": 0.0,
    "blur": 0.0,
    "blur_sigma": [0.1, 2.0],
    "solarize": 0.0,
    "cutout": 0.0,
    "cutout_size": 0.5,
}
CROP = {"crop_scale": [0.2, 1.0], "crop_ratio": [0.75, 1.33]}
ALL = CROP | {"flip": 0.5, "jitter": 0.8, "grayscale": 0.2, "blur": 0.5, "solarize": 0.2, "cutout": 0.3}


def config(**changes) -> SimpleNamespace:
    return SimpleNamespace(**(OFF | changes))


def photos(n: int = 8, channels: int = 3, height: int = 20, width: int = 20, seed: int = 0) -> torch.Tensor:
    """Smooth random uint8 images with edges, (n, channels, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    smooth[:, :, : height // 3, : width // 3] *= 0.4
    return (smooth * 255).round().to(torch.uint8)


def make(size: int = 20, seed: int = 0, rank: int = 0, ranks: int = 1, **changes) -> RandomViews:
    return RandomViews(config(**changes), size, Draws(seed, rank, ranks))


# ── geometry against torchvision ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [12, 20, 37])
def test_crop_equals_resized_crop(size):
    x = photos(3, height=24, width=30).float()
    boxes = [(0, 0, 24, 30), (5, 7, 9, 16), (23, 29, 1, 1)]
    flip = torch.tensor([False, True, False])
    got = crop_flip_rotate(x, torch.tensor(boxes).float(), flip, None, size)
    for i, box in enumerate(boxes):
        want = tv.resized_crop(x[i], *box, size=[size, size], antialias=False)
        want = tv.horizontal_flip(want) if flip[i] else want
        torch.testing.assert_close(got[i] / 255, want / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-170.0, -30.0, 12.5, 90.0])
def test_rotation_equals_torchvision_inside(degrees):
    x = photos(2, height=21, width=21).float()
    box = torch.tensor([[0.0, 0.0, 21.0, 21.0]]).expand(2, 4)
    got = crop_flip_rotate(x, box, torch.tensor([False, True]), torch.full((2,), degrees), 21)
    want = tv.rotate(x, degrees, interpolation=tv.InterpolationMode.BILINEAR)
    want[1] = want[1].flip(-1)
    inside = slice(5, 16)  # what no rotation carries outside
    torch.testing.assert_close(got[..., inside, inside], want[..., inside, inside], atol=0.05, rtol=0)


def test_rotation_repeats_the_border():
    white = torch.full((1, 1, 16, 16), 255.0)
    box = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    assert crop_flip_rotate(white, box, None, torch.tensor([45.0]), 16).min() > 254.9


# ── boxes ────────────────────────────────────────────────────────────────────────────────────────


def test_boxes_have_the_distribution_of_torchvision():
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    n, image = 2000, torch.zeros(3, 24, 40)
    want = torch.tensor([RandomResizedCrop.get_params(image, [0.1, 1.0], [0.75, 1.33]) for _ in range(n)]).float()
    drawer = make(crop_scale=[0.1, 1.0], crop_ratio=[0.75, 1.33])
    got = drawer._draw(n, 0, "view0", (24, 40), True)[0]["box"]
    assert (got == got.round()).all()
    assert (got[:, :2] >= 0).all()
    assert (got[:, 0] + got[:, 2] <= 24).all()
    assert (got[:, 1] + got[:, 3] <= 40).all()
    assert (got[:, 2:] >= 1).all()
    for ours, theirs in zip(got.T, want.T, strict=True):  # 5 standard errors of a difference of means
        assert abs(ours.mean() - theirs.mean()) < 5 * math.sqrt(2 / n) * theirs.std()
        assert 0.88 < ours.std() / theirs.std() < 1.12


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [((1.0, 1.0), [0, 10, 20, 20]), ((0.5, 0.5), [0, 15, 20, 10]), ((4.0, 4.0), [5, 0, 10, 40])],
)
def test_boxes_fall_back_to_the_centre(ratio, expected):
    side = torch.full((2, 6), 50.0)  # fits nowhere
    position = torch.tensor([[0.0, 0.0], [0.99, 0.99]])
    boxes = crop_boxes(side, position, ratio, torch.tensor([20, 20]), torch.tensor([40, 40]))
    assert boxes.tolist() == [expected, expected]


def test_boxes_reach_every_position_and_no_further():
    shape, position = torch.full((2, 2), 5.0), torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    boxes = crop_boxes(shape, position, (1.0, 1.0), torch.tensor([20, 20]), torch.tensor([30, 30]))
    assert boxes.tolist() == [[0, 0, 5, 5], [15, 25, 5, 5]]


# ── random views ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"flip": 0.5}, ALL, ALL | {"rotate": 20.0}])
def test_form_range_and_purity(channels, changes):
    image = photos(24, channels)
    before = image.clone()
    drawer = make(**changes)
    x = drawer(image, 3)
    assert x.shape == (24, 3, 20, 20)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.min() >= 0
    assert x.max() <= 1
    assert torch.equal(image, before)
    drawer(image, 4)  # what was drawn before must not matter
    assert torch.equal(x, drawer(image, 3))
    assert torch.equal(x, make(**changes)(image.contiguous(memory_format=torch.channels_last), 3))
    if changes:
        others = [drawer(image, 4), drawer(image, 3, view=1), make(seed=1, **changes)(image, 3)]
        assert not any(torch.equal(x, other) for other in others)
    if channels == 1:
        assert torch.equal(x[:, 0], x[:, 1])
        assert torch.equal(x[:, 0], x[:, 2])


def test_everything_off_is_the_image():
    image = photos()
    assert torch.equal(make()(image, 0), image.float() / 255)
    assert torch.equal(make()(image, 0), centre(image, 20))


def test_grey_in_three_channels_stays_grey():
    x = make(**ALL | {"jitter": 1.0})(photos(16, 1).expand(-1, 3, -1, -1), 0)
    assert (x - x.mean(1, keepdim=True)).abs().max() < 1e-5


def test_grey_on_one_channel_equals_grey_on_three():
    image = photos(16, 1)
    drawer = make(**ALL)
    torch.testing.assert_close(drawer(image, 0), drawer(image.expand(-1, 3, -1, -1), 0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("ragged", [False, True])
def test_an_image_does_not_see_its_batch(ragged):
    image = photos(8)
    extent = torch.tensor([[20, 20], [12, 20], [20, 9], [15, 16]] * 2) if ragged else None
    changes = ALL | {"rotate": 10.0}
    whole = make(**changes)(image, 5, extent=extent)
    for rank in range(2):
        rows = slice(4 * rank, 4 * rank + 4)
        part = make(rank=rank, ranks=2, **changes)(image[rows], 5, extent=extent[rows] if ragged else None)
        torch.testing.assert_close(part, whole[rows], atol=1e-6, rtol=0)
    other = image.clone()
    other[1:] = 255 - other[1:]
    torch.testing.assert_close(make(**changes)(other, 5, extent=extent)[0], whole[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rotate", [0.0, 180.0])
def test_ragged_never_samples_the_padding(rotate):
    extent = torch.tensor([[20, 33], [17, 24], [48, 9], [1, 1]] * 8)
    canvas = photos(32, height=48, width=40)
    inside = (torch.arange(48)[:, None] < extent[:, :1, None]) & (torch.arange(40) < extent[:, 1:, None])
    results = []
    for padding in (0, 255):
        image = torch.where(inside[:, None], canvas, torch.tensor(padding, dtype=torch.uint8))
        drawer = make(16, **CROP, rotate=rotate, flip=0.5)
        results.append((drawer(image, 0, extent=extent), centre(image, 16, extent)))
    for dark, bright in zip(*results, strict=True):
        torch.testing.assert_close(dark, bright, atol=1e-5, rtol=0)


def test_ragged_equals_the_images_alone():
    image, extent = photos(4, height=30, width=26), torch.tensor([[30, 26], [20, 20], [11, 25], [30, 9]])
    drawer = make(16, **CROP, flip=0.5)
    together, middle = drawer(image, 2, extent=extent), centre(image, 16, extent)
    for i, (height, width) in enumerate(extent.tolist()):
        alone = image[:, :, :height, :width]  # the same draws for row i
        torch.testing.assert_close(together[i], drawer(alone, 2)[i], atol=1e-5, rtol=0)
        assert torch.equal(middle[i], centre(alone, 16)[i])


@pytest.mark.parametrize("rotate", [0.0, 25.0])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_boxes_one_by_one_are_those_of_the_whole_canvas(rotate, mode):
    image = photos(40, height=30, width=26)
    extent = torch.tensor([[30, 26], [20, 20], [11, 25], [30, 9], [1, 1]] * 8)
    rng = np.random.default_rng(0)
    shape, position = (torch.from_numpy(rng.random((40, k)).astype(np.float32)) for k in (20, 2))
    box = crop_boxes(shape * 30, position, (0.75, 1.33), *extent.unbind(1))
    flip = torch.arange(40) % 2 > 0
    angle = torch.linspace(-rotate, rotate, 40) if rotate else None
    together = crop_flip_rotate(image.float(), box, flip, angle, 17, extent, mode)
    each = views.crop_each(image, box, flip, angle, 17, extent, mode)
    differs = (together - each).abs() > 0.01
    # a pixel that is looked at halfway between two may be either where the nearest one counts
    assert differs.float().mean() <= (0.05 if mode == "nearest" else 0)


def test_threads_change_nothing():
    image, extent = photos(64, height=30, width=26), torch.tensor([[30, 26], [20, 20], [11, 25], [30, 9]] * 16)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append((centre(image, 16, extent), make(16, **CROP)(image, 0, extent=extent)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def fraction(hits: torch.Tensor, p: float) -> None:
    """The fraction of true in `hits` is p within 5 standard deviations."""
    assert abs(hits.float().mean() - p) < 5 * math.sqrt(p * (1 - p) / hits.numel())


def test_probabilities():
    n, p = 2000, 0.3
    image = photos(1, height=8, width=8).expand(n, 3, 8, 8)
    unchanged = image[:1].float() / 255
    changes = {"flip": {}, "jitter": {}, "grayscale": {}, "blur": {"blur_sigma": [1.0, 2.0]}, "solarize": {}}
    changed = {}
    for name, more in (changes | {"cutout": {}}).items():
        x = make(8, **{name: p}, **more)(image, 0)
        changed[name] = ((x - unchanged).abs().amax((1, 2, 3)) > 1e-4).flatten()
        fraction(changed[name], p)
    for a, b in (("flip", "jitter"), ("grayscale", "blur"), ("solarize", "cutout")):
        fraction(changed[a] & changed[b], p * p)  # drawn independently
    drawer = make(8, flip=0.5)
    flipped = [
        (drawer(image, step, view) - unchanged).abs().amax((1, 2, 3)) > 1e-4 for step, view in ((0, 0), (0, 1), (1, 0))
    ]
    fraction(flipped[0] & flipped[1], 0.25)
    fraction(flipped[0] & flipped[2], 0.25)


def test_jitter_strengths():
    # On mid-grey contrast does nothing and brightness in [0.6, 1.4] is all that shows.
    image = torch.full((4000, 1, 8, 8), 100, dtype=torch.uint8)
    factor = make(8, jitter=1.0)(image, 0).mean((1, 2, 3)) * 255 / 100
    assert 0.6 <= factor.min() < 0.61
    assert 1.39 < factor.max() <= 1.4001
    assert abs(factor.mean() - 1) < 5 * 0.8 / math.sqrt(12 * 4000)


def test_rotation_angles():
    angle = make(rotate=30.0)._draw(4000, 0, "view0", (20, 20), True)[0]["angle"]
    assert -30 <= angle.min() < -29.5
    assert 29.5 < angle.max() <= 30


def test_blur_touches_only_the_drawn():
    image = photos(40)
    drawer = make(blur=0.5, blur_sigma=[0.5, 0.5])
    x, unchanged = drawer(image, 0), image.float() / 255
    blurred = colour.blur(unchanged, torch.full((40,), 0.5), 3)
    same = (x - unchanged).abs().amax((1, 2, 3)) < 1e-6
    assert 5 < same.sum() < 35
    torch.testing.assert_close(x[~same], blurred[~same], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rotate", [0.0, 20.0])
@pytest.mark.parametrize("sides", [(20, 20), (24, 40)])
def test_a_mask_gets_the_crop_and_flip_of_its_image(sides, rotate):
    """Blocks of one class, shown in grey: where a view is of one grey level, its mask has that class."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 4, (16, sides[0] // 4, sides[1] // 4), dtype=np.uint8)
    ids = torch.from_numpy(blocks.repeat(4, 1).repeat(4, 2).copy())
    drawer = make(**CROP, flip=0.5, rotate=rotate)
    drawn = drawer.draw(3, ids[:, None])
    shown, mask = drawer.apply(drawn, 80 * ids[:, None]), drawer.apply(drawn, ids, "mask")
    assert mask.shape == (16, drawer.size, drawer.size) and mask.dtype == torch.uint8
    assert set(mask.unique().tolist()) <= {0, 1, 2, 3}
    grey = shown[:, 0] * 255 / 80
    pure = F.max_pool2d(grey[:, None], 3, 1, 1) == -F.max_pool2d(-grey[:, None], 3, 1, 1)
    assert pure.float().mean() > 0.05
    torch.testing.assert_close(mask[pure[:, 0]].float(), grey[pure[:, 0]], atol=1e-4, rtol=0)


def test_everything_can_be_drawn_at_once():
    image = photos(5)
    x = make(**ALL | {"blur": 1.0, "flip": 1.0, "jitter": 1.0, "grayscale": 1.0, "solarize": 1.0, "cutout": 1.0})(
        image, 0
    )
    assert x.max() <= 0.5 + 1e-6
    assert ((x == 0.5).all(1).sum((1, 2)) >= 25).all()  # a quarter of a 10 × 10 square at the least


def test_half_precision_does_not_reach_the_pixels():
    image = photos(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, middle = make(**ALL)(image, 0), centre(image, 10)
    assert torch.equal(inside, make(**ALL)(image, 0))
    assert torch.equal(middle, centre(image, 10))


@pytest.mark.parametrize("ragged", [False, True])
def test_nothing_waits_for_the_device(ragged, monkeypatch):
    """On the meta device whatever asks for a value of a tensor fails, as it would wait on a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # does not know meta
    image = photos(8).to("meta")
    extent = torch.full((8, 2), 20).to("meta") if ragged else None
    assert make(16, **ALL | {"rotate": 10.0})(image, 0, extent=extent).shape == (8, 3, 16, 16)
    assert centre(image, 16, extent).shape == (8, 3, 16, 16)


def test_parameters_travel_as_one_tensor():
    parts = {"a": torch.rand(3, 2), "b": torch.rand(3, 1), "c": torch.rand(3, 4)}
    sent = views._send(parts, torch.device("cpu"))
    assert list(sent) == list(parts)
    assert all(torch.equal(sent[name], part) for name, part in parts.items())
    assert len({part.untyped_storage().data_ptr() for part in sent.values()}) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop_scale", [0.5, 1.2]), ("crop_scale", [0, 1]), ("crop_ratio", [2, 1]), ("crop_ratio", [1])],
)
def test_impossible_ranges_are_refused(key, value):
    with pytest.raises(UsageError, match=f"data.views.{key}"):
        make(**{key: value})


def test_blur_without_width_is_refused():
    with pytest.raises(UsageError, match="blur_sigma"):
        make(blur=0.5, blur_sigma=[0.0, 1.0])


# ── centre ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(64, 64), (61, 47), (33, 90), (20, 20), (12, 17), (20, 31)])
def test_centre_equals_torchvision(shape):
    image = photos(2, height=shape[0], width=shape[1])
    got = centre(image, 20)
    want = tv.center_crop(tv.resize(image, [20], antialias=True), [20, 20]).float() / 255
    assert torch.equal(got, want)
    assert got.is_contiguous(memory_format=torch.channels_last)
    exact = tv.center_crop(tv.resize(image.float() / 255, [20], antialias=True), [20, 20])
    torch.testing.assert_close(got, exact, atol=1.5 / 255, rtol=0)
    pillow = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in image]
    short = min(shape)
    height, width = (20 * side // short for side in shape)
    top, left = round((height - 20) / 2), round((width - 20) / 2)
    for x, p in zip(got, pillow, strict=True):
        small = p.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 20, top + 20))
        assert (x * 255 - torch.from_numpy(np.array(small)).permute(2, 0, 1)).abs().max() < 1.01


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_one_size_are_shrunk_a_few_at_a_time_as_each_alone(channels, threads):
    image = photos(2 * resampling.TASK + 3, channels, 30, 40)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = centre(image, 20)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, torch.cat([centre(one[None], 20) for one in image]))


@pytest.mark.parametrize("shape", [(64, 64), (61, 47), (12, 17)])
def test_the_centre_of_a_gpu_is_that_of_the_cpu_but_for_the_rounding(shape, monkeypatch):
    image = photos(2, height=shape[0], width=shape[1])
    extent = torch.tensor([shape, (12, 15)])
    on_cpu = centre(image, 20), centre(image, 20, extent)
    monkeypatch.setattr(resampling, "by_image", lambda image: False)
    for one, other in zip(on_cpu, (centre(image, 20), centre(image, 20, extent)), strict=True):
        torch.testing.assert_close(one, other, atol=1.01 / 255, rtol=0)


def test_centre_replicates_grey():
    x = centre(photos(2, 1, 30, 40), 20)
    assert x.shape == (2, 3, 20, 20)
    assert torch.equal(x[:, 0], x[:, 2])
