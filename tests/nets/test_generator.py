"""Shapes, ranges, growth and classes of the generators."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gssl.errors import UsageError
from gssl.nets.generator import ClassNorm, Generator, Residual, Shape


def make(kind: str = "dcgan", size: int = 16, **more: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(Shape(kind=kind, latent=5, width=more.pop("width", 4), size=size, **more))


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize(("size", "ups", "side"), [(28, 2, 7), (32, 2, 8), (36, 2, 9), (48, 3, 6), (64, 3, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_in_the_unit_range_from_a_small_start(kind, size, ups, side, channels):
    net = make(kind, size, channels=channels, width=2)
    images = net(torch.randn(2, 5))
    assert images.shape == (2, 3, size, size)
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.005
    first = 2 * 2**ups if kind == "dcgan" else 2
    assert net.start == (first, side, side) and len(net.blocks) == ups
    widths = [m.shape[1] for m in net.maps(torch.randn(2, 5))]
    assert widths == ([first // 2 ** (i + 1) for i in range(ups)] if kind == "dcgan" else [2] * ups)
    assert [m.shape[2] for m in net.maps(torch.randn(2, 5))] == [side * 2 ** (i + 1) for i in range(ups)]


def test_the_largest_size_starts_small_too():
    assert make(size=224, width=1).start == (32, 7, 7)


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
def test_grey_is_replicated_and_colour_is_not(kind):
    grey, colour = (make(kind, channels=c)(torch.randn(3, 5)) for c in (1, 3))
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    assert not torch.allclose(colour[:, 0], colour[:, 1])


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("attention", "classes"), [(False, 0), (True, 0), (True, 3)])
def test_gradients_reach_every_parameter_and_the_latent(kind, norm, attention, classes):
    net = make(kind, norm=norm, attention=attention, classes=classes, width=8)
    if net.attention is not None:
        nn.init.constant_(net.attention.gamma, 0.5)
    z = torch.randn(6, 5, requires_grad=True)
    images = net(z, torch.arange(6) % classes if classes else None)
    (images * torch.randn_like(images)).sum().backward()
    dead = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead and z.grad is not None and z.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_an_image_is_a_function_of_its_own_latent_and_class(kind, norm):
    net = make(kind, norm=norm, attention=True, classes=3).eval()
    nn.init.ones_(net.attention.gamma)
    for module in net.modules():
        if isinstance(module, ClassNorm):
            nn.init.normal_(module.scale.weight, 1, 0.3)
    z, label = torch.randn(4, 5), torch.tensor([0, 2, 1, 0])
    with torch.no_grad():
        images = net(z, label)
        torch.testing.assert_close(images[1:2], net(z[1:2], label[1:2]))
        other = net(z, torch.tensor([0, 1, 1, 0]))
    assert torch.equal(images[[0, 2, 3]], other[[0, 2, 3]])
    assert (images[1] - other[1]).abs().max() > 1e-3  # another class
    assert (images[0] - images[3]).abs().max() > 1e-3  # another z


def test_classes_differ_from_the_start_and_one_that_is_told_learns_alone():
    net = make(classes=3).eval()
    z = torch.randn(1, 5)
    with torch.no_grad():
        assert (net(z, torch.tensor([0])) - net(z, torch.tensor([2]))).abs().max() > 0.005
    net.train()
    images = net(torch.randn(6, 5), torch.tensor([0, 0, 1, 1, 0, 1]))
    (images * torch.randn_like(images)).sum().backward()
    for module in net.modules():
        if isinstance(module, ClassNorm):
            for table in (module.scale, module.offset):
                assert (table.weight.grad[:2].abs().sum(1) > 0).all() and table.weight.grad[2].abs().sum() == 0


def test_class_norm_is_batch_norm_with_a_row_per_class():
    torch.manual_seed(0)
    norm, x, label = ClassNorm("batch", 4, 3), torch.randn(6, 4, 3, 3), torch.arange(6) % 3
    nn.init.normal_(norm.scale.weight)
    nn.init.normal_(norm.offset.weight)
    expected = F.batch_norm(x, None, None, training=True)
    expected = expected * norm.scale.weight[label][..., None, None] + norm.offset.weight[label][..., None, None]
    torch.testing.assert_close(norm(x, label), expected)


def test_a_residual_block_is_what_its_paper_draws():
    """Up-sampling before the skip's convolution, as in the paper, gives the same numbers as after it."""
    torch.manual_seed(0)
    block, x = Residual(Shape("resnet", 5, 4, 16, norm="none"), 6, 4), torch.randn(2, 6, 3, 3)
    for shift in (block.norm1, block.norm2):
        nn.init.normal_(shift.bias)
    up = nn.Upsample(scale_factor=2)
    y = block.conv1(up(F.relu(block.norm1(x))))
    expected = block.conv2(F.relu(block.norm2(y))) + block.skip(up(x))
    torch.testing.assert_close(block(x, None), expected)


def test_attention_is_off_at_the_start_and_sits_after_the_first_block():
    bare, attending = make(), make(attention=True)
    attending.load_state_dict(bare.state_dict(), strict=False)
    z = torch.randn(3, 5)
    assert torch.equal(bare.eval()(z), attending.eval()(z))
    assert attending.attention.query.in_channels == attending.maps(z)[0].shape[1]
    nn.init.ones_(attending.attention.gamma)
    assert not torch.allclose(bare(z), attending(z))
    assert torch.equal(bare.maps(z)[0], attending.maps(z)[0])  # before attention


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize("attention", [False, True])
def test_without_norms_the_first_weights_keep_the_size_of_what_passes(kind, attention):
    net = make(kind, 64, norm="none", width=16, attention=attention)
    sizes = [m.square().mean().sqrt().item() for m in net.maps(torch.randn(64, 5))]
    assert min(sizes) > 0.4 and max(sizes) < 6
    images = net(torch.randn(64, 5))
    assert 0.02 < images.std().item() < 0.45  # neither flat nor saturated


def test_its_record_makes_it_again():
    shape = Shape("resnet", 5, 4, 28, channels=1, norm="none", attention=True, classes=3)
    assert Shape(**shape.record()) == shape


@pytest.mark.parametrize("size", [30, 33, 2, 0])
def test_sizes_that_do_not_divide_are_refused(size):
    with pytest.raises(UsageError, match=f"^data.size={size}"):
        make(size=size)


def test_two_channels_are_no_image():
    with pytest.raises(ValueError, match="channels=2"):
        make(channels=2)


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize("wide", [16, 21, 51])
def test_images_may_be_wider_than_high(kind, wide):
    shape = Shape(kind, 4, 4, 16, 1, wide=wide)
    made = Generator(shape)(torch.randn(2, 4))
    assert made.shape == (2, 3, 16, wide) and Shape(**shape.record()) == shape
    assert "wide" not in Shape(kind, 4, 4, 16).record()
