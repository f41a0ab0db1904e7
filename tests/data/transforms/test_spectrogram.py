"""Views of spectrograms: drawn once, applied to any device; each of them against a computation of its own."""

import pytest
import torch

from gssl import schemas
from gssl.config.composing import compose
from gssl.data import Draws
from gssl.data.transforms import spectrogram
from gssl.data.transforms.spectrogram import SpectrogramViews, mixed, spanned, warped
from gssl.nets.log_mel import SILENCE

OFF = dict(time=[1.0, 1.0], frequency=[1.0, 1.0], shift=0.0, mix=0.0, gain=0.0, noise=0.0, masks=0)


@pytest.fixture(scope="module")
def values():
    return compose("pretrain-ssl", ["data=audio", "data.root=/nowhere"]).data.sound_views


@pytest.fixture
def views(values):
    def make(seed=0, **changes):
        return SpectrogramViews(schemas.replace(values, **(OFF | changes)), 16, 20.0, 8000, Draws(seed))

    return make


def sound(count=6):
    x = torch.randn(count, 4000, generator=torch.Generator().manual_seed(3))
    return (2000 * x).to(torch.int16)


def test_without_changes_a_view_is_the_spectrogram(views):
    made = views()
    assert torch.equal(made(sound(), 3), made.log_mel(sound()))
    assert torch.equal(views(mix=0.3, masks=1, gain=3.0).still()(sound(), 3), made.log_mel(sound()))


def test_views_are_functions_of_seed_step_and_number(values):
    make = [SpectrogramViews(values, 16, 20.0, 8000, Draws(seed)) for seed in (0, 0, 1)]
    one = make[0](sound(), 5, 1)
    assert torch.equal(one, make[1](sound(), 5, 1)) and one.isfinite().all()
    assert not any(
        torch.equal(one, other) for other in (make[0](sound(), 6, 1), make[0](sound(), 5, 0), make[2](sound(), 5, 1))
    )
    assert one.shape == make[0].log_mel(sound()).shape


def test_energies_are_mixed(views):
    x = torch.rand(4, 1, 3, 5, dtype=torch.float64) * 4
    share = torch.tensor([0.0, 0.1, 0.3, 0.5], dtype=torch.float64)
    part = share.view(-1, 1, 1, 1)
    expected = torch.log((1 - part) * x.exp() + part * x.roll(1, 0).exp())
    torch.testing.assert_close(mixed(x, x.roll(1, 0), share), expected, atol=1e-6, rtol=1e-6)
    made = views(mix=0.4)
    plain = made.log_mel(sound())
    partners = [made.draw(0, plain.shape, view).other for view in (0, 1, 2)]
    assert partners == [1, 2, 3] and made.draw(0, (1, *plain.shape[1:])).mix.numel() == 0  # alone there is no partner


def test_warps_read_between_frames_and_bands():
    x = SILENCE + torch.rand(1, 1, 6, 10, dtype=torch.float64)
    same = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(warped(x, same), x)
    shifted = warped(x, torch.tensor([[1.0, 0.2, 1.0]], dtype=torch.float64))  # two frames earlier, then silence
    torch.testing.assert_close(shifted[..., :8], x[..., 2:])
    assert torch.allclose(shifted[..., 8:], torch.tensor(SILENCE, dtype=torch.float64))
    half = warped(x, torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64))  # the lower half of the bands, stretched
    torch.testing.assert_close(half[:, :, ::2], x[:, :, :3])
    torch.testing.assert_close(half[:, :, 1::2], (x[:, :, :3] + x[:, :, 1:4]) / 2)
    high = warped(x, torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64))
    torch.testing.assert_close(high[:, :, 3:], x[:, :, -1:].expand(-1, -1, 3, -1))  # above the highest band it repeats
    slow = warped(x, torch.tensor([[0.5, 0.0, 1.0]], dtype=torch.float64))  # the middle half
    by_hand = torch.nn.functional.interpolate(x[0, :, :, 2:8], size=12, mode="linear", align_corners=False)[..., 1:-1]
    torch.testing.assert_close(slow[0], by_hand)


def test_spans_are_as_long_as_drawn_and_inside():
    drawn = torch.tensor([[0.99, 0.0], [0.5, 0.999], [0.0, 0.5]])  # length, then place
    found = spanned(drawn, 10, 4)
    assert found.int().tolist() == [[1, 1, 1, 1] + [0] * 6, [0] * 8 + [1, 1], [0] * 10]
    lengths = spanned(torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)), 10, 4).sum(1)
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4} and (torch.bincount(lengths) > 600).all()


def test_spans_are_as_long_as_those_of_torchaudio():
    functional = pytest.importorskip("torchaudio.functional")
    ones, count = torch.ones(4000, 1, 10, 3), 4000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = functional.mask_along_axis_iid(ones, 5, 0.0, 2)[:, 0, :, 0] == 0  # below 5
    ours = spanned(torch.rand(count, 2, generator=torch.Generator().manual_seed(1)), 10, 4)
    for found in (ours, theirs):
        steps = torch.nn.functional.pad(found.int(), (1, 1)).diff().abs().sum(1)
        assert set(steps.tolist()) <= {0, 2}  # one span, or none
    lengths = [torch.bincount(found.sum(1), minlength=5) / count for found in (ours, theirs)]
    torch.testing.assert_close(*lengths, atol=0.03, rtol=0)  # four standard errors of a difference


def test_hidden_bands_and_times_have_the_mean_of_the_sound(views):
    made = views(masks=2, mask_bands=0.3, mask_time=0.3)
    plain, view = made.log_mel(sound()), made(sound(), 1)
    hidden = made.draw(1, plain.shape).hidden[:, None]
    assert hidden.any() and torch.equal(view[~hidden], plain[~hidden])
    means = plain.mean((1, 2, 3), keepdim=True).expand_as(view)
    assert torch.equal(view[hidden], means[hidden])


def test_gain_is_in_decibels_and_noise_has_its_deviation(views):
    made = views(gain=6.0)
    change = (made(sound(), 2) - made.log_mel(sound())).flatten(1)
    assert (
        (change.std(1) < 1e-5).all() and change.abs().max() <= 6 * spectrogram.NATS + 1e-5 and change[:, 0].std() > 0.1
    )
    noisy = views(noise=0.5)
    change = noisy(sound(), 2) - noisy.log_mel(sound())
    assert abs(float(change.std()) - 0.5) < 0.03


def test_a_part_of_a_batch_has_the_parameters_of_its_rows(values):
    shape, whole = (6, 1, 16, 26), SpectrogramViews(values, 16, 20.0, 8000, Draws(0)).draw(4, (6, 1, 16, 26))
    for rank in (0, 1):
        part = SpectrogramViews(values, 16, 20.0, 8000, Draws(0, rank, 2)).draw(4, (3, *shape[1:]))
        for name in ("mix", "warp", "gain", "noise", "hidden"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[3 * rank : 3 * rank + 3]), name
