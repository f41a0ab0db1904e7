"""KL in closed form against torch's, the bound, the draw, and what may not depend on it."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gssl.ssl.vae import kl, negative_elbo


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3, 3)])
def test_kl_equals_torchs_value_and_gradient(shape):
    g = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(shape, generator=g, requires_grad=True) for _ in range(2))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    found = kl(mean, log_variance)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(shape[0], generator=g)
    for a, b in zip(*(torch.autograd.grad((x * weight).sum(), (mean, log_variance)) for x in (found, expected)),
                    strict=True):  # fmt: skip
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_bound_is_that_of_gaussian_pixels_with_variance_beta():
    """Up to a constant and the factor beta / values, it is −log p(x | z) + KL."""
    g = torch.Generator().manual_seed(1)
    made, other, image = (torch.rand(3, 3, 4, 4, generator=g) for _ in range(3))
    divergence, beta = torch.rand(3, generator=g), 0.04

    def full(x):
        return (-Normal(x, beta**0.5).log_prob(image).flatten(1).sum(1) + divergence * (1 + x.mean())).mean()

    def ours(x):
        return negative_elbo(x, image, divergence * (1 + x.mean()), beta)

    torch.testing.assert_close(ours(made) - ours(other), (full(made) - full(other)) * beta / 48, atol=1e-6, rtol=1e-5)


def test_the_draw_has_the_mean_and_the_variance(build, batch):
    """With noise 0 the mean is decoded; noise counts as much as the standard deviation says."""
    method = build("vae").eval()
    images = batch(method, 4)["real"]
    seen = []
    method.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    shape = (4, method.latent, method.side, method.side)
    method.loss({"real": images, "noise": torch.zeros(shape)})
    method.loss({"real": images, "noise": torch.ones(shape)})
    mean, log_variance = method.encode(images)
    torch.testing.assert_close(seen[0], mean)
    torch.testing.assert_close(seen[1] - seen[0], (0.5 * log_variance).exp(), atol=1e-5, rtol=1e-4)


def test_noise_is_another_one_at_each_step_and_image(build, batch):
    method = build("vae")
    seen = []
    method.optimizer.minimize = lambda loss, data: seen.append(data["noise"]) or {"loss": torch.zeros(())}
    for step in (0, 1, 0):
        method.update(batch(method, 4), step)
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0][0], seen[0][1])


@pytest.mark.long
def test_it_learns_to_reconstruct_and_a_heavy_divergence_forgets_the_image(build, batch):
    method = build("vae", "ssl.beta=0", "ssl.optim.lr=0.01")
    data = batch(method, 8)
    errors = [float(method.update(data, step)["error"]) for step in range(40)]
    assert errors[-1] < 0.5 * errors[0]
    forgetful = build("vae", "ssl.beta=100", "ssl.optim.lr=0.01")
    for step in range(60):
        out = forgetful.update(data, step)
    assert out["kl"] < 0.5


def test_pictures_show_the_image_and_what_is_made_of_it(build, batch):
    method = build("vae")
    images = batch(method, 3)["real"]
    given, made = method.reconstruct(images, 5)
    assert torch.equal(given, images) and made.shape == images.shape and made.min() >= 0 and made.max() <= 1
    assert method.training and torch.equal(made, method.reconstruct(images, 6)[1])
