"""From log-mel spectrograms back to sounds: the least squares against SciPy's, tones, and the spectrogram again."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from gssl.nets import griffin_lim
from gssl.nets.log_mel import FLOOR, LogMel, filters

RATE, SAMPLES = 8000, 8000


def phases(log_mel, count, samples=SAMPLES):
    return torch.rand(count, *griffin_lim.starts(log_mel, samples), generator=torch.Generator().manual_seed(0))


def test_lines_have_the_bands_they_came_from():
    bank = filters(RATE, 256, 32)
    energy = torch.einsum("blf,lm->bmf", torch.rand(2, 129, 7, generator=torch.Generator().manual_seed(1)) ** 8, bank)
    found = griffin_lim.lines(energy, bank)
    assert (found >= 0).all() and not found[:, bank.sum(1) == 0].any()
    torch.testing.assert_close(torch.einsum("blf,lm->bmf", found, bank), energy, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_bands_that_no_sound_has_are_fitted_as_well_as_by_scipy(seed):
    """One band is loud and its neighbours are silent: no lines have such bands. SciPy solves this exactly."""
    bank = filters(RATE, 256, 32)
    energy = torch.full((1, 32, 1), 1e-3)
    energy[0, 5 + 8 * seed] = 10.0
    found = torch.einsum("blf,lm->bmf", griffin_lim.lines(energy, bank), bank)[0, :, 0].double()
    weight = 1 / (energy[0, :, 0].double() + FLOOR)
    _, least = nnls((bank.double() * weight).T.numpy(), (weight * energy[0, :, 0]).numpy())
    own = float((weight * (found - energy[0, :, 0])).norm())
    assert least > 0.05 and least <= own + 1e-6 and own < 1.05 * least


@pytest.mark.parametrize("hop_ms", [10.0, 20.0, 32.0])
def test_a_tone_keeps_its_frequency_and_its_spectrogram(hop_ms):
    """The frequency within a band's width; where the tone is, the spectrogram within 0.5 (2.2 dB, root mean square)."""
    log_mel, hertz = LogMel(RATE, 32, hop_ms), np.array([300.0, 700.0, 1500.0])
    tones = torch.tensor(0.3 * np.sin(2 * np.pi * hertz[:, None] * np.arange(SAMPLES) / RATE), dtype=torch.float32)
    given = log_mel(tones)
    made = griffin_lim.sounds(given, log_mel, SAMPLES, phases(log_mel, 3))
    assert made.shape == (3, SAMPLES) and torch.isfinite(made).all()
    peaks = torch.fft.rfft(made * torch.hann_window(SAMPLES)).abs().argmax(1).numpy() * RATE / SAMPLES
    assert (np.abs(peaks - hertz) < 30).all()
    loud = given > given.amax((2, 3), keepdim=True) - 5
    assert (log_mel(made) - given)[loud].square().mean().sqrt() < 0.5


def test_rounds_bring_the_spectrogram_nearer():
    log_mel = LogMel(RATE, 32, 20.0)
    t = torch.arange(SAMPLES) / RATE
    sweep = 0.3 * torch.sin(2 * torch.pi * (200 + 600 * t) * t) * torch.hann_window(SAMPLES)
    noise = 0.01 * torch.randn(SAMPLES, generator=torch.Generator().manual_seed(0))
    given = log_mel((sweep + noise)[None])
    far, near = (
        float((log_mel(griffin_lim.sounds(given, log_mel, SAMPLES, phases(log_mel, 1), n)) - given).square().mean())
        for n in (0, griffin_lim.ROUNDS)
    )
    assert near < 0.25 * far and near**0.5 < 0.4


def test_silence_stays_silent_and_sounds_may_be_short():
    log_mel = LogMel(RATE, 16, 20.0)
    for samples in (SAMPLES, 100):
        given = log_mel(torch.zeros(1, samples))
        made = griffin_lim.sounds(given, log_mel, samples, phases(log_mel, 1, samples), 4)
        assert made.shape == (1, samples) and made.abs().max() < 1e-3


def test_frames_between_frames_lie_on_lines():
    x = torch.arange(12.0).view(1, 2, 6) ** 2
    found = griffin_lim.finer(x, hop=4, fine=1, frames=25)
    for band in range(2):
        want = np.interp(np.arange(25), 4 * np.arange(6), x[0, band].numpy())
        np.testing.assert_allclose(found[0, band].numpy(), want, rtol=1e-6)
