"""What is done to the image, and that it is the image itself that is asked for."""

import pytest
import torch

from gssl.ssl.denoising import spoil, squared_error


def test_lost_places_are_mid_grey_and_the_others_have_noise():
    g = torch.Generator().manual_seed(0)
    image, noise = torch.rand(2, 3, 4, 4, generator=g), torch.randn(2, 1, 4, 4, generator=g)
    lost = torch.rand(2, 1, 4, 4, generator=g) < 0.5
    out, where = spoil(image, noise, lost), lost.expand_as(image)
    assert (out[where] == 0.5).all() and torch.equal(out[~where], (image + noise)[~where])


def test_squared_error_equals_torchs():
    g = torch.Generator().manual_seed(0)
    made, image = torch.rand(2, 3, 5, 5, generator=g), torch.rand(2, 3, 5, 5, generator=g)
    torch.testing.assert_close(squared_error(made, image), torch.nn.functional.mse_loss(made, image))


@pytest.mark.parametrize(("cell", "size"), [(1, 16), (4, 16), (3, 28)])
def test_the_share_that_is_lost_and_its_places(build, cell, size):
    method = build("denoising", "ssl.sigma=0", "ssl.mask=0.4", f"ssl.cell={cell}", size=size)
    image = torch.rand(64, 3, size, size).clamp(0.6, 1)
    lost = method.spoilt(image, 3) == 0.5
    assert lost.shape == image.shape and torch.equal(lost[:, 0], lost[:, 2])
    assert abs(float(lost.float().mean()) - 0.4) < 0.04
    corner = lost[:, :, :cell, :cell]
    assert torch.equal(corner, corner[:, :, :1, :1].expand_as(corner))
    assert not torch.equal(lost[0], lost[1])


def test_the_noise_has_the_sigma_and_grey_images_get_grey_noise(build):
    for channels in (1, 3):
        method = build("denoising", "ssl.sigma=0.3", "ssl.mask=0", channels=channels)
        noise = method.spoilt(torch.full((64, 3, 16, 16), 0.5), 0) - 0.5
        assert abs(float(noise.std()) - 0.3) < 0.01 and abs(float(noise.mean())) < 0.01
        assert torch.equal(noise[:, 0], noise[:, 1]) == (channels == 1)


def test_the_network_sees_the_spoilt_image_and_is_asked_for_the_whole_one(build, batch):
    method = build("denoising", "ssl.optim.lr=0.01")
    data, seen = batch(method, 8), []
    method.decode = lambda spoilt: seen.append(spoilt) or data["real"] + 0 * method.decoder.last.bias.sum()
    assert method.update(data, 2)["loss"] == 0
    torch.testing.assert_close(seen[0], method.spoilt(data["real"], 2))
    assert not torch.equal(seen[0], method.spoilt(data["real"], 3))


@pytest.mark.long
def test_it_learns_to_clean(build, batch):
    method = build("denoising", "ssl.optim.lr=0.01")
    losses = [float(method.update(batch(method, 8), step)["loss"]) for step in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_pictures_show_the_spoilt_the_made_and_the_image(build, batch):
    method = build("denoising")
    images = batch(method, 3)["real"]
    spoilt, made, last = method.reconstruct(images, 5)
    assert torch.equal(last, images) and torch.equal(spoilt, method.spoilt(images, 5).clamp(0, 1))
    assert made.shape == images.shape and made.min() >= 0 and made.max() <= 1 and method.training
