"""Ways through a latent space, saliency and attention, against the definitions."""

import numpy as np
import pytest
import torch
from torch import nn

from gssl.data import Draws
from gssl.gan import explain
from gssl.nets.attention import SelfAttention
from gssl.nets.convnet import ConvNet
from gssl.nets.discriminator import Discriminator, Heads, Seen
from gssl.nets.generator import Generator, Shape

DRAWS = Draws(0)


def generator(**given) -> Generator:
    torch.manual_seed(0)
    made = Generator(Shape(**{"kind": "dcgan", "latent": 8, "width": 4, "size": 16} | given)).eval()
    for i, module in enumerate(m for m in made.modules() if isinstance(m, nn.BatchNorm2d | nn.Embedding)):
        for name, values in [*module.named_parameters(), *module.named_buffers()]:
            if values.is_floating_point():  # as if trained: no scale is 1
                values.data = DRAWS.uniform(name, i, values.shape, 0.5, 2)
    return made


def test_slerp_keeps_to_the_sphere():
    a, b = DRAWS.normal("a", 0, (8,)), DRAWS.normal("b", 0, (8,))
    way = explain.slerp(a, b, 5)
    assert torch.allclose(way[0], a) and torch.allclose(way[-1], b)
    assert torch.allclose(way.norm(dim=1), torch.lerp(a.norm(), b.norm(), torch.linspace(0, 1, 5)))
    unit = way / way.norm(dim=1, keepdim=True)
    steps = torch.arccos((unit[1:] * unit[:-1]).sum(1))
    assert torch.allclose(steps, steps[0].expand(4), atol=1e-4)


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_slerp_of_vectors_on_one_line_is_finite(factor):
    a = DRAWS.normal("a", 0, (8,))
    way = explain.slerp(a, factor * a, 3)
    assert torch.allclose(way, torch.stack([a, (1 + factor) / 2 * a, factor * a]), atol=1e-6)


def test_directions_are_the_right_singular_vectors():
    weight = DRAWS.normal("w", 0, (40, 8)) * torch.arange(1, 9)
    found = explain.directions(weight, 3)
    _, values, vectors = torch.linalg.svd(weight.double())
    cosine = (found.vectors.double() * vectors[:3]).sum(1)
    assert torch.allclose(cosine.abs(), torch.ones(3, dtype=torch.float64), atol=1e-6)
    assert np.allclose(found.fractions, (values**2 / (values**2).sum())[:3])
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize(("kind", "norm"), [("dcgan", "batch"), ("dcgan", "none"), ("resnet", "batch")])
@pytest.mark.parametrize("classes", [0, 1])
def test_the_first_layer_is_the_slope_of_what_follows_z(kind, norm, classes):
    network = generator(kind=kind, norm=norm, classes=classes)
    label = torch.zeros(1, dtype=torch.int64)

    def start(z):
        x = network.project(z[None]).view(-1, *network.start)
        if kind == "resnet":
            return x.flatten()
        return (network.norm(x, label) if classes else network.norm(x)).flatten()

    slope = torch.autograd.functional.jacobian(start, DRAWS.normal("z", 0, (8,)))
    assert torch.allclose(explain.first_layer(network), slope, atol=1e-5)


def test_along_sets_one_part_and_leaves_the_others():
    z, other = DRAWS.normal("z", 0, (8,)), DRAWS.normal("other", 0, (8,))
    unit = other / other.norm()
    at = torch.tensor([-3.0, 0.0, 2.0])
    way = explain.along(z, unit, at)
    assert torch.allclose(way @ unit, at, atol=1e-5)
    assert torch.allclose(way - at[:, None] * unit, (z - (z @ unit) * unit).expand(3, -1), atol=1e-5)


def test_between_classes_begins_and_ends_at_them():
    network = generator(classes=3)
    mixed = explain.between_classes(network, 2, 0, 4)
    z = DRAWS.normal("z", 0, (1, 8)).expand(4, -1)
    way, ends = mixed(z, torch.arange(4)), network(z[:2], torch.tensor([2, 0]))
    assert torch.allclose(way[[0, -1]], ends, atol=1e-6)
    assert not torch.allclose(way[1], way[2], atol=1e-4)


class Answer(nn.Module):
    """logit = Σ w · x, or Σ w · x² where `square`."""

    def __init__(self, weight, square=False):
        super().__init__()
        self.weight, self.square = weight, square

    def forward(self, images, label=None):
        x = images**2 if self.square else images
        return Seen((x * self.weight).sum((1, 2, 3)), x)


def test_saliency_of_a_linear_discriminator_is_its_weight():
    weight, x = DRAWS.normal("w", 0, (3, 6, 6)), DRAWS.uniform("x", 0, (2, 3, 6, 6))
    heat, logit = explain.saliency(Answer(weight), x, None, DRAWS.normal("noise", 0, (4, 2, 3, 6, 6)))
    assert torch.allclose(heat, weight.abs().sum(0).expand(2, -1, -1), atol=1e-5)
    assert torch.allclose(logit, (x * weight).sum((1, 2, 3)))


def test_saliency_averages_gradients_before_their_size_is_taken():
    weight, x = DRAWS.normal("w", 0, (3, 6, 6)), DRAWS.uniform("x", 0, (2, 3, 6, 6))
    noise = DRAWS.normal("noise", 0, (4, 2, 3, 6, 6))
    heat, _ = explain.saliency(Answer(weight, square=True), x, None, noise)
    assert torch.allclose(heat, (2 * weight * (x + noise.mean(0))).abs().sum(1), atol=1e-5)


@pytest.mark.parametrize("size", [16, 18])  # maps of 8 and of 9 positions to a side
def test_attention_is_the_blocks_own_and_adds_up_to_one(size):
    torch.manual_seed(0)
    network = Discriminator(ConvNet("convnet", "none", 8, 1, size), Heads(attention=True), size).eval()
    images = DRAWS.uniform("x", 0, (2, 3, size, size))
    found = explain.discriminator_attention(network, images, [(0.5, 0.5), (0.0, 0.99)])
    side = -(-size // 2)
    assert found.heat.shape == (2, 2, side, side) and found.positions == [(side // 2, side // 2), (0, side - 1)]
    assert torch.allclose(found.heat.sum((2, 3)), torch.ones(2, 2)) and found.gamma == 0
    assert isinstance(network.attention, SelfAttention)
    weights = network.attention.weights(network.backbone.dense(images)[1])[:, side - 1]
    assert torch.allclose(found.heat[:, 1, ::2, ::2][:, : side // 2, : side // 2].flatten(1) * 4, weights)


def test_networks_without_attention_have_no_maps():
    network = Discriminator(ConvNet("convnet", "none", 8, 1, 16), Heads(), 16)
    assert explain.discriminator_attention(network, torch.zeros(1, 3, 16, 16), [(0.5, 0.5)]) is None
    assert explain.generator_attention(generator(), torch.zeros(1, 8), None, [(0.5, 0.5)]) is None
    found = explain.generator_attention(generator(attention=True), torch.zeros(1, 8), None, [(0.5, 0.5)])
    assert found.heat.shape == (1, 1, 8, 8)


def test_neighbours_are_the_nearest_by_distance():
    queries, bank = DRAWS.normal("q", 0, (5, 4)).numpy(), DRAWS.normal("b", 0, (30, 4)).numpy()
    order, distance = explain.neighbours(queries, bank, 3)
    every = np.linalg.norm(queries[:, None] - bank, axis=2)
    assert (order == np.argsort(every, axis=1)[:, :3]).all()
    assert np.allclose(distance, np.sort(every, axis=1)[:, :3], rtol=1e-5)
