"""The block, what is seen around it, the loss inside it, and the discriminator's steps."""

import copy

import pytest
import torch

from gssl.errors import UsageError
from gssl.ssl.inpainting import block, block_error, hollow


def moved(module, before):
    return any(not torch.equal(value, before[key]) for key, value in module.state_dict().items())


def weights(module):
    return copy.deepcopy(module.state_dict())


def test_the_block_lies_where_its_corner_says():
    mask = block(torch.tensor([[0, 3], [2, 1]]), 2, 5)
    assert mask.shape == (2, 1, 5, 5) and mask.sum((1, 2, 3)).tolist() == [4, 4]
    assert mask[0, 0, :2, 3:].all() and mask[1, 0, 2:4, 1:3].all()


def test_the_block_is_filled_with_the_mean_of_what_is_seen_and_tells_nothing_of_itself():
    g = torch.Generator().manual_seed(0)
    image, mask = torch.rand(2, 3, 6, 6, generator=g), block(torch.tensor([[1, 2], [3, 0]]), 3, 6)
    out, inside = hollow(image, mask), mask.bool().expand(-1, 3, -1, -1)
    assert torch.equal(out[~inside], image[~inside])
    for i in range(2):
        for c in range(3):
            mean = image[i, c][~inside[i, c]].mean()
            torch.testing.assert_close(out[i, c][inside[i, c]], mean.expand(9))
    torch.testing.assert_close(hollow(torch.where(inside, 0.1, image), mask), out)


def test_the_error_is_the_mean_over_the_block_alone():
    g = torch.Generator().manual_seed(0)
    made, image = torch.rand(2, 3, 6, 6, generator=g), torch.rand(2, 3, 6, 6, generator=g)
    made.requires_grad_()
    mask = block(torch.tensor([[1, 2], [3, 0]]), 3, 6)
    loss = block_error(made, image, mask)
    inside = mask.bool().expand(-1, 3, -1, -1)
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(made[inside], image[inside]))
    (grad,) = torch.autograd.grad(loss, made)
    assert (grad[~inside] == 0).all() and (grad[inside] != 0).all()


def test_places_are_central_or_random_per_image_and_step(build):
    cpu = torch.device("cpu")
    central = build("inpainting", "ssl.place=centre", "ssl.block=0.5").mask(3, 7, cpu)
    assert central[:, :, 4:12, 4:12].all() and central.sum() == 3 * 64
    method = build("inpainting", "ssl.place=random", "ssl.block=0.5")
    many = method.mask(400, 7, cpu)
    assert (many.sum((1, 2, 3)) == 64).all()
    assert (many[:, 0].sum(0) > 0).all()  # every pixel is lost sometimes
    assert torch.equal(many, method.mask(400, 7, cpu)) and not torch.equal(many, method.mask(400, 8, cpu))


@pytest.mark.parametrize("fraction", [1.0, 0.01])
def test_blocks_of_all_or_nothing_are_refused(build, fraction):
    with pytest.raises(UsageError, match="ssl.block"):
        build("inpainting", f"ssl.block={fraction}")


def test_without_a_weight_there_is_no_discriminator(build, batch):
    method = build("inpainting", "ssl.adversarial=0")
    assert not hasattr(method, "discriminator") and not hasattr(method, "optimizer_d")
    assert set(method.update(batch(method), 0)) == {"loss"}


def test_each_optimiser_moves_its_own_networks(build, batch):
    method = build("inpainting", "ssl.adversarial=0.1", "ssl.width_d=4")
    data = batch(method) | {"mask": method.mask(8, 0, torch.device("cpu"))}
    before = weights(method.discriminator), weights(method.decoder.last), weights(method.backbone.blocks[0][0])
    method.optimizer_d.minimize(method.d_loss, data)
    assert moved(method.discriminator, before[0]) and not moved(method.decoder.last, before[1])
    assert not moved(method.backbone.blocks[0][0], before[2])
    before = weights(method.discriminator), weights(method.decoder.last)
    method.optimizer.minimize(method.loss, data)
    assert not moved(method.discriminator, before[0]) and moved(method.decoder.last, before[1])


def test_an_update_moves_both_and_leaves_the_discriminator_ready(build, batch):
    method = build("inpainting", "ssl.adversarial=0.1", "ssl.width_d=4")
    d, b = weights(method.discriminator), weights(method.backbone)
    out = method.update(batch(method), 0)
    assert {"loss", "error", "fooled", "d_loss"} == set(out)
    assert moved(method.discriminator, d) and moved(method.backbone, b)
    assert all(p.requires_grad for p in method.discriminator.parameters())
    torch.testing.assert_close(out["loss"], 0.9 * out["error"] + 0.1 * out["fooled"])


@pytest.mark.long
def test_the_discriminator_learns_to_tell_a_block_that_stands_still(build, batch):
    method = build("inpainting", "ssl.adversarial=1", "ssl.width_d=4")
    data = batch(method) | {"mask": method.mask(8, 0, torch.device("cpu"))}
    losses = [float(method.optimizer_d.minimize(method.d_loss, data)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    fooled = method.loss(data)["fooled"]
    assert fooled > 1  # and its verdict reaches the network that makes the block


@pytest.mark.long
def test_it_learns_to_complete(build, batch):
    method = build("inpainting", "ssl.optim.lr=0.01")
    losses = [float(method.update(batch(method), step)["loss"]) for step in range(40)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_pictures_keep_what_is_seen(build, batch):
    method = build("inpainting")
    images = batch(method, 3)["real"]
    given, completed, last = method.reconstruct(images, 5)
    seen = (method.mask(3, 5, torch.device("cpu")) == 0).expand_as(images)
    assert torch.equal(last, images) and method.training
    for column in (given, completed):
        assert torch.equal(column[seen], images[seen]) and column.min() >= 0 and column.max() <= 1
    assert not torch.equal(given, completed)
