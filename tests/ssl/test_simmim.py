"""SimMIM on a ViT and on other backbones: what is hidden, what is asked for, what the pictures show."""

import pytest
import torch
import torch.nn.functional as F

from gssl.errors import UsageError
from gssl.ssl.simmim import hidden_l1, standardised, stride

BACKBONES = {
    "vit": ["ssl.unit=4"],
    "convnet": ["backbone=convnet", "backbone.width=8"],
    "group": ["backbone=convnet", "backbone.width=8", "backbone.norm=group"],
    "none": ["backbone=convnet", "backbone.width=8", "backbone.norm=none"],
}


@pytest.mark.parametrize(("count", "size"), [(2, 4), (5, 16)])
def test_the_loss_is_torchs_l1_of_the_hidden_pixels(count, size):
    images, mask = torch.rand(count, 3, size, size), (torch.rand(count, 1, size, size) < 0.6).float()
    ours, theirs = (torch.full_like(images, 0.4).requires_grad_() for _ in range(2))
    where = mask.bool().expand_as(images)
    expected = F.l1_loss(theirs[where], images[where])
    loss = hidden_l1(ours, images, mask)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    loss.backward(), expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("size", "window"), [(8, 3), (11, 5)])
def test_pixels_are_standardised_over_the_window_around_them(size, window):
    images = torch.rand(2, 3, size, size)
    out, mean, std = standardised(images, window)
    half = window // 2
    for y, x in ((0, 0), (2, 5), (size - 1, 3), (size // 2, size // 2)):
        around = images[:, :, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].flatten(2)
        torch.testing.assert_close(mean[:, :, y, x], around.mean(2))
        torch.testing.assert_close(std[:, :, y, x], (around.var(2, correction=0) + 1e-4).sqrt())
        torch.testing.assert_close(out[:, :, y, x] * std[:, :, y, x] + around.mean(2), images[:, :, y, x])
    even = standardised(torch.full((1, 3, size, size), 0.7), window)[0]
    assert even.abs().max() < 0.01


@pytest.mark.parametrize("window", ["null", "5"])
def test_the_loss_asks_for_plain_or_standardised_pixels(window, build, batch):
    method = build("simmim", f"ssl.window={window}")
    images = batch(method)["crop0"]
    mask = method.mask("test", 0, images)
    pixels = method.pixels(mask)
    target = images if window == "null" else standardised(images, 5)[0]
    expected = hidden_l1(method.paint(images, pixels), target, pixels)
    torch.testing.assert_close(method.loss({"crop0": images, "mask": mask})["loss"], expected)
    method.paint = lambda images, mask: target  # a perfect painter, so the picture must be the original
    torch.testing.assert_close(method.reconstruct(images, 0)[1], images)


@pytest.mark.parametrize("kind", sorted(BACKBONES))
def test_hidden_pixels_do_not_reach_the_prediction_and_visible_ones_do(kind, build, batch):
    method = build("simmim", *BACKBONES[kind]).eval()
    images = batch(method)["crop0"]
    mask = method.pixels(method.mask("test", 0, images))
    noise = torch.rand(images.shape)
    with torch.no_grad():
        before = method.paint(images, mask)
        assert before.shape == images.shape
        assert torch.equal(before, method.paint(torch.where(mask.bool(), noise, images), mask))
        assert not torch.equal(before, method.paint(torch.where(mask.bool(), images, noise), mask))
    guess = torch.rand(images.shape)
    assert torch.equal(hidden_l1(guess, images, mask), hidden_l1(guess, torch.where(mask.bool(), images, noise), mask))


@pytest.mark.parametrize(
    ("size", "unit", "squares", "hidden"),
    [(16, 4, 16, 10), (28, 4, 49, 29), (28, 8, 16, 10), (32, 8, 16, 10), (64, 4, 256, 154)],
)
def test_exactly_the_share_is_hidden_in_whole_squares(build, size, unit, squares, hidden):
    method = build("simmim", f"ssl.unit={unit}", "backbone=convnet", "backbone.width=8", size=size)
    images = torch.rand(5, 3, size, size)
    mask = method.mask("test", 0, images)
    assert mask[0].numel() == squares and (mask.sum((1, 2, 3)) == hidden).all()
    pixels = method.pixels(mask)
    assert pixels.shape == (5, 1, size, size)
    assert all(
        pixels[i, 0, y, x] == mask[i, 0, y // unit, x // unit] for i in (0, 4) for y in range(size) for x in range(size)
    )
    assert not torch.equal(pixels[0], pixels[1])
    assert method.paint(images, pixels).shape == images.shape


@pytest.mark.parametrize("kind", ["vit", "convnet"])
def test_token_and_colour_are_learnt(kind, build, batch):
    method = build("simmim", *BACKBONES[kind])
    before = method.token.detach().clone()
    assert before.shape == ((24,) if kind == "vit" else (3, 1, 1))
    for step in range(2):
        method.update(batch(method), step)
    assert not torch.equal(before, method.token)


def test_a_place_of_the_map_paints_the_pixels_it_looks_at(build):
    """The upper left place of a convnet's map is the upper left of the picture, also where sides are rounded up."""
    method = build("simmim", "backbone=convnet", "backbone.width=8", "backbone.norm=none", size=28)
    assert method.stride == 8 and [stride(*x) for x in ((4, 32), (3, 17), (2, 9), (8, 8), (4, 100))] == [8, 8, 8, 1, 32]
    with torch.no_grad():
        method.head.weight.zero_(), method.head.bias.zero_()
        method.backbone.dense = lambda x: [torch.eye(16).view(1, 16, 4, 4).repeat(1, 4, 1, 1)]
        method.head.weight[:, 5] = 1.0  # the place in row 1, column 1
        painted = method.paint(torch.zeros(1, 3, 28, 28), torch.zeros(1, 1, 28, 28))
    expected = torch.zeros(1, 3, 28, 28)
    expected[:, :, 8:16, 8:16] = 1.0
    assert torch.equal(painted, expected)


@pytest.mark.parametrize("kind", ["vit", "convnet"])
@pytest.mark.parametrize("training", [True, False])
def test_the_pictures_paste_visible_pixels_and_leave_the_mode(kind, training, build, batch):
    method = build("simmim", *BACKBONES[kind]).train(training)
    images, state = batch(method)["crop0"], {k: v.clone() for k, v in method.state_dict().items()}
    given, made, original = method.reconstruct(images, 3)
    mask = method.pixels(method.mask("simmim/show", 3, images)).bool().expand_as(images)
    assert torch.equal(original, images) and method.training == method.backbone.training == training
    for column in (given, made):
        assert column.min() >= 0 and column.max() <= 1 and not column.requires_grad
        assert torch.equal(column[~mask], images[~mask])
    assert (given[mask] == 0.5).all() and not torch.equal(made, given)
    assert all(torch.equal(v, state[k]) for k, v in method.state_dict().items())  # no batch statistic moved


def test_squares_that_are_no_whole_patches_are_refused_with_a_way_out(build):
    with pytest.raises(UsageError, match=r"ssl\.unit=2: must be a multiple of backbone\.patch=4"):
        build("simmim", "ssl.unit=2")
    with pytest.raises(UsageError, match=r"ssl\.window=4: must be odd"):
        build("simmim", "ssl.window=4")
