"""The palette, the targets, the weights of rare colours, and that no colour reaches the network."""

import pytest
import torch

from gssl.config.composing import compose
from gssl.data.lab import lab_to_rgb, rgb_to_lab
from gssl.errors import UsageError
from gssl.nets.backbone import build_backbone
from gssl.ssl.colorization import annealed_mean, blind, colour_loss, nearest, palette, rebalanced


@pytest.mark.parametrize(("grid", "count"), [(10.0, 261), (20.0, 75)])
def test_the_palette_has_every_colour_that_exists_and_the_table_finds_the_nearest(grid, count):
    colours, table = palette(grid)
    assert colours.shape == (count, 2) and len(torch.unique(colours, dim=0)) == count
    assert (colours % grid == 0).all()
    assert torch.equal(nearest(colours.T[None, :, None], table, grid)[0, 0], torch.arange(count))
    image = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    ab = rgb_to_lab(image)[:, 1:]
    found = colours[nearest(ab, table, grid)].permute(0, 3, 1, 2)
    assert (found - ab).abs().max() <= 0.75 * grid  # half a cell, or the next one where there is no such colour
    assert ((found - ab).abs() <= grid / 2 + 1e-3).float().mean() > 0.97
    far = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1)
    assert 0 <= int(nearest(far, table, grid)) < count


def test_weights_by_the_papers_formula_and_their_mean_is_one():
    g = torch.Generator().manual_seed(0)
    frequency = torch.rand(6, generator=g)
    frequency /= frequency.sum()
    smooth = torch.rand(6, 6, generator=g)
    found = rebalanced(frequency, smooth, 0.5)
    expected = [1 / (0.5 * sum(smooth[i, j] * frequency[j] for j in range(6)) + 0.5 / 6) for i in range(6)]
    ratio = found / torch.stack(expected)
    torch.testing.assert_close(ratio, ratio[:1].expand(6))
    torch.testing.assert_close((frequency * found).sum(), torch.ones(()))
    torch.testing.assert_close(rebalanced(frequency, smooth, 1.0), torch.ones(6))
    weights = rebalanced(torch.tensor([0.7, 0.2, 0.1]), torch.eye(3), 0.5)
    assert weights[0] < weights[1] < weights[2]


def test_the_loss_equals_torchs_weighted_cross_entropy_value_and_gradient():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, 3, generator=g, requires_grad=True)
    target, weight = torch.randint(5, (2, 3, 3), generator=g), torch.rand(5, generator=g)
    found = colour_loss(logits, target, weight[target])
    expected = torch.nn.functional.cross_entropy(logits, target, weight=weight, reduction="sum") / target.numel()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for a, b in zip(*(torch.autograd.grad(x, logits) for x in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_annealed_mean_lies_between_the_mean_and_the_mode():
    logits = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1)
    colours = torch.tensor([[0.0, 0.0], [10.0, 20.0], [-30.0, 0.0]])
    mean = (torch.tensor([0.0, 1.0, 0.5]).softmax(0)[:, None] * colours).sum(0)
    torch.testing.assert_close(annealed_mean(logits, colours, 1.0).flatten(), mean)
    torch.testing.assert_close(annealed_mean(logits, colours, 1e-3).flatten(), colours[1])


def test_grey_data_is_refused_with_what_to_use_instead(build):
    with pytest.raises(UsageError, match=r"colour.*ssl=rotation"):
        build("colorization", channels=1)


@pytest.mark.parametrize(
    ("name", "width", "left"), [("convnet", 8, 1e-5), ("vit_micro", 24, 1e-5), ("resnet18", 64, 0.1)]
)
def test_blind_networks_answer_to_grey_as_before_and_to_no_colour(name, width, left):
    cfg = compose("pretrain-ssl", [f"backbone={name}", f"backbone.width={width}"]).backbone
    network = build_backbone(cfg, 16)
    layer = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    grey = image.mean(1, keepdim=True).expand_as(image)
    seen = []
    layer.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    for _ in range(2):
        network.dense(grey)
        network.dense(image)
        blind(network)
    on_grey, on_image, grey_later, image_later = seen
    assert (image_later - grey_later).norm() < left * (on_image - on_grey).norm()
    if name != "resnet18":  # its channels have means and scales of their own
        torch.testing.assert_close(grey_later, on_grey, atol=1e-5, rtol=1e-4)


def test_the_network_is_given_lightness_and_stays_blind_to_colour(build, batch):
    method = build("colorization", "ssl.optim.lr=0.01")
    data, seen = batch(method, 8), []
    hook = method.backbone.blocks[0][0].register_forward_pre_hook(lambda m, args: seen.append(args[0].detach()))
    for step in range(3):
        method.update(data, step)
    hook.remove()
    given = (seen[0] + 1) / 2
    torch.testing.assert_close(given[:, 0], given[:, 2], atol=1e-5, rtol=0)
    torch.testing.assert_close(rgb_to_lab(given)[:, 0], rgb_to_lab(data["crop0"])[:, 0], atol=0.01, rtol=0)
    first = method.backbone.blocks[0][0].weight
    torch.testing.assert_close(first, first.mean(1, keepdim=True).expand_as(first))


def test_targets_are_the_colours_of_places_and_frequencies_their_running_mean(build):
    method = build("colorization", "ssl.grid=10", "ssl.cell=8", "ssl.optim.lr=1e-9")
    lab = torch.tensor([[60.0, 30.0, -20.0], [60.0, -31.0, 22.0]]).view(2, 3, 1, 1).expand(-1, -1, 16, 16).clone()
    lab[0, 1:, :8, :8] = torch.tensor([0.0, 40.0]).view(2, 1, 1)
    seen = []
    real, original = {"crop0": lab_to_rgb(lab)}, method.optimizer.minimize
    method.optimizer.minimize = lambda loss, data: seen.append(data["target"]) or original(loss, data)
    method.update(real, 0)
    assert method.colours[seen[0][0, 1, 1]].tolist() == [30, -20]
    assert method.colours[seen[0][0, 0, 0]].tolist() == [0, 40]
    assert method.colours[seen[0][1, 0, 1]].tolist() == [-30, 20]
    frequencies = torch.bincount(seen[0].flatten(), minlength=len(method.colours)) / 8
    torch.testing.assert_close(method.frequency, frequencies)
    method.update({"crop0": real["crop0"][[1, 1]]}, 1)
    other = torch.nn.functional.one_hot(seen[1][0, 0, 0], len(method.colours)).float()
    torch.testing.assert_close(method.frequency, (frequencies + other) / 2)
    assert "frequency" in method.state_dict()


def test_it_learns_colours(build, batch):
    method = build("colorization", "ssl.optim.lr=0.01", "ssl.cell=8")
    data = batch(method, 8)
    accuracy = [float(method.update(data, step)["accuracy"]) for step in range(40)]
    assert accuracy[-1] > accuracy[0] + 0.3


def test_pictures_have_the_images_lightness(build):
    method = build("colorization")
    lab = torch.tensor([60.0, 10.0, -10.0]).view(1, 3, 1, 1).expand(2, -1, 16, 16)
    images = lab_to_rgb(lab)
    grey, made, last = method.reconstruct(images, 5)
    assert torch.equal(last, images) and method.training and torch.equal(grey[:, 0], grey[:, 1])
    for column in (grey, made):
        assert column.shape == images.shape and column.min() >= 0 and column.max() <= 1
    torch.testing.assert_close(rgb_to_lab(grey)[:, 0], lab[:, 0], atol=0.05, rtol=0)


def test_grey_images_stored_as_rgb_are_refused(build, batch):
    method = build("colorization")
    given = batch(method, 8)
    method.check(given)
    grey = given["crop0"].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    with pytest.raises(UsageError, match="colour"):
        method.check({"crop0": grey})
