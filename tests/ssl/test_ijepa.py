"""I-JEPA: blocks, what the context may see, who gets a gradient, what is exported."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightly.models import utils as lightly

from gssl.errors import UsageError
from gssl.nets.ema import momentum
from gssl.ssl.ijepa import block_places, block_shapes, context_places, distance

SCALE, ASPECT, CONTEXT = [0.15, 0.2], [0.75, 1.5], [0.85, 1.0]


@pytest.mark.parametrize(
    ("side", "expected"),
    [(8, {(3, 4), (4, 3)}), (7, {(3, 3)}), (16, {(6, 7), (7, 6), (7, 7), (6, 8), (8, 6)}), (4, {(2, 1)})],
)
def test_target_shapes_are_within_the_bounds_or_nearest_to_them(side, expected):
    shapes = block_shapes(side, SCALE, ASPECT, 4)
    assert set(shapes) == expected and len(shapes) == len(expected)
    assert all(4 * h * w < side * side for h, w in shapes)
    if side > 4:
        for h, w in shapes:
            assert SCALE[0] <= h * w / side**2 <= SCALE[1] and ASPECT[0] <= h / w <= ASPECT[1]


def test_a_block_is_a_rectangle_of_patches():
    top, left = torch.tensor([[0, 5], [2, 1]]), torch.tensor([[4, 0], [3, 2]])
    positions = block_places(top, left, (3, 4), 8)
    assert positions.shape == (2, 2, 12)
    for i in range(2):
        for j in range(2):
            expected = torch.zeros(8, 8)
            expected[top[i, j] : top[i, j] + 3, left[i, j] : left[i, j] + 4] = 1
            assert torch.equal(torch.zeros(64).scatter(0, positions[i, j], 1.0).view(8, 8), expected)


def test_the_context_has_its_count_and_never_a_target():
    g = torch.Generator().manual_seed(0)
    count, side, shape = 500, 8, (3, 4)
    top = torch.randint(0, 6, (count, 4), generator=g)
    left = torch.randint(0, 5, (count, 4), generator=g)
    targets = block_places(top, left, shape, side)
    targets[0] = torch.arange(48).view(4, 12)  # the poorest image: no two targets overlap
    block, noise = torch.rand(count, 3, generator=g), torch.rand(count, 64, generator=g)
    context = context_places(targets, block, noise, CONTEXT, 16)
    assert context.shape == (count, 16)
    shown = torch.zeros(count, 64).scatter(1, context, 1.0)
    asked = torch.zeros(count, 64).scatter(1, targets.flatten(1), 1.0)
    assert (shown.sum(1) == 16).all() and (shown * asked).sum() == 0
    assert torch.equal(context[0].sort().values, torch.arange(48, 64))
    assert (shown.mean(0) > 0).all()  # every patch can be context


def test_the_context_stays_in_its_block_where_that_has_enough():
    """A quarter of the image at the lower right: 16 patches, four of them targets, twelve asked for."""
    targets = torch.tensor([[[36, 37, 44, 45]]])
    block = torch.tensor([[0.5, 0.999, 0.999]])
    context = context_places(targets, block, torch.rand(1, 64), [0.25, 0.25], 12)
    square = {8 * row + column for row in range(4, 8) for column in range(4, 8)}
    assert set(context[0].tolist()) == square - {36, 37, 44, 45}
    more = context_places(targets, block, torch.rand(1, 64), [0.25, 0.25], 20)
    assert square - {36, 37, 44, 45} < set(more[0].tolist())


@pytest.mark.parametrize(("kind", "theirs"), [("l2", torch.nn.MSELoss()), ("smooth_l1", torch.nn.SmoothL1Loss())])
def test_the_distance_is_torchs(kind, theirs):
    a, b = (2 * torch.randn(6, 5, 8) for _ in range(2))
    ours, other = (a.clone().requires_grad_() for _ in range(2))
    torch.testing.assert_close(distance(ours, b, kind), theirs(other, b), rtol=1e-5, atol=1e-6)
    distance(ours, b, kind).backward(), theirs(other, b).backward()
    torch.testing.assert_close(ours.grad, other.grad, rtol=1e-5, atol=1e-7)


def test_the_loss_is_the_papers_written_out_block_by_block(build, batch):
    """Against lightly's gathering of masks (that of the authors' code) and one predictor call per block."""
    method = build("ijepa")
    with torch.no_grad():
        method.target.module.norm.weight.uniform_(0.5, 2.0)  # at 1, standardising again would change nothing
        method.target.module.norm.bias.normal_()
    images = batch(method)["crop0"]
    masks = method.masks(0, images)
    loss = method.loss({"crop0": images, **masks})["loss"]
    net, target = method.backbone, method.target.module
    whole = target.encode(target.embed(images) + target.positions)
    whole = F.layer_norm(whole, (net.dim,))
    seen = net.encode(lightly.apply_masks(net.embed(images) + net.positions, masks["context"]))
    losses = []
    for i in range(4):
        positions = masks["targets"][:, i]
        prediction = method.predictor(seen, masks["context"], positions)
        losses.append(F.smooth_l1_loss(prediction, lightly.apply_masks(whole, positions)))
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)


def test_the_context_encoder_never_sees_a_target_patch(build, batch):
    method = build("ijepa", size=32)
    images = batch(method, size=32)["crop0"]
    masks = method.masks(0, images)
    assert masks["targets"].shape == (8, 4, 12) and masks["context"].shape == (8, 16)
    asked = torch.zeros(8, 64).scatter(1, masks["targets"].flatten(1), 1.0).view(8, 1, 8, 8)
    pixels = F.interpolate(asked, scale_factor=4.0)
    changed = torch.where(pixels.bool(), torch.rand(images.shape), images)
    before, after = (method.encode(x, masks["context"]) for x in (images, changed))
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert not torch.equal(method.targets(images), method.targets(changed))
    torch.testing.assert_close(method.targets(images).mean(2), torch.zeros(8, 64), rtol=0, atol=1e-5)


def test_the_target_follows_by_average_only(build, batch):
    method = build("ijepa", "ssl.momentum=0.9")
    owned = {id(p) for group in method.optimizer.inner.param_groups for p in group["params"]}
    assert not owned & {id(p) for p in method.target.parameters()}
    method.optimizer.progress = 0.5
    for step in range(2):
        old = copy.deepcopy(dict(method.target.module.named_parameters()))
        method.update(batch(method), step)
        new = dict(method.backbone.named_parameters())
        for key, value in method.target.module.named_parameters():
            assert value.grad is None and not value.requires_grad
            d = momentum(0.9, 0.5)
            torch.testing.assert_close(value, d * old[key] + (1 - d) * new[key], rtol=1e-6, atol=1e-7)


def test_shapes_take_turns_over_one_period(build):
    method = build("ijepa", size=64)
    images = torch.empty(3, 3, 64, 64)
    sizes = [method.masks(step, images)["targets"].shape[2] for step in range(2 * method.period)]
    assert method.period == 5 and sizes[:5] == sizes[5:] and sorted(sizes[:5]) == [42, 42, 48, 48, 49]
    for step in range(5):
        assert method.masks(step, images)["context"].shape == (3, 256 - 4 * sizes[step])
    first, again, later = (method.masks(step, images)["targets"] for step in (0, 0, 5))
    assert torch.equal(first, again) and not torch.equal(first, later)


@pytest.mark.parametrize("which", ["target", "context"])
def test_the_chosen_encoder_is_exported(which, build):
    method = build("ijepa", f"ssl.export={which}")
    assert method.exported() is (method.target.module if which == "target" else method.backbone)


def test_impossible_settings_are_refused_with_a_way_out(build):
    with pytest.raises(UsageError, match="backbone=vit_micro"):
        build("ijepa", "backbone=convnet")
    with pytest.raises(UsageError, match="leave no context"):
        build("ijepa", "ssl.blocks=5")


def test_too_few_patches_for_the_blocks_are_refused():
    for side in (1, 2):
        with pytest.raises(UsageError, match="too few"):
            block_shapes(side, SCALE, ASPECT, 4)
