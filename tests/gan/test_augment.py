"""DiffAugment: what it does to pixels, and when; the adaptive probability."""

import pytest
import torch
import torch.nn.functional as F

from gssl.gan.augment import DRAWS, adapted, diffaugment

SIDE = 16
COLOUR, SHIFT, CUT = 7, 8, 9  # columns of the draws: does it happen?


def images(count: int = 6, side: int = SIDE) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def draws(count: int = 6, seed: int = 0, only: int | None = None) -> torch.Tensor:
    """Uniform draws; with `only`, made for a probability of .5 at which that kind alone happens."""
    found = torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed))
    if only is not None:
        found[:, COLOUR:] = 0.9
        found[:, only] = 0.1
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Where no transformation has changed a value: those that do not happen leave a rounding error."""
    return (a - b).abs() < 1e-6


def test_a_function_of_images_and_draws():
    x, u = images(), draws()
    out = diffaugment(x, u)
    assert out.shape == x.shape and torch.equal(out, diffaugment(x, u))
    assert not torch.allclose(out, diffaugment(x, draws(seed=1)))
    assert torch.equal(x, images())  # nothing was written into
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(diffaugment(x[order], u[order]), out[order])
    assert torch.equal(diffaugment(x, u, torch.tensor(0.4)), diffaugment(x, u, 0.4))


def test_never_and_always():
    x, u = images(), draws()
    torch.testing.assert_close(diffaugment(x, u, 0.0), x, rtol=0, atol=1e-6)
    every = diffaugment(x, u, 1.0)
    u[:, COLOUR:] = 0.999
    assert torch.equal(diffaugment(x, u, 1.0), every)


def test_its_share_of_images_is_the_probability():
    x = images(400, 8)
    out = diffaugment(x, draws(400), 0.3)
    untouched = same(out, x).flatten(1).all(1).float().mean()
    assert abs(float(untouched) - 0.7**3) < 0.07


def test_gradients_come_back_from_the_places_that_are_shown():
    x, u = images().requires_grad_(), draws(only=SHIFT)
    out = diffaugment(x, u, 0.5)
    weight = torch.rand(out.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    seen = (diffaugment(torch.full_like(x, 9.0), u, 0.5) > 8).sum((1, 2, 3))
    assert torch.equal((gradient != 0).sum((1, 2, 3)), seen)
    (through,) = torch.autograd.grad(diffaugment(x, draws()).square().sum(), x)
    assert torch.isfinite(through).all() and (through.abs().sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("side", [16, 28, 33])
def test_translation_goes_an_eighth_of_the_side_in_all_directions(side):
    x, u = images(300, side), draws(300, only=SHIFT)
    most = int(side / 8 + 0.5)
    padded = F.pad(x, [most] * 4, value=0.5)
    out = diffaugment(x, u, 0.5)
    steps = set()
    for image, given, numbers in zip(out, padded, u.tolist(), strict=True):
        down, right = (int((2 * most + 1) * v) - most for v in numbers[3:5])
        steps.add((down, right))
        expected = given[:, most - down : most - down + side, most - right : most - right + side]
        assert same(image, expected).all()
    for axis in zip(*steps, strict=True):
        assert set(axis) == set(range(-most, most + 1))


@pytest.mark.parametrize("side", [16, 28, 18])
def test_the_hole_is_grey_has_half_the_side_and_goes_past_the_border(side):
    x = images(300, side) * 0.4  # nothing is .5 by chance
    out = diffaugment(x, draws(300, only=CUT), 0.5)
    gone = ~same(out, x)
    assert (out[gone] == 0.5).all() and torch.equal(gone.any(1), gone.all(1))
    rows, columns = (gone[:, 0].any(2 - k) for k in (0, 1))
    half = int(side / 2 + 0.5)
    for axis in (rows, columns):
        lengths = axis.sum(1)
        assert lengths.max() == half and lengths.min() in (half // 2, half // 2 + 1)
        assert axis.any(0).all()  # every place is hit at times
    assert torch.equal(gone[:, 0].sum((1, 2)), rows.sum(1) * columns.sum(1))  # one rectangle


def test_colour_is_the_papers_in_half_its_range():
    """Against the transformations written out for images in [−1, 1]."""
    x, u = images(), draws(only=COLOUR)
    y = 2 * x - 1
    b, s, c = (u[:, i].view(-1, 1, 1, 1) for i in range(3))
    y = y + (b - 0.5)
    grey = y.mean(1, keepdim=True)
    y = (y - grey) * (2 * s) + grey
    middle = y.mean((1, 2, 3), keepdim=True)
    y = (y - middle) * (c + 0.5) + middle
    torch.testing.assert_close(diffaugment(x, u, 0.5), (y + 1) / 2)


def test_colour_moves_the_mean_by_brightness_alone_and_not_on_average():
    x, u = images(2000, 8), draws(2000, only=COLOUR)
    moved = diffaugment(x, u, 0.5).mean((1, 2, 3)) - x.mean((1, 2, 3))
    torch.testing.assert_close(moved, 0.5 * u[:, 0] - 0.25, rtol=1e-4, atol=1e-5)
    assert abs(float(moved.mean())) < 0.02 and float(moved.abs().max()) <= 0.2501


def test_numbers_next_to_one_stay_inside():
    u = torch.full((1, DRAWS), 1 - 2**-24)
    u[:, COLOUR:] = 0
    for side in (8, 16, 28, 31, 32, 64):
        assert torch.isfinite(diffaugment(images(1, side), u)).all()


def test_the_probability_follows_overfitting_and_stays_in_its_range():
    def follow(start: float, overfit: float) -> float:
        return float(adapted(torch.tensor(start), torch.tensor(overfit), 0.6, 50, 1000))

    assert follow(0.5, 0.8) == pytest.approx(0.55) and follow(0.5, 0.1) == pytest.approx(0.45)
    assert follow(0.5, 0.6) == 0.5
    assert follow(0.98, 1.0) == 1.0 and follow(0.02, -1.0) == 0.0
    p = torch.tensor(0.0)
    for _ in range(20):  # 1000 images
        p = adapted(p, torch.tensor(1.0), 0.6, 50, 1000)
    assert float(p) == pytest.approx(1.0)


# ── in training ──────────────────────────────────────────────────────────────────────────────────


def test_the_game_adapts_to_its_own_logits(build, batch):
    method = build(
        "dcgan", "gan.augment=diffaugment", "gan.augment_p=0.5", "gan.augment_target=0", "gan.augment_ramp=80"
    )
    # the probability itself is adapted: `augment_p` is not used, and it begins at nothing
    for bias, expected in ((50.0, 0.1), (50.0, 0.2), (-50.0, 0.1)):
        method.discriminator.logit.bias.data.fill_(bias)
        out = method.update(batch(), 0)
        assert out["augment_p"].item() == pytest.approx(expected) == method.p.item()
    assert method.state_dict()["p"].item() == pytest.approx(0.1)


def test_the_discriminator_sees_nothing_as_it_is(build, batch, monkeypatch):
    """Real and fake, in both players' steps, each with draws of its own."""
    method = build("r3gan", "gan.augment=diffaugment")
    seen: list[torch.Tensor] = []
    used: list[torch.Tensor] = []

    def marked(images, given, probability=1.0):
        used.append(given)
        return torch.full_like(images, 0.25) + 0 * images

    monkeypatch.setattr("gssl.gan.adversarial.diffaugment", marked)
    method.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    method.update(batch(), 0)
    assert len(seen) == len(used) == 4 and all((x == 0.25).all() for x in seen)
    assert len({tuple(u.flatten().tolist()) for u in used}) == 4
